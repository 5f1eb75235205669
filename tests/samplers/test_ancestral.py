"""Ancestral sampling with the true posterior is exact, whatever the number of steps."""

import pytest
import torch
from mixture import one_dimensional
from scipy import stats
from thresholds import assert_distribution

from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.laplace import LaplaceSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample

# each ends without any data, so that the prior is exact
SCHEDULES = [CosineSchedule(), RectifiedFlowSchedule(), LaplaceSchedule(spread=1.0)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_law_of_every_state_is_exact(schedule, steps):
    denoiser, seen = one_dimensional(GaussianProcess(schedule)), []

    def keep(state, t, s):
        seen.append((s.item(), state.x))

    drawn = sample(
        denoiser, AncestralSampler(), (1,), 15_000, steps=steps, grid="uniform", seed=11, batch=15_000,
        dtype=torch.float64, callback=keep,
    )  # fmt: skip
    assert len(seen) == steps
    assert torch.equal(seen[-1][1], drawn)
    for s, x in seen:
        alpha, variance = schedule.alpha(s), (schedule.alpha(s) * denoiser.deviations).square() + schedule.sigma(s) ** 2
        means, deviations = (alpha * denoiser.means[:, 0]).tolist(), variance.sqrt().tolist()
        first, second = (stats.norm(mean, deviation).cdf for mean, deviation in zip(means, deviations, strict=True))
        assert_distribution(x, lambda v, f=first, g=second: 0.7 * f(v) + 0.3 * g(v))
