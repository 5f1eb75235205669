"""A task of the field: what is told from what, and how it is judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from unstir.core.errors import unknown
from unstir.domains.base import Asked, Judged, Judgement
from unstir.domains.climate.cases import ClimateData
from unstir.domains.climate.files.writing import check_target, save

TASKS = {
    "post-process": "post_processing:POST_PROCESS",
    "forecast": "forecasting:FORECAST",
    "downscale": "downscaling:DOWNSCALE",
    "generate": "generating:GENERATE",
    "assimilate": "assimilating:ASSIMILATE",
}


@dataclass(frozen=True)
class Task:
    """One task, a frozen dataclass of functions like the field itself.

    ``read(options)``: the options of a recipe's ``data`` without ``task``, to data with its parts in time.
    ``judge(judged)``: its measures and figures; tasks that forecast end it with ``judge_forecasts(forecasts, ...)``.
    ``predict(asked)``: an xarray Dataset of an ensemble (dimension ``member``) for new input.
    ``network(data)``: the specification of a network; the field's own proposal (MLP or U-Net by the axes) if None.
    ``process(data)``: of a process; None for Gaussian noise by EDM's schedule.
    """

    name: str
    summary: str
    read: Callable[[Mapping[str, Any]], ClimateData]
    judge: Callable[[Judged], Judgement]
    predict: Callable[[Asked], Any] | None = None
    network: Callable[[ClimateData], dict[str, Any]] | None = None
    process: Callable[[ClimateData], dict[str, Any]] | None = None


def task_of(name: Any) -> Task:
    """The task of that name; InputError, with the nearest right one, for another."""
    if name not in TASKS:
        raise unknown("task of the field 'climate' (data.task):", str(name), TASKS)
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(f"unstir.domains.climate.tasks.{module}.task"), attribute)


def read_climate(options: Mapping[str, Any]) -> ClimateData:
    """The data of the task that ``options["task"]`` names; the other options are the task's."""
    rest = {key: value for key, value in options.items() if key != "task"}
    if rest.get("path") is not None:
        rest.update(name=None, options={})  # a file of one's own takes the place of a recipe's embedded data
    return task_of(options.get("task")).read(rest)


def default_network(data: Any) -> dict[str, Any]:
    """The task's proposal, or a perceptron for what has no axes of space and a U-Net for what has."""
    task = task_of(data.encoding.task)
    if task.network is not None:
        return task.network(data)
    space = [axis for axis in data.encoding.layout.axes if axis.name != "station"]
    if not 1 <= len(space) <= 3 or len(space) != len(data.encoding.layout.axes):
        return {"name": "mlp"}
    # a U-Net of two levels goes round a ring of an even number of places only
    rings = [place for place, axis in enumerate(space) if axis.periodic and len(axis) % 2 == 0]
    return {"name": "unet", "periodic": rings}


def default_process(data: Any) -> dict[str, Any]:
    """The task's proposal, or Gaussian noise by EDM's schedule."""
    task = task_of(data.encoding.task)
    return task.process(data) if task.process else {"name": "gaussian", "schedule": {"name": "edm"}}


def predict_climate(asked: Asked) -> Any:
    """An xarray Dataset with the dimension ``member`` for the user's own input; written where ``asked.out`` says."""
    task = task_of(asked.encoding.task)
    if task.predict is None:
        able = [name for name in TASKS if task_of(name).predict is not None]
        raise unknown("task that predicts from new input:", task.name, able)
    if asked.out is not None:
        check_target(asked.out)  # before anything is drawn
    dataset = task.predict(asked)
    if asked.out is not None:
        save(dataset, asked.out)
    return dataset
