"""Pictures as they come out of lossy compression."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.inverse.operators.base import Operator
from unstir.inverse.operators.shapes import at_least, sample_shape

__all__ = ["JPEGOperator"]

_SIDE = 8
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


@dataclass(frozen=True, eq=False)
class JPEGOperator(Operator):
    """A picture after JPEG's lossy part: 8x8 cosine transforms, rounded to steps of a table, and back.

    ``quality`` from 1 to 100 scales the standard's luminance table as the common programs do; every channel is treated
    as luminance, without a change of colours or a thinning of them. ``low`` and ``high`` are the values of bytes 0 and
    255. Sides that 8 does not divide are continued by their last element, and cut again. Values come out unrounded
    and within the range. Not differentiable: the slope of rounding is zero or infinite.

    Reference: ITU-T Recommendation T.81 (1992), annexes A.3 and K.1.
    """

    shape: tuple[int, ...]
    quality: int = 50
    low: float | int = -1.0
    high: float | int = 1.0
    differentiable = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "JPEG", (2,)))
        if at_least(self.quality, 1, "a quality") > 100:
            raise InputError(f"a quality is at most 100; seen {self.quality}")
        if not float("-inf") < self.low < self.high < float("inf"):
            raise InputError(f"a range goes from low to high, both finite; seen {self.low} to {self.high}")

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self.shape

    @cached_property
    def steps(self) -> Tensor:
        """The steps of the 64 coefficients, in units of a byte, (8, 8)."""
        scale = 5000 // self.quality if self.quality < 50 else 200 - 2 * self.quality
        table = torch.tensor(_LUMINANCE, dtype=torch.long)
        return ((table * scale + 50) // 100).clamp(1, 255).double()

    @cached_property
    def waves(self) -> Tensor:
        """The orthonormal cosines of eight elements, (wave, element)."""
        places = torch.arange(_SIDE, dtype=torch.float64)
        waves = (torch.pi * places[:, None] * (2 * places + 1) / (2 * _SIDE)).cos() / 2
        waves[0] /= 2**0.5
        return waves

    def __call__(self, x0: Tensor) -> Tensor:
        height, width = self.shape[-2:]
        down, right = (-side % _SIDE for side in (height, width))
        bytes_ = (x0 - self.low) * (255 / (self.high - self.low))
        whole = torch.nn.functional.pad(bytes_.reshape(-1, 1, height, width), (0, right, 0, down), mode="replicate")
        tall, wide = whole.shape[-2] // _SIDE, whole.shape[-1] // _SIDE
        blocks = whole.clamp(0, 255).reshape(-1, tall, _SIDE, wide, _SIDE).transpose(2, 3) - 128
        waves, steps = self.waves.to(blocks), self.steps.to(blocks)
        counted = waves @ blocks @ waves.T / steps
        kept = counted.sign() * (counted.abs() + 0.5).floor() * steps  # halves go outwards, as in the common programs
        back = (waves.T @ kept @ waves + 128).clamp(0, 255).transpose(2, 3).reshape(whole.shape)
        return (back[..., :height, :width] * ((self.high - self.low) / 255) + self.low).reshape(x0.shape)

    @classmethod
    def examples(cls) -> Mapping[str, "JPEGOperator"]:
        """Coarse, and fine with sides that 8 does not divide."""
        return {"coarse": cls((1, 16, 8), 10), "fine, odd sides": cls((3, 9, 13), 90, 0.0, 1.0)}
