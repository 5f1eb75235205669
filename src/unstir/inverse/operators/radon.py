"""Sums along parallel rays: tomography."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.inverse.operators.shapes import at_least, sample_shape, space_of
from unstir.inverse.operators.sparse import SparseOperator, interpolation

__all__ = ["RadonOperator"]


@dataclass(frozen=True, eq=False)
class RadonOperator(SparseOperator):
    r"""A picture's sums along parallel rays at several angles, (channels, detectors, angles), in units of one element.

    ``angles`` is a number of them, spread evenly over half a turn, or a list in degrees; ``detectors`` their number,
    one element wide each, by default as many as the picture's diagonal holds, so that every ray is caught. At angle
    theta the detector s sums the picture at
    (row, column) :math:`= c + s(-\sin\theta, \cos\theta) + r(\cos\theta, \sin\theta)`, over whole r, interpolated
    linearly; the turning point c is the element at half of each side, rounded down.

    Reference: Kak, Slaney, Principles of computerized tomographic imaging (1988), section 3.1.
    """

    shape: tuple[int, ...]
    angles: Any = 60
    detectors: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "tomography", (2,)))
        if isinstance(self.angles, int):
            count = at_least(self.angles, 1, "the number of angles")
            object.__setattr__(self, "angles", [180 * number / count for number in range(count)])
        try:
            angles = torch.as_tensor(self.angles, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"angles are a number of them, or a list in degrees; seen {self.angles!r}") from error
        if angles.ndim != 1 or not len(angles) or not bool(angles.isfinite().all()):
            raise InputError(f"angles are a list of finite numbers, in degrees; seen {self.angles!r}")
        object.__setattr__(self, "angles", angles)
        if self.detectors is not None:
            at_least(self.detectors, 1, "the number of detectors")

    @cached_property
    def _diagonal(self) -> int:
        return math.ceil(math.hypot(*space_of(self.shape)))

    @property
    def grid(self) -> tuple[int, ...]:
        """Detectors by angles."""
        return (self._diagonal if self.detectors is None else self.detectors, len(self.angles))

    @cached_property
    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each ray the weights of the elements beside it."""
        sides, (detectors, count) = space_of(self.shape), self.grid
        middle = torch.tensor([side // 2 for side in sides], dtype=torch.float64)
        beside = torch.arange(detectors, dtype=torch.float64)[:, None] - detectors // 2
        # one beyond the diagonal on either side, for the turning point is no more than near the middle
        ahead = torch.arange(-self._diagonal // 2 - 1, self._diagonal // 2 + 2, dtype=torch.float64)
        found = []
        for number, angle in enumerate(torch.deg2rad(self.angles)):
            row = -beside * angle.sin() + ahead * angle.cos()
            column = beside * angle.cos() + ahead * angle.sin()
            points = torch.stack((row, column), -1).reshape(-1, 2) + middle
            places, columns, values = interpolation(points, sides)
            found.append((places // len(ahead) * count + number, columns, values))
        rows, columns, values = (torch.cat(parts) for parts in zip(*found, strict=True))
        return rows, columns, values

    @classmethod
    def examples(cls) -> Mapping[str, "RadonOperator"]:
        """Few angles, several channels, few detectors."""
        return {
            "few angles": cls((1, 6, 6), 4),
            "oblong, two channels": cls((2, 4, 7), [0.0, 20.0, 77.5]),
            "few detectors": cls((1, 6, 5), 5, 4),
        }
