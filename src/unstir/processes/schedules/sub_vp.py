"""The sub-variance-preserving schedule of score SDEs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.processes.schedules.base import Schedule, alpha_at, float64
from unstir.processes.schedules.linear_vp import check_betas, integrated_beta, time_of_integrated_beta

__all__ = ["SubVPSchedule"]


@dataclass(frozen=True)
class SubVPSchedule(Schedule):
    r"""Linear noise rate with a variance below that of VP, for likelihoods.

    :math:`\sigma = 1 - \alpha^2` and :math:`\alpha = e^{-B/2}` with the same integrated rate B(t) as ``linear-vp``.

    Reference: Song et al., Score-based generative modeling through SDEs (2021), eq. 14 and 29.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        check_betas(self.beta_min, self.beta_max)

    @property
    def scale(self) -> str:
        return "sub-vp"

    def log_snr(self, t: Tensor | float) -> Tensor:
        integral = integrated_beta(t, self.beta_min, self.beta_max)
        return -integral - 2 * (-torch.expm1(-integral)).log()

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        integral = integrated_beta(t, self.beta_min, self.beta_max)
        beta = self.beta_min + (self.beta_max - self.beta_min) * t
        return -beta * (1 + 2 / torch.expm1(integral))

    def time(self, log_snr: Tensor | float) -> Tensor:
        log_snr = float64(log_snr)
        # sigma = 1 - alpha^2, and log1p(-sigma) keeps its digits where alpha is near one
        sigma = 2 / ((1 + 4 * log_snr.exp()).sqrt() + 1)
        integral = torch.where(sigma < 0.5, -torch.log1p(-sigma), -2 * alpha_at(self.scale, log_snr).log())
        return time_of_integrated_beta(integral, self.beta_min, self.beta_max)
