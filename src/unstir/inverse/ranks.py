"""Ranks of a truth among draws, and what they tell of the law that was drawn from."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.core.errors import InputError

LEVELS = (0.5, 0.8, 0.95)
_TIED = 1e-6  # of the largest value: nearer than single precision tells apart
_EXPECTED = 10  # in each cell of a chi-square test, at least


def ranks_among(truth: Tensor, values: Tensor, toss: Tensor) -> Tensor:
    """How many of the draws' ``values`` (draws, k) lie below the ``truth`` (k,): int64 (k,), from 0 to the draws.

    Among equals the place is tossed for, with ``toss`` uniform on (0, 1), (k,): so a truth that is exchangeable with
    its draws has a uniform rank for whole numbers, tokens and exactly measured elements too.
    """
    both = values.double(), truth.double()
    near = _TIED * values.abs().amax(0).maximum(truth.abs()).double()
    away = both[0] - both[1]
    below, equal = (away < -near).sum(0), (away.abs() <= near).sum(0)
    return below + (toss * (equal + 1)).floor().long().minimum(equal)


@dataclass(frozen=True)
class Uniformity:
    """Two tests of ranks that should be uniform: p-values of the chi-square of their histogram and of Kolmogorov's."""

    chi_square: float
    kolmogorov: float

    @property
    def p_value(self) -> float:
        """Of both together (Bonferroni)."""
        return min(1.0, 2 * min(self.chi_square, self.kolmogorov))


def shares_of(ranks: Any, draws: int, jitter: Any) -> np.ndarray:
    """Ranks as numbers on (0, 1): uniform there, to the end, if the ranks are; ``jitter`` uniform on (0, 1)."""
    return (np.asarray(ranks, dtype=np.float64) + np.asarray(jitter, dtype=np.float64)) / (draws + 1)


def histogram(ranks: Any, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of the ranks in cells of about equal width, and what each expects, ten or more where there are so many.

    At most 20 cells: more are hard to read, and test no better.
    """
    ranks = np.asarray(ranks)
    cells = max(1, min(20, draws + 1, len(ranks) // _EXPECTED))
    edges = np.linspace(0, draws + 1, cells + 1).round().astype(int)
    counts = np.histogram(ranks, bins=edges - 0.5)[0]
    return counts, len(ranks) * np.diff(edges) / (draws + 1)


def uniformity(ranks: Any, draws: int, jitter: Any) -> Uniformity:
    """Whether ranks, each from 0 to ``draws``, are uniform, as they are for draws of the right law and only those.

    Reference: Talts, Betancourt, Simpson, Vehtari, Gelman, Validating Bayesian inference algorithms with
    simulation-based calibration (2018), theorem 1 and section 4.
    """
    counts, expected = histogram(ranks, draws)
    chi_square = float(stats.chisquare(counts, expected).pvalue) if len(counts) > 1 else 1.0
    return Uniformity(chi_square, float(stats.kstest(shares_of(ranks, draws, jitter), "uniform").pvalue))


@dataclass(frozen=True)
class Coverage:
    """The share of truths within sets of one level: what it should be, what it is, and its standard error.

    ``nominal`` differs from the level where the draws cannot cut it out exactly: 39, 119 or 199 draws can for 50, 80
    and 95 %. ``error`` is the binomial one at ``nominal``; for means over elements, which hang together, as measured.
    """

    level: float
    nominal: float
    measured: float
    error: float

    @property
    def away(self) -> float:
        """In standard errors; negative where too few are covered, as by draws that are too sure."""
        gap = self.measured - self.nominal
        return gap / self.error if self.error > 0 else math.copysign(math.inf, gap) if gap else 0.0


def central(draws: int, level: float) -> tuple[int, int, float]:
    """The first and last rank within the central interval of a level, and the level that it has exactly."""
    beyond = math.ceil((draws + 1) * (1 - level) / 2 - 0.5 - 1e-9)  # the nearest, and of two the wider
    if not 0 < level < 1 or 2 * beyond >= draws + 1:
        raise InputError(
            f"{draws} draws have no interval of level {level}; take a level between 0 and 1, or more draws"
        )
    return beyond, draws - beyond, 1 - 2 * beyond / (draws + 1)


def interval_coverage(ranks: Any, draws: int, level: float) -> Coverage:
    """Of central intervals, between the draws' quantiles, by the ranks of a number."""
    first, last, nominal = central(draws, level)
    ranks = np.asarray(ranks)
    inside = (ranks >= first) & (ranks <= last)
    return Coverage(level, nominal, float(inside.mean()), math.sqrt(nominal * (1 - nominal) / len(ranks)))


def set_coverage(ranks: Any, draws: int, level: float) -> Coverage:
    """Of sets that hold the smallest values of a number: balls by their distance, densest sets by minus the density."""
    within = round((draws + 1) * level)
    if not 0 < level < 1 or not 0 < within < draws + 1:
        raise InputError(f"{draws} draws have no set of level {level}; take a level between 0 and 1, or more draws")
    ranks, nominal = np.asarray(ranks), within / (draws + 1)
    error = math.sqrt(nominal * (1 - nominal) / len(ranks))
    return Coverage(level, nominal, float((ranks < within).mean()), error)


def expected_coverage(ranks: Any, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """The share of truths within sets of each level that the draws can cut out: levels and shares, from 0 to 1."""
    cut = np.arange(draws + 2)
    ordered = np.sort(np.asarray(ranks))
    return cut / (draws + 1), np.searchsorted(ordered, cut, side="left") / len(ordered)


def energy_score(draws: Tensor, truth: Tensor) -> float:
    r"""The energy score of draws (n, d), n >= 2, for a truth (d,), in the data's unit; in one dimension the CRPS.

    :math:`\overline{|X - x|} - \frac12 \overline{|X - X'|}` over pairs of different draws, which makes it fair: its
    mean is least for draws of the true law, however few they are.

    Reference: Gneiting, Raftery, Strictly proper scoring rules, prediction, and estimation (2007), eq. 22.
    """
    draws, truth = draws.double(), truth.double()
    count = len(draws)
    # by differences: products of matrices lose the small distances, and all pairs at once the memory
    among = torch.cdist(draws, draws, compute_mode="donot_use_mm_for_euclid_dist").sum() / (count * (count - 1))
    return float((draws - truth).norm(dim=1).mean() - among / 2)


def crps(draws: Tensor, truth: Tensor) -> float:
    """The fair continuous ranked probability score, averaged over the elements; draws (n, d), truth (d,)."""
    ordered = draws.double().sort(0).values
    count = len(ordered)
    weights = 2 * torch.arange(1, count + 1, dtype=torch.float64, device=ordered.device) - count - 1
    among = (ordered * weights[:, None]).sum(0) * 2 / (count * (count - 1))
    return float(((ordered - truth.double()).abs().mean(0) - among / 2).mean())
