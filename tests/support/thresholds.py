"""Thresholds of statistical tests, from the number of draws and a stated chance of a false alarm.

Five standard errors, two-sided, are a chance of 6e-7 for a normal statistic; the other tests here take
1e-6. Seeds are fixed, so a test that passed goes on passing until the code's draws change.
"""

import math

import numpy as np
from scipy import special, stats

FALSE_ALARM = 1e-6
SIGMAS = 5.0


def assert_mean(values, expected, deviation=None):
    """The mean over the first axis lies within five standard errors; ``deviation`` is of one value, if known."""
    values = np.asarray(values, dtype=np.float64)
    deviation = values.std(axis=0) if deviation is None else deviation
    error = deviation / math.sqrt(len(values))
    distance = np.max(np.abs(values.mean(axis=0) - expected) / error)
    assert distance < SIGMAS, f"{distance:.1f} standard errors from {expected} with {len(values)} draws"


def assert_distribution(values, cdf):
    """Kolmogorov and Smirnov: the largest distance of the empirical distribution function from ``cdf``."""
    values = np.sort(np.asarray(values, dtype=np.float64).ravel())
    count = len(values)
    told = cdf(values)
    distance = max((np.arange(1, count + 1) / count - told).max(), (told - np.arange(count) / count).max())
    # Massart's form of the Dvoretzky-Kiefer-Wolfowitz inequality holds for every count
    allowed = math.sqrt(math.log(2 / FALSE_ALARM) / (2 * count))
    assert distance < allowed, f"Kolmogorov-Smirnov distance {distance:.5f} > {allowed:.5f} with {count} draws"


def assert_no_anderson_darling_alarm(probabilities):
    """Anderson and Darling's statistic of numbers that should be uniform on (0, 1): sensitive in the tails.

    Its law is that of sum_j chi2_j / (j (j + 1)), whose tail is sqrt(3) erfc(sqrt(z)): the first term's,
    times the product of the others' moments.
    """
    ordered = np.sort(np.asarray(probabilities, dtype=np.float64).ravel())
    count = len(ordered)
    odd = 2 * np.arange(1, count + 1) - 1
    statistic = -count - np.mean(odd * (np.log(ordered) + np.log1p(-ordered[::-1])))
    chance = math.sqrt(3) * special.erfc(math.sqrt(max(statistic, 0.0)))
    assert chance > FALSE_ALARM, f"Anderson-Darling statistic {statistic:.2f} with {count} draws"


def assert_count(seen, draws, probability):
    """A binomial count."""
    law = stats.binom(draws, probability)
    assert min(law.cdf(seen), law.sf(seen - 1)) > FALSE_ALARM / 2, (
        f"{seen} of {draws}, expected {draws * probability:.1f}"
    )


def assert_uncorrelated(first, second):
    """The sample correlation of independent numbers is about normal with deviation 1/sqrt(count)."""
    first, second = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    correlation = np.corrcoef(first, second)[0, 1]
    assert abs(correlation) < SIGMAS / math.sqrt(len(first)), f"correlation {correlation:.5f} of {len(first)} pairs"
