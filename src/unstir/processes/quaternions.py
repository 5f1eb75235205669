r"""Rotations as unit quaternions (w, x, y, z), float64 of shape (..., 4); q and -q are the same rotation.

A rotation by the angle :math:`\omega` about the unit axis n is :math:`(\cos\omega/2, \sin\omega/2\;n)`. Products are
written out by components, so that a draw is the same to the bit in any batch.
"""

import torch
from torch import Tensor

_TINY = 1e-300


def from_matrix(matrix: Tensor) -> Tensor:
    """The quaternion, w not negative, of the rotation matrices (..., 3, 3), which may be off by their rounding.

    Of four formulas the one that divides by the largest number is taken (Shepperd).

    Reference: Shepperd, Quaternion from rotation matrix (1978).
    """
    m = matrix.double()
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    x, y, z = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    squares = torch.stack((1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz), -1)
    rows = torch.stack(
        (
            torch.stack((squares[..., 0], x, y, z), -1),
            torch.stack((x, squares[..., 1], xy, xz), -1),
            torch.stack((y, xy, squares[..., 2], yz), -1),
            torch.stack((z, xz, yz, squares[..., 3]), -1),
        ),
        -2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    return upper(normalised(rows.gather(-2, best)[..., 0, :]))


def to_matrix(q: Tensor) -> Tensor:
    """The rotation matrices (..., 3, 3) of unit quaternions."""
    w, x, y, z = q.unbind(-1)
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)), -1),
        torch.stack((2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)), -1),
        torch.stack((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)), -1),
    )
    return torch.stack(rows, -2)


def multiply(p: Tensor, q: Tensor) -> Tensor:
    """The rotation q and then p; both broadcast."""
    a, b, c, d = p.unbind(-1)
    w, x, y, z = q.unbind(-1)
    return torch.stack(
        (
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ),
        -1,
    )


def inverse(q: Tensor) -> Tensor:
    """The rotation back."""
    return q * q.new_tensor([1.0, -1.0, -1.0, -1.0])


def normalised(q: Tensor) -> Tensor:
    """Numbers (..., n) brought to length one."""
    return q / length(q)[..., None]


def length(vector: Tensor) -> Tensor:
    """The Euclidean length of the last axis, with a gradient of zero, and not NaN, at zero."""
    total = _TINY + vector[..., 0].square()
    for index in range(1, vector.shape[-1]):
        total = total + vector[..., index].square()
    return total.sqrt()


def upper(q: Tensor) -> Tensor:
    """That of q and -q whose first number is not negative."""
    return torch.where(q[..., :1] < 0, -q, q)


def exponential(vector: Tensor) -> Tensor:
    """The rotation by the vector's length, in radians, about its direction; vectors (..., 3)."""
    half = length(vector) / 2
    sine = torch.where(half > 1e-150, half.sin() / half, torch.ones_like(half)) / 2
    return torch.cat((half.cos()[..., None], sine[..., None] * vector), -1)


def angle_and_axis(q: Tensor) -> tuple[Tensor, Tensor]:
    """The angle in [0, pi], and the unit axis (..., 3), which says nothing at no angle."""
    q = upper(q)
    sine = length(q[..., 1:])
    return 2 * torch.atan2(sine, q[..., 0]), q[..., 1:] / sine[..., None]


def angle_between(p: Tensor, q: Tensor) -> Tensor:
    """The angle in [0, pi] of the rotation from p to q."""
    return angle_and_axis(multiply(inverse(p), q))[0]


def beside(axis: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors that make a right-handed frame with a unit vector (..., 3) as the third.

    Reference: Duff et al., Building an orthonormal basis, revisited (2017).
    """
    x, y, z = axis.unbind(-1)
    sign = torch.where(z < 0, -1.0, 1.0).to(z)
    shared = -1 / (sign + z)
    mixed = x * y * shared
    first = torch.stack((1 + sign * x * x * shared, sign * mixed, -sign * x), -1)
    return first, torch.stack((mixed, sign + y * y * shared, -y), -1)
