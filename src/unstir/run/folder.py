"""The run folder: where each file of a run lies, and how it is read and written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.core.files import write_whole
from unstir.run.recipe import Recipe, load
from unstir.training.options import FREE_ON_RESUME


@dataclass(frozen=True)
class RunFolder:
    """A run on disk: ``recipe.yaml``, ``provenance.json``, ``encoding.json``, checkpoints, samples, metrics."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """An existing run; the error for anything else says how to make one."""
        folder = cls(Path(path))
        if not folder.recipe_file.is_file():
            raise InputError(
                f"{path}: not a run folder (it holds no recipe.yaml); `unstir run` and `unstir train` make one"
            )
        return folder

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def samples(self) -> Path:
        """The folder of the samples, in the field's own format."""
        return self.path / "samples"

    def recipe(self) -> Recipe:
        """The resolved recipe of the run."""
        return load(self.recipe_file)

    def start(self, recipe: Recipe) -> None:
        """Makes the folder for this recipe; one whose weights come from another recipe is refused.

        What the weights do not depend on (how to sample and judge, how long to go on, where to compute) may
        change, and the folder's recipe then does.
        """
        if self.recipe_file.exists():
            changed = differences(_binding(self.recipe()), _binding(recipe))
            if changed:
                raise InputError(
                    f"{self.path} holds a run of another recipe ({'; '.join(changed[:4])}); "
                    "name another folder with --folder, or remove this one"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.recipe_file, recipe.to_yaml())

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Writes plain values, whole or not at all; numbers that are not finite are refused."""
        write_text(self.path / name, json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads what ``write_json`` wrote; InputError where it is missing or broken."""
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: missing; has this run been trained? (`unstir train`)") from None
        except json.JSONDecodeError as error:
            raise InputError(f"{path}: not readable as JSON: {error}") from error


def _binding(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe the weights of a run depend on."""
    values = recipe.to_dict()
    training = {key: value for key, value in values["training"].items() if key not in FREE_ON_RESUME}
    free = ("name", "sampling", "evaluation")
    return {**{key: value for key, value in values.items() if key not in free}, "training": training}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What changed between two recipes, ``key: old -> new``, by dotted keys."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return found


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    write_whole(path, text.encode())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz file whole or not at all."""
    write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
