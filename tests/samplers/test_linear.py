"""The executor of samplers whose steps are linear combinations."""

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.samplers import linear
from unstir.samplers.base import SamplerState
from unstir.samplers.exponential import multistep
from unstir.samplers.linear import Combination, LinearSampler, Plan
from unstir.verification.references import IN_THE_PLANE, NormalDenoiser, PointDenoiser, walk

TIMES = torch.tensor([0.8, 0.6, 0.5, 0.0], dtype=torch.float64)
INNER = torch.tensor(0.55, dtype=torch.float64)


@dataclass(frozen=True)
class Written(LinearSampler):
    """One inner state, one remembered value, two draws of noise; ``asked`` notes each plan that is made."""

    kept: tuple[float, float] = (0.0, 1.0)
    inner_kept: bool = False
    asked: tuple[list, ...] = ([],)
    order = 1.0

    def plan(self, schedule, t, s, past):
        self.asked[0].append((t, s, past))
        if s == 0:
            return Plan(None)
        inner = Combination(0.5, (0.25,), (0.1,) if past else (), (0.3,))
        end = Combination(0.9, (0.2, -0.4), (0.7,) if past else (), (0.6, 0.8))
        return Plan(end, ((INNER, inner),), self.kept, 2, self.inner_kept, ((-1.0, 0.0), (0.0, 1.0)))


@pytest.fixture
def denoiser():
    return PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))


@pytest.mark.parametrize("inner_kept", [False, True])
@pytest.mark.parametrize("kept", [(0.0, 1.0), (1.0, -0.3), (-0.6, 1.0)])
def test_a_step_is_the_combination_that_its_plan_says(denoiser, kept, inner_kept):
    x, seeds = Seeds.range(0, 5).normal((2,), torch.float64), Seeds.range(1, 5)
    sampler = Written(kept, inner_kept, ([],))
    states = walk(sampler, denoiser, x, TIMES, seeds)
    remembered = None
    for number, state in enumerate(states[1:3]):
        first = seeds.at("step", number).normal((2,), torch.float64)
        second = seeds.at("step", number, "stretch", 1).normal((2,), torch.float64)
        mean = denoiser(x, TIMES[number]).mean
        inner = 0.5 * x + 0.25 * mean + 0.3 * first + (0.1 * remembered if number else 0)
        other = denoiser(inner, INNER).mean
        end = 0.9 * x + 0.2 * mean - 0.4 * other + 0.6 * first + 0.8 * second + (0.7 * remembered if number else 0)
        torch.testing.assert_close(state.tensor, end, rtol=1e-13, atol=1e-13)
        assert torch.equal(state.mean, mean)
        remembered = kept[0] * (inner if inner_kept else x) + kept[1] * (other if inner_kept else mean)
        torch.testing.assert_close(state.history[0][1], remembered, rtol=1e-13, atol=1e-13)
        x = state.tensor
    assert [entry[0] for entry in states[2].history] == [TIMES[1].item(), TIMES[0].item()]
    assert torch.equal(states[3].tensor, denoiser(x, TIMES[2]).mean)
    assert states[3].history == ()


def test_a_path_is_asked_for_each_stretch(denoiser):
    stretches = []

    class Path:
        def normal_like(self, like, seeds, here, there):
            stretches.append((here, there))
            return torch.zeros_like(like)

    x = Seeds.range(0, 5).normal((2,), torch.float64)
    Written(asked=([],)).step(denoiser, SamplerState(x, Seeds.range(1, 5), path=Path()), *TIMES[:2])
    assert stretches == [(-1.0, 0.0), (0.0, 1.0)]


def test_plans_are_made_once_for_a_schedule_and_its_times(denoiser):
    sampler, x = Written(asked=([],)), Seeds.range(0, 5).normal((2,), torch.float64)
    walk(sampler, denoiser, x, TIMES)
    expected = [(0.8, 0.6, ()), (0.6, 0.5, (0.8,)), (0.5, 0.0, (0.6, 0.8))]
    assert sampler.asked[0] == expected
    walk(sampler, denoiser, 2 * x, TIMES)
    assert sampler.asked[0] == expected
    denoiser.process = GaussianProcess(CosineSchedule(shift=1.0))
    walk(sampler, denoiser, x, TIMES)
    assert sampler.asked[0] == 2 * expected


def test_the_memory_for_plans_is_bounded(denoiser, monkeypatch):
    monkeypatch.setattr(linear, "_MOST_PLANS", 4)
    monkeypatch.setattr(linear, "_plans", {})
    sampler, x = Written(asked=([],)), Seeds.range(0, 5).normal((2,), torch.float64)
    for shift in range(10):
        walk(sampler, denoiser, x, torch.cat((TIMES[:1] + 0.01 * shift, TIMES[1:])))
        assert len(linear._plans) <= 4


def test_equal_samplers_and_schedules_of_other_identity_do_not_mix():
    """Two schedules that differ, one made after the other has gone: identities may be used again by Python."""
    x, ends = torch.ones(2, 1, dtype=torch.float64), []
    for _ in range(3):
        for shift in (0.0, 2.0):
            denoiser = NormalDenoiser(0.4, 0.7, GaussianProcess(CosineSchedule(shift=shift)))
            ends.append(walk(multistep(), denoiser, x, TIMES)[-1].tensor)
    assert torch.equal(ends[0], ends[2]) and torch.equal(ends[1], ends[3])
    assert not math.isclose(ends[0][0].item(), ends[1][0].item(), rel_tol=1e-3)


def test_gradients_go_through_a_step(denoiser):
    x = Seeds.range(0, 3).normal((2,), torch.float64).requires_grad_()
    state = SamplerState(x, Seeds.range(1, 3))
    for t, s in pairwise(TIMES[:3]):
        state = multistep(3).step(denoiser, state, t, s)
    state.tensor.sum().backward()
    assert x.grad is not None and bool((x.grad != 0).all())


def test_a_state_of_parts_is_refused(denoiser):
    parts = {"place": torch.zeros(2, 2), "kind": torch.zeros(2, 2)}
    with pytest.raises(InputError, match=r"steps one tensor; the state has the parts \['kind', 'place'\]"):
        multistep().step(denoiser, SamplerState(parts, Seeds.range(0, 2)), *TIMES[:2])
