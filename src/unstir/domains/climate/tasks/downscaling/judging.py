"""How a downscaling is judged: beside the stages that it is made of, and beside kriging where the law is known."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.base import Judged, Judgement
from unstir.domains.climate.baselines import climatology_ensemble
from unstir.domains.climate.forecasts import MODEL, Forecasts
from unstir.domains.climate.made.gaussian_field import field_law
from unstir.domains.climate.tasks.downscaling.cases import DownscaleCases, Stage, drawn_fields
from unstir.domains.climate.tasks.downscaling.figures import field_figure, spectrum_figure
from unstir.domains.climate.tasks.downscaling.kriging import Kriging
from unstir.domains.climate.tasks.downscaling.wave_numbers import field_spectrum
from unstir.domains.rows import evenly
from unstir.metrics.evaluate import Result
from unstir.scores.crps import crps

OPTIONS: dict[str, Any] = {"cases": 200, "members": 20, "rivals": None, "one_pass": None}
"""What ``evaluation.options`` may say beside what ``judge_forecasts`` takes: how many times of the test part, spread
evenly, are downscaled by how many members; which rivals (all by default); options of the one-pass rival, if wanted."""

_MEMORY = 1 << 29  # bytes of one ensemble
_PAST = 500  # fields of the training part


def judge_downscaling(judged: Judged) -> Judgement:
    """Scores and figures of forecasts without lead, and the power spectra; against kriging how near the model comes."""
    from unstir.domains.climate.judging import judge_forecasts

    told = {**OPTIONS, **{name: value for name, value in judged.options.items() if name in OPTIONS}}
    rest = {name: value for name, value in judged.options.items() if name not in OPTIONS}
    forecasts, coarse = forecasts_of(judged, told)
    judgement = judge_forecasts(forecasts, seed=judged.seed, options=rest)
    encoding: Any = judged.data.encoding
    stage = Stage.restored(encoding)
    axes = forecasts.layout.axes
    waves, observed = field_spectrum(forecasts.observed[:, 0], axes)
    spectra = {name: field_spectrum(each[:, :, 0], axes)[1].mean(1) for name, each in forecasts.ensembles.items()}
    results = [*judgement.results, _spectral(forecasts, spectra, observed)]
    if forecasts.exact:
        results += beside_exact(forecasts)
    figures = [
        field_figure(forecasts, coarse, stage),
        spectrum_figure(forecasts, waves.numpy(), spectra, observed),
        *judgement.figures,
    ]
    return Judgement(results, figures, judgement.remarks)


def forecasts_of(judged: Judged, told: Mapping[str, Any]) -> tuple[Forecasts, np.ndarray]:
    """The ensembles of the model and of its rivals for times of the test part; and the coarse fields behind them.

    Raises InputError where there is no test part.
    """
    data: Any = judged.data
    test = data.test
    if test is None:
        raise InputError("a downscaling is judged on a test part, and the data has none: give data.held_out a share")
    for name in ("cases", "members"):
        if isinstance(told[name], bool) or not isinstance(told[name], int) or told[name] < 1:
            raise InputError(f"evaluation.options.{name} is a whole number and at least 1; seen {told[name]!r}")
    cases: DownscaleCases = test.cases
    members, encoding = told["members"], data.encoding
    most = min(told["cases"], len(cases), max(1, _MEMORY // (8 * members * int(np.prod(test.shape)))))
    rows = evenly(len(cases), most)
    stage, observed, coarse = Stage.restored(encoding), cases.target(rows), cases.coarse(rows)
    times = cases.times[rows]
    consistent = encoding.options["consistent"]

    def drawn(draw: Callable[..., Any]) -> Tensor:
        return torch.from_numpy(drawn_fields(draw, encoding, stage, coarse, times, members, judged.seed, consistent))

    able: dict[str, tuple[Callable[[], Tensor], str]] = {}
    if stage.interpolation is not None:
        able["interpolation"] = (
            lambda: torch.from_numpy(stage.interpolated(coarse))[:, None],
            f"{stage.interpolation}, a single field",
        )
    able["regression"] = (
        lambda: _mean_of(encoding, stage, coarse, times)[:, None],
        "the first stage alone, a single field",
    )
    able["regression with noise"] = (
        lambda: _with_noise(encoding, stage, coarse, times, members, judged.seed, _deviations(data.cases)),
        "normal noise of the residual's deviation added, place by place",
    )
    able["climatology"] = (
        lambda: _climatology(data.cases, times, members, judged.seed),
        "fields of the training part, drawn at random",
    )
    kriging = kriging_of(encoding, stage)
    if kriging is not None:
        able["kriging"] = (
            lambda: kriging.draw(_flat(coarse), members, judged.seed)[:, :, None],
            "draws of the exact law given the coarse field",
        )
    if told["one_pass"] is not None:
        able["one-pass"] = (
            lambda: drawn(_one_pass(judged, told["one_pass"])),
            "a network of one call, trained on the fair score of its ensembles",
        )
    wanted = list(able) if told["rivals"] is None else list(told["rivals"])
    for name in wanted:
        if name not in able:
            raise unknown("rival of a downscaling (evaluation.options.rivals):", str(name), able)
    ensembles, notes = {MODEL: drawn(judged.draw)}, {MODEL: "the first stage and a drawn residual"}
    for name in wanted:
        ensembles[name], notes[name] = able[name][0](), able[name][1]
    forecasts = Forecasts(
        ensembles={name: values[:, :, None] for name, values in ensembles.items()},
        observed=torch.from_numpy(observed)[:, None],
        starts=times,
        leads=np.zeros(1),
        lead_unit="",
        layout=encoding.layout,
        climatology=_past(data.cases)[0],
        block=_block(rows, len(cases), encoding.memory["law"] is not None),
        exact="kriging" if "kriging" in ensembles else "",
        notes=notes,
    )
    return forecasts, coarse


def kriging_of(encoding: Any, stage: Stage) -> Kriging | None:
    """The exact law given the means of blocks, where the data is a Gaussian field of known law."""
    told = encoding.memory["law"]
    if told is None or stage.grids.factor is None:
        return None
    law = field_law(**json.loads(told))
    if law.size != encoding.layout.shape[1:] or law.size[0] * law.size[1] > 4096:
        return None  # a part of the field was selected, or matrices would be too large
    return Kriging(law, torch.from_numpy(stage.grids.matrix()))


def _spectral(forecasts: Forecasts, spectra: Mapping[str, Tensor], observed: Tensor) -> Result:
    """How far the drawn fields' spectrum is from that of the test part: the mean over wave numbers of |log ratio|."""
    began = time.perf_counter()

    powers = {name: told.mean(0, keepdim=True) for name, told in spectra.items()}
    observed_mean = observed.mean(0, keepdim=True)
    own = spectra[MODEL]
    chosen = Seeds.range(0, 300).at("downscale", "spectrum").integers(0, len(own), (len(own),))
    drawn, seen = own[chosen].mean(1), observed[chosen].mean(1)
    spread = (drawn / seen).log().abs().flatten(1).nanmean(1)
    ends = torch.quantile(spread, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    values = {name: float((told / observed_mean).log().abs().nanmean()) for name, told in powers.items()}
    exact = values.get(forecasts.exact)
    return Result(
        metric="spectrum",
        value=values[MODEL],
        interval=(min(ends[0], values[MODEL]), max(ends[1], values[MODEL])),
        floor={} if exact is None else {"value": exact, "interval": (exact, exact), "of": "the exact law"},
        baselines={name: value for name, value in values.items() if name not in (MODEL, forecasts.exact)},
        ideal=0.0,
        better="lower",
        unit="log ratio",
        n_samples=len(own),
        n_reference=len(own),
        seconds=round(time.perf_counter() - began, 3),
        features="power of single fields by wave number",
        note="Mean over wave numbers of the absolute log ratio to the power of the fields that came true",
    )


def beside_exact(forecasts: Forecasts) -> list[Result]:
    """How near the model comes to what none can beat: its scores over those of as many members of the exact law."""
    began = time.perf_counter()
    weights = torch.from_numpy(forecasts.layout.weights())
    found = []
    observed = forecasts.observed[:, 0]

    def squared(name: str) -> Tensor:
        ensemble = forecasts.ensembles[name][:, :, 0]
        away = (ensemble.mean(1) - observed).square()
        if ensemble.shape[1] > 1:
            away = away - ensemble.var(1) / ensemble.shape[1]  # what the mean of so few members errs by chance
        return (away * weights).flatten(1).nanmean(1)

    def fair_crps(name: str) -> Tensor:
        return (crps(forecasts.ensembles[name][:, :, 0], observed) * weights).flatten(1).nanmean(1)

    seeds = Seeds.range(0, 500).at("downscale", "ratio")
    chosen = seeds.integers(0, len(observed), (len(observed),))
    for name, parts, root, unit in (
        ("rmse-over-exact", squared, True, "of the means' root mean squared errors"),
        ("crps-over-exact", fair_crps, False, "of the fair CRPS"),
    ):
        exact = parts(forecasts.exact)

        def ratio(of: Tensor, index: Any = slice(None), root: bool = root, exact: Tensor = exact) -> Tensor:
            share = of[index].mean(-1) / exact[index].mean(-1)
            return share.sqrt() if root else share

        mine = parts(MODEL)
        ends = torch.quantile(ratio(mine, chosen), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        others = [name for name in forecasts.ensembles if name not in (MODEL, forecasts.exact)]
        found.append(
            Result(
                metric=name,
                value=float(ratio(mine)),
                interval=(ends[0], ends[1]),
                floor={"value": 1.0, "interval": (1.0, 1.0), "of": "the exact law"},
                baselines={other: float(ratio(parts(other))) for other in others},
                ideal=1.0,
                better="lower",
                unit="1",
                n_samples=len(observed),
                n_reference=len(observed),
                seconds=round(time.perf_counter() - began, 3),
                features="fields in the data's units",
                note=f"Ratio {unit}, model to {forecasts.exact} of as many members",
            )
        )
    return found


def _one_pass(judged: Judged, options: Mapping[str, Any]) -> Callable[..., Any]:
    from unstir.domains.climate.rivals import one_pass_draw

    return one_pass_draw(judged, options)


def _flat(coarse: np.ndarray) -> Tensor:
    return torch.from_numpy(coarse).flatten(1)


def _mean_of(encoding: Any, stage: Stage, coarse: np.ndarray, times: np.ndarray) -> Tensor:
    return torch.from_numpy(encoding.decode(torch.from_numpy(stage.told(coarse, times)["centre"])))


def _deviations(cases: DownscaleCases) -> np.ndarray:
    """Of what the first stage misses in the training part, at every place: states' units, (channels, *fine)."""
    stage = cases.stage
    assert stage is not None
    rows = _spread(len(cases))
    coarse, factors = cases.coarse(rows), stage.factors.reshape(-1, *(1,) * len(stage.grids.fine))
    encoded = stage.fine.encode(torch.from_numpy(cases.target(rows))).numpy() * factors
    return np.nan_to_num(np.nanstd(encoded - stage.told(coarse, cases.times[rows])["centre"], axis=0), nan=0.0)


def _with_noise(
    encoding: Any,
    stage: Stage,
    coarse: np.ndarray,
    times: np.ndarray,
    members: int,
    seed: int,
    deviations: np.ndarray,
) -> Tensor:
    centre = torch.from_numpy(stage.told(coarse, times)["centre"]).repeat_interleave(members, 0)
    white = Seeds.range(seed, len(centre)).at("regression with noise").normal(centre.shape[1:])
    values = encoding.decode(centre + torch.from_numpy(deviations).float() * white)
    return torch.from_numpy(values).unflatten(0, (len(coarse), members))


def _climatology(cases: DownscaleCases, at: np.ndarray, members: int, seed: int) -> Tensor:
    values, times = _past(cases)
    assert cases.stage is not None
    window = 45.0 if "season" in cases.stage.clock else None
    return climatology_ensemble(values, times, at, members, Seeds.range(seed, len(at)), window)


def _past(cases: DownscaleCases) -> tuple[Tensor, np.ndarray]:
    rows = _spread(len(cases))
    return torch.from_numpy(cases.target(rows)), cases.times[rows]


def _spread(count: int) -> np.ndarray:
    return evenly(count, _PAST)


def _block(rows: np.ndarray, count: int, independent: bool) -> int:
    """Judged times of some ten days, if they are daily, hang together; those of a made field do not."""
    spacing = max(1.0, count / len(rows))
    return 1 if independent else max(1, min(len(rows) // 4, round(10 / spacing)))
