"""Ornstein and Uhlenbeck: stationary law, steps against the exact ones, units, and bad input."""

import math

import numpy as np
import pint
import pytest
import torch
from scipy import integrate, stats
from thresholds import assert_distribution, assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.ornstein_uhlenbeck import OrnsteinUhlenbeck
from unstir.verification.base import Effort
from unstir.verification.checks.physics_paths import exact_step_law

units = pint.UnitRegistry()
PROCESS = OrnsteinUhlenbeck(1.5, 0.3, 0.8)
DEVIATION = 0.8 / math.sqrt(3)


def test_the_stationary_law_stays():
    seeds = Seeds.range(2, 4000)
    paths = PROCESS.simulate(PROCESS.draw_stationary(seeds), [0.0, 0.5, 3.0], seeds)
    for moment in paths.unbind(1):
        assert_distribution(moment.numpy(), stats.norm(0.3, DEVIATION).cdf)
    centred = paths - 0.3
    assert_mean(centred[:, 0] * centred[:, 1], float(PROCESS.autocovariance(0.5)))


def test_the_stationary_law_in_closed_form():
    x = np.linspace(-1, 2, 7)
    np.testing.assert_allclose(PROCESS.stationary_density(x), stats.norm(0.3, DEVIATION).pdf(x), rtol=1e-12)
    np.testing.assert_allclose(PROCESS.stationary_cdf(x), stats.norm(0.3, DEVIATION).cdf(x), rtol=1e-12)
    assert PROCESS.stationary_variance == pytest.approx(DEVIATION**2)


def test_moments_obey_their_differential_equations():
    def slopes(t, moments):
        mean, variance = moments
        return [1.5 * (0.3 - mean), -3.0 * variance + 0.64]

    solved = integrate.solve_ivp(slopes, (0, 0.9), [2.0, 0.0], rtol=1e-11, atol=1e-12).y[:, -1]
    np.testing.assert_allclose([PROCESS.transition_mean(2.0, 0.9), PROCESS.variance(0.9)], solved, rtol=1e-9)


def test_a_tiny_rate_is_brownian_motion():
    assert float(OrnsteinUhlenbeck(1e-12, 0.0, 2.0).variance(3.0)) == pytest.approx(12.0, rel=1e-10)


def test_units():
    process = OrnsteinUhlenbeck(2 / units.ms, mean=0 * units.nm, sigma=3 * units.nm / units.ms**0.5)
    assert process.stationary_variance.to("nm**2").magnitude == pytest.approx(9 / 4)
    plain, seeds = OrnsteinUhlenbeck(2.0, 0.0, 3.0), Seeds.range(0, 3)
    seen = process.simulate(process.draw_stationary(seeds), [0, 0.5] * units.ms, seeds)
    wanted = plain.simulate(plain.draw_stationary(seeds), [0, 0.5], seeds)
    np.testing.assert_allclose(seen.to("nm").magnitude, wanted, rtol=1e-10)
    with pytest.raises(InputError, match="sigma is a value"):
        OrnsteinUhlenbeck(2 / units.ms, mean=1.0, sigma=3 * units.nm / units.ms**0.5)


@pytest.mark.parametrize("options", [{"rate": 0.0}, {"rate": 1.0, "sigma": -1.0}, {"rate": 1.0, "mean": math.inf}])
def test_bad_input(options):
    with pytest.raises(InputError, match="must be a finite number"):
        OrnsteinUhlenbeck(**options)


class SlowVariance(OrnsteinUhlenbeck):
    def moments(self, x0, t, duration):
        mean, _ = super().moments(x0, t, duration)
        return mean, self.stationary_variance * -torch.expm1(-self.rate * duration)


def test_the_check_catches_a_broken_law():
    assert not all(measured.passed for measured in exact_step_law(SlowVariance, Effort(quick=True)))
