"""Belief about the clean data that is a mixture of Gaussians."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import Posterior
from unstir.exact.gaussian_components import Components, Noisy, log_mixture


@dataclass(frozen=True)
class MixturePosterior(Posterior):
    """A mixture of Gaussians for each sample; what costs more than the mean is computed when it is asked for.

    ``mean`` has the state's shape and dtype, as has all that comes back; ``log_weights`` (batch, k) are float64.
    Where the belief has no density (at time 0 it is a point), ``log_prob`` is taken on its support: zero nats
    at the point, and -inf elsewhere.
    """

    mean: Tensor
    log_weights: Tensor
    noisy: Noisy = field(repr=False)

    @cached_property
    def components(self) -> Components:
        """The Gaussian belief of each component, flat and in float64."""
        return self.noisy.posterior()

    @property
    def variance(self) -> Tensor:
        """The variance of each element, of the state's shape."""
        away = self._away()
        weighted = self.log_weights.exp()[..., None] * (self.components.variances() + away.square())
        return weighted.sum(1).reshape(self.mean.shape).to(self.mean.dtype)

    def covariance(self) -> Tensor:
        """The covariance of the elements of each sample, (batch, d, d)."""
        weights, away = self.log_weights.exp(), self._away()
        within = self.components.covariances()
        inner = torch.einsum("bk,bkde->bde", weights, within.expand(len(weights), -1, -1, -1))
        between = torch.einsum("bk,bkd,bke->bde", weights, away, away)
        return (inner + between).to(self.mean.dtype)

    def sample(self, seeds: Seeds) -> Tensor:
        """One draw a sample: a component, and a point of it."""
        chosen = choose(self.log_weights, seeds.at("component"))
        drawn = self.components.draw(chosen, seeds.at("within"))
        return drawn.reshape(self.mean.shape).to(self.mean.dtype)

    def log_prob(self, x0: Tensor) -> Tensor:
        """The log-density of each sample, (batch,)."""
        density = self.components.density(x0.flatten(1).double() if x0.ndim > 1 else x0[:, None].double())
        return log_mixture(self.log_weights, density).to(x0.dtype)

    def _away(self) -> Tensor:
        """How far the components' means lie from that of all, (batch, k, d)."""
        means = self.components.means
        return means - (self.log_weights.exp()[:, None] @ means)
