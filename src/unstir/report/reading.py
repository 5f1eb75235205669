"""The files of a run folder, read and checked, as far as they are there."""

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from unstir.core.catalogue import find
from unstir.core.errors import InputError
from unstir.domains.base import Domain, Encoding


@dataclass(frozen=True)
class Run:
    """What a run folder holds; a missing file is an empty mapping, list or None.

    ``arrays`` are those of ``evaluation.npz``, samples in the encoded state space. ``place`` is how the folder is
    called in commands: its name and its parent's, never a whole path of somebody's machine.
    """

    place: str
    recipe_text: str
    recipe: Mapping[str, Any]
    provenance: Mapping[str, Any]
    progress: list[dict[str, Any]]
    metrics: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    encoding_record: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """The recipe's name, or the folder's where it has none."""
        return str(self.recipe.get("name") or self.place.rpartition("/")[2])

    @property
    def results(self) -> dict[str, Mapping[str, Any]]:
        """The measured metrics by name, in the order in which they were asked for."""
        return {result["metric"]: result for result in self.metrics.get("results") or []}

    @property
    def drawn(self) -> Mapping[str, Any]:
        """How the measured samples were drawn: count, seed, sampler, steps, calls, grid, conditional."""
        return self.metrics.get("samples") or {}

    @property
    def classes(self) -> list[str]:
        """The names of the classes, if there are any."""
        named = self.metrics.get("classes") or (self.encoding_record or {}).get("label_names") or []
        return [str(name) for name in named]

    @cached_property
    def domain(self) -> Domain | None:
        """The field that draws the samples; None where it comes from a package that is not installed."""
        try:
            return find("domains", str(self.recipe.get("domain", "images"))).load()
        except InputError:
            return None

    @cached_property
    def encoding(self) -> Encoding | None:
        """The way from encoded samples to the field's own; None where the run does not tell."""
        return (
            None if self.domain is None or self.encoding_record is None else self.domain.restore(self.encoding_record)
        )


def read_run(folder: Path) -> Run:
    """Reads a run folder.

    Raises InputError for a folder without a recipe, and for a file that is there but cannot be read.
    """
    recipe_file = folder / "recipe.yaml"
    if not recipe_file.is_file():
        raise InputError(
            f"{folder}: not a run folder (it holds no recipe.yaml); `unstir run` and `unstir train` make one"
        )
    try:
        text = recipe_file.read_text(encoding="utf-8")
        recipe = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{recipe_file}: not a YAML file: {error}") from error
    if not isinstance(recipe, Mapping):
        raise InputError(f"{recipe_file}: a recipe is a mapping of keys to values; seen {type(recipe).__name__}")
    whole = folder.resolve()
    return Run(
        place=f"{whole.parent.name}/{whole.name}".lstrip("/"),
        recipe_text=text,
        recipe=recipe,
        provenance=_read_json(folder / "provenance.json") or {},
        progress=_read_lines(folder / "progress.jsonl"),
        metrics=_read_json(folder / "metrics.json") or {},
        arrays=_read_arrays(folder / "evaluation.npz"),
        encoding_record=_read_json(folder / "encoding.json"),
    )


def series(lines: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values of one quantity of the progress, float64 of shape (lines,)."""
    pairs = [(line["step"], line[key]) for line in lines if _finite(line.get("step")) and _finite(line.get(key))]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds a {type(values).__name__}, not an object with named values")
    return values


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for place, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            if place < len(lines):
                raise InputError(f"{path}, line {place}: not readable as JSON: {error}") from error
            # the last line of a run that is going on, or was killed, may be cut off
    return [line for line in found if isinstance(line, dict)]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not readable as NumPy arrays ({error}); `unstir evaluate` makes it again") from error
