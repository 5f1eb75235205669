"""Belief about tokens."""

from dataclasses import dataclass, field

from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import mean_per_sample
from unstir.denoisers.posteriors import Posterior


@dataclass(frozen=True)
class CategoricalPosterior(Posterior):
    """Independent classes at every place: ``log_probabilities`` (batch, ..., classes), normalised over the last axis.

    ``mean`` holds the probabilities, the mean of the one-hot code.
    """

    mean: Tensor = field(init=False)
    log_probabilities: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self.log_probabilities.exp())

    def sample(self, seeds: Seeds) -> Tensor:
        """One class for every place, int64 (batch, ...)."""
        return choose(self.log_probabilities, seeds)

    def log_prob(self, x0: Tensor) -> Tensor:
        """Log-probability of the classes in nats, shape (batch,)."""
        return self._each(x0).flatten(1).sum(1)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Cross-entropy in nats per token."""
        return mean_per_sample(-self._each(x0), mask)

    def _each(self, x0: Tensor) -> Tensor:
        classes = self.log_probabilities.shape[-1]
        if x0.numel() and not 0 <= x0.min().item() <= x0.max().item() < classes:
            raise InputError(
                f"clean tokens are the classes 0 to {classes - 1}; "
                f"seen values from {x0.min().item()} to {x0.max().item()}"
            )
        return self.log_probabilities.gather(-1, x0[..., None])[..., 0]
