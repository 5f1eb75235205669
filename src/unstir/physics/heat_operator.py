r"""Conservative differences of -∇·(D∇u) on a cell-centred grid: sparse fluxes through faces, and their divergence.

Through the face between two cells flows F = -D_f (u_{i+1} - u_i)/h. At a wall half a cell away the field obeys
n·F = q with q = k u_0 + o: k is the conductance of the half cell and of the wall in series (infinite for a wall
held at a value, zero for a given flux). For a tensor D the tangential derivatives, central within and one-sided
at walls, are averaged onto the faces. What leaves one cell enters its neighbour, so mass is kept to rounding.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from unstir.core.errors import InputError, unknown
from unstir.physics.box_modes import cell_centres
from unstir.physics.heat_boundaries import Dirichlet, Ends, Neumann, Robin, Wall

FACE_MEANS = ("arithmetic", "harmonic")


@dataclass(frozen=True, eq=False)
class AxisFluxes:
    """Fluxes along one axis: F = matrix u + the walls' part; faces (n + 1, ...), the axis in front."""

    axis: int
    faces: tuple[int, ...]
    matrix: sparse.csr_array
    divergence: sparse.csr_array  # minus the divergence: from the faces to du/dt of the cells
    ends: Ends
    conductances: tuple[np.ndarray, np.ndarray]
    wall_points: tuple[np.ndarray, np.ndarray]

    @property
    def changing(self) -> bool:
        """Whether something given at a wall is a function, which may change with time."""
        return any(callable(_given(wall)) for wall in self.ends)

    def offsets(self, t: float) -> np.ndarray:
        """The part of the fluxes that does not depend on the field, flat."""
        fluxes = np.zeros(self.faces)
        for side, wall in enumerate(self.ends):
            if wall is not None:
                given = at_wall(_given(wall), self.wall_points[side], t, self.faces[1:])
                outward = given if isinstance(wall, Neumann) else -self.conductances[side] * given
                fluxes[-side] = outward if side else -outward
        return fluxes.ravel()

    def shown(self, flat: np.ndarray) -> np.ndarray:
        """Fluxes in the order of the grid's axes."""
        return np.moveaxis(flat.reshape(self.faces), 0, self.axis)


def at_wall(given: Any, points: np.ndarray, t: float, shape: tuple[int, ...]) -> np.ndarray:
    """Values on a wall, from a number, an array or a function of (points, t)."""
    values = np.asarray(given(points, t) if callable(given) else given, dtype=np.float64)
    if values.shape not in ((), shape) or not np.isfinite(values).all():
        raise InputError(f"finite values of shape {shape} are needed at this wall; seen the shape {values.shape}")
    return np.broadcast_to(values, shape)


def cell_tensors(diffusivity: Any, shape: tuple[int, ...], lengths: np.ndarray) -> tuple[np.ndarray, bool]:
    """Diffusivity tensors (*shape, d, d) of the cells, from any form of it, and whether they are diagonal."""
    size = len(shape)
    given = diffusivity(cell_centres(shape, lengths)) if callable(diffusivity) else diffusivity
    given = np.asarray(given, dtype=np.float64)
    forms = {(): 0, shape: 0, (size,): 1, (*shape, size): 1, (size, size): 2, (*shape, size, size): 2}
    if given.shape not in forms:
        raise InputError(
            f"a diffusivity is a number, ({size},) along the axes or a tensor ({size}, {size}), in all places alike or "
            f"with {shape} in front; seen the shape {given.shape}"
        )
    form = forms[given.shape]
    if form < 2:
        given = np.eye(size) * (given[..., None, None] if form == 0 else given[..., None, :])
    tensors = np.broadcast_to(given, (*shape, size, size))
    scale = np.abs(given).max()
    symmetric = np.isfinite(given).all() and np.abs(given - np.swapaxes(given, -1, -2)).max() <= 1e-12 * scale
    if not symmetric or np.linalg.eigvalsh(given).min() <= 0:
        raise InputError("a diffusivity is finite and positive in every place (a tensor symmetric, positive definite)")
    return tensors, bool(np.all(given[..., ~np.eye(size, dtype=bool)] == 0))


def fluxes_of(
    shape: tuple[int, ...], lengths: np.ndarray, diffusivity: Any, walls: tuple[Ends, ...], face_mean: str
) -> list[AxisFluxes]:
    """The flux operators of every axis."""
    if face_mean not in FACE_MEANS:
        raise unknown("mean of diffusivities on a face", face_mean, FACE_MEANS)
    if min(shape) < 3:
        raise InputError(f"finite differences need three cells along every axis; seen the shape {shape}")
    tensors, diagonal = cell_tensors(diffusivity, shape, lengths)
    if not diagonal and face_mean == "harmonic":
        raise InputError("harmonic means on faces are for diffusivities along the axes; take 'arithmetic' for a tensor")
    if not diagonal and any(isinstance(wall, Robin) for ends in walls for wall in ends):
        raise InputError("a leaking (Robin) wall is not offered with a diffusivity tensor that mixes the axes")
    along = None if diagonal else [_derivative(shape, lengths, axis, walls[axis]) for axis in range(len(shape))]
    return [_axis_fluxes(shape, lengths, axis, walls[axis], tensors, face_mean, along) for axis in range(len(shape))]


def _axis_fluxes(
    shape: tuple[int, ...],
    lengths: np.ndarray,
    axis: int,
    ends: Ends,
    tensors: np.ndarray,
    face_mean: str,
    along: list[sparse.csr_array] | None,
) -> AxisFluxes:
    count, cells = shape[axis], math.prod(shape)
    spacing = lengths[axis] / count
    cell = np.moveaxis(np.arange(cells).reshape(shape), axis, 0)
    rest = cell.shape[1:]
    face = np.arange((count + 1) * math.prod(rest)).reshape(count + 1, *rest)
    tensors = np.moveaxis(tensors, axis, 0)
    straight = tensors[..., axis, axis]
    mean = _mean(straight[:-1], straight[1:], face_mean) / spacing
    matrix = [(face[1:-1], cell[1:], -mean), (face[1:-1], cell[:-1], mean)]
    if ends[0] is None:
        around = _mean(straight[-1], straight[0], face_mean) / spacing
        matrix += [(face[end], cell[0], -around) for end in (0, -1)]
        matrix += [(face[end], cell[-1], around) for end in (0, -1)]
        conductances = (np.zeros(rest), np.zeros(rest))
    else:
        low, high = (np.asarray(_conductance(ends[side], straight[-side, ...], spacing)) for side in (0, 1))
        conductances = (low, high)
        matrix += [(face[0], cell[0], -conductances[0]), (face[-1], cell[-1], conductances[1])]
    flux = _sparse(matrix, (face.size, cells))
    for other in range(len(shape)) if along is not None else ():
        if other != axis:
            onto = _onto_faces(face, cell, tensors[..., axis, other], ends)
            flux = flux - onto @ along[other]  # type: ignore[index]
    divergence = _sparse(
        [(cell, face[1:], np.full(cell.shape, -1 / spacing)), (cell, face[:-1], np.full(cell.shape, 1 / spacing))],
        (cells, face.size),
    )
    points = np.moveaxis(cell_centres(shape, lengths), axis, 0)
    wall_points = (points[0].copy(), points[-1].copy())
    wall_points[0][..., axis], wall_points[1][..., axis] = 0.0, lengths[axis]
    return AxisFluxes(axis, face.shape, sparse.csr_array(flux), divergence, ends, conductances, wall_points)


def _onto_faces(face: np.ndarray, cell: np.ndarray, mixed: np.ndarray, ends: Ends) -> sparse.csr_array:
    """Cells' tangential derivatives, times D_ab, averaged onto the faces; a wall of given flux has no part in it."""
    half = (mixed[:-1] + mixed[1:]) / 4
    onto = [(face[1:-1], cell[1:], half), (face[1:-1], cell[:-1], half)]
    if ends[0] is None:
        around = (mixed[0] + mixed[-1]) / 4
        onto += [(face[end], cell[inner], around) for end in (0, -1) for inner in (0, -1)]
    else:
        held = [side for side in (0, 1) if isinstance(ends[side], Dirichlet)]
        onto += [(face[-side], cell[-side], 1.5 * mixed[-side]) for side in held]  # extrapolated to the wall
        onto += [(face[-side], cell[1 - 3 * side], -0.5 * mixed[-side]) for side in held]
    return _sparse(onto, (face.size, cell.size))


def _derivative(shape: tuple[int, ...], lengths: np.ndarray, axis: int, ends: Ends) -> sparse.csr_array:
    """First derivatives at the cell centres, of second order."""
    count, cells = shape[axis], math.prod(shape)
    weight = count / lengths[axis] / 2
    cell = np.moveaxis(np.arange(cells).reshape(shape), axis, 0)
    if ends[0] is None:
        parts = [(cell, np.roll(cell, -1, 0), weight), (cell, np.roll(cell, 1, 0), -weight)]
    else:
        parts = [(cell[1:-1], cell[2:], weight), (cell[1:-1], cell[:-2], -weight)]
        for share, step in ((-3, 0), (4, 1), (-1, 2)):
            parts += [(cell[0], cell[step], share * weight), (cell[-1], cell[-1 - step], -share * weight)]
    return _sparse([(rows, columns, np.full(rows.shape, value)) for rows, columns, value in parts], (cells, cells))


def _conductance(wall: Wall, straight: np.ndarray, spacing: float) -> Any:
    half_cell = 2 * straight / spacing
    if isinstance(wall, Dirichlet):
        return half_cell
    if isinstance(wall, Robin):
        return half_cell * float(wall.transfer) / (half_cell + float(wall.transfer))
    return np.zeros(straight.shape)


def _given(wall: Wall) -> Any:
    if isinstance(wall, Dirichlet):
        return wall.value
    return wall.flux if isinstance(wall, Neumann) else None if wall is None else wall.ambient


def _mean(first: Any, second: Any, kind: str) -> Any:
    return (first + second) / 2 if kind == "arithmetic" else 2 * first * second / (first + second)


def _sparse(parts: list[Any], shape: tuple[int, int]) -> sparse.csr_array:
    """A matrix from (rows, columns, values), of any shapes alike."""
    rows, columns, values = (np.concatenate([np.ravel(part[index]) for part in parts]) for index in range(3))
    return sparse.csr_array(sparse.coo_array((values, (rows, columns)), shape=shape))
