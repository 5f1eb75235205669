"""Brownian motion: units, first passage far out, and bad input."""

import math

import numpy as np
import pint
import pytest
import torch
from scipy import stats
from thresholds import assert_distribution, assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.brownian_motion import BrownianMotion
from unstir.verification.base import Effort
from unstir.verification.checks.physics_paths import exact_step_law, first_passage, laws_compose

units = pint.UnitRegistry()


def test_diffusivity_and_sigma_are_one_thing():
    assert BrownianMotion.of_diffusivity(0.72).sigma == pytest.approx(1.2)
    assert BrownianMotion(1.2).diffusivity == pytest.approx(0.72)


def test_units_of_paths_and_laws():
    motion = BrownianMotion.of_diffusivity(2 * units.um**2 / units.s, drift=3 * units.um / units.s)
    assert motion.diffusivity.to("um**2/s").magnitude == pytest.approx(2)
    assert motion.mean(1 * units.um, 500 * units.ms).to("um").magnitude == pytest.approx(2.5)
    assert motion.variance(500 * units.ms).to("um**2").magnitude == pytest.approx(2)
    plain = BrownianMotion.of_diffusivity(2.0, drift=3.0)
    seen = motion.density(2 * units.um, 0 * units.um, 0.25 * units.s)
    assert seen.to("1/um").magnitude == pytest.approx(float(plain.density(2.0, 0.0, 0.25)))
    seeds = Seeds.range(0, 5)
    paths = motion.simulate(0 * units.um, np.array([0, 100, 400]) * units.ms, seeds)
    np.testing.assert_allclose(paths.to("um").magnitude, plain.simulate(0.0, [0, 0.1, 0.4], seeds), rtol=1e-12)
    assert motion.first_passage_cdf(1 * units.um, 2 * units.s).dimensionless
    with pytest.raises(InputError, match="simulate: times is a time"):
        motion.simulate(0 * units.um, 3 * units.um, seeds)


def test_each_component_has_its_own_drift():
    motion = BrownianMotion(0.5, drift=[1.0, -2.0])
    ends = motion.simulate(torch.zeros(2000, 2), [0.0, 0.4], Seeds.range(1, 2000))[:, -1]
    assert_mean(ends, [0.4, -0.8], 0.5 * math.sqrt(0.4))


@pytest.mark.parametrize("method", ["euler-maruyama", "milstein"])
def test_steps_of_constant_coefficients_are_exact(method):
    ends = BrownianMotion(0.5, 1.0).simulate(0.0, [0.0, 2.0], Seeds.range(1, 4000), method)[:, -1]
    assert_distribution(ends.numpy(), stats.norm(2, 0.5 * math.sqrt(2)).cdf)


def test_first_passage_far_in_the_tails():
    towards, away = BrownianMotion(0.1, 5.0), BrownianMotion(0.1, -5.0)
    assert float(towards.first_passage_cdf(1.0, 100.0)) == pytest.approx(1.0, abs=1e-15)
    # against the drift the chance is exp(-2 |drift| distance/sigma^2) = e^-1000, which float64 takes for zero
    assert float(away.first_passage_cdf(1.0, 100.0)) == 0.0
    assert float(BrownianMotion(1.0, -2.0).first_passage_cdf(1.0, 1e4)) == pytest.approx(math.exp(-4), rel=1e-12)


def test_first_passage_is_the_inverse_gaussian_law():
    motion, times = BrownianMotion(0.7, 0.9), np.linspace(0.1, 5, 20)
    mean, shape = 1.3 / 0.9, 1.3**2 / 0.7**2
    law = stats.invgauss(mean / shape, scale=shape)
    np.testing.assert_allclose(motion.first_passage_density(1.3, times), law.pdf(times), rtol=1e-12)
    np.testing.assert_allclose(motion.first_passage_cdf(1.3, times), law.cdf(times), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    ("told", "make"),
    [
        ("sigma must be a finite number above 0", lambda: BrownianMotion(0.0)),
        ("sigma must be a finite number above 0", lambda: BrownianMotion(math.nan)),
        ("the diffusivity must be above 0", lambda: BrownianMotion.of_diffusivity(-1.0)),
        ("the drift is a", lambda: BrownianMotion(1.0, "fast")),
        ("the drift is a", lambda: BrownianMotion(1.0, [[1.0]])),
        ("has 2 components", lambda: BrownianMotion(1.0, [1.0, 2.0]).simulate(0.0, [0.0, 1.0], Seeds.range(0, 3))),
        ("one component", lambda: BrownianMotion(1.0, [1.0, 2.0]).first_passage_cdf(1.0, 1.0)),
        ("times above 0", lambda: BrownianMotion(1.0).first_passage_cdf(1.0, 0.0)),
        ("goes forward", lambda: BrownianMotion(1.0).simulate(0.0, [1.0, 0.0], Seeds.range(0, 3))),
    ],
)
def test_bad_input(told, make):
    with pytest.raises(InputError, match=told):
        make()


class TooWide(BrownianMotion):
    def moments(self, x0, t, duration):
        mean, variance = super().moments(x0, t, duration)
        return mean, 2 * variance


class NoMirror(BrownianMotion):
    def first_passage_cdf(self, level, times, x0=0.0):
        return 1 - self.cdf(level, x0, times) if level > x0 else self.cdf(level, x0, times)


@pytest.mark.parametrize(
    ("check", "mutant"), [(exact_step_law, TooWide), (laws_compose, TooWide), (first_passage, NoMirror)]
)
def test_the_checks_catch_broken_laws(check, mutant):
    assert not all(measured.passed for measured in check(mutant, Effort(quick=True)))
