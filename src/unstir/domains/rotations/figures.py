"""What a report shows of rotations: pole figures, angles to the modes, the way from noise, and the belief."""

# ruff: noqa: RUF001 (Greek letters are meant)

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.domains.rotations.statistics import angles_to, axis_places

_SHOWN = 3000


def pole_figure(data: Tensor, samples: Tensor) -> Figure:
    """Where the turned axes point: data above, samples below."""
    figure, axes = charts.panels(2, 3, 2.1, 2.1)
    for row, (rows, colour, name) in enumerate(((data, charts.DATA, "data"), (samples, charts.SAMPLES, "samples"))):
        for axis, letter in enumerate("xyz"):
            _pole(axes[row, axis], rows[:_SHOWN, 0], axis, colour)
            charts.label(axes[row, axis], f"{name}: the axis {letter}")
    return Figure(
        "poles",
        "Pole figures",
        f"Where the turned axes x, y and z point, seen from above in the equal-area projection, at most {_SHOWN} rows; "
        "axes that point down are shown by their other end.",
        "The same clouds should be there, as dense and as wide, over the same thin ground.",
        charts.svg(figure, "poles"),
    )


def angle_figure(data: Tensor, samples: Tensor, modes: Mapping[str, Tensor], bins: int = 45) -> Figure:
    """How far rows are turned from each mode."""
    figure, axes = charts.panels(1, len(modes), 2.2, 1.8)
    edges = np.linspace(0, 180, bins + 1)
    for each, (name, centre) in zip(axes.flat, modes.items(), strict=True):
        for rows, colour, what in ((data, charts.DATA, "data"), (samples, charts.SAMPLES, "samples")):
            shares = np.histogram(angles_to(rows[:, 0], centre).numpy(), edges)[0] / len(rows)
            each.stairs(100 * shares, edges, color=colour, linewidth=1.2, label=what)
        charts.label(each, name, "angle from it (degrees)", "% of rows" if each is axes.flat[0] else "")
        each.set_xlim(0, 180)
    charts.legend(axes.flat[0])
    return Figure(
        "mode-angles",
        "Angles to the modes",
        f"Shares of the rows by the angle by which they are turned from a mode, in {bins} equal steps.",
        "The first hump is the mode itself: its height is its share, its width its spread. The two lines should agree.",
        charts.svg(figure, "modes"),
    )


def strip_figure(states: Sequence[Tensor], levels: Sequence[float]) -> Figure:
    """Pole figures of the axis z on the way from noise to samples."""
    figure, axes = charts.panels(1, len(states), 1.55, 1.75)
    for each, rows, level in zip(axes.flat, states, levels, strict=True):
        _pole(each, rows[:, 0], 2, charts.SAMPLES)
        charts.label(each, f"σ = {math.degrees(level):.3g}°" if level else "samples")
    return Figure(
        "reverse-strip",
        "Unstirring on the rotations",
        "Where the turned axis z of the same rows points as the noise is taken away; the deviation of the noise above.",
        "On the left the disc should be evenly filled (the projection keeps areas); modes part while the noise is as "
        "wide as they are apart, and sharpen last.",
        charts.svg(figure, "strip"),
    )


def gap_figure(sigma: Tensor, gap: Tensor, error: Tensor) -> Figure:
    """What the trained belief loses against the exact one, by noise level."""
    figure, axes = charts.panels(1, 1, 4.6, 2.6)
    each = axes[0, 0]
    each.axhline(0, color=charts.MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    degrees = np.degrees(sigma.numpy())
    bars = 1.96 * error.numpy()
    each.errorbar(degrees, gap.numpy(), bars, color=charts.SAMPLES, marker="o", markersize=4, linewidth=1.3)
    each.set_xscale("log")
    charts.label(each, "", "deviation of the noise (degrees, log scale)", "nats per rotation above the exact belief")
    return Figure(
        "belief-gap",
        "The belief beside the exact one",
        "How much less log-density the trained belief gives to the clean rotations than the exact belief does, by the "
        "noise that hides them; bars are 95 % intervals.",
        "Zero is the exact belief. A mixture of few isotropic Gaussians can come near it, not always reach it.",
        charts.svg(figure, "gap"),
    )


def _pole(axes: Any, rows: Tensor, axis: int, colour: str) -> None:
    places = axis_places(rows, axis).numpy()
    charts.cloud(axes, places[:, 0], places[:, 1], colour)
    turn = np.linspace(0, 2 * math.pi, 181)
    axes.plot(np.cos(turn), np.sin(turn), color=charts.MUTED, linewidth=0.7)
    axes.set_xlim(-1.05, 1.05)
    axes.set_ylim(-1.05, 1.05)
    axes.set_aspect("equal")
    axes.set_axis_off()
