"""What every recipe that ships keeps: it resolves, to the same job each time, and runs from end to end."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml

from unstir.core.catalogue import find
from unstir.core.errors import InputError
from unstir.run.recipe import Recipe, load
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most

__all__ = ["recipe_mistakes", "recipe_parts", "recipe_resolution", "recipe_run"]

_NETWORK = "network={name: mlp, width: 16, depth: 1, embedding: 16}"
_SMALL = (
    "training.steps=6",
    "training.batch=8",
    "training.threads=null",
    "training.log_every=2",
    "sampling.steps=3",
    "sampling.count=10",
    "sampling.batch=4",
)


@claim("recipes")
def recipe_resolution(recipe: Mapping[str, Any], effort: Effort) -> Iterator[Measured]:
    """Resolved it names every default, and resolves to itself again, as a mapping and as YAML."""
    resolved = load(recipe)
    plain = resolved.to_dict()
    yield at_most("sections that change on the second time", _changed(load(plain).to_dict(), plain), 0.0)
    text = yaml.safe_load(resolved.to_yaml())
    yield at_most("sections that change by way of YAML", _changed(load(text).to_dict(), plain), 0.0)
    kept = sum(resolved.to_dict()["training"].get(key) is None for key in ("steps", "batch", "learning_rate"))
    yield at_most("settings of the training left open", kept, 0.0)


@claim("recipes")
def recipe_parts(recipe: Mapping[str, Any], effort: Effort) -> Iterator[Measured]:
    """Every part that it names is in the catalogue."""
    resolved = load(recipe)
    training, sampling = resolved.training, resolved.sampling
    named: list[tuple[str, Any]] = [
        ("domains", resolved.domain),
        # what a recipe leaves out, its field proposes once it has seen the data
        *([("processes", resolved.process)] if resolved.process else []),
        *([("schedules", (resolved.process or {})["schedule"])] if "schedule" in (resolved.process or {}) else []),
        ("samplers", sampling.sampler),
        ("grids", sampling.grid),
        ("learning_rates", training.learning_rate),
        ("weightings", training.weighting),
        ("noise_levels", training.noise_levels),
        ("parameterisations", resolved.denoiser.get("parameterisation", "edm")),
        *([("networks", resolved.network)] if resolved.network else []),
    ]
    unknown = []
    for kind, part in named:
        name = part if isinstance(part, str) else part["name"]
        try:
            find(kind, name).load()
        except InputError:
            unknown.append(f"{kind}: {name}")
    yield at_most(f"parts not in the catalogue, of {len(named)}", len(unknown), 0.0, note=", ".join(unknown))


@claim("recipes")
def recipe_mistakes(recipe: Mapping[str, Any], effort: Effort) -> Iterator[Measured]:
    """A slip of the pen in it is answered with the nearest right word."""
    slips = {
        "trainnig.steps=3": "training",
        "training.stps=3": "training.steps",
        "sampling.sampler=huen": "heun",
        "training.learning_rate={name: cosin}": "cosine",
    }
    silent = []
    for slip, right in slips.items():
        try:
            load(recipe, [slip])
            silent.append(f"{slip} was taken")
        except InputError as error:
            if f"did you mean {right!r}" not in str(error):
                silent.append(f"{slip}: {error}")
    yield at_most(f"slips without the right word, of {len(slips)}", len(silent), 0.0, note="; ".join(silent)[:300])


@claim("recipes", slow=True)
def recipe_run(recipe: Mapping[str, Any], effort: Effort) -> Iterator[Measured]:
    """In miniature it trains, samples and trains again to the same bits."""
    from unstir.run.folder import RunFolder
    from unstir.run.sampling import TrainedRun, sample_run
    from unstir.run.training import train_run

    threads = torch.get_num_threads()
    with TemporaryDirectory() as place:
        # a state whose parts reach the network by themselves has its own, on few of its sets
        parts = (recipe.get("denoiser") or {}).get("layout") == "parts"
        changes = [*_SMALL, "data.limit=60" if parts else _NETWORK]
        if recipe.get("data", {}).get("path", "") is None:
            changes.append(f"data.path={_pictures(Path(place) / 'pictures')}")
        small: Recipe = load(recipe, changes)
        try:
            runs = []
            for name in ("first", "second"):
                folder, result = train_run(small, Path(place) / name, progress=False)
                runs.append(TrainedRun(RunFolder.open(folder.path)).denoiser().state_dict())
            files = sample_run(TrainedRun(RunFolder.open(folder.path)), 5, progress=False)
        finally:
            torch.set_num_threads(threads)
        differing = sum(int((runs[0][key] != runs[1][key]).sum()) for key in runs[0])
        yield at_most("weights that differ between two trainings", differing, 0.0)
        broken = sum(int((~values.isfinite()).sum()) for values in runs[0].values() if values.is_floating_point())
        yield at_most("weights that are not finite", broken, 0.0)
        yield at_most("steps too many or too few", abs(result.step - 6), 0.0)
        missing = sum(not file.is_file() for file in files) + int(not files)
        yield at_most("files of samples that are not there", missing, 0.0)


def _changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> int:
    return sum(first.get(key) != second.get(key) for key in {*first, *second})


def _pictures(folder: Path) -> Path:
    from PIL import Image

    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
    return folder
