"""How samples of angles are judged."""

import time
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains import measuring
from unstir.domains.angles import figures, statistics
from unstir.domains.angles.bound import belief_gap, torus_bound
from unstir.domains.angles.encoding import AngleEncoding
from unstir.domains.base import Judged, Judgement
from unstir.domains.measuring import mean_interval, measured
from unstir.domains.rows import RowData, checked_options, film, matched
from unstir.metrics.evaluate import Result

_OPTIONS = {
    "replicates": 200,
    "reference_limit": 5000,
    "bound_rows": 256,
    "bound_steps": 16,
    "gap_rows": 128,
    "film": 500,
}
_LAST = 0.01  # turns of noise before none, in the bound
_LEVELS = 9
NOTES = {
    "likelihood-bound": "The negative log-likelihood in nats per angle, where the uniform law has 0: the bound that "
    "ancestral sampling gives, on rows that the model has not seen, with a 95 % interval over the rows",
    "belief-gap": "What the belief loses against the exact one, in nats per angle, mean over the noise levels",
    "angle-histograms": "Total variation between histograms of 36 arcs, mean over the angles",
    "pair-histograms": "Total variation between histograms of 18 by 18 places, mean over pairs of neighbouring angles",
    "correlations": "Root mean square difference of the correlations between cosines and sines of different angles",
}


def judge_angles(judged: Judged) -> Judgement:
    """Likelihood beside the entropy where the law is known, histograms, correlations and two-sample tests."""
    options = checked_options(judged.options, _OPTIONS, "key of the recipe's section 'evaluation.options'")
    data, encoding = judged.data, cast(AngleEncoding, judged.data.encoding)
    if not isinstance(data, RowData):
        raise InputError(f"angles are judged on the field's own data; seen {type(data).__name__}")
    unseen = judged.held_out if isinstance(judged.held_out, RowData) else data.held_out
    pairs = statistics.pairs_of(encoding.names)
    reference = matched(data.state, options["reference_limit"])
    remarks, drawn = [], [figures.marginal_figure(encoding, reference, judged.drawn)]
    one_period = isinstance(getattr(judged.denoiser.process, "period", None), float | int)
    results = [_likelihood(judged, data, unseen, options)] if one_period else []
    if data.law is not None:
        result, chart = _gap(judged, data, unseen or data, options)
        results.append(result)
        drawn.append(chart)
        remarks.append(
            "These data were drawn from a law that is known exactly, so that the likelihood has its entropy to be held "
            "against and the belief the exact one."
        )
    if unseen is None:
        remarks.append(
            "No rows were kept apart (`data.held_out`), so the likelihood is that of rows the model was trained on, "
            "which flatters it."
        )
    results += measured(
        _metrics(pairs),
        statistics.sample_set(judged.drawn),
        statistics.sample_set(reference),
        _stand_ins(reference, unseen, len(judged.drawn), judged.seed),
        seed=judged.seed,
        replicates=options["replicates"],
        notes=NOTES,
    )
    if pairs:
        count = min(options["film"], len(judged.drawn))
        states, times = film(judged.draw, count, judged.seed)
        levels = judged.denoiser.process.schedule.sigma(torch.tensor(times, dtype=torch.float64)).tolist()
        drawn.insert(0, figures.pair_figure(encoding, reference, judged.drawn, pairs))
        drawn.insert(1, figures.strip_figure(encoding, states, levels, pairs[0]))
    return Judgement(results, drawn, remarks)


def _metrics(pairs: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    found: dict[str, Any] = {"angle-histograms": statistics.AngleHistograms()}
    if pairs:
        found["pair-histograms"] = statistics.PairHistograms(pairs)
        found["correlations"] = statistics.CircularCorrelations()
    for name in ("sliced-wasserstein", "two-sample", "memorisation"):
        options = {"name": name, "space": "features"}
        found[name] = build("metrics", {**options, "most": 1000} if name == "two-sample" else options)
    return found


def _stand_ins(reference: Tensor, unseen: RowData | None, count: int, seed: int) -> Mapping[str, Any]:
    seeds = Seeds.range(seed, count).at("baseline")
    rows = seeds.at("rows").integers(0, len(reference))
    found = {
        "independent": statistics.independent(reference, seeds),
        "wrapped-normal": statistics.one_wrapped_normal(reference, seeds),
        "copies": reference[rows],
    }
    if unseen is not None:
        found["held-out"] = matched(unseen.state, count)
    return {name: statistics.sample_set(turns) for name, turns in found.items()}


def _likelihood(judged: Judged, data: RowData, unseen: RowData | None, options: Mapping[str, Any]) -> Result:
    began = time.perf_counter()
    rows = matched((unseen or data).state, options["bound_rows"])
    angles = rows.shape[1]
    schedule = judged.denoiser.process.schedule
    times = build(
        "grids",
        {"name": "log-snr-uniform", "sigma_min": _LAST, "sigma_max": schedule.sigma(1.0).item()},
        schedule=schedule,
        steps=options["bound_steps"],
    )
    nats = torus_bound(judged.denoiser, rows, times, Seeds.range(judged.seed, len(rows)).at("likelihood"))
    value, interval = mean_interval((nats / angles).numpy())
    histogram = -statistics.histogram_density(data.state, rows) / angles
    floor: dict[str, Any] = {}
    if data.law is not None:
        entropy, spread = mean_interval((-data.law.log_density(rows, 0.0) / angles).numpy())
        floor = {"value": entropy, "interval": spread}
    return Result(
        metric="likelihood-bound",
        value=value,
        interval=interval,
        floor=floor,
        baselines={"independent": histogram.mean().item(), "uniform": 0.0},
        ideal=floor.get("value"),
        better="lower",
        unit="nats per angle",
        n_samples=len(rows),
        n_reference=len(data),
        seconds=round(time.perf_counter() - began, 3),
        features="the angles themselves",
        note=NOTES["likelihood-bound"] + ("; the floor is the exact law's, on the same rows" if floor else ""),
    )


def _gap(judged: Judged, data: RowData, unseen: RowData, options: Mapping[str, Any]) -> tuple[Result, Any]:
    began = time.perf_counter()
    encoding = judged.data.encoding
    rows = matched(unseen.state, options["gap_rows"])
    schedule = judged.denoiser.process.schedule
    sigma = torch.logspace(np.log10(_LAST), np.log10(schedule.sigma(1.0).item()) - 1e-9, _LEVELS, dtype=torch.float64)
    gap, error = belief_gap(
        judged.denoiser, data.law, rows, schedule.time_at_sigma(sigma), Seeds.range(judged.seed, len(rows)).at("gap")
    )
    result = measuring.belief_gap(sigma, gap, error, "angle", len(rows), len(data), began, NOTES["belief-gap"])
    return result, figures.gap_figure(sigma, gap, error, encoding.unit, encoding.period)  # type: ignore[attr-defined]
