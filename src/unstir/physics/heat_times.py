"""The times at which a solver of this room is asked for its field, and the equal steps on the way to them."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unstir.core.errors import InputError


def output_times(times: Any) -> np.ndarray:
    """Times as float64 (n,): one or several, at least zero, rising."""
    given = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if given.ndim != 1 or not given.size or not np.isfinite(given).all() or given[0] < 0 or np.any(np.diff(given) < 0):
        raise InputError(f"times are finite numbers from zero up, in rising order; seen {times!r}")
    return given


def longest_step(step: Any) -> float:
    """A step length given by the caller, positive and finite."""
    if np.ndim(step) != 0 or not 0 < float(step) < np.inf:
        raise InputError(f"a time step is one positive number; seen {step!r}")
    return float(step)


def equal_steps(
    times: np.ndarray, longest: float, stepper: Callable[[float], Callable[..., np.ndarray]]
) -> Iterator[tuple[list[float], Callable[..., np.ndarray] | None, bool]]:
    """For each of the times: where its steps start, what makes a step, and whether that is a new one.

    ``stepper(dt)`` makes the step of a length, which may cost a factorisation: lengths that are equal but for
    rounding share one. It is None as long as there is nothing to step.
    """
    now, length = 0.0, math.nan
    march: Callable[..., np.ndarray] | None = None
    for time in times:
        count = math.ceil((time - now) / longest * (1 - 1e-12))
        dt = (time - now) / max(count, 1)
        new = count > 0 and not abs(length - dt) <= 1e-12 * dt
        if new:
            march, length = stepper(dt), dt
        yield [now + part * dt for part in range(count)], march, new
        now = float(time)
