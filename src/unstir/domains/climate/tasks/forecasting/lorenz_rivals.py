r"""Forecasts of two-scale Lorenz-96 by the model that knows one scale: what physics without its convection is good for.

The slow variables obey :math:`\dot X_k=(X_{k+1}-X_{k-2})X_{k-1}-X_k+F-U_k`, and what the fast ones do to them, U, is
told by X itself: a polynomial of fourth degree fitted to the training part, and beside it noise e that remembers,
:math:`e(t+\Delta)=\phi\,e(t)+\sigma\sqrt{1-\phi^2}\,z`, from which an ensemble gets its spread.

Reference: Wilks, Effects of stochastic parametrizations in the Lorenz '96 system, QJRMS 131 (2005) 389, section 3;
Arnold, Moroz, Palmer, Stochastic parametrizations and model uncertainty in the Lorenz '96 system (2013), section 2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unstir.core.seeds import Seeds
from unstir.physics.lorenz import Lorenz96

_DEGREE = 4
_LONGEST = 0.0125  # of a Runge–Kutta step
_SCALE = 10.0  # of X, so that its powers stay small
_ROUNDS = 4


@dataclass(frozen=True)
class OneScale:
    """The one-scale model with its parametrisation, in steps of ``duration``."""

    ring: Lorenz96
    duration: float
    polynomial: np.ndarray
    memory: float
    deviation: float

    def step(self, x: np.ndarray, noise: np.ndarray | float = 0.0) -> np.ndarray:
        """States (n, variables) a step later, while the noise e (of that shape) stays as it is."""
        count = max(1, int(np.ceil(self.duration / _LONGEST - 1e-9)))
        dt = self.duration / count
        for _ in range(count):
            first = self._tendency(x, noise)
            second = self._tendency(x + dt / 2 * first, noise)
            third = self._tendency(x + dt / 2 * second, noise)
            x = x + dt / 6 * (first + 2 * (second + third) + self._tendency(x + dt * third, noise))
        return x

    def forecast(self, past: np.ndarray, steps: int, members: int, seed: int, stochastic: bool = True) -> np.ndarray:
        """Ensembles (cases, members, steps, variables) from the last two states (cases, 2, variables).

        The noise begins at what the last step showed of it. Without ``stochastic`` all members would be the same.
        """
        cases, size = len(past), past.shape[-1]
        x = np.repeat(past[:, -1], members, 0)
        noise: Any = 0.0
        if stochastic:
            noise = np.repeat((self.step(past[:, 0]) - past[:, 1]) / -self.duration, members, 0)
        found = np.empty((cases * members, steps, size))
        seeds = Seeds.range(seed, cases * members).at("one-scale")
        for step in range(steps):
            if stochastic:
                fresh = seeds.at(step).normal((size,), torch.float64).numpy()
                noise = self.memory * noise + self.deviation * np.sqrt(1 - self.memory**2) * fresh
            x = self.step(x, noise)
            found[:, step] = x
        return found.reshape(cases, members, steps, size)

    def _tendency(self, x: np.ndarray, noise: Any) -> np.ndarray:
        return self.ring.tendency(x) - np.polynomial.polynomial.polyval(x / _SCALE, self.polynomial) + noise


def fit_one_scale(triples: np.ndarray, ring: Lorenz96, duration: float) -> OneScale:
    """Fitted to states (n, 3, variables) that follow each other ``duration`` apart.

    The polynomial is that whose steps miss least: what they miss, over the duration, is regressed on the mean of the
    powers at both ends, and the coefficients mended, until nothing is left to mend.
    """
    model = OneScale(ring, duration, np.zeros(_DEGREE + 1), 0.0, 0.0)
    before, after = triples[:, :2].reshape(-1, triples.shape[-1]), triples[:, 1:].reshape(-1, triples.shape[-1])
    powers = sum(np.polynomial.polynomial.polyvander(each.ravel() / _SCALE, _DEGREE) for each in (before, after)) / 2
    for _ in range(_ROUNDS):
        missed = (model.step(before) - after) / duration
        mended = np.linalg.lstsq(powers, missed.ravel(), rcond=None)[0]
        model = OneScale(ring, duration, model.polynomial + mended, 0.0, 0.0)
    first, second = ((triples[:, place + 1] - model.step(triples[:, place])) / duration for place in range(2))
    deviation = float(np.sqrt((np.square(first).mean() + np.square(second).mean()) / 2))
    memory = float(np.clip((first * second).mean() / deviation**2, 0.0, 0.999))
    return OneScale(ring, duration, model.polynomial, memory, deviation)
