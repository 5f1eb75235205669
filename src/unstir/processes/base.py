"""What a forward process is: a law of noise on one kind of data, and what may be asked of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, map_state
from unstir.processes.schedules.base import Schedule, float64

_GOLDEN = (math.sqrt(5) - 1) / 2


class Process(ABC):
    r"""A Markov process from data at time 0 to its prior at time 1; subclasses are frozen dataclasses.

    A state is a tensor, or a dict of named ones, batch first. Times are float64 of shape () or (batch,). Every draw has
    an address (``Seeds``, one a sample), so that a sample is the same in any batch. ``mask`` is boolean (batch, n),
    True where a padded set has an element; padded places are kept at zero. What holds of elements may hold of other
    places of a state too, or of none: see ``mask_of``.

    One file makes a process whole: the catalogue finds it, ancestral sampling serves it, ``exact.AtomsDenoiser`` knows
    its exact belief for finitely many points, and ``unstir verify`` measures its claims on its ``examples()``.
    """

    space: ClassVar[str]
    """The kind of data; samplers say which they serve."""

    learned: ClassVar[str]
    """The entry of the catalogue's kind ``learned`` that makes a network's output a belief about such data."""

    grid: ClassVar[str] = "karras"
    """The spacing of a sampler's times where none is named."""

    if TYPE_CHECKING:  # a field of most, a property of some

        @property
        def schedule(self) -> Schedule:
            """What spaces a sampler's steps and says the noise level that a network is told."""
            ...

    @classmethod
    @abstractmethod
    def examples(cls) -> Mapping[str, "Process"]:
        """Members whose claims are measured, by a name that says what is special."""

    @abstractmethod
    def example_data(self, count: int) -> Any:
        """Clean float64 (or int64) states, spread over the space, the same every time: two elements a sample or so."""

    @abstractmethod
    def features(self, x: Any) -> Tensor:
        """States as real numbers, smooth on the space and different for different states.

        Every element becomes the m numbers it needs, on an axis of their own: angles (batch, n) have the features
        (batch, n, 2), tokens (batch, n, classes), rotations (batch, n, 3, 3) the features (batch, n, 9); of the state's
        floating dtype, float32 for tokens. They are what a network sees, and that in which laws are compared.
        """

    @abstractmethod
    def contains(self, x: Any) -> Tensor:
        """Whether each sample lies in the space, boolean (batch,)."""

    @abstractmethod
    def transition(self, xs: Any, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Any:
        """A draw of x_t given x_s, for s <= t."""

    @abstractmethod
    def prior(
        self,
        shape: Any,
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Tensor | None = None,
    ) -> Any:
        """A draw of the noise that sampling starts from, at time ``t``; ``shape`` is that of one sample."""

    @abstractmethod
    def bridge(self, xt: Any, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Any:
        """A draw of x_s given x_t and the belief about x_0 (drawn from at the address "clean"), for s <= t.

        Exact for any s < t if the belief is the true posterior.
        """

    @abstractmethod
    def log_density(self, xt: Any, x0: Any, t: Tensor | float) -> Tensor:
        """log q(x_t | x_0) in nats, float64 (batch,); against the space's own measure, the same for all x_0."""

    def mask_of(self, mask: Tensor | None) -> Any:
        """Where a state has its places, given where the set has elements, ``mask`` (batch, n): there, by default."""
        return mask

    def masked(self, x: Any, mask: Tensor | None) -> Any:
        """The state with its padded places at zero, where ``mask`` (batch, n) says which elements there are."""
        return map_state(lambda part: apply_mask(part, self.mask_of(mask)), x)

    def noise(self, x0: Any, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Any:
        """A draw of x_t given x_0."""
        return self.transition(x0, torch.zeros_like(float64(t)), t, seeds, mask)


def even_pairs(count: int) -> Tensor:
    """Two numbers in [0, 1) a row, float64 (count, 2), spread evenly, and some of them hanging together."""
    spread = torch.arange(1, count + 1, dtype=torch.float64) * _GOLDEN % 1
    return torch.stack((spread, torch.where(spread < 0.6, 0.1 * spread, 0.7)), 1)
