"""The schedule of EDM: noise in the units of the data, time warped by a power."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule, float64

__all__ = ["EDMSchedule"]


@dataclass(frozen=True)
class EDMSchedule(Schedule):
    r"""Variance exploding, time warped by a power so that even times are EDM's spacing.

    :math:`\sigma_t = \sigma_{max} t^\rho`. EDM's own time is sigma itself; the warp of unit time makes a
    uniform grid the spacing of EDM with sigma_min = 0. Sigmas are in the units of the data.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), eq. 5.
    """

    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        if self.sigma_max <= 0 or self.rho <= 0:
            raise InputError(f"sigma_max and rho must be positive; seen {self.sigma_max} and {self.rho}")

    @property
    def scale(self) -> str:
        return "ve"

    @classmethod
    def examples(cls) -> Mapping[str, Schedule]:
        return {**super().examples(), "mild": cls(sigma_max=5.0, rho=3.0)}

    def log_snr(self, t: Tensor | float) -> Tensor:
        return -2 * (math.log(self.sigma_max) + self.rho * float64(t).log())

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        return -2 * self.rho / float64(t)

    def time(self, log_snr: Tensor | float) -> Tensor:
        return ((-float64(log_snr) / 2 - math.log(self.sigma_max)) / self.rho).exp().clamp(0, 1)
