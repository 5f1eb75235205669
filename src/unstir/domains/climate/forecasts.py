"""Ensemble forecasts beside what came true: what every task hands over to be judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from unstir.domains.climate.layout import Layout

MODEL = "model"


@dataclass(frozen=True)
class Forecasts:
    """The model's ensembles and its baselines', in the data's units.

    ``ensembles``: by name, ``model`` first: float64 (cases, members, leads, channels, *axes); the members may be
    of different number, and one member is a forecast without spread (CRPS is then its absolute error).
    ``observed``: (cases, leads, channels, *axes), NaN where missing. ``starts``: when each case was forecast (cases,),
    datetime64, cftime, or plain numbers for a made law. ``leads``: (leads,) numbers in ``lead_unit``; one lead of zero
    where the task knows no leads. ``layout`` tells channels and axes (never ``lead``). ``climatology``: values of the
    training part, (n, channels, *axes) or (n, channels), whose quantiles are the thresholds of events. ``block``:
    how many cases in a row hang together, for the bootstrap by blocks. ``exact``: an ensemble's name that no forecast
    can beat in the mean, where the law is known (``""`` otherwise).
    """

    ensembles: Mapping[str, Tensor]
    observed: Tensor
    starts: np.ndarray
    leads: np.ndarray
    lead_unit: str
    layout: Layout
    climatology: Tensor
    block: int = 1
    exact: str = ""
    remarks: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    """Of ensembles by name: one line that says what each is."""
