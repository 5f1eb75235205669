r"""The energy score: how good an ensemble is of several numbers together."""

from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.scores.base import real, vectors

__all__ = ["energy_score"]


def energy_score(ensemble: Any, observed: Any, fair: bool = True, weights: Any = None) -> Tensor:
    r"""Energy score of vectors, (cases,), in the data's unit; of single numbers the CRPS.

    :math:`\overline{|X-y|}-\tfrac12\overline{|X-X'|}` for ensembles (cases, members, d) and observations (cases, d),
    with the norm :math:`|x|^2=\sum_iw_ix_i^2` (``weights`` (d,), such as areas; ones if None). If ``fair``, the second
    mean is over pairs of different members. One member is scored by its distance. NaN if any number of a case is.

    Raises InputError for weights that are negative or of another shape.

    Reference: Gneiting, Raftery, Strictly proper scoring rules, prediction, and estimation (2007), eq. 22; Ferro, Fair
    scores for ensemble forecasts (2014).
    """
    ensemble, observed = vectors(ensemble, observed)
    if weights is not None:
        weights = real(weights).to(ensemble.device)
        if weights.shape != observed.shape[1:] or not (weights >= 0).all():
            raise InputError(
                f"weights are {tuple(observed.shape[1:])} numbers, zero or more; seen the shape {tuple(weights.shape)}"
            )
        ensemble, observed = ensemble * weights.sqrt(), observed * weights.sqrt()
    away = ensemble - observed[:, None]
    count = away.shape[1]
    score = away.norm(dim=2).mean(1)
    if count == 1:
        return score
    # by differences: products of matrices lose the small distances
    among = torch.cdist(away, away, compute_mode="donot_use_mm_for_euclid_dist").sum((1, 2))
    return score - among / (2 * count * (count - 1 if fair else count))
