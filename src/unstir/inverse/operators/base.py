"""What an operator is: the map from clean data to what is measured of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from unstir.core.errors import InputError

_LARGEST_DENSE = 8192  # elements of a sample; above, a matrix of them no longer fits in memory


class Operator(ABC):
    """A map A from clean samples (batch, *shape) to measured values (batch, *measured_shape).

    Subclasses are frozen dataclasses whose first field is ``shape``, that of one sample, so that a name and options
    (``build("operators", "blur", shape=...)``) are enough to make one. It keeps dtype and device of floating states.
    A sample's measured values depend on that sample alone.
    """

    if TYPE_CHECKING:  # a field of most

        @property
        def shape(self) -> Any:
            """The shape of one sample; of a joint state by the names of its parts."""
            ...

    linear: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True

    @property
    @abstractmethod
    def measured_shape(self) -> tuple[int, ...]:
        """The shape of one sample's measured values."""

    @abstractmethod
    def __call__(self, x0: Any) -> Tensor:
        """The measured values, without noise."""

    @classmethod
    @abstractmethod
    def examples(cls) -> Mapping[str, "Operator"]:
        """Members whose claims are measured, by a name that says what is special."""


class LinearOperator(Operator):
    """A linear map: it has an adjoint, a matrix, singular values and a pseudo-inverse."""

    linear = True

    @abstractmethod
    def adjoint(self, measured: Tensor) -> Tensor:
        """A^T y: (batch, *measured_shape) to (batch, *shape), of the inner products' sense."""

    @cached_property
    def matrix(self) -> Tensor:
        """A as a float64 matrix (m, d), rows and columns in the order of flattened values; for small samples."""
        size = math.prod(self.shape)
        if size > _LARGEST_DENSE:
            raise InputError(
                f"the matrix of an operator is for samples of at most {_LARGEST_DENSE} elements; seen {size}"
            )
        return self(torch.eye(size, dtype=torch.float64).reshape(size, *self.shape)).flatten(1).T.contiguous()

    @cached_property
    def decomposition(self) -> "Decomposition":
        """The singular value decomposition; dense unless the operator knows better."""
        left, values, right = torch.linalg.svd(self.matrix, full_matrices=True)
        return DenseDecomposition(self, left, values, right)

    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        """The least-squares sample of least norm, (batch, *shape); by the decomposition unless overridden."""
        parts = self.decomposition
        values = parts.values.to(measured)
        known = values > values.max() * 1e-7
        modes = parts.measured_to_modes(measured)
        told = torch.where(known, modes[:, : len(values)] / torch.where(known, values, 1.0), 0.0)
        whole = told.new_zeros(len(told), math.prod(self.shape))
        whole[:, : len(values)] = told
        return parts.modes_to_samples(whole)


class Decomposition(ABC):
    """A = U S V^T by its action. Modes are vectors of orthonormal coordinates; ``values`` (r,) the singular values.

    The first r = min(m, d) modes of a sample are those that ``values`` belong to; values may be zero and unsorted.
    """

    if TYPE_CHECKING:

        @property
        def values(self) -> Tensor:
            """(r,), float64."""
            ...

    @abstractmethod
    def samples_to_modes(self, x: Tensor) -> Tensor:
        """V^T x, (batch, d)."""

    @abstractmethod
    def modes_to_samples(self, modes: Tensor) -> Tensor:
        """V z, (batch, *shape)."""

    @abstractmethod
    def measured_to_modes(self, measured: Tensor) -> Tensor:
        """U^T y, (batch, m)."""


@dataclass(frozen=True, eq=False)
class DenseDecomposition(Decomposition):
    """Of a matrix that fits in memory, all float64."""

    operator: LinearOperator
    left: Tensor
    values: Tensor
    right: Tensor

    def samples_to_modes(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.right.to(x).T

    def modes_to_samples(self, modes: Tensor) -> Tensor:
        return (modes @ self.right.to(modes)).reshape(-1, *self.operator.shape)

    def measured_to_modes(self, measured: Tensor) -> Tensor:
        return measured.flatten(1) @ self.left.to(measured)
