"""Ranks of what came true among the members, and whether they are uniform, as they are for the right law."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.scores.base import paired

__all__ = ["interval_coverage", "rank_test", "ranks"]

_TIED = 1e-6  # of the largest value: nearer than single precision tells apart
_EXPECTED = 10  # in each cell of a chi-square test, at least


def ranks(ensemble: Any, observed: Any, seeds: Seeds) -> Tensor:
    """Ranks of the observations among the members, 0 to M, int64 and of their shape; -1 where nothing was observed.

    Among equals, such as dry days, the place is drawn with the ``seeds``, one a case: the rank histogram of a right
    ensemble is then flat, ties or not. Values nearer than a millionth of the largest are equal.

    Reference: Hamill, Interpretation of rank histograms for verifying ensemble forecasts (2001), with its remark on
    ties in section 3.
    """
    ensemble, observed = paired(ensemble, observed)
    if len(seeds) != len(observed):
        raise InputError(f"{len(seeds)} seeds for {len(observed)} cases: give one for each")
    toss = seeds.at("ties").uniform(observed.shape[1:]).to(observed.device)
    missing = observed.isnan() | ensemble.isnan().any(1)
    return ranks_among(observed, ensemble.movedim(1, 0), toss).masked_fill(missing, -1)


def rank_test(ranks: Any, members: int, seeds: Seeds) -> "Uniformity":
    """Tests of ranks, a row a case, for uniformity, by chi-square and by Kolmogorov; those of -1 are left out.

    Both take the ranks for independent; those of neighbouring days and places are not, so thin them first, or the test
    rejects too often. ``seeds``, one a case, spread the ranks between whole numbers for Kolmogorov's.

    Raises InputError for ranks beyond 0 to ``members``, or none at all.

    Reference: Talts, Betancourt, Simpson, Vehtari, Gelman, Validating Bayesian inference algorithms with
    simulation-based calibration (2018), theorem 1 and section 4.
    """
    ranks = torch.as_tensor(ranks)
    if len(seeds) != len(ranks):
        raise InputError(f"{len(seeds)} seeds for {len(ranks)} cases: give one for each")
    if ranks.is_floating_point() or (ranks < -1).any() or (ranks > members).any():
        raise InputError(f"ranks among {members} members are whole numbers from 0 to {members}, or -1 where missing")
    jitter, seen = seeds.at("jitter").uniform(ranks.shape[1:]), ranks >= 0
    if not seen.any():
        raise InputError("no rank is known: there is nothing to test")
    return uniformity(ranks[seen].numpy(), members, jitter[seen].numpy())


def ranks_among(truth: Tensor, values: Tensor, toss: Tensor) -> Tensor:
    """How many of the draws' ``values`` (draws, *shape) lie below the ``truth`` (*shape): int64, from 0 to the draws.

    Among equals the place is tossed for, with ``toss`` uniform on (0, 1), of that shape: so a truth that is
    exchangeable with its draws has a uniform rank for whole numbers, tokens and exactly measured elements too.
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
    """Coverage of central intervals, between the quantiles of ``draws`` members, by the ranks of what came true.

    Raises InputError for a level that so few members have no interval of.

    Reference: Gneiting, Balabdaoui, Raftery, Probabilistic forecasts, calibration and sharpness (2007), section 3.
    """
    first, last, nominal = central(draws, level)
    ranks = np.asarray(ranks).ravel()
    ranks = ranks[ranks >= 0]
    if not len(ranks):
        raise InputError("no rank is known: there is nothing to verify")
    inside = (ranks >= first) & (ranks <= last)
    return Coverage(level, nominal, float(inside.mean()), math.sqrt(nominal * (1 - nominal) / len(ranks)))
