import numpy as np
import pytest
import torch

from unstir import CosineSchedule, GaussianProcess, Seeds
from unstir.core.errors import InputError
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.theory.forward_law import forward_law, forward_sde
from unstir.verification.base import Effort
from unstir.verification.checks import theory


def line(process, shape=(1,)):
    return MixtureDenoiser([0.6, 0.4], torch.tensor([-1.0, 1.0]).reshape(2, *shape), [0.1, 0.2], process)


def test_the_routes_start_together_and_lose_nothing():
    law = forward_law(line(GaussianProcess()), [0.1, 0.3, 0.6], Seeds.range(0, 500), cells=100, steps=20)
    assert law.closed_form.shape == law.fokker_planck.shape == law.counts.shape == (3, 100)
    assert law.states.shape == (500, 3)
    assert np.all(law.counts.sum(1) == 500)
    np.testing.assert_array_equal(law.fokker_planck[0], law.closed_form[0])
    np.testing.assert_allclose(law.closed_form.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(law.fokker_planck.sum(1), law.closed_form[0].sum(), atol=1e-12)
    assert law.centres[0] == (law.edges[0] + law.edges[1]) / 2


def test_finer_meshes_come_nearer_with_second_order():
    errors = [
        forward_law(
            line(GaussianProcess()), [0.2, 0.5], Seeds.range(0, 2), cells=cells, steps=cells // 2
        ).total_variation[1]
        for cells in (40, 80, 160)
    ]
    slopes = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(np.abs(slopes - 2) < 0.15)


def test_bounds_of_ones_own():
    law = forward_law(line(GaussianProcess()), [0.2, 0.4], Seeds.range(0, 50), 60, bounds=(-6, 6), steps=5)
    assert (law.edges[0], law.edges[-1]) == (-6.0, 6.0)


def test_the_forward_equation_has_the_schedule_s_moments():
    """From a point at t = 0.3: mean alpha_t/alpha_s x, variance sigma_t^2 - (alpha_t/alpha_s)^2 sigma_s^2."""
    schedule = LinearVPSchedule()
    times = torch.linspace(0.3, 0.6, 301, dtype=torch.float64)
    ends = forward_sde(schedule).simulate(2.0, times, Seeds.range(0, 4000))[:, -1]
    kept = float(schedule.alpha(0.6) / schedule.alpha(0.3))
    variance = float(schedule.sigma(0.6) ** 2 - kept**2 * schedule.sigma(0.3) ** 2)
    # Euler's own error is of the size of a step of 1/300 times the rate 12
    assert abs(float(ends.mean()) - 2 * kept) < 5 * (variance / 4000) ** 0.5 + 0.01
    assert abs(float(ends.var()) / variance - 1) < 5 * (2 / 4000) ** 0.5 + 0.02


def test_bad_input_is_told():
    seeds = Seeds.range(0, 2)
    for wrong in ([0.0, 0.5], [0.5, 1.0], [0.5, 0.2]):
        with pytest.raises(InputError, match="rise between 0 and 1"):
            forward_law(line(GaussianProcess()), wrong, seeds)
    plane = MixtureDenoiser([1.0], [[0.0, 0.0]], [1.0], GaussianProcess())
    with pytest.raises(InputError, match="on the line"):
        forward_law(plane, [0.1, 0.2], seeds)


class WrongSlope(CosineSchedule):
    """A derivative of the log-SNR that is a tenth too steep."""

    def log_snr_derivative(self, t):
        return 1.1 * super().log_snr_derivative(t)


class WrongDrift(CosineSchedule):
    def drift(self, t):
        return 0.7 * super().drift(t)


@pytest.mark.parametrize("mutant", [WrongSlope, WrongDrift])
def test_a_schedule_with_wrong_coefficients_is_caught(mutant):
    found = list(theory.one_law_by_three_routes(mutant(), Effort(quick=True)))
    assert not all(one.passed for one in found if "Fokker" in one.quantity)


def test_a_schedule_with_a_wrong_drift_draws_wrong_paths():
    found = list(theory.one_law_by_three_routes(WrongDrift(), Effort(quick=True)))
    assert not all(one.passed for one in found if "paths" in one.quantity)
