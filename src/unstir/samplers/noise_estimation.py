r"""How noisy a picture is, told by the picture: from its finest details, or by asking a denoiser.

``noise_from_details`` needs no model. ``likeliest_noise`` asks the prior: with the score
:math:`s=(\hat x_\sigma(y)-y)/\sigma^2` of the data's law blurred by noise of deviation :math:`\sigma`,

.. math:: \frac{d\log p_\sigma(y)}{d\log\sigma}=\sigma^2\left(|s|^2+\nabla\cdot s\right)
   =\frac{|y-\hat x_\sigma(y)|^2}{\sigma^2}+\nabla\cdot\hat x_\sigma(y)-d ,

(the heat equation), so that the log-likelihood of the noise level is an integral over levels of what a denoiser tells.

Reference: Donoho, Johnstone, Ideal spatial adaptation by wavelet shrinkage (1994), section 4.2, for the median rule;
Robbins (1956) and Miyasawa (1961) for the score.
"""

import math

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser, evaluating
from unstir.samplers.editing import time_of_level

_NORMAL_MEDIAN = 0.6744897501960817  # of the absolute value of a standard normal number


def noise_from_details(y: Tensor) -> Tensor:
    """The deviation of white noise in pictures (batch, channels, height, width), float64 (batch,).

    The median size of the finest diagonal Haar coefficients, over that of a standard normal number. Right where half of
    the details or more are noise; too large for small, busy pictures.
    """
    if y.ndim != 4 or min(y.shape[2:]) < 2:
        raise InputError(f"pictures (batch, channels, height, width) of 2 pixels a side; seen {tuple(y.shape)}")
    height, width = (side - side % 2 for side in y.shape[2:])
    even = y[..., :height, :width].double()
    detail = (even[..., ::2, ::2] - even[..., 1::2, ::2] - even[..., ::2, 1::2] + even[..., 1::2, 1::2]) / 2
    return detail.abs().flatten(1).quantile(0.5, dim=1) / _NORMAL_MEDIAN


def likeliest_noise(
    denoiser: Denoiser,
    y: Tensor,
    low: float = 0.01,
    high: float = 1.0,
    levels: int = 24,
    probes: int = 4,
    seed: int = 0,
) -> Tensor:
    """The noise level between ``low`` and ``high`` at which each y, (batch, ...), is likeliest under the prior.

    Float64 (batch,), in the unit of the encoded data. The slope of the log-likelihood is measured at ``levels`` levels
    evenly spaced in their logarithm, its divergence with ``probes`` random vectors, and integrated; beside the largest
    value the slope's zero is found. A level at either end says that the truth may lie beyond.

    Raises InputError for a process that is not Euclidean, levels it has not, fewer than 3 of them.
    """
    if denoiser.process.space != "euclidean":
        raise InputError(f"noise of one deviation belongs to Euclidean data; seen {denoiser.process.space!r}")
    if not 0 < low < high or levels < 3 or probes < 1:
        raise InputError(
            f"0 < low < high, 3 levels and 1 probe at least are needed; seen {low}, {high}, {levels} and {probes}"
        )
    sigmas = np.geomspace(low, high, levels)
    times = [time_of_level(denoiser.process, float(sigma)) for sigma in sigmas]
    seeds = Seeds.range(seed, len(y)).at("noise level")
    with evaluating(denoiser):
        slopes = torch.stack(
            [_slope(denoiser, y, t, float(sigma), probes, seeds) for t, sigma in zip(times, sigmas, strict=True)]
        )
    step = math.log(high / low) / (levels - 1)
    logs = torch.cat((slopes[:1] * 0, ((slopes[1:] + slopes[:-1]) / 2 * step).cumsum(0)))
    best = logs.argmax(0)
    rows = torch.arange(len(y))
    # the slope falls through zero beside the best level; where within the interval, a straight line tells
    left = torch.where(slopes[best, rows] > 0, best, best - 1).clamp(0, levels - 2)
    first, second = slopes[left, rows], slopes[left + 1, rows]
    share = torch.where((first > 0) & (second < 0), first / (first - second), (best - left).double())
    return torch.exp(math.log(low) + step * (left + share))


def _slope(denoiser: Denoiser, y: Tensor, t: Tensor, sigma: float, probes: int, seeds: Seeds) -> Tensor:
    """d log p_sigma(y) / d log sigma, float64 (batch,)."""
    alpha = denoiser.process.schedule.alpha(t).item()
    divergence = torch.zeros(len(y), dtype=torch.float64)
    with torch.enable_grad():
        given = y.detach().clone().requires_grad_()
        mean = denoiser(alpha * given, t).mean
        for number in range(probes):
            probe = 2.0 * (seeds.at("probe", number).uniform(tuple(y.shape[1:])) < 0.5).to(y) - 1
            (pulled,) = torch.autograd.grad(mean, given, probe, retain_graph=number < probes - 1)
            divergence += (pulled * probe).double().flatten(1).sum(1) / probes
    away = (y - mean.detach()).double().square().flatten(1).sum(1)
    return away / sigma**2 + divergence - y[0].numel()
