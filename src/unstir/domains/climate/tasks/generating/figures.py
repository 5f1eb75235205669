"""Figures of a weather generator: windows, tails, memory and spectrum beside the record's; and of a rare event."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unstir.domains.base import Figure
from unstir.domains.charts import DATA, FOURTH, MUTED, SAMPLES, THIRD, label, legend, panels, svg
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.layout import Layout
from unstir.domains.climate.tasks.generating.events import BoundEvent
from unstir.domains.climate.tasks.generating.generated import autocorrelation, spectrum
from unstir.domains.climate.tasks.generating.rare_events import Estimate
from unstir.scores.extremes import ReturnLevels

_HUES = {"model": SAMPLES, "blocks": MUTED, "gaussian": THIRD, "rival": FOURTH}
_POINTS = 400
_SHOWN = 5


def figures_of(sets: Mapping[str, np.ndarray], observed: np.ndarray, layout: Layout) -> tuple[Figure, ...]:
    """Windows, tails, and what hangs together: of ``sets`` by name (n, channels, *axes), the model's first."""
    found = [_windows(sets["model"], observed, layout), _tails(sets, observed, layout)]
    if (connected := _connected(sets, observed, layout)) is not None:
        found.append(connected)
    return tuple(found)


def of_event(
    estimate: Estimate,
    bound: BoundEvent,
    encoding: ClimateEncoding,
    counted: Mapping[str, np.ndarray],
    tails: Sequence[ReturnLevels],
) -> list[Figure]:
    """Return levels with the event's estimate, and windows of the event."""
    found = [_return_levels(estimate, bound, counted, tails)]
    if len(estimate.samples):
        windows = encoding.decode(estimate.samples)
        figure, axes = panels(1, min(len(windows), _SHOWN), 1.5, 1.7)
        channel = [each.name for each in encoding.layout.quantities].index(bound.event.variable)
        chosen = np.linspace(0, len(windows) - 1, axes.shape[1]).round().astype(int)
        _row(axes[0], windows[chosen, channel], encoding.layout, None, None)
        found.append(
            Figure(
                "event-windows",
                "Windows of the event",
                f"Generated windows in which the {bound.event.told}.",
                "They look like weather that the record could have had, only stronger; spots without surroundings "
                "are the network's invention.",
                svg(figure, "event-windows"),
            )
        )
    return found


def _windows(drawn: np.ndarray, observed: np.ndarray, layout: Layout) -> Figure:
    figure, axes = panels(2, _SHOWN, 1.5, 1.6)
    ends = np.quantile(observed[:, 0], [0.002, 0.998])
    for row, (name, rows) in enumerate((("record", observed), ("generated", drawn))):
        chosen = np.linspace(0, len(rows) - 1, _SHOWN).round().astype(int)
        _row(axes[row], rows[chosen, 0], layout, *ends)
        axes[row, 0].set_title(name, fontsize=8, loc="left")
    quantity = layout.quantities[0]
    return Figure(
        "windows",
        "Windows",
        f"{quantity.name} in {quantity.unit}: above, windows of the test part; below, generated ones, on one scale.",
        "Nobody should be able to tell the rows apart.",
        svg(figure, "windows"),
    )


def _row(axes: Any, values: np.ndarray, layout: Layout, low: float | None, high: float | None) -> None:
    """One window each: a picture where there are two axes or more, else a line."""
    low, high = (float(values.min()), float(values.max())) if low is None or high is None else (low, high)
    for each, window in zip(axes, values, strict=False):
        if window.ndim >= 2:
            while window.ndim > 2:
                window = window[0]  # the first lead of maps
            each.imshow(window, aspect="auto", origin="lower", cmap="viridis", vmin=low, vmax=high)
            each.set_xticks([])
            each.set_yticks([])
        else:
            each.plot(np.atleast_1d(window), color=SAMPLES, linewidth=1)
            each.set_ylim(low, high)
    names = layout.names[-2:]
    label(axes[0], x=names[-1] if names else "", y=names[0] if len(names) > 1 else "")


def _tails(sets: Mapping[str, np.ndarray], observed: np.ndarray, layout: Layout) -> Figure:
    channels = min(len(layout.quantities), 3)
    figure, axes = panels(channels, 2, 3.0, 2.3)
    for channel in range(channels):
        for column, sign in enumerate((1.0, -1.0)):
            each = axes[channel, column]
            for name, values in {"record": observed, **sets}.items():
                ordered = np.sort(sign * values[:, channel].ravel())[::-1]
                places = np.unique(np.geomspace(1, len(ordered), _POINTS).astype(int)) - 1
                hue = DATA if name == "record" else _HUES.get(name, MUTED)
                width = 1.8 if name in ("record", "model") else 1.0
                each.plot(sign * ordered[places], (places + 0.5) / len(ordered), color=hue, linewidth=width, label=name)
            each.set_yscale("log")
            each.set_ylim(2e-6, 1)
            quantity = layout.quantities[channel]
            label(each, "above" if sign > 0 else "below", f"{quantity.name}, {quantity.unit}", "share beyond")
    legend(axes[0, 0])
    return Figure(
        "tails",
        "Tails",
        "How much of all values lies above (left) and below (right) each level, down to one in the sample.",
        "The model's line follows the record's until the record ends. Beyond, it is the model's own word.",
        svg(figure, "tails"),
    )


def _connected(sets: Mapping[str, np.ndarray], observed: np.ndarray, layout: Layout) -> Figure | None:
    curves = [
        (what, title, x)
        for what, title, x in (
            (autocorrelation, "correlation in time", "lag, times"),
            (spectrum, "spectrum", "wavenumber"),
        )
        if what(observed, layout).shape[1]
    ]
    if not curves:
        return None
    figure, axes = panels(1, len(curves), 3.0, 2.3)
    for each, (what, title, x) in zip(axes[0], curves, strict=True):
        for name, values in {"record": observed, **sets}.items():
            told = what(values, layout)[0]
            hue = DATA if name == "record" else _HUES.get(name, MUTED)
            each.plot(np.arange(1, len(told) + 1), told, color=hue, marker="o", markersize=2.5, linewidth=1, label=name)
        if what is spectrum:
            each.set_yscale("log")
        label(each, title, x)
    legend(axes[0, 0])
    return Figure(
        "connections",
        "Memory and spectrum",
        f"Of {layout.quantities[0].name}: how windows hang together in time, and the power by wavenumber in space.",
        "The model's lines lie on the record's; the Gaussian's do too, for that is all that it knows.",
        svg(figure, "connections"),
    )


def _return_levels(
    estimate: Estimate, bound: BoundEvent, counted: Mapping[str, np.ndarray], tails: Sequence[ReturnLevels]
) -> Figure:
    event = bound.event
    sign = 1.0 if event.above is not None else -1.0
    figure, ((each,),) = panels(1, 1, 4.6, 3.0)
    hues = {"training": DATA, "plain": SAMPLES, "simulation": MUTED}
    longest = max([1 / estimate.probability if estimate.probability > 0 else 1.0, *(len(v) for v in counted.values())])
    periods = np.geomspace(1.05 / min(tail.rate for tail in tails), 3 * longest, 60)
    levels = np.stack([tail.level(periods) for tail in tails])
    low, high = sign * np.quantile(levels, [0.025, 0.975], axis=0)
    each.fill_between(periods, low, high, color=THIRD, alpha=0.25, linewidth=0, label="Pareto tail, 95 %")
    for name, values in counted.items():
        ordered = np.sort(sign * values)[::-1]
        places = np.unique(np.geomspace(1, len(ordered) * tails[0].rate, _POINTS).astype(int)) - 1
        each.plot(len(ordered) / (places + 0.5), sign * ordered[places], color=hues[name], linewidth=1.4, label=name)
    if estimate.probability > 0:
        a, b = estimate.interval()
        point = 1 / estimate.probability
        width = [[point - 1 / b], [1 / a - point]]
        each.errorbar(
            [point], [event.threshold], xerr=width, color=SAMPLES, marker="D", markersize=5, label="generator"
        )
    each.axhline(event.threshold, color=MUTED, linewidth=0.6, linestyle=":")
    each.set_xscale("log")
    label(each, event.told, "return period, windows", event.statistic)
    legend(each, loc="lower right" if sign > 0 else "upper right")
    return Figure(
        "return-levels",
        "Return levels",
        "The statistic by its return period: counted in the training part, in plain samples and (where there is one) "
        "in a long simulation; the band is the Pareto law fitted to the training part; the diamond the generator's "
        "own estimate of the event, with its interval.",
        "The diamond lies on the simulation's line. Where there is none, trust it no further than generator and "
        "record agree before the record ends.",
        svg(figure, "return-levels"),
    )
