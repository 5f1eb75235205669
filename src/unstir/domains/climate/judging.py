"""How ensemble forecasts are judged: fair scores beside the baselines', intervals by blocks, and figures."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import Judged, Judgement
from unstir.domains.climate import forecast_figures
from unstir.domains.climate.forecasts import MODEL, Forecasts
from unstir.domains.climate.scored import Scored, scored
from unstir.domains.climate.task import task_of
from unstir.domains.rows import checked_options
from unstir.metrics.evaluate import Result
from unstir.metrics.resampling import centred_interval
from unstir.scores.bootstrap import block_bootstrap
from unstir.scores.ranks import rank_test
from unstir.scores.roc import roc

_OPTIONS: dict[str, Any] = {"quantile": 0.95, "replicates": 500}
"""What ``evaluation.options`` may say to every task that forecasts: the climatological quantile beyond which an event
lies, and the bootstrap's replicates."""
_LEVELS = (0.025, 0.975)
_CELLS = 20  # of a rank histogram, at most
_ROC_REPLICATES = 60
_ROC_NUMBERS = 20_000


def judge_climate(judged: Judged) -> Judgement:
    """As the task judges."""
    return task_of(judged.data.encoding.task).judge(judged)  # type: ignore[attr-defined]


def judge_forecasts(forecasts: Forecasts, *, seed: int, options: Mapping[str, Any] | None = None) -> Judgement:
    """Fair scores of the model's ensembles and of every baseline's, with figures; 95 % intervals by blocks.

    Places are weighted by the area that they stand for. Where there are several channels, their scores are divided by
    the climatological deviation of each before the mean is taken. Raises InputError for options that are none.

    Reference: Gneiting, Raftery, Strictly proper scoring rules (2007); Fortin et al., Why should ensemble spread match
    the RMSE of the ensemble mean? (2014); Künsch, The jackknife and the bootstrap for general stationary observations
    (1989), for the blocks.
    """
    told = checked_options(options or {}, _OPTIONS, "key of the recipe's section 'evaluation.options'")
    _check(forecasts, told)
    seeds = Seeds.range(seed, 1).at("judging")
    known = {name: scored(forecasts, name, told["quantile"], seeds) for name in forecasts.ensembles}
    weights = block_bootstrap(len(forecasts.observed), forecasts.block, told["replicates"], seeds.at("bootstrap"))
    results = _results(forecasts, known, weights, told["quantile"])
    p_value = rank_p_value(forecasts, known[MODEL], seeds)
    unit, event = _unit(forecasts), _event(told["quantile"])
    figures = forecast_figures.figures_of(forecasts, known, weights, unit, event, seeds)
    return Judgement(results, figures, (*_remarks(forecasts, p_value), *forecasts.remarks))


@dataclass(frozen=True)
class _Measure:
    """A number of all cases: how it follows from per-case parts, so that the bootstrap can weigh the cases anew."""

    name: str
    parts: Callable[[Scored], Tensor | None]
    """Of a scored ensemble: (cases, k), or None where the ensemble has none (one member has no spread)."""
    value: Callable[[Tensor], Tensor]
    """Of the means of the parts, (..., k): the measure (...,)."""
    unit: str
    better: str = "lower"
    ideal: float | None = 0.0
    note: str = ""
    chance: bool = False
    """Whether chance alone makes it larger than zero, so that its floor is what is left when the parts' means are."""


def _measures(forecasts: Forecasts, quantile: float) -> list[_Measure]:
    unit = _unit(forecasts)
    first: Callable[[Tensor], Tensor] = lambda means: means[..., 0]  # noqa: E731
    found = [
        _Measure("crps", lambda s: _mean(s.crps)[:, None], first, unit, note="Fair, by place and lead"),
        _Measure(
            "spread-skill",
            lambda s: None if s.members < 2 else torch.stack((_mean(s.variance), _mean(s.squared_error)), 1),
            lambda means: (means[..., 0] / means[..., 1]).sqrt(),
            "1",
            "nearest",
            1.0,
            "Spread over the error of the ensemble's mean, with (M + 1)/M; below one is too sure",
        ),
        _Measure(
            "rmse",
            lambda s: _mean(s.squared_error)[:, None],
            lambda means: means[..., 0].sqrt(),
            unit,
            note="Of the ensemble's mean",
        ),
        _Measure("brier", lambda s: _mean(s.brier)[:, None], first, "1", note=f"Fair, of {_event(quantile)}"),
        _Measure(
            "ranks",
            lambda s: None if s.members < 2 else _cells(s),
            lambda means: means.abs().sum(-1),
            "1",
            note="How far the rank histogram is from flat: what its cells have too much or too little, summed",
            chance=True,
        ),
    ]
    if known_jointly(forecasts):
        found += [
            _Measure("energy-score", lambda s: _mean(s.energy)[:, None], first, unit, note="Fair, of a lead's places"),
            _Measure(
                "variogram-score",
                lambda s: _mean(s.variogram)[:, None],
                first,
                unit,
                note="Fair, of order 1/2: do places hang together as they should?",
            ),
        ]
    return found


def known_jointly(forecasts: Forecasts) -> bool:
    """Whether a case holds several numbers at one lead, so that their dependence can be judged."""
    return int(np.prod(forecasts.layout.shape)) > 1


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).nanmean(1)


def _cells(each: Scored) -> Tensor:
    """What each case's ranks have in cells of about equal width beyond what a flat histogram has, (cases, cells)."""
    ranks, places = each.ranks.flatten(1), each.members + 1
    cells = min(_CELLS, places)
    flat = torch.bincount(torch.arange(places) * cells // places, minlength=cells).double() / places
    seen = ranks >= 0
    found = torch.zeros(len(ranks), cells, dtype=torch.float64)
    found.scatter_add_(1, ranks.clamp(min=0) * cells // places, seen.double())
    return found / seen.sum(1, keepdim=True) - flat


def _results(forecasts: Forecasts, known: Mapping[str, Scored], weights: Tensor, quantile: float) -> list[Result]:
    cases = len(forecasts.observed)
    rivals = [name for name in known if name not in (MODEL, forecasts.exact)]
    results = []
    for measure in _measures(forecasts, quantile):
        began = time.perf_counter()
        values = {name: _valued(measure, known[name], weights) for name in known}
        if (own := values[MODEL]) is None:
            continue
        exact = values.get(forecasts.exact)
        floor: dict[str, Any] = {"value": exact[0], "interval": exact[1], "of": "the exact law"} if exact else {}
        if measure.chance:
            floor = _chance(measure, known[MODEL], weights)
        lead = {name: _by_lead(measure, known[name]) for name in known}
        results.append(
            Result(
                metric=measure.name,
                value=own[0],
                interval=own[1],
                floor=floor,
                baselines={name: found[0] for name in rivals if (found := values[name]) is not None},
                ideal=measure.ideal,
                better=measure.better,
                unit=measure.unit,
                n_samples=cases,
                n_reference=cases,
                seconds=round(time.perf_counter() - began, 3),
                features="forecasts in the data's units",
                note=measure.note,
                details={"leads": forecasts.leads.tolist(), "by lead": lead},
            )
        )
    area = _roc_area(forecasts, known, rivals, weights, quantile)
    return [*results, *([area] if area else [])]


def _valued(measure: _Measure, scored_ensemble: Scored, weights: Tensor) -> tuple[float, tuple[float, float]] | None:
    """The measure and its interval; cases without any observation count for nothing."""
    parts = measure.parts(scored_ensemble)
    if parts is None:
        return None
    seen = ~parts.isnan().any(1)
    parts, weights = parts[seen], weights[:, seen]
    replicates = measure.value(weights @ parts / weights.sum(1, keepdim=True))
    value = float(measure.value(parts.mean(0)))
    if measure.chance:  # a resampled sum of deviations is larger than its origin by what chance adds
        return value, centred_interval(value, replicates, (0.0, 2.0))
    low, high = torch.quantile(replicates, torch.tensor(_LEVELS, dtype=torch.float64)).tolist()
    return value, (low, high)


def _chance(measure: _Measure, scored_ensemble: Scored, weights: Tensor) -> dict[str, Any]:
    """What chance alone leaves of the measure: its parts, resampled about means of zero."""
    parts = measure.parts(scored_ensemble)
    assert parts is not None
    seen = ~parts.isnan().any(1)
    away, weights = parts[seen] - parts[seen].mean(0), weights[:, seen]
    replicates = measure.value(weights @ away / weights.sum(1, keepdim=True))
    low, high = torch.quantile(replicates, torch.tensor(_LEVELS, dtype=torch.float64)).tolist()
    return {"value": float(replicates.mean()), "interval": (low, high), "of": "chance"}


def _by_lead(measure: _Measure, scored_ensemble: Scored) -> list[float | None]:
    found: list[float | None] = []
    for lead in range(scored_ensemble.leads):
        parts = measure.parts(scored_ensemble.at_lead(lead))
        value = float("nan") if parts is None else float(measure.value(parts[~parts.isnan().any(1)].mean(0)))
        found.append(value if np.isfinite(value) else None)
    return found


def _roc_area(
    forecasts: Forecasts, known: Mapping[str, Scored], rivals: Sequence[str], weights: Tensor, quantile: float
) -> Result | None:
    """The area under the ROC curve of the event; None where it always or never happens."""
    began = time.perf_counter()
    areas = {name: _area(each) for name, each in known.items()}
    if not np.isfinite(areas[MODEL]):
        return None
    again = [_area(known[MODEL], counts) for counts in weights[:_ROC_REPLICATES].round().long()]
    low, high = np.nanquantile(again, _LEVELS).tolist()
    exact = areas.get(forecasts.exact)
    return Result(
        metric="roc",
        value=areas[MODEL],
        interval=(low, high),
        floor={} if exact is None else {"value": exact, "interval": (exact, exact), "of": "the exact law"},
        baselines={name: areas[name] for name in rivals},
        ideal=1.0,
        better="higher",
        unit="1",
        n_samples=len(forecasts.observed),
        n_reference=len(forecasts.observed),
        seconds=round(time.perf_counter() - began, 3),
        features="forecasts in the data's units",
        note=f"Area under the ROC curve, of {_event(quantile)}; one half knows nothing",
    )


def _area(each: Scored, counts: Tensor | None = None) -> float:
    """Of at most so many numbers, spread evenly; cases as often as ``counts`` says."""
    probability, event = each.probability.flatten(1), each.event.flatten(1)
    step = max(1, probability.numel() // _ROC_NUMBERS)
    probability, event = probability[:, ::step], event[:, ::step]
    if counts is not None:
        probability, event = (values.repeat_interleave(counts, 0) for values in (probability, event))
    seen = ~event.isnan()
    return roc(probability[seen], event[seen]).area if bool(seen.any()) else float("nan")


def rank_p_value(forecasts: Forecasts, each: Scored, seeds: Seeds) -> float:
    """Whether the rank histogram is flat: of one place and lead, thinned so that cases are about independent."""
    rows = slice(None, None, forecasts.block)
    middle = each.ranks.shape[-1] // 2
    thinned = each.ranks[rows, 0, 0, middle]
    if not bool((thinned >= 0).any()):
        return float("nan")
    return rank_test(thinned, each.members, Seeds.range(seeds.seed, len(thinned)).at("rank test")).p_value


def _unit(forecasts: Forecasts) -> str:
    quantities = forecasts.layout.quantities
    return quantities[0].unit if len(quantities) == 1 else "climatological deviations"


def _event(quantile: float) -> str:
    return f"values above the {100 * quantile:g}th climatological percentile"


def _check(forecasts: Forecasts, told: Mapping[str, Any]) -> None:
    if MODEL not in forecasts.ensembles:
        raise InputError(f"forecasts are judged by the ensemble called 'model'; seen {list(forecasts.ensembles)}")
    if not 0 < told["quantile"] < 1:
        raise InputError(f"evaluation.options.quantile lies between 0 and 1; seen {told['quantile']!r}")
    if not forecasts.observed.isfinite().any():
        raise InputError("none of the forecasts can be judged: no observation is there in the test part")


def _remarks(forecasts: Forecasts, p_value: float) -> list[str]:
    members = {name: ensemble.shape[1] for name, ensemble in forecasts.ensembles.items()}
    listed = ", ".join(f"{name} ({count})" for name, count in members.items())
    return [
        f"{len(forecasts.observed)} forecasts of the test part, which the model has not seen; members: {listed}. "
        f"Intervals by resampling blocks of {forecasts.block} forecasts in a row.",
        f"Flatness of the model's rank histogram, at one place and the first lead, every {forecasts.block} forecasts: "
        f"p = {p_value:.3g}.",
        *(f"{name}: {note}." for name, note in forecasts.notes.items() if name != MODEL),
    ]
