"""Convolutions at three kinds of border, each with its adjoint; ``blur.py`` gives them kernels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from unstir.inverse.operators.base import Decomposition, LinearOperator, Operator
from unstir.inverse.operators.separable import SeparableOperator
from unstir.inverse.operators.shapes import channels_of, space_of


class Convolution(LinearOperator):
    """y_i = sum_j k_j x_(i - j + c), c being the middle of the kernel: what a point becomes, put around each point."""

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self.shape

    @classmethod
    def examples(cls) -> Mapping[str, Operator]:
        """None of its own: it is a part of blur."""
        return {}


@dataclass(frozen=True, eq=False)
class PeriodicConvolution(Convolution):
    r"""Around a circle, by the Fourier transform; a kernel may be longer than a side.

    With the transfer function h and the Hartley transform H (real, symmetric, its own inverse), A = P H abs(h) H, P
    turning each wave by the phase of h: as abs(h) is even in the frequency, H serves as well as the Fourier transform.

    Reference: Bracewell, Discrete Hartley transform (1983).
    """

    shape: tuple[int, ...]
    kernel: Tensor

    @cached_property
    def transfer(self) -> Tensor:
        """h, complex128, of the sides in space."""
        sides, taps = space_of(self.shape), self.kernel
        whole = torch.zeros(sides, dtype=torch.float64)
        for places in product(*(range(size) for size in taps.shape)):
            whole[tuple((p - s // 2) % side for p, s, side in zip(places, taps.shape, sides, strict=True))] += taps[
                places
            ]
        return torch.fft.fftn(whole)

    @property
    def axes(self) -> tuple[int, ...]:
        """Of space, counted from the end."""
        return tuple(range(-len(space_of(self.shape)), 0))

    def __call__(self, x0: Tensor) -> Tensor:
        return self.filtered(x0, self.transfer)

    def adjoint(self, measured: Tensor) -> Tensor:
        return self.filtered(measured, self.transfer.conj())

    def filtered(self, x: Tensor, transfer: Tensor) -> Tensor:
        """Each wave multiplied by its value of a transfer function; real."""
        waves = torch.fft.fftn(x, dim=self.axes)
        return torch.fft.ifftn(waves * transfer.to(waves), dim=self.axes).real

    @cached_property
    def decomposition(self) -> "Decomposition":
        """By the Hartley transform."""
        return _Hartley(self, self.transfer.abs().expand(self.shape).flatten())


@dataclass(frozen=True, eq=False)
class _Hartley(Decomposition):
    operator: PeriodicConvolution
    values: Tensor

    def samples_to_modes(self, x: Tensor) -> Tensor:
        waves = torch.fft.fftn(x, dim=self.operator.axes, norm="ortho")
        return (waves.real - waves.imag).flatten(1)

    def modes_to_samples(self, modes: Tensor) -> Tensor:
        shape = self.operator.shape
        return self.samples_to_modes(modes.reshape(-1, *shape)).reshape(-1, *shape)

    def measured_to_modes(self, measured: Tensor) -> Tensor:
        transfer = self.operator.transfer
        return self.samples_to_modes(self.operator.filtered(measured, torch.sgn(transfer).conj() + (transfer == 0)))


@dataclass(frozen=True, eq=False)
class SeparableConvolution(Convolution, SeparableOperator):
    """A product of one kernel an axis, with mirrored ("reflect") or dark ("zero") surroundings."""

    shape: tuple[int, ...]
    kernels: tuple[Tensor, ...]
    boundary: str

    @cached_property
    def factors(self) -> Mapping[int, Tensor]:
        """One banded matrix an axis of space."""
        channels = len(channels_of(self.shape))
        pairs = zip(space_of(self.shape), self.kernels, strict=True)
        return {channels + axis: _banded(side, kernel, self.boundary) for axis, (side, kernel) in enumerate(pairs)}


@dataclass(frozen=True, eq=False)
class PaddedConvolution(Convolution):
    """Any kernel of one to three axes, with mirrored ("reflect") or dark ("zero") surroundings."""

    shape: tuple[int, ...]
    kernel: Tensor
    boundary: str

    @cached_property
    def _margins(self) -> list[tuple[Tensor, Tensor]]:
        """By axis: the elements that a widened line holds, and which of them lie inside."""
        found = []
        for side, size in zip(space_of(self.shape), self.kernel.shape, strict=True):
            places = torch.arange(-(size - 1 - size // 2), side + size // 2)
            found.append((mirrored(places, side), (places >= 0) & (places < side)))
        return found

    def _widened(self, x: Tensor, axis: int) -> Tensor:
        places, inside = (part.to(x.device) for part in self._margins[axis])
        wide = x.index_select(axis + 2, places)
        return wide if self.boundary == "reflect" else wide * _beside(inside, wide, axis)

    def _folded(self, x: Tensor, axis: int) -> Tensor:
        places, inside = (part.to(x.device) for part in self._margins[axis])
        x = x if self.boundary == "reflect" else x * _beside(inside, x, axis)
        shape = list(x.shape)
        shape[axis + 2] = space_of(self.shape)[axis]
        return x.new_zeros(shape).index_add(axis + 2, places, x)

    def __call__(self, x0: Tensor) -> Tensor:
        lines = x0.reshape(-1, 1, *space_of(self.shape))
        for axis in range(self.kernel.ndim):
            lines = self._widened(lines, axis)
        return self._correlated(lines, self.kernel.flip(list(range(self.kernel.ndim)))).reshape(x0.shape)

    def adjoint(self, measured: Tensor) -> Tensor:
        lines = measured.reshape(-1, 1, *space_of(self.shape))
        margins = [size - 1 for size in reversed(self.kernel.shape) for _ in range(2)]
        lines = self._correlated(torch.nn.functional.pad(lines, margins), self.kernel)
        for axis in range(self.kernel.ndim):
            lines = self._folded(lines, axis)
        return lines.reshape(measured.shape)

    def _correlated(self, lines: Tensor, taps: Tensor) -> Tensor:
        slide = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)
        return slide[taps.ndim - 1](lines, taps.to(lines)[None, None])


def mirrored(places: Tensor, side: int) -> Tensor:
    """Whole numbers brought into 0 to side - 1 by mirrors half an element beyond both ends: c b a | a b c | c b a."""
    around = places % (2 * side)
    return torch.where(around < side, around, 2 * side - 1 - around)


def _banded(side: int, kernel: Tensor, boundary: str) -> Tensor:
    rows = torch.arange(side)[:, None].expand(-1, len(kernel))
    places = rows - torch.arange(len(kernel)) + len(kernel) // 2
    weights = kernel.expand(side, -1)
    if boundary == "zero":
        weights = weights * ((places >= 0) & (places < side))
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.index_put_((rows, mirrored(places, side)), weights, accumulate=True)


def _beside(inside: Tensor, like: Tensor, axis: int) -> Tensor:
    return inside.reshape([-1 if place == axis + 2 else 1 for place in range(like.ndim)])
