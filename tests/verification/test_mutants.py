"""Deliberately broken samplers, schedules and grids: each misses a bound of a check that its original passes."""

import functools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from mutants import is_caught

from unstir.processes import grids as all_grids
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import EUCLIDEAN, Sampler
from unstir.samplers.exponential import ExponentialSampler, ddim, ddpm, multistep
from unstir.samplers.runge_kutta import RungeKuttaSampler, heun
from unstir.verification.checks import (
    grids,
    samplers,
    schedules,
)

# samplers


class OldScale(ExponentialSampler):
    """The data's coefficient at the time that the step leaves, not the one that it goes to."""

    def step(self, denoiser, state, t, s):
        after, schedule = super().step(denoiser, state, t, s), denoiser.process.schedule
        if s == 0:
            return after
        kept = schedule.sigma(s) / schedule.sigma(t) * state.x
        return replace(after, x=kept + (after.x - kept) * (schedule.alpha(t) / schedule.alpha(s)))


class SlopeAtEvenSteps(ExponentialSampler):
    """The second order of a multistep method whose steps are taken to be equally wide."""

    def step(self, denoiser, state, t, s):
        if not state.history or s == 0:
            return super().step(denoiser, state, t, s)
        schedule = denoiser.process.schedule
        h = (schedule.log_snr(s) - schedule.log_snr(t)) / 2
        time, mean = state.history[0]
        before = (schedule.log_snr(t) - schedule.log_snr(time)) / 2
        # the slope over the coming step's width in place of the last one's
        stretched = denoiser(state.x, t).mean - (denoiser(state.x, t).mean - mean) * (before / h)
        return super().step(denoiser, replace(state, history=((time, stretched),)), t, s)


class Peeking(ExponentialSampler):
    """Scales the state by the norm of its batch."""

    def step(self, denoiser, state, t, s):
        after = super().step(denoiser, state, t, s)
        return replace(after, x=after.x * (1 + 1e-6 * after.x.norm() / math.sqrt(len(after.x))))


class Remembering(Sampler):
    """A multistep method whose history is its own, and not the state's."""

    order, spaces = 2.0, EUCLIDEAN

    def __init__(self):
        self.inner, self.history = multistep(), ()

    def step(self, denoiser, state, t, s):
        known = self.history if state.step else ()
        after = self.inner.step(denoiser, replace(state, history=known), t, s)
        self.history = after.history
        return replace(after, history=())


class NoisyEnd(ExponentialSampler):
    """Leaves noise of the last level's size in the samples, as a loop does that adds it in every step."""

    def step(self, denoiser, state, t, s):
        after = super().step(denoiser, state, t, s)
        if s > 0:
            return after
        return replace(after, x=after.x + 1e-3 * state.step_seeds().normal_like(after.x))


class CallAtTheEnd(ExponentialSampler):
    """Spends a call where nothing of the noise is left."""

    def step(self, denoiser, state, t, s):
        after = super().step(denoiser, state, t, s)
        if s == 0:
            denoiser(after.x, s)
        return after


class GlobalNoise(AncestralSampler):
    """Draws from torch's own generator."""

    def step(self, denoiser, state, t, s):
        after = super().step(denoiser, state, t, s)
        return replace(after, x=after.x + (1e-3 if s > 0 else 0.0) * torch.randn_like(after.x))


class TooQuiet(ExponentialSampler):
    """The standard deviation of the fresh noise where its square root was meant: too little of it."""

    def step(self, denoiser, state, t, s):
        quiet, still = super().step(denoiser, state, t, s), ExponentialSampler(1, 0.0)
        plain = still.step(denoiser, state, t, s)
        return replace(quiet, x=quiet.x + 0.3 * (plain.x - quiet.x))


class InPlace(ExponentialSampler):
    """Writes into the state it was given."""

    def step(self, denoiser, state, t, s):
        after = super().step(denoiser, state, t, s)
        state.x.copy_(after.x)
        return after


class Boasting(RungeKuttaSampler):
    """Declares an order that it does not have."""

    order = 3.0


class Everywhere(ExponentialSampler):
    """Refuses nothing, and says that it serves one space only."""

    def check(self, denoiser):
        pass


@pytest.mark.parametrize(
    ("check", "original", "mutant"),
    [
        (samplers.sampler_order, None, OldScale(2)),
        (samplers.sampler_point_data, ddim(), OldScale()),
        (samplers.sampler_point_data, ddpm(), TooQuiet(1, 1.0)),
        (samplers.sampler_order, None, SlopeAtEvenSteps(2)),
        (samplers.sampler_order, None, Boasting(heun().tableau)),
        (samplers.sampler_company, ddim(), Peeking()),
        (samplers.sampler_company, AncestralSampler(), GlobalNoise()),
        (samplers.sampler_memory, multistep(), Remembering()),
        (samplers.sampler_memory, ddim(), InPlace()),
        (samplers.sampler_calls, ddim(), NoisyEnd()),
        (samplers.sampler_calls, ddim(), CallAtTheEnd()),
        (samplers.sampler_seeds, AncestralSampler(), GlobalNoise()),
        (samplers.sampler_weak_order, None, TooQuiet(1, 1.0)),
        (samplers.sampler_spaces, ddim(), Everywhere()),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sampler) else getattr(value, "__name__", None),
)
def test_samplers(check, original, mutant):
    assert is_caught(check, original, mutant)


def test_samples_of_too_little_noise_do_not_have_the_law_of_the_data():
    assert is_caught(samplers.sampler_law, None, TooQuiet(1, 1.0))


# schedules


@dataclass(frozen=True)
class WrongSlope(CosineSchedule):
    def log_snr_derivative(self, t):
        return super().log_snr_derivative(t) * (1 + 1e-6)


@dataclass(frozen=True)
class TimeOff(CosineSchedule):
    def time(self, log_snr):
        return super().time(log_snr) * (1 - 1e-12)


@dataclass(frozen=True)
class TimeUnclipped(RectifiedFlowSchedule):
    def time(self, log_snr):
        return super().time(log_snr).clamp(1e-5, 1 - 1e-5)


@dataclass(frozen=True)
class WrongScale(LinearVPSchedule):
    @property
    def scale(self):
        return "flow"

    def alpha(self, t):
        return self.log_snr(t).sigmoid().sqrt()

    def sigma(self, t):
        return (-self.log_snr(t)).sigmoid().sqrt()


@dataclass(frozen=True)
class NeverClean(EDMSchedule):
    def log_snr(self, t):
        return super().log_snr(t).clamp(max=12.4)  # a sigma_min of 0.002


@dataclass(frozen=True)
class WrongDrift(LinearVPSchedule):
    def drift(self, t):
        return super().drift(t) * (1 - 1e-6)


@dataclass(frozen=True)
class WrongDiffusion(LinearVPSchedule):
    def diffusion(self, t):
        return self.sigma(t) * (-self.log_snr_derivative(t)).sqrt() * self.alpha(t)


@dataclass(frozen=True)
class WrongAlphaSlope(CosineSchedule):
    def alpha_derivative(self, t):
        return -super().alpha_derivative(t)


@dataclass(frozen=True)
class InfiniteEnd(CosineSchedule):
    def drift(self, t):
        return super().drift(t) / (1 - torch.as_tensor(t, dtype=torch.float64))


@dataclass(frozen=True)
class SinglePrecision(CosineSchedule):
    def log_snr(self, t):
        return super().log_snr(t).float()


@dataclass(frozen=True)
class Resting(CosineSchedule):
    def log_snr(self, t):
        later = super().log_snr(t)
        return later.where(later > -3, later.clamp(max=-4)).where(later > -4, later)


@pytest.mark.parametrize(
    ("check", "original", "mutant"),
    [
        (schedules.schedule_log_snr_derivative, CosineSchedule(), WrongSlope()),
        (schedules.schedule_forward_moments, CosineSchedule(), WrongSlope()),
        (schedules.schedule_time_inverse, CosineSchedule(), TimeOff()),
        (schedules.schedule_time_clipping, RectifiedFlowSchedule(), TimeUnclipped()),
        (schedules.schedule_scale, LinearVPSchedule(), WrongScale()),
        (schedules.schedule_clean_start, EDMSchedule(), NeverClean()),
        (schedules.schedule_forward_moments, LinearVPSchedule(), WrongDrift()),
        (schedules.schedule_forward_moments, LinearVPSchedule(), WrongDiffusion()),
        (schedules.schedule_coefficient_derivatives, CosineSchedule(), WrongAlphaSlope()),
        (schedules.schedule_finite_ends, CosineSchedule(), InfiniteEnd()),
        (schedules.schedule_times_of_any_kind, CosineSchedule(), SinglePrecision()),
        (schedules.schedule_falling_log_snr, CosineSchedule(), Resting()),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "log_snr") else getattr(value, "__name__", None),
)
def test_schedules(check, original, mutant):
    assert is_caught(check, original, mutant)


def test_a_schedule_without_equality():
    class Plain(CosineSchedule):
        __eq__ = object.__eq__
        __hash__ = object.__hash__

    assert is_caught(schedules.schedule_equality, CosineSchedule(), Plain())


# grids


def stops_early(schedule, steps, sigma_max=None):
    return all_grids.uniform(schedule, steps, sigma_max).clamp(min=1e-3)


def one_more(schedule, steps, sigma_max=None):
    return all_grids.uniform(schedule, steps + 1, sigma_max)


def in_schedule_units(schedule, steps, sigma_max=None):
    return all_grids.uniform(schedule, steps, None if sigma_max is None else 0.9 * sigma_max)


@functools.wraps(all_grids.karras)
def another_power(schedule, steps, **options):
    return all_grids.karras(schedule, steps, rho=6.9, **options)


@functools.wraps(all_grids.uniform)
def shrunk(schedule, steps, sigma_max=None):
    return all_grids.uniform(schedule, steps, sigma_max) * (1 - 1e-12)


def never_refuses(schedule, steps, sigma_max=None):
    return all_grids.uniform(schedule, max(steps, 1), None)


@pytest.mark.parametrize(
    ("check", "original", "mutant"),
    [
        (grids.grid_fall, all_grids.uniform, stops_early),
        (grids.grid_fall, all_grids.uniform, one_more),
        (grids.grid_levels, all_grids.uniform, in_schedule_units),
        (grids.grid_spacing_of_levels, all_grids.karras, another_power),
        (grids.grid_spacing_in_time, all_grids.uniform, shrunk),
        (grids.grid_refusals, all_grids.uniform, never_refuses),
    ],
)
def test_grids(check, original, mutant):
    assert is_caught(check, original, mutant)
