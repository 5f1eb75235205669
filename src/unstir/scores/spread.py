"""Whether an ensemble's spread is as large as its error."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.scores.base import paired

__all__ = ["spread_skill"]


@dataclass(frozen=True)
class SpreadSkill:
    """``ratio``, ``spread`` (of M members, times the root of (M + 1)/M) and ``error`` of their mean, over all cases.

    ``variance`` and ``squared_error`` are their parts, (cases, *shape), NaN where nothing was observed; means of both
    over whatever cases and places are comparable, and the root of their quotient the ratio of those.
    """

    ratio: float
    spread: float
    error: float
    variance: Tensor
    squared_error: Tensor


def spread_skill(ensemble: Any, observed: Any) -> SpreadSkill:
    r"""Ratio of spread to error, :math:`\sqrt{\frac{M+1}M\overline{s^2}/\overline{(\bar X-y)^2}}`.

    :math:`s^2` is the members' variance with M - 1 in the denominator; the factor makes the ratio one for observations
    that are to the members as one of them, however few there are. Below one the ensemble is too sure. The means are
    taken before the root.

    Raises InputError for a single member, which has no spread.

    Reference: Fortin, Abaza, Anctil, Turcotte, Why should ensemble spread match the RMSE of the ensemble mean? (2014),
    eq. 15.
    """
    ensemble, observed = paired(ensemble, observed)
    count = ensemble.shape[1]
    if count < 2:
        raise InputError("a single member has no spread: give an ensemble of two at least")
    error = (ensemble.mean(1) - observed).square()
    variance = torch.where(error.isnan(), torch.nan, ensemble.var(1, correction=1) * (count + 1) / count)
    spread, skill = float(variance.nanmean().sqrt()), float(error.nanmean().sqrt())
    ratio = spread / skill if skill > 0 else float("inf") if spread > 0 else float("nan")
    return SpreadSkill(ratio, spread, skill, variance, error)
