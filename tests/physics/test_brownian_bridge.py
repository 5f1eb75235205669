"""The Brownian bridge: any part of its time, several components, units, and bad input."""

import math

import numpy as np
import pint
import pytest
from scipy import stats
from thresholds import assert_distribution, assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.brownian_bridge import BrownianBridge
from unstir.verification.base import Effort
from unstir.verification.checks.physics_paths import bridge_law, first_passage

units = pint.UnitRegistry()


def test_times_need_not_hold_the_ends():
    paths = BrownianBridge(1.0, 3.0, 2.0, 0.5).simulate([0.5, 1.5], Seeds.range(1, 4000))
    deviation = 0.5 * math.sqrt(0.5 * 1.5 / 2)
    for moment, centre in ((0, 1.5), (1, 2.5)):
        assert_distribution(paths[:, moment].numpy(), stats.norm(centre, deviation).cdf)


def test_vectors():
    bridge = BrownianBridge([0.0, 1.0], [2.0, -1.0], 1.0, 0.3)
    paths = bridge.simulate([0.0, 0.25, 1.0], Seeds.range(1, 2000))
    assert paths.shape == (2000, 3, 2)
    assert_mean(paths[:, 1], bridge.mean([0.25])[0].numpy(), 0.3 * math.sqrt(0.25 * 0.75))
    np.testing.assert_allclose(paths[:, -1], [[2.0, -1.0]] * 2000, atol=1e-12)


def test_units():
    bridge = BrownianBridge(0 * units.mm, 3 * units.mm, 2 * units.s, 1 * units.mm / units.s**0.5)
    assert bridge.mean(1 * units.s).to("mm").magnitude == pytest.approx(1.5)
    assert bridge.variance(1 * units.s).to("mm**2").magnitude == pytest.approx(0.5)
    assert bridge.crossing_probability(4 * units.mm).magnitude == pytest.approx(math.exp(-4))
    paths = bridge.simulate([0, 1, 2] * units.s, Seeds.range(0, 4))
    np.testing.assert_allclose(paths.to("mm").magnitude[:, -1], 3, rtol=1e-12)


@pytest.mark.parametrize(
    ("told", "make"),
    [
        ("duration must be", lambda: BrownianBridge(0.0, 1.0, 0.0, 1.0)),
        ("sigma must be", lambda: BrownianBridge(0.0, 1.0, 1.0, -1.0)),
        ("two vectors of one length", lambda: BrownianBridge([0.0, 1.0], 1.0, 1.0, 1.0)),
        ("times must rise within", lambda: BrownianBridge(0.0, 1.0, 1.0, 1.0).simulate([0.0, 2.0], Seeds.range(0, 2))),
        ("times must rise within", lambda: BrownianBridge(0.0, 1.0, 1.0, 1.0).simulate([1.0, 0.0], Seeds.range(0, 2))),
        ("lie within 0 and 1", lambda: BrownianBridge(0.0, 1.0, 1.0, 1.0).variance(1.5)),
    ],
)
def test_bad_input(told, make):
    with pytest.raises(InputError, match=told):
        make()


class Untied(BrownianBridge):
    def simulate(self, times, seeds):
        paths = super().simulate(times, seeds)
        paths[:, 1:-1] += 0.1 * seeds.at("more").normal((paths.shape[1] - 2,), paths.dtype)
        return paths


class HalfBarrier(BrownianBridge):
    def crossing_probability(self, level):
        return super().crossing_probability(level).sqrt()


@pytest.mark.parametrize(("check", "mutant"), [(bridge_law, Untied), (first_passage, HalfBarrier)])
def test_the_checks_catch_broken_bridges(check, mutant):
    assert not all(measured.passed for measured in check(mutant, Effort(quick=True)))
