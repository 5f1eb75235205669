"""The task ``forecast``: from the last states of a dataset to the next, and on from there, an ensemble by steps.

The network learns what a regression (or the last state) misses, which is drawn anew at each step; season, hour,
latitude and what else never changes is told beside the last states.

Reference: Price et al., Probabilistic weather forecasting with machine learning (2025), methods, for the diffusion of
the residual between states; Couairon et al., ArchesWeatherGen (2024), section 3, for its centre.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unstir.core.errors import InputError, unknown
from unstir.domains.base import Asked, Judged, Judgement
from unstir.domains.climate.cases import ClimateData
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.layout import Layout
from unstir.domains.climate.static import static_maps
from unstir.domains.climate.task import Task
from unstir.domains.climate.tasks.forecasting.cases import ForecastCases, fitted
from unstir.domains.climate.tasks.forecasting.rollout import CENTRES, Stepper, rollout
from unstir.domains.climate.windows import WindowCases, variables_of, window_layout

_OWN: dict[str, Any] = {"history": 2, "step": 1, "centre": "regression", "degree": 1, "radius": 2, "clock": "auto"}
_PREDICT = ("leads",)
_TASK = "forecast"


def read_forecast(options: Mapping[str, Any]) -> ClimateData:
    """The cases of the recipe's ``data``: the shared options, and those of this task.

    ``history`` states (2) that lie ``step`` times (1) apart are known, the next one is to be foretold; the belief
    is centred about (``centre``) a ``regression``, the ``last`` state or ``none``; the regression is a polynomial of
    ``degree`` (1) in the values up to ``radius`` (2) places away along each axis; ``clock`` is
    a list of ``season`` and ``hour``, or ``auto`` for what the calendar and the step have. Variables without time
    (a land mask, an orography) are told to the network as they are.

    Raises InputError for options that are none, and for data that has no states in a row.
    """
    from unstir.domains.climate.files.datasets import SHARED, opened
    from unstir.domains.climate.scaling import fit_scaling, methods_for
    from unstir.domains.climate.splits import parts_of

    told = _checked({**SHARED, **_OWN, **options}, SHARED)
    dataset = opened({name: told[name] for name in SHARED})
    variables = variables_of(dataset)
    layout = window_layout(dataset, variables, 1)
    parts = parts_of(dataset["time"].values, told)
    length = told["history"] * told["step"] + 1
    windows = {
        name: WindowCases(dataset, variables, length, rows=rows)
        for name, rows in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
        if len(rows)
    }
    scaling = fit_scaling(
        (np.moveaxis(each, 2, 1).reshape(-1, *layout.shape) for each in windows["train"].chunks()),
        methods_for(told["transform"], layout.quantities),
    )
    maps, names = static_maps(dataset, variables, layout)
    clock = _clock(dataset["time"].values, told, layout)
    found = fitted(windows["train"], layout, scaling, told, (torch.from_numpy(maps), clock))
    memory = {
        "stepper": found.stepper.record(),
        "variables": variables,
        "maps": names,
        "duration": _plain(_duration(dataset["time"].values)),
        "attributes": {key: _plain(value) for key, value in dataset.attrs.items()},
    }
    encoding = ClimateEncoding(_TASK, layout, found.scaling, told, memory)
    conditions = found.stepper.conditions(layout.shape[0])
    name = str(told["name"] or told["path"])
    made = {
        part: ClimateData(
            name if part == "train" else f"{name} ({part})",
            encoding,
            ForecastCases(each, found.stepper, encoding, told["step"]),
            conditions,
        )
        for part, each in windows.items()
    }
    return replace(made["train"], validation=made.get("validation"), test=made.get("test"))


def network(data: Any) -> dict[str, Any]:
    """A U-Net over what is space, as deep as its sizes allow; a perceptron for what has no space."""
    axes = data.encoding.layout.axes
    if not 1 <= len(axes) <= 3 or any(axis.name == "station" for axis in axes):
        return {"name": "mlp"}
    levels = 1
    while levels < 3 and all(len(axis) % 2**levels == 0 or not axis.periodic for axis in axes):
        if min(len(axis) for axis in axes) < 4 * 2**levels:
            break
        levels += 1
    periodic = [place for place, axis in enumerate(axes) if axis.periodic]
    widths = [64, 96, 128] if len(axes) == 1 else [32, 64, 96]
    return {"name": "unet", "widths": widths[:levels], "periodic": periodic}


def process(data: Any) -> dict[str, Any]:
    """Noise by a cosine schedule, whose end is noise alone, whatever the belief is centred about.

    Where noise is only added, as by EDM's schedule, sampling starts about zero, and a centre many deviations of the
    residual away would draw every member towards it.
    """
    return {"name": "gaussian", "schedule": {"name": "cosine"}}


def judge(judged: Judged) -> Judgement:
    """Forecasts from starts all over the test part, beside their rivals; see ``forecast_judging``."""
    from unstir.domains.climate.tasks.forecasting.judging import judge_rollouts

    return judge_rollouts(judged)


def predict(asked: Asked) -> Any:
    """An ensemble from the last states of the user's file, as a Dataset (member, lead, ...).

    ``asked.options``: ``leads``, how many steps ahead (10). Raises InputError for other options, and a file whose
    variables, axes or steps in time are not those of the training.
    """
    from unstir.domains.climate.files.datasets import SHARED, opened
    from unstir.domains.climate.files.writing import as_dataset

    for name in asked.options:
        if name not in _PREDICT:
            raise unknown("option of a forecast", str(name), _PREDICT)
    leads = asked.options.get("leads", 10)
    if isinstance(leads, bool) or not isinstance(leads, int) or leads < 1:
        raise InputError(f"leads, how many steps ahead to forecast, is a whole number and at least 1; seen {leads!r}")
    encoding: ClimateEncoding = asked.encoding
    told, memory = encoding.options, encoding.memory
    stepper = Stepper.restored(memory["stepper"])
    again = {name: told.get(name, SHARED[name]) for name in SHARED}
    dataset = opened({**again, "path": str(asked.path), "name": None, "options": {}})
    wanted = list(memory["variables"])
    if lacking := [name for name in wanted if name not in dataset.data_vars]:
        raise unknown(f"in {asked.path} variable", lacking[0], map(str, dataset.data_vars))
    step, history = told["step"], told["history"]
    times = dataset["time"].values
    length = (history - 1) * step + 1
    if len(times) < length:
        raise InputError(f"{asked.path}: a forecast starts from {length} time(s) in a row; seen {len(times)}")
    windows = WindowCases(dataset, wanted, length, rows=np.arange(len(times) - length, len(times)))
    layout = window_layout(dataset, wanted, 1)
    _check_like(layout, encoding.layout, str(asked.path))
    _check_duration(times[-length:], memory["duration"], str(asked.path))
    cases = ForecastCases(windows, stepper, encoding, step)
    values = windows.target(np.arange(1))
    past = cases.encoded((values[:, :, None] if length == 1 else values)[:, :, ::step])
    duration = _duration(times) if len(times) > 1 else _as_span(memory["duration"], times)

    def when(steps: int) -> np.ndarray:
        return times[-1:] + steps * step * duration

    found = rollout(asked.draw, stepper, past, when, range(1, leads + 1), asked.members, asked.seed)
    decoded = encoding.decode(found.flatten(0, 2)).reshape(found.shape)
    values, unit = lead_values(duration, step, leads)
    return as_dataset(encoding, decoded, times=times[-1:], leads=values, lead_unit=unit)


FORECAST = Task(
    name=_TASK,
    summary="an ensemble forecast by steps, from the last states",
    read=read_forecast,
    judge=judge,
    predict=predict,
    network=network,
    process=process,
)


def lead_values(duration: Any, step: int, count: int) -> tuple[np.ndarray, str]:
    """The leads of so many steps, in days or hours where times have a calendar; and their unit."""
    usual, unit = _plain(duration) * step, "1"
    if isinstance(duration, np.timedelta64) or hasattr(duration, "total_seconds"):
        unit, size = ("days", 86400.0) if usual >= 86400 else ("hours", 3600.0)
        usual /= size
    return np.round(usual * np.arange(1, count + 1), 9), unit


def _checked(told: dict[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    for name in told:
        if name not in shared and name not in _OWN:
            raise unknown("option of the task 'forecast' (data.*):", str(name), [*shared, *_OWN])
    for name, least in (("history", 1), ("step", 1), ("radius", 0)):
        value = told[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"data.{name} is a whole number and at least {least}; seen {value!r}")
    if told["centre"] not in CENTRES:
        raise unknown("centre of the belief (data.centre):", str(told["centre"]), CENTRES)
    return told


def _clock(times: np.ndarray, told: Mapping[str, Any], layout: Layout) -> tuple[str, ...]:
    calendar = times.dtype.kind not in "fiu"
    if told["clock"] == "auto":
        if not calendar:
            return ()
        found = ["season"] if _seconds(times[-1] - times[0]) > 0.5 * 365 * 86400 else []
        return (*found, *(["hour"] if _plain(_duration(times)) * told["step"] % 86400 else []))
    cycles = told["clock"] if isinstance(told["clock"], list | tuple) else [told["clock"]]
    for cycle in cycles:
        if cycle not in ("season", "hour"):
            raise unknown("cycle of the clock (data.clock):", str(cycle), ("auto", "season", "hour"))
    if cycles and not calendar:
        raise InputError("data.clock: these times are plain numbers without a calendar; leave it out, or take []")
    return tuple(cycles)


def _duration(times: np.ndarray) -> Any:
    """The usual span between two times, of the kind that can be added to them."""
    steps = np.diff(times)
    return np.sort(steps)[len(steps) // 2]


def _seconds(span: Any) -> float:
    return span.total_seconds() if hasattr(span, "total_seconds") else float(span / np.timedelta64(1, "s"))


def _plain(value: Any) -> Any:
    """Seconds of a span, and numbers as Python has them."""
    if isinstance(value, np.timedelta64) or hasattr(value, "total_seconds"):
        return _seconds(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _as_span(seconds: float, times: np.ndarray) -> Any:
    if times.dtype.kind in "fiu":
        return seconds
    span = np.timedelta64(round(seconds * 1e9), "ns")
    return span.astype("timedelta64[us]").item() if times.dtype == object else span


def _check_like(seen: Layout, wanted: Layout, path: str) -> None:
    """Refuses a file that is not laid out as the training data was."""
    for here, there in zip(seen.quantities, wanted.quantities, strict=False):
        if (here.name, here.unit) != (there.name, there.unit):
            raise InputError(
                f"{path}: the run forecasts {there.name} in {there.unit!r}; seen {here.name} in {here.unit!r}: give "
                "units that convert with data.units"
            )
    if seen.names != wanted.names or seen.shape != wanted.shape:
        raise InputError(
            f"{path}: the run was trained on {dict(zip(wanted.names, wanted.shape[1:], strict=True))}; seen "
            f"{dict(zip(seen.names, seen.shape[1:], strict=True))}: bring the file to that grid"
        )
    for here, there in zip(seen.axes, wanted.axes, strict=True):
        numbers = all(isinstance(value, int | float) for value in (*here.values, *there.values))
        same = np.allclose(here.values, there.values, atol=1e-4) if numbers else here.values == there.values
        if not same:
            raise InputError(
                f"{path}: the coordinate {here.name!r} is another than in training: from {here.values[0]} to "
                f"{here.values[-1]}, then {there.values[0]} to {there.values[-1]}; bring the file to that grid"
            )


def _check_duration(times: np.ndarray, wanted: float, path: str) -> None:
    if len(times) > 1 and abs(_plain(_duration(times)) / wanted - 1) > 0.1:
        raise InputError(
            f"{path}: its times are {_plain(_duration(times)):g} apart, those of the training {wanted:g} (seconds, or "
            "the times' own unit); give states as far apart"
        )
