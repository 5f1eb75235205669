r"""Geometric Brownian motion, :math:`dX = \mu X\,dt + \sigma X\,dW`."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.stochastic_process import StochasticProcess, as_start, check_number, tensors_of
from unstir.physics.units import dimensions

__all__ = ["GeometricBrownianMotion"]


@dimensions(growth="1/time", volatility="1/time**0.5")
@dataclass(frozen=True, eq=False)
class GeometricBrownianMotion(StochasticProcess):
    r"""Geometric Brownian motion, dX = mu X dt + sigma X dW: noise in proportion to what is there; exact law and paths.

    ``growth`` is mu (1/time), ``volatility`` sigma (1/time^½); X is positive, in any unit.

    :math:`\log X_t \sim N(\log x_0 + (\mu - \sigma^2/2) t, \sigma^2 t)`. There is no stationary law.

    Reference: Samuelson, Rational theory of warrant pricing, Industrial Management Review 6 (1965) 13; Øksendal,
    Stochastic differential equations (2003), chapter 5.1.
    """

    growth: float | int
    volatility: float | int

    def __post_init__(self) -> None:
        check_number(self.growth, "growth")
        check_number(self.volatility, "volatility", 0, strict=True)

    def drift_at(self, x: Tensor, t: Tensor) -> Tensor:
        """Growth * x."""
        return self.growth * x

    def diffusion_at(self, x: Tensor, t: Tensor) -> Tensor:
        """Volatility * x."""
        return self.volatility * x

    def diffusion_derivative_at(self, x: Tensor, t: Tensor) -> Tensor:
        """Volatility^2 * x."""
        return self.volatility**2 * x

    def exact_step(self, x: Tensor, t: Tensor, duration: float, noise: Tensor) -> Tensor:
        """The solution along the Brownian motion whose increment is sqrt(duration) * noise: exact path by path."""
        exponent = (self.growth - self.volatility**2 / 2) * duration + self.volatility * math.sqrt(duration) * noise
        return x * exponent.exp()

    @dimensions("value", x0="value", times="time")
    def simulate(self, x0: Any, times: Any, seeds: Seeds, method: str = "exact", refinements: int = 0) -> Tensor:
        """Paths at the times, (paths, len(times), *shape); see ``ItoProcess.simulate``."""
        if not bool((as_start(x0, seeds) > 0).all()):
            raise InputError("geometric Brownian motion starts from positive values; x0 has others")
        return super().simulate(x0, times, seeds, method, refinements)

    @dimensions("value", x0="value", duration="time")
    def mean(self, x0: Any, duration: Any) -> Tensor:
        """x0 exp(mu t)."""
        x0, duration = tensors_of(x0, duration)
        return x0 * torch.exp(self.growth * duration)

    @dimensions("value**2", x0="value", duration="time")
    def variance(self, x0: Any, duration: Any) -> Tensor:
        """x0^2 exp(2 mu t) (exp(sigma^2 t) - 1)."""
        x0, duration = tensors_of(x0, duration)
        return x0.square() * torch.exp(2 * self.growth * duration) * torch.expm1(self.volatility**2 * duration)

    @dimensions("1", x="value", x0="value", duration="time")
    def cdf(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """P(X(duration) <= x | X(0) = x0)."""
        return torch.special.ndtr(self._standardised(x, x0, duration)[0])

    @dimensions("1/value", x="value", x0="value", duration="time")
    def density(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """The log-normal density of X(duration) given X(0) = x0; zero where x is not positive."""
        return self._log_density(x, x0, duration).exp()

    @dimensions("1", x="value", x0="value", duration="time")
    def log_density(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """The logarithm of the density's number in base units."""
        return self._log_density(x, x0, duration)

    def _log_density(self, x: Any, x0: Any, duration: Any) -> Tensor:
        away, log_x, variance = self._standardised(x, x0, duration)
        inside = -away.square() / 2 - log_x - (2 * math.pi * variance).log() / 2
        return torch.where(log_x > -math.inf, inside, -math.inf)

    def _standardised(self, x: Any, x0: Any, duration: Any) -> tuple[Tensor, Tensor, Tensor]:
        """How many deviations log x lies from its mean; log x; the variance of log X."""
        x, x0, duration = tensors_of(x, x0, duration)
        if not bool((x0 > 0).all()):
            raise InputError("geometric Brownian motion starts from positive values; x0 has others")
        variance = self.volatility**2 * duration
        log_x = x.clamp(min=0).log()
        centre = x0.log() + self.growth * duration - variance / 2
        return (log_x - centre) / variance.sqrt(), log_x, variance
