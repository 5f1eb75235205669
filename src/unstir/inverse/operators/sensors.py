"""Values at a few places between the grid points: weather stations, gauges, buoys."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.operators.shapes import at_least, sample_shape, space_of
from unstir.inverse.operators.sparse import SparseOperator, interpolation

__all__ = ["SensorsOperator"]


@dataclass(frozen=True, eq=False)
class SensorsOperator(SparseOperator):
    """What sensors at given places read, by (multi-)linear interpolation; (channels, sensors).

    ``positions`` (sensors, axes of space) are real coordinates in elements, 0 for the centre of the first of a side and
    ``side - 1`` for that of the last; without them ``count`` sensors stand at random places, by ``seed``.
    Raises InputError for sensors that stand beyond the grid.
    """

    shape: tuple[int, ...]
    count: int = 16
    seed: int = 0
    positions: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "what sensors read"))
        sides = torch.tensor(space_of(self.shape), dtype=torch.float64)
        if self.positions is None:
            at_least(self.count, 1, "the number of sensors")
            drawn = Seeds.range(self.seed, 1).at("sensors").uniform((self.count, len(sides)))[0]
            object.__setattr__(self, "positions", drawn * (sides - 1))
        try:
            positions = torch.as_tensor(self.positions, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"sensors' places are rows of {len(sides)} coordinates; seen {self.positions!r}"
            ) from error
        if positions.ndim != 2 or positions.shape[1] != len(sides) or not len(positions):
            raise InputError(f"sensors' places are rows of {len(sides)} coordinates; seen {tuple(positions.shape)}")
        astray = ~((positions >= 0) & (positions <= sides - 1)).all(1)
        if bool(astray.any()):
            raise InputError(
                f"sensors stand between 0 and {[int(side) - 1 for side in sides]}, in elements; "
                f"seen one at {positions[astray][0].tolist()}"
            )
        object.__setattr__(self, "positions", positions)

    @property
    def grid(self) -> tuple[int, ...]:
        """One value a sensor."""
        return (len(self.positions),)

    @cached_property
    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """The interpolation's weights."""
        return interpolation(self.positions, space_of(self.shape))

    @classmethod
    def examples(cls) -> Mapping[str, "SensorsOperator"]:
        """At random and at given places, on a line, a map and in a volume."""
        return {
            "map": cls((2, 5, 6), 7),
            "line": cls((8,), positions=[[0.0], [2.25], [6.5], [7.0]]),
            "volume": cls((1, 3, 4, 3), 5, seed=1),
            "two at one place": cls((1, 3, 3), positions=[[1.5, 1.5], [1.5, 1.5], [0.0, 2.0]]),
        }
