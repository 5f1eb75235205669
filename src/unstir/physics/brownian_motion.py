r"""Brownian motion with drift, :math:`dX = \mu\,dt + \sigma\,dW`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.stochastic_process import NormalProcess, check_number, tensors_of
from unstir.physics.units import dimensions

__all__ = ["BrownianMotion"]


@dimensions(sigma="length/time**0.5", drift="length/time")
@dataclass(frozen=True, eq=False)
class BrownianMotion(NormalProcess):
    r"""Brownian motion with drift, dX = mu dt + sigma dW: exact law, exact paths, first passage.

    ``sigma`` (length/time^½) is a number; with the diffusivity :math:`D = \sigma^2/2` of the heat equation use
    ``BrownianMotion.of_diffusivity``. ``drift`` (length/time) is a number, or one per component. The components of
    x are independent; laws and densities are those of one component, elementwise on tensors of any shape.

    :math:`X_t \sim N(x_0 + \mu t, \sigma^2 t)`; the first passage to a level at the distance a has the density
    :math:`|a| / \sqrt{2\pi\sigma^2 t^3}\,\exp(-(a - \mu t)^2 / 2\sigma^2 t)`.

    Reference: Einstein, Über die von der molekularkinetischen Theorie der Wärme geforderte Bewegung (1905); first
    passage: Schrödinger, Physikalische Zeitschrift 16 (1915) 289.
    """

    sigma: float | int
    drift: Any = 0.0

    def __post_init__(self) -> None:
        check_number(self.sigma, "sigma", 0, strict=True)
        try:
            (drift,) = tensors_of(self.drift)
        except (TypeError, ValueError) as problem:
            raise InputError(f"the drift is a number, or one per component; seen {self.drift!r}") from problem
        if drift.ndim > 1 or not bool(drift.isfinite().all()):
            raise InputError(f"the drift is a finite number, or one per component; seen {self.drift!r}")

    @classmethod
    def of_diffusivity(cls, diffusivity: Any, drift: Any = 0.0) -> "BrownianMotion":
        """The motion whose density obeys the heat equation with this diffusivity (length^2/time), sigma^2 = 2 D."""
        if not diffusivity > 0:
            raise InputError(f"the diffusivity must be above 0; seen {diffusivity}")
        return cls((2 * diffusivity) ** 0.5, drift)

    @property
    @dimensions("length**2/time")
    def diffusivity(self) -> float:
        """D = sigma^2/2, length^2/time."""
        return self.sigma**2 / 2

    def drift_at(self, x: Tensor, t: Tensor) -> Tensor:
        """The drift, everywhere."""
        return self._drift(x).expand_as(x)

    def diffusion_at(self, x: Tensor, t: Tensor) -> Tensor:
        """Sigma, everywhere."""
        return torch.full_like(x, self.sigma)

    def moments(self, x0: Tensor, t: Tensor, duration: Tensor) -> tuple[Tensor, Tensor]:
        """x0 + mu duration and sigma^2 duration."""
        return x0 + self._drift(x0) * duration, self.sigma**2 * duration

    def _drift(self, x: Tensor) -> Tensor:
        drift = torch.as_tensor(self.drift, dtype=x.dtype, device=x.device)
        if drift.ndim and (not x.ndim or x.shape[-1] != len(drift)):
            raise InputError(f"the drift has {len(drift)} components, the state the shape {tuple(x.shape)}")
        return drift

    @dimensions("length", x0="length", times="time")
    def simulate(self, x0: Any, times: Any, seeds: Seeds, method: str = "exact", refinements: int = 0) -> Tensor:
        """Paths at the times, (paths, len(times), *shape); see ``ItoProcess.simulate``."""
        return super().simulate(x0, times, seeds, method, refinements)

    @dimensions("length", x0="length", duration="time")
    def mean(self, x0: Any, duration: Any) -> Tensor:
        """x0 + mu t."""
        x0, duration = tensors_of(x0, duration)
        return self.moments(x0, duration, duration)[0]

    @dimensions("length**2", duration="time")
    def variance(self, duration: Any) -> Tensor:
        """Sigma^2 t, of one component."""
        return self.sigma**2 * tensors_of(duration)[0]

    @dimensions("1", x="length", x0="length", duration="time")
    def cdf(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """P(X(duration) <= x | X(0) = x0)."""
        return self.normal_cdf(x, x0, duration)

    @dimensions("1/length", x="length", x0="length", duration="time")
    def density(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """The density of X(duration) given X(0) = x0: the heat kernel, carried along by the drift."""
        return self.normal_log_density(x, x0, duration).exp()

    @dimensions("1", x="length", x0="length", duration="time")
    def log_density(self, x: Any, x0: Any, duration: Any) -> Tensor:
        """The logarithm of the density's number in base units."""
        return self.normal_log_density(x, x0, duration)

    @dimensions("1/time", level="length", times="time", x0="length")
    def first_passage_density(self, level: Any, times: Any, x0: Any = 0.0) -> Tensor:
        """The density of the time when a path first reaches ``level`` (inverse Gaussian); its total may be below 1."""
        away, times, drift = self._distance(level, times, x0)
        exponent = -(away - drift * times).square() / (2 * self.sigma**2 * times)
        return away / (self.sigma * (2 * torch.pi * times**3).sqrt()) * exponent.exp()

    @dimensions("1", level="length", times="time", x0="length")
    def first_passage_cdf(self, level: Any, times: Any, x0: Any = 0.0) -> Tensor:
        """The chance that a path has reached ``level`` by each of the times."""
        away, times, drift = self._distance(level, times, x0)
        deviation = self.sigma * times.sqrt()
        beyond = torch.special.ndtr((drift * times - away) / deviation)
        # the mirrored path's share: a huge factor times a tiny tail, so in logarithms
        tail = torch.special.log_ndtr(-(away + drift * times) / deviation)
        return beyond + (2 * drift * away / self.sigma**2 + tail).exp()

    def _distance(self, level: Any, times: Any, x0: Any) -> tuple[Tensor, Tensor, Tensor]:
        """The distance of the level, the times, and the drift towards it."""
        level, times, x0, drift = tensors_of(level, times, x0, self.drift)
        if drift.ndim:
            raise InputError("first passage is that of one component: give the drift as one number")
        if not bool((times > 0).all()):
            raise InputError("first passage is asked at times above 0")
        away = level - x0
        return away.abs(), times, drift * away.sign()
