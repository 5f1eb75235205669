"""Assertions on draws, with the bounds of ``unstir.verification.statistics``, and what they may cost.

Each fails by chance once in ten million times. ``spent`` adds the chances up over the test run, and
``conftest.py`` lets no run pass in which they exceed one in a thousand. Seeds are fixed, so a test that
passed goes on passing until the code's draws change.
"""

import numpy as np
from scipy import stats

from unstir.verification.statistics import distribution_is, mean_is, probable, uniform_are

BUDGET = 1e-3
spent = [0.0]


def assert_holds(figure):
    """A measured figure lies between its bounds."""
    spent[0] += figure.false_alarm
    assert figure.passed, (
        f"{figure.quantity}: {figure.value:.4g}, allowed {figure.low:.4g} to {figure.high:.4g} ({figure.note})"
    )


def assert_mean(values, expected, deviation=None):
    """The mean over the first axis is ``expected``; ``deviation`` is of one value, if known."""
    assert_holds(mean_is("mean", np.asarray(values), expected, deviation))


def assert_distribution(values, cdf):
    """Kolmogorov and Smirnov: the draws have the distribution function ``cdf``."""
    assert_holds(distribution_is("distribution", values, cdf))


def assert_no_anderson_darling_alarm(probabilities):
    """Anderson and Darling: numbers are uniform on (0, 1), in the tails above all."""
    assert_holds(uniform_are("uniformity", probabilities))


def assert_count(seen, draws, probability):
    """A binomial count."""
    law = stats.binom(draws, probability)
    chance = min(1.0, 2 * min(law.cdf(seen), law.sf(seen - 1)))
    assert_holds(probable("count", chance, f"{seen} of {draws}, expected {draws * probability:.1f}"))


def assert_uncorrelated(first, second):
    """Pearson's correlation of independent numbers."""
    first, second = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    assert_holds(probable("correlation", stats.pearsonr(first, second).pvalue, f"{len(first)} pairs"))
