"""Drift and diffusion made into rates of jumps between neighbouring cells.

A conservative finite-volume scheme with positive face fluxes is a Markov jump process on the cells: what flows
through a face is ``forward * P[source] - backward * P[target]``. Mass is kept because it only moves, and positivity
because no rate is negative. Nothing here is public.
"""

import inspect
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from unstir.core.errors import InputError
from unstir.physics.fokker_planck_grid import Array, Edges, Grid, Indices


@dataclass(frozen=True, eq=False)
class Coefficient:
    """A number, an array, ``f(x)`` or ``f(x, t)``."""

    name: str
    given: Any

    @cached_property
    def takes_time(self) -> bool:
        """Whether it may change with time."""
        if not callable(self.given):
            return False
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(self.given).parameters.values()
        needed = [one for one in parameters if one.kind in kinds and one.default is one.empty]
        if len(needed) not in (1, 2):
            raise InputError(f"{self.name}: a function of (x) or of (x, t) is needed; seen {len(needed)} arguments")
        return len(needed) == 2

    def at(self, points: Array, time: float, rank: int) -> Array:
        """Values at points (n, d): numbers (n,), or what has up to ``rank`` axes of length d behind the points."""
        count, dimension = points.shape
        if callable(self.given):
            places = points[:, 0] if dimension == 1 else points
            values = np.asarray(self.given(places, time) if self.takes_time else self.given(places), dtype=np.float64)
            shapes: list[tuple[int, ...]] = [(), *((count, *(dimension,) * axes) for axes in range(rank + 1))]
        else:
            values = np.asarray(self.given, dtype=np.float64)
            shapes = [(dimension,) * axes for axes in range(rank + 1)]
        if values.shape not in shapes:
            raise InputError(f"{self.name}: values of shape {values.shape} at {count} points; allowed: {shapes}")
        if not np.isfinite(values).all():
            raise InputError(f"{self.name}: seen a value that is not finite, at time {time:g}; all must be")
        leads = callable(self.given) and values.ndim > 0
        return values if leads else np.broadcast_to(values, (count, *values.shape))


@dataclass(frozen=True, eq=False)
class Rates:
    """Jumps per unit of time along edges, at one time; a ``target`` equal to ``cells`` is the outside."""

    cells: int
    source: Indices
    target: Indices
    forward: Array
    backward: Array
    in_line: bool  # neighbours are cells of consecutive numbers

    def flow(self, probabilities: Array) -> Array:
        """Net flow of probability along each edge."""
        outside = np.append(probabilities, 0.0)
        return self.forward * probabilities[self.source] - self.backward * outside[self.target]

    def gain(self, flow: Array) -> Array:
        """What each cell gains from the flows along all edges."""
        gained: Any = np.bincount(self.target, flow, self.cells + 1) - np.bincount(self.source, flow, self.cells + 1)
        return gained[: self.cells]

    def lost(self) -> Array:
        """The rate at which each cell is left."""
        lost: Any = np.bincount(self.source, self.forward, self.cells + 1)
        lost = lost + np.bincount(self.target, self.backward, self.cells + 1)
        return lost[: self.cells]

    def bands(self) -> Array:
        """The three diagonals of the matrix, (3, cells), upper first, of cells in a line."""
        inside = self.target < self.cells
        diagonals = np.zeros((3, self.cells))
        diagonals[0, self.target[inside]] = self.backward[inside]
        diagonals[1] = -self.lost()
        diagonals[2, self.source[inside]] = self.forward[inside]
        return diagonals

    def matrix(self) -> Any:
        """The matrix A of dP/dt = A P, sparse (cells, cells); a column sums to minus the rate of leaving."""
        inside = self.target < self.cells
        back, ahead, lost = self.source[inside], self.target[inside], self.lost()
        every = np.arange(self.cells)
        rows, columns = np.concatenate((ahead, back, every)), np.concatenate((back, ahead, every))
        values = np.concatenate((self.forward[inside], self.backward[inside], -lost))
        return sparse.csc_array((values, (rows, columns)), shape=(self.cells, self.cells))


@dataclass(frozen=True, eq=False)
class Discretisation:
    """A drift and a diffusion on a grid, with its edges found once."""

    grid: Grid
    drift: Coefficient
    diffusion: Coefficient
    families: tuple[tuple[tuple[int, ...], Edges], ...]  # offsets and their edges
    centres: Array
    _still: dict[int, Array] = field(default_factory=dict)  # tensors that do not change, by the identity of the points

    @classmethod
    def of(cls, grid: Grid, drift: Any, diffusion: Any) -> "Discretisation":
        """Finds the neighbours along the axes and, where the tensor may be a full one, along the diagonals."""
        dimension = len(grid.shape)
        offsets = [tuple(map(int, row)) for row in np.eye(dimension)]
        if dimension == 2:
            offsets += [(1, 1), (1, -1)]
        families = tuple((offset, grid.edges(offset)) for offset in offsets)
        return cls(grid, Coefficient("drift", drift), Coefficient("diffusion", diffusion), families, grid.centres())

    def rates(self, time: float) -> Rates:
        """The jump rates of -div(a p) + div div(B p) at a time."""
        parts = [
            self._along_axis(offset.index(1), edges, time)
            if 0 in offset or len(offset) == 1
            else self._along_diagonal(offset[1], edges, time)
            for offset, edges in self.families
        ]
        edges_of = [edges for _, edges in self.families]
        return Rates(
            self.grid.cells,
            np.concatenate([edges.source for edges in edges_of]),
            np.concatenate([edges.target for edges in edges_of]),
            np.concatenate([forward for forward, _ in parts]),
            np.concatenate([backward for _, backward in parts]),
            len(self.grid.shape) == 1 and self.grid.walls[0][0] != "periodic",
        )

    def _along_axis(self, axis: int, edges: Edges, time: float) -> tuple[Array, Array]:
        width = float(self.grid.spacing[axis])
        drift = self.drift.at(edges.middle, time, 1)
        drift = drift if drift.ndim == 1 else drift[:, axis]
        middle, centre = (
            self._without_diagonals(self._tensor(points, time), axis) for points in (edges.middle, self.centres)
        )
        return _fitted(edges, drift, middle, centre, width)

    def _along_diagonal(self, step: int, edges: Edges, time: float) -> tuple[Array, Array]:
        # with d = (hx, +-hy) the cross terms are those of |B_xy|/(hx hy) d d^T, less what it adds along the axes
        area = float(np.prod(self.grid.spacing))
        middle, centre = (
            np.maximum(step * self._tensor(points, time)[:, 0, 1], 0.0) / area
            for points in (edges.middle, self.centres)
        )
        return _fitted(edges, np.zeros(len(middle)), middle, centre, 1.0)

    def _tensor(self, points: Array, time: float) -> Array:
        """B at points, (n, d, d)."""
        if id(points) in self._still:
            return self._still[id(points)]
        values = self.diffusion.at(points, time, 2)
        if values.ndim < 3:
            values = (values if values.ndim == 2 else values[:, None])[..., None] * np.eye(points.shape[1])
        elif not np.allclose(values, np.swapaxes(values, 1, 2)):
            raise InputError("diffusion: a symmetric tensor B = b b^T/2 is needed; seen one that is not")
        if (np.diagonal(values, axis1=1, axis2=2) < 0).any():
            raise InputError(f"diffusion: must not be negative; seen one that is, at time {time:g}")
        if not self.diffusion.takes_time:
            self._still[id(points)] = values  # the points are the edges' own and live as long as this
        return values

    def _without_diagonals(self, tensor: Array, axis: int) -> Array:
        """What is left of the diffusion along an axis when the diagonals have carried the cross terms."""
        along = tensor[:, axis, axis]
        if len(self.grid.shape) == 1:
            return along
        across = np.abs(tensor[:, 0, 1])
        taken = across * self.grid.spacing[axis] / self.grid.spacing[1 - axis]
        wrong = taken > along * (1 + 1e-12)
        if wrong.any():
            worst = int(np.argmax(taken - along))
            least, most = across[worst] / tensor[worst, 1, 1], tensor[worst, 0, 0] / across[worst]
            raise InputError(
                f"diffusion: the tensor {tensor[worst].tolist()} cannot be kept positive on cells of "
                f"{self.grid.spacing.tolist()}; "
                + (
                    f"choose cells whose width over height lies between {least:.4g} and {most:.4g}"
                    if least <= most
                    else "it is not positive definite"
                )
            )
        return np.maximum(along - taken, 0.0)


def _fitted(edges: Edges, drift: Array, middle: Array, centre: Array, width: float) -> tuple[Array, Array]:
    """Exponentially fitted rates of J = a p - (B p)' between cell centres, or from a centre to a wall where p = 0."""
    to_wall = edges.target == len(centre)
    distance = np.where(to_wall, width / 2, width)
    far = np.where(to_wall, middle, np.append(centre, 0.0)[edges.target])
    velocity = edges.sign * drift - (far - centre[edges.source]) / distance
    conductance = middle / distance
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        peclet = np.where(middle > 0, velocity / conductance, np.inf * np.sign(velocity))
    upwind = np.isinf(peclet) | np.isnan(peclet)
    finite = np.where(upwind, 0.0, peclet)
    forward = np.where(upwind, np.maximum(velocity, 0.0), conductance * _bernoulli(-finite))
    backward = np.where(upwind, np.maximum(-velocity, 0.0), conductance * _bernoulli(finite))
    return forward / width, np.where(to_wall, 0.0, backward / width)


def _bernoulli(z: Array) -> Array:
    """z/(e^z - 1)."""
    with np.errstate(over="ignore"):
        return np.where(z == 0, 1.0, z / np.expm1(np.where(z == 0, 1.0, z)))
