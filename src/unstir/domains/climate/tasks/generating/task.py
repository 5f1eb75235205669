"""The task ``generate``: windows of weather that never was, as those of the record are, and rare events among them.

What is judged: whether quantiles, tails, memory in time, spectrum and covariance of generated windows are those of the
test part; and how often an event comes, beside the record, the generalised Pareto law fitted to it and, where the
dynamics are known, a long simulation.

Reference: Wilks, Wilby, The weather generation game (1999), for what such generators are for and are judged by.
"""

from collections.abc import Mapping
from typing import Any

from unstir.core.errors import InputError, unknown
from unstir.domains.base import Judged, Judgement
from unstir.domains.climate.cases import ClimateData
from unstir.domains.climate.task import Task

_OWN: dict[str, Any] = {"length": 4, "stride": 1, "season": 0}
_TASK = "generate"


def read_generate(options: Mapping[str, Any]) -> ClimateData:
    """Windows of the recipe's ``data``: the shared options, and those of this task.

    ``length`` (4) times in a row are a window, one beginning at each ``stride``-th (1); with ``season``, so many pairs
    of harmonics of the day of the year at its beginning are told beforehand.

    Raises InputError for options that are none, and for data without a whole window.
    """
    from unstir.domains.climate.files.datasets import SHARED
    from unstir.domains.climate.windows import window_data

    for name in options:
        if name not in SHARED and name not in _OWN:
            raise unknown("option of the task 'generate' (data.*):", str(name), [*SHARED, *_OWN])
    told = {**SHARED, **_OWN, **options}
    season = told["season"]
    if isinstance(season, bool) or not isinstance(season, int) or season < 0:
        raise InputError(f"data.season, pairs of harmonics of the year, is a whole number from 0; seen {season!r}")
    return window_data(told, told["length"], task=_TASK, stride=told["stride"], season=season)


def network(data: Any) -> dict[str, Any]:
    """A perceptron for small windows; a U-Net over time and space for larger ones of at most three axes."""
    axes = data.encoding.layout.axes
    numbers = 1
    for size in data.shape:
        numbers *= size
    if numbers <= 128 or not 1 <= len(axes) <= 3 or any(axis.name == "station" for axis in axes):
        return {"name": "mlp", "width": 256, "depth": 4}
    # along a periodic axis the network halves only what is even
    levels = 2 if all(len(axis) % 2 == 0 or not axis.periodic for axis in axes) else 1
    periodic = [place for place, axis in enumerate(axes) if axis.periodic]
    return {"name": "unet", "widths": [32, 64][:levels], "periodic": periodic}


def judge(judged: Judged) -> Judgement:
    """Generated windows beside the test part's; see ``generator_judging``."""
    from unstir.domains.climate.tasks.generating.judging import judge_windows

    return judge_windows(judged)


GENERATE = Task(
    name=_TASK,
    summary="windows of weather as the record has them, and rare events with their return period",
    read=read_generate,
    judge=judge,
    network=network,
)
