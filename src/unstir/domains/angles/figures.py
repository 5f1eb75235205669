"""What a report shows of angles: pairs, single ones, the way from noise, and the belief beside the exact one."""

# ruff: noqa: RUF001 (Greek letters are meant)

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from unstir.domains import charts
from unstir.domains.angles.encoding import AngleEncoding
from unstir.domains.base import Figure

_SHOWN = 3000  # points of a scatter


def pair_figure(encoding: AngleEncoding, data: Tensor, samples: Tensor, pairs: Sequence[tuple[int, int]]) -> Figure:
    """Pairs of angles, data beside samples: for a backbone's phi and psi this is Ramachandran's plot."""
    shown = pairs[:4]
    figure, axes = charts.panels(2, len(shown), 2.1, 2.0)
    for row, (rows, colour, name) in enumerate(((data, charts.DATA, "data"), (samples, charts.SAMPLES, "samples"))):
        values = encoding.decode(rows[:_SHOWN])
        for column, (first, second) in enumerate(shown):
            each = axes[row, column]
            charts.cloud(each, values[:, first], values[:, second], colour)
            _square(each, encoding)
            charts.label(each, name, encoding.names[first], encoding.names[second])
    count = min(len(data), len(samples), _SHOWN)
    return Figure(
        "pairs",
        "Pairs of angles",
        f"Pairs of angles in {encoding.unit}, at most {count} rows: data above, samples below.",
        "The same regions should be filled equally densely; points between them are rows that the data do not have.",
        charts.svg(figure, "pairs"),
    )


def marginal_figure(encoding: AngleEncoding, data: Tensor, samples: Tensor, bins: int = 72) -> Figure:
    """Histograms of single angles, data and samples over each other."""
    count = min(len(encoding.names), 8)
    columns = min(4, count)
    figure, axes = charts.panels(-(-count // columns), columns, 2.1, 1.5)
    edges = np.linspace(encoding.low, encoding.low + encoding.period, bins + 1)
    for each in list(axes.flat)[count:]:
        each.set_visible(False)
    for column in range(count):
        each = axes.flat[column]
        for rows, colour, name in ((data, charts.DATA, "data"), (samples, charts.SAMPLES, "samples")):
            shares = np.histogram(encoding.decode(rows)[:, column], edges)[0] / len(rows)
            each.stairs(100 * shares, edges, color=colour, linewidth=1.2, label=name)
        each.set_xlim(edges[0], edges[-1])
        charts.label(each, encoding.names[column], "", "% of rows" if column % columns == 0 else "")
        if column == 0:
            charts.legend(each)
    return Figure(
        "marginals",
        "Single angles",
        f"Shares of the rows in {bins} equal arcs, in percent; angles in {encoding.unit}.",
        "The two lines should lie on each other up to the noise of the counts.",
        charts.svg(figure, "marginals"),
    )


def strip_figure(
    encoding: AngleEncoding, states: Sequence[Tensor], levels: Sequence[float], pair: tuple[int, int]
) -> Figure:
    """One pair of angles on the way from noise to samples."""
    figure, axes = charts.panels(1, len(states), 1.55, 1.75)
    for each, rows, level in zip(axes.flat, states, levels, strict=True):
        values = encoding.decode(rows)
        charts.cloud(each, values[:, pair[0]], values[:, pair[1]], charts.SAMPLES)
        _square(each, encoding)
        charts.label(each, f"σ = {level * encoding.period:.3g}" if level else "samples")
        each.tick_params(labelbottom=False, labelleft=False)
    return Figure(
        "reverse-strip",
        "Unstirring on the torus",
        f"{encoding.names[pair[0]]} and {encoding.names[pair[1]]} of the same rows as the noise is taken away; the "
        f"deviation of the noise above, in {encoding.unit}.",
        "On the left the torus should be evenly filled; the regions should part while the noise is about as wide as "
        "they are apart, and sharpen last.",
        charts.svg(figure, "strip"),
    )


def gap_figure(sigma: Tensor, gap: Tensor, error: Tensor, unit: str, period: float) -> Figure:
    """What the trained belief loses against the exact one, by noise level."""
    figure, axes = charts.panels(1, 1, 4.6, 2.6)
    each = axes[0, 0]
    x = (sigma * period).numpy()
    each.axhline(0, color=charts.MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    each.errorbar(x, gap.numpy(), 1.96 * error.numpy(), color=charts.SAMPLES, marker="o", markersize=4, linewidth=1.3)
    each.set_xscale("log")
    charts.label(each, "", f"deviation of the noise ({unit}, log scale)", "nats per angle above the exact belief")
    return Figure(
        "belief-gap",
        "The belief beside the exact one",
        "How much less log-density the trained belief gives to the clean angles than the exact belief does, by the "
        "noise that hides them; bars are 95 % intervals.",
        "Zero is as good as a belief with independent angles can be. What is lost where the noise is strongest touches "
        "how the rows fall among the regions, what is lost at the left their shape.",
        charts.svg(figure, "gap"),
    )


def _square(axes: Any, encoding: AngleEncoding) -> None:
    ends = (encoding.low, encoding.low + encoding.period)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
