"""Blur: each point spread over its surroundings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, suggest
from unstir.inverse.operators.base import Decomposition, LinearOperator
from unstir.inverse.operators.convolutions import PaddedConvolution, PeriodicConvolution, SeparableConvolution
from unstir.inverse.operators.resampling import gaussian_weights, motion_weights
from unstir.inverse.operators.shapes import at_least, sample_shape, space_of

__all__ = ["BlurOperator"]

_KERNELS, _BOUNDARIES = ("gaussian", "box", "motion"), ("periodic", "reflect", "zero")


@dataclass(frozen=True, eq=False)
class BlurOperator(LinearOperator):
    """A convolution with a kernel, channel by channel: what deblurring undoes.

    ``kernel`` is "gaussian" (of ``deviation`` elements, cut at four of them), "box" (of ``size`` elements a side),
    "motion" (pictures only: a line of ``size`` elements at ``angle`` degrees against the clock), or the numbers
    themselves, one axis for each of space, taken as they are. Beyond the ``boundary`` the sample is repeated
    ("periodic"), mirrored ("reflect") or zero ("zero"). The singular value decomposition is in closed form on periodic
    ground (by the Hartley transform) and of Gaussian and box kernels (axis by axis).

    Reference: Hansen, Nagy, O'Leary, Deblurring images: matrices, spectra, and filtering (2006), chapters 3 and 4.
    """

    shape: tuple[int, ...]
    kernel: Any = "gaussian"
    deviation: float | int = 1.5
    size: int = 5
    angle: float | int = 0.0
    boundary: str = "periodic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "what is blurred", (1, 2, 3)))
        if self.boundary not in _BOUNDARIES:
            raise InputError(f"unknown boundary {self.boundary!r}; {suggest(str(self.boundary), _BOUNDARIES)}")
        if isinstance(self.kernel, str) and self.kernel not in _KERNELS:
            raise InputError(f"unknown kernel {self.kernel!r}; {suggest(self.kernel, _KERNELS)} Or give its numbers.")
        if not isinstance(self.deviation, float | int) or not 0 < self.deviation < math.inf:
            raise InputError(f"the deviation of a blur is positive and finite, in elements; seen {self.deviation}")
        at_least(self.size, 1, "the size of a blur")
        if not math.isfinite(self.angle):
            raise InputError(f"the angle of a motion is a finite number of degrees; seen {self.angle}")
        object.__setattr__(self, "_kernels", self._made())

    def _made(self) -> tuple[Tensor, ...]:
        """One kernel an axis, or a single one for all axes."""
        dims = len(space_of(self.shape))
        if isinstance(self.kernel, str):
            if self.kernel == "gaussian":
                return (gaussian_weights(self.deviation),) * dims
            if self.kernel == "box":
                return (torch.full((self.size,), 1 / self.size, dtype=torch.float64),) * dims
            if dims != 2:
                raise InputError(f"motion blurs pictures, (channels, height, width); seen the shape {self.shape}")
            return (motion_weights(self.size, self.angle),)
        try:
            kernel = torch.as_tensor(self.kernel, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"a kernel is numbers, one axis for each of space; seen {self.kernel!r}") from error
        if kernel.ndim != dims or not kernel.numel() or not bool(kernel.isfinite().all()):
            raise InputError(f"a kernel is finite numbers of {dims} axes, as space has; seen {tuple(kernel.shape)}")
        return (kernel,)

    @property
    def weights(self) -> Tensor:
        """The kernel, one axis for each of space, float64; its middle is at half of each side, rounded down."""
        kernels: tuple[Tensor, ...] = self._kernels  # type: ignore[attr-defined]
        return reduce(lambda whole, line: whole[..., None] * line, kernels)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self.shape

    @cached_property
    def _convolution(self) -> LinearOperator:
        if self.boundary == "periodic":
            return PeriodicConvolution(self.shape, self.weights)
        if isinstance(self.kernel, str) and self.kernel != "motion":
            return SeparableConvolution(self.shape, self._kernels, self.boundary)  # type: ignore[attr-defined]
        return PaddedConvolution(self.shape, self.weights, self.boundary)

    def __call__(self, x0: Tensor) -> Tensor:
        return self._convolution(x0)

    def adjoint(self, measured: Tensor) -> Tensor:
        return self._convolution.adjoint(measured)

    @property
    def decomposition(self) -> Decomposition:  # type: ignore[override]
        """Of the convolution at this boundary."""
        return self._convolution.decomposition

    @classmethod
    def examples(cls) -> Mapping[str, "BlurOperator"]:
        """Each kernel and boundary, on pictures, a volume and a series."""
        skew = [[0.1, 0.3, 0.0], [0.0, 0.4, -0.1]]
        return {
            "gaussian": cls((2, 6, 5), deviation=0.8),
            "gaussian of a volume, mirrored": cls((1, 3, 4, 3), deviation=0.6, boundary="reflect"),
            "box, longer than the side": cls((5,), "box", size=6),
            "box, dark outside": cls((1, 6, 5), "box", size=3, boundary="zero"),
            "motion": cls((1, 7, 7), "motion", size=5, angle=30.0),
            "motion, mirrored": cls((1, 5, 6), "motion", size=5, angle=-70.0, boundary="reflect"),
            "skew": cls((1, 5, 4), skew),
            "skew, dark outside": cls((2, 5, 4), skew, boundary="zero"),
        }
