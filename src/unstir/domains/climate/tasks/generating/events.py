"""An event: what of a state is told, and the threshold that makes it one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.domains.climate.encoding import ClimateEncoding

STATISTICS = ("maximum", "minimum", "mean")
_OPTIONS = ("variable", "statistic", "average", "within", "above", "below")


@dataclass(frozen=True)
class Event:
    """A statistic of one variable beyond a threshold, both in the variable's unit.

    ``statistic`` is taken over all places and times of a state; before that the axes ``average`` are averaged over
    (``statistic: maximum, average: [lead]``: the highest of the places' means in time), by area where they are
    latitudes. ``within`` keeps of an axis what lies between two coordinates. One of ``above`` and ``below`` is given.
    """

    variable: str
    statistic: str = "maximum"
    average: tuple[str, ...] = ()
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    above: float | None = None
    below: float | None = None

    @classmethod
    def of(cls, options: Any) -> "Event":
        """From a recipe's mapping; InputError for what is unknown, missing or no number."""
        if not isinstance(options, Mapping) or "variable" not in options:
            raise InputError(f"an event names a variable, as in {{variable: t2m, above: 40}}; seen {options!r}")
        for key in options:
            if key not in _OPTIONS:
                raise unknown("option of an event", str(key), _OPTIONS)
        given = {key: options.get(key) for key in ("above", "below") if options.get(key) is not None}
        if len(given) != 1 or not all(_number(value) for value in given.values()):
            raise InputError(f"an event has one threshold, above or below, a number; seen {given or 'none'}")
        statistic = options.get("statistic", "maximum")
        if statistic not in STATISTICS:
            raise unknown("statistic of an event", str(statistic), STATISTICS)
        average = options.get("average") or ()
        within = options.get("within") or {}
        for name, ends in dict(within).items():
            if not isinstance(ends, list | tuple) or len(ends) != 2 or not all(_number(end) for end in ends):
                raise InputError(f"within: {name} needs two numbers, its first and last coordinate; seen {ends!r}")
        return cls(
            str(options["variable"]),
            statistic,
            (average,) if isinstance(average, str) else tuple(average),
            {name: (float(ends[0]), float(ends[1])) for name, ends in dict(within).items()},
            **{key: float(str(value)) for key, value in given.items()},
        )

    @property
    def threshold(self) -> float:
        """What the statistic must pass, in the variable's unit."""
        return float(self.above if self.above is not None else self.below or 0.0)

    @property
    def told(self) -> str:
        """The event in words."""
        averaged = f" of the mean over {' and '.join(self.average)}" if self.average else ""
        where = "".join(f", {name} {low:g} to {high:g}" for name, (low, high) in self.within.items())
        side = "above" if self.above is not None else "below"
        return f"{self.statistic}{averaged} of {self.variable}{where} {side} {self.threshold:g}"


@dataclass(frozen=True)
class BoundEvent:
    """An event of states (batch, channels, *axes): of ``parts(state)``, float64 (batch, k), one or all pass ``level``.

    Parts and level have the sign that makes high what is rare. ``statistic(values)`` tells the statistic itself, in the
    variable's unit and with its own sign, of values in the data's units.
    """

    event: Event
    parts: Callable[[Tensor], Tensor]
    level: float
    every: bool
    statistic: Callable[[Tensor], Tensor]

    def severity(self, state: Tensor) -> Tensor:
        """Float64 (batch,): the event is that it is at least ``level``."""
        parts = self.parts(state)
        return parts.amin(1) if self.every else parts.amax(1)


def bind(event: Event, encoding: ClimateEncoding) -> BoundEvent:
    """The event for states of this encoding; InputError where the layout has no such variable, axis or coordinate."""
    layout = encoding.layout
    names = [quantity.name for quantity in layout.quantities]
    if event.variable not in names:
        raise unknown("variable of the event", event.variable, names)
    for name in (*event.average, *event.within):
        if name not in layout.names:
            raise unknown("axis of the event", name, layout.names)
    keep = torch.ones(layout.shape[1:], dtype=torch.bool)
    for place, axis in enumerate(layout.axes):
        if axis.name in event.within:
            low, high = event.within[axis.name]
            values = torch.tensor(np.asarray(axis.values, dtype=np.float64))
            chosen = (values >= low) & (values <= high) if low <= high else (values >= low) | (values <= high)
            if not bool(chosen.any()):
                raise InputError(
                    f"within: no {axis.name} lies between {low:g} and {high:g}; they go from {float(values.min()):g} "
                    f"to {float(values.max()):g}"
                )
            keep &= chosen.reshape([-1 if other == place else 1 for other in range(len(layout.axes))])
    weights = torch.from_numpy(layout.weights()) * keep
    averaged = [1 + layout.names.index(name) for name in event.average]
    if event.statistic == "mean":
        averaged = list(range(1, 1 + len(layout.axes)))
    channel = names.index(event.variable)
    sign = 1.0 if event.above is not None else -1.0
    every = event.statistic == ("minimum" if event.above is not None else "maximum")

    def of_values(values: Tensor) -> Tensor:
        """Of values in the data's units: (batch, k), in the variable's unit."""
        chosen = values[:, channel].double()
        if averaged:
            share = weights / weights.sum([axis - 1 for axis in averaged], keepdim=True).clamp(min=1e-300)
            return (chosen * share).sum(averaged).reshape(len(chosen), -1)[:, keep_after]
        return chosen.reshape(len(chosen), -1)[:, keep_after]

    left = keep.clone()
    for axis in sorted(averaged, reverse=True):
        left = left.any(axis - 1)
    keep_after = left.flatten()

    def statistic(values: Tensor) -> Tensor:
        parts = of_values(values)
        return {"maximum": parts.amax(1), "minimum": parts.amin(1), "mean": parts[:, 0]}[event.statistic]

    def parts(state: Tensor) -> Tensor:
        return sign * of_values(encoding.scaling.decode(state.double()))

    return BoundEvent(event, parts, sign * event.threshold, every, statistic)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
