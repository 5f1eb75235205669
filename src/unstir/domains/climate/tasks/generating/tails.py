"""Tails of windows' maxima: fitted laws of extremes with intervals, and what they say of a probability."""

import math

import numpy as np

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.scores.extremes import ReturnLevels, block_maxima, peaks_over_threshold, return_levels

QUANTILE = 0.95
_BLOCK = 20  # windows, of which the greatest is one maximum
_FEWEST = 20


def tail_of(values: np.ndarray, quantile: float = QUANTILE) -> ReturnLevels:
    """The generalised Pareto law above the ``quantile`` of values (n,), whose periods are single values.

    All that lie above are fitted to, clusters too: it is the share of windows that is asked for, not of storms.
    Raises InputError where fewer than 20 values lie above.
    """
    threshold = float(np.quantile(values, quantile))
    beyond = values[values > threshold]
    if len(beyond) < _FEWEST:
        raise InputError(
            f"a tail is fitted to {_FEWEST} excesses at least; seen {len(beyond)} of {len(values)} windows: give more"
        )
    return peaks_over_threshold(beyond, threshold, float(len(values)))


def resampled_tails(values: np.ndarray, block: int, seed: int, replicates: int = 60) -> list[ReturnLevels]:
    """Tails fitted to circular blocks of the series drawn anew: what hangs together in time stays together."""
    generator = Seeds.range(seed, 1).at("tails").generator()
    pieces = math.ceil(len(values) / block)
    found = []
    for _ in range(replicates):
        starts = generator.integers(0, len(values), pieces)
        rows = (starts[:, None] + np.arange(block)).ravel()[: len(values)] % len(values)
        found.append(tail_of(values[rows]))
    return found


def probability_of(tail: ReturnLevels, values: np.ndarray, level: float) -> float:
    """Of passing the level: by the fitted tail, or as counted among the ``values`` where the tail has not begun."""
    if level <= tail.location:
        return float((values >= level).mean())
    return float(1 / tail.period(level))


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """Clopper's and Pearson's 95 % interval of a share, of independent trials."""
    from scipy import stats

    low = float(stats.beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def return_table(maxima: dict[str, np.ndarray], unit: str, seed: int) -> str:
    """Return levels of windows' maxima, by name (n,): two fitted laws, with 95 % intervals, as plain text.

    Of each: the generalised extreme value law of the maxima of 20 windows in a row, and the generalised Pareto law
    above the 95th percentile.
    """
    periods = np.array([200.0, 1000.0, 10000.0])
    lines = [f"return levels in {unit}; periods in windows", f"{'':24}" + "".join(f"{p:>26,.0f}" for p in periods)]
    seeds = Seeds.range(seed, 1).at("return table")
    for name, values in maxima.items():
        for law in ("extreme value", "Pareto"):
            if law == "Pareto":
                if len(values) * (1 - QUANTILE) < _FEWEST + 1:
                    continue
                fitted, asked = tail_of(values), periods
            elif len(values) >= 10 * _BLOCK:
                fitted, asked = return_levels(block_maxima(values, _BLOCK)), periods / _BLOCK
            else:
                continue
            low, high = fitted.interval(asked, seeds.at(name, law), 60)
            told = [f"{m:.4g} ({a:.4g} to {b:.4g})" for m, a, b in zip(fitted.level(asked), low, high, strict=True)]
            lines.append(f"{name + ', ' + law:24}" + "".join(f"{each:>26}" for each in told))
    return "\n".join(lines)
