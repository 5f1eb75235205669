"""The Laplace schedule: training time concentrated where the signal equals the noise."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule, check_scale, float64

__all__ = ["LaplaceSchedule"]


@dataclass(frozen=True)
class LaplaceSchedule(Schedule):
    r"""Even times have Laplace-distributed log-SNR around ``mean`` with scale ``spread``.

    :math:`\lambda_t = \mu + b\,\mathrm{sgn}(\tfrac12 - t)\cdot(-\log(1 - 2|t - \tfrac12|))`.

    Reference: Hang and Gu, Improved noise schedule for diffusion training (2024), table 1.
    """

    mean: float = 0.0
    spread: float = 0.5
    scale: str = "vp"  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if self.spread <= 0:
            raise InputError(f"the spread of log-SNR must be positive; seen {self.spread}")

    @classmethod
    def examples(cls) -> Mapping[str, Schedule]:
        return {**super().examples(), "wide": cls(mean=1.0, spread=1.5)}

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        return self.mean + self.spread * ((2 * (1 - t)).log().where(t > 0.5, -(2 * t).log()))

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        return -self.spread / (1 - t).where(t > 0.5, t)

    def time(self, log_snr: Tensor | float) -> Tensor:
        deviation = (float64(log_snr) - self.mean) / self.spread
        tail = (-deviation.abs()).exp() / 2
        return tail.where(deviation > 0, 1 - tail)
