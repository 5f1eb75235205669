"""Samplers whose noise comes from a Brownian path: as the grid is refined, each sample converges, not its law alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import log_snr_uniform
from unstir.processes.schedules.base import Schedule
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.base import Sampler, SamplerState
from unstir.samplers.brownian import Address, BrownianPath
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import ImpulseSeeds, NormalDenoiser, goes_along_any_times, suited
from unstir.verification.statistics import at_most, order_of

__all__ = ["sampler_strong_order"]

START, END = 10.0, 0.05


@dataclass(frozen=True)
class ImpulsePath:
    """Noise that is zero in every row but one, where it is one: row 2 for the first stretch, 3 for the next."""

    stretches: list[tuple[float, float]] = field(default_factory=list)

    def normal_like(self, like: Tensor, seeds: Seeds, here: float, there: float) -> Tensor:
        """The next impulse."""
        self.stretches.append((here, there))
        drawn = torch.zeros_like(like)
        drawn[1 + len(self.stretches)] = 1
        return drawn


@claim("samplers")
def sampler_strong_order(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """On one Brownian path its samples converge as the grid is refined, at order one half or more.

    The root-mean-square change of the last state when each step is halved, on normal data, exactly: the state is linear
    in the increments, and these in independent draws.
    """
    goes_along_any_times(sampler)
    counts = effort.of([12, 24, 48], [16, 32, 64, 128, 256])
    path = BrownianPath(depth=10)
    for name, schedule in {"cosine": CosineSchedule(), "edm": EDMSchedule(sigma_max=START)}.items():
        ends = {}
        for count in sorted({*counts, *(2 * count for count in counts)}):
            ends[count], overlap = _answers(sampler, schedule, count, path)
            if count == counts[0]:
                yield at_most(f"covariance of the increments less that of white noise, {name}", overlap, 1e-9)
        changes = [_distance(ends[count], ends[2 * count]) for count in counts]
        yield order_of(f"strong order, {name}", [1 / count for count in counts], changes, 0.5, 0.0, at_least=True)
        yield at_most(f"change of the samples from {counts[-1]} to {2 * counts[-1]} steps, {name}", changes[-1], 0.1)


def _answers(
    sampler: Sampler, schedule: Schedule, count: int, path: BrownianPath
) -> tuple[dict[Address | str, float], float]:
    """The last state as a sum of the first state, of deviation one, and the path's draws; and how far they overlap."""
    denoiser = suited(sampler, NormalDenoiser(0.6, 0.8, GaussianProcess(schedule)))
    times = log_snr_uniform(schedule, count + 1, END, START)[:-1]
    size = math.hypot(0.8 * float(schedule.alpha(times[0])), float(schedule.sigma(times[0])))
    rows = 2 + 2 * count
    impulses, others = ImpulsePath(), ImpulseSeeds(0, torch.arange(rows))
    x = torch.zeros(rows, 1, dtype=torch.float64)
    x[1] = size
    state = SamplerState(x, others, path=impulses)
    with torch.no_grad():
        for t, s in pairwise(times):
            state = sampler.step(denoiser, state, t, s)
            if others.draws or not impulses.stretches:
                raise NotMeasured("its noise is not, or not all, that of a path", silent=True)
    answers = (state.tensor[1:] - state.tensor[0]).flatten().tolist()
    weights = [path.weights(*stretch) for stretch in impulses.stretches]
    total: dict[Address | str, float] = {"first": answers[0]}
    for answer, combination in zip(answers[1:], weights, strict=False):
        for address, weight in combination.items():
            total[address] = total.get(address, 0.0) + answer * weight
    products = [[sum(one[key] * other.get(key, 0.0) for key in one) for other in weights] for one in weights]
    return total, float(np.abs(np.array(products) - np.eye(len(weights))).max())


def _distance(first: dict[Address | str, float], second: dict[Address | str, float]) -> float:
    return math.sqrt(sum((first.get(key, 0.0) - second.get(key, 0.0)) ** 2 for key in first.keys() | second.keys()))
