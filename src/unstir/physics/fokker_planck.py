"""The Fokker-Planck equation on a box, by conservative finite volumes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import special

from unstir.core.errors import InputError, unknown
from unstir.physics.fokker_planck_grid import Array, Grid
from unstir.physics.fokker_planck_rates import Discretisation
from unstir.physics.fokker_planck_stepping import Stepper
from unstir.physics.jump_process import evolve, factorised, first_passage_in_line, stationary_law
from unstir.physics.units import dimensions

__all__ = ["FokkerPlanck"]

_METHODS = ("tr-bdf2", "backward-euler", "exponential")


@dimensions(lower="length", upper="length", drift="length/time", diffusion="length**2/time")
@dataclass(frozen=True, eq=False)
class FokkerPlanck:
    """Density of a diffusing particle, dp/dt = -div(a p) + div div(B p), in one or two dimensions.

    It is that of the Itô equation dX = a(X, t) dt + b(X, t) dW with B = b b^T/2. Second order in space for smooth
    coefficients; probability is never negative and never lost but through absorbing walls, whatever the steps.

    ``lower`` and ``upper`` (length) are the ends of the interval, or the corners of the rectangle, two numbers each;
    ``cells`` how many equal cells, or a pair. ``drift`` (length/time) and ``diffusion`` (length²/time) are constants
    or functions of (x) or (x, t) in plain numbers; in one dimension x is (n,), in two (n, 2), and so are the drift's
    values; the diffusion's are (n,), (n, 2) for a diagonal or (n, 2, 2) for a full tensor. ``boundary`` is "reflecting"
    (no flux), "absorbing" (p = 0) or "periodic"; in one dimension also a pair (lower, upper), in two one such for
    each axis.

    A full tensor needs cells of a shape that keeps every rate positive (the error says which); beside a reflecting
    wall with p > 0 its cross terms are of first order. Péclet numbers |a| h/B far above 2 damp like upwinding.

    Raises InputError for an unusable box, boundary or coefficient.

    Reference: Scharfetter, Gummel 1969, "Large-signal analysis of a silicon Read diode oscillator"; Chang, Cooper
    1970, "A practical difference scheme for Fokker-Planck equations" (fluxes); Weickert 1998, "Anisotropic Diffusion
    in Image Processing", section 3.4.2 (positive stencil of a full tensor).
    """

    lower: Any
    upper: Any
    cells: int | Sequence[int]
    drift: Any = 0.0
    diffusion: Any = 1.0
    boundary: str | Sequence[Any] = "reflecting"

    def __post_init__(self) -> None:
        if self._steady:
            self._discrete.rates(0.0)  # what is wrong is told now

    @property
    def dimension(self) -> int:
        """1 or 2."""
        return len(self._grid.shape)

    @dimensions("length")
    def centres(self, axis: int = 0) -> Array:
        """Cell centres along an axis (length)."""
        return self._grid.axis(axis)

    @dimensions("value")
    def averages(self, density: Callable[..., Any]) -> Array:
        """Cell averages of a density (1/length^d) given as a function of x, of shape (cells,) or (cells, cells).

        By five Gauss points an axis and cell; in two dimensions x is (n, 2).
        """
        return self._grid.averages(density)

    @dimensions("value", position="length")
    def delta(self, position: Any) -> Array:
        """All probability at a position (length): shared by the nearest cells so that the mean is kept exactly."""
        return self._grid.spike(position)

    @dimensions("value", initial="value", times="time", tolerance="1")
    def solve(
        self,
        initial: Any,
        times: Any,
        method: str = "tr-bdf2",
        steps: int | None = None,
        tolerance: float = 1e-5,
    ) -> Array:
        """The density (1/length^d, cell averages) at ``times``, of shape (times, cells) or (times, cells, cells).

        ``initial`` is the density at times[0]: cell averages or a function of x; see ``delta``. ``times`` (time) rise,
        and may be spaced at will. ``method``: "tr-bdf2" (second order), "backward-euler" (first), or "exponential"
        (exact in time, for coefficients that do not change). ``steps`` is how many equal ones each interval is cut
        into; without it TR-BDF2 chooses its own, so that the estimated errors in L1 sum to ``tolerance`` an interval.
        """
        if method not in _METHODS:
            raise unknown("method", method, _METHODS)
        if method == "exponential" and not self._steady:
            raise InputError("method 'exponential' needs coefficients that do not change with time; use 'tr-bdf2'")
        if (steps is None and method == "backward-euler") or (steps is not None and steps < 1):
            raise InputError(f"steps: how many for each interval, 1 or more, must be given; seen {steps}")
        if not tolerance > 0:
            raise InputError(f"tolerance: must be positive; seen {tolerance}")
        clock = np.asarray(times, dtype=np.float64)
        if clock.ndim != 1 or len(clock) < 1 or not np.isfinite(clock).all() or (np.diff(clock) <= 0).any():
            raise InputError(f"times: a rising list, the first is that of the initial density; seen {times!r}")
        volume = float(np.prod(self._grid.spacing))
        state = self._start(initial).ravel() * volume
        states, stepper = [state], Stepper(self._discrete.rates, self._steady)
        step = float(clock[-1] - clock[0]) / 100
        matrix = self._discrete.rates(0.0).matrix().tocsr() if method == "exponential" else None
        for begin, end in pairwise(clock.tolist()):
            if method == "exponential":
                state = evolve(matrix, state, end - begin)
            elif steps is None:
                state, step = stepper.adaptive(state, begin, end, tolerance, step)
            else:
                marks = np.linspace(begin, end, steps + 1).tolist()
                for time, later in pairwise(marks):
                    if method == "tr-bdf2":
                        state = stepper.tr_bdf2(state, time, later - time)[0]
                    else:
                        state = stepper.backward_euler(state, time, later - time)
            states.append(state)
        return np.stack(states).reshape(len(states), *self._grid.shape) / volume

    @dimensions("value", time="time")
    def stationary(self, time: float = 0.0) -> Array:
        """The density (1/length^d) that does not change any more, with the coefficients as they are at ``time``.

        The null vector of the scheme; between reflecting walls in one dimension every cell has many right digits,
        however unlikely or hard to reach. Raises InputError where there is none, or more than one.
        """
        if any("absorbing" in pair for pair in self._grid.walls):
            raise InputError("absorbing walls leave nothing; a stationary law needs reflecting or periodic ones")
        rates = self._discrete.rates(time)
        if rates.in_line and (rates.forward > 0).all() and (rates.backward > 0).all():
            ratios = np.log(rates.forward) - np.log(rates.backward)
            found = special.softmax(np.concatenate(([0.0], np.cumsum(ratios))))
        else:
            found = stationary_law(rates.matrix())
        return found.reshape(self._grid.shape) / float(np.prod(self._grid.spacing))

    @dimensions(("length", "length**2"), density="value")
    def moments(self, density: Any) -> tuple[Array, Array]:
        """Mean (length) and covariance (length²) of densities (..., cells) or (..., cells, cells), from cell centres.

        In one dimension both are of shape (...); in two (..., 2) and (..., 2, 2). Where some was absorbed, they are
        those of what is left.
        """
        given = np.asarray(density, dtype=np.float64)
        if given.shape[given.ndim - self.dimension :] != self._grid.shape:
            raise InputError(f"densities must end in the axes {self._grid.shape}; seen the shape {given.shape}")
        weights = given.reshape(*given.shape[: given.ndim - self.dimension], -1)
        weights = weights / weights.sum(-1, keepdims=True)
        centres = self._grid.centres()
        mean = weights @ centres
        away = centres - mean[..., None, :]
        covariance = np.einsum("...n,...ni,...nj->...ij", weights, away, away)
        return (mean[..., 0], covariance[..., 0, 0]) if self.dimension == 1 else (mean, covariance)

    @dimensions("value*length/time", density="value", time="time")
    def current(self, density: Any, axis: int = 0, time: float = 0.0) -> Array:
        """The probability current J = a p - div(B p) along an axis (density times length/time) on its faces.

        Of shape (cells + 1,), or with one more along ``axis``; both ends of a periodic axis are the same face. What
        jumps along a diagonal crosses one half by either way.
        """
        state = self._start(density).ravel()
        flow = self._discrete.rates(time).flow(state)
        grid = self._grid
        crossed = np.zeros([count + (number == axis) for number, count in enumerate(grid.shape)])
        first = 0
        for offset, edges in self._discrete.families:
            part = flow[first : first + len(edges.source)] * edges.sign * grid.spacing[axis]
            first += len(edges.source)
            if not offset[axis]:
                continue
            other = 1 - axis
            ways = [edges.faces] if 0 in offset or self.dimension == 1 else [edges.faces.copy(), edges.faces.copy()]
            if len(ways) == 2:
                ways[0][:, other] -= 1  # through the face beside the cell on the near side of the corner, or the far
            for way in ways:
                inside = np.ones(len(way), dtype=bool)
                if len(ways) == 2:
                    if grid.walls[other][0] == "periodic":
                        way[:, other] %= grid.shape[other]
                    inside = (way[:, other] >= 0) & (way[:, other] < grid.shape[other])
                np.add.at(crossed, tuple(way[inside].T), part[inside] * offset[axis] / len(ways))
        if grid.walls[axis][0] == "periodic":
            ends = np.moveaxis(crossed, axis, 0)
            ends[0] = ends[-1] = ends[0] + ends[-1]
        return crossed

    def generator(self, time: float = 0.0) -> Any:
        """The generator L of the scheme's jump process, sparse (n, n), n cells in all, last axis fastest (1/time).

        It acts on functions, (L f)_i = sum_j rate(i to j) (f_j - f_i), a discrete a f' + B f''; cell probabilities obey
        dP/dt = L^T P. Rows sum to zero but for what leaves through absorbing walls. Plain numbers always.
        """
        return self._discrete.rates(time).matrix().T.tocsr()

    @dimensions("time", time="time")
    def mean_exit_time(self, time: float = 0.0) -> Array:
        """The mean time (time) until absorption from each cell, L T = -1; coefficients as they are at ``time``."""
        return self._backward(time, None)

    @dimensions("1", time="time")
    def exit_probability(self, axis: int = 0, side: str = "upper", time: float = 0.0) -> Array:
        """The probability, from each cell, to be absorbed at the wall of that axis and side ("lower", "upper").

        On an interval with two absorbing ends: the committor. Diagonal jumps of a full tensor through the corner of two
        absorbing walls count for both. Coefficients as they are at ``time``.
        """
        if side not in ("lower", "upper"):
            raise unknown("side", side, ("lower", "upper"))
        return self._backward(time, (axis, side))

    @cached_property
    def _grid(self) -> Grid:
        return Grid.of(self.lower, self.upper, self.cells, self.boundary)

    @cached_property
    def _discrete(self) -> Discretisation:
        return Discretisation.of(self._grid, self.drift, self.diffusion)

    @property
    def _steady(self) -> bool:
        return not (self._discrete.drift.takes_time or self._discrete.diffusion.takes_time)

    @property
    def _field_unit(self) -> Any:
        """The unit of the density, for ``dimensions``: it follows from the axes, whatever was handed in."""
        registry = getattr(self, "_registry", None)
        return None if registry is None else registry.Unit("1/meter") ** self.dimension

    @_field_unit.setter
    def _field_unit(self, unit: Any) -> None:
        pass

    def _start(self, density: Any) -> Array:
        if callable(density):
            density = self._grid.averages(density)
        state = np.asarray(density, dtype=np.float64)
        if state.shape != self._grid.shape:
            raise InputError(f"a density of shape {self._grid.shape} is needed; seen {state.shape}")
        if not np.isfinite(state).all() or (state < 0).any():
            raise InputError("a density must be finite and not negative; seen one that is not")
        return state

    def _backward(self, time: float, wall: tuple[int, str] | None) -> Array:
        if not any("absorbing" in pair for pair in self._grid.walls):
            raise InputError("no wall absorbs, so nothing is ever absorbed; give boundary='absorbing' somewhere")
        rates = self._discrete.rates(time)
        right: Any = np.ones(self._grid.cells)
        if wall is not None:
            axis, side = wall
            flags = np.concatenate(
                [
                    np.full(len(edges.source), bool(offset[axis]))
                    & (edges.faces[:, axis] == (0 if side == "lower" else self._grid.shape[axis]))
                    for offset, edges in self._discrete.families
                ]
            )
            leaving = flags & (rates.target == self._grid.cells)
            right = np.bincount(rates.source[leaving], rates.forward[leaving], self._grid.cells)
        if rates.in_line:
            bands = rates.bands()
            ahead, back = np.append(bands[2, :-1], 0.0), np.insert(bands[0, 1:], 0, 0.0)
            outside = rates.target == rates.cells
            leaving: Any = np.bincount(rates.source[outside], rates.forward[outside], rates.cells)
            found = first_passage_in_line(ahead, back, leaving, right)
        else:
            found = factorised(rates.matrix().T, None).solve(right)
        return found.reshape(self._grid.shape)
