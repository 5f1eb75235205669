"""The verb `guide`: a classifier trained for a run, the guides that can be made of one, and samples drawn by them."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build, entries, find
from unstir.core.errors import InputError, suggest, unknown
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.domains.base import EncodedData
from unstir.domains.tables.encoding import CONTINUOUS, TableEncoding
from unstir.run.folder import RunFolder, write_text
from unstir.run.parts import make_process
from unstir.run.recipe import denoiser_kind
from unstir.run.sampling import TrainedRun
from unstir.samplers.base import sample, time_grid
from unstir.training.checkpoints import load_average, open_checkpoint
from unstir.training.classifier import (
    NoiseAwareClassifier,
    Targeted,
    divide,
    judge_by_level,
    levels_between,
    train_noise_aware,
)

GUIDES = "guides"  # the folder within a run's own
_SMALL = 1024  # elements up to which a perceptron sees the whole state
_PERCEPTRON = {"name": "mlp", "width": 128, "depth": 3, "embedding": 64, "dropout": 0.2}
_LEVELS_JUDGED = 8
_HELD_OUT = 0.2


@dataclass(frozen=True)
class Target:
    """What a classifier tells of a state: ``classes`` of them, or ``numbers``; and how it is read from the data.

    ``levels`` are the texts of a column's categories, where it has any.
    """

    name: str
    read: Callable[[Any, Mapping[str, Tensor]], Tensor]
    classes: int = 0
    numbers: int = 0
    levels: tuple[str, ...] = ()
    column: Any = None

    def value(self, given: Any) -> Tensor:
        """A wanted value as the classifier is told it: a class number, or numbers as the data is encoded.

        Raises InputError for a class or level that there is not, and for what is no number.
        """
        if self.levels and str(given) in self.levels:
            return torch.tensor(self.levels.index(str(given)))
        if self.levels:
            raise unknown(f"level of {self.name!r}:", str(given), self.levels)
        if self.classes:
            if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < self.classes:
                raise InputError(f"{self.name!r} is a class number from 0 to {self.classes - 1}; seen {given!r}")
            return torch.tensor(given)
        if self.column is not None:
            return torch.from_numpy(np.asarray(self.column.encode([str(given)]), dtype=np.float64))
        try:
            numbers = torch.as_tensor(given, dtype=torch.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.name!r} must be numbers; seen {given!r}") from error
        if len(numbers) != self.numbers:
            raise InputError(f"{self.name!r} is a list of {self.numbers} numbers; seen {given!r}")
        return numbers


def target_of(run: TrainedRun, name: str) -> Target:
    """The condition of the run's data of that name, or the column of its table; InputError for anything else."""
    data = run.labelled_data
    kind = {key: kind for key, kind in data.conditions.items() if key != "augment"}.get(name)
    if kind is not None and ("classes" in kind or "size" in kind):

        def told(state: Any, condition: Mapping[str, Tensor]) -> Tensor:
            return condition[name]

        return Target(name, told, int(kind.get("classes", 0)), int(kind.get("size", 0)))
    columns = {}
    if isinstance(run.encoding, TableEncoding):
        columns = {column.name: column for column in run.encoding.columns}
    if name not in columns:
        known = [key for key in data.conditions if key != "augment"]
        raise InputError(f"{data.name} has nothing to tell called {name!r}; {suggest(name, [*known, *columns])}")
    column, encoding = columns[name], cast(TableEncoding, run.encoding)
    if column.categorical:
        part = next(key for key, other in encoding.parts.items() if other.name == name)
        return Target(name, lambda state, _: state[part][:, 0], len(column.levels), 0, column.levels, column)
    place = [other.name for other in encoding.numeric].index(name)
    return Target(name, lambda state, _: state[CONTINUOUS][:, place : place + 1].double(), 0, 1, (), column)


def guide_folder(run: TrainedRun, target: str) -> Path:
    """Where the classifier of a target lies."""
    return run.folder.path / GUIDES / re.sub(r"[^\w.-]", "_", target)


def train_guide(
    run: TrainedRun,
    target: str,
    *,
    steps: int = 2000,
    batch: int = 128,
    network: Mapping[str, Any] | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains a noise-aware classifier (of classes) or regressor (of numbers) on the run's data, and judges it.

    It lies in RUN/guides/TARGET: checkpoints of its training, which the same call goes on with after an interruption,
    and ``classifier.json`` with what it is and how it does on a fifth of the rows, which it has not seen: accuracy and
    calibration at eight noise levels over those that the run's sampler meets. Returns what that file says.
    """
    seed = run.recipe.seed if seed is None else seed
    told, data = target_of(run, target), run.labelled_data
    kept, apart = divide(len(data), _HELD_OUT, seed)
    rows, unseen = (Targeted(data, part, told.read, target) for part in (kept, apart))
    settings: dict[str, Any] = {
        "target": target,
        "network": dict(network) if network is not None else _default_network(run),
        **_measured(told, data, kept),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = _made(run, settings)
    sampling = run.recipe.sampling
    process = classifier.shell.process
    levels = levels_between(process.schedule, time_grid(process, sampling.grid, sampling.steps))
    folder = guide_folder(run, target)
    train_noise_aware(
        classifier, rows, folder, levels=levels, steps=steps, batch=batch, seed=seed,
        threads=run.recipe.training.threads, progress=progress,
    )  # fmt: skip
    judged = judge_by_level(classifier, unseen, np.linspace(*levels, _LEVELS_JUDGED).tolist(), seed)
    record = {
        **settings,
        "levels_of": list(told.levels),
        "kind": "classes" if told.classes else "numbers",
        "steps": steps,
        "rows": len(kept),
        "held_out": len(apart),
        "seed": seed,
        "data": data.digest,
        "by_level": judged,
    }
    write_text(folder / "classifier.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    return record


def load_guide(run: TrainedRun, target: str) -> NoiseAwareClassifier:
    """The trained classifier of a target; the error where there is none says which command makes it."""
    folder = guide_folder(run, target)
    if not (folder / "classifier.json").is_file():
        trained = sorted(path.parent.name for path in folder.parent.glob("*/classifier.json"))
        raise InputError(
            f"{run.folder.path} has no classifier of {target!r} (trained: {', '.join(trained) or 'none'}); make it "
            f"with `unstir guide {run.folder.path} --train-classifier {target}`"
        )
    record = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
    classifier = _made(run, record)
    classifier.load_state_dict(load_average(folder))
    return classifier.eval().requires_grad_(False).to(run.device)


def _made(run: TrainedRun, settings: Mapping[str, Any]) -> NoiseAwareClassifier:
    assert run.recipe.process is not None
    process = make_process(run.recipe.process)
    learned, options = denoiser_kind(run.recipe.denoiser, process.learned)
    shell: LearnedDenoiser = learned(None, process, **options)
    own = {name: settings[name] for name in ("network", "target", "priors", "centre", "scale") if name in settings}
    return NoiseAwareClassifier(shell, run.shape, **own)


def _default_network(run: TrainedRun) -> dict[str, Any]:
    """A perceptron for small states, else the architecture of the run itself."""
    shapes = run.shape.values() if isinstance(run.shape, Mapping) else [run.shape]
    small = sum(math.prod(shape) for shape in shapes) <= _SMALL
    return dict(_PERCEPTRON) if small or run.recipe.network is None else dict(run.recipe.network)


def _measured(told: Target, data: EncodedData, rows: np.ndarray) -> dict[str, Any]:
    """The classes' shares, or mean and deviation of the numbers, among the rows."""
    values = torch.cat([told.read(*data.batch(part)) for part in np.array_split(rows, -(-len(rows) // 1000))])
    if told.classes:
        counts = torch.bincount(values.flatten(), minlength=told.classes).double() + 0.5
        return {"priors": (counts / counts.sum()).tolist()}
    values = values.double().reshape(len(values), -1)
    return {"centre": values.mean(0).tolist(), "scale": values.std(0).clamp(min=1e-6).tolist()}


@dataclass(frozen=True)
class Asked:
    """What a user asks of a guide, as plain values.

    ``name`` is the catalogue's; ``condition`` and ``negative`` wanted and unwanted values; ``interval`` the noise
    levels sigma/alpha between which it acts; ``weak`` another run's folder, for auto-guidance; ``protected``,
    ``outcome`` and ``given`` the columns of a fairness rule, ``way`` how it is brought about.
    """

    name: str
    condition: Mapping[str, Any] = field(default_factory=dict)
    negative: Mapping[str, Any] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    weak: Path | None = None
    protected: str | None = None
    outcome: str | None = None
    given: str | None = None
    way: str = "reweighing"

    def record(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        own = {key: str(value) if isinstance(value, Path) else value for key, value in vars(self).items()}
        return own if self.name == "fairness" else {key: value for key, value in own.items() if key != "way"}


@dataclass(frozen=True)
class Guided:
    """A guide made of a run: ``at(strength)`` is its denoiser, ``rows(seeds)`` the conditions of its samples.

    ``label`` names the condition that samples are to obey and ``wanted`` tells it, one value a sample.
    """

    at: Callable[[float], Denoiser]
    rows: Callable[[Seeds], dict[str, Tensor]]
    label: str | None = None


def guide_of(run: TrainedRun, asked: Asked) -> Guided:
    """The guide that is asked for, made of what the run has; see ``MADE_FROM_A_RUN``.

    Raises InputError for an unknown guide, one that takes functions of one's own (those are for Python), and what it
    would need and is not there.
    """
    find("guidance", asked.name)
    if asked.name not in MADE_FROM_A_RUN:
        raise InputError(
            f"the guide {asked.name!r} takes functions or models of one's own: use it in Python, around "
            f"TrainedRun(...).denoiser(); from a run alone can be made: {', '.join(MADE_FROM_A_RUN)}"
        )
    return MADE_FROM_A_RUN[asked.name][1](run, asked)


def _interval(asked: Asked) -> dict[str, float]:
    return {} if asked.interval is None else {"sigma_min": asked.interval[0], "sigma_max": asked.interval[1]}


def _conditions(run: TrainedRun, asked: Asked) -> Callable[[Seeds], dict[str, Tensor]]:
    """Rows of conditions: those wanted, or spread as in the data."""
    _one_row(run, asked.condition)  # refuses what is not known before anything is drawn
    return lambda seeds: run.filled(run.wanted_condition(asked.condition, seeds), seeds)


def _one_row(run: TrainedRun, wanted: Mapping[str, Any]) -> dict[str, Tensor]:
    """One row of what is wanted; how large a set is says no condition that could be turned away from."""
    told = run.wanted_condition(wanted, Seeds.range(0, 1)) or {}
    return {name: values for name, values in told.items() if name != "mask"}


def _needs_conditions(run: TrainedRun, asked: Asked) -> None:
    if not run.conditional:
        raise InputError(
            f"{run.folder.path} was trained without conditions, which {asked.name!r} works with; take 'classifier' "
            "(`--train-classifier` first), or train with conditional=true"
        )


def _label(run: TrainedRun) -> str | None:
    return next((name for name, kind in run.conditions.items() if "classes" in kind), None)


def _classifier_free(run: TrainedRun, asked: Asked) -> Guided:
    _needs_conditions(run, asked)
    denoiser, guide = run.denoiser(), find("guidance", asked.name).load()
    return Guided(lambda strength: guide(denoiser, strength, **_interval(asked)), _conditions(run, asked), _label(run))


def _negative(run: TrainedRun, asked: Asked) -> Guided:
    _needs_conditions(run, asked)
    unwanted = _one_row(run, asked.negative)
    if not unwanted:
        raise InputError("the guide 'negative' needs what to keep away from: --negative label=5")
    denoiser, guide = run.denoiser(), find("guidance", asked.name).load()
    return Guided(
        lambda strength: guide(denoiser, unwanted, strength, **_interval(asked)), _conditions(run, asked), _label(run)
    )


def _composed(run: TrainedRun, asked: Asked) -> Guided:
    _needs_conditions(run, asked)
    wanted = {name: ({name: value}, 1.0) for name, value in _one_row(run, asked.condition).items()}
    unwanted = _one_row(run, asked.negative)
    experts = {**wanted, **{f"not {name}": ({name: value}, -1.0) for name, value in unwanted.items()}}
    if not experts:
        raise InputError("composed conditions need some: --condition label=3 --negative label=5")
    denoiser, guide = run.denoiser(), find("guidance", asked.name).load()
    return Guided(
        lambda strength: guide(denoiser, experts, strength, **_interval(asked)),
        lambda seeds: run.filled({}, seeds),
    )


def _auto(run: TrainedRun, asked: Asked) -> Guided:
    denoiser, guide = run.denoiser(), find("guidance", asked.name).load()
    weak = TrainedRun(RunFolder.open(asked.weak), run.device).denoiser() if asked.weak else _younger(run)
    return Guided(
        lambda strength: guide(denoiser, weak, strength, **_interval(asked)), _conditions(run, asked), _label(run)
    )


def _younger(run: TrainedRun) -> LearnedDenoiser:
    """The run's own denoiser as it was at the first snapshot of its training."""
    snapshots = sorted((run.folder.path / "averages").glob("step-*"))
    if len(snapshots) < 2:
        raise InputError(
            f"{run.folder.path} has no early snapshot of its weights (training.ema, snapshots); name a weaker run: "
            "--weak RUN"
        )
    snapshot = open_checkpoint(snapshots[0])
    denoiser = run.denoiser()
    denoiser.load_state_dict(snapshot.read(snapshot.averages[0]))
    return denoiser


def _classifier(run: TrainedRun, asked: Asked) -> Guided:
    if len(asked.condition) != 1:
        raise InputError(
            "classifier guidance needs one thing to be told, a condition or a column and its value: --condition "
            f"label=3; seen {dict(asked.condition)}"
        )
    ((name, wanted),) = asked.condition.items()
    value = target_of(run, name).value(wanted)
    classifier, denoiser, guide = load_guide(run, name), run.denoiser(), find("guidance", asked.name).load()

    def rows(seeds: Seeds) -> dict[str, Tensor]:
        return {name: value.expand(len(seeds), *value.shape)}

    return Guided(
        lambda strength: guide(denoiser, classifier.log_likelihood, strength, **_interval(asked), told=(name,)),
        rows,
        name,
    )


def _fairness(run: TrainedRun, asked: Asked) -> Guided:
    from unstir.run.fairness import fair_guide

    return Guided(fair_guide(run, asked.protected, asked.outcome, asked.given, asked.way), lambda seeds: {})


MADE_FROM_A_RUN: dict[str, tuple[str, Callable[[TrainedRun, Asked], Guided]]] = {
    "auto": ("an earlier snapshot of the run, or --weak RUN", _auto),
    "classifier": ("a classifier: --train-classifier NAME, then --condition NAME=VALUE", _classifier),
    "classifier-free": ("the run's own conditions: --condition label=3", _classifier_free),
    "composed-conditions": ("several conditions: --condition label=3 --negative label=5", _composed),
    "fairness": ("columns of a table: --protected COLUMN --outcome COLUMN", _fairness),
    "negative": ("a condition to keep away from: --negative label=5", _negative),
}
"""The guides of the catalogue that a run alone is enough for: what of it they are made from, and how."""


def draw_guided(
    run: TrainedRun,
    guided: Guided,
    strength: float,
    count: int,
    *,
    seed: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[Any, dict[str, Tensor]]:
    """``count`` encoded samples by the recipe's sampler under a guide of this strength, and their conditions."""
    if count < 1:
        raise InputError(f"at least 1 sample is needed; seen {count}")
    seeds = Seeds.range(run.recipe.seed if seed is None else seed, count)
    options, told = run.recipe.sampling, guided.rows(seeds)
    drawn = sample(
        guided.at(strength),
        build("samplers", options.sampler),
        run.shape,
        seeds=seeds.to(run.device),
        condition={name: values.to(run.device) for name, values in told.items()},
        steps=options.steps,
        grid=options.grid,
        batch=options.batch,
        progress=progress,
    )
    return drawn, told


def guide_run(
    run: TrainedRun,
    asked: Asked,
    strength: float,
    count: int,
    *,
    seed: int | None = None,
    out: Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """Draws guided samples and writes them in the field's own format; returns the files."""
    from tqdm import tqdm

    guided = guide_of(run, asked)
    with tqdm(total=count, desc=f"{asked.name}, strength {strength:g}", unit="samples", disable=not progress) as bar:
        drawn, told = draw_guided(run, guided, strength, count, seed=seed, progress=bar.update)
    words = [asked.name, f"{strength:g}", f"seed-{run.recipe.seed if seed is None else seed}", f"{count:06d}"]
    words += [f"{sign}{name}-{value}" for sign, values in (("", asked.condition), ("not-", asked.negative))
              for name, value in values.items()]  # fmt: skip
    words += [f"{low:g}-{high:g}" for low, high in ([asked.interval] if asked.interval else [])]
    own = run.folder.samples / re.sub(r"[^\w.,=-]", "_", "guided_" + "_".join(words))
    return run.domain.save(run.encoding, drawn, out or own, told, overwrite=out is None)


def guides_table() -> list[tuple[str, str, str]]:
    """Every guide of the catalogue: name, summary, and what of a run it is made from ("" where Python is needed)."""
    return [(name, entry.summary, MADE_FROM_A_RUN.get(name, ("",))[0]) for name, entry in entries("guidance").items()]
