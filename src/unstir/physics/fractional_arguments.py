"""Arguments that the fractional solvers and walks have in common, looked at."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.physics.box_modes import box_lengths, decay_rates
from unstir.physics.heat_boundaries import wall_kinds


def check_box(lengths: Any, boundary: Any) -> None:
    """What of a box can be checked before a field tells its number of axes."""
    box_lengths(lengths, max(1, np.size(lengths)))
    if isinstance(boundary, str):
        wall_kinds(boundary, 1)


def eigenvalues(shape: Sequence[int], lengths: Any, kinds: Sequence[str], discrete: bool) -> np.ndarray:
    """k² of every mode of a box, 1/length², of the field's shape; ``discrete``: of second differences."""
    return decay_rates(tuple(shape), box_lengths(lengths, len(shape)), kinds, np.ones(len(shape)), discrete)


def field_of(name: str, values: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A field as float64: finite real numbers, of at least one axis, of the ``shape`` if one is due."""
    field = np.asarray(values)
    wrong_shape = not field.ndim if shape is None else field.shape != shape
    if wrong_shape or field.dtype.kind not in "fiu" or not np.isfinite(field).all():
        due = "with an axis for each side of the box" if shape is None else f"of shape {shape}"
        raise InputError(f"{name}: finite real numbers {due} are needed; seen {field.dtype} of shape {field.shape}")
    return field.astype(np.float64)


def instants(name: str, times: Any) -> np.ndarray:
    """Times as float64, each finite and not negative; a number or a row of them."""
    values = np.asarray(times, dtype=np.float64)
    if values.ndim > 1 or not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(f"{name}: a time, or a row of times, from 0 on is needed; seen {times}")
    return values


def positive(name: str, **numbers: Any) -> None:
    """Checks that numbers are positive and finite."""
    for key, number in numbers.items():
        if not (np.ndim(number) == 0 and math.isfinite(number) and number > 0):
            raise InputError(f"{name}: {key} must be a positive number; seen {number}")


def within(name: str, order: float | int, least: float | int) -> None:
    """Checks an order of the derivative: in (0, 1] in time, from ``least`` to 2 in space."""
    if not (least <= order <= 2 if least > 0 else 0 < order <= 1):
        allowed = f"[{least:g}, 2]" if least > 0 else "(0, 1]"
        raise InputError(f"{name}: the order lies in {allowed}; seen {order}")
