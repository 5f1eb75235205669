"""What a report shows of a downscaling: one day's fields, and the power at each wave length."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.domains.climate.forecasts import MODEL, Forecasts
from unstir.domains.climate.tasks.downscaling.cases import Stage

_COLOURS = (charts.SAMPLES, charts.THIRD, charts.FOURTH, "#e69f00", "#56b4e9", charts.MUTED)


def field_figure(forecasts: Forecasts, coarse: np.ndarray, stage: Stage) -> Figure:
    """Of the first judged time: what was given, what came true, the first stage, members, and their spread."""
    layout, members = forecasts.layout, forecasts.ensembles[MODEL][0, :, 0, 0]
    quantity = layout.quantities[0]
    shown: list[tuple[str, np.ndarray]] = [
        ("given", coarse[0, 0]),
        ("came true", forecasts.observed[0, 0, 0].numpy()),
        ("first stage", forecasts.ensembles["regression"][0, 0, 0, 0].numpy())
        if "regression" in forecasts.ensembles
        else ("mean of the members", members.mean(0).numpy()),
        *((f"member {place + 1}", members[place].numpy()) for place in range(min(3, len(members)))),
    ]
    drawing = _lines(forecasts, coarse, stage) if len(layout.axes) == 1 else _maps(shown, layout, quantity.unit)
    return Figure(
        "fields",
        f"{quantity.title or quantity.name}: one time of the test part",
        f"In {quantity.unit}: the coarse field that is given, the fine one that came true, the mean that the first "
        "stage tells, and members that were drawn.",
        "Members should be as rough as what came true and differ where it is not told; the first stage is smooth.",
        charts.svg(drawing, "fields"),
    )


def spectrum_figure(forecasts: Forecasts, waves: np.ndarray, spectra: Mapping[str, Tensor], observed: Tensor) -> Figure:
    """Power by wave number, of single fields."""
    figure, axes = charts.panels(1, 2, 3.6, 2.8)
    true = observed[:, 0].mean(0).numpy()
    first, second = axes[0]
    first.plot(waves, true, color=charts.DATA, linewidth=2.2, label="came true")
    second.axhline(1, color=charts.DATA, linewidth=2.2)
    for number, (name, told) in enumerate(spectra.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        style: dict[str, Any] = {"linewidth": 1.4 if name == MODEL else 0.9, "color": colour}
        if name != MODEL:
            style["linestyle"] = "--" if number % 2 else "-."
        own = told[:, 0].mean(0).numpy()
        first.plot(waves, own, label=name, **style)
        second.plot(waves, own / true, **style)
    first.set_yscale("log")
    second.set_ylim(0, 2)
    charts.label(first, "power", "cycles a place", f"{forecasts.layout.quantities[0].unit}²")
    charts.label(second, "over that of what came true", "cycles a place", "")
    charts.legend(first)
    return Figure(
        "spectrum",
        "Power by wave number",
        "The mean over fields of their squared amplitudes, by how many waves go into a place; of an ensemble, that of "
        "its members, each by itself.",
        "Members should lie on what came true at every wave number. A mean falls off where nothing is told, and noise "
        "that knows no neighbours rises.",
        charts.svg(figure, "spectrum"),
    )


def _maps(shown: list[tuple[str, np.ndarray]], layout: Any, unit: str) -> Any:
    figure, axes = charts.panels(2, 3, 2.3, 2.0)
    true = shown[1][1]
    low, high = np.nanmin(true), np.nanmax(true)
    rows, columns = (np.asarray(axis.values, dtype=np.float64) for axis in layout.axes[-2:])
    ends = (*_ends(columns), *_ends(rows))
    image = None
    for place, each in enumerate(axes.flat):
        if place >= len(shown):
            each.set_visible(False)
            continue
        name, values = shown[place]
        while values.ndim > 2:
            values = values[len(values) // 2]  # the middle of a further axis
        image = each.imshow(
            values,
            origin="lower",
            extent=ends,
            vmin=low,
            vmax=high,
            cmap="viridis",
            aspect="auto",
            interpolation="none",
        )
        charts.label(
            each, name, layout.axes[-1].name if place >= 3 else "", layout.axes[-2].name if not place % 3 else ""
        )
    bar = figure.colorbar(image, ax=list(axes.flat), shrink=0.8, pad=0.01)
    bar.ax.tick_params(labelsize=6.5)
    bar.set_label(unit, fontsize=7)
    return figure


def _lines(forecasts: Forecasts, coarse: np.ndarray, stage: Stage) -> Any:
    """Along a single axis."""
    figure, axes = charts.panels(1, 1, 6.6, 2.6)
    each, axis = axes[0, 0], forecasts.layout.axes[0]
    places = np.asarray(axis.values, dtype=np.float64)
    for place, member in enumerate(forecasts.ensembles[MODEL][0, :8, 0, 0].numpy()):
        each.plot(places, member, color=charts.SAMPLES, linewidth=0.6, alpha=0.6, label=None if place else "members")
    each.plot(places, forecasts.observed[0, 0, 0].numpy(), color=charts.DATA, linewidth=1.4, label="came true")
    own = np.asarray(stage.grids.coarse[0].values, dtype=np.float64)
    each.plot(own, coarse[0, 0], "o", color=charts.INK, markersize=3, label="given")
    charts.label(each, "", f"{axis.name} ({axis.unit or '1'})", forecasts.layout.quantities[0].unit)
    charts.legend(each)
    return figure


def _ends(values: np.ndarray) -> tuple[float, float]:
    half = (values[-1] - values[0]) / max(len(values) - 1, 1) / 2
    return float(values[0] - half), float(values[-1] + half)
