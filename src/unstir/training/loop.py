"""The training loop: a function of a denoiser, data and options."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import unstir
from unstir.core.catalogue import build
from unstir.core.errors import InputError, NonFiniteError
from unstir.denoisers.base import Denoiser
from unstir.training import checkpoints
from unstir.training.checkpoints import Checkpoint
from unstir.training.data import Data
from unstir.training.interruption import Interruption, TrainingInterrupted
from unstir.training.options import TrainingOptions, changed_options
from unstir.training.parallel import Group, spread, whole
from unstir.training.progress import Progress, read_progress
from unstir.training.session import Session

Evaluate = Callable[[Denoiser, int], Mapping[str, Any]]


@dataclass(frozen=True)
class TrainingResult:
    """What a training ends with.

    ``checkpoint``: the last one's folder; ``samples``: seen, over all processes; ``seconds``: of training, over
    all sessions of the run; ``loss``: mean of the last interval logged; ``evaluation``: what ``evaluate`` last
    found; ``resumed_from``: the step at which this call took the run up, 0 for a new one.
    """

    folder: Path
    checkpoint: Path
    step: int
    samples: int
    seconds: float
    loss: float
    evaluation: Mapping[str, Any]
    resumed_from: int


def train(
    denoiser: Denoiser,
    data: Data,
    options: TrainingOptions | Mapping[str, Any] | None = None,
    folder: Path | str = "runs/training",
    *,
    seed: int = 0,
    evaluate: Evaluate | None = None,
    progress: bool = True,
    recipe: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Trains a denoiser on data, in a folder that holds all it takes to go on after a kill at any moment.

    If ``folder`` holds a checkpoint, the run goes on from there and ends with the weights, to the bit, that
    it would have had without the interruption. On return the denoiser holds the averaged weights (the first
    of ``options.ema``) and is in evaluation mode: ready for sampling. The plain weights are in the checkpoint.

    Samples are drawn without replacement within an epoch; each one's row, noise, level and augmentation
    depend on ``seed`` and its position in the training alone, so the number of processes and the
    accumulation change no more than the rounding. (Dropout inside a network does depend on them.) The loss
    of a sample is weighting(log-SNR) * posterior.loss(x0), corrected for how levels are drawn; a denoiser that
    says ``members`` is shown so many noises of each sample, and its posterior's loss scores them together.

    evaluate: called as ``evaluate(denoiser, step)`` with the averaged weights in place, every
        ``options.evaluate_every`` steps and at the end; the numbers it returns are logged.
    progress: shows a bar with throughput, loss and time left.
    recipe: what trackers are told of the run; else the options.

    Raises InputError for options or data that cannot be used, or a folder whose run was another one;
    NonFiniteError when a loss or gradient is not finite, with the last good state saved;
    TrainingInterrupted (a KeyboardInterrupt) after SIGINT or SIGTERM, with the state saved.
    """
    if not isinstance(options, TrainingOptions):
        options = TrainingOptions.of(options or {})
    group = Group(options.device, options.parallel)
    try:
        session = Session(denoiser, data, options, seed, group)
        run = _Run(session, Path(folder), recipe, progress)
        with session.settings.entered():
            run.go(evaluate)
        return run.result()
    finally:
        group.close()


class _Run:
    """A session and its folder: resume, steps, logs, saves."""

    def __init__(self, session: Session, folder: Path, recipe: Mapping[str, Any] | None, show: bool) -> None:
        self.session, self.folder, self.group, self.options = session, folder, session.group, session.options
        self.recipe = dict(recipe) if recipe is not None else self.options.record()
        self.first = self.done = 0
        self.checkpoint: Path | None = None
        self.line: dict[str, Any] = {}
        trackers = [build("trackers", tracker) for tracker in self.options.trackers] if self.group.leads else []
        show = show and self.group.leads
        self.progress = Progress(folder, self.options.steps, self.options.batch, show=show, trackers=trackers)

    def go(self, evaluate: Evaluate | None) -> None:
        """From the last checkpoint, or the start, to the end."""
        try:
            self.resume()
            self.session.denoiser.train()
            if self.group.leads:
                checkpoints.clean(self.folder, after=self.done)
                self.progress.begin(self.done)
                for tracker in self.progress.trackers:
                    tracker.start(self.folder, self.recipe)
            self._steps(evaluate)
        finally:
            self.progress.close()
        self.session.put_average()
        self.session.denoiser.eval()
        self.group.wait()

    def _steps(self, evaluate: Evaluate | None) -> None:
        options, saved, stop = self.options, time.monotonic(), False
        with Interruption() as interruption, self.session.parts(self.first) as parts:
            for step in range(self.first, options.steps):
                votes = (bool(interruption.signal_name), time.monotonic() - saved >= options.checkpoint_every)
                try:
                    found = self.session.step(step, parts, votes)
                except NonFiniteError:
                    self.save()
                    raise
                self.done = step + 1
                self.progress.add(found.loss, found.gradient_norm, found.log_snr, found.losses)
                last, (stop, due) = self.done == options.steps, found.votes
                self._tell(evaluate, last)
                if self.session.plan.is_snapshot(self.done, options.steps):
                    self.snapshot()
                if stop or due or last:
                    self.save()
                    saved = time.monotonic()
                if stop:
                    break
            if interruption.signal_name or stop:
                name = interruption.signal_name or "a signal to another process"
                raise TrainingInterrupted(
                    f"stopped by {name} after step {self.done} of {options.steps}; the state is saved in "
                    f"{self.folder}: run the same again and it goes on from there",
                    self.done,
                    name,
                )

    def _tell(self, evaluate: Evaluate | None, last: bool) -> None:
        """Evaluates and logs where that is due."""
        every, evaluation = self.options.evaluate_every, None
        if evaluate and (last or (every and self.done % every == 0)):
            with self.session.averaged() as denoiser, torch.no_grad():
                evaluation = dict(evaluate(denoiser, self.done))
        if last or evaluation or self.done % self.options.log_every == 0:
            rate = self.session.optimizer.learning_rate
            self.line = self.progress.log(self.done, rate, evaluation, write=self.group.leads)

    def save(self) -> None:
        """Writes a checkpoint of the state after ``self.done`` steps."""
        session = self.session
        tensors = {"weights": self._whole(), **self._averages(), "optimizer": session.optimizer.state()}
        if adapted := session.levels.state_dict():
            tensors["levels"] = adapted
        if self.group.leads:
            state = {**self._state(), "progress": self.progress.state()}
            self.checkpoint = checkpoints.save_checkpoint(self.folder, tensors, state, self.options.keep)

    def snapshot(self) -> None:
        """Writes the averages alone."""
        tensors = self._averages()
        if self.group.leads:
            checkpoints.save_snapshot(self.folder, tensors, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "format": 1,
            "step": self.done,
            "steps": self.options.steps,
            "samples": self.done * self.options.batch,
            "seed": self.session.seed,
            "data": self.session.data.digest,
            "options": self.options.record(),
            "precision": "bfloat16" if self.session.settings.bfloat16 else "float32",
            "processes": self.group.size,
            "versions": {
                "unstir": unstir.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }

    def _whole(self, replaced: Mapping[str, Any] | None = None) -> dict[str, torch.Tensor]:
        """The denoiser's state in full, some of its tensors replaced."""
        own = {**self.session.denoiser.state_dict(), **(replaced or {})}
        return {name: whole(tensor.detach()) for name, tensor in own.items()}

    def _averages(self) -> dict[str, dict[str, torch.Tensor]]:
        return {label: self._whole(tensors) for label, tensors in self.session.averages.of.items()}

    def resume(self) -> None:
        """Takes up the last checkpoint of the folder, if there is one that fits."""
        checkpoint = checkpoints.latest(self.folder)
        if checkpoint is None:
            return
        self._check_same(checkpoint)
        session = self.session
        own = session.denoiser.state_dict()
        self._put(checkpoint.read("weights"), own)
        for label, tensors in session.averages.of.items():
            self._put(checkpoint.read(label), tensors)
        session.optimizer.restore(checkpoint.read("optimizer"))
        if session.levels.state_dict():
            session.levels.load_state_dict(checkpoint.read("levels"))
        self.first = self.done = checkpoint.step
        self.checkpoint = checkpoint.path
        self.progress.restore(checkpoint.state["progress"], self.done)

    @staticmethod
    @torch.no_grad()
    def _put(stored: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> None:
        checkpoints.check_same_tensors(stored, own, exactly=False)
        for name, tensor in own.items():
            tensor.copy_(spread(stored[name], tensor))

    def _check_same(self, checkpoint: Checkpoint) -> None:
        """A folder holds one run: other options, data or seed belong into another folder."""
        state, session = checkpoint.state, self.session
        changed = {f"training.{name}": pair for name, pair in changed_options(state["options"], self.options).items()}
        if state["seed"] != session.seed:
            changed["seed"] = (state["seed"], session.seed)
        if state["data"] != session.data.digest:
            changed["the data's SHA-256"] = (state["data"][:12], session.data.digest[:12])
        if checkpoint.step > self.options.steps:
            changed["training.steps"] = (f"{checkpoint.step} done", self.options.steps)
        if changed:
            listed = "; ".join(f"{name} was {before!r}, is now {now!r}" for name, (before, now) in changed.items())
            raise InputError(
                f"{self.folder} holds another run ({listed}); to go on with it, give what it was begun with; "
                "for a new run, name another folder"
            )

    def result(self) -> TrainingResult:
        """What there is to say at the end."""
        lines = read_progress(self.progress.path) if not self.line else [self.line]
        line = lines[-1] if lines else {}
        return TrainingResult(
            folder=self.folder,
            checkpoint=self.checkpoint or checkpoints.latest(self.folder).path,  # type: ignore[union-attr]
            step=self.done,
            samples=self.done * self.options.batch,
            seconds=self.progress.seconds,
            loss=line.get("loss", float("nan")),
            evaluation=line.get("evaluation", {}),
            resumed_from=self.first,
        )
