"""What a report shows of crystals: cells in three dimensions, predictions beside the truth, histograms, the film."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.domains.crystals.drawing import bonds_of, shown
from unstir.domains.crystals.measures import fingerprints, statistics
from unstir.domains.crystals.measures.matching import LITERATURE, Matches, aligned
from unstir.domains.crystals.writing import formula
from unstir.domains.matter.columns import element_shares
from unstir.domains.matter.elements import symbol_of
from unstir.domains.matter.structures import Crystal
from unstir.domains.matter.viewer import drawn, sheet
from unstir.domains.rows import evenly

_SIZE = (165, 178)
_SHOWN = 6
_NAMES = {
    "nearest-composition": "nearest composition, elements exchanged",
    "typical": "one typical structure",
    "scattered": "atoms scattered at random",
}


class Point(NamedTuple):
    """One way to sample and how its predictions match."""

    name: str
    found: Matches


def prediction_figure(truths: Sequence[Crystal], predictions: Sequence[Crystal], matches: Matches) -> Figure:
    """True structures above, predictions below: evenly spread from the best match to none."""
    order = np.argsort(np.nan_to_num(matches.each, nan=np.inf), kind="stable")
    chosen = order[evenly(len(order), _SHOWN)]
    above = [_cell(truths[row], written(truths[row])) for row in chosen]
    below = []
    for row in chosen:
        told = f"r = {matches.each[row]:.3f}" if matches.found[row] else "no match"
        below.append(_cell(aligned(predictions[row], truths[row]), told))
    return Figure(
        "predictions",
        "Predicted structures",
        f"{len(chosen)} held-out compositions, from the best match to the worst: the true cell above, the prediction "
        "below, with r, the displacement of its atoms in cube roots of the volume per atom.",
        "What matches is shown in the true cell's axes and origin; elsewhere these differ, and what counts is which "
        "atoms are whose neighbours. Up to r of 0.1 a prediction is the true structure but for its last relaxation; "
        "from 0.2 on only its outline.",
        sheet([*above, *below], len(chosen), _SIZE, ("true", "predicted")),
    )


def tolerance_figure(matches: Matches, rivals: Mapping[str, Matches]) -> Figure:
    """The share of matches closer than r, for all r up to the tolerance."""
    figure, axes = charts.panels(1, 1, 4.6, 2.8)
    each = axes[0, 0]
    colours = (charts.DATA, charts.THIRD, charts.FOURTH)
    for (name, found), colour in zip(rivals.items(), colours, strict=True):
        each.step(*_curve(found), where="post", color=colour, linewidth=1.1, label=_NAMES.get(name, name))
    each.step(*_curve(matches), where="post", color=charts.SAMPLES, linewidth=1.8, label="predicted")
    each.set_xlim(0, matches.worst)
    each.set_ylim(0, 100)
    charts.label(each, "", "displacement r allowed, (V/n)^(1/3)", "% of compositions")
    charts.legend(each, loc="best")
    return Figure(
        "tolerance",
        "How close the matches are",
        "The share of held-out compositions whose prediction lies within r of the true structure; at the right edge it "
        "is the match rate, and the further left a line climbs, the smaller its RMSE.",
        "A line above another is better at every tolerance; where two cross, rate and RMSE trade against each other.",
        charts.svg(figure, "tolerance"),
    )


def curve_figure(points: Sequence[Point]) -> Figure:
    """Match rate against RMSE over ways to sample."""
    figure, axes = charts.panels(1, 1, 6.4, 2.8)
    each = axes[0, 0]
    for number, (name, found) in enumerate(points, 1):
        told = f"{number}  {name}: {100 * found.rate:.0f} %, cRMSE {found.crmse:.3f}"
        colour = charts.SAMPLES if number == 1 else charts.DATA
        each.plot([found.rmse], [100 * found.rate], "o", color=colour, markersize=5, label=told)
        if found.found.any():
            each.annotate(
                str(number),
                (found.rmse, 100 * found.rate),
                textcoords="offset points",
                xytext=(4, 3) if number % 2 else (-8, -9),
                fontsize=7,
                color=charts.INK,
            )
    each.margins(0.15)
    charts.legend(each, loc="center left", bbox_to_anchor=(1.0, 0.5))
    charts.label(each, "", "RMSE of the matches, (V/n)^(1/3)", "match rate (%)")
    count = len(points[0].found.each)
    return Figure(
        "curve",
        "Match rate against RMSE",
        f"The same {count} compositions predicted in several ways of sampling; the first as the recipe says.",
        "Upper left is better. The two trade against each other, so that neither says much alone; the cRMSE counts "
        f"both. Differences of less than {100 / max(count, 1) ** 0.5:.0f} % are within the noise of so few.",
        charts.svg(figure, "curve"),
    )


def volume_figure(truths: Sequence[Crystal], predictions: Sequence[Crystal]) -> Figure:
    """Volume per atom and the three lengths of the cell, predicted against true."""
    figure, axes = charts.panels(1, 2, 2.9, 2.6)
    volumes = [np.array([each.volume / len(each) for each in rows]) for rows in (truths, predictions)]
    # sorted, for axes may change their names
    lengths = [
        np.sort([np.linalg.norm(each.cell, axis=1) for each in rows], 1).ravel() for rows in (truths, predictions)
    ]
    for each, (true, found), title in zip(
        axes.flat, (volumes, lengths), ("volume per atom (Å³)", "lengths of the cell (Å)"), strict=True
    ):
        charts.cloud(each, true, found, charts.SAMPLES, 6.0)
        low, high = float(min(true.min(), np.quantile(found, 0.01))), float(max(true.max(), np.quantile(found, 0.99)))
        edge = 0.05 * max(high - low, 1e-3)
        each.plot((low, high), (low, high), color=charts.MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
        each.set_xlim(low - edge, high + edge)
        each.set_ylim(low - edge, high + edge)
        charts.label(each, title, "true", "predicted")
    return Figure(
        "cells",
        "Predicted cells",
        "Volume per atom, and the three lengths of each cell from the shortest to the longest; a point a prediction, "
        "at most one in fifty beyond the edges.",
        "Points should lie on the dashed line. Matching brings both to one volume first, so that it does not see what "
        "is seen here on the left.",
        charts.svg(figure, "cells"),
    )


def sample_figure(samples: Sequence[Crystal], data: Sequence[Crystal]) -> Figure:
    """Samples below crystals of the data, none picked."""
    real = [_cell(data[row], written(data[row])) for row in evenly(len(data), _SHOWN)]
    made = [_cell(samples[row], written(samples[row])) for row in range(min(2 * _SHOWN, len(samples)))]
    blank = [_blank()] * (-len(real) % _SHOWN)
    return Figure(
        "samples",
        "Samples",
        f"Above crystals of the data, evenly spread; below the first {len(made)} samples, none picked by hand.",
        "Neighbours should be as many and as far as elements of their kind have: no atoms in each other, no empty "
        "halves of cells.",
        sheet([*real, *blank, *made], _SHOWN, _SIZE, ("data", "samples")),
    )


def histogram_figure(samples: Sequence[Crystal], data: Sequence[Crystal]) -> Figure:
    """Density, volume per atom, number of elements and crystal system."""
    figure, axes = charts.panels(2, 2, 2.9, 1.9)
    first, second = statistics.table(data), statistics.table(samples)
    for place, name, each in ((0, "density (g/cm³)", axes[0, 0]), (1, "volume per atom (Å³)", axes[0, 1])):
        low, high = np.quantile(first[:, place], [0.002, 0.998]).tolist()
        edges = np.linspace(low, max(high, low + 1e-3), 31)
        for rows, colour, title in ((first, charts.DATA, "data"), (second, charts.SAMPLES, "samples")):
            shares = np.histogram(rows[:, place], edges)[0] / max(len(rows), 1)
            each.stairs(100 * shares, edges, color=colour, linewidth=1.2, label=title)
        charts.label(each, name, "", "% of crystals")
    charts.legend(axes[0, 0])
    most = int(first[:, 2].max())
    names = [str(number) for number in range(1, most + 1)] + ["more"]
    _bars(axes[1, 0], names, *[np.minimum(rows[:, 2], most + 1).astype(int) - 1 for rows in (first, second)])
    charts.label(axes[1, 0], "different elements", "", "% of crystals")
    systems = [*statistics.SYSTEMS, "none found"]
    found = [
        np.array([systems.index(statistics.system(int(group))) for group in rows[:, 4]]) for rows in (first, second)
    ]
    _bars(axes[1, 1], [name[:5] for name in statistics.SYSTEMS] + ["none"], *found)
    axes[1, 1].tick_params(axis="x", labelrotation=50, labelsize=6)
    charts.label(axes[1, 1], "crystal system within 0.1 Å", "", "% of crystals")
    return Figure(
        "histograms",
        "Beside the data",
        "Density, volume per atom, number of different elements and crystal system, in percent; samples whose atoms "
        "lie on each other are left out.",
        "The two should agree up to the noise of the counts. Symmetry is what goes first: a model that leaves atoms a "
        "little off has more triclinic crystals.",
        charts.svg(figure, "histograms"),
    )


def element_figure(samples: Sequence[Crystal], data: Sequence[Crystal]) -> Figure:
    """The share of sites of each element, the most frequent ones."""
    first, second = (element_shares([crystal.numbers for crystal in rows]).mean(0) for rows in (data, samples))
    chosen = [
        number
        for number in np.argsort(-(first + second), kind="stable")[:40].tolist()
        if first[number] + second[number]
    ]
    figure, axes = charts.panels(1, 1, 6.2, 2.0)
    each, places = axes[0, 0], np.arange(len(chosen))
    each.bar(places - 0.2, 100 * first[chosen], 0.4, color=charts.DATA, label="data")
    each.bar(places + 0.2, 100 * second[chosen], 0.4, color=charts.SAMPLES, label="samples")
    each.set_xticks(places, [symbol_of(number) if number else "?" for number in chosen], fontsize=6)
    charts.label(each, "", "", "% of sites")
    charts.legend(each)
    return Figure(
        "elements",
        "Elements",
        f"The share of sites that each element has, the {len(chosen)} most frequent ones.",
        "Bars should be of one height up to the noise of the counts.",
        charts.svg(figure, "elements"),
    )


def shell_figure(samples: Sequence[Crystal], data: Sequence[Crystal]) -> Figure:
    """How many atoms at which distance: the mean shells, distances in cube roots of the volume per atom."""
    figure, axes = charts.panels(1, 1, 4.6, 2.4)
    each = axes[0, 0]
    for rows, colour, name in ((data, charts.DATA, "data"), (samples, charts.SAMPLES, "samples")):
        if rows:
            r, density = fingerprints.shells(rows)
            each.plot(r, density, color=colour, linewidth=1.4, label=name)
    each.axhline(1, color=charts.MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    charts.label(each, "", "distance r, (V/n)^(1/3)", "density of atoms over its mean")
    charts.legend(each)
    return Figure(
        "shells",
        "Shells of neighbours",
        "How dense atoms are at distance r of an atom, over their mean density; the mean over crystals.",
        "Shells of the samples should be as high and as narrow as the data's, with as deep a gap before them: atoms "
        "nearer than any in the data are clashes, and flat lines are a gas.",
        charts.svg(figure, "shells"),
    )


def film_figure(states: Sequence[Crystal], times: Sequence[float], truth: Crystal | None = None) -> Figure:
    """One crystal on its way from noise."""
    pictures = [
        _cell(state, f"t = {time:.2f}" if time > 0 else f"{written(state)}, drawn")
        for state, time in zip(states, times, strict=True)
    ]
    if truth is not None:
        pictures.append(_cell(truth, "true"))
    return Figure(
        "film",
        "Unstirring a crystal",
        "One crystal at evenly spaced steps of its drawing, times from one, noise, to zero; grey balls are atoms whose "
        "element is not decided yet. The view turns with the cell, whose shape is drawn too.",
        "The cell should settle first, then which atom is whose neighbour; the last steps only mend distances.",
        sheet(pictures, -(-len(pictures) // 2), _SIZE),
    )


def written(crystal: Crystal) -> str:
    """The formula, sites of unknown elements as question marks."""
    known = crystal.numbers > 0
    if known.all():
        return formula(crystal)
    part = formula(replace(crystal, numbers=crystal.numbers[known], fractional=crystal.fractional[known]))
    return f"{part} and {int((~known).sum())} unknown"


def _cell(crystal: Crystal, caption: str) -> str:
    numbers, positions = shown(crystal)
    return drawn(positions, numbers, bonds_of(crystal, numbers, positions), crystal.cell, _SIZE, caption=caption)


def _blank() -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIZE[0]}" height="{_SIZE[1]}"></svg>'


def _curve(found: Matches) -> tuple[np.ndarray, np.ndarray]:
    reached = np.sort(found.each[found.found])
    r = np.concatenate(([0.0], reached, [LITERATURE.sites]))
    return r, 100 * np.concatenate((np.arange(len(reached) + 1), [len(reached)])) / len(found.each)


def _bars(axes: object, names: Sequence[str], first: np.ndarray, second: np.ndarray) -> None:
    places = np.arange(len(names))
    for shift, rows, colour in ((-0.2, first, charts.DATA), (0.2, second, charts.SAMPLES)):
        # of no rows at all NumPy makes floating-point numbers
        shares = np.bincount(rows.astype(np.int64), minlength=len(names))[: len(names)] / max(len(rows), 1)
        axes.bar(places + shift, 100 * shares, 0.4, color=colour)  # type: ignore[attr-defined]
    axes.set_xticks(places, names)  # type: ignore[attr-defined]
