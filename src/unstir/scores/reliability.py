"""The reliability curve: how often it happens when it is foretold with a chance of so much."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.scores.base import known_chances
from unstir.scores.brier import bins_of

__all__ = ["reliability_curve"]


@dataclass(frozen=True)
class Reliability:
    """Of each bin that was used, float64 (k,): mean ``probability``, ``frequency`` of the event, ``count`` of cases.

    ``low`` and ``high`` end the consistency bars: where frequencies fall if the probabilities are right.
    ``base`` is the event's frequency over all.
    """

    probability: Tensor
    frequency: Tensor
    count: Tensor
    low: Tensor
    high: Tensor
    base: float


def reliability_curve(
    probability: Any, event: Any, seeds: Seeds, bins: int = 10, replicates: int = 1000, level: float = 0.9
) -> Reliability:
    r"""Observed frequencies by forecast probability, with consistency bars of a level.

    The bars come from resampling: forecasts are drawn anew with replacement, and events with their probabilities. Of a
    bin with :math:`n_k` of N forecasts and mean :math:`\bar p_k` that gives :math:`n^*_k` forecasts, binomial of N and
    :math:`n_k/N`, and events binomial of :math:`n^*_k` and :math:`\bar p_k`, from which the bars are drawn at once.
    They take the cases for independent; where days in a row hang together, true bars are wider.

    Raises InputError for less than one bin or replicate, a level not between 0 and 1, or no known event.

    Reference: Bröcker, Smith, Increasing the reliability of reliability diagrams (2007), section 3.
    """
    probability, event = known_chances(probability, event)
    if replicates < 1 or not 0 < level < 1:
        raise InputError(f"a replicate and a level between 0 and 1 are needed; seen {replicates} and {level}")
    place = bins_of(probability, bins)
    count = torch.bincount(place, minlength=bins).double()
    used = count > 0
    sums = [torch.bincount(place, weights=each, minlength=bins)[used] for each in (probability, event)]
    count = count[used]
    mean, frequency = (each / count for each in sums)
    generator, total = seeds.generator(), len(event)
    drawn = generator.binomial(total, (count / total).clamp(max=1).numpy(), size=(replicates, len(count)))
    hits = generator.binomial(drawn, mean.clamp(0, 1).numpy())
    with np.errstate(invalid="ignore"):
        ends = np.nanquantile(
            np.where(drawn > 0, hits / np.maximum(drawn, 1), np.nan), [(1 - level) / 2, (1 + level) / 2], axis=0
        )
    low, high = torch.from_numpy(ends)
    return Reliability(mean, frequency, count, low, high, float(event.mean()))
