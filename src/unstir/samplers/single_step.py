"""Exponential integrators with states inside the step: DPM-Solver-2 and -3, DPM-Solver++(2S) and their SDE form.

The names are in ``presets.py``.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import torch

from unstir.core.errors import InputError
from unstir.processes.frequency_bands import clock_of
from unstir.processes.schedules.base import Schedule
from unstir.samplers.family import ExponentialFamily, Sum, add, combination, prediction_at, scaled, unit
from unstir.samplers.interpolation import level
from unstir.samplers.linear import Plan


@dataclass(frozen=True)
class Stage:
    """A state within a step: at which ``share`` of it in log-SNR (1: its end), and through which earlier values."""

    share: float
    values: tuple[int, ...]


@dataclass(frozen=True)
class SingleStepSampler(ExponentialFamily):
    """A step with inner states and no memory; each but the last has one call for every one of its ``stages``.

    A step that starts where nothing is left of the data has one call, as has the step into time 0.
    """

    stages: tuple[Stage, ...] = (Stage(1.0, (0,)),)
    declared: float = 1.0

    def __post_init__(self) -> None:
        """Refuses inner states that are not within the step."""
        super().__post_init__()
        shares = [stage.share for stage in self.stages]
        if not (shares[-1] == 1 and all(0 < a < b for a, b in pairwise(shares))):
            raise InputError(f"inner states lie in rising order between 0 and 1 of the step; seen {shares[:-1]}")

    @property
    def order(self) -> float:  # type: ignore[override]
        """Of the ODE; the weak order with noise."""
        return 1.0 if self.noisy else self.declared

    @property
    def calls_per_step(self) -> int:  # type: ignore[override]
        """One for each state."""
        return len(self.stages)

    def plan(self, schedule: Schedule, t: float, s: float, past: tuple[float, ...]) -> Plan:
        """The step with its inner states, all as sums of x_t, the means found so far and one path of noise."""
        here, there = level(schedule, t), level(schedule, s)
        if there.half == math.inf:
            return Plan(None)
        if here.half == -math.inf:
            return self.from_nothing(here, there)
        levels = [here]
        # a band of frequencies has its inner states where all of them have, at its clock's times
        clock = clock_of(schedule)
        begin, end = (level(clock, time).half for time in (t, s))
        for stage in self.stages[:-1]:
            half = begin + stage.share * (end - begin)
            levels.append(level(schedule, clock.time(2 * half).item()))
        levels.append(there)
        states = [unit("x", 0)]
        noise: Sum = defaultdict(float)
        values: list[Sum] = []
        stretches = []
        for number, stage in enumerate(self.stages):
            values.append(prediction_at(self.interpolation(here, there), levels[number], states[number], number))
            last = self.interpolation(levels[number], levels[number + 1])
            stretch = last.weights(schedule, levels[number], levels[number + 1], (levels[number],))
            noise = scaled(noise, stretch.state)
            if self.noisy:
                noise["noise", number] = stretch.noise
                stretches.append((levels[number].half, levels[number + 1].half))
            rule = self.interpolation(here, levels[number + 1])
            weights = rule.weights(schedule, here, levels[number + 1], tuple(levels[index] for index in stage.values))
            total = scaled(states[0], weights.state)
            for factor, index in zip(weights.values, stage.values, strict=True):
                add(total, values[index], factor)
            add(total, noise, 1.0)
            states.append(total)
        inner = tuple(
            (torch.tensor(place.time, dtype=torch.float64), combination(state))
            for place, state in zip(levels[1:-1], states[1:-1], strict=True)
        )
        return Plan(combination(states[-1]), inner, stretches=tuple(stretches))
