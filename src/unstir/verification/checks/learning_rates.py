"""What every schedule of the learning rate keeps, and the curve that each of ours is named after."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import at_most

__all__ = ["learning_rate_bounds", "learning_rate_curve", "learning_rate_smoothness", "learning_rate_warm_up"]

LearningRate = Callable[[float, int], float]
OURS = ("constant", "cosine", "inverse-square-root", "linear")
STEPS = 2000


def _course(rate: LearningRate) -> np.ndarray:
    return np.array([rate(step / STEPS, step) for step in range(STEPS)])


@claim("learning_rates")
def learning_rate_bounds(rate: LearningRate, effort: Effort) -> Iterator[Measured]:
    """Over a whole training it is finite and never negative."""
    rates = _course(rate)
    every = slice(None, None, 20)
    curve = Curve("learning rate", [float(step) for step in range(0, STEPS, 20)], rates[every].tolist())
    plot = Plot("learning rate", "step", "rate", (curve,))
    yield at_most(
        "rates that are negative or not finite", int((~(rates >= 0) | ~np.isfinite(rates)).sum()), 0.0, plot=plot
    )
    yield Measured("largest rate", float(rates.max()), low=np.finfo(float).tiny, high=1e3)


@claim("learning_rates")
def learning_rate_smoothness(rate: LearningRate, effort: Effort) -> Iterator[Measured]:
    """Between one step and the next of two thousand it moves by less than a hundredth of its peak."""
    rates = _course(rate)
    yield at_most("largest jump over the peak", np.abs(np.diff(rates)).max() / rates.max(), 0.01)


@claim("learning_rates", *OURS)
def learning_rate_curve(rate: Any, effort: Effort) -> Iterator[Measured]:
    """It starts at the peak and follows the curve of its name to the end, as NumPy computes it."""
    steps = np.arange(STEPS)
    for final in (0.0, 0.1):
        options = {"final": final, "reference": 300}
        known = {name: value for name, value in options.items() if hasattr(rate, name)}
        own = dataclasses.replace(rate, peak=0.02, **known)
        curve = {
            "Constant": np.ones(STEPS),
            "Linear": np.interp(steps / STEPS, [0, 1], [1, final]),
            "Cosine": final + (1 - final) * np.cos(math.pi * steps / STEPS / 2) ** 2,
            "InverseSquareRoot": np.sqrt(np.minimum(1, 300 / (steps + 1))),
        }[type(rate).__name__]
        yield at_most(f"error over the peak, final {final:g}", np.abs(_course(own) / 0.02 - curve).max(), 1e-12)
        yield at_most(f"distance of the first rate from the peak, final {final:g}", abs(own(0.0, 0) - 0.02), 1e-15)


@claim("learning_rates", *OURS)
def learning_rate_warm_up(rate: Any, effort: Effort) -> Iterator[Measured]:
    """A warm-up of n steps multiplies the curve by k/n in its k-th step, and leaves it alone from the n-th on."""
    for steps in (1, 7, 500):
        plain, risen = (_course(dataclasses.replace(rate, warm_up=warm_up)) for warm_up in (0, steps))
        wanted = plain * np.minimum(1, np.arange(1, STEPS + 1) / steps)
        error = np.abs(risen - wanted).max() / plain.max()
        yield at_most(f"error over the peak, rising over {steps} steps", error, 1e-12)
