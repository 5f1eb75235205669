"""How sure a mean score is, and a difference of two, where cases in a row hang together."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.scores.base import real

__all__ = ["block_bootstrap", "skill_score"]


def block_bootstrap(cases: int, block: int, replicates: int, seeds: Seeds) -> Tensor:
    """Circular block bootstrap: how often each case counts in each replicate, float64 (replicates, cases).

    Blocks of ``block`` cases in a row, the first case following the last, are drawn until there are as many cases as
    before (the last block is cut). ``weights @ scores / weights.sum(1)`` are a mean's replicates; their quantiles
    are an interval of it, and the same weights for two forecasts pair them. A block of one is the ordinary bootstrap;
    it should be longer than the scores' memory. A replicate is the same however many there are.

    Raises InputError for no case, a block beyond 1 to ``cases``, or no replicate.

    Reference: Politis, Romano, A circular block-resampling procedure for stationary data (1992).
    """
    if cases < 1 or replicates < 1 or not 1 <= block <= cases:
        raise InputError(
            f"cases and replicates are 1 or more, a block 1 to all cases; seen {cases}, {replicates} and {block}"
        )
    rows = Seeds(seeds.seed, torch.arange(replicates), seeds.purpose).at("blocks")
    blocks = -(-cases // block)
    starts = rows.integers(0, cases, (blocks,))
    chosen = ((starts[..., None] + torch.arange(block)) % cases).flatten(1)[:, :cases]
    weights = torch.zeros(replicates, cases, dtype=torch.float64)
    return weights.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=torch.float64))


@dataclass(frozen=True)
class Skill:
    """``value`` is one minus the quotient of both means: positive where the first is better; ``low`` to ``high`` its
    interval, and ``difference`` (second less first) with its own, in the score's unit."""

    value: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float

    @property
    def significant(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.difference_low > 0 or self.difference_high < 0


def skill_score(scores: Any, reference: Any, weights: Any, level: float = 0.95) -> Skill:
    r"""Skill :math:`1-\bar S/\bar S_0` of a score over a reference's, with paired bootstrap intervals.

    ``scores`` and ``reference`` (cases, ...), lower the better; what either lacks (NaN) counts for neither, and the
    mean of a case is taken first. ``weights`` come from ``block_bootstrap``.

    Raises InputError for different shapes, weights of other cases, or a level not between 0 and 1.

    Reference: Hamill, Hypothesis tests for evaluating numerical precipitation forecasts (1999), for pairs; Wilks,
    Statistical methods in the atmospheric sciences (2019), section 9.1.4, for the skill.
    """
    scores, reference, weights = real(scores), real(reference), real(weights)
    if scores.shape != reference.shape or scores.ndim < 1:
        raise InputError(f"scores of the same cases are compared; seen {tuple(scores.shape)}, {tuple(reference.shape)}")
    if weights.ndim != 2 or weights.shape[1] != len(scores) or not 0 < level < 1:
        raise InputError(
            f"weights (replicates, {len(scores)}) and a level between 0 and 1 are needed; seen {tuple(weights.shape)} "
            f"and {level}"
        )
    both = torch.stack((scores, reference)).reshape(2, len(scores), -1)
    both = torch.where(both.isnan().any(0), torch.nan, both).nanmean(2)
    seen = ~both[0].isnan()
    if not seen.any():
        return Skill(*(float("nan"),) * 6)
    own, other = both[:, seen]
    weights = weights[:, seen]
    total = weights.sum(1)
    weights, total = weights[total > 0], total[total > 0]  # a replicate of nothing but missing cases tells nothing
    firsts, seconds = weights @ own / total, weights @ other / total
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(1 - firsts / seconds, ends).tolist()
    below, above = torch.quantile(seconds - firsts, ends).tolist()
    first, second = float(own.mean()), float(other.mean())
    return Skill(1 - first / second if second else float("nan"), low, high, second - first, below, above)
