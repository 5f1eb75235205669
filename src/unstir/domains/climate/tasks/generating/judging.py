"""How generated windows are judged: beside the test part, resampled blocks and a Gaussian; and how rare an event is."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from unstir.core.catalogue import build, find
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.domains.base import Figure, Judged, Judgement
from unstir.domains.climate.cases import ClimateData
from unstir.domains.climate.tasks.generating import figures as extremes_figures
from unstir.domains.climate.tasks.generating.events import BoundEvent, Event, bind
from unstir.domains.climate.tasks.generating.generated import (
    Distance,
    distances_for,
    gaussian_windows,
    scaled,
)
from unstir.domains.climate.tasks.generating.rare_events import ESTIMATORS, Estimate
from unstir.domains.climate.tasks.generating.tails import (
    probability_of,
    resampled_tails,
    return_table,
    share_interval,
    tail_of,
)
from unstir.domains.measuring import floor_of
from unstir.domains.rows import checked_options, evenly
from unstir.metrics.evaluate import Result

_OPTIONS: dict[str, Any] = {"windows": 4000, "replicates": 40, "event": None, "simulate": 0, "rival": None}
_EVENT = ("method", "sampler", "grid", "steps", "particles", "runs", "moves", "share", "day", "threshold", "count")
_RIVAL = ("process", "network", "training", "denoiser", "sampler", "grid", "steps", "count")
MODEL, BLOCKS, GAUSSIAN, RIVAL = "model", "blocks", "gaussian", "rival"


def judge_windows(judged: Judged) -> Judgement:
    """Measures of the recipe's samples against the test part's windows, an event's return period, and figures.

    ``evaluation.options``: ``windows`` to compare at most, ``replicates`` of the bootstrap; ``event``, see
    ``Event.of``, with ``method`` (splitting or steering) and its options, and ``day`` of the year where the season is
    told; ``simulate``, windows of known dynamics to count the event in; ``rival``: another generator, trained on the
    same windows (``process``, ``network``, ``training``, ``sampler``, ``grid``, ``steps``, ``count``).
    """
    told = checked_options(judged.options, _OPTIONS, "key of the recipe's section 'evaluation.options'")
    data = cast(ClimateData, judged.data)
    if data.test is None:
        raise InputError("generated windows are judged by the test part; raise data.held_out, or set data.test_from")
    if told["event"]:
        bind(_asked(told["event"])[0], data.encoding)  # refuses what is no event before anything is measured
    decode = data.encoding.decode
    drawn = decode(judged.drawn)[: told["windows"]]
    observed = data.test.cases.target(evenly(len(data.test), told["windows"]))
    training = data.cases.target(evenly(len(data), told["windows"]))
    if not np.isfinite(observed).all() or not np.isfinite(training).all():
        raise InputError("windows with missing values cannot be judged yet; take data.missing=drop, or fill them")
    gaussian = decode(
        torch.from_numpy(gaussian_windows(data.encoding.encode(training).numpy(), len(drawn), judged.seed))
    )
    others = {BLOCKS: training[_drawn_rows(len(training), len(drawn), judged.seed)], GAUSSIAN: gaussian}
    if told["rival"]:
        others[RIVAL] = decode(_rival(judged, data, told["rival"]))
    sets = {MODEL: drawn, **others}
    results = _measured(data, sets, observed, told["replicates"], judged.seed)
    figures: list[Figure] = list(extremes_figures.figures_of(sets, observed, data.encoding.layout))
    figures.append(_table(data, {"record": observed, **sets}, judged.seed))
    remarks = [
        f"{len(drawn):,} generated windows against {len(observed):,} of the test part. 'blocks' are windows of the "
        "training part drawn anew: no generator knows better what the record tells, and it never tells of more; "
        "'gaussian' has the windows' mean and covariance, as the best linear model would."
    ]
    if told["event"]:
        found, shown, said = _rare(judged, data, dict(told["event"]), told["simulate"], sets)
        results, figures, remarks = [*results, found], [*figures, *shown], [*remarks, *said]
    return Judgement(results, figures, remarks)


def _table(data: ClimateData, sets: Mapping[str, np.ndarray], seed: int) -> Figure:
    quantity = data.encoding.layout.quantities[0]
    maxima = {name: values[:, 0].reshape(len(values), -1).max(axis=1) for name, values in sets.items()}
    return Figure(
        "return-table",
        "Return levels by fitted laws",
        f"Levels that the maximum of {quantity.name} passes once in so many windows, by two laws fitted to each set.",
        "Generated levels lie within the record's intervals, and blocks' levels too; laws that are fitted to few "
        "windows say little of long periods.",
        text=return_table(maxima, quantity.unit, seed),
    )


def _measured(
    data: ClimateData, sets: Mapping[str, np.ndarray], observed: np.ndarray, replicates: int, seed: int
) -> list[Result]:
    """Each distance of the model with bootstrap interval, floor and the others' values."""
    layout = data.encoding.layout
    real = data.encoding.encode(observed).double().numpy()
    states = scaled(sets, data.encoding.encode)
    generator = Seeds.range(seed, 1).at("generate", "bootstrap").generator()
    count, block = len(states[MODEL]), max(1, len(real) // 20)
    results = []
    for distance in distances_for(layout):
        began = time.perf_counter()
        value = distance.of(states[MODEL], real, layout)
        again = [
            distance.of(states[MODEL][generator.integers(0, count, count)], real, layout) for _ in range(replicates)
        ]
        floor = [distance.of(_blocks(real, block, generator), real, layout) for _ in range(max(replicates // 2, 2))]
        results.append(_result(distance, value, again, floor, states, real, layout, began))
    return results


def _result(
    distance: Distance,
    value: float,
    again: list[float],
    floor: list[float],
    states: Mapping[str, np.ndarray],
    real: np.ndarray,
    layout: Any,
    began: float,
) -> Result:
    # a bootstrap of a distance lies above it by about as much as the distance itself lies above the law's
    shift = value - float(np.mean(again))
    low, high = (np.quantile(again, [0.025, 0.975]) + shift).clip(min=0.0).tolist()
    return Result(
        metric=distance.name,
        value=value,
        interval=(low, high),
        floor=floor_of(floor),
        baselines={name: distance.of(rows, real, layout) for name, rows in states.items() if name != MODEL},
        ideal=0.0,
        better="lower",
        unit=distance.unit,
        n_samples=len(states[MODEL]),
        n_reference=len(real),
        seconds=round(time.perf_counter() - began, 3),
        features="the windows, scaled",
        note=f"{distance.note}; floor: blocks of the test part drawn anew",
    )


@dataclass(frozen=True)
class Counted:
    """How often an event was met, plainly: ``hits`` of ``count`` windows; ``values`` of its statistic, (count,)."""

    hits: int
    count: int
    values: np.ndarray
    interval: tuple[float, float]

    @classmethod
    def of(cls, values: np.ndarray, event: Event) -> "Counted":
        """By the event's threshold."""
        beyond = values >= event.threshold if event.above is not None else values <= event.threshold
        hits = int(beyond.sum())
        return cls(hits, len(values), values, share_interval(hits, len(values)))

    @property
    def share(self) -> float:
        """Of the windows, that were the event."""
        return self.hits / self.count


def _rare(
    judged: Judged, data: ClimateData, told: dict[str, Any], simulate: int, sets: Mapping[str, np.ndarray]
) -> tuple[Result, list[Figure], list[str]]:
    """The event's probability a window, by the generator; beside counts, a fitted tail and a simulation."""
    began = time.perf_counter()
    event, how = _asked(told)
    bound = bind(event, data.encoding)
    method = how.pop("method")
    estimate = _estimated(judged, data, bound, method, how)
    statistic: Callable[[np.ndarray], np.ndarray] = lambda values: bound.statistic(torch.from_numpy(values)).numpy()  # noqa: E731
    record = _statistics(data, statistic)
    sign = 1.0 if event.above is not None else -1.0
    block = max(1, round(len(record) ** 0.5))
    tails = resampled_tails(sign * record, block, judged.seed)
    level = sign * event.threshold
    pareto = [probability_of(tail, sign * record, level) for tail in tails]
    counts = {"training": Counted.of(record, event), "plain": Counted.of(statistic(sets[MODEL]), event)}
    if simulate:
        counts["simulation"] = Counted.of(statistic(_simulated(data, simulate, judged.seed)), event)
    fitted = probability_of(tail_of(sign * record), sign * record, level)
    result = Result(
        metric="event-probability",
        value=estimate.probability,
        interval=estimate.interval(),
        floor={"value": 0.0, "interval": (0.0, 0.0)},
        baselines={**{name: each.share for name, each in counts.items()}, "pareto": fitted},
        ideal=counts["simulation"].share if "simulation" in counts else None,
        better="nearest",
        unit="1 per window",
        n_samples=estimate.calls,
        n_reference=len(record),
        seconds=round(time.perf_counter() - began, 3),
        features=f"{event.told}, by {method}",
        note="; ".join(
            [f"{name}: {each.hits} of {each.count}" for name, each in counts.items()]
            + ["pareto: the generalised Pareto law fitted above the training part's 95th percentile"]
        ),
        details={
            "runs": estimate.runs.tolist(),
            "levels": list(estimate.levels),
            "intervals": {
                **{name: each.interval for name, each in counts.items()},
                "pareto": np.quantile(pareto, [0.025, 0.975]).tolist(),
            },
            "efficiency": estimate.efficiency,
        },
    )
    span, unit = _span(data)
    shown = extremes_figures.of_event(
        estimate, bound, data.encoding, {name: each.values for name, each in counts.items()}, tails
    )
    return result, shown, _said(event, estimate, counts, fitted, pareto, span, unit, method)


def _asked(told: Any) -> tuple[Event, dict[str, Any]]:
    """The event, and how its probability is to be found."""
    options = dict(told) if isinstance(told, Mapping) else {}
    how = {"method": "splitting", **{key: options.pop(key) for key in _EVENT if key in options}}
    if how["method"] not in ESTIMATORS:
        raise unknown("method of rare events", str(how["method"]), ESTIMATORS)
    return Event.of(options), how


def _said(
    event: Event,
    estimate: Estimate,
    counts: Mapping[str, Counted],
    fitted: float,
    pareto: list[float],
    span: float,
    unit: str,
    method: str,
) -> list[str]:
    """Return periods in words."""

    def period(probability: float) -> str:
        return f"{span / probability:.3g} {unit}" if probability > 0 else "no end"

    low, high = estimate.interval()
    a, b = np.quantile(pareto, [0.025, 0.975])
    told = [
        f"Event: {event.told}, in a window of {span:g} {unit}. By the generator ({method}, {len(estimate.runs)} "
        f"independent runs, {estimate.calls:,} calls) its return period is {period(estimate.probability)} "
        f"({period(high)} to {period(low)}); by the Pareto tail of the training part {period(fitted)} "
        f"({period(float(b))} to {period(float(a))}).",
    ]
    for name, each in counts.items():
        low, high = each.interval
        told.append(
            f"Counted in {name}: {each.hits} of {each.count:,} windows, {period(each.share)} "
            f"({period(high)} to {period(low)}, as if the windows were independent)."
        )
    told.append("The generator's interval is that of the estimate: what the generator itself has wrong is not in it.")
    return told


def _estimated(judged: Judged, data: ClimateData, bound: BoundEvent, method: str, how: dict[str, Any]) -> Estimate:
    day = how.pop("day", None)
    condition = {}
    if "given" in data.conditions:
        if day is None:
            raise InputError(
                "the season is told to this generator: say of which day of the year the event is, day: 200"
            )
        pairs = int(data.conditions["given"]["size"]) // 2
        angles = 2 * np.pi * float(day) / 365.2425 * np.arange(1, pairs + 1)
        condition["given"] = torch.from_numpy(np.concatenate([np.cos(angles), np.sin(angles)])[None]).float()
    try:
        return ESTIMATORS[method](
            cast(Denoiser, judged.denoiser), bound, data.shape, seed=judged.seed, condition=condition, **how
        )
    except TypeError as error:
        raise InputError(f"evaluation.options.event, method {method}: {error}; seen {sorted(how)}") from error


def _statistics(data: ClimateData, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Of all training windows, some hundred at a time."""
    return np.concatenate(
        [statistic(data.cases.target(rows)) for rows in np.array_split(np.arange(len(data)), len(data) // 512 + 1)]
    )


def _simulated(data: ClimateData, count: int, seed: int) -> np.ndarray:
    """Windows of the known dynamics, many paths side by side; InputError where none are known."""
    from unstir.domains.climate.made.lorenz import flow_of

    attributes = data.cases.dataset.attrs  # type: ignore[attr-defined]
    flow, fine = flow_of(attributes)
    layout, step = data.encoding.layout, float(attributes["step"])
    if len(layout.quantities) != 1 or layout.names not in (("lead", "x"), ("x",)):
        raise InputError("windows are simulated of Lorenz-96 alone; leave evaluation.options.simulate at 0")
    length = len(layout.axis("lead") or (0,))
    places = len(layout.axes[-1])
    paths = min(1000, count)
    each = -(-count // paths)
    seeds = Seeds.range(seed, paths).at("generate", "simulation")
    state = flow.simulate(flow.start(seeds), [0.0, 20.0], seeds.at("spin-up"), fine)[:, -1]
    found = np.empty((each, paths, length, places), dtype=np.float32)
    # a window is left out between two, so that those of one path are not neighbours
    times = np.arange(length + 1) * step
    times = np.append(times[:length], 2 * length * step)
    for number in range(each):
        path = flow.simulate(state, times, seeds.at("on", number), fine)
        found[number], state = path[:, :length, :places].numpy(), path[:, -1]
    windows = found.reshape(-1, 1, length, places)[:count]
    return windows if "lead" in layout.names else windows[:, :, 0]


def _rival(judged: Judged, data: ClimateData, told: Mapping[str, Any]) -> Any:
    """States drawn from another generator, trained here on the same windows."""
    from unstir.samplers.base import sample
    from unstir.training.loop import train

    for key in told:
        if key not in _RIVAL:
            raise unknown("key of evaluation.options.rival", str(key), _RIVAL)
    for key in ("process", "network", "training"):
        if key not in told:
            raise InputError(f"evaluation.options.rival needs {key!r}, as the recipe itself has it")
    if "given" in data.conditions:
        raise InputError("a rival is trained without conditions; set data.season to 0")
    options = dict(told["process"]) if isinstance(told["process"], Mapping) else {"name": told["process"]}
    given = {"schedule": build("schedules", options.pop("schedule"))} if "schedule" in options else {}
    process = build("processes", options, **given)
    denoiser = find("learned", process.learned).load()(None, process, **dict(told.get("denoiser") or {}))
    size, outputs = denoiser.network_size(data.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(judged.seed)
        denoiser.network = build("networks", told["network"], shape=size, conditions={}, outputs=outputs)
    with tempfile.TemporaryDirectory() as folder:
        train(denoiser, data, dict(told["training"]), folder, seed=judged.seed)
    sampler = build("samplers", told.get("sampler", "heun"))
    count = int(told.get("count", len(judged.drawn)))
    return sample(
        denoiser, sampler, data.shape, count, steps=int(told.get("steps", 30)), grid=told.get("grid"), seed=judged.seed
    )


def _span(data: ClimateData) -> tuple[float, str]:
    """How long a window is, from its first time to the next window's."""
    lead = data.encoding.layout.axis("lead")
    if lead is None:
        return 1.0, "windows"
    step = float(lead.values[1]) - float(lead.values[0])
    return step * len(lead), lead.unit if lead.unit != "1" else "units of model time"


def _drawn_rows(length: int, count: int, seed: int) -> np.ndarray:
    return Seeds.range(seed, 1).at("generate", "blocks").generator().integers(0, length, count)


def _blocks(rows: np.ndarray, block: int, generator: np.random.Generator) -> np.ndarray:
    starts = generator.integers(0, len(rows), -(-len(rows) // block))
    return rows[((starts[:, None] + np.arange(block)).ravel() % len(rows))[: len(rows)]]
