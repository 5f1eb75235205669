"""The times at which a solver of this room is asked for its field."""

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
