"""The straight line between data and noise: rectified flow and flow matching."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule, check_scale, float64

__all__ = ["RectifiedFlowSchedule"]


@dataclass(frozen=True)
class RectifiedFlowSchedule(Schedule):
    r"""The straight line from data to noise, with a shift of time.

    :math:`\alpha_t = 1 - t,\ \sigma_t = t`. ``shift`` s > 1 spends more of the time at high noise, as large
    pictures need: :math:`t \to s t/(1+(s-1)t)`, which lowers the log-SNR by 2 log s.

    Reference: Liu, Gong, Liu, Flow straight and fast (2022); Lipman et al., Flow matching (2023), eq. 22;
    Esser et al., Scaling rectified flow transformers (2024), eq. 23.
    """

    shift: float = 1.0
    scale: str = "flow"  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if self.shift <= 0:
            raise InputError(f"the shift of time must be positive; seen {self.shift}")

    @classmethod
    def examples(cls) -> Mapping[str, Schedule]:
        return {**super().examples(), "shifted": cls(shift=3.0)}

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        return 2 * ((1 - t).log() - t.log() - math.log(self.shift))

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        return -2 / (t * (1 - t))

    def time(self, log_snr: Tensor | float) -> Tensor:
        return (-float64(log_snr) / 2 - math.log(self.shift)).sigmoid()
