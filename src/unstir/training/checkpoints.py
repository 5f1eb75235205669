"""Checkpoints: all that a training needs to go on to the bit, in safetensors and JSON.

::

    folder/checkpoints/step-00001200/   weights, average-0.050, ..., optimizer (.safetensors), state.json
    folder/averages/step-00001000/      the averages alone, for choosing another length afterwards

A folder is written beside its place, flushed to the disk and renamed, so it is there whole or not at all;
``state.json`` holds the SHA-256 of each file, so damage is noticed. Nothing in it can execute.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from unstir.core.errors import InputError
from unstir.training.posthoc import coefficients, combine, relative_error
from unstir.training.profiles import Plan, PowerProfile

Tensors = Mapping[str, Tensor]
_STATE = "state.json"
_UNFINISHED = ".unfinished-"
_TOLERATED = 0.15  # relative error of a synthesised profile from which the caller is warned


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk: where it lies, and what its ``state.json`` says."""

    path: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """The number of steps done."""
        return self.state["step"]

    def read(self, name: str) -> dict[str, Tensor]:
        """One of its sets of tensors: ``weights``, ``optimizer``, ``average-0.050``, ..."""
        return load_file(self.path / f"{name}.safetensors")

    @property
    def averages(self) -> list[str]:
        """The names of the averages in it, the one for sampling first."""
        return [profile.label for profile in Plan.of(self.state["options"]["ema"]).profiles]


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensors], state: Mapping[str, Any], keep: int = 2) -> Path:
    """Writes a checkpoint of the run in ``folder`` and removes those older than the last ``keep``."""
    path = write(_home(folder), tensors, state)
    for old in _steps(_home(folder))[:-keep]:
        shutil.rmtree(old)
    return path


def save_snapshot(folder: Path, tensors: Mapping[str, Tensors], state: Mapping[str, Any]) -> Path:
    """Writes a snapshot of the averages of the run in ``folder``."""
    return write(Path(folder) / "averages", tensors, state)


def write(home: Path, tensors: Mapping[str, Tensors], state: Mapping[str, Any]) -> Path:
    """Writes ``home/step-...`` whole or not at all.

    A sound one that is there already is left alone, since a run comes to a step in one way only.
    """
    home.mkdir(parents=True, exist_ok=True)
    place = home / f"step-{state['step']:08d}"
    if place.exists():
        with contextlib.suppress(InputError):
            return open_checkpoint(place).path
        shutil.rmtree(place)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=home))
    os.chmod(unfinished, 0o755)
    hashes = {}
    for name, named in tensors.items():
        content = save({key: tensor.detach().cpu().contiguous() for key, tensor in named.items()})
        hashes[f"{name}.safetensors"] = hashlib.sha256(content).hexdigest()
        _write_file(unfinished / f"{name}.safetensors", content)
    _write_file(unfinished / _STATE, json.dumps({**state, "files": hashes}, indent=1).encode())
    _flush(unfinished)
    unfinished.rename(place)
    _flush(home)
    return place


def clean(folder: Path, after: int) -> None:
    """Removes what an interrupted write left, and snapshots from beyond the step where a run goes on."""
    for home in (_home(folder), Path(folder) / "averages"):
        for unfinished in home.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(unfinished)
        for path in _steps(home):
            if _step_of(path) > after:
                shutil.rmtree(path)


def latest(folder: Path | str) -> Checkpoint | None:
    """The last sound checkpoint of the run in ``folder``; damaged ones are passed over with a warning."""
    for path in reversed(_steps(_home(folder))):
        with contextlib.suppress(InputError):
            return open_checkpoint(path)
        warnings.warn(f"the checkpoint {path} is damaged or incomplete and is passed over", stacklevel=2)
    return None


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in this folder, once every file has the hash that was noted when it was written."""
    try:
        state = json.loads((path / _STATE).read_text(encoding="utf-8"))
        hashes = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in state["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no complete checkpoint ({error})") from error
    if wrong := [name for name in hashes if hashes[name] != state["files"][name]]:
        raise InputError(f"{path / wrong[0]} is not the file that was written there: its SHA-256 differs")
    return Checkpoint(path, state)


def load_average(folder: Path | str, length: float | None = None) -> dict[str, Tensor]:
    """The weights to sample with, by name, from the last checkpoint of the run in ``folder``.

    length: relative length of a power-function average. One that was tracked is read as it is; any other
    is put together from the snapshots. Without it, the first tracked average, or the plain weights.

    Raises InputError if there is no checkpoint, or nothing to make that length of.
    """
    checkpoint = latest(folder)
    if checkpoint is None:
        raise InputError(f"{folder} holds no checkpoint; train first, or name the folder of a run")
    if length is None:
        return checkpoint.read(checkpoint.averages[0] if checkpoint.averages else "weights")
    wanted = PowerProfile(length)
    profiles = Plan.of(checkpoint.state["options"]["ema"]).profiles
    for profile in profiles:
        if isinstance(profile, PowerProfile) and profile.length == length:
            return checkpoint.read(profile.label)
    tracked = [profile for profile in profiles if isinstance(profile, PowerProfile)]
    if not tracked:
        raise InputError(f"{folder} was trained without power-function averages: only its own average can be used")
    sources = [open_checkpoint(path) for path in _steps(Path(folder) / "averages") if _step_of(path) < checkpoint.step]
    sources.append(checkpoint)
    items = [(source, profile) for source in sources for profile in tracked]
    ended, end = [(profile, float(source.step)) for source, profile in items], (wanted, float(checkpoint.step))
    factors = coefficients(ended, end)
    if (apart := relative_error(ended, factors, end)) > _TOLERATED:
        warnings.warn(
            f"the snapshots of {folder} give an average of length {length:g} only to {100 * apart:.0f} % (of its "
            "profile); a length nearer to those tracked, or a training with more snapshots, gives it better",
            stacklevel=2,
        )
    return combine(factors, [lambda s=source, p=profile: s.read(p.label) for source, profile in items])


def load_weights(module: Any, tensors: Tensors) -> None:
    """Puts tensors into a module by name; they must be exactly its own."""
    check_same_tensors(tensors, module.state_dict())
    module.load_state_dict(dict(tensors))


def check_same_tensors(stored: Tensors, own: Tensors, exactly: bool = True) -> None:
    """Refuses stored tensors whose names or shapes are not those of a model's own.

    Unless ``exactly``, there may be more of them stored than the model's own.
    """
    for name in [*own, *(stored if exactly else ())]:
        shapes = [tuple(named[name].shape) if name in named else "none" for named in (stored, own)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"the checkpoint is of another model: {name!r} has the shape {shapes[0]} in it and {shapes[1]} here; "
                "build the denoiser as its recipe says"
            )


def _home(folder: Path | str) -> Path:
    return Path(folder) / "checkpoints"


def _steps(home: Path) -> list[Path]:
    return sorted((path for path in home.glob("step-*") if path.is_dir()), key=_step_of)


def _step_of(path: Path) -> int:
    digits = path.name.removeprefix("step-")
    return int(digits) if digits.isdigit() else -1


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """Makes a folder's own entries durable; some file systems do not offer it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
