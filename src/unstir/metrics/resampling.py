"""Bootstrap: how often each row is drawn, and intervals from the replicates."""

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds


def bootstrap_counts(rows: int, replicates: int, seeds: Seeds) -> Tensor:
    """How often each row occurs in each of the resamples with replacement, float64 (replicates, rows)."""
    if replicates < 2:
        raise InputError(f"a bootstrap needs at least 2 replicates, seen {replicates}")
    counts = seeds.at("bootstrap").generator().multinomial(rows, np.full(rows, 1 / rows), size=replicates)
    return torch.from_numpy(counts).double()


def centred_interval(
    value: float, replicates: Tensor, limits: tuple[float, float], level: float = 0.95
) -> tuple[float, float]:
    r"""The percentile interval, moved so that the replicates' mean lies on the value.

    A resample holds only 63 % of the rows, some twice. This shifts every metric that depends on the
    number of distinct samples (the Frechet distance up, coverage down) by about its own bias, so that the plain
    percentiles may leave out the value itself. With the replicates' mean moved onto it, the interval is one for
    the metric's *expectation at this number of samples*: low = value + q((1 - level)/2) - mean.

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 10 and 13.
    """
    tail = (1 - level) / 2
    quantiles = torch.quantile(replicates, torch.tensor([tail, 1 - tail], dtype=replicates.dtype))
    low, high = (value + quantiles - replicates.mean()).clamp(*limits).tolist()
    return min(low, value), max(high, value)


def proportion_interval(indicator: Tensor, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for the mean of independent yes-or-no values, (n,).

    A resample of nothing but "no" holds nothing but "no": the bootstrap's interval would have no width there.

    Reference: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    found = binomtest(int(indicator.sum()), len(indicator)).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def weighted_mean(values: Tensor, counts: Tensor) -> Tensor:
    """The mean of per-sample ``values`` (n,) in each replicate of ``counts`` (replicates, n)."""
    return counts @ values / counts.sum(1)
