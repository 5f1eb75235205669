r"""The random clock of Student's noise: how much of it passes between two noise levels, and given the whole.

A Student-t number with :math:`\nu` degrees of freedom is a Brownian motion read at the inverse-gamma time
:math:`V = \nu/\chi^2_\nu`. That law is self-decomposable: for every c in (0, 1) there is an independent :math:`W \ge 0`
with :math:`V = c^2 V' + W` in law, and so a clock with independent increments reads :math:`r^2 V` at every noise level
r (Sato). With the Laplace transform L of V, that of W is

.. math:: \frac{L(p)}{L(c^2p)} = c^{-\nu/2}\,\frac{K_{\nu/2}(z)}{K_{\nu/2}(cz)}, \qquad z = \sqrt{2\nu p},

which is inverted here along Talbot's contour, to about ten digits.

Reference: Grosswald, The Student t-distribution of any degree of freedom is infinitely divisible (1976); Halgreen,
Self-decomposability of the generalized inverse Gaussian and hyperbolic distributions (1979); Sato, Self-similar
processes with independent increments (1991); Weideman, Optimizing Talbot's contours (2006).
"""

import functools
import math

import numpy as np
from scipy import special
from scipy.interpolate import CubicSpline

_NODES = 28
_DENSE = 24  # points in a factor e of the increment
_NEGLIGIBLE = 40.0  # exp(-40)
_TAIL = 1e-10  # of a probability, above which it has digits
_FINER = 12
_PLACES, _ROWS = 224, 2048


def log_density(v: np.ndarray, degrees: float) -> np.ndarray:
    """log of V's density."""
    half = degrees / 2
    return half * math.log(half) - special.gammaln(half) - (half + 1) * np.log(v) - half / v


def quantile(u: np.ndarray, degrees: float) -> np.ndarray:
    """V for uniform u in (0, 1)."""
    return (degrees / 2) / special.gammaincinv(degrees / 2, u)


def given_distance(u: np.ndarray, squares: np.ndarray, dimension: np.ndarray, degrees: float) -> np.ndarray:
    """V for uniform u, given the sum of ``squares`` of that many standardised Student numbers that share it."""
    return (degrees + squares) / 2 / special.gammaincinv((degrees + dimension) / 2, u)


class Increment:
    """The law of W for one c: quantiles and log-density, from splines in log W."""

    def __init__(self, degrees: float, c: float) -> None:
        """Inverts the transform at places even in log W."""
        self.degrees, self.c = degrees, c
        self.least = degrees * (1 - c) ** 2 / (2 * _NEGLIGIBLE)
        most = (degrees / 2) / special.gammaincinv(degrees / 2, 1e-18)
        count = 2 + math.ceil(_DENSE * math.log(most / self.least))
        logs = np.linspace(math.log(self.least), math.log(most), count)
        places = np.exp(logs)
        above = np.clip(self._inverted(places, lambda p, f: (1 - f) / p), 1e-300, 1)
        told = above > _TAIL  # beyond, rounding drowns the tail, which is a power of w by then
        logs, places, above = logs[told], places[told], above[told]
        density = np.maximum(self._inverted(places, lambda p, f: f), 1e-300)
        below = np.clip(self._inverted(places, lambda p, f: f / p), 1e-300, 1)
        # in a table so fine that straight lines will do
        self._table = CubicSpline(logs, np.log(density))(np.linspace(logs[0], logs[-1], _FINER * len(logs)))
        self._first, self._pace = logs[0], (_FINER * len(logs) - 1) / (logs[-1] - logs[0])
        # ranks as log-odds, in which both tails keep their digits
        odds = np.log(below) - np.log(above)
        rising = np.concatenate(([True], np.diff(np.maximum.accumulate(odds)) > 1e-9)) & (below > _TAIL)
        self._log_quantile = CubicSpline(odds[rising], logs[rising])
        self._reach = odds[rising][[0, -1]]

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """W for uniform u in (0, 1)."""
        odds = special.logit(u)
        beyond = np.maximum(odds - self._reach[1], 0.0) * 2 / self.degrees
        return np.exp(self._log_quantile(np.clip(odds, *self._reach)) + beyond)

    def log_density(self, w: np.ndarray) -> np.ndarray:
        """log of W's density; far below the bulk it is as good as minus infinity."""
        place = (np.log(np.maximum(w, self.least)) - self._first) * self._pace
        last = len(self._table) - 1
        cell = np.clip(place.astype(np.int64), 0, last - 1)
        left = self._table[cell]
        found = left + np.minimum(place - cell, 1.0) * (self._table[cell + 1] - left)
        found -= np.maximum(place - last, 0.0) / self._pace * (self.degrees / 2 + 1)
        return np.where(w < self.least, -1e4, found)

    def laplace(self, p: np.ndarray) -> np.ndarray:
        """E exp(-p W), of complex p off the negative axis."""
        z, half = np.sqrt(2 * self.degrees * p), self.degrees / 2
        share = special.kve(half, z) / special.kve(half, self.c * z)
        return self.c**-half * share * np.exp(-(1 - self.c) * z)

    def share(self, u: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """V' for uniform u, given c^2 V' + W = ``whole``; both of shape (rows,).

        The density of the logit of c^2 V'/whole is taken as linear between some hundred places.
        """
        found = np.empty_like(whole)
        for start in range(0, len(whole), _ROWS):
            rows = slice(start, start + _ROWS)
            found[rows] = self._share(u[rows], whole[rows])
        return found

    def _share(self, u: np.ndarray, whole: np.ndarray) -> np.ndarray:
        slowest = self.c**2 * self.degrees / (2 * _NEGLIGIBLE)
        low = np.log(slowest) - np.log(np.maximum(whole - slowest, slowest))
        high = np.maximum(np.log(np.maximum(whole - self.least, self.least)) - math.log(self.least), low + 1)
        places = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, _PLACES)
        early, late = special.expit(places), special.expit(-places)
        own = whole[:, None] * early / self.c**2
        logs = log_density(own, self.degrees) + self.log_density(whole[:, None] * late) + np.log(early) + np.log(late)
        weights = np.exp(logs - logs.max(1, keepdims=True))
        areas = np.cumsum((weights[:, 1:] + weights[:, :-1]) / 2, 1)
        wanted = u * areas[:, -1]
        cell = np.minimum((areas < wanted[:, None]).sum(1), _PLACES - 2)
        row = np.arange(len(whole))
        left, right = weights[row, cell], weights[row, cell + 1]
        rest = wanted - np.where(cell > 0, areas[row, np.maximum(cell - 1, 0)], 0.0)
        # the place in the cell where the area under a straight line is ``rest``
        root = np.sqrt(np.maximum(left**2 + 2 * (right - left) * rest, 0.0))
        inside = np.clip(2 * rest / np.maximum(left + root, 1e-300), 0, 1)
        place = places[row, cell] + inside * (high - low) / (_PLACES - 1)
        return whole * special.expit(place) / self.c**2

    def _inverted(self, w: np.ndarray, make: object) -> np.ndarray:
        angle = math.pi * (2 * np.arange(_NODES // 2) + 1) / _NODES
        turned = 0.6407 * angle
        contour = _NODES * (0.5017 * angle / np.tan(turned) - 0.6122 + 0.2645j * angle)
        slope = _NODES * (0.5017 / np.tan(turned) - 0.5017 * turned / np.sin(turned) ** 2 + 0.2645j)
        p = contour / w[:, None]
        values = make(p, self.laplace(p))  # type: ignore[operator]
        return 2 / _NODES / w * (np.exp(contour) * slope * values).imag.sum(1)


@functools.lru_cache(maxsize=512)
def increment(degrees: float, c: float) -> Increment:
    """The law of W, made once for each pair."""
    return Increment(degrees, c)
