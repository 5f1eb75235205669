"""The linear-beta schedule of DDPM and score SDEs, in continuous time."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule, float64

__all__ = ["LinearVPSchedule"]


@dataclass(frozen=True)
class LinearVPSchedule(Schedule):
    r"""Variance preserving, the noise rate beta(t) rising linearly (DDPM's default).

    With :math:`B(t) = \beta_{min} t + (\beta_{max}-\beta_{min}) t^2/2` the log-SNR is
    :math:`-\log(e^{B}-1)`. DDPM's thousand betas from 1e-4 to 0.02 are the default in unit time.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020); Song et al. (2021), eq. 32-33.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        check_betas(self.beta_min, self.beta_max)

    @classmethod
    def examples(cls) -> Mapping[str, Schedule]:
        return {**super().examples(), "constant rate": cls(beta_min=2.0, beta_max=2.0)}

    def log_snr(self, t: Tensor | float) -> Tensor:
        return -torch.expm1(integrated_beta(t, self.beta_min, self.beta_max)).log()

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        beta = self.beta_min + (self.beta_max - self.beta_min) * t
        return beta / torch.expm1(-integrated_beta(t, self.beta_min, self.beta_max))

    def time(self, log_snr: Tensor | float) -> Tensor:
        return time_of_integrated_beta(softplus(-float64(log_snr), threshold=50), self.beta_min, self.beta_max)


def check_betas(beta_min: float, beta_max: float) -> None:
    """Refuses rates that would not give a falling log-SNR."""
    if not 0 < beta_min <= beta_max:
        raise InputError(f"the noise rates must satisfy 0 < beta_min <= beta_max; seen {beta_min} and {beta_max}")


def integrated_beta(t: Tensor | float, beta_min: float, beta_max: float) -> Tensor:
    """The integral of the linear rate from 0 to t."""
    t = float64(t)
    return t * (beta_min + (beta_max - beta_min) / 2 * t)


def time_of_integrated_beta(integral: Tensor, beta_min: float, beta_max: float) -> Tensor:
    """The inverse of ``integrated_beta`` on [0, 1], in the form without cancellation."""
    integral = integral.clamp(max=(beta_min + beta_max) / 2)
    root = (beta_min**2 + 2 * (beta_max - beta_min) * integral).sqrt()
    return (2 * integral / (beta_min + root)).clamp(0, 1)
