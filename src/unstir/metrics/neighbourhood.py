"""Precision, recall, density and coverage: who lies in whose neighbourhood.

Around each row is a ball that reaches to its k-th nearest other row of the same set (k = 5); fidelity asks
how samples lie in the data's balls, diversity how the data are met by samples.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import Measurement, Metric, SampleSet, Space, check_pair
from unstir.metrics.distances import blocks, nearest_other
from unstir.metrics.resampling import proportion_interval, weighted_mean

__all__ = ["Coverage", "Density", "Precision", "Recall"]

_STRICTLY = 1 - 1e-9  # a row at the ball's very edge is outside, whatever the rounding


@dataclass(frozen=True)
class _Neighbourhood(Metric):
    neighbours: int = 5
    space: Space = "features"
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    ideal: ClassVar[float] = 1.0
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    floor_note: ClassVar[str] = "the floor's rows are in the reference too"

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise InputError(f"neighbours must be at least 1, seen {self.neighbours}")

    def _balls(self, samples: SampleSet, reference: SampleSet) -> tuple[Tensor, Tensor]:
        """Boolean (n, m): is sample i in the ball of row j; is row j in the ball of sample i."""

        def compute() -> tuple[Tensor, Tensor]:
            rows, real = samples.space(self.space), reference.space(self.space)
            check_pair(rows, real, self.neighbours + 1)
            radius, real_radius = self._radius(samples), self._radius(reference)
            parts = [
                (near < real_radius * _STRICTLY, near < radius[part, None] * _STRICTLY)
                for part, near in blocks(rows, real)
            ]
            in_real, in_fake = zip(*parts, strict=True)
            return torch.cat(in_real), torch.cat(in_fake)

        return samples.remember(("balls", reference, self.space, self.neighbours), compute)

    def _radius(self, rows: SampleSet) -> Tensor:
        def compute() -> Tensor:
            return nearest_other(rows.space(self.space), self.neighbours)[0][:, -1]

        return rows.remember(("radius", self.space, self.neighbours), compute)


@dataclass(frozen=True)
class Precision(_Neighbourhood):
    """Fraction of samples that lie in the ball of at least one row of the data: fidelity.

    One outlier among the data, with its large ball, can raise it; density is the robust form.

    Reference: Kynkäänniemi et al., Improved precision and recall metric for assessing generative models
    (2019), equation 2.
    """

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError for no more rows than neighbours."""
        inside = self._balls(samples, reference)[0].any(1).double()
        return Measurement(
            inside.mean().item(), lambda counts: weighted_mean(inside, counts), proportion_interval(inside)
        )


@dataclass(frozen=True)
class Density(_Neighbourhood):
    """Number of the data's balls that a sample lies in, over k, on average: fidelity, robust to outliers.

    Expected to be 1 for equal laws; samples crowded where the data are dense exceed 1.

    Reference: Naeem et al., Reliable fidelity and diversity metrics for generative models (2020).
    """

    limits: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError for no more rows than neighbours."""
        inside = self._balls(samples, reference)[0].sum(1).double() / self.neighbours
        return Measurement(inside.mean().item(), lambda counts: weighted_mean(inside, counts))


@dataclass(frozen=True)
class Recall(_Neighbourhood):
    """Fraction of the data that lie in the ball of at least one sample: diversity.

    The bootstrap keeps each sample's ball, since a sample drawn twice would have one of radius zero.

    Reference: Kynkäänniemi et al., Improved precision and recall metric for assessing generative models
    (2019), equation 2.
    """

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError for no more rows than neighbours."""
        inside = self._balls(samples, reference)[1]
        return Measurement(inside.any(0).double().mean().item(), lambda counts: _met(inside, counts))


@dataclass(frozen=True)
class Coverage(_Neighbourhood):
    """Fraction of the data's balls that hold at least one sample: diversity, robust to outlying samples.

    For equal laws its expectation is 1 - (m - 1) ... (m - k) / ((n + m - 1) ... (n + m - k)) with n samples and
    m rows of data, which is below 1: 0.969 for n = m and k = 5.

    Reference: Naeem et al., Reliable fidelity and diversity metrics for generative models (2020).
    """

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError for no more rows than neighbours."""
        inside = self._balls(samples, reference)[0]
        return Measurement(inside.any(0).double().mean().item(), lambda counts: _met(inside, counts))


def _met(inside: Tensor, counts: Tensor) -> Tensor:
    """The fraction of columns that a drawn row is true for, in each replicate."""
    met = torch.zeros(len(counts), dtype=torch.float64)
    for part in inside.split(4096, dim=1):
        # single precision counts exactly up to 2^24, and a sum of non-negative counts is zero only if all are
        met += (counts.float() @ part.float() > 0).double().sum(1)
    return met / inside.shape[1]
