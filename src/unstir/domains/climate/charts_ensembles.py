"""Charts of ensembles beside what came true: plumes, rank histograms, reliability diagrams and ROC curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from unstir.core.errors import InputError
from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.scores.ranks import histogram
from unstir.scores.reliability import Reliability
from unstir.scores.roc import Roc

HUES = (charts.SAMPLES, charts.THIRD, charts.FOURTH, "#e69f00", "#56b4e9", charts.MUTED, charts.INK)
"""Of ensembles in their order, the model first; what came true is ``charts.DATA``."""

_MEMBERS = 30  # thin lines in a plume
_WITHIN = 0.95


def hue(number: int) -> str:
    """The colour of an ensemble by its place in the order."""
    return HUES[number % len(HUES)]


def meteogram(
    ensembles: Any,
    observed: Any,
    leads: Any,
    *,
    quantity: str,
    unit: str,
    lead_name: str,
    titles: Sequence[str] = (),
    columns: int = 2,
) -> Figure:
    """Plumes of some cases: ensembles (cases, members, leads), observed (cases, leads) with NaN where it is missing.

    A panel for each case with members, their median, the bands of 50 and 90 % and what came true; ``titles`` of the
    panels, such as the dates. Of a single member there is its line alone. Raises InputError for other shapes.
    """
    ensembles, observed, leads = charts.array(ensembles), charts.array(observed), charts.array(leads)
    if ensembles.ndim != 3 or observed.shape != (len(ensembles), len(leads)) or ensembles.shape[2] != len(leads):
        raise InputError(
            f"a plume needs ensembles (cases, members, leads) and observations (cases, leads) for {len(leads)} leads; "
            f"seen {ensembles.shape} and {observed.shape}"
        )
    columns = min(columns, len(ensembles))
    rows = -(-len(ensembles) // columns)
    figure, axes = charts.panels(rows, columns, 6.8 / columns, 2.1)
    for place, each in enumerate(axes.flat):
        if place >= len(ensembles):
            each.set_visible(False)
            continue
        members, several = ensembles[place], ensembles.shape[1] > 2
        each.plot(leads, members[:_MEMBERS].T, color=charts.SAMPLES, linewidth=0.4, alpha=0.3, zorder=1)
        if several:
            for share, alpha in ((0.9, 0.18), (0.5, 0.32)):
                low, high = np.quantile(members, [(1 - share) / 2, (1 + share) / 2], axis=0)
                colour = {"color": charts.SAMPLES, "alpha": alpha, "linewidth": 0}
                each.fill_between(leads, low, high, label=f"{100 * share:.0f} % of members", **colour)
        middle = {"color": charts.SAMPLES, "linewidth": 1.4, "label": "median" if several else "members"}
        each.plot(leads, np.median(members, 0), **middle)
        each.plot(
            leads, observed[place], color=charts.DATA, linewidth=1.2, marker="o", markersize=2.2, label="came true"
        )
        each.margins(x=0.01)
        title = titles[place] if place < len(titles) else ""
        below = place + columns >= len(ensembles)
        charts.label(each, title, lead_name if below else "", f"{quantity}, {unit}" if not place % columns else "")
    names = axes.flat[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside upper center", ncols=4, frameon=False, fontsize=7, labelcolor=charts.INK)
    return Figure(
        "meteogram",
        f"Plumes of {quantity}",
        "Forecasts of the test part, each in a panel: members as thin lines, their median, bands that hold 50 and 90 "
        "% of them, and what came true.",
        "What came true should leave the wide band at one lead in ten, and cross the median about as often as not; the "
        "plume should widen with the lead as the forecast gets unsure.",
        charts.svg(figure, "meteogram"),
    )


def rank_histogram(ranks: Mapping[str, tuple[Any, int]]) -> Figure:
    """Histograms of ranks by ensemble: each the ranks of what came true (any shape, -1 where missing), and the members.

    The grey band is where all the bars of a flat histogram lie in 95 % of cases, if the ranks are independent.
    """
    columns = min(3, len(ranks))
    rows = -(-len(ranks) // columns)
    figure, axes = charts.panels(rows, columns, 6.8 / max(columns, 2), 1.9)
    for place, each in enumerate(axes.flat):
        if place >= len(ranks):
            each.set_visible(False)
            continue
        name, (values, members) = list(ranks.items())[place]
        known = charts.array(values).ravel()
        known = known[known >= 0].astype(np.int64)
        if not len(known):
            raise InputError(f"no rank of {name!r} is known: leave it out")
        counts, expected = histogram(known, members)
        edges = np.concatenate(([0.0], np.cumsum(expected))) / len(known)
        width = np.diff(edges)
        beyond = (1 - _WITHIN) / 2 / len(counts)  # of each bar, for all together
        low, high = stats.binom.ppf([[beyond], [1 - beyond]], len(known), expected / len(known)) / expected
        for start, end, bottom, top in zip(edges[:-1], edges[1:], low, high, strict=True):
            each.fill_between([start, end], bottom, top, color=charts.RULE, linewidth=0)
        each.bar(edges[:-1], counts / expected, width * 0.86, align="edge", color=hue(place), alpha=0.75)
        each.axhline(1, color=charts.INK, linewidth=0.7)
        each.set_xlim(0, 1)
        each.set_ylim(0, max(1.5, 1.1 * (counts / expected).max(), 1.05 * high.max()))
        each.set_xticks([0, 0.5, 1], ["lowest", "middle", "highest"])
        charts.label(
            each, f"{name} ({members} members)", "rank among the members", "over flat" if not place % columns else ""
        )
    return Figure(
        "rank-histogram",
        "Rank histograms",
        "Where what came true lies among the members, over what a flat histogram has; ties are drawn for. The grey "
        "band holds all bars of a flat one in 95 % of cases, were the cases independent.",
        "Flat is right. A hollow middle: too sure; a hump: not sure enough; a slope: members too low (rising) or too "
        "high (falling).",
        charts.svg(figure, "rank-histogram"),
    )


def reliability_diagram(curves: Mapping[str, Reliability], event: str) -> Figure:
    """Reliability of each ensemble's probabilities of an ``event`` (told in words), with their histogram below."""
    columns = min(3, len(curves))
    groups = -(-len(curves) // columns)
    figure, axes = charts.panels(2 * groups, columns, 6.8 / max(columns, 2), 1.7)
    for place in range(groups * columns):
        above, below = axes[2 * (place // columns), place % columns], axes[2 * (place // columns) + 1, place % columns]
        if place >= len(curves):
            above.set_visible(False)
            below.set_visible(False)
            continue
        name, curve = list(curves.items())[place]
        x, y = charts.array(curve.probability), charts.array(curve.frequency)
        above.plot([0, 1], [0, 1], color=charts.INK, linewidth=0.7)
        above.axhline(curve.base, color=charts.MUTED, linewidth=0.6, linestyle=":")
        above.vlines(x, charts.array(curve.low), charts.array(curve.high), color=charts.RULE, linewidth=4.5)
        above.plot(x, y, color=hue(place), linewidth=1.2, marker="o", markersize=3)
        above.set_xlim(-0.03, 1.03)
        above.set_ylim(-0.03, 1.03)
        below.bar(x, charts.array(curve.count), 0.07, color=hue(place), alpha=0.75)
        below.set_xlim(-0.03, 1.03)
        below.set_yscale("log")
        below.set_ylim(bottom=0.5)
        first = not place % columns
        charts.label(above, name, "", "observed frequency" if first else "")
        charts.label(below, "", "forecast probability", "forecasts" if first else "")
    return Figure(
        "reliability",
        f"Reliability: {event}",
        "How often the event came true when its probability was foretold as so much; below, how often that was "
        "foretold. Grey bars are where frequencies fall (90 %) if the probabilities are right; dotted, the event's "
        "frequency.",
        "Points should lie on the diagonal, within the bars. Flatter than the diagonal: too sure. Steeper: not sure "
        "enough. Probabilities that reach far to both sides tell more.",
        charts.svg(figure, "reliability"),
    )


def roc_chart(curves: Mapping[str, Roc], event: str) -> Figure:
    """ROC curves of ensembles by name, of an ``event`` told in words; the area is in the legend."""
    figure, ((each,),) = charts.panels(1, 1, 6.8, 3.0)
    each.plot([0, 1], [0, 1], color=charts.RULE, linewidth=1)
    for number, (name, curve) in enumerate(curves.items()):
        style = {"linewidth": 1.6 if not number else 1.0, "marker": "o", "markersize": 2 if len(curve.hits) < 60 else 0}
        told = f"{name}: {curve.area:.3f}"
        each.plot(charts.array(curve.false_alarms), charts.array(curve.hits), color=hue(number), label=told, **style)
    each.set_xlim(-0.01, 1.01)
    each.set_ylim(-0.01, 1.01)
    charts.label(each, "", "false alarms, of all non-events", "hits, of all events")
    charts.legend(each, loc="lower right", title="area below", title_fontsize=7)
    return Figure(
        "roc",
        f"Warnings: {event}",
        "Hits and false alarms when warning from each probability upwards, and the area below each curve.",
        "The further to the upper left the better; the diagonal is no skill. Calibration makes no difference here.",
        charts.svg(figure, "roc"),
    )
