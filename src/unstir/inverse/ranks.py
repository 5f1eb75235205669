"""Ranks of a truth among draws, and what they tell of the law that was drawn from."""

import math
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError
from unstir.scores import crps as _crps
from unstir.scores import energy as _energy
from unstir.scores.ranks import (
    Coverage,
    Uniformity,
    central,
    histogram,
    interval_coverage,
    ranks_among,
    shares_of,
    uniformity,
)

__all__ = [
    "LEVELS",
    "Coverage",
    "Uniformity",
    "central",
    "crps",
    "energy_score",
    "expected_coverage",
    "histogram",
    "interval_coverage",
    "ranks_among",
    "set_coverage",
    "shares_of",
    "uniformity",
]

LEVELS = (0.5, 0.8, 0.95)


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
    """The fair energy score of draws (n, d), n >= 2, for one truth (d,), in the data's unit."""
    return float(_energy.energy_score(draws[None], truth[None])[0])


def crps(draws: Tensor, truth: Tensor) -> float:
    """The fair continuous ranked probability score, averaged over the elements; draws (n, d), truth (d,)."""
    return float(_crps.crps(draws[None], truth[None]).mean())
