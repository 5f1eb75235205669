"""What the numbers of a state are: quantities with units, along named axes with coordinates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unstir.core.errors import InputError

CHANNEL = "channel"


@dataclass(frozen=True)
class Quantity:
    """One channel: a variable (at one level, where it has several), its unit as CF writes it, and its long name."""

    variable: str
    unit: str = "1"
    title: str = ""
    level: float | None = None
    attributes: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What tables and figures call it: ``temperature`` or ``geopotential 500``."""
        return self.variable if self.level is None else f"{self.variable} {self.level:g}"


@dataclass(frozen=True)
class Axis:
    """A named axis of a state behind its channels: ``lead``, ``latitude``, ``longitude``, ``x``, ``station``, ...

    ``values``: its coordinate, numbers (of ``lead``: in ``unit``) or texts. ``periodic``: whether its end meets its
    beginning, as longitudes around the globe do. ``attributes`` are the file's own.
    """

    name: str
    values: tuple[Any, ...]
    unit: str = ""
    periodic: bool = False
    attributes: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Layout:
    """The quantities and axes of a state (batch, channels, *axes), and the calendar that its times are told in."""

    quantities: tuple[Quantity, ...]
    axes: tuple[Axis, ...] = ()
    calendar: str = "standard"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one state, (channels, *axes)."""
        return (len(self.quantities), *(len(axis) for axis in self.axes))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the axes behind the channels."""
        return tuple(axis.name for axis in self.axes)

    def axis(self, name: str) -> Axis | None:
        """The axis of that name, or None."""
        return next((axis for axis in self.axes if axis.name == name), None)

    def weights(self) -> np.ndarray:
        """The area that each place stands for, float64 of the axes' shape, mean 1: cosines along ``latitude``, else 1.

        Raises InputError for latitudes beyond the poles.
        """
        found = np.ones(self.shape[1:])
        for place, axis in enumerate(self.axes):
            if axis.name == "latitude":
                latitudes = np.asarray(axis.values, dtype=np.float64)
                if (np.abs(latitudes) > 90 + 1e-6).any():
                    raise InputError(
                        f"latitudes lie from -90 to 90 degrees; seen {latitudes.min():g} to {latitudes.max():g}"
                    )
                shape = [1] * found.ndim
                shape[place] = len(latitudes)
                found = found * np.cos(np.deg2rad(latitudes)).clip(1e-6).reshape(shape)
        return np.asarray(found / found.mean())

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "quantities": [_plain(vars(each)) for each in self.quantities],
            "axes": [_plain(vars(each)) for each in self.axes],
            "calendar": self.calendar,
        }

    @staticmethod
    def restored(record: Mapping[str, Any]) -> "Layout":
        """The layout that ``record()`` came from."""
        return Layout(
            tuple(Quantity(**each) for each in record["quantities"]),
            tuple(
                Axis(each["name"], tuple(each["values"]), each["unit"], each["periodic"], each["attributes"])
                for each in record["axes"]
            ),
            record["calendar"],
        )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _as_json(value) for key, value in values.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, np.ndarray | Sequence) and not isinstance(value, str):
        return [_as_json(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value
