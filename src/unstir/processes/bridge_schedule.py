r"""The noise level of a bridge: how much of x_t is not the clean data.

A bridge of the schedule :math:`(\alpha_t,\sigma_t)` and the motion's deviation g is
:math:`x_t=\alpha_tx_0+\sigma_tx_1+g\sqrt{\alpha_t\sigma_t}\,z`. For a source x_1 of unit variance that does not hang
together with x_0, this is the data under noise of the variance :math:`\sigma_t^2+g^2\alpha_t\sigma_t`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.processes.schedules.base import Schedule, float64

_EDGE = 1e-12  # where a slope has no limit it is taken this far inside


@dataclass(frozen=True)
class BridgeSchedule(Schedule):
    r"""alpha of the ``path``, and the deviation of source and motion together, for a source of unit variance.

    With :math:`\rho=\sigma/\alpha` of the path, :math:`\lambda=-\log\rho-\log(\rho+g^2)`. Unlike the schedules of the
    catalogue it keeps the path's alpha, and so none of their constraints of scale.
    """

    path: Schedule
    motion: float

    @property
    def scale(self) -> str:
        return "free"

    def alpha(self, t: Tensor | float) -> Tensor:
        return self.path.alpha(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        sigma = self.path.sigma(t)
        return (sigma * (sigma + self.motion**2 * self.path.alpha(t))).sqrt()

    def log_snr(self, t: Tensor | float) -> Tensor:
        level = -self.path.log_snr(t) / 2  # log rho
        return -level - torch.logaddexp(level, self._motion(level))

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        level = -self.path.log_snr(t) / 2
        return self.path.log_snr_derivative(t) * (1 + (level - self._motion(level)).sigmoid()) / 2

    def time(self, log_snr: Tensor | float) -> Tensor:
        # the root of rho^2 + g^2 rho = e^-lambda without a difference of near numbers; in logarithms, so that both
        # ends are reached
        wanted = -float64(log_snr)
        motion = self._motion(wanted)
        root = torch.logaddexp(2 * motion, wanted + math.log(4)) / 2
        level = wanted + math.log(2) - torch.logaddexp(motion, root)
        level = torch.where(wanted.isinf(), wanted, level)
        return self.path.time(-2 * level)

    def drift(self, t: Tensor | float) -> Tensor:
        return self.path.drift(t)

    def diffusion(self, t: Tensor | float) -> Tensor:
        t = float64(t).clamp(_EDGE, 1 - _EDGE)
        return self.sigma(t) * (-self.log_snr_derivative(t)).sqrt()

    def alpha_derivative(self, t: Tensor | float) -> Tensor:
        return self.path.alpha_derivative(t)

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        t = float64(t).clamp(_EDGE, 1 - _EDGE)
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        alpha_slope, sigma_slope = self.path.alpha_derivative(t), self.path.sigma_derivative(t)
        square = self.motion**2
        return (sigma_slope * (2 * sigma + square * alpha) + square * sigma * alpha_slope) / (2 * self.sigma(t))

    def _motion(self, like: Tensor) -> Tensor:
        return 2 * torch.full_like(like, self.motion).log()
