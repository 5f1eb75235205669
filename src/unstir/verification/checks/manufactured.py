"""Manufactured solutions: any field solves Fick's law with the source that SymPy derives for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

Function = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Manufactured:
    """u(x, t), with D(x), the flux J = -D∇u along each axis and the source f = ∂u/∂t + ∇·J; of points (..., d)."""

    field: Function
    fluxes: tuple[Function, ...]
    source: Function
    tensor: Callable[[np.ndarray], np.ndarray]

    def at(self, time: float) -> Callable[[np.ndarray], np.ndarray]:
        """The field at one time."""
        return lambda points: self.field(points, time)


def manufactured(field: str, diffusivity: Sequence[Sequence[str]]) -> Manufactured:
    """From expressions in x, y, z and t, the diffusivity a (d, d) of them."""
    size = len(diffusivity)
    places, t = sp.symbols("x y z")[:size], sp.Symbol("t")
    u, tensor = sp.sympify(field), sp.Matrix(size, size, [sp.sympify(part) for row in diffusivity for part in row])
    flux = -tensor * sp.Matrix([u.diff(place) for place in places])
    source = u.diff(t) + sum(part.diff(place) for part, place in zip(flux, places, strict=True))

    def numeric(expression: Any) -> Function:
        compiled = sp.lambdify((*places, t), expression, "numpy")

        def function(points: np.ndarray, time: float) -> np.ndarray:
            return np.broadcast_to(compiled(*np.moveaxis(points, -1, 0), time), points.shape[:-1]).astype(np.float64)

        return function

    parts = [numeric(part) for part in tensor]

    def in_place(points: np.ndarray) -> np.ndarray:
        stacked = np.stack([part(points, 0.0) for part in parts], axis=-1)
        return stacked.reshape(*points.shape[:-1], size, size)

    return Manufactured(numeric(u), tuple(numeric(part) for part in flux), numeric(source), in_place)
