"""The charts of a report, one matplotlib Figure a function; each is usable alone, in a notebook or a paper.

The colours are those of the page's light theme; ``svg.inline_svg`` makes them follow the reader's. Accent and the
two further hues are told apart by readers of every kind of colour vision, and lines differ in marker or dash too.
"""

# ruff: noqa: RUF001 (Greek letters and true minus signs are meant)

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from unstir.report.markup import number
from unstir.report.reading import series
from unstir.report.words import BETTER, floor_of, is_real, title_of, titled

COLOURS = {
    "accent": "#b5401c",
    "accent-soft": "#e3ad98",
    "second": "#0a6fa8",
    "third": "#2d7f5e",
    "ink": "#211e1b",
    "muted": "#716a62",
    "rule": "#ded8ce",
}
ACCENT, SOFT, SECOND, THIRD, INK, MUTED, RULE = COLOURS.values()
_POINTS = 400  # a line of the progress more would not be seen
_SMOOTHED = 60  # points from which on a curve is smoothed
_TYPE = {"font.size": 8, "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "axes.unicode_minus": True}


def panel(x_label: str, y_label: str, size: tuple[float, float] = (4.6, 2.9)) -> tuple[Figure, Axes]:
    """An empty chart in the report's style; size in inches."""
    with matplotlib.rc_context(_TYPE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(x_label, color=MUTED)
        axes.set_ylabel(y_label, color=MUTED)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(MUTED)
        spine.set_linewidth(0.6)
    axes.tick_params(which="both", color=MUTED, labelcolor=INK, width=0.6, length=3)
    axes.tick_params(axis="y", which="both", length=0)
    axes.grid(True, axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def metric_figure(result: Mapping[str, Any]) -> Figure:
    """One measure: the run with its 95 % interval, real data in its place, and each baseline, a row each."""
    baselines = result.get("baselines") or {}
    rows = [("this run", result["value"], result.get("interval"), ACCENT)]
    if floor := result.get("floor"):
        rows.append((f"{floor_of(floor)} (floor)", floor["value"], floor.get("interval"), INK))
    for name in sorted(baselines, key=lambda name: not is_real(name)):
        rows.append((titled(name), baselines[name], None, INK if is_real(name) else MUTED))
    rows = [row for row in rows if row[1] is not None and np.isfinite(row[1])]
    better = BETTER[result.get("better", "lower")][1]
    label = f"{_with_unit(result)}; {better}"
    label = label if len(label) < 45 else label.replace(" (", "\n(", 1)
    figure, axes = panel(label, "", (3.35, 0.85 + 0.19 * len(rows)))
    for place, (_, value, interval, colour) in enumerate(rows):
        if interval:
            axes.plot(interval, [place, place], color=colour, linewidth=1.6, alpha=0.55, solid_capstyle="butt")
        hollow = place > 0
        axes.plot([value], [place], "o", markersize=5, color=colour, markerfacecolor="none" if hollow else colour)
    values = [row[1] for row in rows]
    if min(values) > 0 and max(values) > 20 * min(values):
        axis_in_powers(axes, "x")
    elif result.get("ideal") is not None:
        axes.axvline(result["ideal"], color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(row[3])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    few_ticks(axes, "x")
    axes.grid(False, axis="y")
    axes.grid(True, axis="x", color=RULE, linewidth=0.6)
    return figure


def calls_figure(
    points: Sequence[Mapping[str, Any]],
    metric: str,
    result: Mapping[str, Any] | None = None,
    size: tuple[float, float] = (4.6, 2.9),
) -> Figure:
    """One measure against the network calls that a sample takes, a line for each sampler; real data as a band.

    ``result`` is the metric measured at length: it tells the unit and the floor.
    """
    figure, axes = panel("network calls per sample (log scale)", _with_unit(result or {"metric": metric}), size)
    values = []
    lines = zip(_by_sampler(points, metric).items(), _strokes(), strict=False)
    for (sampler, (calls, heights)), (colour, marker, dash) in lines:
        axes.plot(calls, heights, marker, color=colour, linestyle=dash, linewidth=1.4, markersize=4.5, label=sampler)
        values += list(heights)
    floor = (result or {}).get("floor")
    if floor:
        low, high = floor.get("interval") or (floor["value"],) * 2
        axes.axhspan(low, high, color=RULE, linewidth=0)
        axes.axhline(floor["value"], color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), label="real data (floor)")
        values.append(floor["value"])
    axis_in_powers(axes, "x", ticks=sorted({int(point["calls"]) for point in points}))
    if values and min(values) > 0 and max(values) > 8 * min(values):
        axis_in_powers(axes, "y")
    else:
        few_ticks(axes, "y")
    legend(axes)
    return figure


def loss_figure(lines: list[dict[str, Any]]) -> Figure:
    """The loss over the training: each logged value, and a running mean that is labelled as such."""
    figure, axes = panel("training step", "weighted loss (per element)")
    steps, losses = thinned(*series(lines, "loss"))
    if len(losses) < _SMOOTHED:
        axes.plot(steps, losses, "o-", color=ACCENT, markersize=3.5, linewidth=1.4, label="as logged")
    else:
        width = len(losses) // 20 | 1
        axes.plot(steps, losses, ".", color=SOFT, markersize=3, label="as logged")
        axes.plot(steps, running_mean(losses, width), color=ACCENT, linewidth=1.6, label=f"mean of {width} neighbours")
    if len(losses) and losses.min() > 0 and losses.max() > 8 * losses.min():
        axis_in_powers(axes, "y")
    else:
        few_ticks(axes, "y")
    few_ticks(axes, "x", integer=True)
    legend(axes)
    return figure


def level_figure(lines: list[dict[str, Any]]) -> Figure:
    """The loss at each noise level, in the first, middle and last third of the training."""
    figure, axes = panel("noise-to-signal ratio σ/α (log scale); noise on the right", "weighted loss (per element)")
    told = [line for line in lines if line.get("by_log_snr")]
    values: list[float] = []
    names: tuple[str, ...] = ("first third", "middle third", "last third")
    strokes: tuple[tuple[str, str, str], ...] = ((MUTED, ":", "o"), (SOFT, "--", "s"), (ACCENT, "-", "D"))
    parts = np.array_split(np.arange(len(told)), 3)
    if len(told) < 3:
        parts, names, strokes = [np.arange(len(told))], ("whole training",), strokes[-1:]
    for part, name, (colour, dash, marker) in zip(parts, names, strokes, strict=True):
        ratios, means = mean_by_level([told[place] for place in part])
        axes.plot(ratios, means, color=colour, linestyle=dash, marker=marker, markersize=3.5, linewidth=1.5, label=name)
        values += list(means)
    axis_in_powers(axes, "x")
    if values and min(values) > 0 and max(values) > 8 * min(values):
        axis_in_powers(axes, "y")
    legend(axes)
    return figure


def progress_figure(lines: list[dict[str, Any]], key: str, label: str) -> Figure:
    """One quantity of the progress over the training steps."""
    figure, axes = panel("training step", label, (3.35, 2.1))
    steps, values = thinned(*series(lines, key))
    axes.plot(steps, values, color=SECOND, linewidth=1.3)
    axes.set_ylim(bottom=0)
    few_ticks(axes, "x", integer=True)
    few_ticks(axes, "y")
    return figure


def classes_figure(shares: Sequence[float], reference: Sequence[float], names: Sequence[str]) -> Figure:
    """The share of each class among the samples, beside the data's."""
    figure, axes = panel("class", "share of the samples (%)", (min(9.4, 3 + 0.3 * len(shares)), 2.3))
    places = np.arange(len(shares))
    axes.bar(places, 100 * np.asarray(shares), 0.62, color=SOFT, label="samples")
    axes.plot(places, 100 * np.asarray(reference), "_", color=INK, markersize=15, markeredgewidth=1.6, label="data")
    if len(names) == len(shares) <= 40:
        axes.set_xticks(places, names, rotation=0 if max(map(len, names)) < 4 else 60)
    axes.set_ylim(0, 125 * max(*shares, *reference))
    few_ticks(axes, "y")
    legend(axes)
    return figure


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 400 points: beyond, the means of groups of neighbouring ones."""
    group = -(-len(values) // _POINTS) if len(values) else 1
    parts = range(0, len(values), group)
    return tuple(np.array([line[start : start + group].mean() for start in parts]) for line in (steps, values))  # type: ignore[return-value]


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """The mean of the ``width`` values around each one (odd), of fewer at the two ends."""
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def mean_by_level(lines: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Noise-to-signal ratios exp(-log-SNR / 2) and the losses there, averaged over the lines by their counts."""
    totals: dict[float, tuple[float, float]] = {}
    for line in lines:
        for centre, mean, count in line["by_log_snr"]:
            if mean is not None and np.isfinite(mean) and count:
                total, weight = totals.get(centre, (0.0, 0.0))
                totals[centre] = (total + mean * count, weight + count)
    centres = np.array(sorted(totals, reverse=True))
    return np.exp(-centres / 2), np.array([totals[centre][0] / totals[centre][1] for centre in centres])


def _by_sampler(points: Sequence[Mapping[str, Any]], metric: str) -> dict[str, tuple[list[float], list[float]]]:
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for point in sorted(points, key=lambda point: point["calls"]):
        value = point.get(metric)
        if value is not None and np.isfinite(value):
            calls, heights = lines.setdefault(str(point.get("sampler", "sampler")), ([], []))
            calls.append(float(point["calls"]))
            heights.append(float(value))
    return lines


def _strokes() -> list[tuple[str, str, str | tuple[int, tuple[int, ...]]]]:
    colours, markers = (ACCENT, SECOND, THIRD, INK), ("o", "s", "^", "D", "v", "P")
    return [(colours[place % 4], markers[place % 6], "-" if place < 4 else (0, (5, 2))) for place in range(24)]


def _with_unit(result: Mapping[str, Any]) -> str:
    unit = result.get("unit", "1")
    return title_of(result["metric"]) + ("" if unit in ("1", "") else f" ({unit})")


def axis_in_powers(axes: Axes, which: str, ticks: Sequence[int] | None = None) -> None:
    """A logarithmic axis (``which``: x or y), with few and readable numbers."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    if ticks is not None:
        axis.set_ticks(list(ticks))
        axis.set_minor_locator(NullLocator())
    else:
        low, high = getattr(axes, f"get_{which}lim")()
        axis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0), numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1e-4 else number(float(value), 1)))
    axis.set_minor_formatter(NullFormatter())


def few_ticks(axes: Axes, which: str, integer: bool = False) -> None:
    """At most five numbers on a linear axis (``which``: x or y)."""
    axis = getattr(axes, f"{which}axis")
    if axis.get_scale() == "linear" and not isinstance(axis.get_major_locator(), matplotlib.ticker.FixedLocator):
        axis.set_major_locator(MaxNLocator(5, integer=integer, steps=[1, 2, 2.5, 5, 10]))


def legend(axes: Axes) -> None:
    """The names of the lines, without a frame."""
    with matplotlib.rc_context(_TYPE):
        names = axes.legend(frameon=False, fontsize=7.5, labelcolor=INK, handlelength=1.6, borderpad=0.2)
    names.set_zorder(5)
