"""Value by value: clipped, bent, counted off in steps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.inverse.operators.base import Operator
from unstir.inverse.operators.shapes import at_least, sample_shape

__all__ = ["ClipOperator", "QuantiseOperator", "ToneOperator"]

_TINY = 1e-12  # of the range: nearer to its lower end, a root's slope counts as zero


@dataclass(frozen=True, eq=False)
class _Toned(Operator):
    """What changes each value by itself, on the range from ``low`` to ``high``."""

    shape: tuple[int, ...]
    low: float | int = -1.0
    high: float | int = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "what is toned"))
        if not -math.inf < self.low < self.high < math.inf:
            raise InputError(f"a range goes from low to high, both finite; seen {self.low} to {self.high}")

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self.shape


@dataclass(frozen=True, eq=False)
class ClipOperator(_Toned):
    """Values cut off at both ends of a range: over-exposed pictures, a detector's saturation.

    Differentiable; the gradient of what is cut off is zero.
    """

    def __call__(self, x0: Tensor) -> Tensor:
        return x0.clamp(self.low, self.high)

    @classmethod
    def examples(cls) -> Mapping[str, "ClipOperator"]:
        """Both ends, and one that is hardly met."""
        return {"both ends": cls((2, 3, 4), -0.5, 0.7), "one end": cls((6,), -8.0, 0.0)}


@dataclass(frozen=True, eq=False)
class QuantiseOperator(_Toned):
    """Values rounded to ``levels`` of them, evenly spread over the range with both ends: few bits, few inks.

    What lies beyond the range goes to its ends. Not differentiable: the slope is zero or infinite.
    """

    levels: int = 16
    differentiable = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self.levels, 2, "the number of levels")

    def __call__(self, x0: Tensor) -> Tensor:
        step = (self.high - self.low) / (self.levels - 1)
        return ((x0.clamp(self.low, self.high) - self.low) / step).round() * step + self.low

    @classmethod
    def examples(cls) -> Mapping[str, "QuantiseOperator"]:
        """Black and white, and many levels."""
        return {"two levels": cls((1, 3, 4), levels=2), "bytes": cls((5,), 0.0, 2.0, 256)}


@dataclass(frozen=True, eq=False)
class ToneOperator(_Toned):
    r"""A tone curve of one exponent: gamma, faded colours, a detector's bend.

    :math:`u^\gamma` of the place u in the range, from 0 at ``low`` to 1 at ``high``; below the range the curve goes on
    as an odd function, :math:`-\lvert u\rvert^\gamma`. Differentiable; where a root
    (gamma below one) meets the lower end its infinite slope counts as zero.
    Raises InputError for a gamma that is not positive and finite.

    Reference: Poynton, The rehabilitation of gamma (1998).
    """

    gamma: float | int = 2.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.gamma, float | int) or not 0 < self.gamma < math.inf:
            raise InputError(f"a gamma is positive and finite; seen {self.gamma}")

    def __call__(self, x0: Tensor) -> Tensor:
        place = (x0 - self.low) / (self.high - self.low)
        far = place.abs() > _TINY
        bent = place.sign() * torch.where(far, place.abs(), 1.0).pow(self.gamma)
        return torch.where(far, bent, 0.0) * (self.high - self.low) + self.low

    @classmethod
    def examples(cls) -> Mapping[str, "ToneOperator"]:
        """Darker, and lighter."""
        return {"darker": cls((2, 3, 3)), "lighter": cls((5,), -6.0, 3.0, 0.6)}
