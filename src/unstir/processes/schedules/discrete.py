"""Discrete-time DDPM betas as one view of a continuous schedule, and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import softplus

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule, float64

__all__ = ["DiscreteSchedule"]


@dataclass(frozen=True)
class DiscreteSchedule(Schedule):
    r"""The schedule of a list of DDPM betas; step k of K is the time k/K.

    At those times :math:`\alpha^2 = \prod_{j\le k}(1-\beta_j)` exactly; in between the noise rate is
    constant, i.e. :math:`\log\alpha^2` is linear in time. This is how networks and results of
    discrete-time DDPM are read.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), eq. 4.
    """

    betas: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(map(float, self.betas)))
        if not self.betas or not all(0 < beta < 1 for beta in self.betas):
            raise InputError("betas must be a non-empty list of numbers between 0 and 1, both excluded")

    @classmethod
    def linear(cls, steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> "DiscreteSchedule":
        """DDPM's own betas, linear from ``first`` to ``last``."""
        return cls(tuple(torch.linspace(first, last, steps, dtype=torch.float64).tolist()))

    @classmethod
    def cosine(cls, steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> "DiscreteSchedule":
        """The betas of Improved DDPM (Nichol and Dhariwal 2021, eq. 17)."""
        angle = (torch.arange(steps + 1, dtype=torch.float64) / steps + offset) / (1 + offset) * math.pi / 2
        cumulative = angle.cos().square()
        return cls(tuple((1 - cumulative[1:] / cumulative[:-1]).clamp(max=largest).tolist()))

    @classmethod
    def examples(cls) -> Mapping[str, Schedule]:
        return {"linear betas": cls.linear(50, 2e-3, 0.35), "cosine betas": cls.cosine(50)}

    @cached_property
    def _integral(self) -> Tensor:
        rates = -torch.log1p(-torch.tensor(self.betas, dtype=torch.float64))
        return torch.cat((torch.zeros(1, dtype=torch.float64), rates.cumsum(0)))

    def _rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The integrated noise rate at t, and the rate itself."""
        nodes = self._integral.to(t.device)
        position = t.clamp(0, 1) * len(self.betas)
        step = position.floor().long().clamp(max=len(self.betas) - 1)
        rate = nodes[step + 1] - nodes[step]
        return nodes[step] + (position - step) * rate, rate * len(self.betas)

    def log_snr(self, t: Tensor | float) -> Tensor:
        return -torch.expm1(self._rates(float64(t))[0]).log()

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        integral, rate = self._rates(float64(t))
        return rate / torch.expm1(-integral)

    def time(self, log_snr: Tensor | float) -> Tensor:
        integral = softplus(-float64(log_snr), threshold=50)
        nodes = self._integral.to(integral.device)
        step = (torch.searchsorted(nodes, integral.contiguous(), right=True) - 1).clamp(0, len(self.betas) - 1)
        share = (integral - nodes[step]) / (nodes[step + 1] - nodes[step])
        return ((step + share) / len(self.betas)).clamp(0, 1)


def betas_of(schedule: Schedule, steps: int) -> Tensor:
    r"""The betas of a variance-preserving schedule in ``steps`` discrete steps, shape (steps,).

    :math:`\beta_k = 1 - \alpha^2(k/K)/\alpha^2((k-1)/K)`, without cancellation for fine steps.
    """
    if schedule.scale != "vp":
        raise InputError(f"only a variance-preserving schedule has betas; this one has the scale {schedule.scale!r}")
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    log_alpha_squared = -softplus(-schedule.log_snr(times), threshold=50)
    return -torch.expm1(log_alpha_squared[1:] - log_alpha_squared[:-1])
