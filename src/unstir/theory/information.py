r"""What of the data is still to be seen: signal, noise and information along a schedule.

The noisy state tells of the clean data what a measurement of signal-to-noise ratio
:math:`\rho = \alpha^2/\sigma^2` would: the mutual information I and the least mean squared error of any guess.
The two are one, :math:`dI/d\rho = \tfrac12\,\mathrm{mmse}(\rho)`, so a schedule is a way to spend time on ratios.

Reference: Guo, Shamai, Verdú, Mutual information and minimum mean-square error in Gaussian channels (2005), theorem 1;
Kingma et al., Variational diffusion models (2021), section 5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.base import EuclideanDenoiser
from unstir.processes.schedules.base import Schedule
from unstir.theory.control import Estimate
from unstir.theory.reverse_time import schedule_of


@dataclass(frozen=True)
class SignalStory:
    """A schedule told over time, for normal data of a given variance; float64 arrays of one length.

    ``information`` in nats and ``mmse`` in squared units of the data are those of one element.
    """

    times: np.ndarray
    log_snr: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray
    information: np.ndarray
    mmse: np.ndarray


def signal_story(schedule: Schedule, points: int = 200, variance: float | int = 1.0) -> SignalStory:
    """Log-SNR, alpha, sigma, information and least error at ``points`` even times strictly between 0 and 1."""
    if points < 1 or variance <= 0:
        raise InputError(f"at least 1 point and a positive variance are needed; seen {points} and {variance}")
    times = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    log_snr = schedule.log_snr(times)
    values = (times, log_snr, schedule.alpha(times), schedule.sigma(times), *gaussian_information(log_snr, variance))
    return SignalStory(*(value.numpy() for value in values))


def gaussian_information(log_snr: Tensor, variance: float | int = 1.0) -> tuple[Tensor, Tensor]:
    r"""Of one normal number seen in noise: I = log(1 + v rho)/2 in nats, and mmse = v/(1 + v rho)."""
    level = log_snr + math.log(variance)
    return torch.nn.functional.softplus(level, threshold=50) / 2, variance * (-level).sigmoid()


def share_of_time(schedule: Schedule, edges: Sequence[float | int] | np.ndarray) -> np.ndarray:
    """The share of unit time spent between neighbouring log-SNR ``edges`` (rising), and in the two ends beyond.

    len(edges) + 1 shares that add up to one, noisiest first: the density of noise levels that even times draw.
    """
    levels = np.asarray(edges, dtype=np.float64)
    if levels.ndim != 1 or not len(levels) or np.any(np.diff(levels) <= 0):
        raise InputError(f"edges are log-SNR that rise strictly; seen {list(edges)}")
    times = schedule.time(torch.as_tensor(levels)).numpy()
    return -np.diff(np.concatenate(([1.0], times, [0.0])))


def information_draws(denoiser: EuclideanDenoiser, t: Tensor | float | int, seeds: Seeds) -> Tensor:
    """log p(x_t|x_0)/p_t(x_t) at one pair a seed, (n,): its mean is the mutual information in nats."""
    x0, xt = _pair(denoiser, t, seeds)
    alpha, sigma = denoiser.process.coefficients(torch.as_tensor(t, dtype=torch.float64), xt)
    squares = ((xt - alpha * x0) / sigma).square().flatten(1).sum(1)
    with torch.no_grad():
        return -squares / 2 - x0[0].numel() * (2 * math.pi * sigma.square()).log() / 2 - denoiser.log_density(xt, t)


def squared_error_draws(denoiser: EuclideanDenoiser, t: Tensor | float | int, seeds: Seeds) -> Tensor:
    """The squared distance of x_0 from its posterior mean at one pair a seed, (n,): its mean is the least possible."""
    x0, xt = _pair(denoiser, t, seeds)
    with torch.no_grad():
        belief = denoiser(xt, torch.as_tensor(t, dtype=torch.float64))
        return (x0 - belief.mean).square().flatten(1).sum(1)


def mutual_information(denoiser: EuclideanDenoiser, t: Tensor | float | int, seeds: Seeds) -> Estimate:
    """I(x_0; x_t) in nats."""
    return Estimate.of(information_draws(denoiser, t, seeds))


def mmse(denoiser: EuclideanDenoiser, t: Tensor | float | int, seeds: Seeds) -> Estimate:
    """The least mean squared error of x_0 given x_t, summed over the elements, in squared units of the data."""
    return Estimate.of(squared_error_draws(denoiser, t, seeds))


def _pair(denoiser: EuclideanDenoiser, t: Tensor | float | int, seeds: Seeds) -> tuple[Tensor, Tensor]:
    schedule_of(denoiser)
    x0 = denoiser.draw(seeds.at("data")).double()
    return x0, denoiser.process.noise(x0, torch.as_tensor(t, dtype=torch.float64), seeds.at("noise"))
