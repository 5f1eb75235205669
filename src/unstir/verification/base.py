"""What a check is, and what it finds."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from unstir.core.seeds import Seeds


@dataclass(frozen=True)
class Effort:
    """How much a check may spend: ``quick`` is for the whole catalogue in some minutes, the rest takes its time."""

    quick: bool = False
    seed: int = 0

    def of(self, quick: Any, full: Any) -> Any:
        """One of two settings."""
        return quick if self.quick else full

    def seeds(self, count: int, *purpose: str | int) -> Seeds:
        """Addresses for a check's own draws; a purpose per use."""
        return Seeds.range(self.seed, count).at("verify", *purpose)


@dataclass(frozen=True)
class Curve:
    """Points or a line of a plot, from any arrays of one axis; kept as lists of numbers.

    ``error`` is one standard error of each y; ``dashed`` marks what was expected.
    """

    name: str
    x: Any
    y: Any
    error: Any = None
    dashed: bool = False

    def __post_init__(self) -> None:
        for key in ("x", "y", "error"):
            if getattr(self, key) is not None:
                object.__setattr__(self, key, np.asarray(getattr(self, key), dtype=np.float64).tolist())


@dataclass(frozen=True)
class Plot:
    """What a finding looks like: a convergence line, a calibration curve, two densities."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    x_log: bool = False
    y_log: bool = False


@dataclass(frozen=True)
class Measured:
    """One figure, and between which bounds the claim allows it.

    ``uncertainty`` is one standard error of the value. ``false_alarm`` is the chance that something correct
    misses the bounds: zero where nothing is random.
    """

    quantity: str
    value: float | int
    low: float | int = -math.inf
    high: float | int = math.inf
    uncertainty: float | int | None = None
    false_alarm: float = 0.0
    plot: Plot | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the value lies within the bounds; NaN does not."""
        return bool(self.low <= self.value <= self.high)


class NotMeasured(Exception):  # noqa: N818  (no error: the claim cannot be, or need not be, put to this entry)
    """Raised by a check that has nothing to say of an entry; its text is the reason.

    ``silent`` where the claim does not concern the entry at all (order of an ODE solver, of a sampler that
    draws); otherwise the table shows that it was left out, and why (a file is needed, a package is missing).
    """

    def __init__(self, reason: str, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent


Check: TypeAlias = Callable[[Any, Effort], Iterable[Measured]]


@dataclass(frozen=True)
class Claim:
    """What a check measures: a kind, of it the entries ``only`` (all if empty), and only in full if ``slow``."""

    kind: str
    only: Collection[str] = field(default_factory=tuple)
    slow: bool = False


def claim(kind: str, *only: str, slow: bool = False) -> Callable[[Check], Check]:
    """Marks a function as a check of a kind's entries, or of those named ``only``.

    It is called with an entry made (the members of its ``examples``, else the entry built without options;
    of ``physics`` the function or class itself) and an ``Effort``, and yields ``Measured`` figures. Only the
    first line of its docstring is shown: the claim, as a sentence that is true of a correct entry.
    """

    def mark(check: Check) -> Check:
        check.claim = Claim(kind, only, slow)  # type: ignore[attr-defined]
        return check

    return mark
