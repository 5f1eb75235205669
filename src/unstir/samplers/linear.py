"""The executor of every sampler whose step is a linear combination with numbers that the times alone decide.

A step evaluates the belief's mean at the state (and perhaps at further states within the step); what comes out is
a sum of the state, the means, what is kept of the last steps, and fresh normal noise. A family says the
coefficients, once for each pair of times: they are floats, remembered for the next batch on the same grid.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.processes.schedules.base import Schedule
from unstir.samplers.band_steps import step_by_bands
from unstir.samplers.base import EUCLIDEAN, HEAVY_TAILED, SPECTRAL, Sampler, SamplerState

_MOST_PLANS = 8192
_SHARED = 1e-15  # of the sum of two factors from one: rounding


class Combination(NamedTuple):
    """A state to be: ``state`` x_t + sum ``means`` m_k + sum ``past`` p_j + sum ``noises`` z_i, as tuples of floats.

    m_0 is the mean at x_t, m_1 that at the first inner state; p_0 is the newest of what the history keeps.
    """

    state: float
    means: tuple[float, ...]
    past: tuple[float, ...] = ()
    noises: tuple[float, ...] = ()


class Plan(NamedTuple):
    """One step's numbers.

    ``raised``, where it is given, has the time and the combination (of state and noise) of a state that takes x_t's
    place before all else. ``inner`` has the time and the combination of every further state at which the denoiser is
    asked; ``end`` is the state at the step's end, None where that is the mean itself. ``kept`` are the factors of the
    state and the mean in what the history keeps of this step, one of them 1, and None where nothing is kept; they are
    those of the last inner state if ``inner_kept``, else of x_t and m_0. ``memory`` is the most entries of a history.
    ``stretches`` holds log(alpha/sigma) at both ends of each independent draw of noise.
    """

    end: Combination | None
    inner: tuple[tuple[Tensor, Combination], ...] = ()
    kept: tuple[float, float] | None = None
    memory: int = 0
    inner_kept: bool = False
    stretches: tuple[tuple[float, float], ...] = ()
    raised: tuple[Tensor, Combination] | None = None

    @property
    def simple(self) -> bool:
        """Whether the end is a sum of the state and one mean, and nothing is kept."""
        if self.end is None or self.kept or self.inner or self.stretches:
            return False
        return len(self.end.means) == 1 and not self.end.past

    @property
    def shared(self) -> bool:
        """Whether the end's factors of the state and the first mean add to one: a single pass over memory."""
        return self.end is not None and abs(self.end.state + self.end.means[0] - 1) < _SHARED


@dataclass(frozen=True)
class LinearSampler(Sampler):
    """Takes steps by plan. The history is a tuple of (time, tensor), newest first.

    Sampler and schedule must not change once they are used: plans are remembered for the two objects.
    """

    @property
    def spaces(self) -> frozenset[str]:  # type: ignore[override]
        """Gaussian noise, in all frequencies alike or not; without noise of its own, any that is added to the data."""
        return EUCLIDEAN | SPECTRAL if self.noisy else EUCLIDEAN | SPECTRAL | HEAVY_TAILED

    @property
    def noisy(self) -> bool:
        """Whether it draws noise."""
        return True

    @abstractmethod
    def plan(self, schedule: Schedule, t: float, s: float, past: tuple[float, ...]) -> Plan:
        """The numbers of the step from t to s; ``past`` are the times of the history, newest first.

        Where frequencies have schedules of their own it is asked for each of them: inner states, and ``raised``, are
        then to lie at the times of ``clock_of(schedule)``.
        """

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        """The step by its plan; the state's mean is that of the first call."""
        if denoiser.process.space in SPECTRAL:
            return step_by_bands(self, denoiser, state, t, s, _noise)
        x, history = state.tensor, state.history
        past = tuple([entry[0] for entry in history]) if history else ()
        start = t.item()
        plan, simple, shared = _remembered(self, denoiser.process.schedule, start, s.item(), past)
        noises: tuple[Tensor, ...] = ()
        if plan.stretches:
            noises = tuple([_noise(state, x, number, ends) for number, ends in enumerate(plan.stretches)])
        if plan.raised is not None:
            t, combination = plan.raised
            x = _combined(combination, x, (), (), noises)
        mean = denoiser(x, t).mean
        end = plan.end
        if end is None:
            return state.advance(mean, mean)
        if simple:
            of_state = end.state
            moved = torch.lerp(mean, x, of_state) if shared else torch.mul(x, of_state).add_(mean, alpha=end.means[0])
            return state.advance(moved, mean)
        means: tuple[Tensor, ...] = (mean,)
        inner = x
        for time, combination in plan.inner:
            inner = _combined(combination, x, means, history, noises)
            means = (*means, denoiser(inner, time).mean)
        moved = _combined(end, x, means, history, noises)
        if plan.kept is None:
            return state.advance(moved, mean)
        last = (inner, means[-1]) if plan.inner_kept else (x, mean)
        return state.advance(moved, mean, ((start, _kept(plan.kept, *last)), *history[: plan.memory - 1]))


def _kept(factors: tuple[float, float], x: Tensor, mean: Tensor) -> Tensor:
    of_state, of_mean = factors
    if of_state == 0:
        return mean
    return torch.add(x, mean, alpha=of_mean) if of_state == 1 else torch.add(mean, x, alpha=of_state)


def _combined(
    numbers: Combination,
    x: Tensor,
    means: Sequence[Tensor],
    history: Sequence[tuple[float, Tensor]],
    noises: Sequence[Tensor],
) -> Tensor:
    total = torch.mul(x, numbers.state)
    for number, mean in zip(numbers.means, means, strict=False):
        total.add_(mean, alpha=number)
    for number, entry in zip(numbers.past, history, strict=False):
        total.add_(entry[1], alpha=number)
    if numbers.noises:
        for number, noise in zip(numbers.noises, noises, strict=False):
            total.add_(noise, alpha=number)
    return total


def _noise(state: SamplerState, x: Tensor, number: int, ends: tuple[float, float]) -> Tensor:
    """The first draw of a step has the step's own address, unless a path says otherwise; further ones their number."""
    if number == 0 or state.path is not None:
        return state.noise_like(x, *ends)
    return state.project(state.step_seeds().at("stretch", number).normal_like(x), state.mask)


# By identity: hashing a schedule (of a thousand betas, say) would take longer than the step. An entry holds its
# sampler and schedule, so that no other object can come by their ids while it is there.
_plans: dict[tuple[float, ...], tuple[tuple[Plan, bool, bool], LinearSampler, Schedule]] = {}


def _remembered(
    sampler: LinearSampler, schedule: Schedule, t: float, s: float, past: tuple[float, ...]
) -> tuple[Plan, bool, bool]:
    """The plan, and whether it is ``simple`` and ``shared``."""
    key = (id(sampler), id(schedule), t, s, *past)
    found = _plans.get(key)
    if found is None:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        plan = sampler.plan(schedule, t, s, past)
        found = _plans[key] = ((plan, plan.simple, plan.shared), sampler, schedule)
    return found[0]
