r"""The variogram score: whether an ensemble's numbers hang together as those that came true."""

from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.scores.base import real, vectors

__all__ = ["variogram_score"]

_AT_ONCE = 1 << 22  # pairs of numbers in memory


def variogram_score(ensemble: Any, observed: Any, order: float = 0.5, weights: Any = None, fair: bool = True) -> Tensor:
    r"""Variogram score of vectors, (cases,), in the data's unit to the power of twice the ``order``.

    :math:`\sum_{ij}w_{ij}\bigl(|y_i-y_j|^p-\overline{|X_i-X_j|^p}\bigr)^2` for ensembles (cases, members, d) and
    observations (cases, d); ``weights`` (d, d) are ones if None. It sees wrong dependence, to which the energy score is
    nearly blind, and is blind to a shift of all numbers. If ``fair``, the sampling variance of the ensemble's mean is
    taken off, so that its expectation does not depend on the number of members. NaN if any number of a case is.

    Raises InputError for an order that is not positive, and for weights that are negative or of another shape.

    Reference: Scheuerer, Hamill, Variogram-based proper scoring rules for probabilistic forecasts of multivariate
    quantities (2015), eq. 8; Ferro, Fair scores for ensemble forecasts (2014).
    """
    ensemble, observed = vectors(ensemble, observed)
    cases, count, width = ensemble.shape
    if not order > 0:
        raise InputError(f"the order of a variogram is positive; seen {order!r}")
    first, second = torch.triu_indices(width, width, 1, device=ensemble.device)
    by_pair = torch.full((len(first),), 2.0, dtype=torch.float64, device=ensemble.device)
    if weights is not None:
        weights = real(weights).to(ensemble.device)
        if weights.shape != (width, width) or not (weights >= 0).all():
            raise InputError(f"weights are ({width}, {width}) numbers, zero or more; seen {tuple(weights.shape)}")
        by_pair = (weights + weights.T)[first, second]
    found = [observed.new_zeros(0)]
    step = max(1, _AT_ONCE // max(1, len(first)))
    for start in range(0, cases, step):
        rows = slice(start, start + step)
        true = _power(observed[rows][:, first] - observed[rows][:, second], order)
        away, squares = torch.zeros_like(true), torch.zeros_like(true)
        for member in range(count):  # from what came true: the squares are then small, and their difference exact
            values = ensemble[rows, member]
            gap = _power(values[:, first] - values[:, second], order) - true
            away += gap
            squares += gap.square()
        away /= count
        score = away.square()
        if fair and count > 1:
            score = score - (squares / count - away.square()) / (count - 1)
        found.append(score @ by_pair)
    return torch.cat(found)


def _power(difference: Tensor, order: float) -> Tensor:
    return difference.abs().sqrt() if order == 0.5 else difference.abs().pow(order)
