r"""Coverage: how much of the data the samples meet, and how many of the samples lie where the data are.

Crystals are points whose squared distance is the mean of two: that of their fingerprints of structure and that of their
compositions, each divided by its mean over all pairs of the data. Two are *near* if they are nearer than 95 of 100
crystals of the data are to the one beside them: the radius comes from the data, no number is to be chosen.

Reference: Xie et al., Crystal diffusion variational autoencoder for periodic material generation (ICLR 2022), section
5.2, COV-R and COV-P, whose fingerprints and fixed radii are others: figures cannot be compared with published ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from unstir.core.errors import InputError
from unstir.domains.crystals.measures import fingerprints
from unstir.domains.matter.structures import Crystal

QUANTILE = 0.95


class Covered(NamedTuple):
    """Which crystals of the data have a sample near (``recall``) and which samples a crystal of the data, boolean."""

    recall: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True, eq=False)
class Landscape:
    """The data's crystals as points (n, features), the scales of both kinds of fingerprint, and the radius."""

    points: np.ndarray
    scales: tuple[float, float]
    radius: float

    @classmethod
    def of(cls, crystals: Sequence[Crystal]) -> "Landscape":
        """Of at least two crystals, else InputError."""
        if len(crystals) < 2:
            raise InputError(f"coverage needs at least two crystals of the data, seen {len(crystals)}")
        found = _fingerprints(crystals)
        # twice the variance is the mean squared distance of two; data that are all alike tell no scale
        scales = [max(float(np.sqrt(2 * part.var(0).sum())), 1e-3) for part in found]
        points = np.concatenate([part / scale / 2**0.5 for part, scale in zip(found, scales, strict=True)], 1)
        apart = cdist(points, points)
        np.fill_diagonal(apart, np.inf)
        # rows that are one and the same need a radius above rounding
        radius = float(np.quantile(apart.min(1), QUANTILE)) + 1e-6
        return cls(points, (scales[0], scales[1]), radius)

    def distances(self, crystals: Sequence[Crystal]) -> np.ndarray:
        """From each of the crystals to each of the data, in units of the radius, float64 (n, data)."""
        if not crystals:
            raise InputError("coverage needs at least one sample")
        parts = zip(_fingerprints(crystals), self.scales, strict=True)
        points = np.concatenate([part / scale / 2**0.5 for part, scale in parts], 1)
        return np.asarray(cdist(points, self.points) / self.radius)

    def held_against(self, crystals: Sequence[Crystal]) -> Covered:
        """Who of the data and who of these crystals is near one of the others."""
        near = self.distances(crystals) <= 1
        return Covered(np.asarray(near.any(0)), np.asarray(near.any(1)))


def _fingerprints(crystals: Sequence[Crystal]) -> tuple[np.ndarray, np.ndarray]:
    return fingerprints.structures(crystals), fingerprints.compositions(crystals)
