r"""Rotations and the sphere a second time: their harmonics summed as they are, and points that integrate them exactly.

Nothing here goes through the kernels, quaternions or draws of ``processes``. A zonal function of degree l is the
character :math:`\chi_l(\omega) = \sin(l+\frac12)\omega/\sin\frac\omega2` on SO(3), and :math:`(2l+1)P_l(\cos\theta)` on
the sphere divided by what makes it reproduce itself; both belong to the eigenvalue :math:`-l(l+1)` of the Laplacian.
"""

import math
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor


def cosine(space: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The cosine of the angle between two states' elements."""
    if space == "sphere":
        return (x * y).sum(-1)
    return ((x * y).sum((-1, -2)) - 1) / 2


def zonal(space: str, cosines: np.ndarray, degree: int) -> Iterator[np.ndarray]:
    """chi_l or P_l at angles with these cosines, for l = 0, 1, ... ``degree``."""
    before, here = np.zeros_like(cosines), np.ones_like(cosines)
    for number in range(degree + 1):
        yield here
        if space == "sphere":
            before, here = here, ((2 * number + 1) * cosines * here - number * before) / (number + 1)
        elif number == 0:
            before, here = here, 1 + 2 * cosines
        else:
            before, here = here, 2 * cosines * here - before


def kernel(space: str, cosines: np.ndarray, deviation: float) -> np.ndarray:
    """The heat kernel against the uniform law: (2l+1) exp(-l(l+1) sigma^2/2) times a zonal function, summed over l.

    To 1e-16 of its peak; in the far tail nothing is left of its digits.
    """
    if math.isinf(deviation):
        return np.ones_like(cosines)
    total = np.zeros_like(cosines)
    for number, term in enumerate(zonal(space, cosines, int(9 / deviation) + 3)):
        total += (2 * number + 1) * math.exp(-number * (number + 1) * deviation**2 / 2) * term
    return total


def points(space: str, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """States of one element and their weights, which average all harmonics up to the degree exactly."""
    circle = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    heights, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    if space == "sphere":
        across = np.sqrt(1 - heights**2)[:, None]
        tops = np.broadcast_to(heights[:, None], (len(heights), len(circle)))
        x = np.stack((across * np.cos(circle), across * np.sin(circle), tops), -1)
        return x.reshape(-1, 3), np.repeat(weights / 2 / len(circle), len(circle))
    first, second, third = np.meshgrid(circle, np.arccos(heights), circle, indexing="ij")
    angles = np.stack((first, second, third), -1).reshape(-1, 3)
    volume = np.broadcast_to((weights / 2)[None, :, None], first.shape).reshape(-1) / len(circle) ** 2
    return Rotation.from_euler("ZYZ", angles).as_matrix(), volume


def high_precision(space: str, angle: float, deviation: float) -> tuple[Any, Any]:
    """log-density and score at an angle by the harmonic series in mpmath, with as many digits as cancel."""
    lost = (angle / deviation) ** 2 / 2 / math.log(10)
    with mpmath.workdps(int(40 + lost + 2 * abs(math.log10(deviation)))):
        omega, sigma = mpmath.mpf(angle), mpmath.mpf(deviation)
        degree = int(mpmath.sqrt(2 * math.log(10) * mpmath.mp.dps) / sigma) + 3
        density, slope = mpmath.mpf(0), mpmath.mpf(0)
        c, s = mpmath.cos(omega), mpmath.sin(omega)
        before, here = mpmath.mpf(0), mpmath.mpf(1)
        before_slope, here_slope = mpmath.mpf(0), mpmath.mpf(0)  # in the angle
        for number in range(degree + 1):
            weight = (2 * number + 1) * mpmath.exp(-number * (number + 1) * sigma**2 / 2)
            density += weight * here
            slope += weight * here_slope
            if space == "sphere":
                ahead = ((2 * number + 1) * c * here - number * before) / (number + 1)
                ahead_slope = ((2 * number + 1) * (c * here_slope - s * here) - number * before_slope) / (number + 1)
            elif number == 0:
                ahead, ahead_slope = 1 + 2 * c, -2 * s
            else:
                ahead = 2 * c * here - before
                ahead_slope = 2 * c * here_slope - 2 * s * here - before_slope
            before, here, before_slope, here_slope = here, ahead, here_slope, ahead_slope
        return mpmath.log(density), slope / density


def elements(state: Tensor, space: str) -> np.ndarray:
    """A state as float64 (batch, n, *element)."""
    element = (3,) if space == "sphere" else (3, 3)
    return state.double().reshape(len(state), -1, *element).numpy()


def turned(space: str, x: Tensor, turn: Tensor) -> Tensor:
    """All elements of a state turned by one rotation, from the left."""
    return (turn @ x[..., None])[..., 0] if space == "sphere" else turn @ x


def some_turn(seed: int) -> Tensor:
    """A rotation by SciPy."""
    return torch.from_numpy(Rotation.random(rng=np.random.default_rng(seed)).as_matrix())
