"""What the Gaussian and the mixture share: a denoiser made of Gaussian components."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.seeds import Seeds
from unstir.exact.base import EuclideanDenoiser
from unstir.exact.gaussian_components import Components, Noisy, floored, log_mixture
from unstir.exact.labels import label_log_weights
from unstir.exact.mixture_posterior import MixturePosterior
from unstir.exact.noise_pairs import flat_noise
from unstir.processes.gaussian import GaussianProcess


class ComponentDenoiser(EuclideanDenoiser):
    """The exact denoiser of weighted Gaussian components; ``shape`` is that of one sample.

    ``belief``, ``score_at`` and ``log_density_at`` take the noise as the pair (alpha, sigma), each () or (batch,),
    instead of a time; what takes a time asks the schedule and calls them. ``log_evidence``, float64 (), is
    log p(y) of the measurements that this law was conditioned on, zero if there were none.
    """

    def __init__(
        self,
        log_weights: Tensor,
        components: Components,
        shape: Sequence[int],
        process: GaussianProcess,
        labels: Tensor | None = None,
        log_evidence: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.process = process
        self.shape = tuple(shape)
        self.components = components
        self.log_weights = log_weights
        self.labels = labels
        self.log_evidence = torch.zeros((), dtype=torch.float64) if log_evidence is None else log_evidence

    def belief(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None = None, **condition: Tensor
    ) -> MixturePosterior:
        """The belief: a mixture of Gaussians for each sample."""
        noisy, log_weights = self._seen(xt, alpha, sigma, drop, condition)
        shares = (log_weights + noisy.log_densities).log_softmax(1)
        mean = noisy.mean(shares.exp()).reshape(xt.shape).to(xt.dtype)
        return MixturePosterior(mean, shares, noisy)

    def score_at(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None = None, **condition: Tensor
    ) -> Tensor:
        noisy, log_weights = self._seen(xt, alpha, sigma, drop, condition)
        shares = (log_weights + noisy.log_densities).softmax(1)
        return noisy.score(shares).reshape(xt.shape).to(xt.dtype)

    def log_density_at(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None = None, **condition: Tensor
    ) -> Tensor:
        noisy, log_weights = self._seen(xt, alpha, sigma, drop, condition)
        return log_mixture(log_weights, noisy)

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, drop: Tensor | None = None, **condition: Tensor) -> Tensor:
        """Exact draws of x_t, float64."""
        seeds = seeds.to(self.log_weights.device)
        log_weights = self._log_weights(len(seeds), drop, condition).expand(len(seeds), -1)
        chosen = choose(log_weights, seeds.at("data", "component"))
        clean = self.components.draw(chosen, seeds.at("data", "within")).reshape(len(seeds), *self.shape)
        alpha, sigma = self.process.coefficients(torch.as_tensor(t, dtype=torch.float64), clean)
        return alpha * clean + sigma * seeds.at("noise").normal_like(clean)

    def _log_weights(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        return label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, condition)

    def _seen(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None, condition: Any
    ) -> tuple[Noisy, Tensor]:
        """The components at these states, and their log-weights (batch, k)."""
        x, alpha, sigma = flat_noise(xt, alpha, sigma, self.shape)
        return self.components.noisy(x, alpha, floored(sigma.square())), self._log_weights(len(xt), drop, condition)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ComponentDenoiser":
        """Follows to another device; the numbers stay float64 whatever dtype is asked for."""
        super()._apply(fn, recurse)
        device = fn(self.log_weights).device
        self.components = self.components.to(device)
        self.log_weights, self.log_evidence = self.log_weights.to(device), self.log_evidence.to(device)
        self.labels = None if self.labels is None else self.labels.to(device)
        return self
