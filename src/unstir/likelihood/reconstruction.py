r"""The last term of a bound: how probable the data is, given its least noisy state.

A reconstruction is called with what is ``Seen`` at that level and gives -log p(x_0|x_1) in nats, (batch,): a density
for real numbers, a probability for levels. The level's precision, :math:`\rho=\alpha^2/\sigma^2`, is the last SNR.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import apply_mask
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior
from unstir.likelihood.bits import sum_per_sample

_CHUNK = 2**22  # elements times levels that are compared at once


@dataclass(frozen=True)
class Seen:
    """Clean data, its noisy state, and the belief about the one from the other.

    ``alpha`` and ``sigma`` are float64, () or (batch,); ``mask`` boolean (batch, n) or None.
    """

    x0: Tensor
    xt: Tensor
    belief: Posterior
    alpha: Tensor
    sigma: Tensor
    mask: Tensor | None = None

    @property
    def snr(self) -> Tensor:
        """alpha^2/sigma^2, () or (batch,)."""
        return (self.alpha / self.sigma).square()

    def total(self, values: Tensor) -> Tensor:
        """The sum over the elements that the mask leaves, float64 (batch,)."""
        return sum_per_sample(values, self.mask)

    @property
    def elements(self) -> Tensor:
        """The number of elements that the mask leaves, float64 (batch,)."""
        return self.total(torch.ones_like(self.x0))

    @property
    def squared_error(self) -> Tensor:
        r""":math:`|x_0-E[x_0|x_t]|^2`, (batch,)."""
        return self.total((self.x0.double() - self.belief.mean.double()).square())


Reconstruction: TypeAlias = Callable[[Seen], Tensor]


def gaussian_reconstruction(seen: Seen) -> Tensor:
    r"""For real numbers: the belief's own density, where a point counts as its centre with the variance 1/SNR.

    With the true mean this misses the true conditional density by the order of SNR^-2 (N(x_1/alpha, 1/SNR), which
    asks no denoiser, by SNR^-1).
    """
    if isinstance(seen.belief, PointPosterior):
        return (seen.elements * (2 * math.pi / seen.snr).log() + seen.snr * seen.squared_error) / 2
    if isinstance(seen.belief, GaussianPosterior):
        squared = (seen.x0 - seen.belief.mean).double().square() / seen.belief.variance.double()
        return seen.total(squared + (2 * math.pi * seen.belief.variance.double()).log()) / 2
    if seen.mask is not None:
        raise InputError(f"{type(seen.belief).__name__} has no density for padded sets; use mean_only=True")
    return -seen.belief.log_prob(seen.x0).double()


def level_reconstruction(values: Any) -> Reconstruction:
    r"""For levels, without a denoiser: :math:`p(v|x_1)\propto N(x_1;\alpha v,\sigma^2)` for each element by itself.

    ``values`` (k,), rising, are the levels as the denoiser sees them (``Cells.values()``).

    Reference: Kingma, Salimans, Poole, Ho, Variational diffusion models (2021), section 3.3.
    """
    levels = _levels(values)

    def reconstruct(seen: Seen) -> Tensor:
        own, known = _nearest(seen, levels), levels.to(seen.x0.device)
        states, scales = (seen.xt.double() / _per_sample(seen.alpha, seen.xt)).flatten(), _spread(seen)
        costs = [
            torch.logsumexp(-((state[:, None] - known) / scale[:, None]).square() / 2, 1)
            + ((state - known[place]) / scale).square() / 2
            for state, scale, place in zip(
                *(part.split(max(1, _CHUNK // len(known))) for part in (states, scales, own.flatten())), strict=True
            )
        ]
        return seen.total(torch.cat(costs).reshape(seen.x0.shape))

    return reconstruct


def discretised_reconstruction(values: Any) -> Reconstruction:
    r"""For levels: the belief's Gaussian integrated over each level's cell, the outermost cells being open.

    The variance is the belief's own, or 1/SNR about a point. ``values`` (k,), rising, as for
    ``level_reconstruction``; cells end half-way between neighbours.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), eq. 13.
    """
    levels = _levels(values)
    middles = (levels[1:] + levels[:-1]) / 2
    edges = torch.cat((levels.new_tensor([-math.inf]), middles, levels.new_tensor([math.inf])))

    def reconstruct(seen: Seen) -> Tensor:
        own, known = _nearest(seen, levels), edges.to(seen.x0.device)
        deviation = _spread(seen).reshape(seen.x0.shape)
        if isinstance(seen.belief, GaussianPosterior):
            deviation = seen.belief.variance.double().sqrt()
        mean = seen.belief.mean.double()
        return -seen.total(log_interval((known[own] - mean) / deviation, (known[own + 1] - mean) / deviation))

    return reconstruct


def log_interval(low: Tensor, high: Tensor) -> Tensor:
    """log of the standard normal's probability between ``low`` < ``high``, with all digits in either tail."""
    upper = low > 0
    below, above = torch.where(upper, -high, low), torch.where(upper, -low, high)
    most = torch.special.log_ndtr(above)
    return most + torch.log(-torch.expm1(torch.special.log_ndtr(below) - most))


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(values.shape + (1,) * (like.ndim - 1)) if values.ndim else values


def _spread(seen: Seen) -> Tensor:
    """sigma/alpha at every element, flat."""
    return _per_sample(seen.sigma / seen.alpha, seen.x0).expand(seen.x0.shape).flatten()


def _levels(values: Any) -> Tensor:
    levels = torch.as_tensor(values, dtype=torch.float64)
    if levels.ndim != 1 or len(levels) < 2 or not bool((levels.diff() > 0).all()):
        raise InputError(f"levels are two values at least that rise; seen the shape {tuple(levels.shape)}")
    return levels


def _nearest(seen: Seen, levels: Tensor) -> Tensor:
    """The number of each element's level; an error for data that lies between levels."""
    levels = levels.to(seen.x0.device)
    x0 = seen.x0.detach().double().contiguous()
    own = torch.searchsorted((levels[1:] + levels[:-1]) / 2, x0)
    away = apply_mask((x0 - levels[own]).abs(), seen.mask)
    if float(away.max()) > 1e-2 * float(levels.diff().min()):
        raise InputError(
            f"this reconstruction is of data on {len(levels)} levels from {levels[0]:g} to {levels[-1]:g}; seen a "
            f"value {float(away.max()):.3g} away from all of them: for real numbers take gaussian_reconstruction"
        )
    return own
