"""Claims of noise on the sphere, and on rotations, where all ways to a place are as long."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import stats

from unstir.processes.rotations import RotationProcess
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.checks import compact_references as reference
from unstir.verification.statistics import at_most, distribution_is, mean_is, probable

__all__ = [
    "bridge_between_antipodes_has_no_favourite",
    "bridge_over_half_a_turn_goes_either_way",
    "sphere_noise_is_rotation_noise_of_a_point",
]


@claim("processes", "sphere")
def bridge_between_antipodes_has_no_favourite(process: Any, effort: Effort) -> Iterator[Measured]:
    """Between two antipodes the bridge crosses every part of the equator alike, with little noise as with much."""
    count = effort.of(4_000, 40_000)
    pole = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(count, 1, 3)
    for deviation in effort.of((1e-3, 0.3), (1e-6, 1e-3, 0.05, 0.3, 1.0)):
        spread = torch.tensor(deviation, dtype=torch.float64)
        drawn = process.draw_product(pole, spread, -pole, spread, effort.seeds(count, "ring", str(deviation)))[:, 0]
        longitude = np.arctan2(*drawn[:, :2].numpy().T)
        law = stats.uniform(-math.pi, 2 * math.pi)
        yield distribution_is(f"longitude, deviations {deviation:g}", longitude, law.cdf)
        yield mean_is(f"height, deviations {deviation:g}", drawn[:, 2].numpy()[:, None], np.zeros(1))
        if deviation < 0.1:  # on the ring, 1/sqrt(2) of each
            yield at_most(f"height over the noise, deviations {deviation:g}", drawn[:, 2].abs().max() / deviation, 6.0)


@claim("processes", "rotation")
def bridge_over_half_a_turn_goes_either_way(process: Any, effort: Effort) -> Iterator[Measured]:
    """To a rotation half a turn away the bridge goes by either side as often, and lands where the flat bridge does."""
    count = effort.of(4_000, 40_000)
    start = torch.eye(3, dtype=torch.float64).expand(count, 1, 3, 3)
    end = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)).expand(count, 1, 3, 3)
    for deviation in effort.of((1e-3, 0.3), (1e-6, 1e-3, 0.05, 0.3)):
        spread = torch.tensor(deviation, dtype=torch.float64)
        drawn = process.draw_product(start, spread, end, spread, effort.seeds(count, "half", str(deviation)))[:, 0]
        turn = torch.atan2(drawn[:, 1, 0] - drawn[:, 0, 1], drawn[:, 0, 0] + drawn[:, 1, 1]).numpy()  # about the axis
        left = int((turn > 0).sum())
        chance = stats.binomtest(left, count).pvalue
        yield probable(f"draws on the one side, deviations {deviation:g}", chance, f"{left} of {count}")
        if deviation < 0.1:
            away = (np.abs(turn) - math.pi / 2) / deviation * math.sqrt(2)
            yield distribution_is(f"angle along the way, deviations {deviation:g}", away, stats.norm.cdf)


@claim("processes", "sphere")
def sphere_noise_is_rotation_noise_of_a_point(process: Any, effort: Effort) -> Iterator[Measured]:
    """A point turned by noise on the rotations moves as far as noise on the sphere moves it."""
    count = effort.of(4_000, 40_000)
    rotations = RotationProcess(process.schedule)
    pole = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(count, 1, 3)
    still = torch.eye(3, dtype=torch.float64).expand(count, 1, 3, 3)
    for t in effort.of((0.5, 0.75), (0.1, 0.3, 0.5, 0.75, 0.9)):
        time, seeds = torch.tensor(t, dtype=torch.float64), effort.seeds(count, "projected", str(t))
        moved = process.noise(pole, time, seeds.at("sphere"))[:, 0, 2].numpy()
        turned = rotations.noise(still, time, seeds.at("rotations"))[:, 0, 2, 2].numpy()
        result = stats.ks_2samp(moved, turned, method="asymp")
        yield probable(
            f"height, t = {t:g}", result.pvalue, f"distance {result.statistic:.4f}, {count} and {count} draws"
        )
        grid, weights = np.polynomial.legendre.leggauss(600)
        density = weights / 2 * reference.kernel("sphere", grid, float(process.schedule.sigma(t)))
        yield mean_is(f"mean height, t = {t:g}", moved[:, None], (density * grid).sum(keepdims=True))
