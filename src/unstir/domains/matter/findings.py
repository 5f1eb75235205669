"""Shares and means of structures as results, each beside the data's own row and beside what needs no model."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from unstir.domains.measuring import mean_interval
from unstir.metrics.evaluate import Result
from unstir.metrics.resampling import proportion_interval


def share(
    metric: str,
    flags: np.ndarray,
    floor: np.ndarray | None,
    baselines: Mapping[str, np.ndarray],
    *,
    reference: int,
    began: float,
    note: str,
    ideal: float | None = 1.0,
    features: str = "the structures themselves",
    details: Mapping[str, Any] | None = None,
) -> Result:
    """A share of yes-or-no values (n,) with Wilson's interval; ``floor`` are those of real data in the samples' place.

    ``began`` is when the measurement did, by ``time.perf_counter``; ``reference`` how many crystals it was against.
    """
    return Result(
        metric=metric,
        value=float(np.mean(flags)),
        interval=proportion_interval(torch.from_numpy(np.asarray(flags, dtype=bool))),
        floor=_floor_of_share(floor),
        baselines={name: float(np.mean(other)) for name, other in baselines.items() if len(other)},
        ideal=ideal,
        better="higher",
        unit="1",
        n_samples=len(flags),
        n_reference=reference,
        seconds=round(time.perf_counter() - began, 3),
        features=features,
        note=note,
        details=dict(details or {}),
    )


def mean(
    metric: str,
    values: np.ndarray,
    floor: np.ndarray | None,
    baselines: Mapping[str, np.ndarray],
    *,
    reference: int,
    began: float,
    note: str,
    unit: str,
    ideal: float | None = 0.0,
    features: str = "the structures themselves",
    details: Mapping[str, Any] | None = None,
) -> Result | None:
    """A mean, lower being better, with its 95 % interval by the normal law; of the finite values, None for under two.

    What is left out is told in the note by its number.
    """
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return None
    value, interval = mean_interval(finite)
    others = {name: other[np.isfinite(other)] for name, other in baselines.items()}
    told = f"{note}; of {len(finite)} of {len(values)}" if len(finite) < len(values) else note
    own = floor[np.isfinite(floor)] if floor is not None else np.zeros(0)
    floor_told: dict[str, Any] = {}
    if len(own) >= 2:
        centre, spread = mean_interval(own)
        floor_told = {"value": centre, "interval": spread}
    return Result(
        metric=metric,
        value=value,
        interval=interval,
        floor=floor_told,
        baselines={name: math.fsum(other) / len(other) for name, other in others.items() if len(other)},
        ideal=ideal,
        better="lower",
        unit=unit,
        n_samples=len(finite),
        n_reference=reference,
        seconds=round(time.perf_counter() - began, 3),
        features=features,
        note=told,
        details=dict(details or {}),
    )


def ratio(
    metric: str,
    parts: tuple[np.ndarray, np.ndarray],
    floor: tuple[np.ndarray, np.ndarray] | None,
    baselines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    reference: int,
    began: float,
    note: str,
    features: str = "the structures themselves",
) -> Result:
    """A share of parts, atoms of molecules, that hold: of every structure how many do, and how many there are, (n,).

    The interval is the ratio estimator's, structures being independent and their parts not.

    Reference: Cochran, Sampling techniques (1977), section 6.5.
    """
    value, interval = _ratio(*parts)
    told = {}
    if floor is not None and len(floor[0]):
        centre, spread = _ratio(*floor)
        told = {"value": centre, "interval": spread}
    return Result(
        metric=metric,
        value=value,
        interval=interval,
        floor=told,
        baselines={name: _ratio(*other)[0] for name, other in baselines.items() if len(other[0])},
        ideal=1.0,
        better="higher",
        unit="1",
        n_samples=len(parts[0]),
        n_reference=reference,
        seconds=round(time.perf_counter() - began, 3),
        features=features,
        note=note,
    )


def _ratio(held: np.ndarray, every: np.ndarray) -> tuple[float, tuple[float, float]]:
    total = max(int(every.sum()), 1)
    value = float(held.sum() / total)
    away = held - value * every
    error = 1.96 * math.sqrt(float(away @ away) * len(held) / max(len(held) - 1, 1)) / total
    return value, (max(value - error, 0.0), min(value + error, 1.0))


def _floor_of_share(flags: np.ndarray | None) -> dict[str, Any]:
    if flags is None or not len(flags):
        return {}
    return {
        "value": float(np.mean(flags)),
        "interval": proportion_interval(torch.from_numpy(np.asarray(flags, dtype=bool))),
    }
