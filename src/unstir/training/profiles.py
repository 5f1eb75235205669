r"""Which averages of the weights are kept: their profiles over the past.

With :math:`\theta_k` the weights after step k, an average is updated as
:math:`\hat\theta_k = \beta_k\hat\theta_{k-1} + (1-\beta_k)\theta_k`; the kinds differ in :math:`\beta_k`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unstir.core.errors import InputError, suggest, unknown

LONGEST = 1 / math.sqrt(12)  # the relative length of the uniform average, gamma = 0


class Profile(ABC):
    """One kind of average: its label, and how much of the past it keeps."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What its files are called."""

    @abstractmethod
    def decay(self, step: int, batch: int) -> float:
        """beta after ``step`` steps (at least 1) of ``batch`` samples."""


@dataclass(frozen=True)
class PowerProfile(Profile):
    r"""Weights of the past that grow as a power, :math:`(\tau/t)^\gamma`: the window grows with the training.

    ``length`` is the profile's standard deviation as a part of the training done; the update is
    :math:`\beta_k = (1-1/k)^{\gamma+1}`, which gives step k of n exactly the weight
    :math:`(k/n)^{\gamma+1} - ((k-1)/n)^{\gamma+1}`.

    Reference: Karras et al., Analyzing and improving the training dynamics of diffusion models (2024), section 3.1.
    """

    length: int | float

    def __post_init__(self) -> None:
        if isinstance(self.length, bool) or not isinstance(self.length, int | float) or not 0 < self.length <= LONGEST:
            raise InputError(
                f"the length of a power average is a part of the training above 0 and at most {LONGEST:.4f} "
                f"(all steps alike); seen {self.length!r}"
            )

    @property
    def label(self) -> str:
        return f"average-{self.length:.3f}"

    @property
    def gamma(self) -> float:
        """The power."""
        return gamma_of(self.length)

    def decay(self, step: int, batch: int) -> float:
        return (1 - 1 / step) ** (self.gamma + 1)


@dataclass(frozen=True)
class ClassicalProfile(Profile):
    """Exponential forgetting with a half-life in samples, shorter at the start of the training.

    The half-life is at most ``ramp_up`` times the samples seen so far (None: never shortened).

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), appendix F.2.
    """

    halflife_samples: int | float = 500_000
    ramp_up: int | float | None = 0.05

    def __post_init__(self) -> None:
        for name, value in (("halflife_samples", self.halflife_samples), ("ramp_up", self.ramp_up)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
                raise InputError(f"training.ema: {name} must be a positive number; seen {value!r}")

    @property
    def label(self) -> str:
        return "average"

    def decay(self, step: int, batch: int) -> float:
        seen = step * batch
        halflife = self.halflife_samples if self.ramp_up is None else min(self.halflife_samples, seen * self.ramp_up)
        return 0.5 ** (batch / halflife)


@dataclass(frozen=True)
class Plan:
    """What ``training.ema`` says: the profiles that are tracked, and how many snapshots of them are kept."""

    profiles: tuple[Profile, ...] = ()
    snapshots: int = 0

    @classmethod
    def of(cls, given: Mapping[str, Any] | str | None) -> "Plan":
        """From plain values, e.g. ``{"name": "power", "lengths": [0.05, 0.1], "snapshots": 8}``."""
        if given is None:
            return cls()
        options: dict[str, Any] = {"name": given} if isinstance(given, str) else dict(given)
        name = options.pop("name", None)
        allowed = {"power": ("lengths", "snapshots"), "classical": ("halflife_samples", "ramp_up")}
        if name not in allowed:
            raise unknown("training.ema", str(name), allowed)
        for option in options:
            if option not in allowed[name]:
                raise InputError(f"training.ema: {name!r} has no option {option!r}; {suggest(option, allowed[name])}")
        if name == "classical":
            return cls((ClassicalProfile(**options),))
        lengths = options.get("lengths", (0.05, 0.10))
        if not isinstance(lengths, Sequence) or isinstance(lengths, str) or not lengths:
            raise InputError(f"training.ema: lengths must be a list such as [0.05, 0.10]; seen {lengths!r}")
        profiles = tuple(PowerProfile(length) for length in lengths)
        if len({profile.label for profile in profiles}) < len(profiles):
            raise InputError(f"training.ema: lengths must differ in their first three decimals; seen {list(lengths)}")
        snapshots = options.get("snapshots", 8)
        if isinstance(snapshots, bool) or not isinstance(snapshots, int) or snapshots < 0:
            raise InputError(f"training.ema: snapshots must be a whole number, 0 for none; seen {snapshots!r}")
        return cls(profiles, snapshots)

    def is_snapshot(self, step: int, steps: int) -> bool:
        """Whether a snapshot is due after this step; they are spread evenly, the last one at the end."""
        return self.snapshots > 0 and step * self.snapshots // steps > (step - 1) * self.snapshots // steps


def gamma_of(length: int | float) -> float:
    r"""The power whose profile has this relative standard deviation.

    It is the largest root of :math:`\sigma^2(\gamma+2)^2(\gamma+3) = \gamma+1`, the variance of the density
    :math:`(\gamma+1)\tau^\gamma` on [0, 1].

    Reference: Karras et al., Analyzing and improving the training dynamics of diffusion models (2024), eq. 123.
    """
    inverse = 1 / length**2
    return float(max(np.roots([1, 7, 16 - inverse, 12 - inverse]).real))
