"""All that a recipe's ``training`` section may say."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unstir.core.catalogue import find
from unstir.core.errors import InputError, suggest
from unstir.training.profiles import Plan

Specification = Mapping[str, Any] | str

# what may differ when a run is resumed, since the weights do not depend on it (beyond rounding)
FREE_ON_RESUME = frozenset(
    {"steps", "accumulate", "precision", "channels_last", "compile", "device", "threads", "parallel"}
) | {"checkpoint_every", "keep", "log_every", "evaluate_every", "trackers"}


_YAML_HINT = " (YAML takes 1e-3 for text: write 1.0e-3)"
_CHOICES: dict[str, tuple[object, ...]] = {
    "precision": ("auto", "float32", "bfloat16"),
    "parallel": ("ddp", "fsdp"),
    "channels_last": ("auto", True, False),
    "compile": ("auto", True, False),
    "stratified": (True, False),
}


@dataclass(frozen=True)
class TrainingOptions:
    """How a denoiser is trained. Raises InputError for a value that cannot be used.

    - ``steps``: optimiser steps; ``batch``: samples a step, over all processes; ``accumulate``: parts that a
      batch is cut into, to save memory (the gradient is the same).
    - ``learning_rate``: ``{name, peak, warm_up, ...}`` of the catalogue, or a number, which stays constant.
    - ``betas``, ``eps``, ``weight_decay``: AdamW's; weight decay is for matrices and kernels, not for biases.
    - ``clip``: largest global gradient norm, or None.
    - ``ema``: ``{name: power, lengths: [0.05, 0.10], snapshots: 8}`` (lengths as parts of the training, the
      first is what sampling uses; snapshots for choosing another length afterwards), or
      ``{name: classical, halflife_samples: 500000, ramp_up: 0.05}``, or None.
    - ``weighting``, ``noise_levels``: of the catalogue; ``stratified``: spread each batch's levels evenly.
    - ``coupling``: of the catalogue: how a bridge's sources are paired with the data, within each part of a batch
      (so that with any but ``independent`` the weights depend on ``accumulate`` and the number of processes).
    - ``drop_condition``: probability that a sample's conditions are forgotten (classifier-free guidance).
    - ``precision``: auto, float32 or bfloat16 (autocast; weights stay float32). Auto is bfloat16 where the
      processor computes with it natively.
    - ``channels_last``, ``compile``: auto, true or false; compilation is off on CPU unless asked for.
    - ``device``: auto (CUDA where there is one), cpu, cuda, cuda:1, ...; ``threads``: torch's threads, None
      leaves them; ``parallel``: ddp or fsdp, of use under ``torchrun`` only.
    - ``checkpoint_every``: seconds; ``keep``: how many checkpoints; ``log_every`` and ``evaluate_every``: steps.
    - ``trackers``: of the catalogue, e.g. ``[tensorboard]``.
    """

    steps: int = 10_000
    batch: int = 256
    accumulate: int = 1
    learning_rate: Specification | int | float = field(
        default_factory=lambda: {"name": "cosine", "peak": 1e-3, "warm_up": 200}
    )
    betas: Sequence[int | float] = (0.9, 0.99)
    eps: int | float = 1e-8
    weight_decay: int | float = 0.0
    clip: int | float | None = 1.0
    ema: Specification | None = field(default_factory=lambda: {"name": "power", "lengths": [0.05, 0.10]})
    weighting: Specification = "edm"
    noise_levels: Specification = "log-normal"
    stratified: bool = True
    coupling: Specification = "independent"
    drop_condition: int | float = 0.1
    precision: str = "auto"
    channels_last: str | bool = "auto"
    compile: str | bool = "auto"
    device: str = "auto"
    threads: int | None = None
    parallel: str = "ddp"
    checkpoint_every: int | float = 60.0
    keep: int = 2
    log_every: int = 50
    evaluate_every: int | None = None
    trackers: Sequence[Specification] = ()

    def __post_init__(self) -> None:
        _check(vars(self))
        object.__setattr__(self, "betas", tuple(self.betas))
        if isinstance(self.learning_rate, int | float):
            object.__setattr__(self, "learning_rate", {"name": "constant", "peak": self.learning_rate})

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "TrainingOptions":
        """From plain values; an unknown key is answered with the nearest right one."""
        allowed = [part.name for part in dataclasses.fields(cls)]
        for key in given:
            if key not in allowed:
                raise InputError(f"training has no option {key!r}; {suggest(key, allowed)}")
        _check({**vars(cls()), **given})
        return cls(**given)

    @property
    def pairs_as_drawn(self) -> bool:
        """Whether data and sources are paired as they come, so that parts of a batch may be cut in any way."""
        name = self.coupling if isinstance(self.coupling, str) else self.coupling["name"]
        return name == "independent"

    def record(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return json.loads(json.dumps(vars(self)))


def changed_options(before: Mapping[str, Any], now: TrainingOptions) -> dict[str, tuple[Any, Any]]:
    """What differs between a checkpoint's options and those given, of what the weights depend on."""
    free = FREE_ON_RESUME if now.pairs_as_drawn else FREE_ON_RESUME - {"accumulate"}
    return {
        name: (before[name], value)
        for name, value in now.record().items()
        if name not in free and name in before and before[name] != value
    }


def _check(values: Mapping[str, Any]) -> None:
    """Refuses what cannot be used; an option that is left out by its default is always fine."""
    for name in ("steps", "batch", "accumulate", "keep", "log_every"):
        _whole(name, values[name])
    for name in ("threads", "evaluate_every"):
        if values[name] is not None:
            _whole(name, values[name])
    if values["accumulate"] > values["batch"]:
        raise InputError(
            f"training.accumulate must not exceed training.batch; seen {values['accumulate']} > {values['batch']}"
        )
    for name, low, high in (
        ("weight_decay", 0.0, math.inf),
        ("drop_condition", 0.0, 1.0),
        ("checkpoint_every", 0.0, math.inf),
    ):
        _number(name, values[name], low, high)
    _number("eps", values["eps"], 0.0, math.inf, above=True)
    if values["clip"] is not None:
        _number("clip", values["clip"], 0.0, math.inf, above=True)
    if not isinstance(values["betas"], list | tuple) or len(values["betas"]) != 2:
        raise InputError(f"training.betas must be two numbers, e.g. [0.9, 0.99]; seen {values['betas']!r}")
    for beta in values["betas"]:
        _number("betas", beta, 0.0, 1 - 1e-12)
    for name, allowed in _CHOICES.items():
        _choice(name, values[name], allowed)
    kinds = {"learning_rate": "learning_rates", "weighting": "weightings", "noise_levels": "noise_levels"}
    for name, kind in {**kinds, "coupling": "couplings"}.items():
        _specification(name, kind, values[name])
    Plan.of(values["ema"])
    if not isinstance(values["trackers"], list | tuple):
        raise InputError(f"training.trackers must be a list, e.g. [tensorboard]; seen {values['trackers']!r}")
    for tracker in values["trackers"]:
        _specification("trackers", "trackers", tracker)


def _whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"training.{name} must be a whole number of at least 1; seen {value!r}")


def _number(name: str, value: Any, low: float, high: float, above: bool = False) -> None:
    hint = _YAML_HINT if isinstance(value, str) else ""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not low <= value <= high
        or (above and value == low)
    ):
        bounds = f"above {low:g}" if above else f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise InputError(f"training.{name} must be a number {bounds}; seen {value!r}{hint}")


def _choice(name: str, value: object, allowed: Sequence[object]) -> None:
    if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in allowed):
        raise InputError(f"training.{name} must be one of {', '.join(map(str, allowed)).lower()}; seen {value!r}")


def _specification(name: str, kind: str, value: object) -> None:
    if name == "learning_rate" and isinstance(value, int | float) and not isinstance(value, bool):
        value = {"name": "constant", "peak": value}
    options = {"name": value} if isinstance(value, str) else value
    entry = options.get("name") if isinstance(options, Mapping) else None
    if not isinstance(options, Mapping) or not isinstance(entry, str):
        raise InputError(f"training.{name} must be a name or {{name: ..., option: value}}; seen {value!r}")
    find(kind, entry)
    for option, given in options.items():
        if isinstance(given, str) and _looks_like_number(given):
            raise InputError(f"training.{name}: {option} must be a number; seen {given!r}{_YAML_HINT}")


def _looks_like_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
