import math

import pytest
import torch
from scipy import stats
from thresholds import assert_distribution, assert_mean
from torch.testing import assert_close

from unstir import CosineSchedule, GaussianProcess, Seeds
from unstir.core.errors import InputError
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.theory import control
from unstir.theory.control import (
    Estimate,
    control_energy,
    controlled_paths,
    energy_draws,
    follmer_drift,
    follmer_energy_draws,
    follmer_process,
    kl_draws,
    optimal_control,
)
from unstir.theory.reverse_time import times_between
from unstir.verification.base import Effort
from unstir.verification.checks import theory

SCHEDULES = [CosineSchedule(), RectifiedFlowSchedule(), EDMSchedule(sigma_max=40.0)]


def normal(mean, variance, process):
    return MixtureDenoiser([1.0], [[float(mean)]], [float(variance)], process)


def normal_kl(mean, variance, other_mean, other_variance):
    ratio = variance / other_variance
    return (ratio - 1 - math.log(ratio) + (mean - other_mean) ** 2 / other_variance) / 2


def line(process):
    return MixtureDenoiser([0.7, 0.3], [[-1.0], [1.5]], [0.04, 0.25], process)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_the_energy_between_normal_laws_is_their_divergence(schedule):
    """Both divergences are known in closed form, at either end."""
    process = GaussianProcess(schedule)
    start, end = float(schedule.time(3.0)), float(schedule.time(-3.0))
    energy = energy_draws(normal(0.8, 0.3, process), normal(-0.2, 1.0, process), start, end, Seeds.range(0, 4000))
    expected = 0.0
    for t, sign in ((start, 1), (end, -1)):
        a, s = float(schedule.alpha(t)), float(schedule.sigma(t))
        expected += sign * normal_kl(0.8 * a, 0.3 * a**2 + s**2, -0.2 * a, a**2 + s**2)
    assert_mean(energy, expected)


def test_the_energy_of_the_whole_way_is_the_divergence_of_the_data():
    process = GaussianProcess()
    found = control_energy(normal(0.8, 0.3, process), normal(-0.2, 1.0, process), Seeds.range(1, 4000))
    # what is left at log-SNR of -10 and 10 is of the order of e^-10
    assert abs(found.value - normal_kl(0.8, 0.3, -0.2, 1.0)) < 5 * found.standard_error + 1e-3
    assert found.standard_error < 0.02


def test_girsanov_holds_path_by_path():
    process = GaussianProcess()
    denoiser, reference = line(process), normal(0.0, 1.0, process)
    times = times_between(process.schedule, -4, 4, 480)
    paths = controlled_paths(denoiser, reference, Seeds.range(2, 500), times)
    assert paths.states.shape == (500, 481, 1)
    missed = paths.log_ratio - paths.ratio_at_end
    coarse = controlled_paths(denoiser, reference, Seeds.range(2, 500), times[::16])
    missed_coarse = coarse.log_ratio - coarse.ratio_at_end
    # of order 1/2 in the step: sixteen steps for one are four times as good, here known to a tenth or so
    assert float(missed.square().mean().sqrt()) < float(missed_coarse.square().mean().sqrt()) / 3
    assert_mean(paths.work, 0.0)
    assert_mean(paths.energy - (paths.ratio_at_end - paths.ratio_at_start), 0.0)


def test_no_control_is_needed_for_the_law_itself():
    process = GaussianProcess()
    paths = controlled_paths(line(process), line(process), Seeds.range(0, 5), times_between(process.schedule, -2, 2, 5))
    assert torch.count_nonzero(paths.log_ratio) == 0
    push = optimal_control(line(process), line(process))
    assert torch.count_nonzero(push(torch.ones(3, 1, dtype=torch.float64), 0.5)) == 0


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_follmer_drift_of_a_normal_law(schedule):
    """X_t = t X_1 + a bridge: for X_1 ~ N(m, v) the mean of X_1 given X_t is a regression."""
    mean, variance, t = 0.8, 0.3, 0.4
    x = torch.tensor([[-0.3], [1.2]], dtype=torch.float64)
    gain = t * variance / (t**2 * variance + t * (1 - t))
    expected = (mean + gain * (x - t * mean) - x) / (1 - t)
    assert_close(follmer_drift(normal(mean, variance, GaussianProcess(schedule)), x, t), expected)


def test_follmer_starts_towards_the_mean():
    """Nothing is known at first; what is left out is of the order of the square root of the least time, e^-10."""
    start = torch.zeros(1, 1, dtype=torch.float64)
    assert_close(float(follmer_drift(line(GaussianProcess()), start, 0)), -0.25, rtol=0, atol=1e-3)


def test_follmer_process_goes_from_a_point_to_the_data():
    times = 1 - torch.logspace(0, -4, 400, dtype=torch.float64)
    ends = follmer_process(line(GaussianProcess())).simulate(torch.zeros(2000, 1), times, Seeds.range(3, 2000))
    assert_distribution(
        ends[:, -1],
        lambda x: 0.7 * stats.norm.cdf(x, -1.0, 0.2) + 0.3 * stats.norm.cdf(x, 1.5, 0.5),
    )


def test_follmer_energy_of_a_normal_law_is_its_divergence_from_the_standard_one():
    energy = follmer_energy_draws(normal(0.8, 0.3, GaussianProcess()), Seeds.range(4, 4000))
    assert_mean(energy, normal_kl(0.8, 0.3, 0.0, 1.0))


def test_the_divergence_is_the_mean_of_its_draws():
    process = GaussianProcess()
    draws = kl_draws(normal(0.8, 0.3, process), normal(-0.2, 1.0, process), 0.0, Seeds.range(5, 4000))
    assert_mean(draws, normal_kl(0.8, 0.3, -0.2, 1.0))
    estimate = Estimate.of(draws)
    assert estimate.standard_error == pytest.approx(float(draws.std()) / math.sqrt(4000))


def test_bad_input_is_told():
    process = GaussianProcess()
    first, second = line(process), line(GaussianProcess(RectifiedFlowSchedule()))
    seeds = Seeds.range(0, 3)
    with pytest.raises(InputError, match="one process"):
        kl_draws(first, second, 0.5, seeds)
    with pytest.raises(InputError, match="falling times"):
        controlled_paths(first, first, seeds, torch.tensor([0.2, 0.4], dtype=torch.float64))
    with pytest.raises(InputError, match="start < end"):
        energy_draws(first, first, 0.5, 0.4, seeds)
    for wrong in (-0.1, 1.0):
        with pytest.raises(InputError, match="less than 1"):
            follmer_drift(first, torch.zeros(1, 1, dtype=torch.float64), wrong)
    with pytest.raises(InputError, match="until"):
        follmer_energy_draws(first, seeds, until=1.5)


class WithoutJacobian(MixtureDenoiser):
    """The density of x/alpha, told as if it were that of x."""

    def log_density(self, xt, t, drop=None, **condition):
        return super().log_density(xt, t, drop, **condition) + self.process.schedule.alpha(t).log()


def test_a_density_without_its_jacobian_is_caught():
    mutant = WithoutJacobian([0.7, 0.3], [[-1.0], [1.5]], [0.04, 0.25], GaussianProcess())
    assert any(not found.passed for found in theory.control_energy_is_a_divergence(mutant, Effort(quick=True)))
    assert any(not found.passed for found in theory.girsanov_weights_the_path(mutant, Effort(quick=True)))


def test_energy_without_its_half_is_caught(monkeypatch):
    monkeypatch.setattr(theory, "energy_draws", lambda *given, **named: 2 * energy_draws(*given, **named))
    assert any(
        not found.passed for found in theory.control_energy_is_a_divergence(line(GaussianProcess()), Effort(quick=True))
    )


def test_a_control_that_works_against_the_wrong_noise_is_caught(monkeypatch):
    right = control.brownian_increments
    monkeypatch.setattr(control, "brownian_increments", lambda times, seeds, shape: right(times, seeds.at("x"), shape))
    assert any(
        not found.passed for found in theory.girsanov_weights_the_path(line(GaussianProcess()), Effort(quick=True))
    )
