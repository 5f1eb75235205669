r"""What data must obey, as functions of it: residuals that are to vanish, and projections onto where they do.

A constraint tells its ``residual(x)``, (batch, ...) and zero where it is met, and, if it is a hard one, ``project(x)``:
the nearest state that meets it (but for dynamic thresholding, which is no nearest one). Both take a state
(batch, *shape) of any floating dtype, are differentiable, and treat each sample by itself. ``guidance.projection`` and
``guidance.constrained`` make guides of them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from unstir.core.errors import InputError


class Constraint(ABC):
    """What data must obey. ``padded`` says whether padded places, which are zero, may stand among the elements."""

    padded: ClassVar[bool] = False

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """By how much each sample fails, (batch, ...), zero where it does not."""


class HardConstraint(Constraint):
    """A constraint that a state can be brought to meet."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The state, made to meet the constraint."""


@dataclass(frozen=True, eq=False)
class LinearConstraint(HardConstraint):
    r"""A x = b for the flattened sample: ``matrix`` A (m, d), ``value`` b (m,).

    The projection is :math:`x-A^+(Ax-b)` with the pseudo-inverse, computed in float64.
    Raises InputError for shapes that do not agree, and equations that contradict one another.
    """

    matrix: Any
    value: Any

    def __post_init__(self) -> None:
        matrix = torch.as_tensor(self.matrix, dtype=torch.float64)
        value = torch.as_tensor(self.value, dtype=torch.float64)
        if matrix.ndim != 2 or value.shape != matrix.shape[:1] or not bool(matrix.isfinite().all()):
            raise InputError(
                f"a linear constraint is a finite matrix (m, d) and m values; seen {tuple(matrix.shape)} and "
                f"{tuple(value.shape)}"
            )
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "value", value)
        met = matrix @ (self._inverse @ value)
        if not torch.allclose(met, value, rtol=1e-8, atol=1e-8 * float(value.abs().max())):
            raise InputError("the equations of a linear constraint contradict one another: no sample meets them all")

    @cached_property
    def _inverse(self) -> Tensor:
        return torch.linalg.pinv(self.matrix)

    def residual(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        if flat.shape[1] != self.matrix.shape[1]:
            raise InputError(
                f"this constraint is one of {self.matrix.shape[1]} elements; seen {flat.shape[1]} a sample"
            )
        return flat @ self.matrix.to(flat).T - self.value.to(flat)

    def project(self, x: Tensor) -> Tensor:
        wide = x.double()
        return (wide - (self.residual(wide) @ self._inverse.to(wide).T).reshape(x.shape)).to(x.dtype)


@dataclass(frozen=True)
class TotalConstraint(HardConstraint):
    r"""A sum that is kept: :math:`\sum_i w_ix_i=T` over the last ``axes`` axes of a sample, all by default.

    ``total`` T is one number or one for each of the other axes; ``weights`` w, of the shape of the axes summed, are the
    sizes of cells, say. The projection adds :math:`(T-w\cdot x)\,w/\|w\|^2`.
    Raises InputError for weights that are all zero, and sums of more axes than there are.
    """

    total: Any
    axes: int | None = None
    weights: Any = None

    def __post_init__(self) -> None:
        if self.axes is not None and self.axes < 1:
            raise InputError(f"a total is taken over one axis at least; seen {self.axes}")
        if self.weights is not None and not bool(torch.as_tensor(self.weights).any()):
            raise InputError("the weights of a total are all zero: it says nothing")

    def _weights(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        axes = x.ndim - 1 if self.axes is None else self.axes
        if not 0 < axes < x.ndim:
            raise InputError(f"a total over the last {axes} axes of samples that have {x.ndim - 1}")
        shape = x.shape[x.ndim - axes :]
        weights = torch.ones(shape).to(x) if self.weights is None else torch.as_tensor(self.weights).to(x)
        if weights.shape != shape:
            raise InputError(
                f"the weights of a total have the shape of what is summed, {tuple(shape)}; seen {tuple(weights.shape)}"
            )
        return weights, tuple(range(x.ndim - axes, x.ndim))

    def residual(self, x: Tensor) -> Tensor:
        weights, axes = self._weights(x)
        return (x * weights).sum(axes) - torch.as_tensor(self.total).to(x)

    def project(self, x: Tensor) -> Tensor:
        wide = x.double()
        weights, axes = self._weights(wide)
        missing = self.residual(wide)
        return (wide - missing.reshape(*missing.shape, *(1,) * len(axes)) * weights / weights.square().sum()).to(
            x.dtype
        )


@dataclass(frozen=True)
class RangeConstraint(HardConstraint):
    """Every element between ``low`` and ``high``: clipped, or with ``percentile`` thresholded dynamically.

    Dynamic thresholding measures by which factor the given share of a sample's elements (0.995, say) leaves the range,
    seen from its middle; if it is more than one, the sample is clipped there and shrunk into the range, so that a
    few far elements do not drive all others against the walls. Raises InputError for an empty range or no share.

    Reference: Saharia et al., Photorealistic text-to-image diffusion models with deep language understanding (2022),
    section 2.3.
    """

    low: float = -1.0
    high: float = 1.0
    percentile: float | None = None
    padded = True

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(f"a range goes from low to high, low < high; seen {self.low} and {self.high}")
        if self.percentile is not None and not 0 < self.percentile <= 1:
            raise InputError(f"the percentile is a share, 0 < share <= 1; seen {self.percentile}")
        if self.percentile is not None and not math.isfinite(self.high - self.low):
            raise InputError("dynamic thresholding needs both ends of the range")

    def residual(self, x: Tensor) -> Tensor:
        """How far each element is outside."""
        return (x - self.high).clamp(min=0) - (self.low - x).clamp(min=0)

    def project(self, x: Tensor) -> Tensor:
        if self.percentile is None:
            return x.clamp(self.low, self.high)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        away = (x - middle) / half
        reach = torch.quantile(away.detach().double().abs().flatten(1), self.percentile, dim=1).clamp(min=1)
        reach = reach.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        # once more at the end, for the last digit
        return (middle + half * away.clamp(-reach, reach) / reach).clamp(self.low, self.high)


@dataclass(frozen=True)
class SymmetryConstraint(HardConstraint):
    """Samples that are their own images under a finite group: the projection is the mean over all images.

    ``transforms`` are the group's elements, the identity among them: functions of states (batch, *shape), linear and
    orthogonal (flips, quarter turns, permutations), closed under composition, which ``project`` relies on.
    For laws that are symmetric while their samples are not, see ``guidance.symmetric``.
    """

    transforms: Sequence[Callable[[Tensor], Tensor]]

    def __post_init__(self) -> None:
        if not self.transforms:
            raise InputError("a group has one element at least, the identity")

    def residual(self, x: Tensor) -> Tensor:
        """What is left of a sample without its symmetric part."""
        return x - self.project(x)

    def project(self, x: Tensor) -> Tensor:
        return torch.stack([transform(x) for transform in self.transforms]).mean(0)


@dataclass(frozen=True)
class DivergenceFree(HardConstraint):
    r"""Fields of d components on a periodic grid of d axes, (batch, d, *grid), without sources.

    The residual is the divergence by the fast Fourier transform; ``spacing`` is the grid's, one for all axes or one
    each. The projection is Helmholtz's and Leray's, :math:`\hat u-k(k\cdot\hat u)/k^2`. The highest frequency of an
    even axis has no sign and counts as none. Raises InputError for a field whose components are not one an axis.

    Reference: Chorin, Numerical solution of the Navier–Stokes equations (1968), section 2, for the decomposition.
    """

    spacing: float | Sequence[float] = 1.0

    def _wave_numbers(self, x: Tensor) -> Tensor:
        axes = x.ndim - 2
        if axes < 1 or x.shape[1] != axes:
            raise InputError(
                f"a field has one component for each axis of its grid, (batch, d, *grid); seen {tuple(x.shape)}"
            )
        spacing = [float(self.spacing)] * axes if isinstance(self.spacing, float | int) else list(self.spacing)
        if len(spacing) != axes or not all(step > 0 for step in spacing):
            raise InputError(f"a grid of {axes} axes has as many spacings, all positive; seen {self.spacing}")
        lines = []
        for size, step in zip(x.shape[2:], spacing, strict=True):
            line = 2 * math.pi * torch.fft.fftfreq(size, step, dtype=torch.float64, device=x.device)
            if size % 2 == 0:
                line[size // 2] = 0
            lines.append(line)
        return torch.stack(torch.meshgrid(*lines, indexing="ij"))

    def residual(self, x: Tensor) -> Tensor:
        waves = self._wave_numbers(x)
        axes = tuple(range(2, x.ndim))
        told = (1j * waves * torch.fft.fftn(x.double(), dim=axes)).sum(1)
        return torch.fft.ifftn(told, dim=tuple(axis - 1 for axis in axes)).real.to(x.dtype)

    def project(self, x: Tensor) -> Tensor:
        waves = self._wave_numbers(x)
        axes, power = tuple(range(2, x.ndim)), waves.square().sum(0)
        field = torch.fft.fftn(x.double(), dim=axes)
        along = (waves * field).sum(1, keepdim=True) / torch.where(power > 0, power, 1.0)
        return torch.fft.ifftn(field - waves * along, dim=axes).real.to(x.dtype)


def laplacian(x: Tensor, spacing: float | Sequence[float], axes: Sequence[int]) -> Tensor:
    """The Laplacian by central differences over the given axes of a periodic grid, second order."""
    steps = [float(spacing)] * len(axes) if isinstance(spacing, float | int) else list(spacing)
    if len(steps) != len(axes) or not all(step > 0 for step in steps):
        raise InputError(f"a grid of {len(axes)} axes has as many spacings, all positive; seen {spacing}")
    parts = [(x.roll(1, axis) + x.roll(-1, axis) - 2 * x) / step**2 for axis, step in zip(axes, steps, strict=True)]
    return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class PoissonConstraint(Constraint):
    r"""Fields with :math:`\Delta u=f` on a periodic grid, by central differences; soft.

    ``source`` f is a number or a field that fits the samples; the last ``axes`` axes are the grid.
    """

    source: Any = 0.0
    spacing: float | Sequence[float] = 1.0
    axes: int = 2

    def residual(self, x: Tensor) -> Tensor:
        if not 0 < self.axes < x.ndim:
            raise InputError(f"a grid of {self.axes} axes in samples that have {x.ndim - 1}")
        last = range(x.ndim - self.axes, x.ndim)
        return laplacian(x, self.spacing, list(last)) - torch.as_tensor(self.source).to(x)


@dataclass(frozen=True)
class HeatConstraint(Constraint):
    r"""Films of a field that spreads, :math:`\partial_tu=D\Delta u`, by Crank's and Nicolson's differences; soft.

    Samples are (..., times, *grid), the last ``axes`` axes a periodic grid; ``step`` is the time between two pictures.
    Second order in both. Raises InputError where there are no two pictures.

    Reference: Crank, Nicolson, A practical method for numerical evaluation of solutions of partial differential
    equations of the heat-conduction type (1947).
    """

    diffusivity: float = 1.0
    step: float = 1.0
    spacing: float | Sequence[float] = 1.0
    axes: int = 1

    def residual(self, x: Tensor) -> Tensor:
        time = x.ndim - self.axes - 1
        if self.axes < 1 or time < 1 or x.shape[time] < 2:
            raise InputError(
                f"a film has an axis of two times at least before its {self.axes} axes; seen {tuple(x.shape)}"
            )
        before, after = x.narrow(time, 0, x.shape[time] - 1), x.narrow(time, 1, x.shape[time] - 1)
        spread = laplacian((before + after) / 2, self.spacing, list(range(time + 1, x.ndim)))
        return (after - before) / self.step - self.diffusivity * spread
