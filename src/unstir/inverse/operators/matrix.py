"""Linear maps given as a matrix."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.inverse.operators.base import LinearOperator

__all__ = ["MatrixOperator"]


@dataclass(frozen=True, eq=False)
class MatrixOperator(LinearOperator):
    """Any linear map of small samples, by its matrix (m, d); d is the number of elements of a sample of ``shape``.

    Raises InputError for a matrix that is not finite or does not fit the shape.
    """

    shape: tuple[int, ...]
    values: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        size = math.prod(self.shape)
        try:
            values = torch.as_tensor(self.values, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"an operator's matrix is numbers, (m, {size}); seen {self.values!r}") from error
        if values.ndim != 2 or values.shape[1] != size or not len(values) or not bool(values.isfinite().all()):
            raise InputError(
                f"an operator's matrix is finite and has the shape (m, {size}); seen {tuple(values.shape)}"
            )
        object.__setattr__(self, "values", values)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (len(self.values),)

    def __call__(self, x0: Tensor) -> Tensor:
        return x0.flatten(1) @ self.values.to(x0).T

    def adjoint(self, measured: Tensor) -> Tensor:
        return (measured @ self.values.to(measured)).reshape(-1, *self.shape)

    @classmethod
    def examples(cls) -> Mapping[str, "MatrixOperator"]:
        """Fewer values than elements, more, and of low rank."""
        return {
            "wide": cls((2, 2), [[1.0, 0.5, -0.3, 0.2], [0.0, 2.0, 0.1, -1.0]]),
            "tall": cls((2,), [[1.0, 0.2], [0.5, -1.0], [0.3, 0.3]]),
            "low rank": cls((3,), [[1.0, 2.0, 0.5], [2.0, 4.0, 1.0]]),
        }
