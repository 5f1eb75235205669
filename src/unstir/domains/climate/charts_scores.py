"""Charts of scores: by lead, spread beside error, and the scorecard against every baseline."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.domains.climate.charts_ensembles import hue
from unstir.domains.rows import evenly
from unstir.scores.bootstrap import Skill

_TOLD = 12  # leads whose skill is written into the scorecard's cells
_FULL = 0.5  # the skill of full colour


def score_by_lead(
    scores: Mapping[str, tuple[Any, Any, Any]],
    leads: Any,
    *,
    score: str,
    unit: str,
    lead_name: str,
    name: str = "score-by-lead",
) -> Figure:
    """A score by lead of the model (first) and all baselines: each (value, low, high), (leads,) or None for no ends."""
    leads = charts.array(leads)
    figure, ((each,),) = charts.panels(1, 1, 6.8, 2.7)
    single = len(leads) == 1
    for number, (ensemble, (value, low, high)) in enumerate(scores.items()):
        value = charts.array(value)
        if value.shape != leads.shape:
            raise InputError(f"{ensemble!r} has scores {value.shape} for {len(leads)} leads")
        ends = None if low is None or high is None else (charts.array(low), charts.array(high))
        if single:
            error = None if ends is None else np.abs(np.stack(ends) - value)
            each.errorbar([number], value, yerr=error, fmt="o", color=hue(number), markersize=5, capsize=3)
            continue
        if ends is not None:
            each.fill_between(leads, *ends, color=hue(number), alpha=0.15, linewidth=0)
        width = 1.8 if not number else 1.1
        each.plot(leads, value, color=hue(number), linewidth=width, marker="o", markersize=2.2, label=ensemble)
    if single:
        each.set_xticks(range(len(scores)), list(scores))
        each.margins(x=0.15)
    else:
        each.set_ylim(bottom=0)
        charts.legend(each, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    charts.label(each, "", "" if single else lead_name, f"{score}, {unit}" if unit not in ("", "1") else score)
    return Figure(
        name,
        score if single else f"{score} by lead",
        f"The {score} of the model and of every baseline, with 95 % intervals of a bootstrap by blocks.",
        "Lower is better. The model should lie below all others at each lead; intervals of two that overlap may still "
        "hide a sure difference, which the scorecard tells.",
        charts.svg(figure, name),
    )


def spread_skill_by_lead(parts: Mapping[str, tuple[Any, Any]], leads: Any, *, unit: str, lead_name: str) -> Figure:
    """Error of the mean and spread of each ensemble by lead: each (spread, error), (leads,); their ratio beside."""
    leads = charts.array(leads)
    figure, ((left, right),) = charts.panels(1, 2, 3.4, 2.6)
    marker = {"marker": "o", "markersize": 2.2} if len(leads) < 40 else {}
    for number, (name, (spread, error)) in enumerate(parts.items()):
        spread, error = charts.array(spread), charts.array(error)
        width = 1.6 if not number else 1.0
        left.plot(leads, error, color=hue(number), linewidth=width, **marker, label=name)
        left.plot(leads, spread, color=hue(number), linewidth=width, linestyle="--")
        with np.errstate(divide="ignore", invalid="ignore"):
            right.plot(leads, spread / error, color=hue(number), linewidth=width, **marker)
    right.axhline(1, color=charts.INK, linewidth=0.7)
    left.set_ylim(bottom=0)
    low, high = right.get_ylim()
    right.set_ylim(min(low, 0.8), max(high, 1.2))
    charts.label(left, "error (line) and spread (dashed)", lead_name, unit)
    charts.label(right, "spread over error", lead_name)
    charts.legend(left)
    return Figure(
        "spread-skill",
        "Spread and error",
        "The root mean squared error of each ensemble's mean, and its spread, with the factor that makes both equal "
        "for a right ensemble of any size; on the right their ratio.",
        "The ratio should be one: below, the ensemble is too sure, above, not sure enough. The lower the error the "
        "better.",
        charts.svg(figure, "spread-skill"),
    )


def scorecard(skills: Mapping[str, Mapping[str, Sequence[Skill]]], leads: Any, *, lead_name: str) -> Figure:
    """The model's skill against each baseline: ``skills[baseline][score]`` holds a Skill for each lead.

    A panel for each baseline, with rows of scores and columns of leads; coloured where the paired bootstrap's interval
    of the difference leaves out zero, pale where it does not. Raises InputError for rows of another length.
    """
    leads = charts.array(leads)
    rows = list(dict.fromkeys(score for each in skills.values() for score in each))
    columns = min(2 if len(leads) > 5 else 3, len(skills))
    groups = -(-len(skills) // columns)
    figure, axes = charts.panels(groups, columns, 7.0 / columns, 0.75 + 0.3 * len(rows))
    for place, panel in enumerate(axes.flat):
        if place >= len(skills):
            panel.set_visible(False)
            continue
        baseline, by_score = list(skills.items())[place]
        values, sure = np.full((len(rows), len(leads)), np.nan), np.zeros((len(rows), len(leads)), dtype=bool)
        for row, score in enumerate(rows):
            found = by_score.get(score)
            if found is None:
                continue
            if len(found) != len(leads):
                raise InputError(f"{score!r} against {baseline!r} has {len(found)} skills for {len(leads)} leads")
            values[row], sure[row] = [each.value for each in found], [each.significant for each in found]
        _card(panel, values, sure)
        panel.set_title(f"against {baseline}", fontsize=8.5, color=charts.INK)
        panel.set_yticks(range(len(rows)), rows if not place % columns else [""] * len(rows))
        shown = evenly(len(leads), _TOLD)
        panel.set_xticks(shown, [f"{lead:g}" for lead in leads[shown]] if len(leads) > 1 else [""])
        panel.set_xlabel(lead_name if len(leads) > 1 else "", fontsize=7.5, color=charts.MUTED)
    return Figure(
        "scorecard",
        "Scorecard",
        "By how many percent the model's score is lower than each baseline's (blue: better; orange: worse). Full "
        "colour where the 95 % interval of the paired difference, by resampling blocks of cases, leaves out zero; "
        "pale with grey figures where the difference may be chance.",
        "Blue throughout is best. One cell in twenty is coloured by chance alone where there is no difference at all.",
        charts.svg(figure, "scorecard"),
    )


def _card(panel: Any, values: np.ndarray, sure: np.ndarray) -> None:
    """The cells of one panel."""
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("skill", [charts.SAMPLES, "#ffffff", charts.DATA])
    shade = colours(0.5 + 0.5 * np.clip(np.nan_to_num(values) / _FULL, -1, 1))[..., :3]
    shade = np.where(sure[..., None], 0.15 + 0.0 * shade + 0.85 * shade, 0.25 * shade + 0.75)
    shade = np.where(np.isnan(values)[..., None], matplotlib.colors.to_rgb(charts.RULE), shade)
    height, width = values.shape
    panel.pcolormesh(
        np.arange(width + 1) - 0.5, np.arange(height + 1) - 0.5, shade.clip(0, 1), edgecolors="white", linewidth=1
    )
    panel.invert_yaxis()
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.tick_params(length=0)
    if width > _TOLD:
        return
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = sure[row, column] and abs(value) > 0.6 * _FULL
            colour = "white" if dark else charts.INK if sure[row, column] else charts.MUTED
            panel.text(
                column,
                row,
                f"{100 * value:+.0f}",
                ha="center",
                va="center",
                fontsize=6.5 if width > 6 else 7.5,
                color=colour,
            )
