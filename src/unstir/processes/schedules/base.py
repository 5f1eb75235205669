r"""What a noise schedule is: a log-SNR curve, and a convention of scale.

The Gaussian process is :math:`x_t = \alpha_t x_0 + \sigma_t \epsilon` with time running from 0
(clean) to 1 (noise). A schedule gives :math:`\lambda_t = \log(\alpha_t^2/\sigma_t^2)`; how the pair
is scaled is a separate choice, and everything else follows from the two:

============ ================================ ==========================================
scale        constraint                       :math:`d\log\alpha/d\lambda`
============ ================================ ==========================================
``vp``       :math:`\alpha^2+\sigma^2=1`      :math:`\sigma^2/2`
``ve``       :math:`\alpha=1`                 0
``flow``     :math:`\alpha+\sigma=1`          :math:`\sigma/2`
``sub-vp``   :math:`\alpha^2+\sigma=1`        :math:`1/(2\sqrt{1+4\alpha^2/\sigma^2})`
============ ================================ ==========================================

The forward SDE is :math:`dx = f x\,dt + g\,dW` with :math:`f = d\log\alpha/dt` and
:math:`g^2 = -\sigma^2\,d\lambda/dt`. All values are computed in float64.

Reference: Kingma, Salimans, Poole, Ho, Variational diffusion models (2021), section 3; Song et al.,
Score-based generative modeling through SDEs (2021), section 3.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from unstir.core.errors import unknown

SCALES = ("vp", "ve", "flow", "sub-vp")
_EDGE = 1e-12  # coefficients that are limits at the two ends are evaluated this far inside


def float64(value: Tensor | float) -> Tensor:
    """The value as a float64 tensor, on its device."""
    return torch.as_tensor(value, dtype=torch.float64)


@dataclass(frozen=True)
class Schedule(ABC):
    """Base of all schedules: subclasses give the log-SNR curve; times and results are float64 of any shape."""

    @property
    def scale(self) -> str:
        """One of ``SCALES``; a schedule that lets its user choose has a field of this name."""
        return "vp"

    @abstractmethod
    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(alpha^2 / sigma^2) at time t: strictly falling, +inf at t = 0."""

    @abstractmethod
    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        """d log-SNR / dt, negative."""

    @abstractmethod
    def time(self, log_snr: Tensor | float) -> Tensor:
        """The time at which the log-SNR has this value: the inverse of ``log_snr``, clipped to [0, 1]."""

    def alpha(self, t: Tensor | float) -> Tensor:
        """The factor of the data at time t."""
        return alpha_at(self.scale, self.log_snr(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        """The standard deviation of the noise at time t."""
        return sigma_at(self.scale, self.log_snr(t))

    def drift(self, t: Tensor | float) -> Tensor:
        """f(t) of the forward SDE dx = f x dt + g dW, which is d log(alpha)/dt."""
        t = float64(t).clamp(_EDGE, 1 - _EDGE)
        return _log_alpha_slope(self.scale, self.log_snr(t)) * self.log_snr_derivative(t)

    def diffusion(self, t: Tensor | float) -> Tensor:
        """g(t) of the forward SDE dx = f x dt + g dW."""
        t = float64(t).clamp(_EDGE, 1 - _EDGE)
        return self.sigma(t) * (-self.log_snr_derivative(t)).sqrt()

    def alpha_derivative(self, t: Tensor | float) -> Tensor:
        """d alpha / dt."""
        t = float64(t).clamp(_EDGE, 1 - _EDGE)
        return self.alpha(t) * self.drift(t)

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        """d sigma / dt."""
        t = float64(t).clamp(_EDGE, 1 - _EDGE)
        return self.sigma(t) * _log_sigma_slope(self.scale, self.log_snr(t)) * self.log_snr_derivative(t)

    def time_at_sigma(self, ratio: Tensor | float) -> Tensor:
        """The time at which sigma/alpha, the noise in units of the data, has this value."""
        return self.time(-2 * float64(ratio).log())

    @classmethod
    def examples(cls) -> Mapping[str, "Schedule"]:
        """Members of the family on which its claims are measured, by name: one in each scale that it offers."""
        if any(option.name == "scale" for option in fields(cls)):
            return {scale: cls(scale=scale) for scale in SCALES}  # type: ignore[call-arg]
        return {"default": cls()}


def check_scale(scale: str) -> None:
    """Refuses an unknown scale."""
    if scale not in SCALES:
        raise unknown("scale of a schedule", scale, SCALES)


def alpha_at(scale: str, log_snr: Tensor) -> Tensor:
    """alpha for a log-SNR, exact at both infinities."""
    if scale == "vp":
        return log_snr.sigmoid().sqrt()
    if scale == "ve":
        return torch.ones_like(log_snr)
    if scale == "flow":
        return (log_snr / 2).sigmoid()
    ratio = (-log_snr / 2).exp()
    return 2 / ((ratio.square() + 4).sqrt() + ratio)


def sigma_at(scale: str, log_snr: Tensor) -> Tensor:
    """sigma for a log-SNR, exact at both infinities (for ``ve`` it is unbounded)."""
    if scale == "vp":
        return (-log_snr).sigmoid().sqrt()
    if scale == "ve":
        return (-log_snr / 2).exp()
    if scale == "flow":
        return (-log_snr / 2).sigmoid()
    return 2 / ((1 + 4 * log_snr.exp()).sqrt() + 1)


def _log_alpha_slope(scale: str, log_snr: Tensor) -> Tensor:
    if scale == "vp":
        return (-log_snr).sigmoid() / 2
    if scale == "ve":
        return torch.zeros_like(log_snr)
    if scale == "flow":
        return (-log_snr / 2).sigmoid() / 2
    return 1 / (2 * (1 + 4 * log_snr.exp()).sqrt())


def _log_sigma_slope(scale: str, log_snr: Tensor) -> Tensor:
    """The slope of log alpha less one half, without the cancellation where sigma hardly changes."""
    if scale == "vp":
        return -log_snr.sigmoid() / 2
    if scale == "ve":
        return torch.full_like(log_snr, -0.5)
    if scale == "flow":
        return -(log_snr / 2).sigmoid() / 2
    ratio = (-log_snr / 2).exp()
    root = (ratio.square() + 4).sqrt()
    return -2 / (root * (ratio + root))
