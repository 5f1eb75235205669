"""How an assimilation is judged: readings simulated of the test part, and the analyses of all beside each other."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import Judged, Judgement
from unstir.domains.climate.forecasts import MODEL, Forecasts
from unstir.domains.climate.layout import Layout
from unstir.domains.climate.made.lorenz import flow_of
from unstir.domains.climate.tasks.assimilating.assimilation import assimilate, measured, trajectories
from unstir.domains.climate.tasks.assimilating.figures import error_figure, trajectory_figure
from unstir.domains.climate.tasks.assimilating.filters import (
    Analyses,
    Readings,
    ensemble_kalman,
    optimal_interpolation,
    particle_filter,
    ring_taper,
    sample_covariance,
)
from unstir.domains.rows import checked_options
from unstir.metrics.evaluate import Result
from unstir.physics.lorenz import Flow

OPTIONS: dict[str, Any] = {
    "noise": None,
    "every": 1,
    "share": 1.0,
    "length": None,
    "cases": 32,
    "members": 32,
    "method": "mmps",
    "steps": None,
    "stride": 1,
    "warm_up": 32,
    "particles": 3000,
    "filters": True,
    "quantile": 0.95,
    "replicates": 500,
}
"""``noise``: of the readings, in the data's units, a number or a mapping by variable (a fifth of each variable's own
deviation by default). Read is every ``every``-th time, and of it the ``share`` of all values, by chance. ``cases``
windows of ``length`` times (the trained window's by default) follow each other, ``warm_up`` times after the
beginning of the test part; ``method``, ``steps`` and ``members`` of the analysis, ``stride`` of composed windows.
``filters``: whether filters with the known dynamics are run beside, with so many ``particles``."""

_LARGEST_MIXTURE = 6  # numbers of a state: beyond, kernels about members no longer fill the space


@dataclass(frozen=True)
class Trial:
    """The truth of the test part, (times, channels, *axes), what was read of it (NaN elsewhere), and the noise."""

    truth: np.ndarray
    read: np.ndarray
    deviation: np.ndarray
    times: np.ndarray
    first: int
    """Where the first window begins."""


def judge_analyses(judged: Judged) -> Judgement:
    """The scores of all tasks for every time of the windows, the errors in the usual measure, and figures."""
    from unstir.domains.climate.judging import judge_forecasts

    told = checked_options(judged.options, OPTIONS, "key of the recipe's section 'evaluation.options'")
    data: Any = judged.data
    layout = data.encoding.layout
    window = layout.shape[1]
    length = window if told["length"] is None else told["length"]
    if not isinstance(length, int) or length < window:
        raise InputError(
            f"evaluation.options.length is a whole number, at least the window's {window}; seen {length!r}"
        )
    climate = _states(data, "train")
    trial = simulated(data, told, length, climate, judged.seed)
    began = time.perf_counter()
    ensembles: dict[str, Tensor] = {MODEL: analysed(judged, told, trial, length)}
    seconds = time.perf_counter() - began
    ensembles |= {
        name: _windows(found, trial, length, layout) for name, found in rivals(data, told, trial, climate, judged.seed)
    }
    starts = trial.times[trial.first :: length][: told["cases"]]
    observed = torch.from_numpy(_cut(trial.truth, trial.first, length, len(starts)))
    states = Layout(layout.quantities, layout.axes[1:], layout.calendar)
    unit = layout.axes[0].unit
    leads = np.arange(length) * (layout.axes[0].values[1] - layout.axes[0].values[0])
    notes = {
        MODEL: f"trajectories by {_name(told['method'])}: all readings of the window, earlier and later",
        "climatology": "states of the training part, drawn at random",
        "interpolation": "the climate's mean and covariance, given the readings of one time",
        "enkf": "ensemble Kalman filter with the known dynamics: the readings so far",
        "particle-filter": f"{told['particles']} particles with the known dynamics: the readings so far",
        "cycled": "exact posterior of the forecast ensemble's law, with the known dynamics: the readings so far",
    }
    forecasts = Forecasts(
        ensembles=ensembles,
        observed=observed,
        starts=starts,
        leads=leads,
        lead_unit=unit,
        layout=states,
        climatology=torch.from_numpy(climate),
        remarks=(
            f"Read was every {_ordinal(told['every'])} time and of it {100 * told['share']:g} % of the values. Filters "
            "know the readings up to each time, of earlier windows too; the model those of its window, also later "
            "ones. At a window's end it filters, with a shorter past.",
        ),
        notes={name: notes[name] for name in ensembles if name in notes},
    )
    judgement = judge_forecasts(
        forecasts, seed=judged.seed, options={name: told[name] for name in ("quantile", "replicates")}
    )
    errors = {name: analysis_error(each, observed) for name, each in ensembles.items()}
    results = [
        _result("analysis-error", {name: each.mean(1) for name, each in errors.items()}, layout, seconds, "all times"),
        _result("filter-error", {name: each[:, -1] for name, each in errors.items()}, layout, seconds, "the last time"),
    ]
    figures = [trajectory_figure(forecasts, trial.read[trial.first :][:length]), error_figure(forecasts, errors)]
    return Judgement([*results, *judgement.results], [*figures, *judgement.figures], judgement.remarks)


def simulated(data: Any, told: Mapping[str, Any], length: int, climate: np.ndarray, seed: int) -> Trial:
    """Readings of the test part's first run of times without a gap."""
    from unstir.domains.climate.tasks.assimilating.task import deviations

    part = data.test
    if part is None:
        raise InputError("an assimilation is judged on a test part: give data.held_out or data.test_from")
    starts = part.cases.starts
    broken = np.flatnonzero(np.diff(starts) != np.diff(starts)[:1].sum())
    last = starts[broken[0]] if len(broken) else starts[-1]
    places = np.arange(starts[0], last + part.cases.length)
    most = (len(places) - length) // length
    if most < 1:
        raise InputError(f"the test part has {len(places)} times in a row; an assimilation needs {2 * length} at least")
    first = min(told["warm_up"], len(places) - length)
    cases = min(told["cases"], (len(places) - first) // length)
    truth = _values(part.cases, places[: first + cases * length])
    layout = data.encoding.layout
    deviation = (
        0.2 * climate.std(axis=(0, *range(2, climate.ndim)), keepdims=True)[0]
        if told["noise"] is None
        else deviations(told["noise"], layout)[:, 0]
    )
    seeds = Seeds.range(seed, len(truth)).at("assimilation")
    noise = seeds.at("noise").normal(truth.shape[1:], torch.float64).numpy()
    seen = seeds.at("places").uniform(truth.shape[1:]).numpy() < told["share"]
    seen[np.arange(len(truth)) % told["every"] != 0] = False
    times = part.cases.dataset["time"].values[places[: len(truth)]]
    return Trial(truth, np.where(seen, truth + deviation * noise, np.nan), deviation, times, first)


def analysed(judged: Judged, told: Mapping[str, Any], trial: Trial, length: int) -> Tensor:
    """The model's ensembles (cases, members, times, channels, *axes) in the data's units."""
    encoding = judged.data.encoding
    members, found = told["members"], []
    for number in range((len(trial.truth) - trial.first) // length):
        begin = trial.first + number * length
        values = np.moveaxis(trial.read[begin : begin + length], 0, 1)
        deviation = np.broadcast_to(trial.deviation[:, None], values.shape)
        drawn = trajectories(
            judged.denoiser,
            measured(encoding, values, deviation),  # type: ignore[arg-type]
            Seeds.range(judged.seed, members, number * members),
            told["method"],
            told["steps"],
            encoding.layout.shape[1],  # type: ignore[attr-defined]
            told["stride"],
        )
        found.append(torch.from_numpy(np.moveaxis(encoding.decode(drawn), 2, 1)))
    return torch.stack(found)


def rivals(data: Any, told: Mapping[str, Any], trial: Trial, climate: np.ndarray, seed: int) -> Any:
    """Names and analyses of what it is compared with; filters where the dataset names its dynamics."""
    members, flat = told["members"], torch.from_numpy(climate).flatten(1)
    seeds = Seeds.range(seed, members).at("rivals")
    rows = torch.stack([seeds.at("climate", number).integers(0, len(flat)) for number in range(len(trial.truth))])
    yield "climatology", Analyses(flat[rows], flat.mean(0).expand(len(rows), -1))
    size = flat.shape[1]
    operator = torch.eye(size, dtype=torch.float64)
    deviation = torch.from_numpy(np.broadcast_to(trial.deviation, trial.truth.shape[1:]).reshape(-1).copy())
    readings = Readings(torch.from_numpy(trial.read).flatten(1), operator, deviation)
    if size <= 1024:
        covariance = sample_covariance(flat[:: max(1, len(flat) // 20000)])
        yield "interpolation", optimal_interpolation(flat.mean(0), covariance, readings, members, seeds)
    known = _dynamics(data.cases.dataset.attrs, size)
    if known is None or not told["filters"]:
        return
    flow, fine = known
    step = float(trial.times[1] - trial.times[0])

    def forecast(ensemble: Tensor, number: int, each: Seeds) -> Tensor:
        return flow.simulate(ensemble, [0.0, step], each if flow.noise else None, fine)[:, -1]

    def begun(count: int) -> tuple[Tensor, Seeds]:
        own = Seeds.range(seed, count).at("filters")
        return flat[own.at("begun").integers(0, len(flat))], own

    ring = size > _LARGEST_MIXTURE
    taper = ring_taper(size, size / 6) if ring else None
    start, own = begun(100)
    yield "enkf", ensemble_kalman(start, forecast, readings, own, 1.01, taper, members)
    if ring:
        yield (
            "cycled",
            assimilate(start, forecast, readings, own, law="gaussian", inflation=1.02, taper=taper, kept=members),
        )
        return
    start, own = begun(told["particles"])
    yield "particle-filter", particle_filter(start, forecast, readings, own, kept=members)
    start, own = begun(told["particles"])
    yield "cycled", assimilate(start, forecast, readings, own, kept=members)


def analysis_error(ensemble: Tensor, observed: Tensor) -> Tensor:
    """The root mean square, over the values of one time, of the ensemble mean's error: (cases, times)."""
    return (ensemble.mean(1) - observed).square().flatten(2).nanmean(2).sqrt()


def _dynamics(attributes: Mapping[str, Any], size: int) -> tuple[Flow, float] | None:
    try:
        flow, fine = flow_of(attributes)
    except InputError:
        return None
    return (flow, fine) if flow.size == size else None  # of two scales, only the slow one was kept


def _states(data: Any, part: str) -> np.ndarray:
    """The states of the training part, (n, channels, *axes)."""
    cases = data.cases if part == "train" else data.test.cases
    starts = cases.starts
    return _values(cases, np.unique(starts[:, None] + np.arange(cases.length)))


def _values(cases: Any, places: np.ndarray) -> np.ndarray:
    """The states at these positions in time, (n, channels, *axes), missing ones as NaN."""
    from unstir.domains.climate.windows import WindowCases, variables_of

    single = WindowCases(cases.dataset.isel(time=places), variables_of(cases.dataset), 1)
    return single.target(np.arange(len(single)))


def _cut(values: np.ndarray, first: int, length: int, cases: int) -> np.ndarray:
    return values[first : first + cases * length].reshape(cases, length, *values.shape[1:])


def _windows(found: Analyses, trial: Trial, length: int, layout: Layout) -> Tensor:
    """Ensembles (times, members, n) as (cases, members, times, channels, *axes)."""
    cases = (len(trial.truth) - trial.first) // length
    members = found.ensembles.shape[1]
    told = found.ensembles[trial.first :].reshape(cases, length, members, layout.shape[0], *layout.shape[2:])
    return told.transpose(1, 2)


def _result(name: str, errors: Mapping[str, Tensor], layout: Layout, seconds: float, what: str) -> Result:
    own = errors[MODEL].numpy()
    drawn = np.random.default_rng(0).integers(0, len(own), (500, len(own)))
    low, high = np.quantile(own[drawn].mean(1), [0.025, 0.975])
    units = {each.unit for each in layout.quantities}
    return Result(
        metric=name,
        value=float(own.mean()),
        interval=(float(low), float(high)),
        floor={},
        baselines={other: float(each.mean()) for other, each in errors.items() if other != MODEL},
        ideal=0.0,
        better="lower",
        unit=units.pop() if len(units) == 1 else "the data's",
        n_samples=len(own),
        n_reference=len(own),
        seconds=seconds,
        features="",
        note=f"Root mean square error of the ensemble's mean over the values of one time, averaged over {what}",
    )


def _name(method: Any) -> str:
    return str(method["name"]) if isinstance(method, Mapping) else str(method)


def _ordinal(number: int) -> str:
    return {1: "single", 2: "second", 3: "third"}.get(number, f"{number}th")
