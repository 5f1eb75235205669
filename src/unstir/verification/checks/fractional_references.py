"""References that the claims about fractional diffusion are measured against; mpmath and SciPy do the work."""

import functools
from typing import Any

import numpy as np
from scipy import linalg, special


def laplace_inverse(x: Any, order: float, beta: float) -> np.ndarray:
    """E_{order,beta}(-x) by the inverse Laplace transform of s^(order-beta)/(s^order + x) in mpmath, fixed Talbot.

    Reference: Abate, Valkó, Multi-precision Laplace transform inversion (Int. J. Numer. Meth. Engng. 2004).
    """
    import mpmath

    with mpmath.workdps(48):  # 0.6 digits a node: 38 digits, of which a result of 1e-24 keeps 14
        count = 64
        power, shift = mpmath.mpf(float(order)), mpmath.mpf(float(order)) - mpmath.mpf(float(beta))
        terms = [(weight * point**shift, point**power) for point, weight in _talbot(count)]
        sums = [mpmath.fsum((top / (bottom + mpmath.mpf(float(value)))).real for top, bottom in terms) for value in x]
        return np.array([float(2 * total / 5) for total in sums])


@functools.cache
def _talbot(count: int) -> list[tuple[Any, Any]]:
    """Points and weights of the fixed Talbot contour; a sum over them times 2/5 is the inverse transform at one."""
    import mpmath

    with mpmath.workdps(48):
        radius = mpmath.mpf(2 * count) / 5
        points = [(radius, mpmath.exp(radius) / 2)]
        for index in range(1, count):
            angle = mpmath.pi * index / count
            cotangent = mpmath.cot(angle)
            point = radius * angle * mpmath.mpc(cotangent, 1)
            slope = angle + (angle * cotangent - 1) * cotangent
            points.append((point, mpmath.exp(point) * mpmath.mpc(1, slope)))
        return points


def half_line(function: Any, step: float = 0.02) -> Any:
    """The integral over (0, infinity) of a function that is smooth inside and falls, by a double-exponential rule."""
    nodes = np.arange(-4.0, 6.0, step)
    x = np.exp(nodes - np.exp(-nodes))
    return step * np.sum(function(x) * x * (1 + np.exp(-nodes)), axis=-1)


def jacobi_rates(order: float, count: int, size: int = 40) -> np.ndarray:
    """The smallest eigenvalues of the restricted fractional Laplacian on (-1, 1), by Galerkin's method.

    ``(1-x²)^s P_n`` with Jacobi's polynomials P_n^(s,s), s = order/2, is mapped to ``Gamma(order+n+1)/n! P_n``.

    Reference: Dyda, Kuznetsov, Kwaśnicki, Eigenvalues of the fractional Laplace operator in the unit ball
    (J. London Math. Soc. 2017).
    """
    power = order / 2
    degrees = np.arange(size)

    def gram(exponent: float) -> np.ndarray:
        points, weights = special.roots_jacobi(size + 2, exponent, exponent)
        values = special.eval_jacobi(degrees[:, None], power, power, points)
        values /= np.exp(special.gammaln(degrees + 1 + power) - special.gammaln(degrees + 1))[:, None]
        return (values * weights) @ values.T

    factors = np.exp(special.gammaln(order + degrees + 1) - special.gammaln(degrees + 1))
    energy = np.diag(factors * np.diag(gram(power)))
    return np.sort(linalg.eigh(energy, gram(order), eigvals_only=True))[:count]
