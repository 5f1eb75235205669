"""The sigmoid schedule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule, check_scale, float64

__all__ = ["SigmoidSchedule"]


@dataclass(frozen=True)
class SigmoidSchedule(Schedule):
    r"""alpha^2 falls along a piece of a logistic curve from ``start`` to ``end``, of width ``temperature``.

    :math:`\alpha_t^2 = \frac{S(end) - S(u)}{S(end) - S(start)},\ u = start + (end - start) t`, with
    S the logistic function of its argument divided by the temperature.

    Reference: Jabri, Fleet, Chen, Scalable adaptive computation for iterative generation (2022), algorithm 2.
    """

    start: float = -3.0
    end: float = 3.0
    temperature: float = 1.0
    scale: str = "vp"  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if self.start >= self.end or self.temperature <= 0:
            raise InputError(f"start < end and temperature > 0 are needed; seen {self}")
        if max(abs(self.start), abs(self.end), self.end - self.start) > 600 * self.temperature:
            raise InputError(f"start and end must lie within 300 temperatures of zero; seen {self}")

    @classmethod
    def examples(cls) -> Mapping[str, Schedule]:
        return {
            **super().examples(),
            "one-sided": cls(start=0.0, end=3.0, temperature=0.7),
            "steep": cls(temperature=0.1),
        }

    def log_snr(self, t: Tensor | float) -> Tensor:
        # S(end) - S(u) over S(u) - S(start), as products of hyperbolic functions that keep their digits
        t = float64(t)
        width = (self.end - self.start) / (2 * self.temperature)
        low, high = self.start / (2 * self.temperature), self.end / (2 * self.temperature)
        rest = (width * (1 - t)).sinh().log() - (width * t).sinh().log()
        return rest + math.log(math.cosh(low)) - math.log(math.cosh(high))

    def log_snr_derivative(self, t: Tensor | float) -> Tensor:
        t = float64(t)
        width = (self.end - self.start) / (2 * self.temperature)
        return -width * (1 / (width * (1 - t)).tanh() + 1 / (width * t).tanh())

    def time(self, log_snr: Tensor | float) -> Tensor:
        # sinh(w(1-t))/sinh(wt) = e^y gives e^(2wt) = (e^y + e^w)/(e^y + e^-w)
        width = (self.end - self.start) / (2 * self.temperature)
        low, high = self.start / (2 * self.temperature), self.end / (2 * self.temperature)
        ratio = (float64(log_snr) - math.log(math.cosh(low)) + math.log(math.cosh(high))).exp()
        return (torch.log1p(2 * math.sinh(width) / (ratio + math.exp(-width))) / (2 * width)).clamp(0, 1)
