"""Distances of sets of rotations, and the stand-ins that they are read against."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.measuring import Statistic
from unstir.metrics.base import SampleSet
from unstir.processes import quaternions
from unstir.processes.rotations import RotationProcess


def sample_set(matrices: Tensor) -> SampleSet:
    """Rotations (n, count, 3, 3) as metrics see them: the entries of the matrices are the features."""
    return SampleSet(quaternions.from_matrix(matrices), matrices.double().flatten(1), source="entries of the matrices")


@dataclass(frozen=True)
class TurnDistances(Statistic):
    """Kolmogorov and Smirnov's distance of how far rows are turned from fixed ones, mean over ``most`` of these.

    The fixed rotations are rows of the reference, evenly spread over it; with several rotations a row, each is
    measured from its own. The laws of all such angles tell a law on SO(3) whole.
    """

    most: int = 32
    limits = (0.0, 1.0)

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        chosen = torch.linspace(0, len(reference) - 1, min(self.most, len(reference))).round().long()
        found = []
        for fixed in reference.values[chosen]:
            for place, centre in enumerate(fixed):
                first, second = (
                    quaternions.angle_between(rows.values[:, place], centre) for rows in (samples, reference)
                )
                pooled, which = torch.cat((first, second)).unique(return_inverse=True)
                steps = torch.zeros(len(weights), len(pooled), dtype=torch.float64)
                steps = steps.index_add_(1, which, torch.cat((weights, -others), 1))
                found.append(steps.cumsum(1).abs().amax(1))
        return torch.stack(found).mean(0)


def uniform(like: Tensor, seeds: Seeds) -> Tensor:
    """Rotations drawn uniformly, of the shape of ``like`` (n, count, 3, 3)."""
    q = seeds.at("uniform").normal((like.shape[1], 4), torch.float64)
    return quaternions.to_matrix(quaternions.normalised(q)).to(like.dtype)


def one_gaussian(matrices: Tensor, process: RotationProcess, seeds: Seeds) -> Tensor:
    r"""Draws of one isotropic Gaussian a rotation, with the rows' mean rotation and spread.

    Of an isotropic Gaussian the mean matrix is :math:`e^{-\sigma^2}` times its centre.
    """
    drawn = []
    for place in range(matrices.shape[1]):
        mean = matrices[:, place].double().mean(0)
        left, scale, right = torch.linalg.svd(mean)
        sign = torch.diag(mean.new_tensor([1.0, 1.0, float(torch.linalg.det(left @ right).sign())]))
        shrunk = (scale @ sign.diagonal() / 3).clamp(1e-6, 1 - 1e-9)
        t = process.schedule.time_at_sigma((-shrunk.log()).sqrt().clamp(max=process.schedule.sigma(1.0).item()))
        centre = (left @ sign @ right).expand(len(seeds), 3, 3)
        drawn.append(process.noise(centre, t, seeds.at("gaussian", place)))
    return torch.stack(drawn, 1).to(matrices.dtype)


def axis_places(matrices: Tensor, axis: int) -> Tensor:
    """Where the turned axis points, in the equal-area projection of both hemispheres folded onto the upper one; (n, 2).

    Reference: Snyder, Map projections: a working manual (1987), chapter 24 (Lambert's azimuthal projection).
    """
    pole = matrices[..., :, axis].double().reshape(-1, 3)
    pole = torch.where(pole[:, 2:] < 0, -pole, pole)
    return pole[:, :2] / (1 + pole[:, 2:]).sqrt()


def angles_to(matrices: Tensor, centre: Tensor) -> Tensor:
    """How far each rotation (n, 3, 3) is turned from the centre, in degrees."""
    q, c = quaternions.from_matrix(matrices), quaternions.from_matrix(centre)
    return quaternions.angle_between(q, c) * (180 / math.pi)
