"""Space-fractional diffusion: a particle that leaps, and the fractional Laplacian that its density obeys."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import linalg, special
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.box_modes import cell_centres, from_modes, to_modes
from unstir.physics.fractional_arguments import check_box, eigenvalues, field_of, instants, positive, within
from unstir.physics.heat_boundaries import wall_kinds
from unstir.physics.stable_laws import OneSidedStableLaw, StableLaw
from unstir.physics.units import dimensions

__all__ = ["AbsorbedLevyFlight", "LevyFlight", "SpaceFractionalHeat"]


@dimensions(diffusivity="length**2/time", scale="length")
@dataclass(frozen=True)
class LevyFlight:
    """Lévy flight, the motion whose leaps have stable laws: density, exact paths.

    Its density solves ``∂u/∂t = -K (-∇²)^(order/2) u``, ``K = D scale^(order-2)``, so that
    ``E exp(i k·X(t)) = exp(-K |k|^order t)``: each coordinate is stable with scale ``(K t)^(1/order)``. Order 2 is
    Brownian motion of diffusivity D.

    Arguments: ``order`` in [0.1, 2]; ``diffusivity`` D, length²/time; ``scale``, the length at whose scale leaping
    and normal diffusion are equally strong (by default one unit of length).

    Raises InputError for numbers out of range.

    Reference: Bochner, Harmonic Analysis and the Theory of Probability (1955), subordination; Metzler,
    Klafter, The random walk's guide to anomalous diffusion (Phys. Rep. 2000).
    """

    order: float | int
    diffusivity: Any = 1.0
    scale: Any = 1.0

    def __post_init__(self) -> None:
        within("LevyFlight", self.order, 0.1)
        positive("LevyFlight", diffusivity=self.diffusivity, scale=self.scale)

    @dimensions(returns="length**-1", x="length", time="time")
    def density(self, x: Any, time: Any) -> Any:
        """The density of a coordinate at ``x`` (any shape, a length) at a ``time`` > 0, per length."""
        return StableLaw(self.order, self._spread(time)).density(x)

    @dimensions(returns="1", x="length", time="time")
    def cdf(self, x: Any, time: Any) -> Any:
        """The probability that a coordinate is at most ``x`` (any shape, a length) at a ``time`` > 0."""
        return StableLaw(self.order, self._spread(time)).cdf(x)

    @dimensions(returns="length", times="time")
    def simulate(self, times: Any, seeds: Seeds, dimension: int = 1) -> Tensor:
        """Exact positions at rising ``times`` from 0 on, float64 of shape (batch, times, dimension), a length.

        Isotropic: the leap of an interval is a normal one whose variance is one-sided stable of half the order.
        """
        moments = np.atleast_1d(instants("LevyFlight", times))
        intervals = np.diff(moments, prepend=0.0)
        if (intervals < 0).any():
            raise InputError(f"LevyFlight: the times must rise; seen {times}")
        strength = self.diffusivity * self.scale ** (self.order - 2)
        spreads = torch.as_tensor((strength * intervals) ** (1 / self.order), device=seeds.samples.device)
        leaps = math.sqrt(2) * seeds.at("leap").normal((len(moments), dimension), torch.float64)
        if self.order < 2:
            leaps = leaps * OneSidedStableLaw(self.order / 2).sample(seeds, len(moments)).sqrt()[:, :, None]
        return (leaps * spreads[:, None]).cumsum(1)

    def _spread(self, time: Any) -> float:
        positive("LevyFlight", time=time)
        return float((self.diffusivity * self.scale ** (self.order - 2) * time) ** (1 / self.order))


@dimensions(lengths="length", diffusivity="length**2/time", scale="length")
@dataclass(frozen=True)
class SpaceFractionalHeat:
    """Heat flow by a fractional power of the box's Laplacian (the spectral fractional Laplacian), exact in time.

    ``∂u/∂t = -K (-∇²)^(order/2) u``, ``K = D scale^(order-2)``: a mode of wave number k decays as
    ``exp(-K k^order t)``. With ``discrete`` k is that of second differences, ``2 sin(k h/2)/h``,
    with an error of second order in the spacing h.

    Arguments: ``order`` in [0.1, 2]; ``lengths`` of the box, one for all axes or one each; ``diffusivity`` D,
    length²/time; ``boundary``: ``periodic``, ``dirichlet``, ``neumann``, or any of ``heat_boundaries`` that have
    modes; ``scale`` as in ``LevyFlight``. Fields are NumPy arrays at the cell centres (``points``), one axis a side,
    in any unit ("value").

    Raises InputError for numbers out of range and fields of another dimension.

    Reference: Lischke et al., What is the fractional Laplacian? A comparative review (J. Comput. Phys. 2020).
    """

    order: float | int
    lengths: Any = 1.0
    diffusivity: Any = 1.0
    boundary: Any = "periodic"
    scale: Any = 1.0
    discrete: bool = False

    def __post_init__(self) -> None:
        within("SpaceFractionalHeat", self.order, 0.1)
        positive("SpaceFractionalHeat", diffusivity=self.diffusivity, scale=self.scale)
        check_box(self.lengths, self.boundary)

    def points(self, *cells: int) -> tuple[np.ndarray, ...]:
        """The coordinates of the cell centres: for each axis a plain array of shape ``cells``, in base units."""
        return tuple(np.moveaxis(cell_centres(cells, self.lengths), -1, 0))

    @dimensions(returns="value/time", field="value")
    def rate(self, field: Any) -> Any:
        """``-K (-∇²)^(order/2)`` of a field, value/time, of its shape."""
        values = field_of("SpaceFractionalHeat", field)
        kinds = wall_kinds(self.boundary, values.ndim)
        return from_modes(-self._rates(values.shape, kinds) * to_modes(values, kinds), kinds)

    @dimensions(returns="value", initial="value", times="time")
    def solve(self, initial: Any, times: Any) -> Any:
        """The fields at the ``times``, of shape (times, *cells), or (*cells) for one time."""
        start = field_of("SpaceFractionalHeat, the initial field", initial)
        kinds = wall_kinds(self.boundary, start.ndim)
        moments = instants("SpaceFractionalHeat", times)
        decay = np.exp(-np.multiply.outer(moments, self._rates(start.shape, kinds)))
        return from_modes(decay * to_modes(start, kinds), kinds)

    def _rates(self, shape: tuple[int, ...], kinds: tuple[str, ...]) -> np.ndarray:
        squares = eigenvalues(shape, self.lengths, kinds, self.discrete)
        return self.diffusivity * self.scale ** (self.order - 2) * squares ** (self.order / 2)


@dimensions(lower="length", upper="length", diffusivity="length**2/time", scale="length")
@dataclass(frozen=True)
class AbsorbedLevyFlight:
    """Lévy flight in an interval that is lost once it leaps out (the restricted fractional Laplacian), by differences.

    ``∂u/∂t = -K (-∇²)^(order/2) u`` with u zero *everywhere* outside, which is not the spectral power of the
    interval's Laplacian. Centred fractional differences: of second order where the solution is smooth; it leaves the
    ends as distance^(order/2), which below order 2 limits exit times to that order there and decay rates to order 1.

    Arguments: ``order`` in [0.1, 2]; the ends ``lower`` and ``upper``, lengths; ``points``, the number of inner
    points; ``diffusivity`` and ``scale`` as in ``LevyFlight``. Fields are NumPy arrays at the inner points.

    Raises InputError for numbers out of range and fields of another size.

    Reference: Ortigueira, Riesz potential operators and inverses via fractional centred derivatives (Int. J. Math.
    Math. Sci. 2006); Çelik, Duman, Crank-Nicolson method for the fractional diffusion equation with the Riesz
    fractional derivative (J. Comput. Phys. 2012).
    """

    order: float | int
    lower: Any = -1.0
    upper: Any = 1.0
    points: int = 200
    diffusivity: Any = 1.0
    scale: Any = 1.0

    def __post_init__(self) -> None:
        within("AbsorbedLevyFlight", self.order, 0.1)
        positive("AbsorbedLevyFlight", diffusivity=self.diffusivity, scale=self.scale)
        if not (math.isfinite(self.lower) and math.isfinite(self.upper) and self.lower < self.upper):
            raise InputError(f"AbsorbedLevyFlight: lower < upper is needed; seen {self.lower} and {self.upper}")
        if not 1 <= self.points <= 5000:
            raise InputError(f"AbsorbedLevyFlight: from 1 to 5000 points; seen {self.points}")

    @functools.cached_property
    def grid(self) -> np.ndarray:
        """The inner points, in base units."""
        return np.linspace(self.lower, self.upper, self.points + 2)[1:-1]

    @functools.cached_property
    def generator(self) -> np.ndarray:
        """The matrix of ``-K (-∇²)^(order/2)``, symmetric, (points, points), in base units of 1/time."""
        spacing = (self.upper - self.lower) / (self.points + 1)
        further = np.arange(self.points - 1)
        first = special.gamma(self.order + 1) * special.rgamma(self.order / 2 + 1) ** 2
        weights = first * np.cumprod(np.append(1.0, 1 - (self.order + 1) / (self.order / 2 + further + 1)))
        strength = self.diffusivity * self.scale ** (self.order - 2)
        return np.asarray(linalg.toeplitz(-strength * spacing**-self.order * weights))

    @dimensions(returns="time")
    def exit_times(self) -> Any:
        """The mean time until the flight is lost, for a start at each of the points."""
        return linalg.solve(-self.generator, np.ones(self.points), assume_a="pos")

    @dimensions(returns="1/time")
    def decay_rates(self, count: int = 6) -> Any:
        """The smallest ``count`` rates at which the modes decay, the operator's eigenvalues, 1/time, rising."""
        return -self._modes[0][::-1][:count]

    @dimensions(returns="value", initial="value", times="time")
    def solve(self, initial: Any, times: Any) -> Any:
        """The fields at the ``times``, of shape (times, points), or (points,) for one time; exact in time."""
        field = field_of("AbsorbedLevyFlight, the initial field", initial, (self.points,))
        rates, modes = self._modes
        decay = np.exp(np.multiply.outer(instants("AbsorbedLevyFlight", times), rates))
        return (decay * (field @ modes)) @ modes.T

    @functools.cached_property
    def _modes(self) -> tuple[np.ndarray, np.ndarray]:
        rates, modes = np.linalg.eigh(self.generator)
        return rates, modes
