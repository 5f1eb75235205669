"""One training's parts, and the step that they take together."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.core.state import map_state
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.noise_levels import Levels
from unstir.processes.bridge import BridgeProcess
from unstir.training.addresses import Addresses, shares
from unstir.training.averages import Averages
from unstir.training.couplings import Coupling
from unstir.training.data import Data
from unstir.training.optimizer import Optimizer
from unstir.training.options import TrainingOptions
from unstir.training.parallel import Group, local
from unstir.training.profiles import Plan
from unstir.training.settings import Settings

_NEVER_DROPPED = {"mask", "augment"}  # they say how to read a sample, not what it is
_NOTHING_LEFT = -40.0  # a log-SNR at which data has left no trace, where the schedule's end is at minus infinity


class Part(NamedTuple):
    """A part of a batch, as the data gave it, and the addresses of its draws."""

    x0: Any
    condition: dict[str, Tensor]
    seeds: Seeds


class Step(NamedTuple):
    """What a step found; of the whole batch, on the CPU."""

    loss: float
    gradient_norm: float
    log_snr: np.ndarray
    losses: np.ndarray  # weighted, not corrected for how levels are drawn
    votes: tuple[bool, ...]  # what any process asked for


class Session:
    """Denoiser, data and options made ready on a group of processes."""

    def __init__(self, denoiser: Denoiser, data: Data, options: TrainingOptions, seed: int, group: Group) -> None:
        self.denoiser, self.data, self.options, self.seed, self.group = denoiser, data, options, seed, group
        near = getattr(data, "locality", None)
        self.addresses = Addresses(seed, len(data), options.batch, options.stratified, near)
        self.shares = shares(options.batch, options.accumulate, group.rank, group.size)
        self.levels = build("noise_levels", options.noise_levels, schedule=denoiser.process.schedule)
        self.weighting = _weighting(options, denoiser)
        self.coupling = _coupling(options, denoiser)
        self.plan = Plan.of(options.ema)
        axes = 1 if isinstance(data.shape, Mapping) else len(data.shape)
        self.settings = Settings(options, group.device, axes)
        self.settings.prepare(denoiser)
        self.module = group.wrap(denoiser)
        self.weights = dict(denoiser.named_parameters())
        if not any(weight.requires_grad for weight in self.weights.values()):
            raise InputError("the denoiser has no weights to train; give one that holds a network")
        self.averages = Averages(self.plan.profiles, self.weights)
        self.optimizer = Optimizer(self.weights, options)

    def step(self, step: int, parts: Iterator[Part], votes: tuple[bool, ...] = ()) -> Step:
        """One optimiser step on the parts of this process, which are taken from ``parts``.

        ``votes`` are shared with all processes on the way. Raises NonFiniteError, before any weight has
        changed, if the loss or its gradient is not finite.
        """
        u = self.addresses.uniform(step)
        levels, weight = self._levels(u)
        t = self.denoiser.process.schedule.time(levels.log_snr)
        losses = torch.zeros(self.options.batch + len(votes), dtype=torch.float64)
        for number, share in enumerate(self.shares):
            places = slice(share.start, share.stop)
            self.settings.seed_layers(self.addresses.layer_seed(step, number, self.group.rank))
            last = number == len(self.shares) - 1
            with torch.enable_grad(), self._no_sync() if not last else _nothing():
                loss = self._losses(next(parts), t[places])
                weighted = loss * weight[places].to(loss)
                # processes average their gradients, hence the factor of their number
                total = (weighted * levels.correction[places].to(loss)).sum() * (self.group.size / self.options.batch)
                total.backward()
            losses[places] = weighted.detach().to(losses)
        norm = self.optimizer.gradient_norm()
        losses[self.options.batch :] = torch.tensor([float(vote) for vote in votes], dtype=torch.float64)
        losses = self.group.sum(losses)
        losses, heard = losses[: self.options.batch], losses[self.options.batch :] > 0
        loss = (losses * levels.correction).mean().item()
        self._check(step, losses, levels.log_snr, norm)
        self.optimizer.step(step, norm)
        self.averages.update(self.weights, step + 1, self.options.batch)
        self.levels.update(u, losses)
        return Step(loss, norm.item(), levels.log_snr.numpy(), losses.numpy(), tuple(heard.tolist()))

    def _levels(self, u: Tensor) -> tuple[Levels, Tensor]:
        """The noise levels of a step and the losses' weights, float64 (batch,)."""
        if not (isinstance(self.denoiser, LearnedDenoiser) and self.denoiser.at_noise_only):
            levels = self.levels(u)
            return levels, self.weighting(levels.log_snr, levels.density)
        # all samples at one level: weightings are made for many, and may be zero or without bound at the last
        last = self.denoiser.process.schedule.log_snr(1.0).clamp(min=_NOTHING_LEFT)
        ones = torch.ones_like(u)
        return Levels(last * ones, ones, ones), self.denoiser.loss_weight(ones)

    def _no_sync(self) -> Any:
        return self.group.without_sync(self.module)

    def _losses(self, part: Part, t: Tensor) -> Tensor:
        """The loss of each sample of a part, before its weight; shape (batch,)."""
        x0, condition = self.settings.place(part.x0), self.settings.place(part.condition)
        mask = condition.get("mask")
        times: Any = t.to(self.group.device)
        noise, members, around = self.denoiser.process.noise, 1, None
        if isinstance(self.denoiser, LearnedDenoiser):
            times = self.denoiser.training_times(times, part.seeds.at("times"))
            noise, members, around = self.denoiser.training_state, self.denoiser.members, self.denoiser.around
        told = {"source": condition.pop("source")} if self.coupling and "source" in condition else {}
        seeds = part.seeds.at("noise")
        draws = [noise(x0, times, each, mask, **told) for each in _of_members(seeds, members)]
        drop = None
        if self.options.drop_condition > 0 and set(condition) - _NEVER_DROPPED - {around}:
            drop = (part.seeds.at("drop").uniform() < self.options.drop_condition).to(self.group.device)
        if members == 1:
            xt = draws[0]
        else:  # a sample's members follow one another, each with its sample's time and conditions
            xt = map_state(lambda *parts: torch.stack(parts, 1).flatten(0, 1), *draws)
            times, condition = map_state(_repeated(members), times), map_state(_repeated(members), condition)
            drop = None if drop is None else _repeated(members)(drop)
        with self.settings.autocast():
            posterior = self.module(xt, times, drop, **condition)
        return posterior.loss(x0, mask)

    def _check(self, step: int, losses: Tensor, log_snr: Tensor, norm: Tensor) -> None:
        bad = ~losses.isfinite()
        if not bool(bad.any()) and bool(norm.isfinite()):
            return
        self.optimizer.adam.zero_grad(set_to_none=True)
        self.optimizer.set_learning_rate(step)
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            row = int(self.addresses.rows(step, range(first, first + 1))[0])
            levels = log_snr[bad]
            seen = (
                f"the loss of {int(bad.sum())} of {len(bad)} samples is not finite (the first: row {row} of the data), "
                f"at log-SNR {levels.min():.2f} to {levels.max():.2f}, sigma/alpha "
                f"{(-levels.max() / 2).exp():.3g} to {(-levels.min() / 2).exp():.3g}"
            )
        else:
            seen = (
                f"the gradient is not finite, though the loss is {losses.mean():.4g}; log-SNR from "
                f"{log_snr.min():.2f} to {log_snr.max():.2f}"
            )
        rate = self.optimizer.learning_rate
        raise NonFiniteError(
            f"step {step + 1}: {seen}; learning rate {rate:.3g}. The weights are as they were after step {step}. "
            "Go on with precision: float32, or begin anew with a lower learning rate or a longer warm-up"
        )

    @contextmanager
    def parts(self, first: int) -> Iterator[Iterator[Part]]:
        """This process's parts of all steps from ``first`` on, in order; read ahead where a card computes."""

        def read(step: int, share: range) -> Part:
            seeds = self.addresses.seeds(step, share)
            x0, condition = self.data.batch(self.addresses.rows(step, share), seeds.at("augment"))
            return Part(x0, self._paired(x0, condition, seeds), seeds)

        places = ((step, share) for step in range(first, self.options.steps) for share in self.shares)
        if self.group.device.type == "cpu":
            yield (read(*place) for place in places)
            return
        with ThreadPoolExecutor(1) as reader:
            yield _ahead(reader, read, places)

    def _paired(self, x0: Any, condition: dict[str, Tensor], seeds: Seeds) -> dict[str, Tensor]:
        """The conditions with the source that the coupling gives each row; for a bridge."""
        if self.coupling is None:
            return condition
        process = self.denoiser.process
        source = condition.get("source")
        if source is None:
            source = process.normal_source(x0.shape[1:], seeds, x0.dtype)
        chosen = self.coupling(x0, source, condition, seeds.at("coupling"))
        return {**condition, "source": source[chosen]}

    @contextmanager
    def averaged(self) -> Iterator[Denoiser]:
        """The denoiser in evaluation mode with the averaged weights in place, for a while."""
        kept = {name: local(weight.detach()).clone() for name, weight in self.weights.items()}
        self.put_average()
        self.denoiser.eval()
        try:
            yield self.denoiser
        finally:
            self._put(kept)
            self.denoiser.train()

    def put_average(self) -> None:
        """Puts the first average in place of the weights; without averages, nothing."""
        if self.plan.profiles:
            self._put(self.averages.of[self.plan.profiles[0].label])

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            local(self.weights[name]).copy_(local(tensor))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _ahead(
    reader: ThreadPoolExecutor, read: Callable[[int, range], Part], places: Iterator[tuple[int, range]]
) -> Iterator[Part]:
    """Reads one place ahead of what is asked for."""
    coming = None
    for place in places:
        current, coming = coming, reader.submit(read, *place)
        if current is not None:
            yield current.result()
    if coming is not None:
        yield coming.result()


def _of_members(seeds: Seeds, members: int) -> list[Seeds]:
    """The addresses of each member's noise."""
    return [seeds] if members == 1 else [seeds.at(member) for member in range(members)]


def _repeated(members: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.repeat_interleave(members, 0)


def _weighting(options: TrainingOptions, denoiser: Denoiser) -> Callable[[Tensor, Tensor], Tensor]:
    """The weighting, told the data's deviation as the denoiser has it, unless the options say another."""
    says_own = not isinstance(options.weighting, str) and "sigma_data" in options.weighting
    given = {} if says_own else {"sigma_data": getattr(denoiser, "sigma_data", 1.0)}
    return build("weightings", options.weighting, **given)


def _coupling(options: TrainingOptions, denoiser: Denoiser) -> Coupling | None:
    """The coupling of a bridge's training, told the process's motion unless the options say another."""
    process = denoiser.process
    if not isinstance(process, BridgeProcess):
        if options.pairs_as_drawn:
            return None
        raise InputError(
            "training.coupling pairs data with the sources of a bridge; what it teaches is a flow and no score of "
            f"{type(process).__name__}: take process: {{name: bridge, source: normal}}, or coupling: independent"
        )
    says_own = not isinstance(options.coupling, str) and "sigma" in options.coupling
    return build("couplings", options.coupling, **({} if says_own else {"sigma": process.sigma}))
