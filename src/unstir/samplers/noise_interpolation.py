r"""Between two noises, or among several: so that what lies between is noise as well.

A straight line between two independent normal vectors is too short in its middle, :math:`\sqrt{1/2}` of their length
in many dimensions, which no model has met. Two remedies are offered:

- "spherical": the arc of a great circle, White's slerp. Lengths stay near those of the ends whatever the angle
  between them; their spread about the typical length is narrower in the middle than that of fresh noise.
- "normalised": the line divided by :math:`\sqrt{a^2+b^2}`. For independent ends the result is exactly as normal as
  they are, with the same variance, at every weight. Ends that are alike come out too long.

Both keep the ends, and work at any noise level's scale.

Reference: White, Sampling generative networks (2016), section 2.1; Shoemake, Animating rotation with quaternion
curves (1985).
"""

import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.state import expand

METHODS = ("spherical", "normalised")


def interpolate(first: Tensor, second: Tensor, weights: Tensor | float | int, method: str = "spherical") -> Tensor:
    """Between two noises, (batch, ...) each; ``weights``, () or (batch,), go from 0 at the first to 1 at the second."""
    if first.shape != second.shape:
        raise InputError(f"both ends must have one shape; seen {tuple(first.shape)} and {tuple(second.shape)}")
    weights = torch.as_tensor(weights, dtype=torch.float64, device=first.device)
    if weights.shape not in ((), first.shape[:1]):
        raise InputError(f"weights are one number, or {len(first)}, one a sample; seen shape {tuple(weights.shape)}")
    if method not in METHODS:
        raise unknown("method of interpolation", method, METHODS)
    if method == "normalised":
        length = (weights.square() + (1 - weights).square()).sqrt()
        return expand((1 - weights) / length, first) * first + expand(weights / length, second) * second
    flat = [end.double().flatten(1) for end in (first, second)]
    unit = [end / end.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny) for end in flat]
    # by both chords: the arc cosine of a product has no digits left for ends that are near, or nearly opposite
    angle = 2 * torch.atan2((unit[0] - unit[1]).norm(dim=1), (unit[0] + unit[1]).norm(dim=1))
    near = angle.sin() < 1e-12
    if bool((near & (angle > 1)).any()):
        raise InputError("opposite ends have no shortest arc between them; take method 'normalised', or other ends")
    safe = torch.where(near, 1.0, angle.sin())
    shares = [torch.where(near, share, torch.sin(share * angle) / safe) for share in (1 - weights, weights)]
    return expand(shares[0], first) * first + expand(shares[1], second) * second


def blend(anchors: Tensor, weights: Tensor) -> Tensor:
    r"""Mixtures :math:`\sum_j w_{ij}z_j/\sqrt{\sum_j w_{ij}^2}` of several noises: exactly normal for independent ones.

    ``anchors`` (k, ...), ``weights`` (n, k), no row all zero; the result is (n, ...).
    """
    if weights.ndim != 2 or weights.shape[1] != len(anchors):
        raise InputError(f"weights have the shape (n, {len(anchors)}), a column an anchor; seen {tuple(weights.shape)}")
    lengths = weights.double().norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all()):
        raise InputError("each row of weights needs one that is not zero")
    shares = (weights.double() / lengths).to(device=anchors.device, dtype=anchors.dtype)
    return (shares @ anchors.flatten(1)).reshape(len(weights), *anchors.shape[1:])


def interpolation_grid(corners: Tensor, rows: int, columns: int, method: str = "spherical") -> Tensor:
    """A sheet between four noises, (4, ...): upper left, upper right, lower left, lower right; (rows, columns, ...)."""
    if len(corners) != 4 or rows < 2 or columns < 2:
        seen = f"{len(corners)} corners, {rows} rows and {columns} columns"
        raise InputError(f"a sheet has 4 corners and at least 2 rows and columns; seen {seen}")
    if method not in METHODS:
        raise unknown("method of interpolation", method, METHODS)
    down, across = (torch.linspace(0, 1, count, dtype=torch.float64) for count in (rows, columns))
    if method == "normalised":
        shares = (
            torch.stack((1 - down, down), 1)[:, None, :, None] * torch.stack((1 - across, across), 1)[None, :, None]
        )
        return blend(corners, shares.reshape(rows * columns, 4)).reshape(rows, columns, *corners.shape[1:])
    upper_left, upper_right, lower_left, lower_right = (corner.expand(rows, *corner.shape) for corner in corners)
    left = interpolate(upper_left, lower_left, down, method)
    right = interpolate(upper_right, lower_right, down, method)
    return torch.stack([interpolate(left, right, share, method) for share in across.tolist()], 1)
