"""What is measured of angles: their cosines and sines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.inverse.operators.base import Operator
from unstir.inverse.operators.shapes import sample_shape

__all__ = ["AngleOperator"]


@dataclass(frozen=True, eq=False)
class AngleOperator(Operator):
    """Cosine and sine of chosen angles, (angles, 2): what a compass, a detector of polarisation or of phase reads.

    Angles have the ``period``, 1 for turns; ``places`` are their numbers in the flattened sample, all by default.
    Raises InputError for places that are not there, and a period that is not positive.
    """

    shape: tuple[int, ...]
    period: float | int = 1.0
    places: Sequence[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "a sample of angles"))
        if not isinstance(self.period, float | int) or not 0 < self.period < math.inf:
            raise InputError(f"a period is positive and finite; seen {self.period}")
        size = math.prod(self.shape)
        places = tuple(range(size)) if self.places is None else tuple(self.places)
        if not places or not all(isinstance(place, int) and 0 <= place < size for place in places):
            raise InputError(f"the places of angles are numbers from 0 to {size - 1}; seen {places}")
        object.__setattr__(self, "places", places)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (len(self.places), 2)  # type: ignore[arg-type]

    def __call__(self, x0: Tensor) -> Tensor:
        turned = x0.flatten(1)[:, list(self.places)] * (2 * math.pi / self.period)  # type: ignore[arg-type]
        return torch.stack((turned.cos(), turned.sin()), -1)

    @classmethod
    def examples(cls) -> Mapping[str, "AngleOperator"]:
        """All, in turns, and some, in degrees."""
        return {"all": cls((2, 3)), "some, in degrees": cls((5,), 360.0, (0, 3))}
