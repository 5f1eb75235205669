"""Restarts: where they happen, what they cost, that the way up is the forward process, and what they mend."""

import math

import pytest
import torch
from networks import small_mlp

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.base import SamplerState, sample
from unstir.samplers.exponential import ddim, multistep
from unstir.samplers.restart import RestartSampler, restart
from unstir.samplers.runge_kutta import heun
from unstir.verification.references import IN_THE_PLANE, NormalDenoiser, PointDenoiser, exact_moments, walk

LEVELS = [8.0, 3.0, 1.0, 0.5, 0.09, 0.03]


def times_at(schedule, levels=LEVELS):
    return torch.cat((schedule.time_at_sigma(torch.tensor(levels, dtype=torch.float64)), torch.zeros(1).double()))


class Listening(Denoiser):
    """Believes in nothing much, and keeps the noise levels at which it is asked."""

    def __init__(self, process):
        super().__init__()
        self.process, self.levels = process, []

    def forward(self, xt, t, drop=None, **condition):
        self.levels.append((-self.process.schedule.log_snr(t) / 2).exp().item())
        return PointPosterior(xt / 2)


@pytest.mark.parametrize("schedule", [CosineSchedule(), EDMSchedule()], ids=lambda schedule: schedule.scale)
def test_the_ways_down_start_high_and_go_as_finely_as_the_step_there(schedule):
    denoiser = Listening(GaussianProcess(schedule))
    x = Seeds.range(0, 3).normal((2,), torch.float64)
    walk(restart("ddim", 0.1, 2.0, 3, 2), denoiser, x, times_at(schedule))
    down = [2.0, math.sqrt(2.0 * 0.09)]
    assert denoiser.levels == pytest.approx(
        [*LEVELS[:-1], *(3 * down), LEVELS[-1]][:4] + [0.5, *(3 * down), 0.09, 0.03][1:]
    )

    denoiser.levels.clear()
    walk(restart("ddim", 0.1, 2.0, 1), denoiser, x, times_at(schedule))
    inside = denoiser.levels[4:-2]
    assert len(inside) == math.ceil(math.log(2.0 / 0.09) / math.log(0.5 / 0.09))
    assert inside[0] == pytest.approx(2.0)


def test_the_step_is_the_papers():
    """Xu et al. (2023), algorithm 1, in sigma: Heun down, x + sqrt(high^2 - low^2) z up, Heun down again, K times."""
    schedule, seeds = EDMSchedule(), Seeds.range(4, 6)
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    t, s, top = (schedule.time_at_sigma(level) for level in (0.5, 0.1, 0.8))
    x = Seeds.range(0, 6).normal((2,), torch.float64)
    told = restart("heun", 0.1 + 1e-9, 0.8, 2, 3).step(denoiser, SamplerState(x, seeds), t, s)
    down = schedule.time_at_sigma(torch.logspace(math.log10(0.8), -1, 4, dtype=torch.float64))
    expected = heun().step(denoiser, SamplerState(x, seeds), t, s).x
    for number in range(2):
        z = seeds.at("step", 0, "restart", number, "up").normal((2,), torch.float64)
        expected = walk(heun(), denoiser, expected + math.sqrt(0.8**2 - 0.1**2) * z, down)[-1].tensor
    torch.testing.assert_close(told.x, expected, rtol=1e-7, atol=1e-7)
    assert told.step == 1
    assert schedule.sigma(top) == pytest.approx(0.8)


@pytest.mark.parametrize("levels", [[8.0, 3.0, 0.5], [0.09, 0.05, 0.02]])
def test_a_grid_that_does_not_pass_the_lower_level_has_no_restart(levels):
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    x, times = Seeds.range(0, 3).normal((2,), torch.float64), times_at(denoiser.process.schedule, levels)
    alone, told = (walk(sampler, denoiser, x, times)[-1].tensor for sampler in (heun(), restart()))
    assert torch.equal(alone, told)


def test_each_way_up_has_its_own_noise():
    """Two restarts with one noise would be as one; four with the same seed give the same again."""
    denoiser, seen = small_mlp(), []
    for repeats in (1, 2, 2):
        sampler = RestartSampler(ddim(), 0.1, 5.0, repeats, 1)
        seen.append(sample(denoiser, sampler, (5,), 4, grid=times_at(denoiser.process.schedule), batch=4))
    assert torch.equal(seen[1], seen[2])
    assert not (seen[0] == seen[1]).any()


def test_restarts_forget_the_errors_above():
    """A start with a wrong variance is carried down by a solver of the flow, and forgotten by restarts."""
    denoiser = NormalDenoiser(0.6, 0.8, GaussianProcess())
    times = karras(denoiser.process.schedule, 40, sigma_max=10.0)
    alpha, sigma = (
        float(part(times[0])) for part in (denoiser.process.schedule.alpha, denoiser.process.schedule.sigma)
    )
    start = alpha * 0.6, 2 * ((alpha * 0.8) ** 2 + sigma**2)
    alone = exact_moments(multistep(2), denoiser, times, *start)[1]
    mended = exact_moments(restart("multistep", 0.05, 3.0, 3), denoiser, times, *start)[1]
    assert alone == pytest.approx(2 * 0.64, rel=0.03)
    # three times up to sigma/alpha = 3 keep (0.64/(0.64 + 9))^3 of what was wrong
    assert mended == pytest.approx(0.64, rel=0.03)


def test_order_and_calls():
    assert restart().order == 2
    assert restart("ddim").order == 1
    assert restart().calls(10) is None
    assert build("samplers", {"name": "restart", "solver": "ddim", "repeats": 3}) == restart("ddim", repeats=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.0}, "0 < low < high; seen 0.0 and 0.6"),
        ({"low": 0.7}, "0 < low < high; seen 0.7 and 0.6"),
        ({"high": math.inf}, "0 < low < high"),
        ({"repeats": 0}, "at least once, and in at least 1 step; seen 0 and None"),
        ({"inner_steps": 0}, "at least once, and in at least 1 step; seen 2 and 0"),
        ({"solver": "huen"}, "unknown sampler 'huen'; did you mean 'heun'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        restart(**options)


def test_a_way_up_beyond_the_schedule_is_refused():
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(EDMSchedule(sigma_max=10.0))))
    with pytest.raises(InputError, match=r"a restart up to 20.* is beyond the schedule's own end, 10"):
        sample(denoiser, restart(high=20.0), (2,), 2, steps=6, batch=2)
