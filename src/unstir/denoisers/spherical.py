r"""Belief about directions."""

import math

import numpy as np
import torch
from torch import Tensor

from unstir.denoisers.kernel_posterior import KernelPosterior
from unstir.processes import sphere_heat_kernel
from unstir.processes.isotropic_gaussian import UNIFORM
from unstir.processes.sphere import arc_between, departure, unit

_ALONG, _AROUND = 26, 12  # nodes of the quadrature
_REACH = 7.0  # deviations
_DEPTH = 28.0  # nats
_AT_ONCE = 1 << 16


class SpherePosterior(KernelPosterior):
    """A mixture of heat kernels of the sphere, or of their products with the one about a noisy direction.

    Heat kernels, and not von Mises-Fisher laws, because they are what the noise itself makes of a point: a network's
    belief, the exact one and the noise are then of one kind, with one way to draw from them.

    ``mean`` is the direction of the mean vector; of a belief whose mean vector is zero it says nothing.

    Reference: Mardia and Jupp, Directional statistics (2000), section 9.2 (mean direction).
    """

    def direction(self, moment: Tensor) -> Tensor:
        return unit(moment).to(self.dtype)

    def product_moments(self, centres: Tensor, deviations: Tensor, noisy: Tensor, noise: Tensor) -> Tensor:
        """The mean vector of the product, by quadrature in polar coordinates about the centre, to about 1e-8."""
        arc, centres = arc_between(centres, noisy), unit(centres)
        outward = departure(noisy, centres)
        shape = torch.broadcast_shapes(arc.shape, deviations.shape, noise.shape)
        flat = [part.expand(shape).reshape(-1) for part in (arc, deviations, noise)]
        count = max(1, _AT_ONCE // (_ALONG * _AROUND))
        told = [_product_means(*(part[at : at + count] for part in flat)) for at in range(0, len(flat[0]), count)]
        along, across = (torch.cat(parts).reshape(shape)[..., None] for parts in zip(*told, strict=True))
        return along * centres - across * outward


def _product_means(arc: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """E[cos theta] and E[sin theta cos beta] of two kernels whose centres lie an arc apart; all (n,)."""
    v, w = (spread.clamp(1e-12, UNIFORM) for spread in (first, second))
    total = v.square() + w.square()
    peak, spread = arc * v.square() / total, v * w / total.sqrt()
    low, high = (peak - _REACH * spread).clamp(min=0), (peak + _REACH * spread).clamp(max=math.pi)
    nodes, weights = (torch.from_numpy(part).to(arc.device) for part in np.polynomial.legendre.leggauss(_ALONG))
    theta = low[:, None] + (high - low)[:, None] * (nodes + 1) / 2
    arc = arc[:, None]
    # round the centre, as far as the other kernel reaches
    least = (theta - arc).abs()
    furthest = (least.square() + 2 * _DEPTH * w.square()[:, None]).sqrt()
    room = (theta.sin() * arc.sin()).clamp(min=1e-300)
    squared = ((furthest - least) / 2).sin() * ((furthest + least) / 2).sin() / room
    most = torch.where((furthest >= math.pi) | (squared >= 1), math.pi, 2 * torch.asin(squared.clamp(0, 1).sqrt()))
    steps = torch.arange(_AROUND + 1, dtype=torch.float64, device=arc.device) / _AROUND
    beta = most[..., None] * steps
    ends = torch.where((steps == 0) | (steps == 1), 0.5, 1.0).log()
    # sin^2(d/2), free of cancellation
    squared = (least / 2).sin().square()[..., None] + room[..., None] * (beta / 2).sin().square()
    away = 2 * torch.atan2(squared.sqrt(), (1 - squared).clamp(min=0).sqrt())
    terms = sphere_heat_kernel.log_density(away, w[:, None, None]) + ends
    terms = terms + (sphere_heat_kernel.log_density(theta, v[:, None]) + weights.log())[..., None]
    terms = terms + (most * theta.sin().clamp(min=1e-300)).log()[..., None]
    chances = terms.flatten(1).softmax(1).reshape(terms.shape)
    along = (chances * theta.cos()[..., None]).flatten(1).sum(1)
    return along, (chances * theta.sin()[..., None] * beta.cos()).flatten(1).sum(1)
