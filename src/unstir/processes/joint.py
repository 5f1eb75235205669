"""Several processes at once, one for each named part of the state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from unstir.core.errors import InputError, suggest
from unstir.core.seeds import Seeds
from unstir.processes.base import Process
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.base import Schedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess

__all__ = ["JointProcess"]

Times: TypeAlias = Tensor | float | Mapping[str, Tensor | float]


def time_of(t: Times, name: str) -> Any:
    """The time of one part: the common one, or its own."""
    return t[name] if isinstance(t, Mapping) else t


@dataclass(frozen=True)
class JointProcess(Process):
    """A process for each named part of the state, which is a dict: positions with angles with kinds of atoms.

    Given the clean data the parts are stirred independently, each by its own schedule, at one common time. A part's
    draws have the part's name in their address. Grids of a sampler's steps are spaced by the schedule of the part
    named ``clock``, the first one by default. A time may also be a mapping with one for each part: a part at time 0
    is known, whatever the others are (``guidance.given_parts``).

    The ``mask`` of a padded set says which of its elements are there; each part makes its own of it (``mask_of``). The
    parts named in ``whole`` belong to the set as a whole, a crystal's lattice, and are never padded.

    Reference: Campbell et al., Generative flows on discrete state-spaces (2024), section 4.
    """

    parts: Mapping[str, Any]
    clock: str | None = None
    whole: Sequence[str] = ()
    space = "joint"
    learned = "joint"

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("a joint process needs a part at least: a name and its process")
        if self.clock is not None and self.clock not in self.parts:
            raise InputError(f"the clock {self.clock!r} is no part; {suggest(self.clock, self.parts)}")
        for name in self.whole:
            if name not in self.parts:
                raise InputError(f"the whole's {name!r} is no part; {suggest(name, self.parts)}")

    @classmethod
    def examples(cls) -> Mapping[str, "JointProcess"]:
        """Members whose claims are measured."""
        return {
            "vector, angle and tokens": cls(
                {
                    "position": GaussianProcess(),
                    "angle": WrappedProcess(ExponentialVESchedule(0.01, 2.0)),
                    "kind": CategoricalProcess(3, rates="absorbing"),
                }
            )
        }

    @property
    def schedule(self) -> Schedule:
        """The schedule that spaces a sampler's steps: the one of the part named ``clock``."""
        return self.parts[self.clock or next(iter(self.parts))].schedule

    def example_data(self, count: int) -> dict[str, Any]:
        return {name: part.example_data(count) for name, part in self.parts.items()}

    def features(self, x: Any) -> Tensor:
        """Those of all parts, flattened, side by side."""
        self._check(x, "state")
        return torch.cat([part.features(x[name]).flatten(1) for name, part in self.parts.items()], 1)

    def contains(self, x: Any) -> Tensor:
        self._check(x, "state")
        return torch.stack([part.contains(x[name]) for name, part in self.parts.items()]).all(0)

    def log_density(self, xt: Any, x0: Any, t: Times) -> Tensor:
        return torch.stack(
            [part.log_density(xt[name], x0[name], time_of(t, name)) for name, part in self.parts.items()]
        ).sum(0)

    def noise(self, x0: Any, t: Times, seeds: Seeds, mask: Any = None) -> dict[str, Any]:
        """A draw of x_t given x_0."""
        self._check(x0, "state")
        masks = self.mask_of(mask)
        return {
            name: part.noise(x0[name], time_of(t, name), seeds.at(name), masks[name])
            for name, part in self.parts.items()
        }

    def transition(self, xs: Any, s: Times, t: Times, seeds: Seeds, mask: Any = None) -> dict[str, Any]:
        """A draw of x_t given x_s, for s <= t."""
        self._check(xs, "state")
        masks = self.mask_of(mask)
        return {
            name: part.transition(xs[name], time_of(s, name), time_of(t, name), seeds.at(name), masks[name])
            for name, part in self.parts.items()
        }

    def prior(
        self,
        shape: Any,
        seeds: Seeds,
        t: Times = 1.0,
        dtype: torch.dtype = torch.float32,
        mask: Any = None,
    ) -> dict[str, Any]:
        """A draw of the noise that sampling starts from, at time ``t``; ``shape`` names that of each part."""
        if not isinstance(shape, Mapping):
            raise InputError(f"a joint process needs a shape for each of {sorted(self.parts)}; seen {shape}")
        self._check(shape, "shape")
        masks = self.mask_of(mask)
        return {
            name: part.prior(shape[name], seeds.at(name), time_of(t, name), dtype, masks[name])
            for name, part in self.parts.items()
        }

    def bridge(self, xt: Any, posterior: Any, t: Times, s: Times, seeds: Seeds, mask: Any = None) -> dict[str, Any]:
        """A draw of x_s given x_t and the belief about x_0, for s <= t.

        One joint draw of the clean data, then every part's own bridge to it: what the belief knows of how the parts
        hang together reaches x_s.
        """
        self._check(xt, "state")
        x0 = posterior.sample(seeds.at("clean"))
        self._check(x0, "belief")
        masks = self.mask_of(mask)
        return {
            name: part.bridge(
                xt[name], Drawn(x0[name]), time_of(t, name), time_of(s, name), seeds.at(name), masks[name]
            )
            for name, part in self.parts.items()
        }

    def mask_of(self, mask: Any) -> dict[str, Any]:
        """The mask of each part, None for what belongs to the whole; of those of all parts, they themselves."""
        if isinstance(mask, Mapping):  # a joint part within a joint state has been given its own
            return dict(mask)
        return {name: None if name in self.whole else part.mask_of(mask) for name, part in self.parts.items()}

    def masked(self, x: Any, mask: Tensor | None) -> dict[str, Any]:
        """The state with the padded places of each part at zero."""
        return {
            name: x[name] if name in self.whole else part.masked(x[name], mask) for name, part in self.parts.items()
        }

    def _check(self, given: Any, what: str) -> None:
        seen = sorted(given) if isinstance(given, Mapping) else type(given).__name__
        if seen != sorted(self.parts):
            raise InputError(f"the {what} of this joint process has the parts {sorted(self.parts)}; seen {seen}")


@dataclass(frozen=True)
class Drawn:
    """A belief that has been drawn from already."""

    x0: Any

    def sample(self, seeds: Seeds) -> Any:
        """What was drawn."""
        return self.x0
