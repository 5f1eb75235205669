r"""The heat kernel: how a point release spreads in free space, beside a wall, and the flux that it drives."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import special

from unstir.core.errors import InputError, unknown
from unstir.physics.units import dimensions

__all__ = ["half_space_kernel", "heat_kernel", "heat_kernel_flux"]


def heat_kernel(
    displacement: Any, t: Any, diffusivity: Any = 1.0, advection: Any = None
) -> Float64[np.ndarray, "..."] | Any:
    r"""The density at time t of what was released in one point of free space, with drift.

    G(r, t) = exp(-(r - vt)ᵀ D⁻¹ (r - vt)/(4t)) / sqrt((4πt)^d det D) solves ∂u/∂t = ∇·(D∇u) - v·∇u from a unit point.

    ``displacement``: r from the point of release, (..., d) [length]; ``t``: positive, () or (...) [time];
    ``diffusivity``: one number, one an axis (d,), or a symmetric tensor (d, d) [length²/time]; ``advection``: the
    velocity v, () or (d,) [length/time]. Returns (...) [1/length^d]. Raises InputError for another shape, a time
    that is not positive, and a tensor that is not positive definite.

    Reference: Crank, The Mathematics of Diffusion (1975), chapters 2 and 3.
    """
    per_volume = f"1/length**{_dimension(displacement)}"
    return dimensions(per_volume, **_FREE)(_kernel)(displacement, t, diffusivity, advection)


def heat_kernel_flux(
    displacement: Any, t: Any, diffusivity: Any = 1.0, advection: Any = None
) -> Float64[np.ndarray, "... d"] | Any:
    r"""Fick's first law for the heat kernel: the flux J = -D∇G + vG of a point release.

    With -D∇G = (r - vt) G/(2t). The arguments are those of ``heat_kernel``; returns (..., d) [1/(length^(d-1) time)].

    Reference: Fick, Ueber Diffusion, Annalen der Physik 170 (1855).
    """
    through_area = f"1/length**{_dimension(displacement) - 1}/time"
    return dimensions(through_area, **_FREE)(_flux)(displacement, t, diffusivity, advection)


def half_space_kernel(
    x: Any,
    source: Any,
    t: Any,
    diffusivity: Any = 1.0,
    boundary: str = "neumann",
    transfer: Any = None,
) -> Float64[np.ndarray, "..."] | Any:
    r"""The density at x of what was released at ``source``, beside the wall x_1 = 0, by the method of images.

    An insulated wall (``neumann``) adds an image of the release, one held at zero (``dirichlet``) subtracts it; at a
    leaking wall (``robin``: -n·D∇u = transfer·u) the image has a tail of sinks behind it, a scaled erfc.

    ``x`` and ``source``: (..., d), their first coordinates at least zero [length]; ``t``: positive [time];
    ``diffusivity``: a number or one an axis [length²/time]; ``transfer``: [length/time], for ``robin`` alone.
    Returns (...) [1/length^d]. Close to a wall held at zero no digits are lost.

    Reference: Carslaw and Jaeger, Conduction of Heat in Solids (1959), chapters 10 and 14.
    """
    lengths = {"x": "length", "source": "length", "t": "time", "diffusivity": "length**2/time"}
    per_volume = f"1/length**{_dimension(x)}"
    beside = dimensions(per_volume, transfer="length/time", **lengths)(_half_space)
    return beside(x, source, t, diffusivity, boundary, transfer)


_FREE = {"displacement": "length", "t": "time", "diffusivity": "length**2/time", "advection": "length/time"}


def positive_times(t: Any) -> np.ndarray:
    """Times as float64, all of them positive."""
    t = np.asarray(t, dtype=np.float64)
    if not np.all(t > 0):
        raise InputError(f"a point release has no density but at times above zero; seen {t.min() if t.size else t}")
    return t


def _dimension(points: Any) -> int:
    shape = np.shape(getattr(points, "magnitude", points))
    if not shape or not shape[-1]:
        raise InputError(f"points are arrays (..., d) with their coordinates last; seen the shape {shape}")
    return shape[-1]


def _kernel(displacement: Any, t: Any, diffusivity: Any, advection: Any) -> np.ndarray:
    away, t, root, _ = _prepared(displacement, t, diffusivity, advection)
    size = away.shape[-1]
    # D = R Rᵀ: then (r - vt)ᵀ D⁻¹ (r - vt) is the squared length of R⁻¹ (r - vt)
    scaled = np.linalg.solve(root, away[..., None])[..., 0] / np.sqrt(4 * t)[..., None]
    return np.asarray(np.exp(-np.square(scaled).sum(-1)) / (np.sqrt(4 * math.pi * t) ** size * root.diagonal().prod()))


def _flux(displacement: Any, t: Any, diffusivity: Any, advection: Any) -> np.ndarray:
    away, t, _, velocity = _prepared(displacement, t, diffusivity, advection)
    density = _kernel(displacement, t, diffusivity, advection)[..., None]
    return (away / (2 * t)[..., None] + velocity) * density


def _prepared(
    displacement: Any, t: Any, diffusivity: Any, advection: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    displacement, t = np.asarray(displacement, dtype=np.float64), positive_times(t)
    size = displacement.shape[-1]
    velocity = np.asarray(0.0 if advection is None else advection, dtype=np.float64)
    if velocity.shape not in ((), (size,)):
        raise InputError(f"advection is one number or one for each of {size} axes; seen the shape {velocity.shape}")
    try:
        shape = np.broadcast_shapes(displacement.shape[:-1], t.shape)
    except ValueError:
        raise InputError(
            f"times of shape {t.shape} do not go with displacements of shape {displacement.shape}: the shapes "
            "(...) and (..., d) must broadcast"
        ) from None
    t = np.broadcast_to(t, shape)
    return displacement - velocity * t[..., None], t, _root(diffusivity, size), velocity


def _root(diffusivity: Any, size: int) -> np.ndarray:
    """The Cholesky factor (d, d) of a diffusivity of any form."""
    given = np.asarray(diffusivity, dtype=np.float64)
    if given.shape not in ((), (size,), (size, size)):
        raise InputError(
            f"a diffusivity is one number, one for each of the {size} axes, or a tensor ({size}, {size}); "
            f"seen the shape {given.shape}"
        )
    tensor = given if given.ndim == 2 else np.eye(size) * given
    if np.isfinite(tensor).all() and np.allclose(tensor, tensor.T, rtol=1e-12, atol=0):
        try:
            return np.linalg.cholesky(tensor)
        except np.linalg.LinAlgError:
            pass
    raise InputError(f"a diffusivity is positive (a tensor symmetric and positive definite); seen {given.tolist()}")


def _half_space(x: Any, source: Any, t: Any, diffusivity: Any, boundary: str, transfer: Any) -> np.ndarray:
    if boundary not in ("dirichlet", "neumann", "robin"):
        raise unknown("wall of a half-space", boundary, ("dirichlet", "neumann", "robin"))
    if (transfer is not None) != (boundary == "robin"):
        raise InputError(f"a transfer coefficient goes with the wall 'robin', and only with it; seen {boundary!r}")
    x, source = np.asarray(x, dtype=np.float64), np.asarray(source, dtype=np.float64)
    size = x.shape[-1]
    if source.ndim == 0 or source.shape[-1] != size or np.ndim(diffusivity) > 1:
        raise InputError(
            f"x and source have one number of coordinates, and beside a wall the diffusivity is a number or one an "
            f"axis; seen the shapes {x.shape}, {source.shape} and {np.shape(diffusivity)}"
        )
    near, far = x[..., 0], source[..., 0]
    if np.any(near < 0) or np.any(far < 0):
        raise InputError("the half-space is x_1 >= 0; seen a point beyond the wall")
    free = _kernel(x - source, t, diffusivity, None)
    across = float(np.broadcast_to(np.asarray(diffusivity, dtype=np.float64), (size,))[0])
    t = positive_times(t)
    # the image is exp(-x y/(Dt)) times the release itself: no difference of nearly equal numbers is formed
    if boundary == "dirichlet":
        return np.asarray(free * -np.expm1(-near * far / (across * t)))
    image = np.exp(-near * far / (across * t))
    if boundary == "neumann":
        return np.asarray(free * (1 + image))
    leak = float(transfer)
    if not leak >= 0:
        raise InputError(f"a transfer coefficient is at least zero; seen {transfer!r}")
    reach = np.sqrt(4 * across * t)
    tail = leak / across * np.sqrt(math.pi) * reach * special.erfcx((near + far + 2 * leak * t) / reach)
    return np.asarray(free * (1 + image * (1 - tail)))
