"""The task ``downscale``: the fine field behind a coarse one, a regression's mean and a drawn residual.

The coarse field is the mean of blocks of the fine one, or another dataset of the same times on a coarser grid.

Reference: Mardani et al., Residual corrective diffusion modeling for km-scale atmospheric downscaling (2023),
section 3.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.base import Asked, Judged, Judgement
from unstir.domains.climate.cases import ClimateData
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.layout import Layout
from unstir.domains.climate.task import Task
from unstir.domains.climate.tasks.downscaling.cases import (
    DownscaleCases,
    Stage,
    checked_clock,
    clock_of,
    common_times,
    drawn_fields,
    places_within,
    scaled_by,
)
from unstir.domains.climate.tasks.downscaling.coarsening import CONSISTENCIES, INTERPOLATIONS, Grids, between, blocks
from unstir.domains.climate.tasks.downscaling.regression import fit_regression

_TASK = "downscale"
_OWN: dict[str, Any] = {
    "factor": 4,
    "coarse": None,
    "interpolation": "linear",
    "regression": {},
    "clock": "auto",
    "consistent": "none",
}
_REGRESSION = ("radius", "shared", "penalty")
_COARSE = ("path", "variables", "rename", "units", "select", "fill", "missing", "transform")
_PREDICT = ("consistent",)
_DRAWS = 2000  # at a time, when predicting


def read_downscale(options: Mapping[str, Any]) -> ClimateData:
    """The cases of the recipe's ``data``: the shared options, and those of this task.

    - ``factor`` (4): the coarse field is the means by area of blocks of so many places along each axis;
    - ``coarse``: or another dataset, a path or ``{path: ..., variables: ...}`` with the options that a dataset has, of
      the same times and region; the times that both have are taken;
    - ``interpolation``: linear, cubic or nearest, which the regression corrects and is judged beside;
    - ``regression``: ``radius`` (2) in coarse cells, ``shared``, ``penalty``; see ``fit_regression``;
    - ``clock``: a list of season and hour, told to regression and network, or auto;
    - ``consistent``: none; shift or scale to give every ensemble member the blocks' means, see ``Grids.kept``.

    Variables without time (an orography) are told to the network. Raises InputError for options that are none, and
    for data that lies on no grid.
    """
    from unstir.domains.climate.files.datasets import SHARED, digest_of, layout_of, opened
    from unstir.domains.climate.files.reading import Rows
    from unstir.domains.climate.scaling import fit_scaling, methods_for, multiplied
    from unstir.domains.climate.splits import parts_of
    from unstir.domains.climate.static import static_maps
    from unstir.domains.climate.windows import variables_of

    told = _checked({**SHARED, **_OWN, **options}, SHARED)
    dataset = opened({name: told[name] for name in SHARED})
    variables = variables_of(dataset)
    layout = layout_of(dataset[variables])
    _check_space(layout, "the data")
    fine = Rows(dataset[variables], told["missing"])
    source, times = digest_of(dataset), dataset["time"].values
    if told["coarse"] is None:
        grids, coarse, own, theirs = blocks(layout.axes, told["factor"], layout.weights()), None, None, None
        quantities = layout.quantities
    else:
        other = _along(_coarse_dataset(told, {name: SHARED[name] for name in SHARED}, variables), layout.names)
        seen = layout_of(other)
        _check_space(seen, "the coarse data")
        grids, coarse, quantities = between(layout.axes, seen.axes, layout.weights()), Rows(other), seen.quantities
        own, theirs = common_times(times, other["time"].values)
        times, source = times[own], source + digest_of(other)

    parts = parts_of(times, told)
    cases = {
        name: DownscaleCases(
            fine,
            rows if own is None else own[rows],
            grids,
            coarse,
            None if theirs is None else theirs[rows],
            source,
        )
        for name, rows in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
        if len(rows)
    }
    train = cases["train"]
    ways = methods_for(told["transform"], layout.quantities)
    base = fit_scaling((train.target(rows) for rows in train.chunks()), ways)
    if coarse is None:
        # at any place of the coarse grid alike: the regression knows places by their weights
        methods = [{key: value for key, value in each.items() if key != "per"} for each in ways]
    else:
        methods = methods_for(_as_mapping(told["coarse"]).get("transform", "standard"), quantities)
    seen_scaling = fit_scaling((train.coarse(rows) for rows in train.chunks()), methods)
    same = [(each.name, each.unit) for each in quantities[: len(layout.quantities)]]
    alike = same == [(each.name, each.unit) for each in layout.quantities]
    clock = checked_clock(told["clock"], times)
    maps, names = static_maps(dataset, variables, layout)
    maps = np.concatenate((maps, places_within(grids)))
    stage = _fitted(cases, grids, (seen_scaling, base), told, (told["interpolation"] if alike else None, clock, maps))
    memory = {
        "stage": stage.record(),
        "maps": names,
        "variables": [each.name for each in quantities],
        "units": {each.variable: each.unit for each in quantities},
        "law": dataset.attrs.get("gaussian_field"),
    }
    encoding = ClimateEncoding(_TASK, layout, multiplied(base, stage.factors), told, memory)
    conditions = stage.conditions(len(layout.quantities))
    name = str(told["name"] or told["path"])
    made = {}
    for part, each in cases.items():
        each.stage = stage
        made[part] = ClimateData(name if part == "train" else f"{name} ({part})", encoding, each, conditions)
    return replace(made["train"], validation=made.get("validation"), test=made.get("test"))


def _fitted(
    cases: Mapping[str, DownscaleCases], grids: Grids, scalings: tuple[Any, Any], told: Mapping[str, Any], more: Any
) -> Stage:
    """The regression of the training part, and the factors that give what it misses a deviation of 1."""
    (seen, base), (interpolation, clock, maps) = scalings, more
    ones = np.ones(len(base.channels))
    bare = Stage(grids, seen, base, interpolation, None, ones, maps, clock)

    def missed(part: DownscaleCases) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for rows in part.chunks():
            coarse, targets = part.coarse(rows), part.target(rows)
            encoded = ClimateEncoding(_TASK, _NOWHERE, base).encode(targets).double().numpy()
            yield encoded - bare.base(coarse), scaled_by(seen, coarse), clock_of(part.times[rows], clock)

    apart = cases.get("validation")
    regression = fit_regression(
        grids, lambda: missed(cases["train"]), None if apart is None else lambda: missed(apart), **told["regression"]
    )
    squares, counts = np.zeros(len(ones)), np.zeros(len(ones))
    for away, coarse, season in missed(cases["train"]):
        left = away - regression(coarse, season)
        within = (0, *range(2, left.ndim))
        squares += np.nansum(left**2, axis=within)
        counts += np.isfinite(left).sum(axis=within)
    deviation = np.sqrt(squares / np.maximum(counts, 1))
    if not (deviation > 1e-6).all():
        raise InputError(
            "the regression misses nothing of the fine field in the training part: there is nothing left to draw; look "
            "at the data, or take a larger data.factor"
        )
    return replace(bare, regression=regression, factors=1 / deviation)


_NOWHERE = Layout(())


def network(data: Any) -> dict[str, Any]:
    """A U-Net of two levels, folded into patches of two places where the sides allow."""
    axes = data.encoding.layout.axes
    even = all(len(axis) % 4 == 0 and len(axis) >= 16 for axis in axes)
    periodic = [place for place, axis in enumerate(axes) if axis.periodic]
    return {"name": "unet", "widths": [48, 64], "blocks": 1, "patch": 2 if even else 1, "periodic": periodic}


def process(data: Any) -> dict[str, Any]:
    """Noise by a cosine schedule, whose end is noise alone, wherever the belief is centred."""
    return {"name": "gaussian", "schedule": {"name": "cosine"}}


def judge(judged: Judged) -> Judgement:
    """Ensembles for the test part beside their rivals; see ``downscale_judging``."""
    from unstir.domains.climate.tasks.downscaling.judging import judge_downscaling

    return judge_downscaling(judged)


def predict(asked: Asked) -> Any:
    """An ensemble of fine fields for each time of the user's coarse file, as a Dataset (time, member, ...).

    ``asked.options``: ``consistent``, else as the run was told. Raises InputError for other options, and a file whose
    variables or grid are not the coarse ones of the training.
    """
    from unstir.domains.climate.files.datasets import SHARED, layout_of, opened
    from unstir.domains.climate.files.reading import Rows
    from unstir.domains.climate.files.writing import as_dataset

    for name in asked.options:
        if name not in _PREDICT:
            raise unknown("option of a downscaling", str(name), _PREDICT)
    encoding: ClimateEncoding = asked.encoding
    stage, memory, told = Stage.restored(encoding), encoding.memory, encoding.options
    how = _consistent(asked.options.get("consistent", told["consistent"]), stage.grids.factor)
    source = told if told["coarse"] is None else {**SHARED, **_as_mapping(told["coarse"])}
    own = {name: source.get(name, SHARED[name]) for name in ("rename", "fill", "missing", "memory")}
    names = list(memory["units"])
    # whatever the file's units are, the run knows its own
    own["units"] = {name: unit for name, unit in memory["units"].items() if unit not in ("", "1")}
    own["units"] |= {
        name: each for name, each in source["units"].items() if name in names and isinstance(each, Mapping)
    }
    dataset = opened({**SHARED, **own, "path": str(asked.path), "variables": names})[names]
    layout = layout_of(dataset)
    _check_coarse(layout, stage.grids, memory["variables"], str(asked.path))
    dataset = _along(dataset, encoding.layout.names)
    rows, times = Rows(dataset, told["missing"]), dataset["time"].values
    step = max(1, _DRAWS // asked.members)
    found = []
    for first in range(0, len(rows), step):
        part = np.arange(first, min(first + step, len(rows)))
        coarse = np.asarray(rows.values(part), dtype=np.float64)
        seed = int(Seeds.range(asked.seed, 1).at("downscale", first).words(1))
        found.append(drawn_fields(asked.draw, encoding, stage, coarse, times[part], asked.members, seed, how))
    return as_dataset(encoding, np.concatenate(found).astype(np.float32), times=times)


DOWNSCALE = Task(
    name=_TASK,
    summary="the fine field behind a coarse one: a regression's mean and a drawn residual",
    read=read_downscale,
    judge=judge,
    predict=predict,
    network=network,
    process=process,
)


def _checked(told: dict[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    for name in told:
        if name not in shared and name not in _OWN:
            raise unknown("option of the task 'downscale' (data.*):", str(name), [*shared, *_OWN])
    if told["interpolation"] not in INTERPOLATIONS:
        raise unknown("interpolation (data.interpolation):", str(told["interpolation"]), INTERPOLATIONS)
    if not isinstance(told["regression"], Mapping):
        raise InputError(f"`data.regression: {told['regression']!r}`: a mapping is needed, such as {{radius: 2}}")
    for name in told["regression"]:
        if name not in _REGRESSION:
            raise unknown("option of the regression (data.regression):", str(name), _REGRESSION)
    told["consistent"] = _consistent(told["consistent"], told["factor"] if told["coarse"] is None else None)
    return told


def _consistent(told: Any, factor: int | None) -> str:
    if told not in CONSISTENCIES:
        raise unknown("way to keep the means of blocks (data.consistent):", str(told), CONSISTENCIES)
    if told != "none" and factor is None:
        raise InputError(
            f"`data.consistent: {told}` keeps the means of blocks, and coarse data of another grid has none: take none"
        )
    return told


def _as_mapping(told: Any) -> dict[str, Any]:
    found = {"path": told} if isinstance(told, str | list) else dict(told) if isinstance(told, Mapping) else None
    if found is None or "path" not in found:
        raise InputError(f"`data.coarse: {told!r}`: a path is needed, or a mapping with path and variables")
    for name in found:
        if name not in _COARSE:
            raise unknown("option of the coarse data (data.coarse):", str(name), _COARSE)
    return found


def _coarse_dataset(told: Mapping[str, Any], shared: Mapping[str, Any], first: list[str]) -> Any:
    """The coarse data, the variables of the fine data ahead of all others where it has them."""
    from unstir.domains.climate.files.datasets import opened
    from unstir.domains.climate.windows import variables_of

    mine = {name: value for name, value in _as_mapping(told["coarse"]).items() if name != "transform"}
    dataset = opened({**shared, "memory": told["memory"], "calendar": told["calendar"], **mine})
    names = variables_of(dataset)
    return dataset[[*(name for name in first if name in names), *(name for name in names if name not in first)]]


def _along(dataset: Any, names: tuple[str, ...]) -> Any:
    """The dataset with these axes last, in this order, where it has them all."""
    return dataset.transpose(..., *names) if set(names) <= set(dataset.dims) else dataset


def _check_space(layout: Layout, what: str) -> None:
    for axis in layout.axes:
        if axis.name in ("lead", "station"):
            raise InputError(
                f"{what} lies along {axis.name!r}, which is no axis of space: select one of it with data.select, or "
                "take data on a grid"
            )
    if not 1 <= len(layout.axes) <= 3:
        raise InputError(
            f"{what} needs one to three axes of space to be downscaled along; seen {', '.join(layout.names) or 'none'}"
        )


def _check_coarse(layout: Layout, grids: Grids, names: list[str], path: str) -> None:
    if [each.name for each in layout.quantities] != names:
        raise InputError(
            f"{path}: the run was told {', '.join(names)}; seen {', '.join(each.name for each in layout.quantities)}"
        )
    for wanted in grids.coarse:
        seen = layout.axis(wanted.name)
        if seen is None or len(layout.axes) != len(grids.coarse):
            raise InputError(
                f"{path}: the coarse grid of the training lies along {', '.join(each.name for each in grids.coarse)}; "
                f"seen {', '.join(layout.names) or 'no axis'}"
            )
        first, second = (np.asarray(each.values, dtype=np.float64) for each in (seen, wanted))
        if len(first) != len(second) or not np.allclose(first, second, atol=1e-3 * np.abs(np.diff(second)).max()):
            raise InputError(
                f"{path}: along {wanted.name!r} the run was trained on {len(second)} coarse places from {second[0]:g} "
                f"to {second[-1]:g}; seen {len(first)} from {first[0]:g} to {first[-1]:g}: average the file to that "
                "grid"
            )
