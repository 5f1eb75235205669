"""The verb `train`: from a recipe to a trained run folder, or on from where an interrupted one stopped."""

import json
import os
from pathlib import Path

import torch

from unstir.run.folder import RunFolder
from unstir.run.parts import completed, make_denoiser, plain_shape, read_data
from unstir.run.provenance import provenance
from unstir.run.recipe import Recipe
from unstir.training.loop import TrainingResult, train

DEFAULT_FOLDER = Path("runs")


def train_run(recipe: Recipe, folder: Path | None = None, progress: bool = True) -> tuple[RunFolder, TrainingResult]:
    """Trains the recipe in ``folder`` (by default ``runs/NAME``); a run that stands there already is resumed.

    Everything is read and checked before the first step. Raises InputError where the folder holds a run
    of another recipe.
    """
    run = RunFolder(folder or DEFAULT_FOLDER / recipe.name)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    data = read_data(recipe)
    recipe = completed(recipe, data)
    denoiser = make_denoiser(recipe, data.shape, data.conditions)
    if leads():
        run.start(recipe)
        record = provenance(data.name, data.digest, len(data), recipe.seed)
        known = _started(run)
        run.write_json("provenance.json", {**record, "started": known or record["started"]})
        run.write_json("encoding.json", data.encoding.record())
        run.write_json(
            "conditions.json", {"shape": plain_shape(data.shape), "conditions": _plain_conditions(data.conditions)}
        )
    told = recipe.to_dict()
    result = train(denoiser, data, recipe.training, run.path, seed=recipe.seed, progress=progress, recipe=told)
    return run, result


def leads() -> bool:
    """Whether this is the first process of a training under torchrun, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def _plain_conditions(conditions: object) -> object:
    return json.loads(json.dumps(conditions))


def _started(run: RunFolder) -> str | None:
    """When the run was begun, if this is a later part of it."""
    return run.read_json("provenance.json").get("started") if (run.path / "provenance.json").exists() else None
