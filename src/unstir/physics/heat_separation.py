r"""The heat equation on a box by separation of variables: a solution that can be asked anywhere and at any time."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from unstir.core.errors import InputError
from unstir.physics.box_modes import (
    axis_diffusivity,
    box,
    decay_rates,
    from_modes,
    mode_functions,
    on_cells,
    to_modes,
)
from unstir.physics.heat_boundaries import wall_kinds
from unstir.physics.units import dimensions

__all__ = ["HeatSolution"]

_AT_ONCE = 2**22  # numbers held while points are evaluated


@dimensions(
    initial="value", shape="1", lengths="length", diffusivity="length**2/time", boundary="1", source="value/time"
)
@dataclass(frozen=True, eq=False)
class HeatSolution:
    r"""The solution of ∂u/∂t = ∇·(D∇u) + f on a box, as a series of separated modes.

    u(x, t) = sum_k [a_k exp(-λ_k t) + f_k (1 - exp(-λ_k t))/λ_k] φ_k(x) with λ_k = sum_a D_a k_a². The
    coefficients of the initial field and of the steady source are those of their values at the cell centres
    (DST, DCT or FFT): exact if they are made of modes that the grid resolves, and spectrally accurate if smooth.

    ``initial`` and ``source``: a function of points (..., d), or an array on a grid of cell centres [value],
    [value/time]; ``shape``: how many modes an axis has, needed where ``initial`` is a function; ``lengths``: of the
    box, one number or one an axis [length]; ``diffusivity``: likewise [length²/time]; ``boundary``: walls held
    at zero, insulated or periodic, as in ``heat_boundaries``. Raises InputError for anything else.

    Reference: Fourier, Théorie analytique de la chaleur (1822); Carslaw and Jaeger, Conduction of Heat in Solids
    (1959), chapter 3.
    """

    initial: Any
    shape: Any = None
    lengths: Any = 1.0
    diffusivity: Any = 1.0
    boundary: Any = "neumann"
    source: Any = 0.0

    def __post_init__(self) -> None:
        if self.shape is None and (callable(self.initial) or np.ndim(self.initial) == 0):
            raise InputError("an initial field that is no array needs `shape`: the number of modes along each axis")
        self._coefficients, self._rates  # noqa: B018  (bad input is told at once)

    @dimensions(returns="value", points="length", t="time")
    def __call__(self, points: Any, t: Any) -> Float64[np.ndarray, "..."]:
        """The field at points (..., d) of the box, at one time t >= 0; returns (...)."""
        return self._evaluate(points, self._at(t))

    @dimensions(returns="value", t="time")
    def on_grid(self, t: Any, shape: int | Sequence[int] | None = None) -> Float64[np.ndarray, "..."]:
        """The field at one time at the cell centres of a grid, by default that of the modes."""
        modes = self._at(t)
        shape, lengths = (self._shape, self._lengths) if shape is None else box(shape, self._lengths)
        if shape == self._shape:
            return from_modes(modes, self._kinds)
        for axis, count in enumerate(shape):
            centres = (np.arange(count) + 0.5) * lengths[axis] / count
            modes = np.moveaxis(np.tensordot(self._functions(centres, axis), modes, (1, axis)), 0, axis)
        return modes

    @dimensions(returns="value*length/time", points="length", t="time")
    def flux(self, points: Any, t: Any) -> Float64[np.ndarray, "... d"]:
        """Fick's first law: the flux -D∇u at points (..., d) at one time t; returns (..., d)."""
        modes, diffusivity = self._at(t), axis_diffusivity(self.diffusivity, len(self._shape))
        slopes = [self._evaluate(points, modes, axis) for axis in range(len(self._shape))]
        return -diffusivity * np.stack(slopes, axis=-1)

    @dimensions(returns="value", t="time")
    def mean(self, t: Any) -> float:
        """The mean of the field over the box at one time t."""
        return float(from_modes(self._at(t), self._kinds).mean())

    @functools.cached_property
    def _shape(self) -> tuple[int, ...]:
        return tuple(np.shape(self.initial)) if self.shape is None else box(self.shape, 1.0)[0]

    @functools.cached_property
    def _lengths(self) -> np.ndarray:
        return box(self._shape, self.lengths)[1]

    @functools.cached_property
    def _kinds(self) -> tuple[str, ...]:
        return wall_kinds(self.boundary, len(self._shape))

    @functools.cached_property
    def _coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        fields = ((self.initial, "initial"), (self.source, "source"))
        initial, source = (to_modes(on_cells(given, self._shape, self._lengths, name), self._kinds)
                           for given, name in fields)  # fmt: skip
        return initial, source

    @functools.cached_property
    def _rates(self) -> np.ndarray:
        diffusivity = axis_diffusivity(self.diffusivity, len(self._shape))
        return decay_rates(self._shape, self._lengths, self._kinds, diffusivity)

    def _at(self, t: Any) -> np.ndarray:
        if np.ndim(t) != 0 or not 0 <= float(t) < math.inf:
            raise InputError(f"the heat equation runs forwards, from time zero: one time t >= 0 is needed; seen {t!r}")
        initial, source = self._coefficients
        return initial * np.exp(-self._rates * float(t)) + source * grown(self._rates, float(t))

    def _functions(self, x: np.ndarray, axis: int, derivative: bool = False) -> np.ndarray:
        return mode_functions(x, self._shape[axis], self._lengths[axis], self._kinds[axis], derivative)

    def _evaluate(self, points: Any, modes: np.ndarray, derived: int | None = None) -> np.ndarray:
        points, size = np.asarray(points, dtype=np.float64), len(self._shape)
        if points.ndim == 0 or points.shape[-1] != size:
            raise InputError(f"points of shape (..., {size}) are needed; seen the shape {points.shape}")
        if np.any((points < 0) | (points > self._lengths)):
            raise InputError(f"points lie in the box [0, {self._lengths.tolist()}]; seen one outside")
        flat = points.reshape(-1, size)
        chunk = max(1, _AT_ONCE // max(1, modes.size // self._shape[0]))
        values = [self._values(flat[start : start + chunk], modes, derived) for start in range(0, len(flat), chunk)]
        return np.concatenate([np.empty(0), *values]).reshape(points.shape[:-1])

    def _values(self, points: np.ndarray, modes: np.ndarray, derived: int | None) -> np.ndarray:
        summed = self._functions(points[:, 0], 0, derived == 0) @ modes.reshape(self._shape[0], -1)
        for axis in range(1, len(self._shape)):
            summed = summed.reshape(len(points), self._shape[axis], -1)
            summed = np.einsum("pk,pkm->pm", self._functions(points[:, axis], axis, derived == axis), summed)
        return summed.reshape(len(points))


def grown(rates: np.ndarray, t: float) -> np.ndarray:
    """What a steady source of one unit a time has become: (1 - exp(-λt))/λ, and t where λ is zero."""
    return np.divide(-np.expm1(-rates * t), rates, out=np.full(rates.shape, float(t)), where=rates > 0)
