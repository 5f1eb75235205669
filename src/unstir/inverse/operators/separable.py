r"""Linear maps that act along one axis after the other: A = A_1 ⊗ A_2 ⊗ …."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unstir.inverse.operators.base import Decomposition, LinearOperator


class SeparableOperator(LinearOperator):
    """A map by one matrix an axis; its singular value decomposition is put together of those of the matrices."""

    @property
    @abstractmethod
    def factors(self) -> Mapping[int, Tensor]:
        """By the axis of a sample the matrix (m_i, n_i) along it, float64; axes without one stay as they are."""

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return tuple(len(self.factors[axis]) if axis in self.factors else side for axis, side in enumerate(self.shape))

    def __call__(self, x0: Tensor) -> Tensor:
        return along(x0, self.factors)

    def adjoint(self, measured: Tensor) -> Tensor:
        return along(measured, {axis: matrix.T for axis, matrix in self.factors.items()})

    @cached_property
    def decomposition(self) -> "Decomposition":
        """Products of the axes' singular vectors."""
        found = {axis: torch.linalg.svd(matrix, full_matrices=True) for axis, matrix in self.factors.items()}
        paired = tuple(min(sides) for sides in zip(self.shape, self.measured_shape, strict=True))
        values = torch.ones(paired, dtype=torch.float64)
        for axis, (_, own, _) in found.items():
            values = values * own.reshape([-1 if place == axis else 1 for place in range(len(paired))])
        rank = min(math.prod(self.shape), math.prod(self.measured_shape))
        return KroneckerDecomposition(
            self.shape,
            {axis: left.T for axis, (left, _, _) in found.items()},
            torch.nn.functional.pad(values.flatten(), (0, rank - values.numel())),
            {axis: right for axis, (_, _, right) in found.items()},
            _paired_first(self.measured_shape, paired),
            _paired_first(self.shape, paired),
        )


@dataclass(frozen=True, eq=False)
class KroneckerDecomposition(Decomposition):
    """Of a separable map: by axis the transposed singular vectors, and the order that puts those with a value first."""

    shape: tuple[int, ...]
    left: Mapping[int, Tensor]
    values: Tensor
    right: Mapping[int, Tensor]
    left_order: Tensor
    right_order: Tensor

    def samples_to_modes(self, x: Tensor) -> Tensor:
        return along(x, self.right).flatten(1)[:, self.right_order.to(x.device)]

    def modes_to_samples(self, modes: Tensor) -> Tensor:
        whole = torch.empty_like(modes).index_copy(1, self.right_order.to(modes.device), modes)
        return along(whole.reshape(-1, *self.shape), {axis: matrix.T for axis, matrix in self.right.items()})

    def measured_to_modes(self, measured: Tensor) -> Tensor:
        return along(measured, self.left).flatten(1)[:, self.left_order.to(measured.device)]


def along(x: Tensor, factors: Mapping[int, Tensor]) -> Tensor:
    """Each matrix applied along its axis of the samples (batch, ...)."""
    for axis, matrix in factors.items():
        x = torch.tensordot(x, matrix.to(x), ([axis + 1], [1])).movedim(-1, axis + 1)
    return x


def _paired_first(shape: tuple[int, ...], paired: tuple[int, ...]) -> Tensor:
    """The places of a grid, those first whose index is small enough on every axis to have a partner."""
    inside = torch.zeros(shape, dtype=torch.bool)
    inside[tuple(slice(side) for side in paired)] = True
    flat = inside.flatten()
    return torch.cat((flat.nonzero()[:, 0], (~flat).nonzero()[:, 0]))
