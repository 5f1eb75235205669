r"""The Brier score of probabilities and of ensembles, and what it is made of."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.scores.base import chances, checked_event, known_chances, paired

__all__ = ["brier", "brier_decomposition", "brier_fair"]


def brier(probability: Any, event: Any) -> Tensor:
    r"""Brier score :math:`(p-o)^2` of each probability, of its shape; ``event`` is 1, 0, or NaN where it is not known.

    Raises InputError for probabilities beyond 0 and 1, or events that are neither.

    Reference: Brier, Verification of forecasts expressed in terms of probability (1950).
    """
    probability, event = chances(probability, event)
    return (probability - event).square()


def brier_fair(hits: Any, event: Any) -> Tensor:
    r"""Brier score of an ensemble as if it had members without number, one a case and place.

    ``hits`` (cases, members, *shape): whether each member has the event, 1 or 0; with their mean p the score is
    :math:`(p-o)^2-p(1-p)/(M-1)`. One member is scored as the probability 0 or 1 that it tells.

    Reference: Ferro, Fair scores for ensemble forecasts (2014), section 3.
    """
    hits, event = paired(hits, event)
    checked_event(event)
    checked_event(hits)
    share, count = hits.mean(1), hits.shape[1]
    score = (share - event).square()
    return score if count == 1 else score - share * (1 - share) / (count - 1)


@dataclass(frozen=True)
class BrierParts:
    """``score`` = ``reliability`` - ``resolution`` + ``uncertainty`` + ``within``, exactly.

    ``within`` is what the bins hide: the variance of the probabilities in a bin less twice their covariance with the
    events; it is zero where all probabilities of a bin are equal.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_decomposition(probability: Any, event: Any, bins: int = 10, corrected: bool = True) -> BrierParts:
    r"""Reliability, resolution and uncertainty of the mean Brier score, with ``bins`` bins of equal width.

    With :math:`n_k` cases in bin k, whose mean probability is :math:`\bar p_k` and frequency :math:`\bar o_k`:
    :math:`\overline{(\bar p_k-\bar o_k)^2}-\overline{(\bar o_k-\bar o)^2}+\bar o(1-\bar o)`, and terms within bins.
    If ``corrected``, the bias of frequencies of few cases is taken off reliability and resolution (for each bin
    :math:`\bar o_k(1-\bar o_k)/(n_k-1)` of its share, zero for a bin of one case), which keeps the sum.

    Raises InputError for less than one bin or no known event.

    Reference: Murphy, A new vector partition of the probability score (1973); Stephenson, Coelho, Jolliffe, Two extra
    components in the Brier score decomposition (2008); Ferro, Fricker, A bias-corrected decomposition of the Brier
    score (2012), eqs. 7 to 9.
    """
    probability, event = known_chances(probability, event)
    place = bins_of(probability, bins)
    count = torch.bincount(place, minlength=bins).double()
    used = count > 0
    sums = [torch.bincount(place, weights=each, minlength=bins) for each in (probability, event)]
    means, frequencies = (torch.where(used, each / count.clamp(min=1), 0.0) for each in sums)
    total, base = len(event), event.mean()
    reliability = (count * (means - frequencies).square()).sum() / total
    resolution = (count * (frequencies - base).square()).sum() / total
    uncertainty = base * (1 - base)
    apart, off = probability - means[place], event - frequencies[place]
    within = apart.square().mean() - 2 * (apart * off).mean()
    if corrected:
        several = count > 1
        inner = torch.where(several, frequencies * (1 - frequencies) * count / (count - 1).clamp(min=1), 0.0)
        bias, outer = inner.sum() / total, uncertainty / max(total - 1, 1)
        reliability, resolution, uncertainty = reliability - bias, resolution - bias + outer, uncertainty + outer
    score = (probability - event).square().mean()
    return BrierParts(*(float(each) for each in (score, reliability, resolution, uncertainty, within)))


def bins_of(probability: Tensor, bins: int) -> Tensor:
    """Which of ``bins`` of equal width from 0 to 1 each probability is in, int64; an edge is of the upper one."""
    if bins < 1:
        raise InputError(f"one bin is the least; seen {bins}")
    return (probability * bins + 1e-9).floor().long().clamp(0, bins - 1)
