import numpy as np
import pytest
import torch
from thresholds import assert_mean
from torch.testing import assert_close

from unstir import CosineSchedule, GaussianProcess, Seeds
from unstir.core.errors import InputError
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.theory.information import (
    gaussian_information,
    information_draws,
    mmse,
    mutual_information,
    share_of_time,
    signal_story,
    squared_error_draws,
)
from unstir.verification.base import Effort
from unstir.verification.checks import theory


def test_half_the_error_is_the_slope_of_the_information():
    ratio = torch.tensor([1e-6, 0.1, 1.0, 30.0, 1e6], dtype=torch.float64, requires_grad=True)
    information, error = gaussian_information(ratio.log(), 0.7)
    (slope,) = torch.autograd.grad(information.sum(), ratio)
    assert_close(slope, error.detach() / 2, rtol=1e-10, atol=0)
    assert_close(information.detach(), torch.log1p(0.7 * ratio.detach()) / 2, rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", [CosineSchedule(), EDMSchedule()], ids=lambda schedule: type(schedule).__name__)
def test_draws_of_a_normal_law_have_its_information_and_error(schedule):
    denoiser = MixtureDenoiser([1.0], [[0.5, -0.5]], [0.7], GaussianProcess(schedule))
    t = float(schedule.time(0.5))
    information, error = gaussian_information(torch.tensor(0.5, dtype=torch.float64), 0.7)
    assert_mean(information_draws(denoiser, t, Seeds.range(0, 4000)), 2 * float(information))
    assert_mean(squared_error_draws(denoiser, t, Seeds.range(1, 4000)), 2 * float(error))
    assert abs(mutual_information(denoiser, t, Seeds.range(2, 4000)).value - 2 * float(information)) < 0.15
    assert abs(mmse(denoiser, t, Seeds.range(2, 4000)).value - 2 * float(error)) < 0.1


def test_the_story_tells_the_schedule():
    story = signal_story(CosineSchedule(), points=50)
    assert len(story.times) == 50
    assert 0 < story.times[0] < story.times[-1] < 1
    np.testing.assert_allclose(story.alpha**2 + story.sigma**2, 1)
    np.testing.assert_allclose(2 * np.log(story.alpha / story.sigma), story.log_snr, atol=1e-10)
    np.testing.assert_allclose(story.mmse, story.sigma**2)  # of unit normal data under vp: 1/(1 + rho)
    assert np.all(np.diff(story.information) < 0)


def test_shares_of_time():
    """Rectified flow is at log-SNR l at the time 1/(1 + e^(l/2))."""
    shares = share_of_time(RectifiedFlowSchedule(), [-2, 0, 2])
    middle = 1 / (1 + np.exp(-1)) - 0.5
    np.testing.assert_allclose(shares, [0.5 - middle, middle, middle, 0.5 - middle])
    assert share_of_time(EDMSchedule(), np.array([-20.0, 3.0])).sum() == pytest.approx(1)


def test_bad_input_is_told():
    for wrong in ({"points": 0}, {"variance": 0}):
        with pytest.raises(InputError, match="at least 1 point"):
            signal_story(CosineSchedule(), **wrong)
    for wrong in ([], [1.0, 1.0], [2.0, 1.0]):
        with pytest.raises(InputError, match="rise strictly"):
            share_of_time(CosineSchedule(), wrong)


class TooBlunt(MixtureDenoiser):
    """Its mean is pulled a tenth towards zero: no longer the best guess."""

    def belief(self, xt, alpha, sigma, drop=None, **condition):
        right = super().belief(xt, alpha, sigma, drop, **condition)
        object.__setattr__(right, "mean", 0.8 * right.mean)
        return right


def test_a_guess_that_is_not_the_best_is_caught():
    mutant = TooBlunt([0.7, 0.3], [[-1.0], [1.5]], [0.04, 0.25], GaussianProcess())
    assert any(not found.passed for found in theory.information_is_integrated_error(mutant, Effort(quick=True)))


class WrongClock(CosineSchedule):
    """Told levels are reached at other times than are told."""

    def time(self, log_snr):
        return super().time(log_snr) ** 1.2


def test_a_wrong_inverse_of_time_is_caught():
    found = list(theory.time_is_shared_among_noise_levels(WrongClock(), Effort(quick=True)))
    assert not all(one.passed for one in found)
