"""Trains unstir's recipe or a peer's until a budget of time is spent, and draws samples."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.peers_quality import PEERS
from unstir.core.seeds import Seeds
from unstir.run.parts import training_conditions
from unstir.run.recipe import Recipe, load
from unstir.run.sampling import TrainedRun
from unstir.run.training import train_run

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"processor": time.process_time, "wall": time.perf_counter}
BY_CLASS = "unstir, by class"
OURS = {"unstir": "conditional=false", BY_CLASS: "conditional=true"}
_SPARE = 0.03  # of the budget: kept back for steps that turn out slower than those timed
_TIMED = (10, 100)  # steps of the two trainings whose difference is the time of a step


@dataclass(frozen=True)
class Budget:
    """What every candidate may spend on its training, and the seed of its weights and draws."""

    seconds: float
    clock: str = "processor"
    threads: int = 1
    seed: int = 0

    @property
    def now(self) -> Clock:
        """The clock that counts."""
        return CLOCKS[self.clock]


@dataclass(frozen=True)
class Drawn:
    """Samples of one sampler in [-1, 1], the classes that they were asked for, and the seconds they took."""

    pictures: Tensor
    labels: Tensor | None
    seconds: float


@dataclass(frozen=True)
class Trained:
    """A candidate after its training: what it is, what it spent, what it drew by which sampler."""

    description: str
    parameters: int
    seconds: float
    steps: int
    pictures_seen: int
    drawn: dict[str, Drawn]


def train_peer(name: str, budget: Budget, pictures: Tensor, labels: Tensor, asked: Tensor) -> Trained:
    """A peer's recipe, step by step until the budget is spent; then a sample for each label ``asked``."""
    torch.manual_seed(budget.seed)
    recipe = PEERS[name]()
    recipe.network.train()
    steps, order = 0, torch.empty(0, dtype=torch.int64)
    began = budget.now()
    while (spent := budget.now() - began) < budget.seconds:
        if len(order) < recipe.batch:
            order = torch.randperm(len(pictures))
        rows, order = order[: recipe.batch], order[recipe.batch :]
        recipe.step(pictures[rows], labels[rows], spent / budget.seconds)
        steps += 1
    recipe.network.eval()
    drawn = {}
    for sampler, draw in recipe.samplers().items():
        torch.manual_seed(budget.seed + 1)
        began = budget.now()
        with torch.no_grad():
            samples = draw(asked)
        drawn[sampler] = Drawn(samples, asked if recipe.by_class else None, budget.now() - began)
    return Trained(recipe.description, recipe.parameters, spent, steps, steps * recipe.batch, drawn)


def train_ours(name: str, budget: Budget, count: int) -> Trained:
    """unstir's recipe ``digits``, as many steps as fit into the budget; then ``count`` samples of its own sampler.

    The recipe's learning rate and average follow its number of steps, which is therefore settled beforehand:
    by two short trainings, which are not counted. What the training then really spent is returned.
    """
    overrides = [OURS[name], f"seed={budget.seed}", f"training.threads={budget.threads}"]
    with tempfile.TemporaryDirectory() as folder:
        fixed, each = _times(overrides, budget, Path(folder))
        steps = steps_within(budget.seconds, fixed, each)
        recipe = load("digits", [*overrides, f"training.steps={steps}"])
        run, spent = _train(recipe, budget, Path(folder) / "run")
        denoiser = run.denoiser()
        began = budget.now()
        seeds = Seeds.range(budget.seed, count)
        condition = training_conditions(run.data, seeds) if run.conditional else {}
        samples = run.draw(denoiser, seeds, condition)
        sampling = budget.now() - began
    options = run.recipe.training
    parameters = sum(parameter.numel() for parameter in denoiser.parameters())
    sampler = f"{run.recipe.sampling.sampler['name']} {run.recipe.sampling.steps}"
    drawn = {sampler: Drawn(samples, condition.get("label"), sampling)}
    return Trained(_description(run.recipe), parameters, spent, steps, steps * options.batch, drawn)


def steps_within(seconds: float, fixed: float, each: float) -> int:
    """How many steps of ``each`` seconds fit beside the ``fixed`` ones, a little being kept back; at least one."""
    return max(1, int(((1 - _SPARE) * seconds - fixed) / each))


def costs(short: float, long: float) -> tuple[float, float]:
    """Seconds of a training's beginning and end, and of one step, from those of the two timed trainings.

    A step is never taken for less than half of its share of the longer one: on a busy machine the two may be
    timed so unevenly that their difference says nothing.
    """
    few, many = _TIMED
    each = max((long - short) / (many - few), long / many / 2)
    return max(short - few * each, 0.0), each


def _times(overrides: list[str], budget: Budget, folder: Path) -> tuple[float, float]:
    spent = []
    for number, steps in enumerate((_TIMED[0], *_TIMED)):  # the first also loads what is loaded once
        recipe = load("digits", [*overrides, f"training.steps={steps}"])
        spent.append(_train(recipe, budget, folder / f"timed-{number}")[1])
    return costs(spent[1], spent[2])


def _train(recipe: Recipe, budget: Budget, folder: Path) -> tuple[TrainedRun, float]:
    began = budget.now()
    run, _ = train_run(recipe, folder, progress=False)
    return TrainedRun(run), budget.now() - began


def _description(recipe: Recipe) -> str:
    network, training = recipe.network or {}, recipe.training
    rate = training.learning_rate
    return (
        f"recipe digits: {network['name']} {'-'.join(map(str, network['widths']))}, "
        f"{recipe.process['schedule']['name']} schedule, AdamW {rate['peak']:g} {rate['name']}, "
        f"batch {training.batch}, power-function average" + ("; by class" if recipe.conditional else "")
    )
