"""How forecasts by steps are judged: from starts all over the test part, beside what they must beat."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.base import Judged, Judgement
from unstir.domains.climate.baselines import climatology_ensemble
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.forecasts import MODEL, Forecasts
from unstir.domains.climate.tasks.forecasting.cases import ForecastCases, fit_regression, residuals
from unstir.domains.climate.tasks.forecasting.rollout import Stepper, rollout, step_seed
from unstir.domains.climate.windows import WindowCases
from unstir.domains.rows import evenly

OPTIONS: dict[str, Any] = {
    "cases": 100,
    "members": 20,
    "leads": [1, 2, 3, 5, 8, 10],
    "rivals": None,
    "window_days": None,
    "one_pass": None,
}
"""What ``evaluation.options`` may say, with defaults: starts, members, steps ahead; ``rivals``, names of those to stand
beside the model (null: all that serve this data); the climatology's window; how the one-pass rival is trained (null:
not). What is left goes to ``judge_forecasts``."""

_SEASON_WINDOW = 15.0  # days to both sides, where the data has seasons
_MEMORY = 256 << 20  # bytes of one ensemble
_PAST = 2000  # values of the training part that climatology is made of
_ERRORS = 2000  # of the linear forecast, whose covariance is measured
_FULL = 600  # numbers of a state up to which that covariance is factorised


@dataclass(frozen=True)
class Starts:
    """What forecasts start from: the last states in the data's units and encoded, and what came true."""

    encoding: ClimateEncoding
    stepper: Stepper
    cases: ForecastCases
    states: np.ndarray
    """(cases, channels, history, *axes), in the data's units."""
    past: Tensor
    """The same, encoded: (cases, history, channels, *axes)."""
    observed: Tensor
    """(cases, leads, channels, *axes), in the data's units."""
    times: np.ndarray
    leads: list[int]
    lead_values: np.ndarray
    lead_unit: str
    members: int
    seed: int
    spacing: int

    def when(self, steps: int) -> np.ndarray:
        """The times so many steps ahead of the starts."""
        times = self.cases.windows.dataset["time"].values
        return self.times + steps * self.cases.step * np.sort(np.diff(times))[(len(times) - 1) // 2]

    def decoded(self, ensemble: Tensor) -> Tensor:
        """An encoded ensemble (cases, members, leads, channels, *axes) in the data's units, float64."""
        flat = self.encoding.decode(ensemble.flatten(0, 2))
        return torch.from_numpy(flat).reshape(ensemble.shape)


def judge_rollouts(judged: Judged) -> Judgement:
    """The model's ensembles and its rivals', handed to ``judge_forecasts``.

    Raises InputError for options that are none, and a test part too short for the leads.
    """
    from unstir.domains.climate.judging import judge_forecasts

    told = {**OPTIONS, **{name: value for name, value in judged.options.items() if name in OPTIONS}}
    rest = {name: value for name, value in judged.options.items() if name not in OPTIONS}
    return judge_forecasts(forecasts_of(judged, told), seed=judged.seed, options=rest)


def forecasts_of(judged: Judged, told: Mapping[str, Any]) -> Forecasts:
    """The ensembles of the model and of all rivals that serve this data."""
    data: Any = judged.data
    starts = starts_of(data.test, told, judged.seed)
    makers = rivals_of(judged, starts, told)
    ensembles = {MODEL: _with_bar("forecasts of the model", starts, judged.draw)}
    notes = {MODEL: f"by steps, centred about {_CENTRES[starts.stepper.centre]}"}
    for name, (make, note) in makers.items():
        ensembles[name], notes[name] = make(), note
    values, _ = _training_values(data.cases)
    lasting = (starts.leads[-1] * starts.cases.step) / max(starts.spacing, 1)
    return Forecasts(
        ensembles=ensembles,
        observed=starts.observed,
        starts=starts.times,
        leads=starts.lead_values,
        lead_unit=starts.lead_unit,
        layout=starts.encoding.layout,
        climatology=values,
        block=max(1, min(len(starts.times), math.ceil(lasting))),
        exact="exact" if "exact" in ensembles else "",
        notes=notes,
    )


_CENTRES = {"regression": "the regression", "last": "the last state", "none": "nothing"}


def starts_of(test: Any, told: Mapping[str, Any], seed: int) -> Starts:
    """Starts spread evenly over the test part, each with all its leads in it.

    Raises InputError where there is no test part, or none long enough.
    """
    if test is None:
        raise InputError("forecasts are judged on a test part, and the data has none: give data.held_out a share")
    cases: ForecastCases = test.cases
    leads = [int(lead) for lead in told["leads"]]
    for name in ("cases", "members"):
        if isinstance(told[name], bool) or not isinstance(told[name], int) or told[name] < 1:
            raise InputError(f"evaluation.options.{name} is a whole number and at least 1; seen {told[name]!r}")
    if not leads or leads[0] < 1 or sorted(set(leads)) != leads:
        raise InputError(f"evaluation.options.leads are rising numbers of steps, from 1 on; seen {told['leads']!r}")
    stepper, step, windows = cases.stepper, cases.step, cases.windows
    variables = [str(name) for name in windows.dataset.data_vars]
    assert stepper is not None
    known = (stepper.history - 1) * step + 1
    rows = np.unique(windows.starts[:, None] + np.arange(windows.length))
    longer = WindowCases(windows.dataset, variables, known + leads[-1] * step, rows=rows)
    each = 8 * told["members"] * len(leads) * int(np.prod(test.shape))
    most = min(told["cases"], len(longer), max(1, _MEMORY // each))
    chosen = evenly(len(longer), most)
    values = longer.target(chosen)
    places = known - 1 + np.array(leads) * step
    lead = longer.layout.axes[0]
    states = values[:, :, :known:step]
    return Starts(
        encoding=test.encoding,
        stepper=stepper,
        cases=cases,
        states=states,
        past=cases.encoded(states),
        observed=torch.from_numpy(np.moveaxis(values[:, :, places], 1, 2).astype(np.float64)),
        times=windows.dataset["time"].values[longer.starts[chosen] + known - 1],
        leads=leads,
        lead_values=np.array([lead.values[number * step] for number in leads], dtype=np.float64),
        lead_unit=lead.unit,
        members=told["members"],
        seed=seed,
        spacing=int(np.median(np.diff(longer.starts[chosen]))) if len(chosen) > 1 else known + leads[-1] * step,
    )


Rival = tuple[Callable[[], Tensor], str]


def rivals_of(judged: Judged, starts: Starts, told: Mapping[str, Any]) -> dict[str, Rival]:
    """By name: how to make the ensemble, and a line that says what it is. InputError for names that are none."""
    data: Any = judged.data
    model = str(starts.encoding.memory["attributes"].get("model", ""))
    able: dict[str, Rival] = {
        "persistence": (lambda: _persistence(starts), "the last state, without spread"),
        "climatology": (
            lambda: _climatology(starts, data.cases, told["window_days"]),
            "states of the training part, drawn at random",
        ),
        "linear": (
            lambda: _regression(starts, data.cases, 1),
            f"vector autoregression of order {starts.stepper.history} with local weights, normal noise of its errors' "
            "covariance",
        ),
    }
    degree = starts.stepper.regression.degree
    if degree > 1:
        able["regression"] = (
            lambda: _regression(starts, data.cases, degree),
            f"the polynomial of degree {degree} alone, with normal noise of its errors' covariance",
        )
    if model == "TwoScaleLorenz96" and starts.encoding.layout.shape[0] == 1:
        able["one-scale"] = (
            lambda: _one_scale(starts, data.cases, True),
            "the ring without its fast one, parametrised by a polynomial and first-order noise (Wilks 2005)",
        )
        able["one-scale without noise"] = (
            lambda: _one_scale(starts, data.cases, False),
            "the same without the noise: a single forecast",
        )
    if model == "MovingField":
        able["exact"] = (lambda: _exact(starts), "draws of the field's own law")
    if told["one_pass"] is not None:
        able["one-pass"] = (
            lambda: _one_pass(judged, starts, told["one_pass"]),
            "a network of one call, trained on the fair score, by the same steps",
        )
    wanted = list(able) if told["rivals"] is None else list(told["rivals"])
    for name in wanted:
        if name not in able:
            raise unknown("rival of a forecast (evaluation.options.rivals):", str(name), able)
    return {name: able[name] for name in wanted}


def _with_bar(what: str, starts: Starts, draw: Callable[..., Any]) -> Tensor:
    from tqdm import tqdm

    total = starts.leads[-1] * len(starts.past) * starts.members
    with tqdm(total=total, desc=what, unit="steps", disable=None) as bar:
        found = rollout(
            draw, starts.stepper, starts.past, starts.when, starts.leads, starts.members, starts.seed, bar.update
        )
    return starts.decoded(found)


def _persistence(starts: Starts) -> Tensor:
    last = torch.from_numpy(starts.states[:, :, -1].astype(np.float64))
    return last[:, None, None].expand(-1, 1, len(starts.leads), *last.shape[1:]).clone()


def _climatology(starts: Starts, cases: ForecastCases, window: float | None) -> Tensor:
    values, times = _training_values(cases)
    if window is None and "season" in starts.stepper.clock:
        window = _SEASON_WINDOW
    seeds = Seeds.range(starts.seed, len(starts.times)).at("rival")
    found = [
        climatology_ensemble(values, times, starts.when(lead), starts.members, seeds.at(lead), window)
        for lead in starts.leads
    ]
    return torch.stack(found, 2)


def _training_values(cases: ForecastCases) -> tuple[Tensor, np.ndarray]:
    """Values (n, channels, *axes) spread over the training part, and their times."""
    most = max(1, min(_PAST, _MEMORY // (8 * int(np.prod(cases.encoding.layout.shape)))))
    rows = evenly(len(cases), most)
    return torch.from_numpy(cases.target(rows).astype(np.float64)), cases.times[rows]


def _regression(starts: Starts, cases: ForecastCases, degree: int) -> Tensor:
    """A regression by steps, each with normal noise of the covariance of its errors in the training part."""
    stepper = starts.stepper
    regression = stepper.regression
    if degree != regression.degree:
        regression = fit_regression(cases, stepper.history, max((0, *regression.radii)), degree)
    errors = residuals(cases, regression, _ERRORS).flatten(1)
    if errors.shape[1] <= _FULL:
        values, vectors = torch.linalg.eigh(errors.T @ errors / len(errors))
        factor = vectors * values.clamp(min=0).sqrt()
    else:
        factor = errors[:_FULL].T / math.sqrt(min(_FULL, len(errors)))

    def draw(count: int, seed: int, condition: Mapping[str, Tensor]) -> Tensor:
        white = Seeds.range(seed, count).at("regression").normal((factor.shape[1],), torch.float64)
        return condition["expected"] + (white @ factor.T).reshape(condition["expected"].shape)

    class Alone(Stepper):
        def condition(self, past: Tensor, when: np.ndarray) -> dict[str, Tensor]:
            return {"expected": self.regression(past.double().nan_to_num(0.0))}

    told = (stepper.centre, stepper.scales, stepper.maps, stepper.clock, stepper.missing)
    alone = Alone(stepper.history, regression, *told)
    found = rollout(draw, alone, starts.past, starts.when, starts.leads, starts.members, starts.seed)
    return starts.decoded(found)


def _one_scale(starts: Starts, cases: ForecastCases, stochastic: bool) -> Tensor:
    from unstir.domains.climate.tasks.forecasting.lorenz_rivals import fit_one_scale
    from unstir.physics.lorenz import Lorenz96

    windows, step = cases.windows, cases.step
    told = starts.encoding.memory["attributes"]
    ring = Lorenz96(int(told["variables"]), float(told["forcing"]), float(told["damping"]))
    rows = np.unique(windows.starts[:, None] + np.arange(windows.length))
    triples = WindowCases(windows.dataset, list(windows.dataset.data_vars), 2 * step + 1, rows=rows)
    values = triples.target(np.arange(len(triples)))[:, 0, ::step].astype(np.float64)
    duration = float(starts.encoding.memory["duration"]) * step
    model = fit_one_scale(values, ring, duration)
    past = starts.states[:, 0].astype(np.float64)
    if past.shape[1] < 2:
        past = np.concatenate((past, past), 1)  # one state tells nothing of the noise
    members = starts.members if stochastic else 1
    found = model.forecast(past[:, -2:], starts.leads[-1], members, starts.seed, stochastic)
    kept = found[:, :, np.array(starts.leads) - 1]
    return torch.from_numpy(kept)[:, :, :, None]


def _exact(starts: Starts) -> Tensor:
    from unstir.domains.climate.made.moving_field import field_of

    told = starts.encoding.memory["attributes"]
    field, mean, members = field_of(told), float(told["mean"]), starts.members
    states = np.repeat(starts.states[:, 0, -1].astype(np.float64) - mean, members, 0)
    found = []
    for number in range(1, starts.leads[-1] + 1):
        seeds = Seeds.range(step_seed(starts.seed, number), len(states)).at("exact")
        white = seeds.normal(states.shape[1:], torch.float64).numpy()
        states = field.forecast(states, starts.cases.step, white)
        if number in starts.leads:
            found.append(states + mean)
    ensemble = torch.from_numpy(np.stack(found, 1)).unflatten(0, (len(starts.states), members))
    return ensemble[:, :, :, None]


def _one_pass(judged: Judged, starts: Starts, options: Mapping[str, Any]) -> Tensor:
    from unstir.domains.climate.rivals import one_pass_draw

    return _with_bar("forecasts of the one-pass rival", starts, one_pass_draw(judged, options))
