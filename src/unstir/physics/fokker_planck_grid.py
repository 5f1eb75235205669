"""Equal cells of a box, and which of them are neighbours across which walls. Nothing here is public."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unstir.core.errors import InputError, unknown

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
BOUNDARIES = ("reflecting", "absorbing", "periodic")
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)
_BEYOND = {"reflecting": -2, "absorbing": -1}


@dataclass(frozen=True, eq=False)
class Edges:
    """All neighbours at one offset: jumps go between ``source`` and ``target``, cell numbers of shape (edges,).

    ``target`` is the number of all cells where it is the outside, which always stands in the second place;
    ``sign`` is -1 where the pair was turned round for that. ``middle`` (edges, d) lies halfway, on the wall where
    there is one; ``faces`` (edges, d) numbers the face that is crossed (the cell, along an axis of no offset).
    """

    source: Indices
    target: Indices
    sign: Array
    middle: Array
    faces: Indices


@dataclass(frozen=True, eq=False)
class Grid:
    """``walls`` names what lies beyond the lower and the upper end of each axis."""

    lower: Array
    upper: Array
    shape: tuple[int, ...]
    walls: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, lower: Any, upper: Any, cells: Any, boundary: Any) -> "Grid":
        """A grid from what the user typed: numbers, or one for each axis; one boundary, or those of each axis."""
        low, high = (np.atleast_1d(np.asarray(end, dtype=np.float64)) for end in (lower, upper))
        shape = tuple(int(count) for count in np.atleast_1d(np.asarray(cells)))
        if not (low.shape == high.shape == (len(shape),) and len(shape) in (1, 2)):
            raise InputError(f"lower, upper and cells: a number each, or a pair each; seen {lower}, {upper}, {cells}")
        if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
            raise InputError(f"lower must lie below upper, both finite; seen {lower} and {upper}")
        if min(shape) < 2:
            raise InputError(f"cells: two or more along each axis are needed; seen {cells}")
        single = len(shape) == 1 or isinstance(boundary, str)
        walls = [boundary] * len(shape) if single else list(boundary)
        if len(walls) != len(shape):
            raise InputError(f"boundary: one, or one for each of {len(shape)} axes; seen {boundary}")
        pairs = []
        for wall in walls:
            pair = (wall, wall) if isinstance(wall, str) else tuple(wall)
            for name in pair:
                if name not in BOUNDARIES:
                    raise unknown("boundary", str(name), BOUNDARIES)
            if len(pair) != 2 or (pair[0] == "periodic") != (pair[1] == "periodic"):
                raise InputError(f"boundary: one for both ends of an axis, or a pair without 'periodic'; seen {pair}")
            pairs.append((pair[0], pair[1]))
        return cls(low, high, shape, tuple(pairs))

    @property
    def spacing(self) -> Array:
        """Cell widths, (d,)."""
        return (self.upper - self.lower) / np.array(self.shape)

    @property
    def cells(self) -> int:
        """How many there are."""
        return int(np.prod(self.shape))

    def axis(self, number: int) -> Array:
        """Coordinates of the cell centres along an axis."""
        return self.lower[number] + (np.arange(self.shape[number]) + 0.5) * self.spacing[number]

    def centres(self) -> Array:
        """Cell centres, (cells, d), last axis fastest."""
        return tensor_points(*(self.axis(number) for number in range(len(self.shape))))

    def averages(self, function: Callable[..., Any]) -> Array:
        """Cell averages of a function of points, (n,) or (n, d), by five Gauss points an axis and cell."""
        dimension = len(self.shape)
        nodes = [(self.axis(axis)[:, None] + _NODES * self.spacing[axis] / 2).ravel() for axis in range(dimension)]
        points = tensor_points(*nodes)
        values = np.asarray(function(points[:, 0] if dimension == 1 else points), dtype=np.float64)
        if values.shape != (len(points),):
            raise InputError(f"a density must give one number a point: {len(points)}; seen the shape {values.shape}")
        values = values.reshape([size for count in self.shape for size in (count, len(_NODES))])
        for axis in reversed(range(dimension)):
            values = np.tensordot(values, _WEIGHTS / 2, axes=(2 * axis + 1, 0))
        return values

    def spike(self, position: Any) -> Array:
        """A density of total one on the cells whose centres surround a position, with its mean there."""
        place = np.atleast_1d(np.asarray(position, dtype=np.float64))
        if place.shape != self.lower.shape or not ((place >= self.lower) & (place <= self.upper)).all():
            raise InputError(f"a position within {self.lower.tolist()} and {self.upper.tolist()}; seen {position}")
        density = np.ones(())
        for axis, count in enumerate(self.shape):
            offset = (place[axis] - self.lower[axis]) / self.spacing[axis] - 0.5
            periodic = self.walls[axis][0] == "periodic"
            first = int(np.floor(offset if periodic else np.clip(offset, 0, count - 2)))
            share = float(np.clip(offset - first, 0, 1))
            along = np.zeros(count)
            along[first % count] += 1 - share
            along[(first + 1) % count] += share
            density = np.multiply.outer(density, along / self.spacing[axis])
        return density

    def edges(self, offset: tuple[int, ...]) -> Edges:
        """All pairs of a cell and its neighbour at ``offset`` (each -1, 0 or 1), each once."""
        padded = np.arange(self.cells).reshape(self.shape)
        starts, stops = [], []
        for number, (low, high) in enumerate(self.walls):
            width = [(0, 0)] * len(self.shape)
            width[number] = (1, 1)
            if low == "periodic":
                padded = np.pad(padded, width, mode="wrap")
            else:
                fill = [(0, 0)] * len(self.shape)
                fill[number] = (_BEYOND[low], _BEYOND[high])
                padded = np.pad(padded, width, constant_values=fill)
            # padded cells are numbered from 0 to count + 1; round a circle each pair is taken only once
            step, count = offset[number], self.shape[number]
            first, last = (1, count) if low == "periodic" or step == 0 else (max(0, -step), count + (step < 0))
            starts.append(np.arange(first, last + 1))
            stops.append(starts[-1] + step)
        source, target = padded[np.ix_(*starts)].ravel(), padded[np.ix_(*stops)].ravel()
        halfway = [(start + stop) / 2 for start, stop in zip(starts, stops, strict=True)]
        middle = self.lower + (tensor_points(*halfway) - 0.5) * self.spacing
        faces = np.ceil(tensor_points(*halfway)).astype(np.int64) - 1
        turned = source < 0
        source, target = np.where(turned, target, source), np.where(turned, source, target)
        kept = (source >= 0) & (target != _BEYOND["reflecting"])
        target = np.where(target < 0, self.cells, target)
        sign = np.where(turned, -1.0, 1.0)
        return Edges(source[kept], target[kept], sign[kept], middle[kept], faces[kept])


def tensor_points(*axes: Array) -> Array:
    """The points of a tensor grid, (points, d), last axis fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
