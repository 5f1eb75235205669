"""The task ``assimilate``: a prior over trajectories, and what sparse, noisy readings leave of it.

The network learns windows of states in time, without any reading. A measurement of such a trajectory, whichever values
were read and however noisily, is then told to a method of ``inverse``, which draws trajectories from the posterior: one
trained prior serves any network of stations.

Reference: Rozet, Louppe, Score-based data assimilation (2023).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.base import Asked, Judged, Judgement
from unstir.domains.climate.cases import ClimateData
from unstir.domains.climate.layout import Layout
from unstir.domains.climate.task import Task
from unstir.domains.climate.tasks.assimilating.assimilation import measured, trajectories
from unstir.domains.climate.windows import variables_of, window_data
from unstir.domains.rows import checked_options

_OWN: dict[str, Any] = {"window": 16, "stride": 1}
_ASKED: dict[str, Any] = {"noise": None, "method": "mmps", "steps": None, "stride": 1}
_TASK = "assimilate"


def read_assimilation(options: Mapping[str, Any]) -> ClimateData:
    """The windows of the recipe's ``data``: the shared options, and ``window`` (16) times, one each ``stride`` (1).

    Raises InputError for options that are none, a window of fewer than two times, and a transform that is not a
    straight line.
    """
    from unstir.domains.climate.files.datasets import SHARED

    told = checked_options(options, {**SHARED, **_OWN}, "option of the data (task 'assimilate'):")
    if isinstance(told["window"], bool) or not isinstance(told["window"], int) or told["window"] < 2:
        raise InputError(f"`data.window: {told['window']!r}`: a trajectory has a whole number of times, at least 2")
    data = window_data(told, told["window"], task=_TASK, stride=told["stride"])
    if bent := [
        each["method"] for each in data.encoding.scaling.channels if each["method"] not in ("standard", "none")
    ]:
        raise InputError(
            f"`data.transform: {bent[0]}`: readings with normal noise need a transform that is a straight line: "
            "standard or none"
        )
    return data


def judge_assimilation(judged: Judged) -> Judgement:
    """Analyses of the test part from simulated readings, beside those of classical filters."""
    from unstir.domains.climate.tasks.assimilating.judging import judge_analyses

    return judge_analyses(judged)


def predict_assimilation(asked: Asked) -> Any:
    """The analysed trajectories behind the user's readings, as an xarray Dataset (member, time, ...).

    The file holds the training data's variables at regular times, NaN where nothing was read. Options: ``noise``, the
    readings' standard deviation in their unit, a number or a mapping by variable (needed); ``method`` and its
    ``steps``; ``stride`` of the windows that a longer trajectory is composed of. A file of fewer times than a window is
    taken for the window's first times.

    Raises InputError for options that are none, a missing noise, other variables or other places than in training.
    """
    from unstir.domains.climate.files.datasets import SHARED, opened
    from unstir.domains.climate.files.writing import as_dataset

    told = checked_options(asked.options, _ASKED, "option of an assimilation:")
    encoding = asked.encoding
    names = list(dict.fromkeys(each.variable for each in encoding.layout.quantities))
    options = {name: encoding.options[name] for name in SHARED if name in encoding.options}
    dataset = opened(
        {**options, "path": str(asked.path), "name": None, "variables": names, "missing": "mask", "options": {}}
    )
    values = _readings(dataset, encoding.layout)
    noise = deviations(told["noise"], encoding.layout)
    count, window = values.shape[1], encoding.layout.shape[1]
    if count < window:
        short = np.full((values.shape[0], window - count, *values.shape[2:]), np.nan)
        values = np.concatenate((values, short), axis=1)
    drawn = trajectories(
        asked.denoiser,
        measured(encoding, values, noise),
        Seeds.range(asked.seed, asked.members),
        told["method"],
        told["steps"],
        window,
        told["stride"],
    )[:, :, :count]
    found = encoding.decode(drawn)  # (members, channels, times, *axes)
    states = Layout(encoding.layout.quantities, encoding.layout.axes[1:], encoding.layout.calendar)
    found = np.moveaxis(found, 2, 1)
    return as_dataset(
        replace(encoding, layout=states),
        found,
        coords={"member": None, "time": dataset["time"].values},
        layout=states,
    )


def deviations(noise: Any, layout: Layout) -> np.ndarray:
    """The readings' standard deviation by channel, (channels, 1, ...), from a number or a mapping by variable."""
    names = [each.variable for each in layout.quantities]
    if isinstance(noise, Mapping):
        if wrong := [name for name in noise if name not in names]:
            raise unknown("variable of the noise:", str(wrong[0]), names)
        given = [noise.get(name) for name in names]
    else:
        given = [noise] * len(names)
    for name, each in zip(names, given, strict=True):
        if isinstance(each, bool) or not isinstance(each, int | float) or not 0 < each < np.inf:
            raise InputError(
                f"noise, the standard deviation of the readings of {name!r} in their unit, is a positive number; seen "
                f"{each!r}: say noise=0.5, or noise={{{name}: 0.5}}"
            )
    return np.array(given, dtype=np.float64).reshape(-1, *[1] * len(layout.axes))


def _readings(dataset: Any, layout: Layout) -> np.ndarray:
    """The values (channels, times, *axes) of a file, whose places must be the training data's."""
    from unstir.domains.climate.windows import WindowCases

    cases = WindowCases(dataset, variables_of(dataset), len(dataset["time"]))
    seen, wanted = cases.layout, layout
    if [each.name for each in seen.quantities] != [each.name for each in wanted.quantities]:
        raise InputError(
            f"the readings' variables are those of the training, {[each.name for each in wanted.quantities]}; seen "
            f"{[each.name for each in seen.quantities]}"
        )
    places = [axis for axis in seen.axes if axis.name != "lead"]
    for axis, own in zip(places, wanted.axes[1:], strict=len(places) != len(wanted.axes[1:])):
        if axis.name != own.name or tuple(axis.values) != tuple(own.values):
            raise InputError(
                f"the readings lie at other places along {axis.name!r} than the training data: give the same grid, "
                "NaN where nothing was read"
            )
    values = cases.target(np.array([0]))[0]
    return values if len(dataset["time"]) > 1 else values[:, None]


def assimilation_network(data: ClimateData) -> dict[str, Any]:
    """A perceptron for small states, a U-Net over time and space for fields."""
    axes = data.encoding.layout.axes
    if int(np.prod(data.shape)) <= 256 or len(axes) > 3:
        return {"name": "mlp", "width": 256, "depth": 4}
    return {"name": "unet", "periodic": [place for place, axis in enumerate(axes) if axis.periodic]}


ASSIMILATE = Task(
    name=_TASK,
    summary="trajectories behind sparse and noisy readings",
    read=read_assimilation,
    judge=judge_assimilation,
    predict=predict_assimilation,
    network=assimilation_network,
)
