"""What processes share that only spread: nothing is shrunk, and at time 1 all is forgotten."""

from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule, float64


def check_spreading(process: Any, refusal: str, enough: str) -> None:
    """Refuses a schedule that shrinks the data (``refusal`` says why), or ends before the data is forgotten.

    ``enough`` is about the sigma_max that would do, in words.
    """
    schedule = process.schedule
    if schedule.scale != "ve":
        raise InputError(
            f"{refusal}: the schedule's scale must be 've' (exponential-ve, edm); "
            f"seen {type(schedule).__name__} of scale {schedule.scale!r}"
        )
    if (error := process.prior_error()) > 0.1:
        raise InputError(
            f"the noise ends before the data is forgotten: at time 1 the density is uniform to {error:.2g} only; "
            f"raise the schedule's sigma_max from {schedule.sigma(1.0):g} to about {enough}"
        )


def gained_deviation(schedule: Schedule, s: Tensor | float, t: Tensor | float, device: torch.device) -> Tensor:
    """The deviation that the noise gains from s to t under a variance-exploding schedule, float64.

    Raises InputError for an s that exceeds t.
    """
    s, t = float64(s).to(device), float64(t).to(device)
    if bool((s > t).any()):
        raise InputError(f"times must not be turned round: s must not exceed t; seen s = {s} and t = {t}")
    gap = schedule.log_snr(t) - schedule.log_snr(s)
    fresh = -torch.expm1(torch.nan_to_num(gap, nan=0.0, neginf=-torch.inf))
    return torch.where(fresh > 0, schedule.sigma(t) * fresh.sqrt(), 0.0)
