"""The Mittag-Leffler function of a real argument: what the exponential becomes when the time derivative is fractional.

For a negative argument, where the power series cancels beyond use, everything here is an integral or a sum of
positive terms only, so that no digit is lost for any order, however near to one or to zero.
"""

import math
from typing import Any

import numpy as np
from scipy import special

from unstir.core.errors import InputError
from unstir.physics.units import dimensions

__all__ = ["mittag_leffler"]

_STEP = 0.25  # of the trapezoidal rule; its error is exp(-2 pi b / step) with b near pi/2, the strip's half-width
_NEGLIGIBLE = 38.0  # exp(-38) is beyond the last digit
_SERIES = 0.5  # up to this modulus the power series loses no more than one digit
_CHUNK = 1 << 20  # elements of a temporary


@dimensions(returns="1", z="1")
def mittag_leffler(z: Any, alpha: float | int, beta: float | int = 1.0) -> Any:
    """Mittag-Leffler function E_{alpha,beta}(z) of real arguments, relative error below 1e-12.

    ``E(z) = sum_k z^k / Gamma(alpha k + beta)``; with ``beta = 1`` the solution ``E(-t^alpha)`` of the fractional
    relaxation ``d^alpha u/dt^alpha = -u``, and ``t^(alpha-1) E_{alpha,alpha}(-t^alpha)`` its impulse response.

    For ``z < -1/2`` it is an integral over the spectrum of relaxation rates, positive for ``alpha <= beta <= 1``,
    by the trapezoidal rule in the logarithm of the rate. The pole that nears the axis as ``alpha`` tends to one is
    met halfway between two nodes and its share added in closed form: that share becomes exp(z).

    Arguments: ``z`` array of any shape, dimension 1; ``alpha`` in (0, 1]; ``beta`` in [alpha, 1]. Returns a float64
    array of the same shape, or a float for a number. Beyond the largest float64 it is infinite.

    Raises InputError for other orders and for arguments that are no finite real numbers.

    Reference: Gorenflo, Loutchko, Luchko, Computation of the Mittag-Leffler function and its derivative (Fract.
    Calc. Appl. Anal. 2002), the spectrum; Hunter, The numerical evaluation of integrals with poles
    near the path (Numer. Math. 1972), the pole's share.
    """
    if not 0 < alpha <= 1:
        raise InputError(f"mittag_leffler: the order alpha lies in (0, 1]; seen {alpha}")
    if not alpha <= beta <= 1:
        raise InputError(f"mittag_leffler: beta lies between alpha = {alpha} and 1; seen {beta}")
    argument = np.asarray(z)
    if argument.dtype.kind not in "fiu" or not np.isfinite(argument).all():
        raise InputError("mittag_leffler: z must be finite real numbers")
    flat = argument.astype(np.float64).ravel()
    result = np.empty_like(flat)
    if alpha == 1:
        with np.errstate(over="ignore"):
            result[:] = np.exp(flat)
        return _shaped(result, argument)
    for chosen, rule in (
        (np.abs(flat) <= _SERIES, _series),
        (flat > _SERIES, _growing),
        (flat < -_SERIES, _relaxing if beta == 1 and alpha <= 0.6 else _spectral),
    ):
        if chosen.any():
            result[chosen] = rule(flat[chosen], float(alpha), float(beta))
    return _shaped(result, argument)


def _shaped(result: np.ndarray, like: np.ndarray) -> Any:
    return result.reshape(like.shape) if like.ndim else float(result[0])


def _series(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """The power series, by Horner's rule; 2^-70 (70 + 1) is negligible even where the sum is smallest."""
    coefficients = special.rgamma(alpha * np.arange(70) + beta)
    return np.polynomial.polynomial.polyval(z, coefficients)


def _growing(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """z > 1/2: terms of one sign, or the exponential that they sum to once the algebraic rest is negligible."""
    logarithm = np.log(z)
    root = logarithm / alpha  # of z^(1/alpha), which may overflow
    result = np.empty_like(z)
    large = root > math.log(_NEGLIGIBLE)
    with np.errstate(over="ignore"):
        result[large] = np.exp((1 - beta) * root[large] + np.exp(root[large])) / alpha
    # the largest term stands at alpha k = z^(1/alpha) <= 38, and beyond alpha k = 180 none is left
    powers = np.arange(math.ceil(180 / alpha) + 70)
    gammas = special.gammaln(alpha * powers + beta)
    for index in np.flatnonzero(~large):
        result[index] = np.exp(powers * logarithm[index] - gammas).sum()
    return result


def _relaxing(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """beta = 1, alpha <= 0.6: the mean of arg(1 + w^alpha e^(i pi alpha)/x)/(pi alpha), w exponential, x = -z.

    This is the spectral integral after an integration by parts, which spares the long tail of slow rates.
    """
    logarithms = np.arange(-_NEGLIGIBLE, math.log(_NEGLIGIBLE) + _STEP, _STEP)
    weights = _STEP * np.exp(logarithms - np.exp(logarithms)) / (math.pi * alpha)
    powers = np.exp(alpha * logarithms)
    sine, cosine = powers * math.sin(math.pi * alpha), powers * math.cos(math.pi * alpha)
    result = np.empty_like(z)
    for part in _parts(len(z), len(weights)):
        result[part] = np.arctan2(sine, cosine - z[part, None]) @ weights
    return result


def _spectral(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """The integral of exp(-w) w^(1-beta) q (s1 + s2 q)/(q^2 + 2 q cos(pi alpha) + 1) over log w, q = w^alpha/x.

    s1 = sin(pi (beta - alpha))/pi, s2 = sin(pi beta)/pi, x = -z.
    """
    beyond = 1 - alpha  # exact for alpha >= 1/2, so the functions below keep their digits near one
    first, second = np.sin(np.pi * np.array([min(beta - alpha, 1 - (beta - alpha)), min(beta, 1 - beta)])) / np.pi
    gap = 4 * math.sin(math.pi * beyond / 2) ** 2
    # left of the pole at log(x)/alpha the integrand falls as w^(1-beta+alpha), right of it as w^(1-beta) at least
    reach = _NEGLIGIBLE / (1 - beta + alpha) + math.log(2) / alpha
    if beta < 1:
        reach = min(reach, _NEGLIGIBLE / (1 - beta))
    start = -_STEP * math.ceil(reach / _STEP)
    nodes = np.arange(start, math.log(_NEGLIGIBLE) + 2 * _STEP, _STEP)
    rates, weights, powers = np.exp(nodes), _STEP * np.exp((1 - beta) * nodes), np.exp(alpha * nodes)
    pole = np.log(-z) / alpha
    shift = np.remainder(pole + _STEP / 2, _STEP)  # puts the pole halfway between two nodes
    result = np.empty_like(z)
    for part in _parts(len(z), len(nodes)):
        ratio = powers * (np.exp(alpha * shift[part]) / -z[part])[:, None]
        spectrum = ratio * (first + second * ratio) / ((ratio - 1) ** 2 + gap * ratio)
        decay = np.exp(-rates * np.exp(shift[part])[:, None])
        result[part] = np.einsum("ij,ij,j->i", decay, spectrum, weights) * np.exp((1 - beta) * shift[part])
    angle = math.pi * beyond / alpha
    if angle < math.pi / 2:
        with np.errstate(over="ignore"):
            root = np.exp(np.minimum(pole, 700.0))
        share = np.exp(-root * math.cos(angle)) * np.cos(root * math.sin(angle) - (1 - beta) * math.pi / alpha)
        result += 2 / alpha * share * np.exp((1 - beta) * pole) / (math.exp(2 * math.pi * angle / _STEP) + 1)
    return result


def _parts(count: int, width: int) -> list[slice]:
    size = max(1, _CHUNK // width)
    return [slice(start, start + size) for start in range(0, count, size)]
