"""Distances of sets of angles, and the stand-ins that they are read against; angles in turns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.measuring import Statistic
from unstir.metrics.base import SampleSet
from unstir.processes import wrapped_normal


def sample_set(turns: Tensor) -> SampleSet:
    """Angles (n, d) as metrics see them: their cosines and sines are the features."""
    angle = 2 * math.pi * turns.double()
    features = torch.stack((angle.cos(), angle.sin()), -1).flatten(1)
    return SampleSet(turns.double(), features, source="cosine and sine of every angle")


@dataclass(frozen=True)
class AngleHistograms(Statistic):
    """Total variation between the histograms of single angles, averaged over the angles.

    ``bins`` equal arcs; half the sum of the differences of the shares: 0 for equal histograms, 1 for disjoint ones.
    """

    bins: int = 36
    limits = (0.0, 1.0)

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        return _variation([self._codes(samples), self._codes(reference)], weights, others, self.bins).mean(1)

    def details(self, samples: SampleSet, reference: SampleSet) -> Mapping[str, Any]:
        first, second = (
            torch.full((1, len(rows)), 1 / len(rows), dtype=torch.float64) for rows in (samples, reference)
        )
        found = _variation([self._codes(samples), self._codes(reference)], first, second, self.bins)
        return {"each": found[0].tolist()}

    def _codes(self, rows: SampleSet) -> Tensor:
        return _arcs(rows.values, self.bins)


@dataclass(frozen=True)
class PairHistograms(Statistic):
    """Total variation between the two-dimensional histograms of pairs of angles, averaged over the ``pairs``."""

    pairs: tuple[tuple[int, int], ...]
    bins: int = 18
    limits = (0.0, 1.0)

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        return _variation([self._codes(samples), self._codes(reference)], weights, others, self.bins**2).mean(1)

    def _codes(self, rows: SampleSet) -> Tensor:
        arcs = _arcs(rows.values, self.bins)
        return torch.stack([arcs[:, first] * self.bins + arcs[:, second] for first, second in self.pairs], 1)


@dataclass(frozen=True)
class CircularCorrelations(Statistic):
    """Root mean square difference of the correlations between cosines and sines of different angles.

    Four correlations a pair; the mean is over all pairs of different angles. Zero for laws of the same second
    trigonometric moments.

    Reference: Mardia and Jupp, Directional statistics (2000), section 11.2 (dependence of circular variables).
    """

    limits = (0.0, 2.0)

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        angles = samples.values.shape[1]
        apart = ~torch.eye(angles, dtype=torch.bool).repeat_interleave(2, 0).repeat_interleave(2, 1)
        gap = correlations(samples.space("features"), weights) - correlations(reference.space("features"), others)
        return gap[:, apart].square().mean(1).sqrt()


def correlations(features: Tensor, weights: Tensor) -> Tensor:
    """The correlation matrices of features (n, f) under weights (r, n), (r, f, f); zero where one does not vary."""
    means = weights @ features
    second = torch.einsum("rn,nf,ng->rfg", weights, features, features)
    covariance = second - means[:, :, None] * means[:, None]
    deviation = covariance.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    scale = deviation[:, :, None] * deviation[:, None]
    return torch.where(scale > 1e-12, covariance / scale.clamp(min=1e-12), 0.0)


def independent(turns: Tensor, seeds: Seeds) -> Tensor:
    """Every angle drawn from its own rows, independently of the others."""
    rows = seeds.at("independent").integers(0, len(turns), (turns.shape[1],))
    return turns.gather(0, rows)


def one_wrapped_normal(turns: Tensor, seeds: Seeds) -> Tensor:
    """Draws of one wrapped normal with the rows' circular means and the covariance of the shortest ways from them."""
    centre = circular_mean(turns)
    away = wrapped_normal.shortest(turns.double() - centre, 1.0)
    covariance = away.T @ away / len(away)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()
    noise = seeds.at("wrapped-normal").normal((turns.shape[1],), torch.float64)
    return wrapped_normal.wrap((centre + noise @ root.T).to(turns.dtype), 1.0)


def circular_mean(turns: Tensor) -> Tensor:
    """The mean direction of every column, in turns."""
    angle = 2 * math.pi * turns.double()
    return torch.atan2(angle.sin().mean(0), angle.cos().mean(0)) / (2 * math.pi)


def histogram_density(turns: Tensor, at: Tensor, bins: int = 72) -> Tensor:
    """Log-density in nats of each row of ``at`` if every angle had the histogram of ``turns`` and no other knew of it.

    Half a count is added to every arc, so that no arc is impossible; against the uniform law in turns.
    """
    codes, places = _arcs(turns, bins), _arcs(at, bins)
    total = torch.zeros(len(at), dtype=torch.float64)
    for column in range(turns.shape[1]):
        counts = torch.bincount(codes[:, column], minlength=bins).double() + 0.5
        total += (counts / counts.sum() * bins).log()[places[:, column]]
    return total


def pairs_of(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The pairs of neighbouring columns that belong together: 1 and 2, 3 and 4; for an odd number the last two too."""
    count = len(names)
    return tuple((first, first + 1) for first in range(0, count - 1, 2)) + (
        ((count - 2, count - 1),) if count % 2 and count > 1 else ()
    )


def _arcs(turns: Tensor, bins: int) -> Tensor:
    return (turns.double() * bins).long().clamp(0, bins - 1)


def _variation(codes: Sequence[Tensor], weights: Tensor, others: Tensor, bins: int) -> Tensor:
    """Total variation of the histograms of every column, (r, columns)."""
    found = []
    for column in range(codes[0].shape[1]):
        shares = [
            torch.zeros(len(weight), bins, dtype=torch.float64).index_add_(1, code[:, column], weight)
            for code, weight in zip(codes, (weights, others), strict=True)
        ]
        found.append((shares[0] - shares[1]).abs().sum(1) / 2)
    return torch.stack(found, 1)


def as_columns(values: np.ndarray, names: Sequence[str]) -> dict[str, list[str]]:
    """Angles as the text of a table, to six digits behind the point."""
    return {name: [f"{value:.6f}" for value in column] for name, column in zip(names, values.T, strict=True)}
