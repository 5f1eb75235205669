r"""Distributions of the noise levels met in training.

A distribution turns uniform numbers u in (0, 1) into log-SNR values, highest first, and knows its
density over the log-SNR. Stratified numbers (``stratified``) cover every batch evenly, which removes
most of the loss's variance; they are the default of the training loop.
"""

import math
from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.schedules.base import Schedule

__all__ = ["ImportanceLevels", "LogNormalLevels", "LogitNormalLevels", "UniformLevels", "UniformLogSNRLevels"]


class Levels(NamedTuple):
    """Noise levels of a batch, float64 of shape (batch,)."""

    log_snr: Tensor
    density: Tensor  # of the base distribution, over log-SNR
    correction: Tensor  # base density over the density actually drawn from


class NoiseLevels(nn.Module):
    """Base of the distributions; a module, since an adaptive one has a state that a run must keep."""

    @abstractmethod
    def quantile(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The log-SNR at u, and the density there; float64."""

    def forward(self, u: Tensor) -> Levels:
        """Levels for uniform numbers u of shape (batch,)."""
        log_snr, density = self.quantile(u)
        return Levels(log_snr, density, torch.ones_like(log_snr))

    def update(self, u: Tensor, loss: Tensor) -> None:
        """Learns from the weighted losses (batch,) seen at u; most distributions have nothing to learn."""


def stratified(seeds: Seeds, batch: int, positions: Tensor) -> Tensor:
    """Numbers that cover (0, 1) evenly over a batch: one common random shift of a regular lattice.

    ``seeds`` addresses the batch (one sample number); ``positions`` are the places, of ``batch`` in all,
    that this process holds.

    Reference: Kingma et al., Variational diffusion models (2021), appendix I.1.
    """
    shift = seeds.uniform().to(positions.device)
    return ((shift + positions.double()) / batch).remainder(1.0).clamp(1e-9, 1 - 1e-9)


class UniformLevels(NoiseLevels):
    """Uniform in the schedule's time, between two margins.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), algorithm 1.
    """

    def __init__(self, schedule: Schedule, first: float = 1e-3, last: float = 1.0 - 1e-3) -> None:
        super().__init__()
        if not 0 < first < last <= 1:
            raise InputError(f"times must satisfy 0 < first < last <= 1; seen {first} and {last}")
        self.schedule, self.first, self.last = schedule, first, last

    def quantile(self, u: Tensor) -> tuple[Tensor, Tensor]:
        t = self.first + (self.last - self.first) * u.double()
        density = -1 / self.schedule.log_snr_derivative(t) / (self.last - self.first)
        return self.schedule.log_snr(t), density


class LogNormalLevels(NoiseLevels):
    """Log-normal noise levels: ln(sigma/alpha) is Gaussian with this mean and deviation.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), table 1.
    """

    def __init__(self, mean: float = -1.2, deviation: float = 1.2) -> None:
        super().__init__()
        if deviation <= 0:
            raise InputError(f"the deviation of the log-normal noise levels must be positive; seen {deviation}")
        self.mean, self.deviation = mean, deviation

    def quantile(self, u: Tensor) -> tuple[Tensor, Tensor]:
        normal = torch.special.ndtri(u.double())
        density = (-normal.square() / 2).exp() / (math.sqrt(2 * math.pi) * 2 * self.deviation)
        return -2 * (self.mean + self.deviation * normal), density


class LogitNormalLevels(NoiseLevels):
    """Logit-normal times of the straight flow: the middle of the path is met most often.

    Reference: Esser et al., Scaling rectified flow transformers (2024), eq. 19.
    """

    def __init__(self, mean: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__()
        # on the straight flow ln(sigma/alpha) is the logit of time
        self.inner = LogNormalLevels(mean, deviation)

    def quantile(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.quantile(u)


class UniformLogSNRLevels(NoiseLevels):
    """Uniform in log-SNR between two bounds.

    Reference: Kingma et al., Variational diffusion models (2021), section 5.1.
    """

    def __init__(self, lowest: float = -10.0, highest: float = 10.0) -> None:
        super().__init__()
        if lowest >= highest:
            raise InputError(f"lowest < highest log-SNR is needed; seen {lowest} and {highest}")
        self.lowest, self.highest = lowest, highest

    def quantile(self, u: Tensor) -> tuple[Tensor, Tensor]:
        log_snr = self.highest - (self.highest - self.lowest) * u.double()
        return log_snr, torch.full_like(log_snr, 1 / (self.highest - self.lowest))


class ImportanceLevels(NoiseLevels):
    """Levels drawn in proportion to the loss's root mean square there, of uniform times; the loss stays unbiased.

    The uniform-time distribution is cut into ``bins`` of equal probability; a running mean of the squared
    loss in each, with the weight ``memory`` on the past, decides how often it is drawn. A share ``floor``
    of all draws stays uniform.

    Reference: Nichol and Dhariwal, Improved denoising diffusion probabilistic models (2021), eq. 18.
    """

    squares: Tensor

    def __init__(self, schedule: Schedule, bins: int = 64, memory: float = 0.95, floor: float = 0.1) -> None:
        super().__init__()
        if bins < 2 or not 0 <= memory < 1 or not 0 < floor <= 1:
            raise InputError(f"bins >= 2, 0 <= memory < 1, 0 < floor <= 1 are needed; seen {bins}, {memory}, {floor}")
        self.base = UniformLevels(schedule)
        self.memory, self.floor = memory, floor
        self.register_buffer("squares", torch.ones(bins, dtype=torch.float64))

    @property
    def probabilities(self) -> Tensor:
        """How often each bin is drawn, shape (bins,)."""
        root = self.squares.sqrt()
        return (1 - self.floor) * root / root.sum() + self.floor / len(root)

    def _base_quantile(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The base distribution's own uniform number, and the bin it lies in."""
        edges = self.probabilities.cumsum(0)
        bin_number = torch.searchsorted(edges, u.double().contiguous()).clamp(max=len(edges) - 1)
        start = edges[bin_number] - self.probabilities[bin_number]
        share = ((u.double() - start) / self.probabilities[bin_number]).clamp(0, 1)
        return (bin_number + share) / len(edges), bin_number

    def quantile(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.quantile(self._base_quantile(u)[0])

    def forward(self, u: Tensor) -> Levels:
        base, bin_number = self._base_quantile(u)
        log_snr, density = self.base.quantile(base)
        return Levels(log_snr, density, 1 / (len(self.squares) * self.probabilities[bin_number]))

    @torch.no_grad()
    def update(self, u: Tensor, loss: Tensor) -> None:
        """Updates the running mean of the squared, uncorrected loss in each bin that was met."""
        _, bin_number = self._base_quantile(u)
        count = torch.zeros_like(self.squares).index_add_(0, bin_number, torch.ones_like(u, dtype=torch.float64))
        total = torch.zeros_like(self.squares).index_add_(0, bin_number, loss.double().square())
        fresh = self.memory * self.squares + (1 - self.memory) * total / count.clamp(min=1)
        self.squares.copy_(torch.where(count > 0, fresh, self.squares))
