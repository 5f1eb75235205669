r"""The heat equation on triangle meshes by finite elements, assembled by scikit-fem."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy import sparse
from scipy.sparse import linalg

from unstir.core.errors import InputError, unknown
from unstir.physics.heat_boundaries import Dirichlet, Neumann, Robin, Wall, wall_of
from unstir.physics.heat_meshes import fem
from unstir.physics.heat_times import equal_steps, longest_step, output_times
from unstir.physics.units import dimensions

__all__ = ["FiniteElementHeat"]

_ELEMENTS = {"P1": ("ElementTriP1", 1), "P2": ("ElementTriP2", 2)}
_SCHEMES = {"backward-euler": 1.0, "crank-nicolson": 0.5, "bdf2": 1.0}


@dimensions(mesh="1", diffusivity="length**2/time", element="1", boundary="1", source="value/time", scheme="1")
@dataclass(frozen=True, eq=False)
class FiniteElementHeat:
    r"""∂u/∂t = ∇·(D∇u) + f on a triangle mesh, by linear or quadratic elements.

    The Galerkin equations M u' + K u = F, with M_ij = ∫φ_i φ_j and K_ij = ∫∇φ_i·D∇φ_j (walls that leak add to K).
    In L² of order 2 with ``P1`` and 3 with ``P2`` where the solution is smooth; in time of order 2 with
    ``crank-nicolson`` and ``bdf2`` (which damps rough data; its first step, and each at which the step
    length changes, is backward Euler) and 1 with ``backward-euler``.

    ``mesh``: a triangle mesh of scikit-fem, its coordinates in base units of length (``heat_meshes.py`` has some);
    ``diffusivity`` [length²/time]: a number, (2,), a tensor (2, 2), or a function of points (..., 2) that gives
    (...), (..., 2) or (..., 2, 2); ``boundary``: from the name of one of the mesh's boundaries, the word
    ``"all"``, or a function of points that tells which belong to it, to ``Dirichlet``, ``Neumann`` or ``Robin``; the
    rest is insulated; ``source``: a number or a function of (points, t) [value/time].

    Raises InputError for anything else, and NotInstalledError without scikit-fem.

    Reference: Thomée, Galerkin Finite Element Methods for Parabolic Problems (2006), chapters 1 and 10;
    Gustafsson and McBain, scikit-fem, Journal of Open Source Software 5 (2020).
    """

    mesh: Any
    diffusivity: Any = 1.0
    element: str = "P1"
    boundary: Mapping[Any, Any] = field(default_factory=dict)
    source: Any = 0.0
    scheme: str = "crank-nicolson"

    def __post_init__(self) -> None:
        if self.element not in _ELEMENTS:
            raise unknown("element", self.element, _ELEMENTS)
        if self.scheme not in _SCHEMES:
            raise unknown("scheme", self.scheme, _SCHEMES)
        if not isinstance(self.mesh, fem().MeshTri):
            raise InputError(
                f"a triangle mesh of scikit-fem is needed (skfem.MeshTri); seen {type(self.mesh).__name__}"
            )
        self.stiffness, self._load(0.0), self._held(0.0)

    @dimensions(returns="value", u0="value", times="time", step="time")
    def solve(self, u0: Any, times: Any, step: Any = None) -> Float64[np.ndarray, "times nodes"]:
        """The nodal values at the given times, (times, nodes), from the field ``u0`` at time zero.

        ``u0``: a number, nodal values (nodes,), or a function of points (..., 2), which is taken at the nodes
        [value]; ``times``: at least zero, rising [time]; ``step``: the longest step, by default a fiftieth of the
        whole [time]. Each interval between times is cut into equal steps.
        """
        times = output_times(times)
        u = self.nodal(u0)
        longest = max(float(times[-1]) / 50, np.finfo(float).tiny) if step is None else longest_step(step)
        fields = np.empty((len(times), u.size))
        before: np.ndarray | None = None
        for place, (starts, march, new) in enumerate(equal_steps(times, longest, self._stepper)):
            before = None if new else before
            for start in starts:
                assert march is not None, "where there is a step to take, it is made"
                before, u = u, march(u, before, start)
            fields[place] = u
        return fields

    def nodal(self, values: Any) -> np.ndarray:
        """A field as its values at the nodes (nodes,), from a number, an array or a function of points."""
        given = np.asarray(values(self.nodes) if callable(values) else values, dtype=np.float64)
        if given.shape not in ((), (len(self.nodes),)) or not np.isfinite(given).all():
            raise InputError(f"finite values at the {len(self.nodes)} nodes are needed; seen the shape {given.shape}")
        return np.broadcast_to(given, (len(self.nodes),)).copy()

    @dimensions(returns="value", u="value", points="length")
    def at(self, u: Any, points: Any) -> Float64[np.ndarray, "..."]:
        """The field with nodal values ``u`` (nodes,) at points (..., 2) of the mesh."""
        points = np.asarray(points, dtype=np.float64)
        if points.ndim == 0 or points.shape[-1] != 2:
            raise InputError(f"points of shape (..., 2) are needed; seen the shape {points.shape}")
        try:
            probes = self._basis.probes(points.reshape(-1, 2).T)
        except ValueError as error:
            raise InputError(f"points lie in the mesh; seen one outside ({error})") from None
        return np.asarray(probes @ self.nodal(u), dtype=np.float64).reshape(points.shape[:-1])

    @dimensions(returns="value*length**2", u="value")
    def total(self, u: Any) -> float:
        """The integral of the field with nodal values ``u`` over the mesh."""
        return float(np.ones(len(self.nodes)) @ (self.mass @ self.nodal(u)))

    @dimensions(returns="value*length", u="value")
    def distance(self, u: Any, other: Callable[[np.ndarray], Any]) -> float:
        """The L² distance of the field with nodal values ``u`` from a function of points (..., 2)."""
        basis = fem().Basis(self.mesh, self._element, intorder=2 * _ELEMENTS[self.element][1] + 4)
        away = np.asarray(basis.interpolate(self.nodal(u))) - other(_places(basis))
        return math.sqrt(float((away**2 * basis.dx).sum()))

    @property
    def nodes(self) -> np.ndarray:
        """The points (nodes, 2) that the values belong to: corners, and for P2 the middles of edges, in base units."""
        return self._basis.doflocs.T

    @functools.cached_property
    def mass(self) -> sparse.csr_array:
        """The mass matrix M, sparse (nodes, nodes), in base units."""
        return sparse.csr_array(fem().BilinearForm(lambda u, v, w: u * v).assemble(self._basis))

    @functools.cached_property
    def stiffness(self) -> sparse.csr_array:
        """The stiffness matrix K, leaking walls included, sparse (nodes, nodes), in base units."""
        tensors = _tensors(self.diffusivity, self._inside.points)

        def energy(u: Any, v: Any, w: Any) -> Any:
            return np.einsum("i...,...ij,j...->...", np.asarray(u.grad), tensors, np.asarray(v.grad))

        matrix = fem().BilinearForm(energy).assemble(self._basis)
        for part in self._rims:
            if isinstance(part.wall, Robin):
                leak = float(part.wall.transfer)
                matrix = matrix + fem().BilinearForm(lambda u, v, w, leak=leak: leak * u * v).assemble(part.basis)
        return sparse.csr_array(matrix)

    @functools.cached_property
    def _element(self) -> Any:
        return getattr(fem(), _ELEMENTS[self.element][0])()

    @functools.cached_property
    def _basis(self) -> Any:
        return fem().Basis(self.mesh, self._element, intorder=2 * _ELEMENTS[self.element][1] + 1)

    @functools.cached_property
    def _walls(self) -> list[tuple[Wall, np.ndarray]]:
        """Each part of the boundary: what holds there, and the numbers of its edges."""
        walls, taken = [], np.empty(0, dtype=np.int64)
        for where, given in self.boundary.items():
            wall = wall_of(given)
            if wall is None:
                raise InputError("a triangle mesh has no periodic boundary; take a box and finite differences")
            edges = np.asarray(self._edges(where))
            if not edges.size:
                raise InputError(f"no edge of the mesh's boundary belongs to {where!r}")
            if np.isin(edges, taken).any():
                raise InputError(f"the boundary {where!r} overlaps one given before it; each edge has one condition")
            taken = np.concatenate((taken, edges))
            walls.append((wall, edges))
        return walls

    def _edges(self, where: Any) -> Any:
        if callable(where):
            return self.mesh.facets_satisfying(lambda x: where(np.moveaxis(x, 0, -1)), boundaries_only=True)
        if where == "all":
            return self.mesh.boundary_facets()
        named = self.mesh.boundaries or {}
        if where not in named:
            raise unknown("boundary of the mesh", str(where), [*named, "all"])
        return named[where]

    @functools.cached_property
    def _rims(self) -> list["_Part"]:
        order = 2 * _ELEMENTS[self.element][1] + 1
        bases = [
            (wall, fem().FacetBasis(self.mesh, self._element, facets=edges, intorder=order))
            for wall, edges in self._walls
            if not isinstance(wall, Dirichlet)
        ]
        return [_Part(wall, basis, _places(basis), _testing(basis)) for wall, basis in bases]

    @functools.cached_property
    def _inside(self) -> "_Part":
        return _Part(None, self._basis, _places(self._basis), _testing(self._basis))

    @functools.cached_property
    def _fixed(self) -> list[tuple[Dirichlet, np.ndarray]]:
        return [(wall, self._basis.get_dofs(edges).all()) for wall, edges in self._walls if isinstance(wall, Dirichlet)]

    @functools.cached_property
    def _free(self) -> np.ndarray:
        held = [nodes for _, nodes in self._fixed]
        return np.setdiff1d(np.arange(len(self.nodes)), np.concatenate([np.empty(0, dtype=np.int64), *held]))

    def _held(self, t: float) -> np.ndarray:
        """The values of the nodes at walls that are held, and zero elsewhere."""
        values = np.zeros(len(self.nodes))
        for wall, nodes in self._fixed:
            values[nodes] = _at(wall.value, self.nodes[nodes], t, "a held wall")
        return values

    def _load(self, t: float) -> np.ndarray:
        """F: the source and what comes through the walls, tested with every node's function."""
        return self._load_at(t) if self._steady is None else self._steady

    @functools.cached_property
    def _steady(self) -> np.ndarray | None:
        given = [self.source, *(getattr(part.wall, name, 0.0) for part in self._rims for name in ("flux", "ambient"))]
        return None if any(map(callable, given)) else self._load_at(0.0)

    def _load_at(self, t: float) -> np.ndarray:
        load = self._inside.testing @ _at(self.source, self._inside.points, t, "the source").ravel()
        for part in self._rims:
            if isinstance(part.wall, Robin):
                ambient = _at(part.wall.ambient, part.points, t, "a leaking wall")
                load += part.testing @ (float(part.wall.transfer) * ambient).ravel()
            elif isinstance(part.wall, Neumann):
                load -= part.testing @ _at(part.wall.flux, part.points, t, "a wall's flux").ravel()
        return load

    def _stepper(self, dt: float) -> Callable[[np.ndarray, np.ndarray | None, float], np.ndarray]:
        """One step of length ``dt``: (field, the one before if there is, time) -> field."""
        implicit = _SCHEMES[self.scheme]
        solve = self._solver(self.mass + implicit * dt * self.stiffness)
        two_steps = self._solver(1.5 * self.mass + dt * self.stiffness) if self.scheme == "bdf2" else None

        def step(u: np.ndarray, before: np.ndarray | None, t: float) -> np.ndarray:
            load = implicit * self._load(t + dt)
            if two_steps is not None and before is not None:
                return two_steps(self.mass @ (2 * u - before / 2) + dt * load, t + dt)
            if implicit < 1:
                load = load + (1 - implicit) * (self._load(t) - self.stiffness @ u)
            return solve(self.mass @ u + dt * load, t + dt)

        return step

    def _solver(self, matrix: sparse.csr_array) -> Callable[[np.ndarray, float], np.ndarray]:
        """Solves for the free nodes, the held ones being known."""
        rows: Any = sparse.csr_array(matrix)[self._free]
        factors = linalg.splu(sparse.csc_array(rows[:, self._free]), permc_spec="MMD_AT_PLUS_A")

        def solve(right: np.ndarray, t: float) -> np.ndarray:
            u = self._held(t)
            u[self._free] = factors.solve(right[self._free] - rows @ u)
            return u

        return solve


class _Part(NamedTuple):
    """The inside of the mesh or a part of its rim, with what integrates over it."""

    wall: Wall
    basis: Any
    points: np.ndarray
    testing: sparse.csr_array


def _places(basis: Any) -> np.ndarray:
    """The quadrature points of a basis, (elements, points, 2)."""
    return np.moveaxis(np.asarray(basis.global_coordinates()), 0, -1)


def _testing(basis: Any) -> sparse.csr_array:
    """From values at the quadrature points, flat, to their integrals with every node's function."""
    places = np.arange(basis.dx.size).reshape(basis.dx.shape)
    rows, values = [], []
    for nodes, functions in zip(basis.element_dofs, basis.basis, strict=True):
        rows.append(np.broadcast_to(nodes[:, None], places.shape).ravel())
        values.append((np.asarray(functions[0]) * basis.dx).ravel())
    columns = np.tile(places.ravel(), len(rows))
    return sparse.csr_array((np.concatenate(values), (np.concatenate(rows), columns)), shape=(basis.N, places.size))


def _at(given: Any, points: np.ndarray, t: float, what: str) -> np.ndarray:
    values = np.asarray(given(points, t) if callable(given) else given, dtype=np.float64)
    if values.shape not in ((), points.shape[:-1]) or not np.isfinite(values).all():
        raise InputError(f"{what} has finite values of shape (...) at points (..., 2); seen {values.shape}")
    return np.broadcast_to(values, points.shape[:-1])


def _tensors(diffusivity: Any, points: np.ndarray) -> np.ndarray:
    """Diffusivity tensors (..., 2, 2) at points (..., 2)."""
    given = np.asarray(diffusivity(points) if callable(diffusivity) else diffusivity, dtype=np.float64)
    places = points.shape[:-1]
    if given.shape in ((), places):
        given = given[..., None, None] * np.eye(2)
    elif given.shape in ((2,), (*places, 2)):
        given = given[..., None, :] * np.eye(2)
    if given.shape not in ((2, 2), (*places, 2, 2)):
        raise InputError(f"a diffusivity is (...), (..., 2) or (..., 2, 2) at points (..., 2); seen {given.shape}")
    uneven = np.abs(given - np.swapaxes(given, -1, -2)).max()
    if not np.isfinite(given).all() or uneven > 1e-12 * np.abs(given).max() or np.linalg.eigvalsh(given).min() <= 0:
        raise InputError("a diffusivity is finite and positive in every place (a tensor symmetric, positive definite)")
    return np.broadcast_to(given, (*places, 2, 2))
