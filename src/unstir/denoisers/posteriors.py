"""Kinds of belief about the clean data."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, mean_per_sample


@dataclass(frozen=True)
class Posterior(ABC):
    """Belief about x_0 given x_t; ``mean`` has the shape of the state."""

    mean: Any

    @abstractmethod
    def sample(self, seeds: Seeds) -> Tensor:
        """One draw per sample of the batch."""

    @abstractmethod
    def log_prob(self, x0: Tensor) -> Tensor:
        """Log-density at x_0 in nats, shape (batch,)."""

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """The training loss at noise weight one, shape (batch,): nats per element by default."""
        if mask is not None:
            raise InputError(f"{type(self).__name__} does not know padded sets: train without a mask")
        return -self.log_prob(x0) / x0[0].numel()


@dataclass(frozen=True)
class PointPosterior(Posterior):
    """All belief on one point: what a network trained by squared error can tell."""

    mean: Tensor

    def sample(self, seeds: Seeds) -> Tensor:
        """The point itself."""
        return self.mean

    def log_prob(self, x0: Tensor) -> Tensor:
        """Zero nats at the point and minus infinity elsewhere (a point mass, against the counting measure)."""
        equal = (x0 == self.mean).flatten(1).all(1)
        return torch.where(equal, 0.0, -math.inf).to(x0.dtype)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """The squared error, averaged over the elements of each sample."""
        return mean_per_sample((self.mean - x0).square(), mask)


@dataclass(frozen=True)
class GaussianPosterior(Posterior):
    """Independent Gaussians with the given mean and variance, both of the state's shape."""

    mean: Tensor
    variance: Tensor

    def sample(self, seeds: Seeds) -> Tensor:
        return self.mean + self.variance.sqrt() * seeds.normal_like(self.mean)

    def log_prob(self, x0: Tensor) -> Tensor:
        return self._log_densities(x0).flatten(1).sum(1)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Negative log-density in nats per element."""
        return mean_per_sample(-apply_mask(self._log_densities(x0), mask), mask)

    def _log_densities(self, x0: Tensor) -> Tensor:
        squared = (x0 - self.mean).square() / self.variance
        return -(squared + self.variance.log() + math.log(2 * math.pi)) / 2


@dataclass(frozen=True)
class LearnedGaussianPosterior(GaussianPosterior):
    """A Gaussian belief whose variance a network tells beside the mean, and how the two are taught together.

    ``scale``, of shape (batch, 1, ...), is a variance to measure by: a bound that depends on the noise level alone.
    The loss in squared data units is the squared error of the mean, as of a point, and ``balance`` times the scale
    times the nats that the variance costs, in which the mean is held fixed (stop-gradient): the variance is taught
    the mean's errors and the mean nothing by it.

    Reference: Nichol, Dhariwal, Improved denoising diffusion probabilistic models (2021), section 3.1.
    """

    scale: Tensor
    balance: float = 0.01

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Squared error and the variance's share; least at the posterior's own mean and variance."""
        squared = (self.mean - x0).square()
        nats = (squared.detach() / self.variance + (self.variance / self.scale).log()) / 2
        # chosen before the sum: a padded place may hold anything
        return mean_per_sample(apply_mask(squared + self.balance * self.scale * nats, mask), mask)
