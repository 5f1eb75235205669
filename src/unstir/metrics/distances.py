"""Euclidean distances between two sets of rows, in blocks that fit into memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK = 16_000_000  # distances held at a time: 128 MB


def blocks(first: Tensor, second: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the first set's rows, with their distances to all rows of the second."""
    size = max(1, _BLOCK // len(second))
    for start in range(0, len(first), size):
        rows = slice(start, min(start + size, len(first)))
        yield rows, torch.cdist(first[rows], second)


def nearest(first: Tensor, second: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest rows of ``second`` for each row of ``first``: distances and row numbers, (n, count).

    The distances are recomputed from the differences, so that a copy is at zero exactly.
    """
    found = torch.cat([near.topk(count, largest=False).indices for _, near in blocks(first, second)])
    distances = torch.stack([(first - second[column]).norm(dim=1) for column in found.T], dim=1)
    order = distances.argsort(dim=1, stable=True)
    return distances.gather(1, order), found.gather(1, order)


def nearest_other(rows: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest *other* rows of the same set: distances and row numbers, (n, count)."""
    found = []
    for part, near in blocks(rows, rows):
        here = torch.arange(part.start, part.stop)
        near[here - part.start, here] = torch.inf
        found.append(near.topk(count, largest=False).indices)
    indices = torch.cat(found)
    distances = torch.stack([(rows - rows[column]).norm(dim=1) for column in indices.T], dim=1)
    order = distances.argsort(dim=1, stable=True)
    return distances.gather(1, order), indices.gather(1, order)
