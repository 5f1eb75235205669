"""Ancestral sampling with the true posterior is exact, whatever the number of steps; so is the optimal variance's."""

import math

import pytest
import torch
from scipy import stats
from thresholds import assert_distribution

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.variances import VarianceTable, linear_variance, with_variance
from unstir.exact.gaussian import GaussianDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.laplace import LaplaceSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.ancestral import (
    AncestralSampler,
    GaussianAncestralSampler,
    analytic_dpm,
    ddpm_learned,
    ddpm_upper,
)
from unstir.samplers.base import SamplerState, sample
from unstir.verification.references import ON_THE_LINE, NormalDenoiser, PointDenoiser, arrive, exact_moments

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


NORMAL_TABLE = VarianceTable.of_normal(0.8)
TIMES = [0.9, 0.55, 0.3, 0.04, 0.0]


def moments(sampler, denoiser, times, deviation=0.8, mean=0.6):
    schedule = denoiser.process.schedule
    alpha, sigma = schedule.alpha(times[0]).item(), schedule.sigma(times[0]).item()
    return exact_moments(sampler, denoiser, times, alpha * mean, (alpha * deviation) ** 2 + sigma**2)


def true_moments(schedule, time, deviation=0.8, mean=0.6):
    alpha, sigma = schedule.alpha(time).item(), schedule.sigma(time).item()
    return alpha * mean, (alpha * deviation) ** 2 + sigma**2


@pytest.mark.parametrize("schedule", [*SCHEDULES, EDMSchedule(), SubVPSchedule()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_optimal_variance_keeps_normal_data_exactly_to_the_end(schedule, steps):
    """At every level and in any number of steps, by table, by belief and by the bound of this deviation."""
    denoiser, times = NormalDenoiser(0.6, 0.8, GaussianProcess(schedule)), torch.tensor(TIMES, dtype=torch.float64)
    times = times[-1 - steps :]
    told = with_variance(denoiser, NORMAL_TABLE)
    cases = [
        (analytic_dpm(NORMAL_TABLE, draw_last=True), denoiser),
        (analytic_dpm(draw_last=True), told),
        (GaussianAncestralSampler("upper", 0.8, draw_last=True), denoiser),
        (AncestralSampler(), told),
    ]
    for sampler, seen in cases:
        for last in range(1, steps + 1):
            found = moments(sampler, seen, times[: last + 1])
            assert found == pytest.approx(true_moments(schedule, times[last]), rel=1e-9)


def test_other_variances_miss_the_law_of_normal_data():
    """So that the test above says something: the lower one is too narrow, that of wider data too wide."""
    denoiser, times = NormalDenoiser(0.6, 0.8, GaussianProcess()), torch.tensor(TIMES[:3], dtype=torch.float64)
    true = true_moments(denoiser.process.schedule, times[-1])[1]
    assert moments(GaussianAncestralSampler("lower"), denoiser, times)[1] < 0.95 * true
    assert moments(ddpm_upper(), denoiser, times)[1] > 1.02 * true


def test_the_lower_variance_is_the_bridge_of_a_point():
    denoiser, times = NormalDenoiser(0.6, 0.8, GaussianProcess()), torch.tensor(TIMES, dtype=torch.float64)
    lower = moments(GaussianAncestralSampler("lower"), denoiser, times)
    assert lower == pytest.approx(moments(AncestralSampler(), denoiser, times), rel=1e-12)


@pytest.mark.parametrize(("schedule", "deviation"), [(CosineSchedule(), 1.0), (EDMSchedule(), math.inf)])
def test_the_upper_variance_is_that_of_the_transition(schedule, deviation):
    """Beta under VP, and the difference of squared noise levels as in NCSN++'s ancestral sampler under VE."""
    process = GaussianProcess(schedule)
    denoiser = NormalDenoiser(0.0, 0.0, process)  # the mean is always zero
    for t, s in ((0.9, 0.3), (0.5, 0.499), (0.2, 0.01)):
        t, s = torch.tensor(t, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
        x, seeds = torch.zeros(3, 2, dtype=torch.float64), Seeds.range(0, 3)
        state = SamplerState(x, seeds)
        drawn = ddpm_upper(deviation).step(denoiser, state, t, s).tensor
        ratio = (schedule.alpha(t) / schedule.alpha(s)).square()
        beta = schedule.sigma(t).square() - ratio * schedule.sigma(s).square()
        if deviation == 1.0:
            torch.testing.assert_close(beta, 1 - ratio)
        noise = state.step_seeds().normal_like(x)
        torch.testing.assert_close(drawn, beta.sqrt() * noise, rtol=1e-9, atol=0)


def test_elements_have_their_own_variance():
    deviations = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    schedule, times = CosineSchedule(), torch.tensor([0.95, 0.6, 0.3], dtype=torch.float64)
    denoiser = GaussianDenoiser([0.0, 0.5, -1.0], deviations.square(), GaussianProcess(schedule))
    levels = schedule.log_snr(times.flip(0)).flip(0)
    table = VarianceTable(levels, linear_variance(levels[:, None], deviations), torch.zeros(3, 3), 1.0)
    seeds = Seeds.range(1, 30_000)
    x = denoiser.draw(seeds.at("start"), times[0])
    x = arrive(analytic_dpm(table), PointDenoiser(denoiser), x, times, seeds)
    alpha, sigma = schedule.alpha(times[-1]), schedule.sigma(times[-1])
    for element in range(3):
        spread = float((alpha * deviations[element]) ** 2 + sigma**2) ** 0.5
        middle = float(alpha * denoiser.mean[element])
        assert_distribution(x[:, element], lambda v, m=middle, s=spread: stats.norm.cdf(v, m, s))


def test_of_all_variances_the_optimal_one_makes_the_true_step_the_most_likely():
    """A mixture, from exact states: log-likelihood of the true x_s under the step's Gaussian, by paired draws."""
    process = GaussianProcess()
    denoiser = ON_THE_LINE.denoiser(process)
    t, s = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.35, dtype=torch.float64)
    seeds = Seeds.range(2, 40_000)
    xs = denoiser.draw(seeds.at("x"), s)
    xt = process.transition(xs, s, t, seeds.at("on"))
    mean = denoiser(xt, t).mean
    optimal = (denoiser(xt, t).variance).mean()
    kept, pulled, deviation = process.bridge_coefficients(t, s)
    away = (xs - kept * xt - pulled * mean).square()

    def log_likelihoods(width):
        variance = deviation.square() + pulled.square() * width
        return -(away / variance + variance.log()) / 2

    best = log_likelihoods(optimal)
    for other in (torch.zeros(()), linear_variance(process.schedule.log_snr(t), 1.34), optimal / 1.3, optimal * 1.3):
        gain = best - log_likelihoods(other)
        assert gain.mean() > 5 * gain.std() / len(gain) ** 0.5


def test_a_table_may_come_as_a_recipe_has_it():
    sampler = build("samplers", {"name": "analytic-dpm", "table": NORMAL_TABLE.as_dict()})
    denoiser, times = NormalDenoiser(0.6, 0.8, GaussianProcess()), torch.tensor(TIMES, dtype=torch.float64)
    assert moments(sampler, denoiser, times) == moments(analytic_dpm(NORMAL_TABLE), denoiser, times)


def test_without_noise_at_the_end_the_last_step_lands_on_the_mean():
    denoiser = with_variance(NormalDenoiser(0.6, 0.8, GaussianProcess()), NORMAL_TABLE)
    t, x = torch.tensor(0.3, dtype=torch.float64), Seeds.range(0, 4).normal((2,))
    for sampler in (analytic_dpm(), analytic_dpm(NORMAL_TABLE), ddpm_learned(), ddpm_upper()):
        after = sampler.step(denoiser, SamplerState(x, Seeds.range(0, 4)), t, torch.tensor(0.0).double())
        assert torch.equal(after.tensor, denoiser(x, t).mean)


@pytest.mark.parametrize("name", ["analytic-dpm", "ddpm-learned"])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_point_belief_is_told_what_to_do(name, steps):
    denoiser = NormalDenoiser(0.6, 0.8, GaussianProcess())
    with pytest.raises(InputError, match=r"needs a belief with a variance; seen PointPosterior.*measure_variances"):
        sample(denoiser, build("samplers", name), (2,), 3, steps=steps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variance": "best"}, "unknown variance of an ancestral sampler 'best'"),
        ({"variance": "upper", "deviation": 0.0}, "deviation must be positive; seen 0.0"),
        ({"variance": "table"}, "a table of variances goes with"),
        ({"variance": "belief", "table": NORMAL_TABLE}, "a table of variances goes with"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        GaussianAncestralSampler(**options)


def test_a_table_of_another_shape_is_refused():
    table = VarianceTable(torch.tensor([0.0, 1.0]), torch.ones(2, 3), torch.zeros(2, 3), 1.0)
    with pytest.raises(InputError, match=r"of the shape \(3,\), a sample \(2,\)"):
        sample(NormalDenoiser(0.6, 0.8, GaussianProcess()), analytic_dpm(table), (2,), 3)


def test_another_space_is_refused():
    denoiser = NormalDenoiser(0.0, 1.0, GaussianProcess())
    denoiser.process = WrappedProcess()
    with pytest.raises(InputError, match=r"samplers that do: .*ancestral"):
        sample(denoiser, ddpm_upper(), (2,), 3)
