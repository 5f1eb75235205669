"""Linear maps by a sparse matrix, channel by channel, and the weights of linear interpolation."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from unstir.inverse.operators.base import LinearOperator
from unstir.inverse.operators.shapes import channels_of, space_of


class SparseOperator(LinearOperator):
    """Each channel's elements times one sparse matrix; subclasses make ``entries`` and say the ``grid`` of readings."""

    @property
    @abstractmethod
    def grid(self) -> tuple[int, ...]:
        """The shape of one channel's measured values."""

    @property
    @abstractmethod
    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, columns and float64 values; entries of one place are summed."""

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (*channels_of(self.shape), *self.grid)

    @cached_property
    def _sparse(self) -> Tensor:
        rows, columns, values = self.entries
        size = math.prod(self.grid), math.prod(space_of(self.shape))
        return torch.sparse_coo_tensor(torch.stack((rows, columns)), values, size, check_invariants=True).coalesce()

    def _times(self, matrix: Tensor, x: Tensor, sides: tuple[int, ...]) -> Tensor:
        found = torch.sparse.mm(matrix.to(x), x.reshape(-1, matrix.shape[1]).T)
        return found.T.reshape(len(x), *channels_of(self.shape), *sides)

    def __call__(self, x0: Tensor) -> Tensor:
        return self._times(self._sparse, x0, self.grid)

    def adjoint(self, measured: Tensor) -> Tensor:
        return self._times(self._sparse.t(), measured, space_of(self.shape))


def interpolation(points: Tensor, sides: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The weights of (multi-)linear interpolation at ``points`` (n, axes), in elements; zero beyond the grid.

    Returns point numbers, flattened places and weights, those of no weight left out.
    """
    lower = points.floor()
    found = []
    for corner in product((0, 1), repeat=len(sides)):
        places = lower.long() + torch.tensor(corner)
        weights = (1 - (points - places).abs()).prod(1)
        inside = ((places >= 0) & (places < torch.tensor(tuple(sides)))).all(1) & (weights > 0)
        flat = torch.zeros(len(points), dtype=torch.long)
        for axis, side in enumerate(sides):
            flat = flat * side + places[:, axis]
        found.append((inside.nonzero()[:, 0], flat[inside], weights[inside]))
    rows, columns, values = (torch.cat(parts) for parts in zip(*found, strict=True))
    return rows, columns, values
