"""Magnitudes without phases: diffraction, holography."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.inverse.operators.base import Operator
from unstir.inverse.operators.shapes import at_least, channels_of, sample_shape, space_of

__all__ = ["PhaseOperator"]


@dataclass(frozen=True, eq=False)
class PhaseOperator(Operator):
    """The magnitudes of the Fourier transform: what a detector of diffraction counts.

    Each side is filled up with zeros to ``oversampling`` times its length, with which a picture is told up to its sign,
    its place and its mirror image. The transform is orthonormal on the longer sides, and measured values have these.
    Differentiable but where a magnitude is zero; the gradient there is zero.

    Reference: Fienup, Phase retrieval algorithms: a comparison (1982), section II.
    """

    shape: tuple[int, ...]
    oversampling: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "what is diffracted"))
        at_least(self.oversampling, 1, "the oversampling")

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (*channels_of(self.shape), *(self.oversampling * side for side in space_of(self.shape)))

    def __call__(self, x0: Tensor) -> Tensor:
        sides = self.measured_shape[len(channels_of(self.shape)) :]
        return torch.fft.fftn(x0, s=sides, dim=tuple(range(-len(sides), 0)), norm="ortho").abs()

    @classmethod
    def examples(cls) -> Mapping[str, "PhaseOperator"]:
        """Twice as long, and as it is."""
        return {"twice": cls((2, 4, 3)), "a series as it is": cls((7,), 1)}
