"""Geometric Brownian motion: its moments, one path solved in three ways, units, and bad input."""

import numpy as np
import pint
import pytest
import torch
from scipy import stats

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.geometric_brownian_motion import GeometricBrownianMotion
from unstir.verification.base import Effort
from unstir.verification.checks.physics_paths import exact_step_law, laws_compose

units = pint.UnitRegistry()
PROCESS = GeometricBrownianMotion(0.2, 0.6)


def test_moments_are_the_log_normal_law_s():
    law = stats.lognorm(0.6 * np.sqrt(0.7), scale=3 * np.exp((0.2 - 0.18) * 0.7))
    assert float(PROCESS.mean(3.0, 0.7)) == pytest.approx(law.mean())
    assert float(PROCESS.variance(3.0, 0.7)) == pytest.approx(law.var())


def test_all_methods_solve_one_path():
    seeds = Seeds.range(4, 200)
    exact = PROCESS.simulate(1.0, [0.0, 1.0], seeds, refinements=3)
    at_once = PROCESS.simulate(1.0, [0.0, 1.0], seeds)
    torch.testing.assert_close(exact, at_once, rtol=1e-12, atol=0)
    away = [
        float((PROCESS.simulate(1.0, [0.0, 1.0], seeds, method, 8) - exact).square().mean().sqrt())
        for method in ("euler-maruyama", "milstein")
    ]
    assert away[1] < 0.1 * away[0] < 0.01


def test_no_density_below_zero():
    assert PROCESS.density([-1.0, 0.0], 1.0, 1.0).tolist() == [0.0, 0.0]
    assert PROCESS.cdf([-1.0, 0.0], 1.0, 1.0).tolist() == [0.0, 0.0]


def test_any_unit_of_the_value():
    process = GeometricBrownianMotion(0.2 / units.year, 0.6 / units.year**0.5)
    assert process.mean(3 * units.kg, 8.4 * units.month).to("kg").magnitude == pytest.approx(
        float(PROCESS.mean(3.0, 0.7))
    )
    paths = process.simulate(1 * units.kg, [0, 1] * units.year, Seeds.range(0, 3))
    wanted = PROCESS.simulate(1.0, [0, 1], Seeds.range(0, 3))
    np.testing.assert_allclose(paths.to("kg").magnitude, wanted, rtol=1e-10)


def test_bad_input():
    with pytest.raises(InputError, match="volatility must be"):
        GeometricBrownianMotion(0.1, 0.0)
    with pytest.raises(InputError, match="positive values"):
        PROCESS.simulate(torch.tensor([1.0, 0.0]), [0.0, 1.0], Seeds.range(0, 2))
    with pytest.raises(InputError, match="positive values"):
        PROCESS.cdf(1.0, -1.0, 1.0)


class WithoutIto(GeometricBrownianMotion):
    def exact_step(self, x, t, duration, noise):
        return super().exact_step(x, t, duration, noise) * np.exp(self.volatility**2 / 2 * duration)


class WithoutJacobian(GeometricBrownianMotion):
    def density(self, x, x0, duration):
        return super().density(x, x0, duration) * torch.as_tensor(x)


@pytest.mark.parametrize(("check", "mutant"), [(exact_step_law, WithoutIto), (laws_compose, WithoutJacobian)])
def test_the_checks_catch_broken_laws(check, mutant):
    assert not all(measured.passed for measured in check(mutant, Effort(quick=True)))
