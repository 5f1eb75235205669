"""What a law known in closed form offers beside its denoiser."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser


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
    """A law on vectors of any shape under the Gaussian process: it has a score and can be measured linearly."""

    @abstractmethod
    def score(self, xt: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """grad log p_t(x_t), of the state's shape; stable where alpha*mean - x_t would cancel."""

    @abstractmethod
    def given_observation(self, operator: Tensor, observation: Tensor, noise: Tensor | float) -> "EuclideanDenoiser":
        """The exact denoiser of the clean data given y = A x_0 + e, with e normal.

        ``operator`` A has the shape (m, d), d the number of elements of a sample; ``observation`` y the shape (m,);
        ``noise`` is the standard deviation of e, () or (m,), or its covariance (m, m); zero where a
        coordinate is observed exactly.
        """
