r"""The Green function of the heat equation on a box: what a point release becomes between walls."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float64

from unstir.core.errors import InputError
from unstir.physics.box_modes import axis_diffusivity, box_lengths
from unstir.physics.heat_boundaries import wall_kinds
from unstir.physics.heat_kernel import positive_times
from unstir.physics.units import dimensions

__all__ = ["heat_green_function"]

# the dimensionless times from which on a dozen modes give every digit; until then a dozen images do
_SWITCH = {"periodic": 1 / (4 * math.pi), "neumann": 1 / math.pi, "dirichlet": 0.05}
_IMAGES = 6  # on either side
_MODES = 10


def heat_green_function(
    x: Any,
    source: Any,
    t: Any,
    lengths: Any = 1.0,
    diffusivity: Any = 1.0,
    boundary: Any = "neumann",
) -> Float64[np.ndarray, "..."] | Any:
    r"""The density at x, at time t, of what was released at ``source`` in a box with walls.

    A product over the axes, of the sum over images, sum_n ±K(x ∓ y + nP, t), while the release is narrow, and of
    the sum over modes, sum_k φ_k(x) φ_k(y) exp(-D k² t), from then on; a dozen terms of either give every digit.
    Images at a wall held at zero are subtracted in pairs, so that close to it the small values are right in
    themselves; from one such wall to the opposite one at small times the error is absolute, a rounding of the
    free kernel.

    ``x`` and ``source``: (..., d), in [0, L] [length]; ``t``: positive, () or (...) [time]; ``lengths``: one number
    or one an axis [length]; ``diffusivity``: likewise [length²/time]; ``boundary``: as in ``heat_boundaries``, held
    at zero, insulated or periodic. Returns (...) [1/length^d].

    Reference: Carslaw and Jaeger, Conduction of Heat in Solids (1959), chapter 14; the two series are one by
    Poisson's summation (Jacobi's theta functions).
    """
    shape = np.shape(getattr(x, "magnitude", x))
    if not shape or not shape[-1]:
        raise InputError(f"points are arrays (..., d) with their coordinates last; seen the shape {shape}")
    arguments = {"x": "length", "source": "length", "t": "time", "lengths": "length", "diffusivity": "length**2/time"}
    return dimensions(f"1/length**{shape[-1]}", **arguments)(_product)(x, source, t, lengths, diffusivity, boundary)


def _product(x: Any, source: Any, t: Any, lengths: Any, diffusivity: Any, boundary: Any) -> np.ndarray:
    x, source, t = np.asarray(x, dtype=np.float64), np.asarray(source, dtype=np.float64), positive_times(t)
    size = x.shape[-1]
    if source.ndim == 0 or source.shape[-1] != size:
        raise InputError(f"x and source have one number of coordinates; seen the shapes {x.shape} and {source.shape}")
    lengths, diffusivity = box_lengths(lengths, size), axis_diffusivity(diffusivity, size)
    for points in (x, source):
        if np.any((points < 0) | (points > lengths)):
            raise InputError(f"points lie in the box [0, {lengths.tolist()}]; seen one outside")
    shape = np.broadcast_shapes(x.shape[:-1], source.shape[:-1], t.shape)
    x, source = (np.broadcast_to(points, (*shape, size)).reshape(-1, size) for points in (x, source))
    t = np.broadcast_to(t, shape).ravel()
    density = np.ones(t.shape)
    for axis, kind in enumerate(wall_kinds(boundary, size)):
        length = lengths[axis]
        # in units of the axis's length: one dimensionless time decides between the series
        here, there = ((points, length - points) for points in (x[:, axis], source[:, axis]))
        scaled = (here[0] / length, here[1] / length, there[0] / length, there[1] / length)
        density *= _on_axis(*scaled, diffusivity[axis] * t / length**2, kind) / length
    return density.reshape(shape)


def _on_axis(x: np.ndarray, past_x: np.ndarray, y: np.ndarray, past_y: np.ndarray, t: np.ndarray, kind: str) -> Any:
    """The Green function on [0, 1] with D = 1; the distances from both walls come as they are, to lose no digits."""
    if kind == "neumann-dirichlet":
        return _on_axis(past_x, x, past_y, y, t, "dirichlet-neumann")
    if kind == "dirichlet-neumann":  # the half next to zero of an interval twice as long, with the release mirrored
        near, far = y / 2, 1 - y / 2
        direct = _on_axis(x / 2, 1 - x / 2, near, far, t / 4, "dirichlet")
        return (direct + _on_axis(x / 2, 1 - x / 2, far, near, t / 4, "dirichlet")) / 2
    early = t < _SWITCH[kind]
    density = np.empty(x.shape)
    for chosen, series in ((early, _images), (~early, _modes)):
        density[chosen] = series(x[chosen], past_x[chosen], y[chosen], past_y[chosen], t[chosen], kind)
    return density


def _images(x: np.ndarray, past_x: np.ndarray, y: np.ndarray, past_y: np.ndarray, t: np.ndarray, kind: str) -> Any:
    if kind == "dirichlet":  # from the nearer wall, where the difference of a release and its image keeps its digits
        mirrored = x + y > 1
        x, y = np.where(mirrored, past_x, x), np.where(mirrored, past_y, y)
        x, y = np.maximum(x, y), np.minimum(x, y)
    x, y, t = x[..., None], y[..., None], t[..., None]
    counts = np.arange(-_IMAGES, _IMAGES + 1)
    if kind == "periodic":
        return _free(x - y + counts, t).sum(-1)
    same, opposite = x - y + 2 * counts, x + y + 2 * counts
    if kind == "neumann":
        return (_free(same, t) + _free(opposite, t)).sum(-1)
    exponent = y * (x + 2 * counts) / t  # (opposite² - same²)/(4t)
    nearer = np.where(exponent > 0, same, opposite)
    return (np.sign(exponent) * _free(nearer, t) * -np.expm1(-np.abs(exponent))).sum(-1)


def _free(away: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.exp(-np.square(away) / (4 * t)) / np.sqrt(4 * math.pi * t)


def _modes(x: np.ndarray, past_x: np.ndarray, y: np.ndarray, past_y: np.ndarray, t: np.ndarray, kind: str) -> Any:
    k = math.pi * np.arange(1, _MODES + 1)
    t = t[..., None]
    if kind == "periodic":
        return 1 + 2 * (np.exp(-np.square(2 * k) * t) * np.cos(2 * k * (x - y)[..., None])).sum(-1)
    decay = np.exp(-np.square(k) * t)
    if kind == "neumann":
        return 1 + 2 * (decay * np.cos(k * x[..., None]) * np.cos(k * y[..., None])).sum(-1)
    # beyond the middle sin(kx) is ± sin(k(1 - x)), whose argument loses nothing
    odd = (np.arange(_MODES) % 2 == 1) & ((x > past_x) != (y > past_y))[..., None]
    x, y = np.minimum(x, past_x)[..., None], np.minimum(y, past_y)[..., None]
    return 2 * (decay * np.where(odd, -1.0, 1.0) * np.sin(k * x) * np.sin(k * y)).sum(-1)
