"""The figures that every task that forecasts shows, each where the forecasts have what it needs."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.base import Figure
from unstir.domains.climate import charts_ensembles, charts_maps, charts_scores
from unstir.domains.climate.forecasts import MODEL, Forecasts
from unstir.domains.climate.scored import Scored
from unstir.domains.rows import evenly
from unstir.scores.bootstrap import Skill, skill_score
from unstir.scores.reliability import reliability_curve
from unstir.scores.roc import roc
from unstir.scores.spectrum import power_spectrum

_LEVELS = (0.025, 0.975)
_PLUMES = 4
_IN_A_ROW = 60  # cases that a plume in time shows, where there is one lead
_RANKS, _CURVES, _SPECTRA = 3, 3, 5  # ensembles shown in each such figure, the model first
_NUMBERS = 20_000  # of an ensemble's probabilities in a diagram, spread evenly
_FIELDS = 100  # cases whose spectra are taken
SCORES = {
    "CRPS": "crps",
    "squared error": "squared_error",
    "Brier": "brier",
    "energy": "energy",
    "variogram": "variogram",
}


def figures_of(
    forecasts: Forecasts, known: Mapping[str, Scored], weights: Tensor, unit: str, event: str, seeds: Seeds
) -> tuple[Figure, ...]:
    """Plumes, maps, scores by lead, spread, scorecard, ranks, reliability, ROC and spectra.

    ``weights`` are the bootstrap's (replicates, cases), ``unit`` that of scores, ``event`` what is foretold with a
    probability, in words.
    """
    several = len(forecasts.leads) > 1
    lead_name = f"lead, {forecasts.lead_unit}" if forecasts.lead_unit not in ("", "1") else "lead"
    found = [_plumes(forecasts, lead_name) if several else _in_time(forecasts)]
    if len(forecasts.layout.axes) == 2:
        found.append(_maps(forecasts))
    rivals = {name: each for name, each in known.items() if name != MODEL}
    if rivals:
        joint = int(np.prod(forecasts.layout.shape)) > 1
        skills = {name: _skills(known[MODEL], each, weights, joint) for name, each in rivals.items()}
        found.append(charts_scores.scorecard(skills, forecasts.leads, lead_name=lead_name))
    scores = {name: _ends(each.crps, weights) for name, each in known.items()}
    found.append(charts_scores.score_by_lead(scores, forecasts.leads, score="CRPS", unit=unit, lead_name=lead_name))
    if several:
        spreads = {name: _spread(each) for name, each in known.items() if each.members > 1}
        found.append(charts_scores.spread_skill_by_lead(spreads, forecasts.leads, unit=unit, lead_name=lead_name))
    ranked = {name: (_thinned(each.ranks), each.members) for name, each in _first(known, _RANKS) if each.members > 1}
    found.append(charts_ensembles.rank_histogram(ranked))
    chances = {name: _chances(each) for name, each in _first(known, _CURVES)}
    if all(0 < float(happened.mean()) < 1 for _, happened in chances.values()):
        curves = {name: reliability_curve(*each, seeds=seeds.at(name)) for name, each in chances.items()}
        found.append(charts_ensembles.reliability_diagram(curves, event))
        found.append(charts_ensembles.roc_chart({name: roc(*each) for name, each in chances.items()}, event))
    if (spectrum := _spectrum(forecasts)) is not None:
        found.append(spectrum)
    return tuple(found)


def _first(known: Mapping[str, Scored], count: int) -> list[tuple[str, Scored]]:
    """The model and the best of its rivals by the CRPS."""
    rivals = [item for item in known.items() if item[0] != MODEL]
    return [(MODEL, known[MODEL]), *sorted(rivals, key=lambda item: float(item[1].crps.nanmean()))][:count]


def _middle(forecasts: Forecasts) -> tuple[int, ...]:
    """The place in the middle of every axis."""
    return tuple(len(axis) // 2 for axis in forecasts.layout.axes)


def _at(forecasts: Forecasts) -> str:
    """That place in words."""
    told = [f"{axis.name} {axis.values[len(axis) // 2]}" for axis in forecasts.layout.axes]
    return f" at {', '.join(told)}" if told else ""


def _plumes(forecasts: Forecasts, lead_name: str) -> Figure:
    cases = evenly(len(forecasts.starts), _PLUMES)
    place = (slice(None), slice(None), slice(None), 0, *_middle(forecasts))
    quantity = forecasts.layout.quantities[0]
    shown = charts_ensembles.meteogram(
        forecasts.ensembles[MODEL][cases][place],
        forecasts.observed[cases][place[1:]],
        forecasts.leads,
        quantity=quantity.name,
        unit=quantity.unit,
        lead_name=lead_name,
        titles=[f"from {told(forecasts.starts[case])}" for case in cases],
    )
    return replace(shown, title=f"{shown.title}{_at(forecasts)}")


def _in_time(forecasts: Forecasts) -> Figure:
    """Cases in a row as a plume in time, from the middle of the test part."""
    count = len(forecasts.starts)
    rows = np.arange(max(0, count // 2 - _IN_A_ROW // 2), min(count, count // 2 + _IN_A_ROW // 2))
    place = (slice(None), slice(None), 0, 0, *_middle(forecasts))
    quantity = forecasts.layout.quantities[0]
    shown = charts_ensembles.meteogram(
        forecasts.ensembles[MODEL][rows][place].T[None],
        forecasts.observed[rows][(slice(None), 0, 0, *_middle(forecasts))][None],
        np.arange(len(rows)),
        quantity=quantity.name,
        unit=quantity.unit,
        lead_name="forecast",
        titles=[f"{len(rows)} forecasts in a row, from {told(forecasts.starts[rows[0]])}"],
        columns=1,
    )
    return replace(shown, title=f"{shown.title}{_at(forecasts)}")


def told(moment: object) -> str:
    """A time in words: its day, and the hour where it has one."""
    if isinstance(moment, int | float | np.integer | np.floating):
        return f"{moment:g}"
    text = str(np.datetime_as_string(moment, "m") if isinstance(moment, np.datetime64) else moment)
    return text.replace("T", " ").removesuffix(":00").removesuffix(" 00:00").removesuffix(" 00")


def _maps(forecasts: Forecasts) -> Figure:
    case, lead = len(forecasts.starts) // 2, len(forecasts.leads) - 1
    rows, columns = forecasts.layout.axes
    quantity = forecasts.layout.quantities[0]
    ahead = f", {forecasts.leads[lead]:g} {forecasts.lead_unit} ahead" if len(forecasts.leads) > 1 else ""
    return charts_maps.maps(
        forecasts.observed[case, lead, 0],
        forecasts.ensembles[MODEL][case, :, lead, 0],
        rows.values,
        columns.values,
        quantity=quantity.name,
        unit=quantity.unit,
        names=(rows.name, columns.name),
        title=f"Maps of {quantity.name}, {told(forecasts.starts[case])}{ahead}",
    )


def _skills(model: Scored, rival: Scored, weights: Tensor, joint: bool) -> dict[str, list[Skill]]:
    shown = {title: name for title, name in SCORES.items() if joint or name not in ("energy", "variogram")}
    return {
        title: [
            skill_score(getattr(model, name)[:, lead], getattr(rival, name)[:, lead], weights)
            for lead in range(model.leads)
        ]
        for title, name in shown.items()
    }


def _ends(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of (cases, leads, channels) by lead, and the ends of its interval."""
    by_case = values.nanmean(2)
    seen = ~by_case.isnan()
    total = (weights @ seen.double()).clamp(min=1e-300)
    low, high = torch.quantile(
        weights @ torch.where(seen, by_case, 0.0) / total, torch.tensor(_LEVELS, dtype=torch.float64), dim=0
    )
    return by_case.nanmean(0), low, high


def _spread(each: Scored) -> tuple[Tensor, Tensor]:
    """Spread and error by lead."""
    return each.variance.nanmean((0, 2)).sqrt(), each.squared_error.nanmean((0, 2)).sqrt()


def _thinned(ranks: Tensor) -> Tensor:
    """Of every case the ranks of one place and lead each: those side by side tell the same twice."""
    flat = ranks.flatten(1)
    chosen = (torch.arange(len(flat)) * 7919) % flat.shape[1]  # another place for each case, all in turn
    return flat.gather(1, chosen[:, None])[:, 0]


def _chances(each: Scored) -> tuple[Tensor, Tensor]:
    probability, event = each.probability.flatten(), each.event.flatten()
    step = max(1, len(event) // _NUMBERS)
    probability, event = probability[::step], event[::step]
    return probability[~event.isnan()], event[~event.isnan()]


def _spectrum(forecasts: Forecasts) -> Figure | None:
    """Of the last lead, single members beside what came true, along an axis that is periodic, or over two axes."""
    axes = forecasts.layout.axes
    if not axes or any(axis.name == "station" for axis in axes) or len(axes[-1]) < 4:
        return None
    zonal = axes[-1].periodic and axes[-1].name == "longitude"
    dimensions = 2 if len(axes) == 2 and not zonal and min(map(len, axes)) >= 4 else 1
    cases = evenly(len(forecasts.starts), _FIELDS)
    lead = len(forecasts.leads) - 1

    def power(fields: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = power_spectrum(fields, dimensions)
        values = spectrum.power.reshape(-1, spectrum.power.shape[-1])
        return spectrum.wave_numbers, values[~values.isnan().any(1)].mean(0)

    waves, true = power(forecasts.observed[cases, lead, 0])
    if bool(true.isnan().any()):
        return None  # no field without a missing value
    shown = list(forecasts.ensembles.items())[:_SPECTRA]
    powers = {name: power(ensemble[cases, :, lead, 0][:, :_PLUMES])[1] for name, ensemble in shown}
    quantity = forecasts.layout.quantities[0]
    turns = waves * len(axes[-1]) if dimensions == 1 else waves * max(map(len, axes))
    return charts_maps.spectrum_chart(turns, powers, true, unit=quantity.unit)
