r"""Exact weights of a polynomial along the denoising path, for any schedule and any times.

With :math:`\ell=\log(\alpha/\sigma)`, every description of the probability-flow ODE is linear in a scaled state X
and a quantity Q that a network may predict, :math:`dX = Q\,d\kappa`:

======== =============================== ===================================== ==================================
Q        meaning                         X                                     :math:`d\kappa`
======== =============================== ===================================== ==================================
data     :math:`\hat x_0`                :math:`x/\sigma`                      :math:`d(\alpha/\sigma)`
noise    :math:`\hat\epsilon`            :math:`x/\alpha`                      :math:`d(\sigma/\alpha)`
velocity turning of X                    :math:`x/\sqrt{c^2\alpha^2+\sigma^2}` :math:`d\arctan(\sigma/c\alpha)`
flow     :math:`\hat\epsilon-\hat x_0/c` :math:`x/(c\alpha+\sigma)`            :math:`d(\sigma/(c\alpha+\sigma))`
======== =============================== ===================================== ==================================

(c is the data's standard deviation.) Q is replaced by the polynomial through some of its values, in the variable
``log-snr``, ``ratio`` (sigma/alpha), ``time``, ``angle`` or ``flow``. With noise of strength :math:`\tau(\ell)`,
for data and noise, :math:`d\kappa` and X change as in SA-Solver's proposition 4.2. Integrals are done over
:math:`u=\ell-\ell_t` by Gauss and Legendre in short panels, to rounding: nothing cancels, in steps of any width.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from unstir.processes.schedules.base import Schedule

PREDICTIONS = ("data", "noise", "velocity", "flow")
VARIABLES = ("log-snr", "ratio", "time", "angle", "flow")
_PANEL = 1.5  # of the exponent; with 16 nodes the error is far below rounding
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


class Level(NamedTuple):
    """A noise level: its time, half its log-SNR, and alpha and sigma there."""

    time: float
    half: float
    alpha: float
    sigma: float


# by identity, as the plans of ``linear.py``: each level is asked for by several steps, of many samplers
_levels: dict[tuple[int, float], tuple[Level, Schedule]] = {}
_MOST_LEVELS = 8192


def level(schedule: Schedule, time: float) -> Level:
    """The noise level at a time."""
    found = _levels.get((id(schedule), time))
    if found is None:
        if len(_levels) >= _MOST_LEVELS:
            _levels.clear()
        place = Level(time, schedule.log_snr(time).item() / 2, schedule.alpha(time).item(), schedule.sigma(time).item())
        found = _levels[id(schedule), time] = (place, schedule)
    return found[0]


class Weights(NamedTuple):
    """Of x_s = ``state`` x_t + sum ``values`` Q_j + ``noise`` z."""

    state: float
    values: tuple[float, ...]
    noise: float


@dataclass(frozen=True)
class Interpolation:
    """What is interpolated, in which variable, and how much noise is added where.

    ``noise_rate`` is tau squared, within ``noise_range`` of half log-SNRs and zero elsewhere; ``scale`` is c above.
    Up to ``averaged`` values are weighted by the polynomial's mean over the step in its variable times the integral
    of a constant, as many published methods have it, in place of exactly.
    """

    prediction: str = "data"
    variable: str = "log-snr"
    noise_rate: float = 0.0
    noise_range: tuple[float, float] = (-math.inf, math.inf)
    scale: float = 1.0
    averaged: int = 0

    def weights(self, schedule: Schedule, here: Level, there: Level, nodes: tuple[Level, ...]) -> Weights:
        """From ``here`` to ``there``, both with finite log-SNR, of the values at distinct ``nodes``."""
        width = there.half - here.half
        total = self._constant(here, there)
        if len(nodes) == 1:
            values = [total]
        elif len(nodes) <= self.averaged:
            ends = self._variable(schedule, here, np.array([width]), (there.time,))
            share = (1 + _NODES) / 2 * ends
            values = list(total * (_lagrange(share, self._places(schedule, here, nodes)) @ _WEIGHTS) / 2)
        else:
            points, measure = self._quadrature(here, there)
            basis = _lagrange(self._variable(schedule, here, points), self._places(schedule, here, nodes))
            values = list(basis @ measure)
        return Weights(self._kept(here, there), tuple(map(float, values)), self._spread(here, there))

    def dialect(self, here: Level) -> tuple[float, float]:
        """The factors of x_t and of the mean in Q."""
        if self.prediction == "data":
            return 0.0, 1.0
        if self.prediction == "noise":
            return 1 / here.sigma, -here.alpha / here.sigma
        norm = self._norm(here)
        if self.prediction == "velocity":
            return self.scale * here.alpha / (norm * here.sigma), -norm / (self.scale * here.sigma)
        return 1 / here.sigma, -norm / (self.scale * here.sigma)

    def decay(self, here: Level, there: Level) -> float:
        """The integral of tau squared over half the log-SNR."""
        start, end = self._noisy(here, there)
        return self.noise_rate * (end - start) if self.noise_rate and end > start else 0.0

    def _noisy(self, here: Level, there: Level) -> tuple[float, float]:
        return max(here.half, self.noise_range[0]), min(there.half, self.noise_range[1])

    def _norm(self, place: Level) -> float:
        if self.prediction == "velocity":
            return math.hypot(self.scale * place.alpha, place.sigma)
        return self.scale * place.alpha + place.sigma

    def _kept(self, here: Level, there: Level) -> float:
        if self.prediction == "data":
            return there.sigma / here.sigma * math.exp(-self.decay(here, there))
        if self.prediction == "noise":
            return there.alpha / here.alpha
        return self._norm(there) / self._norm(here)

    def _spread(self, here: Level, there: Level) -> float:
        if not self.decay(here, there):
            return 0.0
        if self.prediction == "data":
            return there.sigma * math.sqrt(-math.expm1(-2 * self.decay(here, there)))
        start, end = self._noisy(here, there)
        return there.sigma * math.exp(there.half - start) * math.sqrt(-self.noise_rate * math.expm1(2 * (start - end)))

    def _constant(self, here: Level, there: Level) -> float:
        """The integral of d kappa, in units of x_s."""
        width = there.half - here.half
        if self.prediction == "data":
            return -there.alpha * math.expm1(-width - self.decay(here, there))
        if self.prediction == "noise":
            start, end = self._noisy(here, there)
            noisy = -self.noise_rate * math.exp(there.half - start) * math.expm1(start - end) if end > start else 0.0
            return -there.sigma * (math.expm1(width) + noisy)
        name = "angle" if self.prediction == "velocity" else "flow"
        return self._norm(there) * float(self._canonical(name, here, np.array([width]))[0])

    def _quadrature(self, here: Level, there: Level) -> tuple[np.ndarray, np.ndarray]:
        """Points u in (0, width), and weights that hold d kappa, in units of x_s."""
        width = there.half - here.half
        edges = [0.0, *(edge - here.half for edge in self.noise_range if 0 < edge - here.half < width), width]
        panels = [
            np.linspace(start, end, 1 + math.ceil((end - start) * (1 + self.noise_rate) / _PANEL))
            for start, end in pairwise(edges)
        ]
        starts = np.concatenate([panel[:-1] for panel in panels])[:, None]
        halves = np.concatenate([np.diff(panel) for panel in panels])[:, None] / 2
        points = (starts + halves * (1 + _NODES)).ravel()
        return points, (halves * _WEIGHTS).ravel() * self._density(here, there, points)

    def _density(self, here: Level, there: Level, u: np.ndarray) -> np.ndarray:
        left = there.half - here.half - u
        place = here.half + u
        low, high = self.noise_range
        pace = 1 + self.noise_rate * ((place > low) & (place < high))
        if self.prediction == "data":
            noisy = np.maximum(np.minimum(there.half, high) - np.maximum(place, low), 0.0) if self.noise_rate else 0.0
            return there.alpha * pace * np.exp(-left - self.noise_rate * noisy)
        if self.prediction == "noise":
            return -there.sigma * pace * np.exp(left)
        ratio = np.exp(-place) / self.scale
        if self.prediction == "velocity":
            return -self._norm(there) / (ratio + 1 / ratio)
        return -self._norm(there) / (ratio + 2 + 1 / ratio)

    def _places(self, schedule: Schedule, here: Level, nodes: tuple[Level, ...]) -> np.ndarray:
        widths = np.array([node.half - here.half for node in nodes])
        return self._variable(schedule, here, widths, tuple(node.time for node in nodes))

    def _variable(
        self, schedule: Schedule, here: Level, u: np.ndarray, times: tuple[float, ...] | None = None
    ) -> np.ndarray:
        """The variable at l = l_t + u less its value here, up to a factor, with all digits however small u is."""
        if self.variable != "time":
            return self._canonical(self.variable, here, u)
        known = schedule.time(torch.from_numpy(2 * (here.half + u))).numpy() if times is None else np.array(times)
        return known - here.time

    def _canonical(self, variable: str, here: Level, u: np.ndarray) -> np.ndarray:
        if variable == "log-snr":
            return u
        change = np.expm1(-u)
        if variable == "ratio":
            return change
        ratio = math.exp(-here.half) / self.scale
        if variable == "angle":
            return np.arctan(ratio * change / (1 + ratio * ratio * np.exp(-u)))
        return ratio * change / ((1 + ratio) * (1 + ratio * np.exp(-u)))


def _lagrange(points: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """The polynomials that are one at their own node and zero at the others, (nodes, points)."""
    rows = []
    for own, node in enumerate(nodes):
        others = np.delete(nodes, own)
        rows.append(np.prod((points[None] - others[:, None]) / (node - others[:, None]), axis=0))
    return np.stack(rows)
