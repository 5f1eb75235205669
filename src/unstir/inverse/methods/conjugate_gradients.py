"""Conjugate gradients of many samples side by side, none of which influences another."""

from collections.abc import Callable

import torch
from torch import Tensor

_MOST = 4.0  # of the square of the right-hand side: a larger residual is taken for a step gone astray


def conjugate_gradients(
    multiply: Callable[[Tensor], Tensor], right: Tensor, iterations: int, tolerance: float
) -> Tensor:
    r"""Solves M x = b for a symmetric positive M of each sample, by its action alone.

    ``multiply`` takes and returns tensors like ``right``, (batch, ...), float64. As many iterations as M has different
    eigenvalues are enough without rounding; a sample is done when its residual has fallen to ``tolerance`` of
    \|b\|, whatever the others still do. What a network makes M of is neither quite symmetric nor quite positive: a
    sample stops where M turns out not to be positive along a direction, and gets the last of its estimates that does
    not leave more than twice what it began with.

    Reference: Hestenes, Stiefel, Methods of conjugate gradients for solving linear systems (1952), section 3; Steihaug,
    The conjugate gradient method and trust regions in large scale optimization (1983), for the stop.
    """

    def dot(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).flatten(1).sum(1).reshape(-1, *(1,) * (right.ndim - 1))

    found = kept = torch.zeros_like(right)
    residual = direction = right
    size = start = dot(right, right)
    active = size > 0
    for _ in range(iterations):
        if not bool(active.any()):
            break
        image = multiply(direction)
        curvature = dot(direction, image)
        active = active & (curvature > 0)
        step = torch.where(active, size / torch.where(active, curvature, 1.0), 0.0)
        found = found + step * direction
        residual = residual - step * image
        before, size = size, dot(residual, residual)
        kept = torch.where(active & (size <= _MOST * start), found, kept)
        active = active & (size > start * tolerance**2)
        direction = residual + torch.where(active, size / torch.where(active, before, 1.0), 0.0) * direction
    return kept
