r"""The Ornstein–Uhlenbeck process, :math:`dX = k (m - X)\,dt + \sigma\,dW`."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.physics.stochastic_process import NormalProcess, check_number, tensors_of
from unstir.physics.units import dimensions

__all__ = ["OrnsteinUhlenbeck"]


@dimensions(rate="1/time", mean="value", sigma="value/time**0.5")
@dataclass(frozen=True, eq=False)
class OrnsteinUhlenbeck(NormalProcess):
    r"""Ornstein–Uhlenbeck, dX = rate (mean - X) dt + sigma dW: a particle on a spring; exact laws and paths.

    ``rate`` (1/time) is how fast the start is forgotten, ``mean`` (the unit of X) where the spring pulls, ``sigma``
    the noise (unit of X/time^½). Of components that are independent; laws are those of one, elementwise.

    :math:`X_t \sim N(m + (x_0 - m) e^{-kt}, \frac{\sigma^2}{2k}(1 - e^{-2kt}))`, stationary
    :math:`N(m, \sigma^2/2k)`. With k = 1/2, sigma = 1 and a time that runs as the integral of beta it is the
    variance-preserving forward process of diffusion models.

    With units, ``mean`` must carry that of X (0 m, say), since sigma alone does not tell it.

    Reference: Uhlenbeck, Ornstein, On the theory of the Brownian motion, Physical Review 36 (1930) 823.
    """

    rate: float | int
    mean: float | int = 0.0
    sigma: float | int = 1.0

    def __post_init__(self) -> None:
        check_number(self.rate, "rate", 0, strict=True)
        check_number(self.mean, "mean")
        check_number(self.sigma, "sigma", 0, strict=True)

    def drift_at(self, x: Tensor, t: Tensor) -> Tensor:
        """Rate (mean - x)."""
        return self.rate * (self.mean - x)

    def diffusion_at(self, x: Tensor, t: Tensor) -> Tensor:
        """Sigma, everywhere."""
        return torch.full_like(x, self.sigma)

    def moments(self, x0: Tensor, t: Tensor, duration: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of X(duration)."""
        mean = self.mean + (x0 - self.mean) * torch.exp(-self.rate * duration)
        return mean, -torch.expm1(-2 * self.rate * duration) * (self.sigma**2 / (2 * self.rate))

    @dimensions("value", x0="value", times="time")
    def simulate(self, x0: Any, times: Any, seeds: Seeds, method: str = "exact", refinements: int = 0) -> Tensor:
        """Paths at the times, (paths, len(times), *shape); see ``ItoProcess.simulate``."""
        return super().simulate(x0, times, seeds, method, refinements)

    @dimensions("value", x0="value", duration="time")
    def transition_mean(self, x0: Any, duration: Any) -> Tensor:
        """E[X(duration) | X(0) = x0]."""
        x0, duration = tensors_of(x0, duration)
        return self.moments(x0, duration, duration)[0]

    @dimensions("value**2", duration="time")
    def variance(self, duration: Any) -> Tensor:
        """Var[X(duration) | X(0)], the same wherever it starts."""
        (duration,) = tensors_of(duration)
        return self.moments(duration, duration, duration)[1]

    @dimensions("1", x="value", x0="value", duration="time")
    def cdf(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """P(X(duration) <= x | X(0) = x0)."""
        return self.normal_cdf(x, x0, duration)

    @dimensions("1/value", x="value", x0="value", duration="time")
    def density(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """The density of X(duration) given X(0) = x0."""
        return self.normal_log_density(x, x0, duration).exp()

    @dimensions("1", x="value", x0="value", duration="time")
    def log_density(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """The logarithm of the density's number in base units."""
        return self.normal_log_density(x, x0, duration)

    @property
    @dimensions("value**2")
    def stationary_variance(self) -> float:
        """sigma^2/(2 rate)."""
        return self.sigma**2 / (2 * self.rate)

    @dimensions("1/value", x="value")
    def stationary_density(self, x: Any) -> Tensor:
        """The density that the process forgets its start for."""
        return self.normal_log_density(x, self.mean, math.inf).exp()

    @dimensions("1", x="value")
    def stationary_cdf(self, x: Any) -> Tensor:
        """The distribution function of the stationary law."""
        return self.normal_cdf(x, self.mean, math.inf)

    @dimensions("value**2", lag="time")
    def autocovariance(self, lag: Any) -> Tensor:
        """Cov(X(t), X(t + lag)) of the stationary process: its variance times exp(-rate |lag|)."""
        return torch.exp(-self.rate * tensors_of(lag)[0].abs()) * (self.sigma**2 / (2 * self.rate))

    @dimensions("value")
    def draw_stationary(self, seeds: Seeds, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws of the stationary law, (paths, *shape), to start ``simulate`` from."""
        normals = seeds.at("stationary").normal(shape, torch.float64)
        return self.mean + math.sqrt(self.sigma**2 / (2 * self.rate)) * normals
