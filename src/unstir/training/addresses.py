r"""Which samples, noise levels and draws belong to which step.

Place i of step s is the position p = s * batch + i of the whole training. The position alone decides the
row (a fresh permutation of the data every epoch) and all random draws, so that nothing depends on the number
of processes, on the accumulation of gradients, or on where a run was interrupted.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.noise_levels import stratified


@dataclass(frozen=True)
class Addresses:
    """The addresses of a training of ``batch`` samples a step on ``count`` rows of data."""

    seed: int
    count: int
    batch: int
    stratified: bool = True
    locality: tuple[int, int] | None = None
    """Of data on disk: (rows in a row that are read together, rows that may be held at once). An epoch then goes
    through the data by groups of blocks drawn at random, mixing the rows of a group: each block is read once."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError("the data holds no samples: there is nothing to train on")

    def rows(self, step: int, places: range) -> np.ndarray:
        """The rows of the data at these places of a step, int64."""
        positions = step * self.batch + np.arange(places.start, places.stop, dtype=np.int64)
        epochs, within = np.divmod(positions, self.count)
        rows = np.empty_like(positions)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            rows[chosen] = _permutation(self.seed, self.count, int(epoch), self.locality)[within[chosen]]
        return rows

    def seeds(self, step: int, places: range) -> Seeds:
        """The addresses of the draws at these places of a step."""
        return Seeds.range(self.seed, len(places), step * self.batch + places.start).at("training")

    def uniform(self, step: int) -> Tensor:
        """The numbers in (0, 1) that choose the noise levels of the whole step, float64 of shape (batch,)."""
        if not self.stratified:
            return self.seeds(step, range(self.batch)).at("levels").uniform()
        return stratified(
            Seeds.range(self.seed, 1, step).at("training", "levels"), self.batch, torch.arange(self.batch)
        )

    def layer_seed(self, step: int, part: int, rank: int) -> int:
        """The seed of what layers draw by themselves (dropout), which no address can reach."""
        return Seeds.range(self.seed, 0).at("training", "layers", step, part, rank).key[0]


@lru_cache(maxsize=4)
def _permutation(seed: int, count: int, epoch: int, locality: tuple[int, int] | None = None) -> np.ndarray:
    generator = Seeds.range(seed, 1).at("training", "epoch", epoch).generator()
    if locality is None:
        return generator.permutation(count)
    block, held = locality
    blocks = generator.permutation(-(-count // block))
    # a batch at the border of two groups needs a block of each, so one is kept free
    group = max(1, held // block - 1)
    found = []
    for first in range(0, len(blocks), group):
        rows = (blocks[first : first + group, None] * block + np.arange(block)).ravel()
        found.append(generator.permutation(rows[rows < count]))
    return np.concatenate(found)


def shares(batch: int, parts: int, rank: int, size: int) -> list[range]:
    """The places of a batch that process ``rank`` of ``size`` holds, for each of its ``parts``."""
    if batch < parts * size:
        raise InputError(
            f"a batch of {batch} cannot be cut into {parts} part(s) for each of {size} processes; "
            f"raise training.batch to at least {parts * size}"
        )
    edges = [batch * number // (parts * size) for number in range(parts * size + 1)]
    return [range(edges[part * size + rank], edges[part * size + rank + 1]) for part in range(parts)]
