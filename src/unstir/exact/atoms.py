"""Finitely many points of any space, under any process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose, normalised
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size, map_state, take, tensors_of
from unstir.denoisers.posteriors import Posterior
from unstir.exact.base import ExactDenoiser
from unstir.exact.labels import checked_labels, checked_weights, label_log_weights
from unstir.processes.base import Process

__all__ = ["AtomsDenoiser"]


@dataclass(frozen=True)
class AtomsPosterior(Posterior):
    """Belief in one of finitely many points: their log-probabilities (batch, k), normalised; ``atoms`` a state of k.

    ``mean`` is the mean of the process's features, (batch, ...), which on a curved space is no state.
    """

    mean: Any = field(init=False)
    log_weights: Tensor
    atoms: Any
    features: Tensor
    like: Any

    def __post_init__(self) -> None:
        averaged = torch.einsum("bk,k...->b...", self.log_weights.exp(), self.features)
        object.__setattr__(self, "mean", averaged)

    def sample(self, seeds: Seeds) -> Any:
        drawn = take(self.atoms, choose(self.log_weights, seeds))
        return map_state(lambda part, like: part.to(like.dtype), drawn, self.like)

    def log_prob(self, x0: Any) -> Tensor:
        """Log-probability in nats (counting measure on the atoms); minus infinity elsewhere."""
        equal = torch.ones(self.log_weights.shape, dtype=torch.bool, device=self.log_weights.device)
        for part, atoms in zip(tensors_of(x0), tensors_of(self.atoms), strict=True):
            equal &= (part[:, None] == atoms.to(part.dtype)).flatten(2).all(2)
        return torch.where(equal, self.log_weights, -torch.inf).logsumexp(1)


class AtomsDenoiser(ExactDenoiser):
    r"""The exact belief for a law on finitely many points, whatever the space: it asks for no more than a process has.

    ``atoms`` is a state of k points, ``weights`` (k,) their probabilities, even by default; ``labels`` (k,), whole
    numbers, allow the condition ``label`` (batch,). By Bayes' rule :math:`p(x_0=a_i|x_t) \propto w_i\,q(x_t|a_i)`.

    Raises InputError for atoms outside the process's space.

    Reference: Bayes' rule; for the Gaussian process it is the empirical law of Karras et al., Elucidating the design
    space of diffusion models (2022), appendix B.3.
    """

    def __init__(self, process: Process, atoms: Any, weights: Any = None, labels: Any = None) -> None:
        super().__init__()
        count = batch_size(atoms)
        if not bool(process.contains(atoms).all()):
            raise InputError(f"atoms must lie in the space of {type(process).__name__}; some of the {count} do not")
        self.process = process
        self.atoms = map_state(lambda part: part.double() if part.is_floating_point() else part, atoms)
        self.register_buffer("features", process.features(self.atoms).double())
        self.register_buffer(
            "log_weights", checked_weights([1.0] * count if weights is None else weights, count, "atom")
        )
        self.register_buffer("labels", checked_labels(labels, count, "atom"))

    @classmethod
    def examples(cls) -> Mapping[str, "AtomsDenoiser"]:
        """Points on the torus, and sequences of tokens with labels."""
        from unstir.processes.categorical import CategoricalProcess
        from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
        from unstir.processes.wrapped import WrappedProcess

        torus, tokens = WrappedProcess(ExponentialVESchedule(0.01, 2.0)), CategoricalProcess(4)
        return {
            "points on the torus": cls(torus, torus.example_data(7)),
            "sequences of tokens, labelled": cls(
                tokens, torch.tensor([[0, 1], [1, 1], [3, 2]]), [0.5, 0.2, 0.3], labels=[0, 1, 1]
            ),
        }

    @property
    def shape(self) -> Any:
        """The shape of one sample."""
        return map_state(lambda part: tuple(part.shape[1:]), self.atoms)

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> AtomsPosterior:
        """The belief about x_0: a probability for each atom."""
        logs = normalised(self._joint(xt, t, drop, condition))
        return AtomsPosterior(logs, self.atoms, self.features, xt)

    def log_density(self, xt: Any, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats, float64 (batch,)."""
        return torch.logsumexp(self._joint(xt, t, None, condition), 1)

    def draw(self, seeds: Seeds, t: Tensor | float = 0.0, **condition: Tensor) -> Any:
        """Exact draws of x_t."""
        x0 = take(self.atoms, choose(self._weights(len(seeds), None, condition), seeds.at("atom")))
        return self.process.noise(x0, map_state(lambda time: _repeated(time, 1), t), seeds.at("noise"))

    def _weights(self, batch: int, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        weights = label_log_weights(type(self).__name__, self.log_weights, self.labels, batch, drop, condition)
        return weights.expand(batch, -1)

    def _joint(self, xt: Any, t: Tensor | float, drop: Tensor | None, condition: Mapping[str, Tensor]) -> Tensor:
        """log of weight times density of each atom, (batch, k)."""
        batch, count = batch_size(xt), len(self.log_weights)
        weights = self._weights(batch, drop, condition)
        many = map_state(lambda part: part.repeat_interleave(count, 0), xt)
        atoms = map_state(lambda part: part.repeat(batch, *(1,) * (part.ndim - 1)), self.atoms)
        spread = map_state(lambda time: _repeated(time, count), t)
        return weights + self.process.log_density(many, atoms, spread).reshape(batch, count)


def _repeated(time: Tensor | float, count: int) -> Tensor:
    time = torch.as_tensor(time, dtype=torch.float64)
    return time.repeat_interleave(count) if time.ndim else time
