r"""Power spectra of fields on a periodic grid, whose sum is the mean square."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.scores.base import real

__all__ = ["power_spectrum"]


@dataclass(frozen=True)
class Spectrum:
    """``wave_numbers`` (k,), in cycles per unit of length, and ``power`` (..., k), in the data's unit squared."""

    wave_numbers: Tensor
    power: Tensor


def power_spectrum(values: Any, dimensions: int = 1, spacing: float | Sequence[float] = 1.0) -> Spectrum:
    r"""Power by wave number of (..., n) in one dimension, by radial wave number of (..., n, m) in two.

    :math:`|\hat x_k|^2/N^2`, summed over both signs of k, or in two dimensions over the shells of a width of one cycle
    per longest side. Over all wave numbers, the first of which is zero, the sum is the mean square (Parseval). Along
    ``longitude`` this is the zonal spectrum of each latitude. ``spacing``: the distance of neighbours along each of the
    last axes. NaN where a value of the field is.

    Raises InputError for other dimensions, fewer axes than that, or a spacing that is not positive.

    Reference: Press, Teukolsky, Vetterling, Flannery, Numerical recipes (2007), section 13.4; Errico, Spectra computed
    from a limited area grid (1985), for the shells.
    """
    values = real(values)
    if dimensions not in (1, 2) or values.ndim < dimensions or not all(values.shape[-dimensions:]):
        raise InputError(
            f"a spectrum goes along the last axis or the last two (dimensions 1 or 2); seen {dimensions} and the shape "
            f"{tuple(values.shape)}"
        )
    steps = [float(spacing)] * dimensions if isinstance(spacing, int | float) else [float(each) for each in spacing]
    if len(steps) != dimensions or not all(step > 0 for step in steps):
        raise InputError(f"spacing is a positive number, or one for each of {dimensions} axes; seen {spacing!r}")
    axes, sizes = tuple(range(-dimensions, 0)), values.shape[-dimensions:]
    power = torch.fft.fftn(values, dim=axes).abs().square() / float(torch.tensor(sizes).prod()) ** 2
    waves = [torch.fft.fftfreq(size, step, dtype=torch.float64) for size, step in zip(sizes, steps, strict=True)]
    length = torch.stack(torch.meshgrid(*waves, indexing="ij")).square().sum(0).sqrt().flatten()
    width = 1 / max(size * step for size, step in zip(sizes, steps, strict=True))
    shell = (length / width).round().long()
    sums = power.new_zeros(*values.shape[:-dimensions], int(shell.max()) + 1)
    summed = sums.index_add(-1, shell.to(values.device), power.flatten(-dimensions))
    return Spectrum(width * torch.arange(summed.shape[-1], dtype=torch.float64), summed)
