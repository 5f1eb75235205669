"""The variance-exploding schedule with exponentially growing noise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule, float64

__all__ = ["ExponentialVESchedule"]


@dataclass(frozen=True)
class ExponentialVESchedule(Schedule):
    r"""Variance exploding, the noise growing by equal factors.

    :math:`\sigma_t^2 = \sigma_{min}^2 (q^{2t} - 1)` with :math:`q = \sigma_{max}/\sigma_{min}`. The one
    subtracted makes time 0 exactly clean, as the SDE says; sigmas are in the units of the data.

    Reference: Song et al., Score-based generative modeling through SDEs (2021), eq. 30-31.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise InputError(f"0 < sigma_min < sigma_max is needed; seen {self.sigma_min} and {self.sigma_max}")

    @property
    def scale(self) -> str:
        return "ve"

    @property
    def _rate(self) -> float:
        return 2 * math.log(self.sigma_max / self.sigma_min)

    @classmethod
    def examples(cls) -> Mapping[str, Schedule]:
        return {**super().examples(), "mild": cls(sigma_min=0.1, sigma_max=3.0)}

    def log_snr(self, t: Tensor | float) -> Tensor:
        return -2 * math.log(self.sigma_min) - torch.expm1(self._rate * float64(t)).log()

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        return self._rate / torch.expm1(-self._rate * float64(t))

    def time(self, log_snr: Tensor | float) -> Tensor:
        ratio = -float64(log_snr) - 2 * math.log(self.sigma_min)
        return (softplus(ratio, threshold=50) / self._rate).clamp(0, 1)
