r"""The Runge-Kutta family on Gaussian processes, from Butcher tableaux.

The ODE is solved in the variables :math:`y = x/\alpha` and :math:`r = \sigma/\alpha`, where it is
:math:`dy/dr = (y - \hat x_0)/r` for every schedule. The last step, into r = 0, is an Euler step,
which lands on the belief's mean. A step from where nothing is left of the data (r infinite), and above order two every
step that stays above r = 1, is made in :math:`w = x/\sigma` and :math:`q = 1/r`, where the same ODE is
:math:`dw/dq = \hat x_0`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.tableaus import EULER, HEUN, KUTTA_3, MIDPOINT, RUNGE_KUTTA_4, Tableau
from unstir.processes.frequency_bands import DampedSchedule, clock_of
from unstir.processes.schedules.base import Schedule
from unstir.samplers.linear import Combination, LinearSampler, Plan

__all__ = ["edm", "euler", "heun", "kutta3", "midpoint", "rk4"]


@dataclass(frozen=True)
class RungeKuttaSampler(LinearSampler):
    """An explicit Runge-Kutta method on the probability-flow ODE, with or without churn.

    With churn, a step from the noise level r to r_s, where r lies between ``least`` and ``most``, first adds noise
    up to r (r/r_s)^churn; ``inflation`` scales its deviation. The last step adds none.
    """

    tableau: Tableau
    churn: float = 0.0
    least: float = 0.0
    most: float = math.inf
    inflation: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.churn < math.inf or not 0 <= self.least <= self.most or not 0 < self.inflation < math.inf:
            raise InputError(
                "the churn is at least 0, its noise levels satisfy 0 <= least <= most, and the inflation is positive; "
                f"seen {self.churn}, {self.least}, {self.most} and {self.inflation}"
            )

    @property
    def noisy(self) -> bool:
        """Whether it draws noise."""
        return self.churn > 0

    @property
    def order(self) -> float:  # type: ignore[override]
        """Of the method; with churn its weak order, since noise that is added exactly moves no marginal."""
        return float(self.tableau.order)

    @property
    def calls_per_step(self) -> int:  # type: ignore[override]
        """One for each of the method's stages."""
        return len(self.tableau.nodes)

    def plan(self, schedule: Schedule, t: float, s: float, past: tuple[float, ...]) -> Plan:
        """The numbers of the step: every stage's state as a sum of x and the stages' means."""
        clock = clock_of(schedule)
        first, raised, plan = self._churned(schedule, t, s)
        end = (clock.sigma(s) / clock.alpha(s)).item()
        if s == 0 or not end:
            return plan
        # from infinity down, steps in r would be wide however many: what is above order two would not be seen
        reciprocal = raised == math.inf or (self.tableau.order > 2 and end >= 1)
        begin, last = (1 / raised, 1 / end) if reciprocal else (raised, end)
        places = [begin + node * (last - begin) for node in self.tableau.nodes]
        levels = [1 / place if place else math.inf for place in places] if reciprocal else places
        times = [first, *(clock.time_at_sigma(level) for level in levels[1:])]
        paces = [_pace(schedule, time, reciprocal) for time in times]
        size = schedule.sigma if reciprocal else schedule.alpha
        start = np.zeros(len(levels) + 1)  # a row of factors, of x and of each mean
        start[0] = 1 / size(first).item()
        slopes: list[np.ndarray] = []
        stages: list[np.ndarray] = []
        for number, (level, pace, weights) in enumerate(zip(levels, paces, self.tableau.matrix, strict=True)):
            stage = _moved(start, slopes, weights, last - begin)
            stages.append(stage)
            mean = np.eye(1, len(start), number + 1)[0]
            slopes.append(pace * (mean if reciprocal else (stage - mean) / level))
        weights = self.tableau.weights
        if isinstance(schedule, DampedSchedule):
            weights = _exact_for_lines(schedule, times[0], s, weights, paces, reciprocal, places, last - begin)
        moved = _moved(start, slopes, weights, last - begin)
        return plan._replace(
            end=_combination(moved * size(s).item()),
            inner=tuple(
                (time, _combination(stage * size(time).item()))
                for time, stage in zip(times[1:], stages[1:], strict=True)
            ),
        )

    def _churned(self, schedule: Schedule, t: float, s: float) -> tuple[Tensor, float, Plan]:
        """The time and the noise level from which the step is made, and the noise that leads there."""
        clock = clock_of(schedule)
        alpha, sigma = clock.alpha(t).item(), clock.sigma(t).item()
        level, time = sigma / alpha if alpha else math.inf, torch.tensor(t, dtype=torch.float64)
        if not self.churn or s == 0 or not self.least <= level <= self.most or level == math.inf:
            return time, level, Plan(None)
        end = (clock.sigma(s) / clock.alpha(s)).item()
        raised = min(level * (level / end) ** self.churn, math.exp(-clock.log_snr(1.0).item() / 2))
        if raised <= level:
            return time, level, Plan(None)
        time = clock.time_at_sigma(raised)
        size, before = schedule.alpha(time).item(), schedule.alpha(t).item()
        if clock is schedule:
            fresh = size * self.inflation * math.sqrt(raised**2 - level**2)
        else:
            fresh = schedule.sigma(time).item() * self.inflation
            fresh *= math.sqrt(-math.expm1(schedule.log_snr(time).item() - schedule.log_snr(t).item()))
        stretch = -math.log(level), -math.log(end)
        noisier = Combination(size / before if before else 0.0, (), (), (fresh,))
        return time, raised, Plan(None, stretches=(stretch,), raised=(time, noisier))


def _pace(schedule: Schedule, time: Tensor, reciprocal: bool) -> float:
    """A band's d log r, or dq, by that of its clock, in whose r or q the nodes lie; one for the clock itself."""
    if not isinstance(schedule, DampedSchedule):
        return 1.0
    return (schedule.pace(time) * (schedule.log_kept(time).exp() if reciprocal else 1.0)).item()


def _exact_for_lines(
    schedule: DampedSchedule,
    t: Tensor,
    s: float,
    weights: Sequence[float],
    paces: Sequence[float],
    reciprocal: bool,
    places: Sequence[float],
    width: float,
) -> list[float]:
    """A band's weights, scaled so that its own r or q moves as it does: what is straight in it is then exact.

    The scale is one but for the method's own error, so that its order stays.
    """
    if reciprocal:
        own = [pace for pace in paces]
        begun = places[0] * schedule.log_kept(t).exp().item()
        ended = (schedule.log_snr(s) / 2).exp().item()
    else:
        # of r' / r at the nodes, by the band's own r
        levels = [(-schedule.log_snr(schedule.clock.time_at_sigma(place)) / 2).exp().item() for place in places]
        own = [pace * level / place for pace, level, place in zip(paces, levels, places, strict=True)]
        begun, ended = levels[0], (-schedule.log_snr(s) / 2).exp().item()
    total = width * sum(weight * pace for weight, pace in zip(weights, own, strict=True))
    return [weight * (ended - begun) / total for weight in weights]


def _moved(start: np.ndarray, slopes: Sequence[np.ndarray], weights: Sequence[float], width: float) -> np.ndarray:
    return sum((weight * width * slope for slope, weight in zip(slopes, weights, strict=False)), start)


def _combination(factors: np.ndarray) -> Combination:
    of_state, *of_means = factors.tolist()
    while of_means and of_means[-1] == 0:
        of_means.pop()
    return Combination(of_state, tuple(of_means))


def euler() -> RungeKuttaSampler:
    """Euler's method in sigma, which is DDIM.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), eq. 4.
    """
    return RungeKuttaSampler(EULER)


def midpoint() -> RungeKuttaSampler:
    """The midpoint method of second order in sigma, two calls a step but for the last.

    Reference: Runge, Ueber die numerische Auflösung von Differentialgleichungen (1895); Karras et al. (2022),
    appendix B.3, with alpha = 1/2.
    """
    return RungeKuttaSampler(MIDPOINT)


def heun() -> RungeKuttaSampler:
    """Heun's method of second order: EDM's deterministic sampler, two calls a step but for the last.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), algorithm 1.
    """
    return RungeKuttaSampler(HEUN)


def kutta3() -> RungeKuttaSampler:
    """Kutta's method of third order in sigma, three calls a step but for the last.

    Reference: Kutta, Beitrag zur näherungsweisen Integration totaler Differentialgleichungen (1901).
    """
    return RungeKuttaSampler(KUTTA_3)


def rk4() -> RungeKuttaSampler:
    """The classical Runge-Kutta method of fourth order in sigma, four calls a step but for the last.

    Reference: Kutta, Beitrag zur näherungsweisen Integration totaler Differentialgleichungen (1901).
    """
    return RungeKuttaSampler(RUNGE_KUTTA_4)


def edm(churn: float = 1.0, least: float = 0.0, most: float = math.inf, inflation: float = 1.0) -> RungeKuttaSampler:
    """EDM's stochastic sampler: Heun's method with churn, noise added before each step and removed in it.

    ``churn`` is the log noise level gained before a step by that lost from its end points: 0 is ``heun``, 1 stirs as
    the reverse SDE does, whatever the number of steps. The paper's S_churn, spread over N steps, raises the level by
    1 + S_churn/N each time; on N steps from sigma_max to sigma_min that is a churn of about
    S_churn / log(sigma_max/sigma_min) (30 to 80 of the paper are 3 to 8). ``least``, ``most`` and ``inflation`` are
    its S_tmin, S_tmax and S_noise; the levels are sigma/alpha, in the units of the data. An inflation above 1 makes up
    for a network that removes too much noise, and shifts the law of an exact belief.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), algorithm 2.
    """
    return RungeKuttaSampler(HEUN, churn, least, most, inflation)


edm.examples = lambda: {  # type: ignore[attr-defined]
    "churn 1": edm(),
    "churn 4 between 0.05 and 50": edm(4.0, 0.05, 50.0),
}
