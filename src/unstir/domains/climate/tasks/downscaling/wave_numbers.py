r"""Power spectra of fields on a grid, whose edges meet or not."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.domains.climate.layout import Axis
from unstir.scores.spectrum import power_spectrum

_NUMBERS = 1 << 22  # in memory at a time


def field_spectrum(values: Tensor, axes: Sequence[Axis]) -> tuple[Tensor, Tensor]:
    """Wave numbers in cycles a place, (k,), and the power of fields (..., *axes) there, float64 (..., k).

    Of the deviations from the field's mean, along the last two axes (the mean over others), or the only one; up to the
    half cycle a place that every direction has. Along an axis whose edges do not meet, the field is continued by its
    mirror image, so that the transform is one of cosines and no jump at the edge feigns small waves. NaN of fields with
    missing values.

    Reference: Denis, Côté, Laprise, Spectral decomposition of two-dimensional atmospheric fields on limited-area
    domains using the discrete cosine transform (2002), section 2.
    """
    shape = values.shape[: values.ndim - len(axes)]
    fields = values.double().reshape(-1, *values.shape[len(shape) :])
    dimensions = min(2, len(axes))
    step = max(1, _NUMBERS // max(1, fields[:1].numel()))
    found, waves = [], torch.zeros(0)
    for part in fields.split(step):
        part = part - part.mean(tuple(range(-dimensions, 0)), keepdim=True)
        for place in range(-dimensions, 0):
            if not axes[place].periodic:
                part = torch.cat((part, part.flip(place)), place)
        told = power_spectrum(part, dimensions)
        usable = (told.wave_numbers > 0) & (told.wave_numbers <= 0.5)
        waves, power = told.wave_numbers[usable], told.power[..., usable]
        found.append(power.reshape(len(power), -1, power.shape[-1]).mean(1))
    return waves, torch.cat(found).reshape(*shape, -1)
