"""The schedule whose signal falls evenly: the usual clock of masked diffusion."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.processes.schedules.base import Schedule, float64

__all__ = ["LogLinearSchedule"]


@dataclass(frozen=True)
class LogLinearSchedule(Schedule):
    r"""alpha^2 falls linearly from one to zero, so that equal times touch equal shares of the tokens.

    :math:`\alpha_t^2 = 1 - t,\ \lambda_t = \log\frac{1-t}{t}`. Of tokens :math:`1-t` are left untouched at the time t:
    under masking every step of an even grid lays bare as many tokens as any other, and no token is left at the end.

    Reference: Austin et al., Structured denoising diffusion models in discrete state-spaces (2021), section 3.1 (the
    mutual-information schedule, for masking); Sahoo et al., Simple and effective masked diffusion language models
    (2024), section 5, for the name.
    """

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        return torch.log1p(-t) - t.log()

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        return -1 / (t * (1 - t))

    def time(self, log_snr: Tensor | float) -> Tensor:
        return (-float64(log_snr)).sigmoid()
