"""Two-sample tests by classifiers: can one tell the samples from the data?"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import Measurement, Metric, SampleSet, Space, check_pair
from unstir.metrics.distances import nearest_other

__all__ = ["NearestNeighbour", "TwoSample"]


@dataclass(frozen=True)
class _Test(Metric):
    ideal: ClassVar[float] = 0.5
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    floor_note: ClassVar[str] = "the floor is one half of the reference against the other"

    def floor(self, reference: SampleSet, count: int, seeds: Seeds, replicates: int) -> list[float]:
        """Real against real without a shared row: disjoint random halves, of at most ``count`` rows each."""
        generator = seeds.at("floor").generator()
        values = []
        for _ in range(replicates):
            rows = torch.from_numpy(generator.permutation(len(reference)))
            half = min(count, len(rows) // 2)
            first, second = reference.take(rows[:half]), reference.take(rows[half : 2 * half])
            values.append(self.measure(first, second, seeds).value)
        return values


@dataclass(frozen=True)
class TwoSample(_Test):
    r"""Classifier two-sample test: area under the curve of a small classifier, cross-validated.

    The classifier is kernel ridge regression to +1 (sample) and -1 (data) on standardised features, with a Gaussian
    kernel exp(-|x - y|^2 / 2d), whose width is the rows' mean distance: :math:`f = K (K + \lambda n I)^{-1} y`.
    The value is the mean over ``folds`` of the probability that a held-out sample scores above a held-out
    row of data; 0.5 in expectation for equal laws, 1 where each one can be told. Equally many of both are used,
    ``most`` at most. The interval resamples samples and data with the classifiers as trained, and is widened
    by Nadeau and Bengio's factor sqrt(1 + folds / (folds - 1)), since the folds share their training rows.

    Reference: Lopez-Paz and Oquab, Revisiting classifier two-sample tests (2017); Rifkin, Yeo and Poggio,
    Regularized least-squares classification (2003); Nadeau and Bengio, Inference for the generalization
    error (2003).
    """

    folds: int = 5
    ridge: float = 1e-4
    most: int = 2000
    space: Space = "features"

    def __post_init__(self) -> None:
        if self.folds < 2 or self.ridge < 1e-5:
            raise InputError(f"two-sample needs folds >= 2 and ridge >= 1e-5, seen {self.folds} and {self.ridge}")

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError for fewer than two rows of each set a fold."""
        pooled, chosen = _pool(samples, reference, self.space, self.most, 2 * self.folds, seeds)
        half = len(chosen)
        pooled = (pooled - pooled.mean(0)) / pooled.std(0).clamp(min=1e-12)
        # twice the number of features is the mean squared distance of standardised rows
        kernel = torch.cdist(pooled, pooled).square_().mul_(-0.5 / pooled.shape[1]).exp_().float()
        # single precision serves: the ridge keeps the condition number below 1 / ridge
        target = torch.cat([torch.ones(half), -torch.ones(half)])
        # rows arrive in random order, so that every folds-th one is a random fold, of equally many of both
        fold = torch.arange(half).remainder(self.folds).repeat(2)
        wins = []
        for number in range(self.folds):
            train, test = (fold != number).nonzero().flatten(), (fold == number).nonzero().flatten()
            gram = kernel[train][:, train]
            gram.diagonal().add_(self.ridge * len(train))
            scores = kernel[test][:, train] @ torch.cholesky_solve(target[train, None], torch.linalg.cholesky(gram))
            fake, real = scores.flatten().chunk(2)
            difference = fake[:, None] - real
            wins.append((difference > 0).double() + 0.5 * (difference == 0).double())
        mine = [chosen[number :: self.folds] for number in range(self.folds)]

        def resampled(counts: Tensor) -> Tensor:
            total = torch.zeros(len(counts), dtype=torch.float64)
            generator = seeds.at("two-sample", "bootstrap").generator()
            for won, columns in zip(wins, mine, strict=True):
                width = won.shape[1]
                drawn = torch.from_numpy(generator.multinomial(width, np.full(width, 1 / width), len(counts))).double()
                part = counts[:, columns]
                total += ((part @ won) * drawn).sum(1) / (part.sum(1).clamp(min=1) * width)
            replicates = total / self.folds
            # the folds' classifiers share most of their rows, so that the folds' errors go together
            widening = math.sqrt(1 + self.folds / (self.folds - 1))
            return value + widening * (replicates - replicates.mean())

        value = math.fsum(won.mean().item() for won in wins) / self.folds
        return Measurement(value, resampled, note=f"{half} of each")


@dataclass(frozen=True)
class NearestNeighbour(_Test):
    """Nearest-neighbour two-sample test: leave-one-out accuracy of 1-NN at telling samples from data.

    0.5 in expectation for equal laws, 1 for laws apart, and well *below* 0.5 when samples are copies: a
    copy's nearest row is its original. Equally many of both sets are used, ``most`` at most. The interval
    resamples all rows, mutual neighbours as a pair, since these are right or wrong together.

    Reference: Xu et al., An empirical study on evaluation metrics of generative adversarial networks (2018);
    Schilling, Multivariate two-sample tests based on nearest neighbors (1986).
    """

    most: int = 5000
    space: Space = "features"

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError where the two sets' rows differ in length."""
        pooled, chosen = _pool(samples, reference, self.space, self.most, 2, seeds)
        half = len(chosen)
        neighbour = nearest_other(pooled)[1][:, 0]
        number = torch.arange(2 * half)
        fake = number < half
        right = (fake == fake[neighbour]).double()
        mutual = neighbour[neighbour] == number
        pair = torch.where(mutual, torch.minimum(number, neighbour), number)
        _, cluster = pair.unique(return_inverse=True)
        clusters = int(cluster.max()) + 1
        correct = torch.zeros(clusters, dtype=torch.float64).index_add_(0, cluster, right)
        size = torch.zeros(clusters, dtype=torch.float64).index_add_(0, cluster, torch.ones_like(right))

        def resampled(counts: Tensor) -> Tensor:
            generator = seeds.at("nearest-neighbour", "bootstrap").generator()
            drawn = generator.multinomial(clusters, np.full(clusters, 1 / clusters), len(counts))
            weights = torch.from_numpy(drawn).double()
            return (weights @ correct) / (weights @ size)

        return Measurement(right.mean().item(), resampled, note=f"{half} of each")


def _pool(
    samples: SampleSet, reference: SampleSet, space: Space, most: int, minimum: int, seeds: Seeds
) -> tuple[Tensor, Tensor]:
    """Equally many rows of both in random order, the samples' first; and the numbers of the samples' rows."""
    rows, real = samples.space(space), reference.space(space)
    check_pair(rows, real, minimum)
    half = min(len(rows), len(real), most)
    generator = seeds.at("two-sample").generator()
    chosen = torch.from_numpy(generator.permutation(len(rows))[:half])
    chosen_real = torch.from_numpy(generator.permutation(len(real))[:half])
    return torch.cat([rows[chosen], real[chosen_real]]), chosen
