"""Stable laws: the symmetric one of a particle that leaps, and the one-sided one of a particle that waits.

Densities and distribution functions are integrals by the trapezoidal rule in variables in which the integrand falls
double-exponentially, so that the error falls exponentially with the number of nodes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.units import dimensions

__all__ = ["OneSidedStableLaw", "StableLaw"]

_DIGITS = 38.0  # exp(-38) is beyond the last digit
_FAR = 1e3  # of |x|^order; from there on fifteen terms of the tail's series are exact


@dimensions(scale="length")
@dataclass(frozen=True)
class StableLaw:
    """Symmetric stable law of one coordinate: density, distribution function and draws.

    Its characteristic function is ``exp(-|scale k|^order)``: order 2 is normal with variance 2 scale², order 1 is
    Cauchy's law; below 2 the tails fall as ``|x|^-(1+order)`` and there is no variance.

    The Fourier integral is taken along a ray in the complex plane, on which it no longer oscillates for long; far
    in the tail it gives way to the tail's own series. The density's error is below 1e-12 of its peak everywhere
    and, but for orders within 1e-3 of 2, below 1e-10 of its own value.

    Arguments: ``order`` in [0.1, 2]; ``scale`` positive, a length.

    Raises InputError for other orders and scales.

    Reference: Zolotarev, One-dimensional stable distributions (1986), chapter 2; Chambers, Mallows, Stuck,
    A method for simulating stable random variables (J. Am. Stat. Assoc. 1976).
    """

    order: float | int
    scale: Any = 1.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.order <= 2:
            raise InputError(f"StableLaw: the order lies in [0.1, 2]; seen {self.order}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"StableLaw: the scale must be a positive length; seen {self.scale}")

    @dimensions(returns="length**-1", x="length")
    def density(self, x: Any) -> Any:
        """The density at ``x`` (any shape, a length), per length."""
        return _mapped(lambda distance: self._density(np.abs(distance)) / self.scale, np.asarray(x) / self.scale)

    @dimensions(returns="1", x="length")
    def cdf(self, x: Any) -> Any:
        """The probability of at most ``x`` (any shape, a length); its error is below 1e-12."""

        def values(distance: np.ndarray) -> np.ndarray:
            beyond = self._beyond(np.abs(distance))
            return np.where(distance < 0, beyond, 1 - beyond)

        return _mapped(values, np.asarray(x) / self.scale)

    @dimensions(returns="length")
    def sample(self, seeds: Seeds, count: int = 1) -> Tensor:
        """Independent draws, float64 of shape (batch, count)."""
        angle = (seeds.at("stable", "angle").uniform((count,)) - 0.5) * math.pi
        wait = -seeds.at("stable", "wait").uniform((count,)).log()
        order = float(self.order)
        drawn = torch.sin(order * angle) / torch.cos(angle) ** (1 / order)
        return self.scale * drawn * (torch.cos((1 - order) * angle) / wait) ** ((1 - order) / order)

    def _density(self, x: np.ndarray) -> np.ndarray:
        wave, weights, _ = self._ray()
        weights = weights * wave / math.pi
        result = np.empty_like(x)
        far = x**self.order > _FAR
        result[~far] = _summed(lambda part: np.exp(1j * part[:, None] * wave) @ weights, x[~far]).real
        result[far] = self._tail(x[far], 1)
        return result

    def _beyond(self, x: np.ndarray) -> np.ndarray:
        """The probability of more than x >= 0; the ray leaves out a small arc round a pole, worth its angle."""
        wave, weights, angle = self._ray()
        result = np.empty_like(x)
        far = x**self.order > _FAR
        inner = _summed(lambda part: np.exp(1j * part[:, None] * wave) @ weights, x[~far]).imag
        result[~far] = 0.5 - (angle + inner) / math.pi
        result[far] = self._tail(x[far], 0)
        return result

    def _ray(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The wave numbers k on a ray midway in the sector where exp(-k^order) decays; its integral over log k."""
        angle = math.pi / max(4 * self.order, 2.0)
        step = 2 * math.pi * 0.9 * angle / _DIGITS
        start = -_DIGITS / min(self.order, 1.0) - math.log(_FAR) / self.order
        wave = np.exp(np.arange(start, math.log(100) / self.order + step, step) + 1j * angle)
        return wave, step * np.exp(-(wave**self.order)), angle

    def _tail(self, x: np.ndarray, derivative: int) -> np.ndarray:
        powers = np.arange(1, 16)[:, None]
        sizes = special.gammaln(self.order * powers + derivative) - special.gammaln(powers + 1)
        signs = -((-1.0) ** powers) * np.sin(np.pi * self.order / 2 * powers)
        return (signs * np.exp(sizes) * x ** (-self.order * powers - derivative)).sum(0) / math.pi


@dataclass(frozen=True)
class OneSidedStableLaw:
    """One-sided stable law, of the time that a subdiffusing particle has waited: density, distribution function, draws.

    A positive number S with Laplace transform ``E exp(-s S) = exp(-s^order)``; S, and its inverse power
    ``S^-order``, whose density is Mainardi's function, are pure numbers. All values have small relative errors
    (1e-11), also deep in the tails, for the integrand is positive.

    Arguments: ``order`` in (0, 1); densities and distribution functions up to 0.99, draws for all.

    Raises InputError for other orders.

    Reference: Kanter, Stable densities under change of scale and total variation inequalities (Ann. Probab.
    1975); Mainardi, Mura, Pagnini, The M-Wright function in time-fractional diffusion processes (2010).
    """

    order: float | int

    def __post_init__(self) -> None:
        if not 0 < self.order < 1:
            raise InputError(f"OneSidedStableLaw: the order lies in (0, 1); seen {self.order}")

    @dimensions(returns="1", x="1")
    def density(self, x: Any) -> Any:
        """The density at ``x`` (any shape, a pure number); zero where x is not positive."""
        return self._at(x, lambda y: self.order * y ** (-1 - self.order) * self.mainardi(y**-self.order))

    @dimensions(returns="1", x="1")
    def cdf(self, x: Any) -> Any:
        """The probability of at most ``x`` (any shape, a pure number)."""
        return self._at(x, lambda y: self.mainardi_survival(y**-self.order))

    @dimensions(returns="1", z="1")
    def mainardi(self, z: Any) -> Any:
        """Mainardi's function M(z), the density of ``S^-order``, for z >= 0; any shape, a pure number."""
        return _mapped(lambda values: self._integral(values, derivative=True), _not_negative(z))

    @dimensions(returns="1", z="1")
    def mainardi_survival(self, z: Any) -> Any:
        """The probability that ``S^-order`` exceeds z >= 0, the integral of M from z on."""
        return _mapped(lambda values: self._integral(values, derivative=False), _not_negative(z))

    def sample(self, seeds: Seeds, count: int = 1) -> Tensor:
        """Independent draws, float64 of shape (batch, count)."""
        below = seeds.at("one-sided", "angle").uniform((count,)) * math.pi
        wait = -seeds.at("one-sided", "wait").uniform((count,)).log()
        order, rest = self.order, 1 - self.order
        # in logarithms, for near order one the powers leave the floats
        size = order * torch.sin(order * below).log() + rest * torch.sin(rest * below).log() - torch.sin(below).log()
        return ((size - rest * wait.log()) / order).exp()

    def _at(self, x: Any, function: Callable[[np.ndarray], np.ndarray]) -> Any:
        def values(y: np.ndarray) -> np.ndarray:
            result = np.zeros_like(y)
            positive = np.maximum(y, 0) ** self.order > 1e-150  # there is no mass below, nor a float64 for its power
            result[positive] = function(y[positive])
            return result

        return _mapped(values, np.asarray(x))

    def _integral(self, z: np.ndarray, derivative: bool) -> np.ndarray:
        """Kanter's integral of exp(-z^(1/(1-order)) a(phi)) over (0, pi), in t with phi = pi/(1 + exp(-t))."""
        order, rest = float(self.order), 1 - float(self.order)
        if order > 0.99:
            raise InputError(f"OneSidedStableLaw: densities are computed for orders up to 0.99; seen {order}")
        result = np.empty_like(z)
        small = z <= 0.5  # the transition then crowds against phi = pi, and the power series serves
        powers = np.arange(70)
        coefficients = (-1.0) ** powers * special.rgamma(1 - order * (powers + derivative)) * special.rgamma(powers + 1)
        result[small] = np.polynomial.polynomial.polyval(z[small], coefficients)
        z = z[~small]
        if not z.size:
            return result
        step = 2 * math.pi * 0.8 * min(math.pi / 4, math.pi * rest / 2) / _DIGITS
        # the integrand's width in phi is that of exp(-z^(1/rest) phi^2), its upper end where sin(phi) ~ rest z
        nodes = np.arange(-_DIGITS - math.log1p(min(z.max(), 1e3)) / rest, 9 - math.log(rest * order), step)
        low, high = math.pi * special.expit(nodes), math.pi * special.expit(-nodes)
        sine = np.sin(np.minimum(low, high))
        shape = (order * np.log(np.sin(order * low)) + rest * np.log(np.sin(rest * low)) - np.log(sine)) / rest
        weights = step / math.pi**2 * low * high  # d phi = phi (pi - phi)/pi dt
        scale = np.log(z) / rest
        if derivative:
            weights = weights * np.exp(np.minimum(shape, 700.0))
        with np.errstate(over="ignore", under="ignore"):
            rate = np.exp(np.minimum(shape, 700.0))
            total = _summed(lambda part: np.exp(-np.exp(part[:, None]) * rate) @ weights, scale)
            result[~small] = total * (np.exp(order * scale) / rest if derivative else 1.0)
        return result


def _not_negative(z: Any) -> np.ndarray:
    values = np.asarray(z, dtype=np.float64)
    if (values < 0).any():
        raise InputError("Mainardi's function is a density of positive numbers: z must not be negative")
    return values


def _mapped(function: Callable[[np.ndarray], np.ndarray], values: Any) -> Any:
    """A function of flat arrays, of an array of any shape or of a number."""
    values = np.asarray(values, dtype=np.float64)
    if np.isnan(values).any():
        raise InputError("stable laws: the arguments must be numbers; seen NaN")
    result = function(values.ravel()).reshape(values.shape)
    return result if values.ndim else float(result)


def _summed(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """The values of ``function``, some hundreds of arguments at a time: it makes a row of nodes for each."""
    if not values.size:
        return function(values)
    return np.concatenate([function(values[start : start + 500]) for start in range(0, len(values), 500)])
