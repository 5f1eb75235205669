"""What is measured of tokens: how many there are of one, and what each is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.inverse.operators.base import Operator
from unstir.inverse.operators.shapes import at_least, sample_shape

__all__ = ["CountOperator", "LookupOperator"]


@dataclass(frozen=True, eq=False)
class CountOperator(Operator):
    """The number of places that hold a token, or each of several.

    Of one token the shape is (1,), of several (tokens,); float64. The letters of a composition, the atoms of a kind.
    Of whole numbers, and so not differentiable.
    """

    shape: tuple[int, ...]
    token: int | Sequence[int] = 0
    differentiable = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "what is counted"))
        counted = (self.token,) if isinstance(self.token, int) else tuple(self.token)
        if not counted:
            raise InputError("a count is of one token or several; seen none")
        object.__setattr__(self, "token", tuple(at_least(value, 0, "a token") for value in counted))

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (len(self.token),)  # type: ignore[arg-type]

    def __call__(self, x0: Tensor) -> Tensor:
        wanted = torch.tensor(self.token, device=x0.device)
        return (_tokens(x0).flatten(1)[..., None] == wanted).sum(1).double()

    @classmethod
    def examples(cls) -> Mapping[str, "CountOperator"]:
        """Of one token, and of two."""
        return {"one": cls((6,), 1), "two": cls((2, 3), (0, 2))}


@dataclass(frozen=True, eq=False)
class LookupOperator(Operator):
    """What each token is worth by a table: the charge of an atom, the embedding of a letter.

    A table (classes, values) makes (..., values), one number a class (classes,) the shape of the sample; float64. Of
    whole numbers, and so not differentiable. Raises InputError for a table that is not finite, and tokens beyond it.
    """

    shape: tuple[int, ...]
    table: Any = None
    differentiable = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "what is looked up"))
        try:
            table = torch.as_tensor(self.table, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"a table holds numbers, a row a class; seen {self.table!r}") from error
        if table.ndim < 1 or not table.numel() or not bool(table.isfinite().all()):
            raise InputError(f"a table holds finite numbers, a row a class; seen the shape {tuple(table.shape)}")
        object.__setattr__(self, "table", table)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (*self.shape, *self.table.shape[1:])

    def __call__(self, x0: Tensor) -> Tensor:
        if x0.numel() and not 0 <= int(_tokens(x0).min()) <= int(x0.max()) < len(self.table):
            raise InputError(f"the table knows the tokens 0 to {len(self.table) - 1}; seen {x0.min()} to {x0.max()}")
        return self.table.to(x0.device)[x0]

    @classmethod
    def examples(cls) -> Mapping[str, "LookupOperator"]:
        """A number a token, and a vector."""
        return {
            "numbers": cls((2, 3), [0.5, -1.0, 2.0]),
            "vectors": cls((4,), [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]),
        }


def _tokens(x0: Tensor) -> Tensor:
    if x0.is_floating_point() or x0.is_complex():
        raise InputError(f"tokens are whole numbers; seen {x0.dtype}")
    return x0
