"""Steps in time of dP/dt = A(t) P that keep mass and positivity. Nothing here is public.

Reference: Bank, Coughran, Fichtner, Grosse, Rose, Smith 1985, "Transient simulation of silicon devices and circuits"
(TR-BDF2); Hosea, Shampine 1996, "Analysis and implementation of TR-BDF2" (its embedded third order); Zalesak 1979,
"Fully multidimensional flux-corrected transport algorithms for fluids" (the limiter).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import linalg

from unstir.core.errors import InputError
from unstir.physics.fokker_planck_grid import Array
from unstir.physics.fokker_planck_rates import Rates
from unstir.physics.jump_process import factorised

_GAMMA = 2 - np.sqrt(2)  # where in the step the trapezoidal stage ends
_DIAGONAL = _GAMMA / 2
_WEIGHT = np.sqrt(2) / 4
_ERROR_WEIGHTS = (_WEIGHT - (1 - _WEIGHT) / 3, _WEIGHT - (3 * _WEIGHT + 1) / 3, _DIAGONAL - _DIAGONAL / 3)
_SMALLEST_STEP = 1e-12  # of an interval
_ROUNDING = 1e-8  # no more than this is taken for rounding


@dataclass
class Stepper:
    """Advances cell probabilities; ``rates`` tells the jumps at a time, ``steady`` that they never change."""

    rates: Callable[[float], Rates]
    steady: bool
    _known: dict[float, Rates] = field(default_factory=dict)
    _factors: dict[tuple[float, float], Any] = field(default_factory=dict)

    def backward_euler(self, start: Array, time: float, step: float) -> Array:
        """One step of first order: positive whatever the step, for (1 - step A) is an M-matrix."""
        return self._whole(start, self._solve(start, time + step, step), time + step)

    def tr_bdf2(self, start: Array, time: float, step: float) -> tuple[Array, float]:
        """One step of second order, and its local error in L1.

        Where it would fall below zero the flow that it adds to backward Euler's is limited, as far as needed.
        """
        middle, end = time + _GAMMA * step, time + step
        first = self._at(time).gain(self._at(time).flow(start))
        halfway = self._solve(start + _DIAGONAL * step * first, middle, _DIAGONAL * step)
        second = self._at(middle).gain(self._at(middle).flow(halfway))
        known = start + _WEIGHT * step * (first + second)
        found = self._solve(known, end, _DIAGONAL * step)
        third = self._at(end).gain(self._at(end).flow(found))
        stages: Any = sum(weight * stage for weight, stage in zip(_ERROR_WEIGHTS, (first, second, third), strict=True))
        error = float(np.abs(self._solve(step * stages, end, _DIAGONAL * step)).sum())
        if found.min() >= 0:
            return self._whole(start, found, end), error
        limited = self._limited(start, halfway, found, time, step)
        return limited, error + float(np.abs(limited - found).sum())

    def _limited(self, start: Array, halfway: Array, found: Array, time: float, step: float) -> Array:
        now, then, end = self._at(time), self._at(time + _GAMMA * step), self._at(time + step)
        positive = self.backward_euler(start, time, step)
        surplus = step * (
            _WEIGHT * (now.flow(start) + then.flow(halfway)) + _DIAGONAL * end.flow(found) - end.flow(positive)
        )
        leaving = np.bincount(end.source, np.maximum(surplus, 0), end.cells + 1)
        leaving += np.bincount(end.target, np.maximum(-surplus, 0), end.cells + 1)
        room = np.append(positive, np.inf)
        share = np.minimum(1.0, np.divide(room, leaving, out=np.ones_like(room), where=leaving > 0))
        surplus *= np.where(surplus > 0, share[end.source], share[end.target])
        return np.maximum(positive + end.gain(surplus), 0.0)  # below zero by rounding only

    def _whole(self, start: Array, found: Array, time: float) -> Array:
        """Gives back in proportion what rounding in a large diagonal has lost or made; a scheme's own loss stays."""
        if (self._at(time).target == self._at(time).cells).any():
            return found
        ratio = float(start.sum() / max(found.sum(), 1e-300))
        return found * ratio if abs(ratio - 1) < _ROUNDING else found

    def adaptive(self, start: Array, time: float, end: float, tolerance: float, step: float) -> tuple[Array, float]:
        """From ``time`` to ``end`` with local errors that sum to ``tolerance`` at most; and the step to go on with.

        A step may use up its share, in the time left, of the tolerance left, and some of it in any case: equal errors
        are the cheapest where a rough start needs steps of many sizes. With n steps they are of size n^-3 and sum to
        n^-2, so that a share goes with the root of the tolerance. Errors do not grow in L1.
        """
        left, share, smallest = tolerance, 0.1 * np.sqrt(tolerance), _SMALLEST_STEP * (end - time)
        while time < end:
            last = step >= end - time
            tried = end - time if last else step
            found, error = self.tr_bdf2(start, time, tried)
            allowed = left * max(tried / (end - time), share)
            factor = 0.9 * float(np.cbrt(allowed / max(error, 1e-300)))
            if error <= allowed:
                start, time, left = found, end if last else time + tried, left - error
                if tried == step and factor > 1.3:
                    step = tried * min(factor, 4.0)
            elif tried < smallest:
                raise InputError(f"tolerance {tolerance:g} cannot be reached; allow a larger one, or give `steps`")
            else:
                step = tried * min(max(factor, 0.1), 0.8)
        return start, step

    def _at(self, time: float) -> Rates:
        time = 0.0 if self.steady else time
        if time not in self._known:
            while len(self._known) > 3:
                del self._known[next(iter(self._known))]
            self._known[time] = self.rates(time)
        return self._known[time]

    def _solve(self, right: Array, time: float, step: float) -> Array:
        """Solves (1 - step A(time)) x = right."""
        key = (0.0 if self.steady else time, step)
        if key not in self._factors:
            while len(self._factors) > 1:
                del self._factors[next(iter(self._factors))]
            rates = self._at(time)
            self._factors[key] = _InLine(rates, step) if rates.in_line else factorised(rates.matrix(), step)
        return self._factors[key].solve(right)


class _InLine:
    """1 - step A of cells in a line; its columns are dominated by the diagonal, so no rows are exchanged."""

    def __init__(self, rates: Rates, step: float) -> None:
        self._bands = -step * rates.bands()
        self._bands[1] += 1

    def solve(self, right: Array) -> Array:
        solved: Any = linalg.solve_banded((1, 1), self._bands, right, check_finite=False)
        return solved
