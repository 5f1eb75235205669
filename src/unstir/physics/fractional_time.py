"""Time-fractional diffusion: a medium that traps, so that spread grows as t^order instead of t."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.physics.box_modes import cell_centres, from_modes, to_modes
from unstir.physics.fractional_arguments import check_box, eigenvalues, field_of, instants, positive, within
from unstir.physics.heat_boundaries import wall_kinds
from unstir.physics.mittag_leffler import mittag_leffler
from unstir.physics.stable_laws import OneSidedStableLaw
from unstir.physics.units import dimensions

__all__ = ["FractionalHeat", "Subdiffusion"]


@dimensions(diffusivity="length**2/time", clock="time")
@dataclass(frozen=True)
class Subdiffusion:
    """Time-fractional diffusion on the line from one point: density, moments and exact draws.

    The fundamental solution of ``∂^order u/∂t^order = K ∇²u`` (Caputo's derivative), ``K = D clock^(1-order)``:
    ``u(x, t) = M(|x|/s)/(2 s)`` with ``s² = K t^order`` and Mainardi's function M of order/2; it has a cusp at
    the origin, stretched-exponential tails and the variance ``2 K t^order/Gamma(1 + order)``. At order 1 it is the
    heat kernel.

    Arguments: ``order`` in (0, 1]; ``diffusivity`` D, length²/time; ``clock``, the time at whose scale fractional
    and normal diffusion are equally strong (by default one unit of time).

    Raises InputError for numbers out of range.

    Reference: Mainardi, The fundamental solutions for the fractional diffusion-wave equation (Appl. Math. Lett.
    1996); Meerschaert, Scheffler, Limit theorems for continuous-time random walks with infinite mean waiting times
    (J. Appl. Probab. 2004), the subordination behind the draws.
    """

    order: float | int
    diffusivity: Any = 1.0
    clock: Any = 1.0

    def __post_init__(self) -> None:
        within("Subdiffusion", self.order, 0)
        positive("Subdiffusion", diffusivity=self.diffusivity, clock=self.clock)

    @dimensions(returns="length**-1", x="length", time="time")
    def density(self, x: Any, time: Any) -> Any:
        """The density at ``x`` (any shape, a length) at a ``time`` > 0, per length."""
        width = self._width(time)
        return OneSidedStableLaw(self.order / 2).mainardi(np.abs(x) / width) / (2 * width)

    @dimensions(returns="1", x="length", time="time")
    def cdf(self, x: Any, time: Any) -> Any:
        """The probability of at most ``x`` (any shape, a length) at a ``time`` > 0."""
        beyond = OneSidedStableLaw(self.order / 2).mainardi_survival(np.abs(x) / self._width(time)) / 2
        result = np.where(np.asarray(x) < 0, beyond, 1 - beyond)
        return result if result.ndim else float(result)

    @dimensions(returns="1", wave="length**-1", time="time")
    def characteristic(self, wave: Any, time: Any) -> Any:
        """E exp(i wave x), which is E_order(-K wave² t^order); ``wave`` of any shape, 1/length."""
        return mittag_leffler(-((np.asarray(wave) * self._width(time)) ** 2), self.order)

    @dimensions(returns="length**2", time="time")
    def variance(self, time: Any) -> Any:
        """The variance of each coordinate, length²; ``time`` of any shape."""
        rate = self.diffusivity * self.clock ** (1 - self.order)
        return 2 * rate * instants("Subdiffusion", time) ** self.order / math.gamma(1 + self.order)

    @dimensions(returns="length", time="time")
    def sample(self, time: Any, seeds: Seeds, dimension: int = 1) -> Tensor:
        """Exact draws of the position at one ``time``, float64 of shape (batch, dimension), a length.

        Brownian motion at the random time ``(t/S)^order``, S one-sided stable: what is left of t after the waits.
        """
        spread = math.sqrt(2) * self._width(time) * seeds.at("jump").normal((dimension,), torch.float64)
        if self.order == 1:
            return spread
        return spread * OneSidedStableLaw(self.order).sample(seeds) ** (-self.order / 2)

    def _width(self, time: Any) -> float:
        positive("Subdiffusion", time=time)
        return math.sqrt(self.diffusivity * self.clock ** (1 - self.order) * float(time) ** self.order)


@dimensions(lengths="length", diffusivity="length**2/time", clock="time")
@dataclass(frozen=True)
class FractionalHeat:
    """Time-fractional heat flow in a box: exact in the eigenbasis, and step by step with a source.

    ``clock^(order-1) ∂^order u/∂t^order = D ∇²u + source`` with Caputo's derivative. Without a source a mode of
    wave number k decays as ``E_order(-K k² t^order)``, ``K = D clock^(1-order)``: steeply at first, then as slowly
    as ``t^-order``.

    Arguments: ``order`` in (0, 1]; ``lengths`` of the box, one for all axes or one each; ``diffusivity`` D,
    length²/time; ``boundary``: ``dirichlet`` (zero), ``neumann`` (no flux), ``periodic``, or any of
    ``heat_boundaries`` that have modes; ``clock`` as in ``Subdiffusion``. Fields are NumPy arrays at the cell centres
    (``points``), one axis a side, in any unit ("value").

    Raises InputError for numbers out of range and fields of another dimension.

    Reference: Sakamoto, Yamamoto, Initial value/boundary value problems for fractional diffusion-wave equations
    (J. Math. Anal. Appl. 2011); Stynes, O'Riordan, Gracia, Error analysis of a finite difference
    method on graded meshes for a time-fractional diffusion equation (SIAM J. Numer. Anal. 2017), the scheme.
    """

    order: float | int
    lengths: Any = 1.0
    diffusivity: Any = 1.0
    boundary: Any = "dirichlet"
    clock: Any = 1.0

    def __post_init__(self) -> None:
        within("FractionalHeat", self.order, 0)
        positive("FractionalHeat", diffusivity=self.diffusivity, clock=self.clock)
        check_box(self.lengths, self.boundary)

    def points(self, *cells: int) -> tuple[np.ndarray, ...]:
        """The coordinates of the cell centres: for each axis a plain array of shape ``cells``, in base units."""
        return tuple(np.moveaxis(cell_centres(cells, self.lengths), -1, 0))

    @dimensions(returns="value", initial="value", times="time")
    def solve(self, initial: Any, times: Any) -> Any:
        """The exact fields at the ``times``, of shape (times, *cells), or (*cells) for one time.

        Exact for fields that the grid resolves: what it holds of sines, cosines or waves decays by its exact factor.
        """
        start = field_of("FractionalHeat, the initial field", initial)
        moments = instants("FractionalHeat", times)
        kinds = wall_kinds(self.boundary, start.ndim)
        rates = self._strength * eigenvalues(start.shape, self.lengths, kinds, False) * self.diffusivity
        decay = mittag_leffler(-np.multiply.outer(moments**self.order, rates), self.order)
        return from_modes(decay * to_modes(start, kinds), kinds)

    @dimensions(returns=("time", "value"), initial="value", duration="time")
    def march(
        self,
        initial: Any,
        duration: Any,
        steps: int,
        grading: float | int | None = None,
        source: Callable[[float], Any] | None = None,
        discrete: bool = False,
    ) -> tuple[Any, Any]:
        """The L1 scheme on ``steps`` steps: the times (steps + 1,) and the fields (steps + 1, *cells).

        The times are ``duration (j/steps)^grading``. A solution starts as t^order, and a uniform mesh (grading 1)
        then is of order ``order`` at worst and 1 at fixed times; the default ``(2 - order)/order`` restores the
        scheme's order ``2 - order`` at all times. ``source(t)`` gives a field in value/time (plain numbers, base
        units). ``discrete`` takes second differences in space instead of exact modes. Work grows with steps².
        """
        field = field_of("FractionalHeat, the initial field", initial)
        positive("FractionalHeat", duration=duration, steps=steps)
        exponent = (2 - self.order) / self.order if grading is None else grading
        positive("FractionalHeat", grading=exponent)
        times = float(duration) * (np.arange(steps + 1) / steps) ** exponent
        kinds = wall_kinds(self.boundary, field.ndim)
        rates = self._strength * eigenvalues(field.shape, self.lengths, kinds, discrete) * self.diffusivity
        states = np.empty((steps + 1, *field.shape))
        states[0] = to_modes(field, kinds)
        increments = np.zeros_like(states[1:])
        for now in range(1, steps + 1):
            weights = l1_weights(times[: now + 1], float(self.order))
            known = weights[-1] * states[now - 1] - np.tensordot(weights[:-1], increments[: now - 1], 1)
            if source is not None:
                given = field_of("FractionalHeat, the source", source(float(times[now])), field.shape)
                known = known + self._strength * to_modes(given, kinds)
            states[now] = known / (weights[-1] + rates)
            increments[now - 1] = states[now] - states[now - 1]
        return times, from_modes(states, kinds)

    @property
    def _strength(self) -> float:
        return self.clock ** (1 - self.order)


def l1_weights(times: np.ndarray, order: float) -> np.ndarray:
    """Weights of the increments u(t_k) - u(t_{k-1}), k = 1 ... n, in the L1 formula for Caputo's derivative at t_n.

    The derivative of u's polygon: ``((t_n - t_{k-1})^(1-order) - (t_n - t_k)^(1-order))/(Gamma(2-order) tau_k)``.

    Reference: Oldham, Spanier, The Fractional Calculus (1974), section 8.2.
    """
    steps = np.diff(times)
    if order == 1:
        return np.where(np.arange(len(steps)) < len(steps) - 1, 0.0, 1 / steps)
    since = times[-1] - times[:-1]
    with np.errstate(divide="ignore"):
        # no difference of powers: on a graded mesh the first steps are far below the rounding of t_n
        fraction = -np.expm1((1 - order) * np.log1p(-np.minimum(steps / since, 1.0)))
    return since ** (1 - order) * fraction * special.rgamma(2 - order) / steps
