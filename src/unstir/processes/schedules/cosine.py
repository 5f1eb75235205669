"""The cosine schedule, shifted by resolution where asked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.processes.schedules.base import Schedule, check_scale, float64

__all__ = ["CosineSchedule"]


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    r"""alpha falls as a quarter of a cosine; ``shift`` moves the log-SNR, as larger pictures need.

    :math:`\lambda_t = -2\log\tan(\pi t/2) + s`. Larger pictures average more pixels, so the same noise
    hides less of them: for pictures of side d take s = 2 log(64/d) (``CosineSchedule.for_resolution``).

    Reference: Nichol and Dhariwal, Improved DDPM (2021), eq. 17; Hoogeboom, Heek, Salimans, Simple
    diffusion (2023), section 3.1.
    """

    shift: float = 0.0
    scale: str = "vp"  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_scale(self.scale)

    @classmethod
    def for_resolution(cls, resolution: int, reference: int = 64) -> "CosineSchedule":
        """The shifted schedule for pictures of this many pixels a side."""
        return cls(shift=2 * math.log(reference / resolution))

    @classmethod
    def examples(cls) -> Mapping[str, Schedule]:
        return {**super().examples(), "shifted": cls(shift=-1.5)}

    def log_snr(self, t: Tensor | float) -> Tensor:
        angle = math.pi / 2 * float64(t).clamp(0, 1)
        # the tangent of the nearer end, so that both infinities are reached with all digits
        late = (math.pi / 2 * (1 - float64(t).clamp(0, 1))).tan()
        return self.shift + 2 * late.log().where(angle > math.pi / 4, -angle.tan().log())

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        return -2 * math.pi / (math.pi * torch.minimum(t, 1 - t)).sin()

    def time(self, log_snr: Tensor | float) -> Tensor:
        return 2 / math.pi * ((self.shift - float64(log_snr)) / 2).exp().atan()
