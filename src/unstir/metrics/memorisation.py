"""Memorisation: do the samples sit on training rows?"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import Measurement, Metric, SampleSet, Space, check_pair
from unstir.metrics.distances import nearest, nearest_other
from unstir.metrics.resampling import proportion_interval, weighted_mean

__all__ = ["Copied", "Memorisation"]


@dataclass(frozen=True)
class Memorisation(Metric):
    """Samples' distance to the nearest training row, over that between training rows; medians.

    median_i min_j |x_i - y_j|  /  median_j min_{l != j} |y_j - y_l|, in the space of the values. About 1
    for new data of the same law; well below 1 the samples are copies or nearly so. Above 1 they lie off the
    data, which other metrics judge. The reference must be the very training set. ``details`` hold each
    sample's nearest training row and its distance. The floor is the training rows' own, which is 1, with
    the spread of as many rows as there are samples; new data stands in the baseline "held-out".

    Reference: Meehan, Chaudhuri and Dasgupta, A non-parametric test to detect data-copying in generative
    models (2020).
    """

    space: Space = "values"
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    ideal: ClassVar[float] = 1.0
    floor_note: ClassVar[str] = "the floor is each training row against the others"

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError where the two sets' rows differ in length or the training rows are copies."""
        distances, rows = _nearest_training(samples, reference, self.space)
        scale = self._scale(reference)
        nearby = distances[:, 0]
        details = {"nearest_rows": rows[:, 0].tolist(), "nearest_distances": nearby.tolist()}
        value = (_weighted_median(nearby, torch.ones(1, len(nearby))) / scale).item()
        return Measurement(value, lambda counts: _weighted_median(nearby, counts) / scale, details=details)

    def floor(self, reference: SampleSet, count: int, seeds: Seeds, replicates: int) -> list[float]:
        """The training rows' distances to each other, ``count`` of them at a time."""
        own = self._own(reference) / self._scale(reference)
        generator = seeds.at("floor").generator()
        drawn = (torch.from_numpy(generator.integers(0, len(own), count)) for _ in range(replicates))
        return [own[rows].median().item() for rows in drawn]

    def _own(self, reference: SampleSet) -> Tensor:
        return reference.remember(
            ("own neighbours", self.space), lambda: nearest_other(reference.space(self.space))[0][:, 0]
        )

    def _scale(self, reference: SampleSet) -> float:
        scale = _weighted_median(self._own(reference), torch.ones(1, len(reference))).item()
        if scale == 0:
            raise InputError("half of the training rows are copies of others: remove duplicates from the reference")
        return scale


@dataclass(frozen=True)
class Copied(Metric):
    """Fraction of samples much nearer to one training row than to every other one.

    Counted is a sample with d_1 < ratio * d_2, its distances to the nearest training row and to the next that is
    no copy of that one. A third is the usual ratio; new data of the same law hardly reaches it where the data are
    dense, and the baseline "held-out" shows how often. ``details`` hold the samples' and rows' numbers.

    Reference: Yoon et al., Diffusion probabilistic models generalize when they fail to memorize (2023);
    Gu et al., On memorization in diffusion models (2023).
    """

    ratio: float = 1 / 3
    space: Space = "values"
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    floor_note: ClassVar[str] = "the floor is each training row against the others"

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise InputError(f"ratio must lie between 0 and 1, seen {self.ratio}")

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError where the two sets' rows differ in length."""
        distances, rows = _nearest_training(samples, reference, self.space)
        real = reference.space(self.space)
        # among the neighbours, those that repeat the nearest are passed over; where all do, it is a copy for certain
        other = (real[rows] - real[rows[:, :1]]).norm(dim=2) > 0
        second = torch.where(other, distances, torch.inf).min(1).values
        copied = (distances[:, 0] < self.ratio * second).double()
        found = copied.nonzero().flatten()
        details = {"samples": found.tolist(), "training_rows": rows[found, 0].tolist()}
        interval = proportion_interval(copied)
        return Measurement(
            copied.mean().item(), lambda counts: weighted_mean(copied, counts), interval, details=details
        )

    def floor(self, reference: SampleSet, count: int, seeds: Seeds, replicates: int) -> list[float]:
        """How many training rows look like copies of others, ``count`` of them at a time."""
        distances = reference.remember(
            ("two own neighbours", self.space), lambda: nearest_other(reference.space(self.space), 2)[0]
        )
        copied = (distances[:, 0] < self.ratio * distances[:, 1]).numpy()
        generator = seeds.at("floor").generator()
        return [float(copied[generator.integers(0, len(copied), count)].mean()) for _ in range(replicates)]


def _nearest_training(samples: SampleSet, reference: SampleSet, space: Space) -> tuple[Tensor, Tensor]:
    rows, real = samples.space(space), reference.space(space)
    check_pair(rows, real, 3)
    count = min(4, len(real))
    return samples.remember(("nearest", reference, space), lambda: nearest(rows, real, count))


def _weighted_median(values: Tensor, counts: Tensor) -> Tensor:
    """The lower median of each replicate: the first value at which half of the counts are reached."""
    ordered, order = values.sort()
    reached = counts[:, order].double().cumsum(1)
    place = torch.searchsorted(reached, reached[:, -1:] / 2)
    return ordered[place[:, 0].clamp(max=len(values) - 1)]
