"""Angles in their own unit, to turns in [0, 1) and back."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, suggest
from unstir.processes.wrapped_normal import wrap

PERIODS = {"degrees": 360.0, "radians": 2 * math.pi, "turns": 1.0, "gon": 400.0, "hours": 24.0}


@dataclass(frozen=True)
class AngleEncoding:
    """The map of angles to turns: value / period modulo one, as float32.

    names: one for each angle of a row. unit: what the period is counted in. low: decoded angles lie in
    [low, low + period). On the way there and back an angle moves by at most 6e-8 of the period, float32's rounding.
    """

    names: tuple[str, ...]
    unit: str
    period: float
    low: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.period) and self.period > 0):
            raise InputError(f"a period is positive and finite; seen {self.period}")
        if not self.names or len(set(self.names)) < len(self.names):
            raise InputError(f"every angle needs a name of its own; seen {list(self.names)}")

    def encode(self, values: np.ndarray) -> Tensor:
        """Angles float64 (batch, angles) in their own unit to float32 in [0, 1)."""
        turns = torch.from_numpy(np.asarray(values, dtype=np.float64) / self.period)
        return wrap(wrap(turns, 1.0).float(), 1.0)

    def decode(self, state: Tensor) -> np.ndarray:
        """Turns (batch, angles) to float64 in the data's own unit."""
        if state.ndim != 2 or state.shape[1] != len(self.names):
            raise InputError(f"angles of shape {tuple(state.shape[1:])}, but this data has {(len(self.names),)}")
        turns = state.detach().to("cpu", torch.float64)
        return self.low + wrap(turns * self.period - self.low, self.period).numpy()

    def record(self) -> dict[str, Any]:
        """The encoding as plain values."""
        return {**asdict(self), "names": list(self.names)}


def restore(record: Mapping[str, Any]) -> AngleEncoding:
    """The encoding that ``record()`` came from."""
    told: dict[str, Any] = {**record, "names": tuple(record["names"])}
    return AngleEncoding(**told)


def encoding_for(values: np.ndarray, names: tuple[str, ...], unit: Any, period: Any, source: str) -> AngleEncoding:
    """The encoding of angles in that unit; where some are negative, decoded ones are centred on zero too.

    Raises InputError where neither unit nor period is stated, and for angles beyond two periods.
    """
    if period is None:
        if unit not in PERIODS:
            seen = (
                f"unit {unit!r}; {suggest(str(unit), PERIODS)}"
                if unit
                else f"no unit, and values from {values.min():g}"
            )
            raise InputError(
                f"{source}: in which unit are the angles? Say `data.unit=degrees` (or {', '.join(PERIODS)}), or with "
                f"`data.period=12` where they begin anew; seen {seen}{'' if unit else f' to {values.max():g}'}"
            )
        period = PERIODS[unit]
    if isinstance(period, bool) or not isinstance(period, int | float) or not 0 < period < math.inf:
        raise InputError(f"`data.period: {period!r}`: a positive number is needed")
    if (largest := float(np.abs(values).max())) > 2 * period:
        raise InputError(
            f"{source}: angles up to {largest:g}, which is more than two turns of {period:g}; are they in another unit?"
        )
    low = -period / 2 if values.min() < 0 else 0.0
    return AngleEncoding(names, str(unit or "units"), float(period), low)
