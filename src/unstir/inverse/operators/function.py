"""Any function of the user's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.operators.base import LinearOperator, Operator
from unstir.inverse.operators.shapes import sample_shape

__all__ = ["FunctionOperator"]

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class FunctionOperator(Operator):
    """Any function of the user's own, from clean samples to measured values.

    It takes (batch, *shape) and returns (batch, *measured_shape), treats the samples of a batch apart, and keeps dtype
    and device. ``measured_shape`` is found by calling it once on zeros if it is not said. A ``linear`` one (which is
    tried on random samples) is a ``LinearOperator``, its adjoint by automatic differentiation. Say
    ``differentiable=False`` of what rounds or counts.
    Raises InputError for a function that returns something else, or is called linear and is not.
    """

    shape: tuple[int, ...]
    function: Callable[[Tensor], Tensor] | None = None
    measured_shape: tuple[int, ...] | None = None  # type: ignore[assignment]
    linear: bool = False  # type: ignore[misc]
    differentiable: bool = True  # type: ignore[misc]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "what a function measures"))
        if not callable(self.function):
            raise InputError(f"an operator by a function needs one, of (batch, *shape); seen {self.function!r}")
        found = self.function(torch.zeros(2, *self.shape, dtype=torch.float64))
        if not isinstance(found, Tensor) or found.ndim < 1 or len(found) != 2:
            seen = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"the function of an operator returns a tensor, a row a sample; of two samples, seen {seen}"
            )
        wanted = tuple(found.shape[1:]) if self.measured_shape is None else tuple(self.measured_shape)
        if tuple(found.shape[1:]) != wanted:
            raise InputError(
                f"measured values of shape {wanted} are promised; the function returns {tuple(found.shape[1:])}"
            )
        object.__setattr__(self, "measured_shape", wanted)
        if self.linear:
            # linear by its class, so that methods find an adjoint and nothing needs to be asked twice
            object.__setattr__(self, "__class__", _LinearFunction)
            self._try_linear()

    def _try_linear(self) -> None:
        first, second = Seeds.range(0, 2).at("linear").normal(self.shape, torch.float64)
        images = self(torch.stack((first, second, 2 * first - 3 * second, torch.zeros_like(first))))
        away = images[2] - 2 * images[0] + 3 * images[1]
        if max(away.abs().max(), images[3].abs().max()) > _ROUNDING * images.abs().max():
            raise InputError("this function is not linear: A(2a - 3b) differs from 2 A(a) - 3 A(b); say linear=False")
        transposed(self, self.shape, images[:1])  # type: ignore[arg-type]  # refuses what has no gradient

    def __call__(self, x0: Tensor) -> Tensor:
        return self.function(x0)  # type: ignore[misc]

    @classmethod
    def examples(cls) -> Mapping[str, "FunctionOperator"]:
        """A linear function, one that is not, and one without a slope."""
        return {
            "differences": cls((2, 4), lambda x: x.diff(dim=-1), linear=True),
            "energy": cls((3, 2), lambda x: x.square().flatten(1).sum(1, keepdim=True)),
            "signs": cls((4,), torch.sign, (4,), differentiable=False),
        }


class _LinearFunction(FunctionOperator, LinearOperator):
    """One that has an adjoint."""

    def adjoint(self, measured: Tensor) -> Tensor:
        return transposed(self.function, self.shape, measured)  # type: ignore[arg-type]


def transposed(function: Callable[[Tensor], Tensor], shape: tuple[int, ...], measured: Tensor) -> Tensor:
    """The transpose of a linear function of samples of ``shape``, by automatic differentiation; differentiable."""
    with torch.enable_grad():
        at: Any = measured.new_zeros(len(measured), *shape).requires_grad_()
        image = function(at)
        if not image.requires_grad:
            raise InputError("a linear function's adjoint is made by automatic differentiation; write it in torch")
        kept = measured.requires_grad
        (found,) = torch.autograd.grad(image, at, measured, create_graph=kept, allow_unused=True)
    return torch.zeros_like(at).detach() if found is None else found
