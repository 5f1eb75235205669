"""The options that all exponential integrators share, and sums of states, means and noises with float factors."""

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TypeAlias

from unstir.core.errors import InputError, unknown
from unstir.samplers.interpolation import PREDICTIONS, VARIABLES, Interpolation, Level
from unstir.samplers.linear import Combination, LinearSampler, Plan

Sum: TypeAlias = defaultdict[tuple[str, int], float]  # of ("x", 0), ("mean", k), ("past", j) and ("noise", i)
MOST = 4


@dataclass(frozen=True)
class ExponentialFamily(LinearSampler):
    """The options that all members share.

    ``eta``, if given, replaces tau by DDIM's scale of the noise, whose square is the share of the noise that DDPM's
    step would add. Noise is added where sigma/alpha lies in ``noise_range``. ``prediction``, ``variable``, ``scale``
    (the data's standard deviation, for velocity, angle and flow) and ``averaged``: see ``Interpolation``.
    """

    steps_used: int = 1
    stochasticity: float = 0.0
    eta: float | None = None
    prediction: str = "data"
    variable: str = "log-snr"
    scale: float = 1.0
    averaged: int = 0
    noise_range: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self) -> None:
        """Refuses what cannot be."""
        if not 1 <= self.steps_used <= MOST:
            raise InputError(f"the order is 1 to {MOST}; seen {self.steps_used}")
        if not self.stochasticity >= 0 or (self.eta is not None and not 0 <= self.eta <= 1):
            seen = f"{self.stochasticity} and {self.eta}"
            raise InputError(f"the stochasticity is at least 0 and eta lies between 0 and 1; seen {seen}")
        if self.prediction not in PREDICTIONS:
            raise unknown("prediction", self.prediction, PREDICTIONS)
        if self.variable not in VARIABLES:
            raise unknown("variable of the polynomial", self.variable, VARIABLES)
        if not self.scale > 0:
            raise InputError(f"sigma_data, the data's standard deviation, must be positive; seen {self.scale}")
        if (self.stochasticity or self.eta) and self.prediction not in ("data", "noise"):
            raise InputError(f"noise is added in the predictions data and noise; seen {self.prediction!r}")
        if self.eta is not None and (self.steps_used > 1 or self.prediction != "data"):
            raise InputError("eta is DDIM's, of order 1 in data prediction; take the stochasticity for higher orders")
        low, high = self.noise_range
        if not 0 <= low < high:
            raise InputError(f"noise is added between two levels of sigma/alpha, 0 <= low < high; seen {low}, {high}")

    @property
    def noisy(self) -> bool:
        """Whether it draws noise."""
        return bool(self.stochasticity or self.eta)

    def interpolation(self, here: Level, there: Level) -> Interpolation:
        """The rule of the step between two levels."""
        rate = self.stochasticity**2
        if self.eta is not None:
            # e^(-2 tau^2 h) = 1 - eta^2 (1 - e^(-2h)) makes the new noise eta times DDPM's
            width = there.half - here.half
            rate = 1.0 if self.eta == 1 else -math.log1p(self.eta**2 * math.expm1(-2 * width)) / 2 / width
        low, high = self.noise_range
        halves = (-math.log(high) if high > 0 else math.inf, -math.log(low) if low > 0 else math.inf)
        return Interpolation(self.prediction, self.variable, rate, halves, self.scale, self.averaged)

    def from_nothing(self, here: Level, there: Level) -> Plan:
        """The step from alpha = 0, where the state is noise and no more: order one in data prediction, in the limit."""
        rule = self.interpolation(here, there)
        if self.eta is not None:
            kept = math.sqrt(1 - self.eta**2)
        else:
            nearer = replace(rule, prediction="data").decay(here, there)
            kept = math.exp(-nearer)
        noises = (there.sigma * math.sqrt(1 - kept**2),) if kept < 1 else ()
        end = Combination(there.sigma / here.sigma * kept, (there.alpha,), (), noises)
        return Plan(end, stretches=((here.half, there.half),) if noises else ())


def unit(kind: str, index: int) -> Sum:
    """One term."""
    return defaultdict(float, {(kind, index): 1.0})


def prediction_at(rule: Interpolation, place: Level, state: Sum, number: int) -> Sum:
    """Q at a state and its mean, the step's ``number``-th."""
    of_state, of_mean = rule.dialect(place)
    value = scaled(state, of_state)
    value["mean", number] += of_mean
    return value


def scaled(terms: Sum, factor: float) -> Sum:
    """The sum times a factor."""
    return defaultdict(float, {key: factor * value for key, value in terms.items()})


def add(total: Sum, terms: Sum, factor: float) -> None:
    """Adds a multiple of other terms, in place."""
    for key, value in terms.items():
        total[key] += factor * value


def combination(terms: Sum) -> Combination:
    """The sum as the executor takes it."""
    means, past, noises = (
        tuple(
            terms.get((kind, index), 0.0)
            for index in range(
                1 + max((at for (what, at), value in terms.items() if what == kind and value), default=-1)
            )
        )
        for kind in ("mean", "past", "noise")
    )
    return Combination(terms["x", 0], means, past, noises)
