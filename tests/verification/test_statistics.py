"""The tests behind the claims: right ones pass as often as they should, wrong ones do not."""

import math

import numpy as np
import pytest
from scipy import stats

from unstir.verification import statistics
from unstir.verification.statistics import (
    FALSE_ALARM,
    at_most,
    counts_are,
    distribution_is,
    mean_is,
    order_of,
    same_law,
)

generator = np.random.default_rng(7)


def levels(make, count=400):
    return np.array([make().value for _ in range(count)])


MADE = {
    "mean, deviation known": lambda: mean_is("", generator.normal(2, 3, 50), 2, 3),
    "mean, deviation estimated": lambda: mean_is("", generator.normal(2, 3, 8), 2),
    "mean of several": lambda: mean_is("", generator.normal(0, 1, (50, 7)), 0),
    "distribution": lambda: distribution_is("", generator.normal(size=60), stats.norm.cdf),
    "two samples": lambda: same_law("", generator.normal(size=(200, 2)), generator.normal(size=(150, 2))),
    "counts": lambda: counts_are("", generator.multinomial(600, [0.5, 0.3, 0.15, 0.05]), [0.5, 0.3, 0.15, 0.05]),
    "rare counts": lambda: counts_are("", generator.multinomial(300, [0.9] + [0.01] * 10), [0.9] + [0.01] * 10),
    "uniform": lambda: statistics.uniform_are("", generator.uniform(size=80)),
}


@pytest.mark.parametrize("name", MADE)
def test_a_correct_one_has_small_p_values_no_more_often_than_told(name):
    """P(p <= a) <= a for a = 1, 5 and 20 %, to five deviations of the binomial count (a tenth allowed for
    laws that hold for many draws only)."""
    drawn = levels(MADE[name])
    assert ((drawn >= 0) & (drawn <= 1)).all()
    for level in (0.01, 0.05, 0.2):
        allowed = 1.1 * level + 5 * math.sqrt(level * (1 - level) / len(drawn))
        assert (drawn <= level).mean() <= allowed, f"level {level}: {(drawn <= level).mean()}"


@pytest.mark.parametrize(
    "figure",
    [
        mean_is("", generator.normal(0.1, 1, 10_000), 0, 1),
        mean_is("", np.ones(10), 0.5),
        mean_is("", np.full(10, np.nan), 0.5),
        distribution_is("", generator.normal(0, 1.1, 20_000), stats.norm.cdf),
        same_law("", generator.normal(size=(5000, 2)), 1.2 * generator.normal(size=(5000, 2))),
        same_law(
            "", generator.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 5000), generator.normal(size=(5000, 2))
        ),
        counts_are("", [5000, 4400], [0.5, 0.5]),
        counts_are("", [50, 1], [1.0, 0.0]),
        statistics.uniform_are("", generator.beta(0.9, 0.9, 20_000)),
    ],
    ids=["shift", "constant", "nan", "width", "scale", "correlation", "counts", "impossible", "ends"],
)
def test_a_wrong_one_fails(figure):
    assert figure.false_alarm == FALSE_ALARM
    assert not figure.passed


def test_exact_agreement_of_constants_passes():
    assert mean_is("", np.ones(10), 1.0).passed


def test_an_order_is_the_slope_with_its_error():
    steps = 2.0 ** -np.arange(3, 8)
    exact = order_of("", steps, 3 * steps**2, 2)
    assert exact.value == pytest.approx(2)
    assert exact.uncertainty == pytest.approx(0, abs=1e-12)
    assert exact.passed
    assert not order_of("", steps, 3 * steps**1.8, 2).passed
    assert not order_of("", steps, 3 * steps**2.3, 2).passed
    assert order_of("", steps, 3 * steps**2.3, 2, at_least=True).passed
    assert not order_of("", steps, np.where(steps > 0.1, np.nan, steps), 2).passed
    measured, expected = exact.plot.curves
    assert (measured.name, expected.dashed) == ("measured, slope 2.00", True)
    assert np.log(expected.y[1] / expected.y[0]) / np.log(expected.x[1] / expected.x[0]) == pytest.approx(2)


def test_an_error_bound_takes_the_largest():
    assert at_most("", np.array([1e-12, 3e-11]), 1e-10).value == 3e-11
    assert not at_most("", [1e-12, np.nan], 1e-10).passed
