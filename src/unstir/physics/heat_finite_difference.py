r"""The heat equation on a box by conservative finite differences, explicit or implicit, with its limits told."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import sparse
from scipy.sparse import linalg

from unstir.core.errors import InputError, NonFiniteError, unknown
from unstir.physics.box_modes import box, cell_centres, on_cells
from unstir.physics.heat_boundaries import walls_of
from unstir.physics.heat_operator import AxisFluxes, at_wall, cell_tensors, fluxes_of
from unstir.physics.heat_times import equal_steps, longest_step, output_times
from unstir.physics.units import dimensions

__all__ = ["FiniteDifferenceHeat"]

_IMPLICITNESS = {"explicit": 0.0, "crank-nicolson": 0.5, "backward-euler": 1.0}
_FACTORED = 10_000  # cells in three dimensions, from which on an LU factor is larger than it is worth


@dimensions(
    shape="1",
    lengths="length",
    diffusivity="length**2/time",
    boundary="1",
    source="value/time",
    scheme="1",
    face_mean="1",
    damped_steps="1",
)
@dataclass(frozen=True, eq=False)
class FiniteDifferenceHeat:
    r"""∂u/∂t = ∇·(D∇u) + f on a box in any number of dimensions, by conservative differences on cell centres.

    The fluxes of Fick's law through the cells' faces are balanced (``heat_operator.py``), so mass is kept to
    rounding whatever D does; of second order in space. In time: ``explicit`` (order 1, refuses a step beyond
    ``stability_limit``), ``backward-euler`` (order 1) or ``crank-nicolson`` (order 2). Of the latter the first
    ``damped_steps`` are two half steps of backward Euler each (Rannacher), which rough data need: two will do.

    ``shape``: cells along the axes, three at least; ``lengths``: of the box [length]; ``diffusivity``
    [length²/time]: a number, (d,) along the axes or a tensor (d, d), everywhere alike, or an array with ``shape`` in
    front, or a function of points (..., d) that gives any of these; ``boundary``: as in ``heat_boundaries``;
    ``source``: a number, an array of ``shape``, or a function of (points, t) [value/time]; ``face_mean``: of two
    cells' diffusivities, ``arithmetic`` or, for layers, ``harmonic``. Raises InputError for anything else.

    Reference: LeVeque, Finite Difference Methods for Ordinary and Partial Differential Equations (2007), chapter 9;
    Rannacher, Numerische Mathematik 43 (1984).
    """

    shape: int | Sequence[int]
    lengths: Any = 1.0
    diffusivity: Any = 1.0
    boundary: Any = "neumann"
    source: Any = 0.0
    scheme: str = "crank-nicolson"
    face_mean: str = "arithmetic"
    damped_steps: int = 0

    def __post_init__(self) -> None:
        if self.scheme not in _IMPLICITNESS:
            raise unknown("scheme", self.scheme, _IMPLICITNESS)
        if self.damped_steps < 0 or (self.damped_steps and self.scheme != "crank-nicolson"):
            raise InputError(
                f"the first steps of crank-nicolson, and of it alone, may be damped; seen damped_steps "
                f"{self.damped_steps} with {self.scheme!r}"
            )
        self.operator, self._forcing(0.0)

    @dimensions(returns="value", u0="value", times="time", step="time")
    def solve(self, u0: Any, times: Any, step: Any = None) -> Float64[np.ndarray, "..."]:
        """The field at the given times, (times, *shape), from the field ``u0`` at time zero.

        ``u0``: an array of ``shape``, a number or a function of points [value]; ``times``: at least zero, rising
        [time]; ``step``: the longest step; each interval between times is cut into equal ones [time]. By default
        the explicit scheme goes at the limit of its maximum principle, the others at h·L/(8D), where their
        error in time falls with that in space.

        Raises InputError for a step beyond the explicit scheme's stability limit.
        """
        times = output_times(times)
        shape, lengths = self._box
        field = on_cells(u0, shape, lengths, "u0").ravel()
        longest = self._longest_step(step)
        fields, taken = np.empty((len(times), *shape)), 0
        for place, (starts, march, _) in enumerate(equal_steps(times, longest, self._stepper)):
            for start in starts:
                assert march is not None, "where there is a step to take, it is made"
                field = march(field, start, taken < self.damped_steps)
                taken += 1
            fields[place] = field.reshape(shape)
        if not np.isfinite(fields).all():
            raise NonFiniteError("finite differences of the heat equation left the finite numbers")
        return fields

    @property
    @dimensions(returns="time")
    def stability_limit(self) -> float:
        """The longest step at which the explicit scheme is stable: 2/‖A‖∞ [time].

        By Gershgorin no eigenvalue of A exceeds that norm; with a constant D it is the classical
        1/(2 sum_a D_a/h_a²), which is sharp.
        """
        return self._limits[0]

    @property
    @dimensions(returns="time")
    def positivity_limit(self) -> float:
        """The longest step at which the explicit scheme obeys the maximum principle [time].

        1/max|A_ii|: the new value is then a mean of old ones. Zero for a tensor that mixes the axes, whose
        differences have no maximum principle at any step.
        """
        return self._limits[1]

    def mass(self, u: Any) -> Any:
        """The field's integral over the box, of the last axes [value·length^d]; kept where no wall lets it through."""
        volume = f"value*length**{len(self._box[0])}"
        return dimensions(volume, u="value")(type(self)._mass)(self, u)

    def flux(self, u: Any, t: Any = 0.0) -> tuple[Any, ...]:
        """Fick's first law: the flux along each axis through the cells' faces [value·length/time].

        ``u``: one field of ``shape``; ``t``: of what is given at the walls. Of axis a, the array has one more place
        along a than cells: walls included.
        """
        each = ("value*length/time",) * len(self._box[0])
        return dimensions(each, u="value", t="time")(type(self)._flux)(self, u, t)

    @functools.cached_property
    def operator(self) -> sparse.csr_array:
        """The matrix A of du/dt = A u + forcing, in base units; a sparse (cells, cells)."""
        balances = [part.divergence @ part.matrix for part in self._fluxes]
        return sparse.csr_array(sum(balances[1:], balances[0]))

    @functools.cached_property
    def _limits(self) -> tuple[float, float]:
        """The limits of stability and of positivity."""
        off_diagonal = self.operator - sparse.diags_array(self.operator.diagonal())
        kept = off_diagonal.data.min(initial=0.0) >= 0
        positive = 1 / float(-self.operator.diagonal().min()) if kept else 0.0
        return 2 / float(abs(self.operator).sum(axis=1).max()), positive

    @functools.cached_property
    def _box(self) -> tuple[tuple[int, ...], np.ndarray]:
        return box(self.shape, self.lengths)

    @functools.cached_property
    def _fluxes(self) -> list[AxisFluxes]:
        shape, lengths = self._box
        return fluxes_of(shape, lengths, self.diffusivity, walls_of(self.boundary, len(shape)), self.face_mean)

    @functools.cached_property
    def _steady(self) -> np.ndarray | None:
        if callable(self.source) or any(part.changing for part in self._fluxes):
            return None
        return self._forcing_at(0.0)

    def _forcing(self, t: float) -> np.ndarray:
        """What drives the cells from outside, flat: the source, and what comes through the walls of itself."""
        return self._forcing_at(t) if self._steady is None else self._steady

    def _forcing_at(self, t: float) -> np.ndarray:
        shape, lengths = self._box
        source = at_wall(self.source, cell_centres(shape, lengths) if callable(self.source) else lengths, t, shape)
        return sum((part.divergence @ part.offsets(t) for part in self._fluxes), source.ravel())

    def _mass(self, u: Any) -> Any:
        shape, lengths = self._box
        u = np.asarray(u, dtype=np.float64)
        if u.shape[-len(shape) :] != shape:
            raise InputError(f"a field of shape (..., {', '.join(map(str, shape))}) is needed; seen {u.shape}")
        return u.sum(tuple(range(-len(shape), 0))) * (lengths.prod() / math.prod(shape))

    def _flux(self, u: Any, t: Any) -> tuple[np.ndarray, ...]:
        field = on_cells(u, *self._box, "u").ravel()
        return tuple(part.shown(part.matrix @ field + part.offsets(float(t))) for part in self._fluxes)

    def _longest_step(self, step: Any) -> float:
        limit, positive = self._limits
        if step is None:
            if self.scheme == "explicit":
                return positive or 0.9 * limit
            shape, lengths = self._box
            fastest = float(np.linalg.eigvalsh(cell_tensors(self.diffusivity, shape, lengths)[0]).max())
            return float(np.min(lengths / shape)) * float(np.min(lengths)) / (8 * fastest)
        longest = longest_step(step)
        if self.scheme == "explicit" and longest > limit * (1 + 1e-12):
            raise InputError(
                f"a step of {longest:.6g} is beyond the stability limit of the explicit scheme, {limit:.6g} on this "
                "grid; take at most that, or the scheme 'crank-nicolson', which is stable at any step"
            )
        return longest

    def _stepper(self, dt: float) -> Callable[[np.ndarray, float, bool], np.ndarray]:
        """One step of length ``dt``: (field, time, whether damped) -> field."""
        implicit = _IMPLICITNESS[self.scheme]
        unit = sparse.eye_array(math.prod(self._box[0]), format="csr")
        solve = self._solver(unit - implicit * dt * self.operator) if implicit else None

        def step(field: np.ndarray, t: float, damped: bool) -> np.ndarray:
            if damped:  # backward Euler at half the step has the matrix of Crank and Nicolson
                for half in (0.5, 1.0):
                    field = solve(field + dt / 2 * self._forcing(t + half * dt), field)  # type: ignore[misc]
                return field
            given = implicit * self._forcing(t + dt) if implicit else 0.0
            if implicit < 1:
                given = given + (1 - implicit) * (self.operator @ field + self._forcing(t))
            right = field + dt * given
            return right if solve is None else solve(right, field)

        return step

    def _solver(self, matrix: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        if len(self._box[0]) < 3 or matrix.shape[0] <= _FACTORED:
            factors = linalg.splu(sparse.csc_array(matrix), permc_spec="MMD_AT_PLUS_A")
            return lambda right, field: factors.solve(right)
        scale = sparse.diags_array(1 / matrix.diagonal())
        symmetric = abs(matrix - matrix.T).max() <= 1e-12 * abs(matrix).max()
        iterate = linalg.cg if symmetric else linalg.bicgstab

        def solve(right: np.ndarray, field: np.ndarray) -> np.ndarray:
            # started at the right mass, the iteration never leaves it
            start = field + (right - field).mean()
            found, failed = iterate(matrix, right, x0=start, rtol=1e-13, atol=0.0, M=scale)
            if failed:
                raise NonFiniteError("the linear system of an implicit step did not converge; take a shorter step")
            return found

        return solve
