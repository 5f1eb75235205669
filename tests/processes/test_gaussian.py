"""The Gaussian process: its marginals, its bridge with the exact posterior, and the dialects of the belief."""

import math

import pytest
import torch
from schedules import SCHEDULES
from scipy import stats
from thresholds import assert_distribution, assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule
from unstir.verification.references import IN_THE_PLANE, ON_THE_LINE

FOUR_SCALES = [CosineSchedule(), EDMSchedule(sigma_max=20.0), RectifiedFlowSchedule(), SubVPSchedule()]
every_scale = pytest.mark.parametrize("schedule", FOUR_SCALES, ids=lambda schedule: schedule.scale)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


@every_scale
def test_noise_has_its_mean_and_deviation(schedule):
    """Of normal law, independent between samples, at times of their own."""
    count = 40_000
    times = torch.linspace(0.05, 0.95, count, dtype=torch.float64)
    x0 = torch.linspace(-2, 3, count, dtype=torch.float64)[:, None].expand(count, 2)
    xt = GaussianProcess(schedule).noise(x0, times, Seeds.range(0, count))
    standard = (xt - schedule.alpha(times)[:, None] * x0) / schedule.sigma(times)[:, None]
    assert_distribution(standard, stats.norm.cdf)


def test_noise_at_the_clean_end_is_the_data():
    x0 = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(GaussianProcess().noise(x0, scalar(0.0), Seeds.range(0, 5)), x0)


@every_scale
def test_prior_has_the_schedules_deviation(schedule):
    process = GaussianProcess(schedule)
    drawn = process.prior((3,), Seeds.range(1, 20_000), 0.9, torch.float64)
    assert drawn.shape == (20_000, 3)
    assert_distribution(drawn / schedule.sigma(0.9), stats.norm.cdf)
    assert torch.equal(process.prior((3,), Seeds.range(1, 4)), process.prior((3,), Seeds.range(1, 4), 1.0))
    assert process.prior((3,), Seeds.range(1, 4), dtype=torch.bfloat16).dtype == torch.bfloat16


@every_schedule
def test_bridge_keeps_the_marginal_given_the_data(schedule):
    """q(x_s|x_0) is the integral of q(x_s|x_t,x_0) q(x_t|x_0): an identity of the coefficients."""
    process = GaussianProcess(schedule)
    times = torch.linspace(0.001, 0.999, 60, dtype=torch.float64)
    t, s = torch.triu_indices(60, 60, 1).flip(0)
    kept, pulled, deviation = process.bridge_coefficients(times[t], times[s])
    mean = kept * schedule.alpha(times[t]) + pulled
    variance = (kept * schedule.sigma(times[t])).square() + deviation.square()
    torch.testing.assert_close(mean, schedule.alpha(times[s]), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(variance, schedule.sigma(times[s]).square(), rtol=1e-9, atol=0)


@every_schedule
def test_bridges_compose(schedule):
    """Chapman and Kolmogorov: from t to r by way of s is from t to r."""
    process = GaussianProcess(schedule)
    for t, s, r in [(0.97, 0.5, 0.03), (0.6, 0.59, 0.1), (0.9, 0.4, 0.39), (0.7, 0.2, 0.0)]:
        first, second, whole = (process.bridge_coefficients(*pair) for pair in ((t, s), (s, r), (t, r)))
        composed = (
            second[0] * first[0],
            second[0] * first[1] + second[1],
            ((second[0] * first[2]).square() + second[2].square()).sqrt(),
        )
        for told, expected in zip(composed, whole, strict=True):
            torch.testing.assert_close(told, expected, rtol=1e-9, atol=1e-14)


@every_schedule
def test_bridge_at_the_ends(schedule):
    """To the clean end nothing but the belief is left; nothing happens in no time; the far end is finite."""
    process = GaussianProcess(schedule)
    last = 1.0 if schedule.sigma(1.0).isfinite() else 0.99  # infinite noise is no state to come from
    for t in (last, 0.4, 1e-6):
        assert [value.item() for value in process.bridge_coefficients(t, 0.0)] == [0, 1, 0]
    for t in (last, 0.4, 0.0):
        assert [value.item() for value in process.bridge_coefficients(t, t)] == [1, 0, 0]
    assert all(value.isfinite() for value in process.bridge_coefficients(last, 0.5))


def test_bridge_goes_back_in_time_only():
    process = GaussianProcess()
    with pytest.raises(InputError, match=r"s must not exceed t; seen s = 0\.6"):
        process.bridge_coefficients(0.5, 0.6)
    with pytest.raises(InputError, match="s must not exceed t"):
        process.bridge(
            torch.zeros(2, 1),
            PointPosterior(torch.zeros(2, 1)),
            torch.tensor([0.5, 0.5]),
            torch.tensor([0.4, 0.6]),
            Seeds.range(0, 2),
        )


@every_scale
@pytest.mark.parametrize(("t", "s"), [(0.99, 0.6), (0.6, 0.05), (0.7, 0.0)])
def test_bridge_with_the_exact_posterior_gives_the_exact_marginal(schedule, t, s):
    """However long the step. 30,000 draws resolve a hundredth of a deviation in the mean."""
    denoiser = ON_THE_LINE.denoiser(GaussianProcess(schedule))
    seeds = Seeds.range(7, 30_000)
    xt = denoiser.process.noise(denoiser.draw(seeds), scalar(t), seeds.at("forward"))
    xs = denoiser.process.bridge(xt, denoiser(xt, scalar(t)), scalar(t), scalar(s), seeds.at("back"))
    alpha, sigma = float(schedule.alpha(s)), float(schedule.sigma(s))
    assert_distribution(xs, lambda x: ON_THE_LINE.cdf(x, alpha, sigma))


def test_the_marginal_test_would_see_a_point_belief():
    """The same step from the posterior's mean is wrong by far more than the test's threshold."""
    denoiser = ON_THE_LINE.denoiser(GaussianProcess(RectifiedFlowSchedule()))
    seeds = Seeds.range(7, 30_000)
    xt = denoiser.process.noise(denoiser.draw(seeds), scalar(0.7), seeds.at("forward"))
    point = PointPosterior(denoiser(xt, scalar(0.7)).mean)
    x0 = denoiser.process.bridge(xt, point, scalar(0.7), scalar(0.0), seeds.at("back"))
    with pytest.raises(AssertionError, match="distribution"):
        assert_distribution(x0, ON_THE_LINE.cdf)


def test_bridge_takes_times_of_their_own():
    """One time a sample gives what each sample's own call gives."""
    denoiser = IN_THE_PLANE.denoiser(GaussianProcess())
    seeds = Seeds.range(0, 3)
    xt = seeds.normal((2,), torch.float64)
    t, s = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64), torch.tensor([0.1, 0.4, 0.2], dtype=torch.float64)
    together = denoiser.process.bridge(xt, denoiser(xt, t), t, s, seeds)
    for i in range(3):
        x, own = xt[i : i + 1], seeds[i : i + 1]
        torch.testing.assert_close(together[i], denoiser.process.bridge(x, denoiser(x, t[i]), t[i], s[i], own)[0])


@every_scale
@pytest.mark.parametrize("level", [0.05, 0.6, 4.0])
def test_score_noise_and_velocity_are_those_of_the_exact_density(schedule, level):
    """score = grad log p_t; eps = -sigma score; dx/dt = f x - g^2 score / 2; at a noise level sigma/alpha."""
    t = schedule.time_at_sigma(level).item()
    denoiser = IN_THE_PLANE.denoiser(GaussianProcess(schedule))
    process = denoiser.process
    xt = process.noise(denoiser.draw(Seeds.range(3, 50)), scalar(t), Seeds.range(3, 50)).requires_grad_()
    (score,) = torch.autograd.grad(denoiser.log_density(xt, t).sum(), xt)
    xt = xt.detach()
    mean, sigma = denoiser(xt, scalar(t)).mean, schedule.sigma(t)
    velocity = schedule.drift(t) * xt - schedule.diffusion(t).square() / 2 * score
    torch.testing.assert_close(process.score_of(xt, mean, scalar(t)), score, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(process.noise_of(xt, mean, scalar(t)), -sigma * score, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(process.velocity_of(xt, mean, scalar(t)), velocity, rtol=1e-9, atol=1e-9)


def test_velocity_at_the_noisy_end():
    """The straight line's is eps - E[x0], where x_1 = eps."""
    process = GaussianProcess(RectifiedFlowSchedule())
    xt, mean = scalar([[0.3, -1.2]]), scalar([[0.1, 0.4]])
    torch.testing.assert_close(process.velocity_of(xt, mean, scalar(1.0)), xt - mean, rtol=1e-9, atol=1e-9)
    process = GaussianProcess(CosineSchedule())
    torch.testing.assert_close(process.velocity_of(xt, mean, scalar(1.0)), -math.pi / 2 * mean, rtol=1e-9, atol=1e-9)


def test_padded_places_stay_zero():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    seeds, process = Seeds.range(0, 2), GaussianProcess()
    x0 = seeds.at("data").normal((3, 2))
    xt = process.noise(x0, scalar(0.5), seeds, mask)
    start = process.prior((3, 2), seeds, 1.0, torch.float32, mask)
    xs = process.bridge(xt, PointPosterior(x0), scalar(0.5), scalar(0.4), seeds, mask)
    for state in (xt, start, xs):
        assert (state[~mask] == 0).all()
        assert (state[mask] != 0).all()
    assert torch.equal(xt[mask], process.noise(x0, scalar(0.5), seeds)[mask])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_keep_the_dtype(dtype):
    denoiser, seeds = IN_THE_PLANE.denoiser(GaussianProcess()), Seeds.range(0, 4)
    x0 = seeds.normal((2,), dtype)
    t = torch.full((4,), 0.5, dtype=torch.float64)
    xt = denoiser.process.noise(x0, t, seeds)
    assert xt.dtype == dtype
    point = PointPosterior(x0)
    assert denoiser.process.bridge(xt, point, t, t / 2, seeds).dtype == dtype
    for dialect in (denoiser.process.score_of, denoiser.process.noise_of, denoiser.process.velocity_of):
        assert dialect(xt, x0, t).dtype == dtype


def test_ddpm_step_of_the_paper():
    """Ho et al. (2020), eq. 6-7, from their betas: mean and variance of q(x_{k-1} | x_k, x_0)."""
    from unstir.processes.schedules.discrete import DiscreteSchedule

    schedule = DiscreteSchedule.linear()
    betas = torch.tensor(schedule.betas, dtype=torch.float64)
    cumulative = (1 - betas).cumprod(0)
    for k in (2, 10, 500, 1000):
        beta, now, before = betas[k - 1], cumulative[k - 1], cumulative[k - 2]
        kept, pulled, deviation = GaussianProcess(schedule).bridge_coefficients(k / 1000, (k - 1) / 1000)
        assert pulled.item() == pytest.approx((before.sqrt() * beta / (1 - now)).item(), rel=1e-8)
        assert kept.item() == pytest.approx(((1 - beta).sqrt() * (1 - before) / (1 - now)).item(), rel=1e-8)
        assert deviation.item() ** 2 == pytest.approx(((1 - before) / (1 - now) * beta).item(), rel=1e-8)


def test_one_step_noise_adds_up():
    """Moments over two forward routes agree: directly to t, and from s by the SDE's transition."""
    schedule, seeds = LinearVPSchedule(), Seeds.range(2, 40_000)
    process = GaussianProcess(schedule)
    x0 = torch.full((40_000, 1), 0.7, dtype=torch.float64)
    xs = process.noise(x0, scalar(0.3), seeds.at("first"))
    ratio = schedule.alpha(0.6) / schedule.alpha(0.3)
    rest = (schedule.sigma(0.6).square() - (ratio * schedule.sigma(0.3)).square()).sqrt()
    xt = ratio * xs + rest * seeds.at("second").normal_like(xs)
    assert_mean(xt, schedule.alpha(0.6).item() * 0.7, schedule.sigma(0.6).item())
    assert_mean((xt - schedule.alpha(0.6) * 0.7).square(), schedule.sigma(0.6).item() ** 2)
