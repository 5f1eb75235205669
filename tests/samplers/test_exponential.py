"""The exponential family's presets against the formulas of their papers."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras, uniform
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.discrete import DiscreteSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule
from unstir.samplers.base import SamplerState
from unstir.samplers.exponential import ddim, ddpm, multistep
from unstir.samplers.runge_kutta import euler
from unstir.verification.references import IN_THE_PLANE, NormalDenoiser, PointDenoiser, exact_moments, walk

FOUR_SCALES = [CosineSchedule(), EDMSchedule(), RectifiedFlowSchedule(), SubVPSchedule()]
every_scale = pytest.mark.parametrize("schedule", FOUR_SCALES, ids=lambda schedule: schedule.scale)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_is_the_papers_step(eta):
    """Song et al. (2021), eq. 12 and 16, in alpha_bar, on DDPM's own betas and every 50th of their steps."""
    process = GaussianProcess(DiscreteSchedule.linear())
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(process))
    cumulative = (1 - torch.tensor(process.schedule.betas, dtype=torch.float64)).cumprod(0)
    x, seeds = Seeds.range(0, 6).normal((2,), torch.float64), Seeds.range(4, 6)
    for k in (1000, 500, 100):
        t, s = torch.tensor([k / 1000, (k - 50) / 1000], dtype=torch.float64)
        now, before = cumulative[k - 1], cumulative[k - 51]
        x0 = denoiser(x, t).mean
        eps = (x - now.sqrt() * x0) / (1 - now).sqrt()
        sigma = eta * ((1 - before) / (1 - now)).sqrt() * (1 - now / before).sqrt()
        z = Seeds.range(4, 6).at("step", 0).normal((2,), torch.float64)
        expected = before.sqrt() * x0 + (1 - before - sigma**2).sqrt() * eps + sigma * z
        told = ddim(eta).step(denoiser, SamplerState(x, seeds), t, s)
        torch.testing.assert_close(told.x, expected, rtol=1e-8, atol=1e-9)


@every_scale
def test_ddim_is_eulers_method_in_the_noise_level(schedule):
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    times = karras(schedule, 12, sigma_max=20.0)
    x = schedule.sigma(times[0]) * Seeds.range(0, 8).normal((2,), torch.float64)
    for one, other in zip(walk(ddim(), denoiser, x, times), walk(euler(), denoiser, x, times), strict=True):
        torch.testing.assert_close(one.x, other.x, rtol=1e-9, atol=1e-9)


@every_scale
def test_the_noise_level_alone_matters(schedule):
    """In x/alpha, every schedule gives the same trajectory on the same noise levels."""
    reference = EDMSchedule()
    y = 20 * Seeds.range(0, 8).normal((2,), torch.float64)
    for sampler in (ddim(), multistep()):
        ends = []
        for each in (schedule, reference):
            times = karras(each, 10, sigma_max=20.0)
            denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(each)))
            ends.append(walk(sampler, denoiser, each.alpha(times[0]) * y, times)[-1].x)
        torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-8)


@every_scale
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_ddpm_is_the_processes_own_bridge(schedule, steps):
    """The law of the ancestral sampler with a point belief, by its exact moments; and eta = 1 is the same."""
    from unstir.samplers.ancestral import AncestralSampler

    denoiser = NormalDenoiser(0.4, 0.7, GaussianProcess(schedule))
    times = karras(schedule, steps, sigma_max=20.0)
    told = [exact_moments(sampler, denoiser, times, 0.2, 5.0) for sampler in (ddpm(), ddim(1.0), AncestralSampler())]
    assert told[1] == pytest.approx(told[0], rel=1e-9)
    assert told[2] == pytest.approx(told[0], rel=1e-9)


@pytest.mark.parametrize("sampler", [ddim(), ddim(0.5), ddpm(), multistep(), multistep(stochasticity=0.6)], ids=str)
@pytest.mark.parametrize("schedule", [CosineSchedule(), RectifiedFlowSchedule()], ids=["cosine", "flow"])
def test_a_start_without_any_data_is_no_difficulty(sampler, schedule):
    """At alpha = 0 the log-SNR is minus infinity; even times start there."""
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    states = walk(sampler, denoiser, Seeds.range(0, 5).normal((2,), torch.float64), uniform(schedule, 6))
    assert all(state.x.isfinite().all() for state in states)


def variance_error(sampler, steps):
    """Of Gaussian data, started from the exact marginal."""
    denoiser = NormalDenoiser(0.4, 0.7, GaussianProcess())
    schedule = denoiser.process.schedule
    times = karras(schedule, steps, sigma_max=20.0)
    alpha, sigma = schedule.alpha(times[0]).item(), schedule.sigma(times[0]).item()
    mean, variance = exact_moments(sampler, denoiser, times, 0.4 * alpha, (0.7 * alpha) ** 2 + sigma**2)
    assert mean == pytest.approx(0.4, abs=0.2 * abs(variance - 0.49) + 1e-3)
    return abs(variance - 0.49)


@pytest.mark.parametrize("stochasticity", [0.5, 1.0, 1.4])
@pytest.mark.parametrize("order", [1, 2])
def test_noise_keeps_the_marginals_in_the_limit(stochasticity, order):
    """Whatever tau, the error goes with the number of steps: a quarter, at four times as many."""
    errors = [variance_error(multistep(order, stochasticity), steps) for steps in (40, 160)]
    assert errors[1] < errors[0] / 3


def test_second_order_is_better_than_first():
    for stochasticity, factor in ((0.0, 0.5), (1.0, 1.0)):
        errors = [variance_error(multistep(order, stochasticity), 60) for order in (1, 2)]
        assert errors[1] < factor * errors[0]


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_eta_lies_between_0_and_1(eta):
    with pytest.raises(InputError, match=f"eta lies between 0 and 1; seen .*{eta}"):
        ddim(eta)


def test_other_impossible_options_are_refused():
    with pytest.raises(InputError, match="stochasticity is at least 0"):
        multistep(stochasticity=-1.0)
    with pytest.raises(InputError, match="the order is 1 or 2; seen 3"):
        multistep(order=3)
