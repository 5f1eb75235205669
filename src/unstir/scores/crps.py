r"""The continuous ranked probability score of ensembles, of all outcomes or of those beyond a threshold."""

import math
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.scores.base import paired, real

__all__ = ["crps", "quantile_score", "threshold_weighted_crps"]


def crps(ensemble: Any, observed: Any, fair: bool = True) -> Tensor:
    r"""Continuous ranked probability score of each number, float64 like the observations, in the data's unit.

    :math:`\overline{|X-y|}-\tfrac12\overline{|X-X'|}`, the second mean over pairs of different members if ``fair`` (its
    expectation is then the same for any number of members), over all pairs if not (the score of the ensemble's step
    function). One member is a forecast without spread: its absolute error. The members are sorted, so that the cost
    grows as M log M; ties do no harm.

    Reference: Gneiting, Raftery, Strictly proper scoring rules, prediction, and estimation (2007), eq. 21; Ferro, Fair
    scores for ensemble forecasts (2014), for the fair one.
    """
    ensemble, observed = paired(ensemble, observed)
    away = (ensemble - observed[:, None]).sort(1).values  # from the observation: far from zero no digits are lost
    count = away.shape[1]
    if count == 1:
        return away[:, 0].abs()
    ranks = 2 * torch.arange(1, count + 1, dtype=torch.float64, device=away.device) - count - 1
    half = (away * ranks.reshape(-1, *(1,) * (away.ndim - 2))).sum(1) / (count * (count - 1 if fair else count))
    return away.abs().mean(1) - half


def threshold_weighted_crps(
    ensemble: Any, observed: Any, low: Any = -math.inf, high: Any = math.inf, fair: bool = True
) -> Tensor:
    r"""CRPS of the outcomes from ``low`` to ``high`` alone, :math:`\int_{low}^{high}(F(z)-1\{y\le z\})^2dz`.

    It is proper, as a score of those cases only that turned out extreme is not; it is the CRPS of what is left when
    members and observation are moved to the nearer bound. Bounds are numbers or tensors that broadcast to (cases,
    *shape), such as a quantile of each place's climate.

    Raises InputError where ``low`` lies above ``high``.

    Reference: Gneiting, Ranjan, Comparing density forecasts using threshold- and quantile-weighted scoring rules
    (2011), eq. 14; Allen, Ginsbourger, Ziegel, Evaluating forecasts for high-impact events using transformed kernel
    scores (2023), for the transformation.
    """
    ensemble, observed = paired(ensemble, observed)
    try:
        low, high = (real(each).to(observed.device).broadcast_to(observed.shape) for each in (low, high))
    except RuntimeError as error:
        raise InputError(f"bounds are numbers or broadcast to {tuple(observed.shape)}: {error}") from None
    if (low > high).any():
        raise InputError("the lower bound lies above the upper one: give low <= high")
    moved = torch.minimum(torch.maximum(ensemble, low[:, None]), high[:, None])
    return crps(moved, torch.minimum(torch.maximum(observed, low), high), fair)


def quantile_score(quantile: Any, observed: Any, level: float) -> Tensor:
    r"""Score of a forecast quantile, :math:`2(1\{y\le q\}-\tau)(q-y)`, in the data's unit, of the observations' shape.

    Twice the pinball loss, so that its mean over all levels :math:`\tau` is the CRPS.

    Raises InputError for a level that is not between 0 and 1.

    Reference: Gneiting, Raftery, Strictly proper scoring rules, prediction, and estimation (2007), section 6.1.
    """
    if not 0 < level < 1:
        raise InputError(f"the level of a quantile lies between 0 and 1; seen {level!r}")
    quantile, observed = real(quantile), real(observed)
    if quantile.shape != observed.shape:
        raise InputError(
            f"a quantile for each observation is needed; seen {tuple(quantile.shape)} and {tuple(observed.shape)}"
        )
    away = quantile - observed
    return 2 * torch.where(away < 0, -level * away, (1 - level) * away)
