r"""Belief about rotations."""

import math

import numpy as np
import torch
from torch import Tensor

from unstir.denoisers.kernel_posterior import KernelPosterior
from unstir.processes import isotropic_gaussian, quaternions

_ALONG, _ACROSS = 24, 16  # nodes of the quadrature
_REACH = 7.0  # deviations
_DEPTH = 26.0  # nats
_AT_ONCE = 1 << 20


class RotationPosterior(KernelPosterior):
    """A mixture of isotropic Gaussians on SO(3), or of their products with the one about a noisy rotation.

    ``mean`` is the rotation nearest to the mean matrix, which is unique unless the belief is spread so evenly that the
    smallest singular values are equal and the determinant is not positive; it then is one of the nearest ones.

    Reference: Moakher, Means and averaging in the group of rotations (2002), section 3, for the projected mean.
    """

    def direction(self, moment: Tensor) -> Tensor:
        left, _, right = torch.linalg.svd(moment)
        sign = torch.ones_like(moment[..., 0])
        sign[..., 2] = torch.linalg.det(left @ right).sign()
        return ((left * sign[..., None, :]) @ right).to(self.dtype)

    def product_moments(self, centres: Tensor, deviations: Tensor, noisy: Tensor, noise: Tensor) -> Tensor:
        r"""The mean matrix of the product, by quadrature, to about 1e-7.

        With the axis n from the centre to the noisy rotation, every rotation from the centre is the quaternion
        :math:`(\sqrt{1-y}\cos\frac\phi2, \sqrt{1-y}\sin\frac\phi2\,n + \sqrt y\,m)` with m across n. In
        :math:`(\phi, y)` Haar measure is flat; the mean matrix is told by the means of :math:`(1-y)e^{i\phi}` and y.
        """
        a, b = quaternions.from_matrix(centres), quaternions.from_matrix(noisy)
        angle, axis = quaternions.angle_and_axis(quaternions.multiply(quaternions.inverse(a), b))
        shape = torch.broadcast_shapes(angle.shape, deviations.shape, noise.shape)
        flat = [part.expand(shape).reshape(-1) for part in (angle, deviations, noise)]
        count = max(1, _AT_ONCE // (2 * _ALONG * _ACROSS))
        told = [_product_means(*(part[at : at + count] for part in flat)) for at in range(0, len(flat[0]), count)]
        turn, depth = (torch.cat(parts).reshape(shape)[..., None, None] for parts in zip(*told, strict=True))
        axis = torch.nan_to_num(axis).expand(*shape, 3)
        outer = axis[..., :, None] * axis[..., None, :]
        unit = torch.eye(3, dtype=torch.float64, device=axis.device)
        x, y, z = axis.unbind(-1)
        zero = torch.zeros_like(x)
        cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(*shape, 3, 3)
        local = turn.real * (unit - outer) + turn.imag * cross + (1 - 2 * depth) * outer
        return centres.double().expand(*shape, 3, 3) @ local


def _product_means(angle: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """E[(1-y) e^(i phi)], complex, and E[y], for two isotropic Gaussians whose centres lie an angle apart; all (n,)."""
    v, w = (spread.clamp(1e-12, isotropic_gaussian.UNIFORM).square() for spread in (first, second))
    total, spread = v + w, (v * w / (v + w)).sqrt()
    # the two ways from one centre to the other; where the peaks are wide, one sweep round the circle serves both
    ways = torch.stack((angle, angle - 2 * math.pi), -1)
    peaks = ways * (v / total)[:, None]
    logs = -ways.square() / (2 * total[:, None])
    whole = spread * _REACH >= math.pi
    steps = torch.linspace(-1, 1, _ALONG + 1, dtype=torch.float64, device=angle.device)[:-1] + 1 / _ALONG
    reach = torch.where(whole, math.pi, spread * _REACH)
    phi = peaks[..., None] + reach[:, None, None] * steps
    apart = torch.remainder(phi[:, :, None] - peaks[:, None, :, None] + math.pi, 2 * math.pi) - math.pi
    heights = logs[:, None, :, None] - apart.square() / (2 * spread.square()[:, None, None, None])
    mine = torch.stack((heights[:, 0].log_softmax(1)[:, 0], heights[:, 1].log_softmax(1)[:, 1]), 1)
    once = torch.tensor([0.0, -torch.inf], dtype=torch.float64, device=angle.device)[None, :, None]
    shares = torch.where(whole[:, None, None], once, mine)

    def folded(phi: Tensor) -> Tensor:
        return (torch.remainder(phi + math.pi, 2 * math.pi) - math.pi).abs() / 2

    halves = folded(phi), folded(phi - angle[:, None, None])
    rate = _x_cot_x(halves[0]) * 2 / v[:, None, None] + _x_cot_x(halves[1]) * 2 / w[:, None, None]
    deepest = (_DEPTH / rate).clamp(max=1)
    nodes, weights = (torch.from_numpy(part).to(angle.device) for part in np.polynomial.legendre.leggauss(_ACROSS))
    y = deepest[..., None] * (nodes + 1) / 2
    terms = shares[..., None] + deepest[..., None].log() + weights.log() + reach[:, None, None, None].log()
    for half, deviation in zip(halves, (v.sqrt(), w.sqrt()), strict=True):
        across = (y + (1 - y) * half.sin().square()[..., None]).sqrt()
        omega = 2 * torch.atan2(across, (1 - y).sqrt() * half.cos()[..., None])
        terms = terms + isotropic_gaussian.log_density(omega, deviation[:, None, None, None])
    chances = terms.flatten(1).softmax(1).reshape(terms.shape)
    depth = (chances * y).flatten(1).sum(1)
    along = (chances * (1 - y)).sum(-1)
    return torch.complex(*((along * wave(phi)).flatten(1).sum(1) for wave in (torch.cos, torch.sin))), depth


def _x_cot_x(x: Tensor) -> Tensor:
    return torch.where(x < 1e-6, 1.0, x.clamp(min=1e-6) / x.clamp(min=1e-6).tan())
