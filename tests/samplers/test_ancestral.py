"""Ancestral sampling with the true posterior is exact, whatever the number of steps."""

import pytest
import torch
from thresholds import assert_distribution

from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.laplace import LaplaceSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.references import ON_THE_LINE

# each ends without any data, so that the prior is exact
SCHEDULES = [CosineSchedule(), RectifiedFlowSchedule(), LaplaceSchedule(spread=1.0)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_law_of_every_state_is_exact(schedule, steps):
    denoiser, seen = ON_THE_LINE.denoiser(GaussianProcess(schedule)), []

    def keep(state, t, s):
        seen.append((s.item(), state.x))

    drawn = sample(
        denoiser, AncestralSampler(), (1,), 15_000, steps=steps, grid="uniform", seed=11, batch=15_000,
        dtype=torch.float64, callback=keep,
    )  # fmt: skip
    assert len(seen) == steps
    assert torch.equal(seen[-1][1], drawn)
    for s, x in seen:
        alpha, sigma = float(schedule.alpha(s)), float(schedule.sigma(s))
        assert_distribution(x, lambda v, alpha=alpha, sigma=sigma: ON_THE_LINE.cdf(v, alpha, sigma))
