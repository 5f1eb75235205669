r"""The heat equation on a grid by fast transforms: exact in time, spectrally accurate in space."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import special

from unstir.core.errors import InputError
from unstir.physics.box_modes import (
    axis_diffusivity,
    box,
    decay_rates,
    from_modes,
    on_cells,
    to_modes,
)
from unstir.physics.heat_boundaries import wall_kinds
from unstir.physics.heat_separation import grown
from unstir.physics.heat_times import longest_step, output_times
from unstir.physics.units import dimensions

__all__ = ["SpectralHeat"]


@dimensions(
    shape="1",
    lengths="length",
    diffusivity="length**2/time",
    boundary="1",
    source="value/time",
    changing="1",
    nodes="1",
)
@dataclass(frozen=True, eq=False)
class SpectralHeat:
    r"""The heat equation with constant D by DCT, DST or FFT: every mode by its own exponential.

    û_k(t + h) = exp(-λ_k h) û_k(t) + ∫_0^h exp(-λ_k (h - s)) f̂_k(t + s) ds, so there is no error in time without
    a source or with a steady one. A source that changes is taken as a Legendre polynomial in s through
    ``nodes`` Gauss points, and its product with the exponential is integrated exactly, by
    exp(-z/2) i_m(z/2), z = λh, with modified spherical Bessel functions i_m: no stiffness; order ``nodes`` at least.

    ``shape``: cells along the axes; ``lengths``: of the box, one number or one an axis [length]; ``diffusivity``:
    likewise [length²/time]; ``boundary``: walls held at zero, insulated or periodic, as in ``heat_boundaries``;
    ``source``: an array of ``shape`` or a function of points (..., d), steady [value/time]; or, with ``changing``, a
    function of (points, t). Raises InputError for anything else.

    Reference: Hochbruck and Ostermann, Exponential integrators, Acta Numerica 19 (2010).
    """

    shape: int | Sequence[int]
    lengths: Any = 1.0
    diffusivity: Any = 1.0
    boundary: Any = "neumann"
    source: Any = 0.0
    changing: bool = False
    nodes: int = 8

    def __post_init__(self) -> None:
        if self.changing and not callable(self.source):
            raise InputError(f"a source that changes is a function of (points, t); seen {type(self.source).__name__}")
        if self.nodes < 1:
            raise InputError(f"a source that changes needs at least one node an interval; seen {self.nodes}")
        self._rates  # noqa: B018  (bad input is told at once)
        if not self.changing:
            self._steady  # noqa: B018

    @dimensions(returns="value", u0="value", times="time", step="time")
    def solve(self, u0: Any, times: Any, step: Any = None) -> Float64[np.ndarray, "..."]:
        """The field at the given times, (times, *shape), from the field ``u0`` at time zero.

        ``u0``: an array of ``shape``, or a function of points [value]; ``times``: at least zero, rising [time];
        ``step``: the longest interval that a source which changes is taken for a polynomial on [time].
        """
        shape, lengths = self._box
        times = output_times(times)
        modes = to_modes(on_cells(u0, shape, lengths, "u0"), self._kinds)
        fields, now = np.empty((len(times), *shape)), 0.0
        for place, time in enumerate(times):
            parts = 1
            if self.changing and step is not None and time > now:
                parts = math.ceil((time - now) / longest_step(step) * (1 - 1e-12))
            for part in range(parts):
                span = (time - now) / parts
                modes = modes * np.exp(-self._rates * span) + self._fed(now + part * span, span)
            fields[place], now = from_modes(modes, self._kinds), float(time)
        return fields

    def _fed(self, start: float, span: float) -> np.ndarray:
        """What the source brings to the modes in an interval."""
        if not self.changing:
            return self._steady * grown(self._rates, span)
        shape, lengths = self._box
        places, weights = np.polynomial.legendre.leggauss(self.nodes)
        seen = [
            to_modes(on_cells(lambda x, at=at: self.source(x, at), shape, lengths, "source"), self._kinds)
            for at in (start + span / 2 * (1 + places) if span else ())
        ]
        half = self._rates * span / 2
        total = np.zeros(shape)
        for degree in range(len(seen)):
            values = weights * special.eval_legendre(degree, places)
            coefficient = (degree + 0.5) * np.tensordot(values, np.stack(seen), 1)
            # scaled by exp(-half), where the Bessel function itself would overflow
            total += coefficient * span * _scaled_bessel(degree, half)
        return total

    @functools.cached_property
    def _box(self) -> tuple[tuple[int, ...], np.ndarray]:
        return box(self.shape, self.lengths)

    @functools.cached_property
    def _kinds(self) -> tuple[str, ...]:
        return wall_kinds(self.boundary, len(self._box[0]))

    @functools.cached_property
    def _rates(self) -> np.ndarray:
        shape, lengths = self._box
        return decay_rates(shape, lengths, self._kinds, axis_diffusivity(self.diffusivity, len(shape)))

    @functools.cached_property
    def _steady(self) -> np.ndarray:
        return to_modes(on_cells(self.source, *self._box, "source"), self._kinds)


def _scaled_bessel(degree: int, x: np.ndarray) -> np.ndarray:
    """exp(-x) i_m(x), the modified spherical Bessel function of the first kind, for x >= 0."""
    safe = np.where(x > 0, x, 1.0)
    return np.where(x > 0, np.sqrt(math.pi / (2 * safe)) * special.ive(degree + 0.5, safe), float(degree == 0))
