"""Distances of tables of mixed columns, and the matrix of how columns hang together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.measuring import Statistic
from unstir.domains.tables.encoding import TableEncoding
from unstir.metrics.base import Measurement, Metric, SampleSet


def sample_set(encoding: TableEncoding, state: Mapping[str, Tensor]) -> SampleSet:
    """A table as metrics see it.

    The values (n, columns) are normal scores of the decoded and rounded numbers, and the numbers of the categories; the
    features are the same scores and the one-hot code of the categories.
    """
    again = encoding.by_column(encoding.encode(encoding.decode(state)))
    features, values = [], []
    for column in encoding.columns:
        encoded = torch.from_numpy(np.asarray(again[column.name]))
        values.append(encoded.double())
        if column.categorical:
            # a different category is as far as two deviations of a number
            features.append(2**0.5 * torch.nn.functional.one_hot(encoded, len(column.levels)).double())
        else:
            features.append(encoded.double()[:, None])
    return SampleSet(torch.stack(values, 1), torch.cat(features, 1), source="normal scores, categories one-hot")


@dataclass(frozen=True)
class ColumnDistances(Statistic):
    """Largest difference of distribution functions (numbers) or total variation (categories), mean over the columns.

    ``sizes``: of each column the number of categories, 0 for numbers.

    Reference: Kolmogorov (1933) and Smirnov (1948) for the distance of distribution functions.
    """

    sizes: tuple[int, ...]
    limits = (0.0, 1.0)

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        return self.each(samples, weights, reference, others).mean(1)

    def details(self, samples: SampleSet, reference: SampleSet) -> Mapping[str, Any]:
        even = [torch.full((1, len(rows)), 1 / len(rows), dtype=torch.float64) for rows in (samples, reference)]
        return {"each": self.each(samples, even[0], reference, even[1])[0].tolist()}

    def each(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        """The distance of every column, (r, columns)."""
        found = []
        for place, size in enumerate(self.sizes):
            first, second = samples.values[:, place], reference.values[:, place]
            if size:
                shares = [
                    torch.zeros(len(weight), size, dtype=torch.float64).index_add_(1, values.long(), weight)
                    for values, weight in ((first, weights), (second, others))
                ]
                found.append((shares[0] - shares[1]).abs().sum(1) / 2)
            else:
                pooled, which = torch.cat((first, second)).unique(return_inverse=True)
                signed = torch.cat((weights, -others), 1)
                steps = torch.zeros(len(signed), len(pooled), dtype=torch.float64).index_add_(1, which, signed)
                found.append(steps.cumsum(1).abs().amax(1))
        return torch.stack(found, 1)


@dataclass(frozen=True)
class Associations(Statistic):
    """Root mean square difference of how pairs of columns hang together.

    Between two columns of numbers the correlation of their normal scores, between two of categories Cramér's V, between
    one of each the correlation ratio; the mean is over all pairs of different columns.

    Reference: Cramér, Mathematical methods of statistics (1946), section 21.9; Pearson, On the general theory of
    skew correlation (1905), for the correlation ratio.
    """

    sizes: tuple[int, ...]
    limits = (0.0, 2.0)

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        gap = self.matrix(samples, weights) - self.matrix(reference, others)
        upper = torch.triu(torch.ones(len(self.sizes), len(self.sizes), dtype=torch.bool), 1)
        return gap[:, upper].square().mean(1).sqrt()

    def matrix(self, rows: SampleSet, weights: Tensor) -> Tensor:
        """The associations under weights (r, n), (r, columns, columns); 1 on the diagonal, 0 where one is constant."""
        design = torch.cat([self._design(rows.values[:, place], size) for place, size in enumerate(self.sizes)], 1)
        second = torch.einsum("rn,nf,ng->rfg", weights, design, design)
        first = weights @ design
        starts = np.cumsum([0, *(max(size, 1) for size in self.sizes)])
        spans = [slice(start, end) for start, end in pairwise(starts)]
        found = torch.eye(len(self.sizes), dtype=torch.float64).repeat(len(weights), 1, 1)
        for row, one in enumerate(spans):
            for column, other in enumerate(spans[:row]):
                value = self._association(
                    second[:, one, other], second[:, one, one], second[:, other, other], first[:, one], first[:, other],
                    bool(self.sizes[row]), bool(self.sizes[column]),
                )  # fmt: skip
                found[:, row, column] = found[:, column, row] = value
        return found

    @staticmethod
    def _design(values: Tensor, size: int) -> Tensor:
        return torch.nn.functional.one_hot(values.long(), size).double() if size else values[:, None]

    @staticmethod
    def _association(
        joint: Tensor, own: Tensor, others: Tensor, mean: Tensor, other_mean: Tensor, one: bool, two: bool
    ) -> Tensor:
        """Of one pair, from its second and first moments; ``one`` and ``two`` say which of them are categories."""
        if one and two:
            expected = mean[:, :, None] * other_mean[:, None]
            chi = torch.where(expected > 0, (joint - expected).square() / expected.clamp(min=1e-300), 0.0).sum((1, 2))
            present = torch.minimum((mean > 0).sum(1), (other_mean > 0).sum(1))
            return (chi / (present - 1).clamp(min=1)).clamp(max=1).sqrt()
        if one or two:
            if two:
                joint, own, mean, other_mean, others = joint.mT, others, other_mean, mean, own
            within, variance = joint[..., 0], others[:, 0, 0] - other_mean[:, 0].square()
            between = torch.where(mean > 0, within.square() / mean.clamp(min=1e-300), 0.0).sum(1)
            ratio = (between - other_mean[:, 0].square()) / variance.clamp(min=1e-12)
            return torch.where(variance > 1e-12, ratio, 0.0).clamp(0, 1).sqrt()
        product = (own[:, 0, 0] - mean[:, 0].square()) * (others[:, 0, 0] - other_mean[:, 0].square())
        covariance = joint[:, 0, 0] - mean[:, 0] * other_mean[:, 0]
        return torch.where(product > 1e-12, covariance / product.clamp(min=1e-12).sqrt(), 0.0).clamp(-1, 1)


@dataclass(frozen=True)
class TreesTwoSample(Metric):
    """Classifier two-sample test by boosted trees: the area under its curve on rows that it was not trained on.

    scikit-learn's gradient-boosted trees, cross-validated in ``folds`` folds on equally many rows of both sets,
    ``most`` at most. 0.5 for equal laws, in expectation, 1 where each row can be told. Trees see what a kernel
    overlooks: steps, gaps, impossible combinations. The floor is one half of the reference against the other.

    Reference: Lopez-Paz and Oquab, Revisiting classifier two-sample tests (2017); Friedman, Greedy function
    approximation: a gradient boosting machine (2001).
    """

    folds: int = 4
    most: int = 1000
    ideal = 0.5
    limits = (0.0, 1.0)
    floor_note = "the floor is one half of the reference against the other"

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        from sklearn.ensemble import HistGradientBoostingClassifier

        half = min(len(samples), len(reference), self.most)
        generator = seeds.at("trees").generator()
        chosen, real = (torch.from_numpy(generator.permutation(len(rows))[:half]) for rows in (samples, reference))
        table = torch.cat((samples.space("features")[chosen], reference.space("features")[real])).numpy()
        fake = np.arange(2 * half) < half
        fold = np.arange(2 * half) % half % self.folds
        wins = []
        for number in range(self.folds):
            trees = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=15, early_stopping=False, random_state=0)
            trees.fit(table[fold != number], fake[fold != number])
            scores = torch.from_numpy(trees.decision_function(table[fold == number]))
            difference = scores[fake[fold == number]][:, None] - scores[~fake[fold == number]]
            wins.append((difference > 0).double() + 0.5 * (difference == 0).double())
        mine = [chosen[number :: self.folds] for number in range(self.folds)]
        value = float(np.mean([won.mean().item() for won in wins]))

        def resampled(counts: Tensor) -> Tensor:
            draws = seeds.at("trees", "bootstrap").generator()
            total = torch.zeros(len(counts), dtype=torch.float64)
            for won, columns in zip(wins, mine, strict=True):
                width = won.shape[1]
                others = torch.from_numpy(draws.multinomial(width, np.full(width, 1 / width), len(counts))).double()
                part = counts[:, columns].double()
                total += ((part @ won) * others).sum(1) / (part.sum(1).clamp(min=1) * width)
            replicates = total / self.folds
            # the folds' trees share most of their rows (Nadeau and Bengio, 2003)
            widening = (1 + self.folds / (self.folds - 1)) ** 0.5
            return value + widening * (replicates - replicates.mean())

        return Measurement(value, resampled, note=f"{half} of each")

    def floor(self, reference: SampleSet, count: int, seeds: Seeds, replicates: int) -> list[float]:
        generator = seeds.at("floor").generator()
        values = []
        for _ in range(min(replicates, 6)):
            rows = torch.from_numpy(generator.permutation(len(reference)))
            half = min(count, len(rows) // 2)
            first, second = reference.take(rows[:half]), reference.take(rows[half : 2 * half])
            values.append(self.measure(first, second, seeds).value)
        return values


def sizes_of(encoding: TableEncoding) -> tuple[int, ...]:
    """Of every column the number of its categories, 0 for numbers."""
    return tuple(len(column.levels) if column.categorical else 0 for column in encoding.columns)


def association_matrix(rows: SampleSet, sizes: Sequence[int]) -> np.ndarray:
    """How the columns of a table hang together, (columns, columns)."""
    even = torch.full((1, len(rows)), 1 / len(rows), dtype=torch.float64)
    return Associations(tuple(sizes)).matrix(rows, even)[0].numpy()
