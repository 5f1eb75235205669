"""The task ``post-process``: a raw ensemble, at a station or on a grid, becomes one whose probabilities hold.

What is told is the ensemble's sorted members, the season, further predictors and the last values observed; what is
learnt is the law of what came true. See ``predictors`` for what is told how, and for the zeros of rain.

Reference: Vannitsem et al., Statistical postprocessing for weather forecasts (2021), for the problem; Rasp, Lerch,
Neural networks for postprocessing ensemble weather forecasts (2018), for networks on it.
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
from unstir.domains.climate.ensembles import ensemble_for
from unstir.domains.climate.layout import Layout
from unstir.domains.climate.scaling import fit_scaling, methods_for
from unstir.domains.climate.task import Task
from unstir.domains.climate.tasks.post_processing.cases import BY, COPIES, PostCases
from unstir.domains.climate.tasks.post_processing.judging import JUDGING, forecasts_of
from unstir.domains.climate.tasks.post_processing.pairing import Pairs, pairs_of
from unstir.domains.climate.tasks.post_processing.predictors import Calibration, bounds_of, calibration_of

_OWN: dict[str, Any] = {
    "ensemble": None,
    "observed": None,
    "observations": None,
    "predictors": [],
    "history": 0,
    "season": "auto",
    "fold": None,
}
_PREDICT = ("observations",)


def read_post_process(options: Mapping[str, Any]) -> ClimateData:
    """The cases of the recipe's ``data``: the shared options (``datasets.opened``), and those of this task.

    - ``ensemble``, ``observed``: the variables' names; found by themselves where only one has members, and only one has
      none. ``observations``: another file that holds what was observed, looked up at start plus lead.
    - ``predictors``: further variables of the ensemble's file that are told.
    - ``history``: how many last values, observed before the start, are told; or by variable, ``{rmm1: 5, rmm2: 5}``.
    - ``season``: pairs of harmonics of the day of the year; ``auto`` is 1 for dates and 0 for plain numbers.
    - ``fold``: ``[k, n]`` tests on the k-th (from 1) of n blocks of the times and learns from all others, a gap around
      it: for data that is short. Without it the test is what comes last (``splits.parts_of``).

    Raises InputError for options that are none, and for data that does not go together.
    """
    from unstir.domains.climate.files.datasets import SHARED

    told = _checked({**SHARED, **_OWN, **options}, {**SHARED, **_OWN}, "option of the task 'post-process' (data.):")
    pairs = pairs_of(told)
    if told["season"] == "auto":
        told["season"] = 0 if pairs.times.dtype.kind in "fiu" else 1
    if isinstance(told["season"], bool) or not isinstance(told["season"], int) or told["season"] < 0:
        raise InputError(f"`data.season: {told['season']!r}`: a number of harmonics, 0 or more, or auto")
    train, choose, test = (pairs.known(rows) for rows in _parts(pairs.times, told))
    if not len(train):
        raise InputError("no forecast of the training part is whole: look for missing members, predictors or outcomes")
    methods = methods_for(told["transform"], pairs.layout.quantities)
    pieces = (train[first : first + BY] for first in range(0, len(train), BY))
    scaling = fit_scaling((pairs.target(rows) for rows in pieces), methods)
    calibration = calibration_of(pairs, train, choose, scaling, bounds_of(scaling), told["season"])
    encoding = ClimateEncoding(
        "post-process", pairs.layout, scaling, told, {"calibration": calibration.record(), "members": _size(pairs)}
    )
    copies = 1 if bool((bounds_of(scaling) == -torch.inf).all()) else COPIES
    name = str(told["name"] or told["path"])
    made = {
        part: ClimateData(
            name if part == "train" else f"{name} ({part})",
            encoding,
            PostCases(pairs, rows, calibration, scaling, copies if part == "train" else 1, int(told["seed"])),
        )
        for part, rows in (("train", train), ("validation", choose), ("test", test))
        if len(rows)
    }
    width = made["train"].cases.given(np.zeros(1, dtype=np.int64))["given"].shape[1]
    kind = "channels" if pairs.layout.axes else "size"
    conditions = {"given": {kind: width}, "centre": {"channels": len(pairs.layout.quantities)}}
    made = {part: replace(each, conditions=conditions) for part, each in made.items()}
    return replace(made["train"], validation=made.get("validation"), test=made.get("test"))


def _size(pairs: Pairs) -> int:
    return pairs.members(np.zeros(1, dtype=np.int64)).shape[1]


def _checked(told: dict[str, Any], allowed: Mapping[str, Any], what: str) -> dict[str, Any]:
    for name in told:
        if name not in allowed:
            raise unknown(what, str(name), allowed)
    return told


def _parts(times: np.ndarray, told: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from unstir.domains.climate.splits import parts_of

    fold = told["fold"]
    if fold is None:
        parts = parts_of(times, told)
        return parts.train, parts.validation, parts.test
    whole = isinstance(fold, list | tuple) and len(fold) == 2 and all(type(each) is int for each in fold)
    if not whole or not 1 <= fold[0] <= fold[1] or not 3 <= fold[1] <= len(times):
        raise InputError(f"`data.fold: {fold!r}`: [k, n] is needed, the k-th of at least 3 blocks, such as [1, 5]")
    number, count = fold
    ends = np.linspace(0, len(times), count + 1).round().astype(int)
    test = np.arange(ends[number - 1], ends[number])
    # the block behind the test (around the end of the record) is what settings are chosen by
    chosen = number % count
    choose = np.arange(ends[chosen], ends[chosen + 1])
    near = np.zeros(len(times), dtype=bool)
    for block in (test, choose):
        gap = {**told, "held_out": 0, "validation": 0, "train_from": None, "train_to": None, "test_from": None}
        near |= _near(times, block, gap["gap"])
    choose = choose[~_near(times, test, told["gap"])[choose]]
    return np.flatnonzero(~near), choose, test


def _near(times: np.ndarray, block: np.ndarray, gap: Any) -> np.ndarray:
    """Whether each time lies in the block, or nearer to it than the gap."""
    from unstir.domains.climate.splits import duration

    places = np.arange(len(times))
    if isinstance(gap, int):
        return (places >= block[0] - gap) & (places <= block[-1] + gap)
    span = gap if times.dtype.kind in "fiu" else duration(gap, "data.gap", like=times)
    return (times > times[block[0]] - span) & (times < times[block[-1]] + span)


def judge_post_process(judged: Judged) -> Judgement:
    """The calibrated ensemble beside the raw one, climatology, persistence, EMOS and a one-pass generator.

    ``evaluation.options``: ``members`` (50), ``part`` to judge by (test; validation to choose settings by), ``most``
    cases (all), ``climatology_days`` to either side of the season that climatology is drawn from (all of the year),
    ``one_pass``: options of the rival (null for none); others are the judgement's own.
    """
    from unstir.domains.climate.judging import judge_forecasts

    own = {name: judged.options.get(name, default) for name, default in JUDGING.items()}
    others = {name: value for name, value in judged.options.items() if name not in JUDGING}
    return judge_forecasts(forecasts_of(judged, own), seed=judged.seed, options=others)


def predict_post_process(asked: Asked) -> Any:
    """The calibrated ensemble for a file of raw ensembles like the run's; ``observations`` names one of last values.

    An xarray Dataset of the observed quantities (time, member[, lead, ...]).
    """
    from unstir.domains.climate.files.writing import as_dataset

    for name in asked.options:
        if name not in _PREDICT:
            raise unknown("option of the prediction", str(name), _PREDICT)
    encoding: ClimateEncoding = asked.encoding
    beside = asked.options.get(
        "observations", encoding.options["observations"] if encoding.options["history"] else None
    )
    told = {**encoding.options, "path": str(asked.path), "name": None, "observations": beside, "missing": "mask"}
    pairs = pairs_of(told, observations=False)
    if pairs.layout.shape != encoding.layout.shape or [a.name for a in pairs.layout.axes] != [
        a.name for a in encoding.layout.axes
    ]:
        raise InputError(
            f"{asked.path}: its forecasts are of the shape {_told(pairs.layout)}, those that this model was trained on "
            f"of {_told(encoding.layout)}"
        )
    if _size(pairs) != encoding.memory["members"]:
        raise InputError(
            f"{asked.path}: its ensembles have {_size(pairs)} members, those that this model was trained on "
            f"{encoding.memory['members']}: it reads them in their order of size, so that as many are needed"
        )
    rows = pairs.known(np.arange(len(pairs.times)), observed=False)
    if not len(rows):
        raise InputError(f"{asked.path}: no forecast is whole; look for missing members, predictors or last values")
    calibration = Calibration.restored(encoding.memory["calibration"])
    cases = PostCases(pairs, rows, calibration, encoding.scaling, 1, int(encoding.options["seed"]))
    width = cases.given(np.zeros(1, dtype=np.int64))["given"].shape[1]
    kind = "channels" if pairs.layout.axes else "size"
    conditions = {"given": {kind: width}, "centre": {"channels": len(encoding.layout.quantities)}}
    data = ClimateData(str(asked.path), encoding, cases, conditions)
    values = ensemble_for(asked.draw, data, np.arange(len(cases)), asked.members, asked.seed)
    return as_dataset(encoding, values.numpy(), times=pairs.times[rows])


def _told(layout: Layout) -> str:
    return ", ".join([f"{len(layout.quantities)} channel(s)", *(f"{len(axis)} {axis.name}" for axis in layout.axes)])


def post_process_network(data: ClimateData) -> dict[str, Any]:
    """A perceptron that drops some of what it learns, since records are short; a U-Net for maps."""
    space = [axis for axis in data.encoding.layout.axes if axis.name not in ("station", "lead")]
    if not 1 <= len(space) <= 3 or len(space) != len(data.encoding.layout.axes):
        return {"name": "mlp", "width": 64, "depth": 2, "embedding": 64, "dropout": 0.2}
    return {"name": "unet", "periodic": [place for place, axis in enumerate(space) if axis.periodic]}


POST_PROCESS = Task(
    name="post-process",
    summary="a raw ensemble becomes a calibrated one, at a station or on a grid",
    read=read_post_process,
    judge=judge_post_process,
    predict=predict_post_process,
    network=post_process_network,
)
