"""Figures of an assimilation: a trajectory behind its readings, and the error along the window."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.domains.climate.forecasts import MODEL, Forecasts

_MOST = 4  # panels
_COLOURS = (charts.SAMPLES, charts.MUTED, charts.THIRD, charts.FOURTH, charts.DATA, charts.INK)


def trajectory_figure(forecasts: Forecasts, read: np.ndarray) -> Figure:
    """Truth, readings (times, channels, *axes) and the model's ensemble of the first case, in time."""
    ensemble = forecasts.ensembles[MODEL][0].flatten(2).numpy()
    truth, seen = forecasts.observed[0].flatten(1).numpy(), read.reshape(len(read), -1)
    names = [each.name for each in forecasts.layout.quantities]
    each = truth.shape[1] // len(names)
    chosen = np.unique(np.linspace(0, truth.shape[1] - 1, min(_MOST, truth.shape[1])).astype(int))
    figure, axes = charts.panels(len(chosen), 1, 6.4, 1.5)
    for row, place in enumerate(chosen):
        panel: Any = axes[row, 0]
        panel.plot(forecasts.leads, ensemble[:, :, place].T, color=charts.SAMPLES, lw=0.6, alpha=0.35)
        panel.plot([], [], color=charts.SAMPLES, lw=0.8, label="analysed")
        panel.plot(forecasts.leads, truth[:, place], color=charts.INK, lw=1.2, label="truth")
        panel.plot(forecasts.leads, seen[:, place], "o", ms=3.2, mfc="none", mec=charts.DATA, label="read")
        name = names[place // each] + (f" at place {place % each}" if each > 1 else "")
        charts.label(panel, "", f"time in the window, {forecasts.lead_unit}" if row == len(chosen) - 1 else "", name)
        if not row:
            charts.legend(panel, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return Figure(
        "trajectory",
        "Behind the readings",
        "One window: the truth, what was read of it with noise, and trajectories drawn from the posterior.",
        "The truth runs within the bundle, narrower than the readings' scatter and wider where little was read.",
        charts.svg(figure, "trajectory"),
    )


def error_figure(forecasts: Forecasts, errors: Mapping[str, Tensor]) -> Figure:
    """The error of each ensemble's mean along the window, (cases, times) by name, on a logarithmic scale."""
    figure, axes = charts.panels(1, 1, 6.4, 2.6)
    panel = axes[0, 0]
    for number, (name, each) in enumerate(errors.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        panel.plot(forecasts.leads, each.mean(0).numpy(), color=colour, lw=1.6 if name == MODEL else 1.0, label=name)
    panel.set_yscale("log")
    charts.label(panel, "", f"time in the window, {forecasts.lead_unit}", "error of the mean")
    charts.legend(panel, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return Figure(
        "error-by-time",
        "Error along the window",
        "The error of each ensemble's mean, averaged over windows. Filters know the past only, the model its window.",
        "The model lies lowest in the window's middle, where it knows both sides; at the end it competes with filters.",
        charts.svg(figure, "error-by-time"),
    )
