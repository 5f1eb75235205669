"""Trajectories kept: a state put away in mid-way and taken up again to the bit, and a film strip of the way.

A saved state is one safetensors file, its structure described in the file's JSON header: nothing executes on load.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.files import write_whole
from unstir.core.seeds import Seeds
from unstir.core.state import State, map_state, take
from unstir.processes.schedules.base import Schedule
from unstir.samplers.base import NoisePath, Sampler, SamplerState

_KIND, _VERSION = "unstir_trajectory", 1


def save_state(path: Path | str, state: SamplerState, times: Tensor, sampler: Sampler) -> Path:
    """Writes where a trajectory stands, whole or not at all.

    ``times`` are those that it follows, ``sampler`` what takes its steps: a state goes on along these times, by this
    sampler, only. Raises InputError for a history that holds other things than tensors and plain values.
    """
    from safetensors.torch import save

    tensors = _Tensors()
    told = {
        "version": _VERSION,
        "sampler": _signature(sampler),
        "noise_path": None if state.path is None else _signature(state.path),
        "seed": state.seeds.seed,
        "purpose": list(state.seeds.purpose),
        "step": state.step,
        "samples": tensors.described(state.seeds.samples, "samples"),
        "times": tensors.described(times.double(), "times"),
        "x": tensors.described(state.x, "x"),
        "mean": tensors.described(state.mean, "mean"),
        "history": tensors.described(state.history, "history"),
    }
    told["sha256"] = _digest(tensors.named)
    content = save(tensors.named, {_KIND: json.dumps(told)})
    return write_whole(Path(path), content)


def load_state(
    path: Path | str,
    sampler: Sampler,
    times: Tensor | None = None,
    noise_path: NoisePath | None = None,
    device: torch.device | str = "cpu",
) -> tuple[SamplerState, Tensor]:
    """A state that ``save_state`` wrote, and its times; ``follow`` goes on from it as if it had never stopped.

    ``sampler`` must be the one that it was saved with, as must ``times``, if given, and ``noise_path``, which a file
    cannot hold. Raises InputError where they differ, and for a file that is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt", device=str(device)) as file:
            told = json.loads((file.metadata() or {})[_KIND])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        found = told["version"]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is no trajectory as save_state writes it ({error}); save it anew") from error
    if found != _VERSION:
        raise InputError(f"{path} was written in format {found}, this version reads format {_VERSION}; save it anew")
    if _digest(tensors) != told["sha256"]:
        raise InputError(f"{path} is damaged: its SHA-256 is not the one that was noted when it was written")
    for what, saved, given in (
        ("sampler", told["sampler"], _signature(sampler)),
        ("noise path", told["noise_path"], None if noise_path is None else _signature(noise_path)),
    ):
        if saved != given:
            raise InputError(f"{path} was saved with the {what} {saved}; seen {given}: go on with the same one")
    own = _restored(told["times"], tensors)
    if times is not None and not torch.equal(times.double().cpu(), own.cpu()):
        raise InputError(f"{path} follows other times ({_briefly(own)}) than those given ({_briefly(times)})")
    seeds = Seeds(told["seed"], _restored(told["samples"], tensors), tuple(told["purpose"]))
    x, mean, history = (_restored(told[name], tensors) for name in ("x", "mean", "history"))
    return SamplerState(x, seeds, told["step"], mean, history, noise_path), own.cpu()


class _Tensors:
    """Tensors met in a structure, by name, each once."""

    def __init__(self) -> None:
        self.named: dict[str, Tensor] = {}
        self._met: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, or its number might be given away

    def described(self, value: Any, place: str) -> Any:
        """The structure as JSON, with names for its tensors."""
        if isinstance(value, Tensor):
            if id(value) not in self._met:
                self._met[id(value)] = (place, value)
                self.named[place] = value.detach().cpu().clone().contiguous()
            return {"tensor": self._met[id(value)][0]}
        if type(value) in (tuple, list):  # a named tuple would come back without its names
            items = [self.described(item, f"{place}.{number}") for number, item in enumerate(value)]
            return {"tuple" if isinstance(value, tuple) else "list": items}
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                raise InputError(f"{place}: names must be text; seen {list(value)[:3]}")
            return {"mapping": {key: self.described(item, f"{place}.{key}") for key, item in value.items()}}
        if type(value) is float and not math.isfinite(value):
            return {"float": repr(value)}
        if value is None or type(value) in (bool, int, float, str):
            return {"value": value}
        raise InputError(f"{place}: tensors, numbers, text and their tuples can be saved; seen {type(value).__name__}")


def _restored(told: Any, tensors: Mapping[str, Tensor]) -> Any:
    ((kind, value),) = told.items()
    if kind == "tensor":
        return tensors[value]
    if kind in ("tuple", "list"):
        items = [_restored(item, tensors) for item in value]
        return tuple(items) if kind == "tuple" else items
    if kind == "mapping":
        return {key: _restored(item, tensors) for key, item in value.items()}
    return float(value) if kind == "float" else value


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _signature(thing: object) -> str:
    """A sampler or path with its options; without addresses in memory, which mean nothing another day."""
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(thing).__module__}: {thing!r}")


def _briefly(times: Tensor) -> str:
    return f"{len(times)} from {times[0].item():.4g}" if times.numel() else "none"


@dataclass
class FilmStrip:
    """A callback that keeps what some samples look like at some noise levels on their way, and nothing else.

    ``levels`` are values of sigma/alpha, in the data's unit; 0 is the end. For each, the step that ends nearest to it
    (in the logarithm) is kept. ``samples`` are sample numbers. Memory is ``len(levels) * len(samples)`` states and
    beliefs, whatever the number of steps.

    Hand it to ``sample`` or ``follow`` as ``callback``; then ``states``, ``beliefs`` and ``noise_levels`` are there.
    """

    schedule: Schedule
    levels: Sequence[float]
    samples: Sequence[int] = tuple(range(8))
    _frames: dict[tuple[int, int], tuple[float, float, Any, Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.levels or any(not 0 <= level < math.inf for level in self.levels):
            raise InputError(f"noise levels of a film strip are finite and not negative; seen {list(self.levels)}")
        if not self.samples or len(set(self.samples)) < len(self.samples):
            raise InputError(f"the samples of a film strip are numbers, each once; seen {list(self.samples)}")

    @classmethod
    def evenly(
        cls, schedule: Schedule, times: Tensor, frames: int, samples: Sequence[int] = tuple(range(8))
    ) -> "FilmStrip":
        """A strip of so many ``frames``, as even as can be among a grid's steps; the last one is the end."""
        if frames < 1:
            raise InputError(f"a film strip has at least 1 frame; seen {frames}")
        ends = times[1:]
        places = torch.linspace(0, len(ends) - 1, min(frames, len(ends)), dtype=torch.float64).round().long()
        if len(places) == 1:
            places = torch.tensor([len(ends) - 1])
        return cls(schedule, [_level(schedule, s) for s in ends[places]], samples)

    def __call__(self, state: SamplerState, t: Tensor, s: Tensor) -> None:
        """Looks at a batch after a step."""
        level = _level(self.schedule, s)
        wanted = [(number, away) for number, away in enumerate(self._away(level)) if math.isfinite(away)]
        if not wanted:
            return
        rows = {sample: row for row, sample in enumerate(state.seeds.samples.tolist())}
        for sample in self.samples:
            if sample not in rows:
                continue
            better = [
                (number, away)
                for number, away in wanted
                if (number, sample) not in self._frames or away < self._frames[number, sample][0]
            ]
            if better:
                row = rows[sample]
                x, mean = (None if part is None else _copied(part, row) for part in (state.x, state.mean))
                for number, away in better:
                    self._frames[number, sample] = (away, level, x, mean)

    @property
    def states(self) -> State:
        """The states, (levels, samples, ...)."""
        return self._stacked(2)

    @property
    def beliefs(self) -> State:
        """The means of the beliefs that the steps were made with, (levels, samples, ...)."""
        return self._stacked(3)

    @property
    def noise_levels(self) -> Tensor:
        """sigma/alpha of each of the kept states, float64 (levels,)."""
        self._complete()
        found = [self._frames[number, self.samples[0]][1] for number in range(len(self.levels))]
        return torch.tensor(found, dtype=torch.float64)

    def _away(self, level: float) -> list[float]:
        """How far a level is from each of those wanted."""
        return [
            abs(math.log(level / wanted)) if level > 0 and wanted > 0 else 0.0 if level == wanted else math.inf
            for wanted in self.levels
        ]

    def _complete(self) -> None:
        lacking = [key for number in range(len(self.levels)) for key in [(number, s) for s in self.samples]]
        lacking = [key for key in lacking if key not in self._frames]
        if lacking:
            level, sample = lacking[0]
            raise InputError(
                f"the film strip lacks {len(lacking)} frames, the first of sample {sample} at level "
                f"{self.levels[level]:g}: hand it to `sample` as callback, for samples that hold {list(self.samples)}"
            )

    def _stacked(self, part: int) -> Any:
        self._complete()
        rows = [[self._frames[number, sample][part] for sample in self.samples] for number in range(len(self.levels))]
        flat = [value for row in rows for value in row]
        if any(value is None for value in flat):
            raise InputError("this sampler tells no beliefs")
        stacked = map_state(lambda *tensors: torch.stack(tensors), *flat)
        size = (len(self.levels), len(self.samples))
        return map_state(lambda tensor: tensor.reshape(*size, *tensor.shape[1:]), stacked)


def _copied(part: Any, row: int) -> Any:
    return map_state(lambda tensor: tensor.detach().clone(), take(part, row))


def _level(schedule: Schedule, s: Tensor) -> float:
    return (-schedule.log_snr(s) / 2).exp().item() if s > 0 else 0.0
