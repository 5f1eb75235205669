"""Normal noise on angles."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.noises.base import MeasurementNoise
from unstir.processes import wrapped_normal

__all__ = ["WrappedNormalNoise"]


@dataclass(frozen=True)
class WrappedNormalNoise(MeasurementNoise):
    """Independent normal noise on angles, modulo their period; readings lie in [0, period).

    ``deviation`` and ``period`` are in one unit: 0.05 and 1 for turns, 18 and 360 for degrees.
    Raises InputError for a deviation or a period that is not positive and finite.

    Reference: Mardia and Jupp, Directional statistics (2000), section 3.5.7.
    """

    deviation: float | int = 0.05
    period: float | int = 1.0

    def __post_init__(self) -> None:
        for value, what in ((self.deviation, "deviation"), (self.period, "period")):
            if not isinstance(value, float | int) or not 0 < value < math.inf:
                raise InputError(f"the {what} of noise on angles is positive and finite; seen {value}")

    def draw(self, clean: Tensor, seeds: Seeds) -> Tensor:
        return wrapped_normal.wrap(clean + self.deviation * seeds.normal_like(clean), self.period)

    def log_likelihood(self, reading: Tensor, clean: Tensor) -> Tensor:
        deviation = torch.tensor(self.deviation, dtype=torch.float64, device=clean.device)
        away = reading.double() - clean.double()
        return wrapped_normal.log_density(away, deviation, self.period).flatten(1).sum(1)

    @classmethod
    def examples(cls) -> Mapping[str, "WrappedNormalNoise"]:
        """Narrow, and nearly around."""
        return {"narrow": cls(0.05), "nearly around, in degrees": cls(100.0, 360.0)}
