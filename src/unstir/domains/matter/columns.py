"""Distances of numbers and of elements between two sets of structures, one row a structure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.domains.measuring import Statistic
from unstir.metrics.base import SampleSet

ELEMENTS = 119


@dataclass(frozen=True)
class Wasserstein(Statistic):
    """The area between two distribution functions of a column of the values, in its own unit: Wasserstein-1.

    Reference: Vallender, Calculation of the Wasserstein distance between probability distributions on the line (1974).
    """

    column: int
    unit: str = "1"  # type: ignore[misc]

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        both = torch.cat((samples.values[:, self.column], reference.values[:, self.column]))
        pooled, which = both.unique(return_inverse=True)
        signed = torch.cat((weights, -others), 1)
        steps = torch.zeros(len(signed), len(pooled), dtype=torch.float64).index_add_(1, which, signed)
        return (steps.cumsum(1)[:, :-1].abs() * pooled.diff()).sum(1)

    def details(self, samples: SampleSet, reference: SampleSet) -> Mapping[str, Any]:
        return {
            name: {"mean": column.mean().item(), "median": column.median().item()}
            for name, rows in (("samples", samples), ("data", reference))
            for column in (rows.values[:, self.column],)
        }


@dataclass(frozen=True)
class Shares(Statistic):
    """Total variation between the mean rows of features that are shares, such as those of elements; 1 for disjoint."""

    limits = (0.0, 1.0)

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        shares = [weights @ samples.space("features"), others @ reference.space("features")]
        return (shares[0] - shares[1]).abs().sum(1) / 2


def element_shares(numbers: list[np.ndarray]) -> np.ndarray:
    """Of every structure the share of atoms that each element has, float64 (n, 119), by atomic numbers."""
    found = np.zeros((len(numbers), ELEMENTS))
    for row, each in enumerate(numbers):
        np.add.at(found[row], each, 1 / len(each))
    return found
