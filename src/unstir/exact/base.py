"""What a law known in closed form offers beside its denoiser."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior


class ExactDenoiser(Denoiser):
    """The denoiser of a law that is known in closed form, for any schedule of its process.

    Beside the belief about the clean data it knows the density of every noisy marginal p_t and draws from
    it. Everything is computed in float64 and is differentiable in the state; what comes back has the
    state's dtype. Conditions choose among the laws (a label, say); one that is not given is summed over.
    """

    @abstractmethod
    def log_density(self, xt: Any, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats, float64 of shape (batch,); ``t`` of shape () or (batch,), 0 for the data's own law."""

    @abstractmethod
    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Any:
        """Exact draws of x_t, one a seed; ``t`` of shape () or (batch,)."""

    @classmethod
    @abstractmethod
    def examples(cls) -> Mapping[str, "ExactDenoiser"]:
        """Members of the family on which its claims are measured, by a name that says what is special."""


class EuclideanDenoiser(ExactDenoiser):
    """A law on vectors of any shape under the Gaussian process: it has a score and can be measured linearly.

    A family says what it knows at a pair (alpha, sigma), float64 of shape () or (batch,), which may be asked for as
    well as a time: where the noise is tiny or huge, a time has lost digits that the pair still has.
    """

    @abstractmethod
    def belief(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None = None, **condition: Tensor
    ) -> Posterior:
        """The belief about the clean data behind x_t = alpha x_0 + sigma eps."""

    @abstractmethod
    def score_at(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None = None, **condition: Tensor
    ) -> Tensor:
        """The gradient of the log-density of alpha x_0 + sigma eps; stable where alpha*mean - x_t would cancel."""

    @abstractmethod
    def log_density_at(
        self, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float, drop: Tensor | None = None, **condition: Tensor
    ) -> Tensor:
        """The log-density of alpha x_0 + sigma eps in nats, float64 (batch,).

        Without noise a law that has no density (finitely many points, a singular covariance) has its density on its
        support, and -inf off it.
        """

    @abstractmethod
    def given_observation(self, operator: Tensor, observation: Tensor, noise: Tensor | float) -> "EuclideanDenoiser":
        """The exact denoiser of the clean data given y = A x_0 + e, with e normal.

        ``operator`` A has the shape (m, d), d the number of elements of a sample; ``observation`` y the shape (m,);
        ``noise`` is the standard deviation of e, () or (m,), or its covariance (m, m); zero where a
        coordinate is observed exactly.
        """

    def forward(self, xt: Tensor, t: Tensor | float, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief about the clean data, its mean of the state's dtype."""
        return self.belief(xt, *self._coefficients(xt, t), drop, **condition)

    def score(self, xt: Tensor, t: Tensor | float, drop: Tensor | None = None, **condition: Tensor) -> Tensor:
        """grad log p_t(x_t), of the state's shape and dtype."""
        return self.score_at(xt, *self._coefficients(xt, t), drop, **condition)

    def log_density(self, xt: Tensor, t: Tensor | float, drop: Tensor | None = None, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats, float64 (batch,); see ``log_density_at`` for laws without density at time 0."""
        return self.log_density_at(xt, *self._coefficients(xt, t), drop, **condition)

    def _coefficients(self, xt: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        t = torch.as_tensor(t, dtype=torch.float64, device=xt.device)
        return self.process.schedule.alpha(t), self.process.schedule.sigma(t)
