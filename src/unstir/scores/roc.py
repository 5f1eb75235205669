"""The ROC curve: how well an event can be told from none, whatever the probabilities' calibration."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.scores.base import real

__all__ = ["roc"]


@dataclass(frozen=True)
class Roc:
    """``false_alarms`` and ``hits``, shares from 0 to 1, when warned from each of ``thresholds`` upwards; and ``area``.

    Float64 (k + 1,), from never warned (threshold infinity) to always.
    """

    false_alarms: Tensor
    hits: Tensor
    thresholds: Tensor
    area: float


def roc(forecast: Any, event: Any) -> Roc:
    r"""Hit rate against false-alarm rate over all thresholds, and the area below.

    ``forecast`` may be probabilities or any number that is larger where the event is likelier. The area is the chance
    that the forecast of an event is above that of a non-event, a tie counting half (Mann's and Whitney's statistic over
    the number of pairs): 1/2 for no skill, 1 for perfect. It is NaN where all events came true, or none.

    Raises InputError for different shapes, events that are neither 0 nor 1, or none known.

    Reference: Mason, Graham, Areas beneath the relative operating characteristics (ROC) and relative operating levels
    (ROL) curves (2002).
    """
    forecast, event = real(forecast).flatten(), real(event).flatten()
    if forecast.shape != event.shape:
        raise InputError(f"a forecast for each event is needed; seen {len(forecast)} and {len(event)}")
    seen = ~(forecast.isnan() | event.isnan())
    forecast, event = forecast[seen], event[seen]
    if not len(event) or not ((event == 0) | (event == 1)).all():
        raise InputError("events are 1, 0 or, where they are not known, NaN, and one at least is known")
    values, place = forecast.unique(return_inverse=True)
    yes, no = (torch.bincount(place, weights=each, minlength=len(values)).flip(0) for each in (event, 1 - event))
    zero = event.new_zeros(1)
    hits, alarms = (torch.cat((zero, each.cumsum(0) / each.sum())) for each in (yes, no))
    area = float(torch.trapezoid(hits, alarms))
    return Roc(alarms, hits, torch.cat((zero + torch.inf, values.flip(0))), area)
