"""Some elements seen, the others not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.inverse.operators.base import Decomposition, LinearOperator

__all__ = ["MaskOperator", "box"]


@dataclass(frozen=True, eq=False)
class MaskOperator(LinearOperator):
    """The elements where ``seen`` is true, in order: what inpainting knows; measured values have the shape (m,).

    ``seen`` is boolean and of the sample's shape, or of its last axes (one mask for all channels of a picture).
    Raises InputError if nothing is seen or the shapes do not agree.
    """

    shape: tuple[int, ...]
    seen: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        try:
            seen = torch.as_tensor(self.seen)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"a mask is true and false, place by place; seen {self.seen!r}") from error
        if seen.dtype != torch.bool or not seen.ndim or tuple(seen.shape) != self.shape[len(self.shape) - seen.ndim :]:
            raise InputError(
                f"a mask is boolean, of the sample's shape {self.shape} or of its last axes; "
                f"seen {seen.dtype} of shape {tuple(seen.shape)}"
            )
        if not bool(seen.any()):
            raise InputError("a mask that hides everything measures nothing; leave some elements true")
        object.__setattr__(self, "seen", seen.expand(self.shape))

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (len(self._places),)

    @cached_property
    def _places(self) -> Tensor:
        return self.seen.flatten().nonzero()[:, 0]

    def __call__(self, x0: Tensor) -> Tensor:
        return x0.flatten(1)[:, self._places.to(x0.device)]

    def adjoint(self, measured: Tensor) -> Tensor:
        whole = measured.new_zeros(len(measured), math.prod(self.shape))
        return whole.index_copy(1, self._places.to(measured.device), measured).reshape(-1, *self.shape)

    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        """What was seen, and zeros."""
        return self.adjoint(measured)

    @cached_property
    def decomposition(self) -> "Decomposition":
        """The elements themselves, those that are seen first."""
        hidden = (~self.seen.flatten()).nonzero()[:, 0]
        return _Ordered(self, torch.cat((self._places, hidden)), torch.ones(len(self._places), dtype=torch.float64))

    @classmethod
    def examples(cls) -> Mapping[str, "MaskOperator"]:
        """Of each element, and one for all channels."""
        grid = torch.tensor([[True, False, True], [False, False, True]])
        return {
            "one by one": cls((4,), torch.tensor([True, False, True, True])),
            "all channels": cls((3, 2, 3), grid),
        }


@dataclass(frozen=True, eq=False)
class _Ordered(Decomposition):
    operator: MaskOperator
    order: Tensor
    values: Tensor

    def samples_to_modes(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self.order.to(x.device)]

    def modes_to_samples(self, modes: Tensor) -> Tensor:
        whole = torch.empty_like(modes).index_copy(1, self.order.to(modes.device), modes)
        return whole.reshape(-1, *self.operator.shape)

    def measured_to_modes(self, measured: Tensor) -> Tensor:
        return measured


def box(shape: Sequence[int], hidden: float | int = 0.5) -> MaskOperator:
    """A mask that hides a box in the middle of a picture, of the share ``hidden`` of each of its last two axes.

    Raises InputError for samples that are no pictures, and a share that leaves nothing to see or to hide.
    """
    shape = tuple(shape)
    if len(shape) < 2:
        raise InputError(f"a box is hidden in a picture, (..., height, width); seen the shape {shape}")
    sizes = [round(hidden * side) for side in shape[-2:]]
    if not all(0 < size < side for size, side in zip(sizes, shape[-2:], strict=True)):
        raise InputError(f"the box takes a share of each side between 0 and 1; seen {hidden} of {shape[-2:]}")
    seen = torch.ones(shape[-2:], dtype=torch.bool)
    top, left = ((side - size) // 2 for size, side in zip(sizes, shape[-2:], strict=True))
    seen[top : top + sizes[0], left : left + sizes[1]] = False
    return MaskOperator(shape, seen)


box.examples = lambda: {"half of each side": box((1, 6, 6)), "off the middle": box((2, 5, 4), 0.4)}  # type: ignore[attr-defined]
