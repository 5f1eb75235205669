"""Counts: photons, electrons, events."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.noises.base import MeasurementNoise

__all__ = ["PoissonNoise"]

_LEAST = 1e-6  # counts: darker values expect this many, so that every clean value has a law


@dataclass(frozen=True)
class PoissonNoise(MeasurementNoise):
    r"""Counting noise: each value is read by a number of events, of which ``gain`` are expected for one unit.

    With clean values z and the ``background`` b, in the unit of the measured values, counts k are Poisson with the mean
    :math:`g\,(z + b)`, 1e-6 at least; what is read is :math:`k/g - b`, in the unit of z and with the mean z.
    ``reading_of`` makes it of counts. On data around zero a background that makes all of z + b positive is needed.
    Raises InputError for a gain that is not positive, and for readings that no count gives.

    Reference: Snyder, Hammoud, White, Image recovery from data acquired with a charge-coupled-device camera (1993).
    """

    gain: float | int = 100.0
    background: float | int = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.gain, float | int) or not 0 < self.gain < math.inf:
            raise InputError(f"a gain is positive and finite, in counts for one unit; seen {self.gain}")
        if not isinstance(self.background, float | int) or not math.isfinite(self.background):
            raise InputError(
                f"a background is a finite number, in the unit of what is measured; seen {self.background}"
            )

    def expected(self, clean: Tensor) -> Tensor:
        """The mean counts, float64."""
        return (self.gain * (clean.double() + self.background)).clamp(min=_LEAST)

    def reading_of(self, counts: Tensor) -> Tensor:
        """What is read where so many are counted."""
        return counts / self.gain - self.background

    def counts_of(self, reading: Tensor) -> Tensor:
        """The counts behind a reading, float64 whole numbers.

        Raises InputError where there is no whole number near (to a hundredth, or six digits).
        """
        counts = self.gain * (reading.double() + self.background)
        whole = counts.round()
        # single precision has seven digits of the reading, which the background may use up
        allowed = 0.01 + 1e-6 * self.gain * (reading.double().abs() + abs(self.background))
        wrong = ((counts - whole).abs() > allowed) | (whole < 0)
        if bool(wrong.any()):
            raise InputError(
                f"a reading of Poisson noise stands for whole counts, reading = counts/{self.gain:g} - "
                f"{self.background:g}; seen one of {counts[wrong].flatten()[0].item():g} counts. "
                "Check gain and background, or make readings of counts with reading_of"
            )
        return whole

    def draw(self, clean: Tensor, seeds: Seeds) -> Tensor:
        """By the inverse of the distribution function: one uniform number a value."""
        chances = seeds.uniform(tuple(clean.shape[1:])).cpu().numpy()
        counts = stats.poisson.ppf(chances, self.expected(clean).detach().cpu().numpy())
        return self.reading_of(torch.as_tensor(counts, dtype=torch.float64).to(clean.device)).to(clean.dtype)

    def log_likelihood(self, reading: Tensor, clean: Tensor) -> Tensor:
        counts, expected = self.counts_of(reading), self.expected(clean)
        return (counts * expected.log() - expected - torch.lgamma(counts + 1)).flatten(1).sum(1)

    def approximate_deviation(self, clean: Tensor) -> Tensor:
        """The standard deviation of a reading, for methods that take noise for normal; of the values' dtype."""
        return (self.expected(clean).sqrt() / self.gain).to(clean.dtype)

    @classmethod
    def examples(cls) -> Mapping[str, "PoissonNoise"]:
        """Few counts, and many upon a background."""
        return {"few counts": cls(3.0, 0.5), "many": cls(200.0, 2.0)}
