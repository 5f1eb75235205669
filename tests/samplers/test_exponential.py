"""The exponential family: its members, their order, and the formulas of their papers."""

import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras, log_snr_uniform, uniform
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.discrete import DiscreteSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule
from unstir.samplers.base import SamplerState
from unstir.samplers.exponential import ExponentialSampler, ddim, ddpm, multistep
from unstir.samplers.interpolation import Interpolation, Level
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
    for sampler in (ddim(), multistep(), multistep(3, 0.0, "velocity", "angle"), multistep(3, 0.0, "flow", "ratio")):
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


@pytest.mark.parametrize(
    "sampler", [ddim(), ddim(0.5), ddpm(), multistep(3), multistep(stochasticity=0.6), multistep(3, 0.6, "noise")]
)
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
    with pytest.raises(InputError, match=r"the order is 1 to 4; seen 5"):
        multistep(order=5)
    with pytest.raises(InputError, match=r"unknown prediction 'score'.*data, flow, noise, velocity"):
        multistep(prediction="score")
    with pytest.raises(InputError, match=r"unknown variable of the polynomial 'sigma'.*ratio"):
        multistep(variable="sigma")
    with pytest.raises(InputError, match=r"sigma_data.* must be positive; seen 0"):
        multistep(sigma_data=0.0)
    with pytest.raises(InputError, match="a corrector takes 2 to 5 values, 0 for none; seen 1"):
        multistep(corrector=1)
    with pytest.raises(InputError, match="noise is added in the predictions data and noise; seen 'velocity'"):
        multistep(stochasticity=0.5, prediction="velocity")
    with pytest.raises(InputError, match="eta is DDIM's, of order 1 in data prediction"):
        ExponentialSampler(2, eta=0.5)
    with pytest.raises(InputError, match=r"0 <= low < high; seen 2\.0, 1\.0"):
        ExponentialSampler(noise_range=(2.0, 1.0))


def flow_error(sampler, steps):
    """On normal data, whose flow keeps (x - alpha m)/sqrt(alpha^2 s^2 + sigma^2)."""
    process = GaussianProcess(CosineSchedule())
    denoiser, schedule = NormalDenoiser(0.4, 0.7, process), process.schedule
    times = log_snr_uniform(schedule, steps + 1, 0.1, 10.0)[:-1]
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    deviation = (alpha.square() * 0.49 + sigma.square()).sqrt()
    start = torch.tensor([[1.0], [-0.5]], dtype=torch.float64)
    told = walk(sampler, denoiser, alpha[0] * 0.4 + deviation[0] * start, times)[-1].tensor
    return (told - alpha[-1] * 0.4 - deviation[-1] * start).abs().max().item()


@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "flow"])
@pytest.mark.parametrize("variable", ["log-snr", "ratio", "time", "angle", "flow"])
@pytest.mark.parametrize("order", [2, 3])
def test_any_quantity_may_be_interpolated_in_any_variable(prediction, variable, order):
    sampler = multistep(order, 0.0, prediction, variable, sigma_data=0.7)
    errors = [flow_error(sampler, steps) for steps in (100, 200)]
    assert math.log2(errors[0] / errors[1]) > order - 0.3


def test_without_a_second_look_at_the_first_step_order_three_is_lost():
    """The first step's error, of order two and once, is what remains."""
    plain, corrected = ExponentialSampler(3, corrected_start=False), ExponentialSampler(3)
    slopes = [math.log2(flow_error(sampler, 400) / flow_error(sampler, 800)) for sampler in (plain, corrected)]
    assert (plain.order, corrected.order) == (2.0, 3.0)
    assert slopes[0] < 2.6 < 2.9 < slopes[1]


def test_order_four_takes_one_call_more_at_its_start():
    careful, plain = multistep(4), multistep(4, start_call=False)
    assert (careful.order, plain.order) == (4.0, 3.0)
    assert [careful.calls(steps) for steps in (1, 2, 3, 10)] == [1, 2, 4, 11]
    assert [careful.steps_within(calls) for calls in (1, 2, 3, 4, 11)] == [1, 2, 2, 3, 10]
    assert [plain.calls(10), plain.steps_within(10)] == [10, 10]
    assert math.log2(flow_error(careful, 100) / flow_error(careful, 200)) > 3.9
    times = []
    denoiser = NormalDenoiser(0.4, 0.7, GaussianProcess())
    denoiser.register_forward_hook(lambda module, arguments, output: times.append(float(arguments[1])))
    grid = karras(denoiser.process.schedule, 6)
    walk(careful, denoiser, torch.ones(2, 1, dtype=torch.float64), grid)
    assert times == [float(grid[index]) for index in (0, 1, 1, 2, 3, 4, 5)]


def test_the_corrector_meets_the_same_noise():
    """The step done over from the state before, with the noise that was drawn, written out."""
    sampler = ExponentialSampler(1, 0.8, corrector=2)
    process = GaussianProcess(CosineSchedule())
    denoiser, schedule = PointDenoiser(IN_THE_PLANE.denoiser(process)), process.schedule
    times = torch.tensor([0.8, 0.7, 0.62], dtype=torch.float64)
    x, seeds = Seeds.range(0, 6).normal((2,), torch.float64), Seeds.range(4, 6)
    alpha, sigma, half = schedule.alpha(times), schedule.sigma(times), schedule.log_snr(times) / 2
    first, second = half.diff()
    rate = 1 + 0.64

    def noise(step, h):
        z = seeds.at("step", step).normal((2,), torch.float64)
        return sigma[step + 1] * (-torch.expm1(-2 * 0.64 * h)).sqrt() * z

    states = walk(sampler, denoiser, x, times, seeds)
    m0, m1 = denoiser(x, times[0]).mean, denoiser(states[1].tensor, times[1]).mean
    gain = -torch.expm1(-rate * first)
    line = (m1 - m0) / first * (first - gain / rate)
    done_over = sigma[1] / sigma[0] * (-0.64 * first).exp() * x + alpha[1] * (gain * m0 + line) + noise(0, first)
    expected = sigma[2] / sigma[1] * (-0.64 * second).exp() * done_over
    expected = expected - alpha[2] * torch.expm1(-rate * second) * m1 + noise(1, second)
    torch.testing.assert_close(states[2].tensor, expected, rtol=1e-12, atol=1e-12)


def test_a_time_that_rises_again_forgets_what_was_before():
    """As restart sampling goes: the history after it starts anew."""
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    x = Seeds.range(0, 4).normal((2,), torch.float64)
    times = torch.tensor([0.8, 0.7, 0.6, 0.5], dtype=torch.float64)
    for sampler in (multistep(3), multistep(2, corrector=3)):
        state = walk(sampler, denoiser, x, times)[-1]
        t, s = torch.tensor([0.75, 0.65], dtype=torch.float64)
        again = sampler.step(denoiser, state, t, s)
        fresh = sampler.step(denoiser, SamplerState(state.x, state.seeds), t, s)
        assert torch.equal(again.tensor, fresh.tensor)


@pytest.mark.parametrize("width", [1e-5, 0.1, 20.0])
@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "flow"])
def test_the_weights_add_up_to_the_integral_of_a_constant(prediction, width):
    """Whatever the width, the polynomials of a step sum to one; the closed form is what a single value has."""
    rule = Interpolation(prediction, "ratio", 0.5 if prediction in ("data", "noise") else 0.0, (-0.5, 0.7), 0.6)
    here, there, before, older = (_level(half) for half in (-1.0, -1.0 + width, -1.4, -2.5))
    whole = rule.weights(CosineSchedule(), here, there, (here,)).values[0]
    parts = rule.weights(CosineSchedule(), here, there, (here, before, older)).values
    assert math.fsum(parts) == pytest.approx(whole, rel=1e-12, abs=1e-13 * max(map(abs, parts)))


def _level(half):
    schedule = CosineSchedule()
    return Level(
        schedule.time(2 * half).item(), half, 1 / math.sqrt(1 + math.exp(-2 * half)), 1 / math.hypot(1, math.exp(half))
    )
