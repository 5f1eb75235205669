r"""Between a fine grid and a coarse one: means of blocks, interpolation, and draws that keep the means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.domains.climate.layout import Axis

INTERPOLATIONS = ("linear", "cubic", "nearest")
CONSISTENCIES = ("none", "shift", "scale")


@dataclass(frozen=True, eq=False)
class Grids:
    """A fine grid and the coarse one behind which it is hidden, along the same axes.

    ``factor``: each coarse cell is a block of so many fine ones along every axis; None for another grid, whose
    coordinates then say where it lies. ``areas``: what each fine place stands for, float64 of the fine shape.
    """

    fine: tuple[Axis, ...]
    coarse: tuple[Axis, ...]
    areas: np.ndarray
    factor: int | None = None

    @cached_property
    def cells(self) -> np.ndarray:
        """The coarse cell of each fine place, row by row: int64 (places,)."""
        own = np.meshgrid(*(self._nearest(axis) for axis in range(len(self.fine))), indexing="ij")
        return np.ravel_multi_index([part.ravel() for part in own], self.coarse_shape)

    @property
    def fine_shape(self) -> tuple[int, ...]:
        """How many places along each axis."""
        return tuple(len(axis) for axis in self.fine)

    @property
    def coarse_shape(self) -> tuple[int, ...]:
        """How many cells along each axis."""
        return tuple(len(axis) for axis in self.coarse)

    def means(self, values: np.ndarray) -> np.ndarray:
        """The blocks' means by area of values (..., *fine), (..., *coarse); NaN where all of a block is missing."""
        present = np.isfinite(values)
        weighed = self._sums(np.where(present, values, 0.0) * self.areas)
        area = self._sums(present * self.areas)
        return np.divide(weighed, area, out=np.full_like(weighed, np.nan), where=area > 0)

    def matrix(self) -> np.ndarray:
        """The means as a matrix, float64 (cells, places)."""
        places = math.prod(self.fine_shape)
        return self.means(np.eye(places).reshape(places, *self.fine_shape)).reshape(places, -1).T

    def interpolated(self, values: np.ndarray, kind: str) -> np.ndarray:
        """Coarse values (n, channels, *coarse) at the fine places, (n, channels, *fine)."""
        for axis, weights in enumerate(self._interpolation(kind)):
            values = np.moveaxis(np.moveaxis(values, axis + 2, -1) @ weights.T, -1, axis + 2)
        return values

    def spread(self, values: np.ndarray) -> np.ndarray:
        """The value of its cell for each fine place: (..., *coarse) to (..., *fine)."""
        ahead = values.shape[: values.ndim - len(self.coarse)]
        return values.reshape(*ahead, -1)[..., self.cells].reshape(*ahead, *self.fine_shape)

    def kept(self, values: np.ndarray, means: np.ndarray, how: str) -> np.ndarray:
        r"""The nearest fields to ``values`` (..., *fine) whose blocks have these ``means`` (..., *coarse).

        ``shift`` adds the same to all of a block: the orthogonal projection, nearest in the mean square by area.
        ``scale`` multiplies all of a block, for quantities that are never negative: the nearest by relative entropy.
        Blocks whose mean is missing, and blocks of zeros that would be scaled, stay as they are.
        """
        if how not in CONSISTENCIES:
            raise unknown("way to keep the means of blocks (data.consistent):", str(how), CONSISTENCIES)
        if how == "none":
            return values
        own = self.means(values)
        if how == "shift":
            return values + self.spread(np.nan_to_num(means - own, nan=0.0))
        usable = (own > 0) & (means >= 0)
        return values * self.spread(np.where(usable, means / np.where(usable, own, 1.0), 1.0))

    def _sums(self, values: np.ndarray) -> np.ndarray:
        if self.factor is None:
            raise InputError("means of blocks are known where a whole factor lies between the grids; set data.factor")
        ahead = values.shape[: values.ndim - len(self.fine)]
        shape = [part for count in self.coarse_shape for part in (count, self.factor)]
        within = tuple(len(ahead) + 2 * axis + 1 for axis in range(len(self.fine)))
        return values.reshape(*ahead, *shape).sum(axis=within)

    def _nearest(self, axis: int) -> np.ndarray:
        if self.factor is not None:
            return np.arange(len(self.fine[axis])) // self.factor
        found = np.floor(self._places[axis] + 0.5).astype(np.int64)
        count = len(self.coarse[axis])
        return found % count if self.fine[axis].periodic else found.clip(0, count - 1)

    def along(self, axis: int) -> np.ndarray:
        """Where the fine places lie along one axis, counted in coarse cells: float64, whole at a cell's centre."""
        return self._places[axis]

    @cached_property
    def _places(self) -> list[np.ndarray]:
        return [_among(fine, coarse) for fine, coarse in zip(self.fine, self.coarse, strict=True)]

    def _interpolation(self, kind: str) -> list[np.ndarray]:
        """For each axis the weights of coarse values, float64 (fine, coarse)."""
        if kind not in INTERPOLATIONS:
            raise unknown("interpolation (data.interpolation):", str(kind), INTERPOLATIONS)
        return [
            _weights(places, len(coarse), coarse.periodic, kind)
            for places, coarse in zip(self._places, self.coarse, strict=True)
        ]


def blocks(axes: Sequence[Axis], factor: int, areas: np.ndarray) -> Grids:
    """A fine grid with that of its blocks; InputError for a factor that does not divide it, or axes without numbers."""
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 2:
        raise InputError(f"`data.factor: {factor!r}`: a whole number of at least 2 is needed")
    coarse = []
    for axis in axes:
        if len(axis) % factor:
            raise InputError(
                f"`data.factor: {factor}` does not divide the {len(axis)} places along {axis.name!r}: take another "
                "factor, or cut the data"
            )
        centres = _numbers(axis).reshape(-1, factor).mean(axis=1)
        coarse.append(Axis(axis.name, tuple(centres.tolist()), axis.unit, axis.periodic, axis.attributes))
    return Grids(tuple(axes), tuple(coarse), areas, factor)


def between(fine: Sequence[Axis], coarse: Sequence[Axis], areas: np.ndarray) -> Grids:
    """Two grids of one region; InputError where their axes differ, or the coarse one does not reach over all of it."""
    if [axis.name for axis in fine] != [axis.name for axis in coarse]:
        raise InputError(
            f"the coarse data lies along {', '.join(axis.name for axis in coarse) or 'no axis'}, the fine data along "
            f"{', '.join(axis.name for axis in fine)}: both need the same axes"
        )
    for mine, theirs in zip(fine, coarse, strict=True):
        first, second = _numbers(mine), _numbers(theirs)
        if len(second) < 2:
            raise InputError(f"the coarse data needs at least 2 places along {theirs.name!r}; seen {len(second)}")
        step = np.abs(np.diff(second)).max()
        if not mine.periodic and (first.min() < second.min() - step or first.max() > second.max() + step):
            raise InputError(
                f"along {mine.name!r} the coarse data goes from {second.min():g} to {second.max():g} and does "
                f"not reach over the fine data, from {first.min():g} to {first.max():g}: give coarse data of the "
                "same region"
            )
    return Grids(tuple(fine), tuple(coarse), areas)


def _numbers(axis: Axis) -> np.ndarray:
    try:
        return np.asarray(axis.values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"downscaling needs numbers along {axis.name!r}; seen {axis.values[0]!r}: take data on a grid"
        ) from error


def _among(fine: Axis, coarse: Axis) -> np.ndarray:
    wanted, known = _numbers(fine), _numbers(coarse)
    if known[-1] < known[0]:
        wanted, known = -wanted, -known
    places = np.arange(len(known), dtype=np.float64)
    if coarse.periodic:
        around = abs(len(wanted) * float(np.median(np.diff(wanted))))
        known = np.concatenate((known - around, known, known + around))
        places = np.arange(-len(places), 2 * len(places), dtype=np.float64)
    return np.interp(wanted, known, places)


def _weights(places: np.ndarray, count: int, periodic: bool, kind: str) -> np.ndarray:
    """Keys's kernels of two or four neighbours; beyond an end that meets no beginning its value goes on."""
    lowest = np.floor(places + (0.5 if kind == "nearest" else 0.0)).astype(np.int64)
    found = np.zeros((len(places), count))
    for offset in {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}[kind]:
        neighbour = lowest + offset
        weight = _kernel(np.abs(places - neighbour), kind)
        column = neighbour % count if periodic else neighbour.clip(0, count - 1)
        np.add.at(found, (np.arange(len(places)), column), weight)
    return found


def _kernel(distance: np.ndarray, kind: str) -> np.ndarray:
    """Reference: Keys, Cubic convolution interpolation for digital image processing (1981), section 3."""
    if kind == "nearest":
        return np.ones_like(distance)
    if kind == "linear":
        return 1 - distance
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
