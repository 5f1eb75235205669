"""How covariances are told: by one number, one an element, a matrix, or a few factors."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.exact.axis_components import AxisComponents
from unstir.exact.dense_components import DenseComponents
from unstir.exact.gaussian_components import Components
from unstir.exact.low_rank_components import LowRankComponents

_ASYMMETRY = 1e-8  # of the largest element: what float32 rounding may leave


@dataclass(frozen=True)
class LowRank:
    """The covariance diag(D) + U U^T.

    ``factor`` U has the shape (d, r), ``diagonal`` D > 0 (d,), d the number of elements of a sample; for the
    components of a mixture (k, d, r) and (k, d). No matrix of the size d x d is formed.
    """

    factor: Tensor
    diagonal: Tensor


def components_of(means: Tensor, covariances: Any) -> Components:
    """Components of means (k, *shape) and covariances as ``MixtureDenoiser`` takes them, checked."""
    count, shape = len(means), tuple(means.shape[1:])
    size = math.prod(shape)
    flat = means.reshape(count, size)
    if isinstance(covariances, LowRank):
        return _low_rank(flat, covariances)
    given = torch.as_tensor(covariances, dtype=torch.float64, device=means.device)
    if not bool(given.isfinite().all()):
        raise InputError("a covariance must be finite; seen NaN or infinity")
    if given.shape == (count,):
        return AxisComponents.of(flat, _variances(given[:, None]))
    if given.shape == (count, *shape):
        return AxisComponents.of(flat, _variances(given.reshape(count, size)))
    if given.shape != (count, size, size):
        raise InputError(
            f"covariances of {count} components on {size} elements have the shape ({count},), {(count, *shape)} or "
            f"{(count, size, size)}, or are a LowRank; seen {tuple(given.shape)}"
        )
    largest = given.abs().amax()
    if bool((given - given.mT).abs().amax() > _ASYMMETRY * largest):
        raise InputError("a covariance matrix must be symmetric; use (C + C.T) / 2 if the difference is rounding")
    components = DenseComponents.from_covariances(flat, (given + given.mT) / 2)
    smallest = torch.linalg.eigvalsh(given).amin()
    if smallest < -_ASYMMETRY * largest:
        raise InputError(f"a covariance matrix has no negative eigenvalues; seen {smallest.item():.3g}")
    return components


def _variances(values: Tensor) -> Tensor:
    if not bool((values >= 0).all()):
        raise InputError(f"a variance is not negative; seen {values.min().item():.3g}")
    return values


def _low_rank(means: Tensor, given: LowRank) -> Components:
    count, size = means.shape
    factor, diagonal = (
        torch.as_tensor(part, dtype=torch.float64, device=means.device) for part in (given.factor, given.diagonal)
    )
    fits = factor.ndim == 3 and factor.shape[:2] == (count, size) and diagonal.shape == (count, size)
    if not fits or not factor.shape[2]:
        raise InputError(
            f"a LowRank of {count} components on {size} elements has a factor ({count}, {size}, r), r >= 1, and a "
            f"diagonal ({count}, {size}); seen {tuple(factor.shape)} and {tuple(diagonal.shape)}"
        )
    if not bool(factor.isfinite().all() & diagonal.isfinite().all() & (diagonal > 0).all()):
        raise InputError("a LowRank is finite and its diagonal positive; a singular covariance is given as a matrix")
    return LowRankComponents.of(means, diagonal, factor)
