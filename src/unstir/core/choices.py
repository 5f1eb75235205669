"""Draws among finitely many possibilities."""

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds


def choose(log_weights: Tensor, seeds: Seeds) -> Tensor:
    """One index of the last axis for every place, with probability in proportion to exp(``log_weights``).

    ``log_weights`` (batch, ..., k) need not be normalised; minus infinity is never drawn. The distribution function
    is inverted in float64. Returns int64 of shape (batch, ...). Raises InputError where nothing is possible.
    """
    logs = log_weights.double()
    largest = logs.amax(-1, keepdim=True)
    if not bool(largest.isfinite().all()):
        raise InputError("a draw needs one possibility at least: some weights are all zero, or not finite")
    edges = (logs - largest).exp().cumsum(-1)
    drawn = seeds.to(logs.device).uniform(tuple(logs.shape[1:-1])) if len(seeds) else edges[..., 0]
    # strictly beyond an edge: what has no width is never hit
    return (drawn[..., None] * edges[..., -1:] > edges).sum(-1)


def normalised(log_weights: Tensor) -> Tensor:
    """The logarithms of weights that sum to one over the last axis; where all are zero they stay so."""
    total = torch.logsumexp(log_weights, -1, keepdim=True)
    return torch.where(total == -torch.inf, log_weights, log_weights - total)
