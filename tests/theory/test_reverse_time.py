import math

import pytest
import torch
from scipy import stats
from thresholds import assert_distribution, assert_mean
from torch.testing import assert_close

from unstir import CosineSchedule, GaussianProcess, Seeds
from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.theory import reverse_time
from unstir.theory.reverse_time import (
    log_density_by_flow,
    probability_flow,
    return_to_data,
    reverse_sde,
    score_at,
    times_between,
)
from unstir.verification.base import Effort
from unstir.verification.checks import theory

SCHEDULES = [CosineSchedule(), RectifiedFlowSchedule(), EDMSchedule(), LinearVPSchedule()]


def plane(process):
    return MixtureDenoiser([0.5, 0.3, 0.2], [[1.0, 0.5], [-1.0, 0.8], [0.2, -1.2]], [0.25, 0.16, 0.36], process)


def line(process):
    return MixtureDenoiser([0.7, 0.3], [[-1.0], [1.5]], [0.04, 0.25], process)


def line_cdf(x):
    return 0.7 * stats.norm.cdf(x, -1.0, 0.2) + 0.3 * stats.norm.cdf(x, 1.5, 0.5)


class OnlyItsMean(Denoiser):
    """What a trained network offers: a mean, and no score."""

    def __init__(self, exact):
        super().__init__()
        self.exact, self.process = exact, exact.process

    def forward(self, xt, t, drop=None, **condition):
        return PointPosterior(self.exact(xt, t).mean)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_the_flow_of_a_normal_law_stretches_it(schedule):
    """For x_0 ~ N(0, v) the flow keeps x / sqrt(alpha^2 v + sigma^2): known without solving anything."""
    variance = 0.3
    denoiser = MixtureDenoiser([1.0], [[0.0, 0.0]], [variance], GaussianProcess(schedule))
    x = denoiser.draw(Seeds.range(0, 5))
    end = float(schedule.time(-3.0))
    width = math.sqrt(float(schedule.alpha(end)) ** 2 * variance + float(schedule.sigma(end)) ** 2)
    assert_close(probability_flow(denoiser, x, 0, end), x * width / math.sqrt(variance), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_the_density_of_the_data_by_the_flow(schedule):
    denoiser = plane(GaussianProcess(schedule))
    x = denoiser.draw(Seeds.range(1, 6))
    told = log_density_by_flow(denoiser, x, end=float(schedule.time(-5.0)), end_density=denoiser.log_density)
    assert_close(told, denoiser.log_density(x, 0.0), rtol=0, atol=1e-6)


def test_the_prior_at_the_end_of_the_flow_costs_what_is_left_of_the_signal():
    """At log-SNR -20 the end's law is N(0, I) but for a signal of e^-10: with |m| < 2 and |x| < 5, 1e-3 at most."""
    denoiser = plane(GaussianProcess())
    x = denoiser.draw(Seeds.range(1, 6))
    assert_close(log_density_by_flow(denoiser, x), denoiser.log_density(x, 0.0), rtol=0, atol=1e-3)


def test_every_schedule_takes_the_same_road():
    """In units where signal and noise together have the size one, the flow depends on the log-SNR alone."""
    places = []
    for schedule in SCHEDULES:
        denoiser, end = plane(GaussianProcess(schedule)), float(schedule.time(-1.0))
        moved = probability_flow(denoiser, plane(GaussianProcess()).draw(Seeds.range(2, 4)), 0, end)
        places.append(moved / torch.hypot(schedule.alpha(end), schedule.sigma(end)))
    for other in places[1:]:
        assert_close(other, places[0], rtol=1e-6, atol=1e-7)


def test_a_denoiser_that_knows_only_its_mean_serves_as_well():
    exact = plane(GaussianProcess())
    x = exact.draw(Seeds.range(3, 5), 0.2)
    assert_close(score_at(OnlyItsMean(exact), x, 0.2), exact.score(x, 0.2), rtol=1e-9, atol=1e-9)
    told = log_density_by_flow(OnlyItsMean(exact), x, 0.2, 0.7, exact.log_density)
    assert_close(told, exact.log_density(x, 0.2), rtol=0, atol=1e-6)
    drawn = return_to_data(OnlyItsMean(exact), Seeds.range(0, 4), shape=(2,), steps=40)
    assert_close(drawn, return_to_data(exact, Seeds.range(0, 4), steps=40), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("stochasticity", [0.0, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES[:3], ids=lambda schedule: type(schedule).__name__)
def test_noise_returns_to_the_data(schedule, stochasticity):
    drawn = return_to_data(line(GaussianProcess(schedule)), Seeds.range(4, 1000), stochasticity=stochasticity)
    assert drawn.dtype == torch.float64
    assert_distribution(drawn[:, 0], line_cdf)
    assert_mean(drawn[:, 0], -0.7 + 0.45)


def test_the_same_sample_alone_and_among_others():
    denoiser = plane(GaussianProcess())
    seeds = Seeds.range(5, 6)
    assert_close(return_to_data(denoiser, seeds[2:4], steps=30), return_to_data(denoiser, seeds, steps=30)[2:4])


def test_staying_changes_nothing():
    denoiser = plane(GaussianProcess())
    x = denoiser.draw(Seeds.range(0, 3), 0.4)
    assert torch.equal(probability_flow(denoiser, x, 0.4, 0.4), x)
    assert_close(log_density_by_flow(denoiser, x, 0.4, 0.4, denoiser.log_density), denoiser.log_density(x, 0.4))


def test_bad_input_is_told():
    denoiser = plane(GaussianProcess())
    x = denoiser.draw(Seeds.range(0, 2))
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(InputError, match="stochasticity"):
            reverse_sde(denoiser, wrong)
    for wrong in (-0.1, 1.0, 1.5):
        with pytest.raises(InputError, match="from 0 to 1"):
            probability_flow(denoiser, x, 0.0, wrong)
    with pytest.raises(InputError, match="only an exact denoiser"):
        return_to_data(OnlyItsMean(denoiser), Seeds.range(0, 2))
    with pytest.raises(InputError, match="at least 1 step"):
        times_between(CosineSchedule(), 0, 1, 0)
    with pytest.raises(InputError, match="the schedule ends at -10"):
        times_between(LinearVPSchedule(), -30, -20, 5)


def test_another_space_is_refused():
    class Tokens:
        space = "tokens"

    denoiser = OnlyItsMean(plane(GaussianProcess()))
    denoiser.process = Tokens()
    with pytest.raises(InputError, match="Tokens on the space 'tokens'"):
        reverse_sde(denoiser)


class WrongScore(MixtureDenoiser):
    def score(self, xt, t, drop=None, **condition):
        return 1.1 * super().score(xt, t, drop, **condition)


class NotAGradient(MixtureDenoiser):
    """A score with a rotation in it, which leaves no density in peace."""

    def score(self, xt, t, drop=None, **condition):
        return super().score(xt, t, drop, **condition) + 0.5 * xt.flip(-1) * torch.tensor([1.0, -1.0])


def failures(check, subject, effort=None):
    return [found for found in check(subject, effort or Effort(quick=True)) if not found.passed]


@pytest.mark.parametrize("mutant", [WrongScore, NotAGradient])
@pytest.mark.parametrize("check", [theory.reversal_keeps_the_marginals, theory.flow_keeps_the_density])
def test_a_wrong_score_is_caught(check, mutant):
    made = mutant([0.5, 0.3, 0.2], [[1.0, 0.5], [-1.0, 0.8], [0.2, -1.2]], [0.25, 0.16, 0.36], GaussianProcess())
    assert failures(check, made)


def test_a_flow_without_divergence_is_caught(monkeypatch):
    monkeypatch.setattr(reverse_time, "divergence", lambda field, x: torch.zeros(len(x), dtype=torch.float64))
    assert failures(theory.flow_keeps_the_density, plane(GaussianProcess()))


def test_too_much_score_for_the_noise_is_caught(monkeypatch):
    """Anderson's whole score in the equation without noise: data come out far too narrow."""
    right = reverse_time.reverse_sde

    def wrong(denoiser, stochasticity=1.0):
        equation = right(denoiser, stochasticity)
        equation.drift = right(denoiser, 1.0).drift
        return equation

    monkeypatch.setattr(theory, "reverse_sde", wrong)
    for check in (theory.reversal_returns_to_the_data, theory.reversal_keeps_the_marginals):
        assert failures(check, plane(GaussianProcess()))
