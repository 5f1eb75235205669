"""Normal noise of known deviation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.noises.base import MeasurementNoise

__all__ = ["GaussianNoise"]


@dataclass(frozen=True)
class GaussianNoise(MeasurementNoise):
    """Independent normal noise of one standard deviation, in the unit of the measured values.

    Zero for an exact measurement, which has no density: methods that need one refuse it.
    Raises InputError for a deviation that is negative or not finite.
    """

    deviation: float | int = 0.05

    def __post_init__(self) -> None:
        if not isinstance(self.deviation, float | int) or not 0 <= self.deviation < math.inf:
            raise InputError(f"a standard deviation is finite and not negative; seen {self.deviation}")

    def draw(self, clean: Tensor, seeds: Seeds) -> Tensor:
        return clean + self.deviation * seeds.normal_like(clean)

    def log_likelihood(self, reading: Tensor, clean: Tensor) -> Tensor:
        if self.deviation == 0:
            raise InputError(
                "an exact measurement has no likelihood; take a small deviation, or a method that needs none"
            )
        away = (reading.double() - clean.double()) / self.deviation
        return -(away.square() / 2 + math.log(self.deviation) + math.log(2 * math.pi) / 2).flatten(1).sum(1)

    @classmethod
    def examples(cls) -> Mapping[str, "GaussianNoise"]:
        """Little and much."""
        return {"little": cls(0.05), "much": cls(2.0)}
