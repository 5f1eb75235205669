"""From errors and draws to findings, with bounds that come from theory and numbers of draws.

A statistical figure is a p-value, and fails below ``FALSE_ALARM``: correct code does so once in ten
million times. The chances of all figures of a run add up to at most that of the whole run.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats

from unstir.verification.base import Curve, Measured, Plot

FALSE_ALARM = 1e-7  # of one figure: a run of some thousand stays well below one in a thousand


def at_most(quantity: str, value: Any, bound: float | int, note: str = "", plot: Plot | None = None) -> Measured:
    """An error that must not exceed a bound; of a tensor or array, its largest element (NaN, if there is one)."""
    return Measured(quantity, float(np.max(np.asarray(value))), high=bound, note=note, plot=plot)


def order_of(
    quantity: str,
    steps: Any,
    errors: Any,
    expected: float | int,
    tolerance: float = 0.1,
    at_least: bool = False,
    step_name: str = "step",
    corrected: bool = False,
) -> Measured:
    """The slope of log error against log step by least squares, within ``tolerance`` of the order expected.

    ``steps`` are step sizes (or reciprocals of counts). ``at_least`` allows a faster decay. With ``corrected`` the next
    term of the error is fitted as well, C h^p (1 + c h) for small c h: the order that the slopes tend to. The
    uncertainty is the standard error of the slope.
    """
    x, y = np.log(np.asarray(steps, dtype=float)), np.log(np.asarray(errors, dtype=float))
    if corrected:
        terms = np.stack((np.ones_like(x), x, np.exp(x)), axis=1)
        y = y - np.linalg.lstsq(terms, y, rcond=None)[0][2] * np.exp(x)
    fit = stats.linregress(x, y)
    ends = [float(min(steps)), float(max(steps))]
    anchor = math.exp(float(np.mean(y)))
    centre = math.exp(float(np.mean(x)))
    plot = Plot(
        quantity,
        step_name,
        "error",
        (
            Curve(f"measured, slope {fit.slope:.2f}", list(map(float, steps)), list(map(float, errors))),
            Curve(f"order {expected:g}", ends, [anchor * (value / centre) ** expected for value in ends], dashed=True),
        ),
        x_log=True,
        y_log=True,
    )
    high = math.inf if at_least else expected + tolerance
    return Measured(quantity, float(fit.slope), expected - tolerance, high, float(fit.stderr), plot=plot)


def probable(quantity: str, probability: float, note: str = "", plot: Plot | None = None) -> Measured:
    """A p-value that is uniform, or larger, for something correct; what is not a number has no chance."""
    probability = 0.0 if math.isnan(probability) else float(probability)
    return Measured(quantity, probability, FALSE_ALARM, 1.0, None, FALSE_ALARM, plot, note)


def mean_is(quantity: str, values: Any, expected: Any, deviation: Any = None) -> Measured:
    """The mean over the first axis, against what is expected; several components are one test (Bonferroni).

    ``deviation`` is the standard deviation of one value, if it is known; the draws' own otherwise.
    """
    values = np.asarray(values, dtype=np.float64)
    spread = values.std(axis=0, ddof=1) if deviation is None else np.asarray(deviation)
    error = np.broadcast_to(spread / math.sqrt(len(values)), values.shape[1:])
    away = np.abs(values.mean(axis=0) - np.asarray(expected))
    distances = np.divide(away, error, out=np.where(away == 0, 0.0, np.inf), where=error > 0)
    worst = float(distances.max())
    tail = stats.norm if deviation is not None else stats.t(len(values) - 1)
    note = f"{worst:.1f} standard errors at most, {len(values)} draws"
    return probable(quantity, float(np.minimum(1.0, 2 * distances.size * tail.sf(worst))), note)


def distribution_is(quantity: str, values: Any, cdf: Callable[[Any], Any], plot: Plot | None = None) -> Measured:
    """Kolmogorov's and Smirnov's test of independent numbers against a distribution function."""
    values = np.asarray(values, dtype=np.float64).ravel()
    result = stats.kstest(values, cdf)
    return probable(quantity, result.pvalue, f"distance {result.statistic:.4f}, {len(values)} draws", plot)


def same_law(quantity: str, first: Any, second: Any, seed: int = 0, projections: int = 16) -> Measured:
    """Two independent sets of draws, (n, ...) and (m, ...), have one law.

    Kolmogorov's and Smirnov's two-sample test along the axes and along random directions, Bonferroni over all.
    """
    first, second = (np.asarray(draws, dtype=np.float64).reshape(len(draws), -1) for draws in (first, second))
    width = first.shape[1]
    directions = np.eye(width)
    if width > 1:
        drawn = np.random.default_rng(seed).normal(size=(projections, width))
        directions = np.concatenate((directions, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)))
    tests = [stats.ks_2samp(first @ direction, second @ direction, method="asymp") for direction in directions]
    smallest = min(test.pvalue for test in tests)
    note = f"distance {max(test.statistic for test in tests):.4f} at most, {len(first)} and {len(second)} draws"
    return probable(quantity, float(np.minimum(1.0, smallest * len(tests))), note)


def counts_are(quantity: str, counts: Any, probabilities: Any) -> Measured:
    """Multinomial counts against their probabilities, by the likelihood ratio (G) test.

    Cells where fewer than ten are expected are put together; a count where none can be fails.
    """
    counts = np.asarray(counts, dtype=np.float64).ravel()
    probabilities = np.asarray(probabilities, dtype=np.float64).ravel()
    total = counts.sum()
    if np.any(counts[probabilities <= 0] > 0):
        return probable(quantity, 0.0, "something was drawn that has no probability")
    expected = total * probabilities / probabilities.sum()
    small = expected < 10
    if small.any():
        counts = np.append(counts[~small], counts[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
    kept = expected > 0
    statistic = 2 * float(special.xlogy(counts[kept], counts[kept] / expected[kept]).sum())
    chance = float(stats.chi2(max(int(kept.sum()) - 1, 1)).sf(max(statistic, 0.0)))
    return probable(quantity, chance, f"G = {statistic:.1f} on {int(kept.sum()) - 1} degrees, {int(total)} draws")


def uniform_are(quantity: str, probabilities: Any, plot: Plot | None = None) -> Measured:
    """Anderson's and Darling's test of numbers that should be uniform on (0, 1): sensitive at both ends.

    The tail of its law is sqrt(3) erfc(sqrt(z)): the first term of sum_j chi2_j/(j (j + 1)), times the product
    of the others' moments.
    """
    ordered = np.sort(np.clip(np.asarray(probabilities, dtype=np.float64).ravel(), 1e-300, 1 - 1e-16))
    count = len(ordered)
    odd = 2 * np.arange(1, count + 1) - 1
    statistic = -count - float(np.mean(odd * (np.log(ordered) + np.log1p(-ordered[::-1]))))
    chance = float(np.minimum(1.0, math.sqrt(3) * special.erfc(np.sqrt(np.maximum(statistic, 0.0)))))
    return probable(quantity, chance, f"statistic {statistic:.2f}, {count} numbers", plot)
