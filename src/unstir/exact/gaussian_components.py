r"""Several Gaussians at once, and what noise makes of them: the arithmetic of the exact denoisers.

For :math:`x_0\sim N(m, C)` and :math:`x_t=\alpha x_0+\sigma\epsilon` the noisy law is :math:`N(\alpha m, V)` with
:math:`V=\alpha^2C+\sigma^2I`, and the belief about :math:`x_0` is Gaussian with mean
:math:`m+\alpha CV^{-1}(x_t-\alpha m)` and covariance :math:`\sigma^2CV^{-1}`. A family of covariances gives these
in the way that keeps their digits; its file says how.

Shapes: states are flat, (batch, d), float64. Tensors of components are (rows, k, ...), where ``rows`` is 1 or the
batch: a belief differs from sample to sample, the data's law does not.

No variance that is divided by is zero: what is smaller than ``FLOOR`` is raised to it, so that a law without density
(a point, a plane) is the limit of a narrow one, and an infinite noise the limit of a wide one.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.seeds import Seeds

FLOOR = 1e-200
CEILING = 1e300
NARROWEST = 1e-100  # of variances, for products in place of differences
_NULL = 1e-150  # a variance below this is a direction in which the law has no width
_SUPPORT = 1e-11  # so far, relative to the numbers that were subtracted, rounding may lead away from a law's support
# Squared distances as |x|^2 - 2xm + |m|^2 lose 1e-16 of |m|^2 in units of the variance: at most this much of it
WELL_SEPARATED = 1e4


class Noisy(ABC):
    """Components seen through noise, at the states ``x``: densities, and beliefs about the clean data."""

    squares: Tensor  # (batch, k): squared Mahalanobis distances of x
    log_determinant: Tensor  # (rows, k): of the noisy covariances
    nulls: Tensor | None  # (rows, k): directions without width, None if there are none
    size: int

    @property
    def log_densities(self) -> Tensor:
        """Of each component at x, (batch, k); directions without width count as ``FLOOR`` wide."""
        return -(self.squares + self.log_determinant + self.size * math.log(2 * math.pi)) / 2

    @abstractmethod
    def mean(self, weights: Tensor) -> Tensor:
        """The belief's mean (batch, d) for weights (batch, k) that sum to one."""

    @abstractmethod
    def score(self, weights: Tensor) -> Tensor:
        """sum_j w_j V_j^-1 (alpha m_j - x), (batch, d)."""

    @abstractmethod
    def posterior(self) -> "Components":
        """The Gaussian belief of each component."""


@dataclass(frozen=True)
class Components(ABC):
    """k Gaussians on d numbers; ``means`` has the shape (rows, k, d)."""

    means: Tensor

    @abstractmethod
    def noisy(self, x: Tensor, alpha: Tensor, noise: Tensor) -> Noisy:
        """The components under x = alpha x_0 + e at the states (batch, d).

        ``alpha`` and ``noise``, the variance of e, have the shape (rows, 1), or (1, d) where coordinates differ.
        Beliefs need a noise that is not zero (see ``floored``); densities do not.
        """

    @abstractmethod
    def draw(self, chosen: Tensor, seeds: Seeds) -> Tensor:
        """One draw a sample, (batch, d), from the component ``chosen``, int64 of shape (batch,)."""

    @abstractmethod
    def variances(self) -> Tensor:
        """Of each coordinate, (rows, k, d)."""

    @abstractmethod
    def covariances(self) -> Tensor:
        """(rows, k, d, d)."""

    @abstractmethod
    def to(self, device: torch.device | str) -> "Components":
        """The same on another device."""

    def density(self, x: Tensor) -> Noisy:
        """The components without noise at the states x."""
        return self.noisy(x, x.new_ones(1, 1), x.new_zeros(1, 1))


def floored(variance: Tensor) -> Tensor:
    """A variance away from zero and infinity."""
    return variance.clamp(FLOOR, CEILING)


def on_support(residual: Tensor, variance: Tensor, scale: Tensor) -> tuple[Tensor, Tensor | None]:
    """Forgives rounding in directions without width, and counts those directions; all of shape (..., k, d)."""
    null = variance < _NULL
    if not bool(null.any()):
        return residual, None
    rounding = null & (residual.abs() <= _SUPPORT * (1 + scale))
    return residual.masked_fill(rounding, 0.0), null


def log_mixture(log_weights: Tensor, noisy: Noisy) -> Tensor:
    """log sum_j w_j p_j(x), (batch,).

    Where the law has no density against Lebesgue's measure, the density is taken on the support that has the
    fewest dimensions there (against the counting measure for a point), and is -inf off all supports.
    """
    joint = log_weights + noisy.log_densities
    total = joint.logsumexp(1)
    if noisy.nulls is None:
        return total
    best = noisy.nulls.double().expand_as(joint).gather(1, joint.argmax(1, keepdim=True))[:, 0]
    on = total + best * math.log(2 * math.pi * FLOOR) / 2
    return torch.where(on < -1e100, -math.inf, on)
