"""A Gaussian mixture whose belief about the clean data is known in closed form, in float64.

With x0 from component k, N(m_k, s_k^2 I), and xt = alpha x0 + sigma eps, the noisy marginal of the
component is N(alpha m_k, v_k I), v_k = alpha^2 s_k^2 + sigma^2, and the posterior of x0 in it is
Gaussian with mean m_k + (alpha s_k^2 / v_k)(xt - alpha m_k) and variance s_k^2 sigma^2 / v_k.
"""

import math
from dataclasses import dataclass

import torch

from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior


@dataclass(frozen=True)
class MixturePosterior(Posterior):
    """A mixture of isotropic Gaussians for each sample of the batch."""

    log_weights: torch.Tensor  # (batch, k)
    means: torch.Tensor  # (batch, k, d)
    variances: torch.Tensor  # (batch, k)

    @classmethod
    def of(cls, log_weights, means, variances):
        return cls((log_weights.exp()[..., None] * means).sum(1), log_weights, means, variances)

    def sample(self, seeds):
        edges = self.log_weights.exp().cumsum(1)
        chosen = (seeds.at("component").uniform()[:, None] > edges[:, :-1]).sum(1)
        rows = torch.arange(len(chosen))
        spread = self.variances[rows, chosen].sqrt()[:, None]
        return self.means[rows, chosen] + spread * seeds.at("within").normal(self.means.shape[2:], torch.float64)

    def log_prob(self, x0):
        squares = (x0[:, None] - self.means).square().sum(-1)
        dimension = self.means.shape[-1]
        terms = -squares / (2 * self.variances) - dimension / 2 * (2 * math.pi * self.variances).log()
        return (self.log_weights + terms).logsumexp(1)


class MixtureDenoiser(Denoiser):
    """Exact for states of shape (batch, d): ``weights`` (k,), ``means`` (k, d), ``deviations`` (k,)."""

    def __init__(self, weights, means, deviations, process):
        super().__init__()
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.means = torch.tensor(means, dtype=torch.float64)
        self.deviations = torch.tensor(deviations, dtype=torch.float64)
        self.process = process

    def _marginal(self, xt, t):
        """alpha and sigma, each component's variance at t, and its log-weight times density at xt, (batch, k)."""
        t = torch.as_tensor(t, dtype=torch.float64).expand(len(xt))
        alpha, sigma = (value[:, None] for value in (self.process.schedule.alpha(t), self.process.schedule.sigma(t)))
        variance = (alpha * self.deviations).square() + sigma.square()
        squares = (xt.double()[:, None] - alpha[..., None] * self.means).square().sum(-1)
        dimension = self.means.shape[1]
        log_density = -squares / (2 * variance) - dimension / 2 * (2 * math.pi * variance).log()
        return alpha, sigma, variance, self.weights.log() + log_density

    def forward(self, xt, t, drop=None, **condition):
        alpha, sigma, variance, joint = self._marginal(xt, t)
        gain = (alpha * self.deviations.square() / variance)[..., None]
        means = self.means + gain * (xt.double()[:, None] - alpha[..., None] * self.means)
        return MixturePosterior.of(
            joint - joint.logsumexp(1, keepdim=True), means, (self.deviations * sigma).square() / variance
        )

    def log_density(self, xt, t):
        """log p_t(xt), shape (batch,)."""
        return self._marginal(xt, t)[3].logsumexp(1)

    def draw(self, seeds):
        """Clean data."""
        count = len(seeds)
        prior = MixturePosterior.of(
            self.weights.log().expand(count, -1),
            self.means.expand(count, -1, -1),
            self.deviations.square().expand(count, -1),
        )
        return prior.sample(seeds.at("data"))


def two_dimensional(process):
    """Three overlapping components in the plane, about the scale of standardised data."""
    return MixtureDenoiser([0.5, 0.3, 0.2], [[1.0, 0.5], [-1.0, 0.8], [0.2, -1.2]], [0.5, 0.4, 0.6], process)


def one_dimensional(process):
    """Two well separated components on the line, of unequal weight and width."""
    return MixtureDenoiser([0.7, 0.3], [[-1.0], [1.5]], [0.2, 0.5], process)
