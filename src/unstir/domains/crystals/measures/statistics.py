"""What crystals are like as a whole: density, volume, elements, symmetry; and how far two sets of them are apart."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.domains.crystals.writing import TOLERANCE, space_group
from unstir.domains.matter.columns import Wasserstein, element_shares
from unstir.domains.matter.elements import mass
from unstir.domains.matter.structures import Crystal
from unstir.domains.measuring import Statistic
from unstir.metrics.base import SampleSet

COLUMNS = ("density", "volume per atom", "elements", "sites", "space group")
UNITS = ("g/cm³", "Å³", "", "", "")
_DALTON = 1.66053906660  # grams per cubic centimetre of one dalton per cubic angstrom
SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
_LAST = (2, 15, 74, 142, 167, 194, 230)  # the last space group of each system
GROUPS = 231


def table(crystals: Sequence[Crystal]) -> np.ndarray:
    """The numbers of every crystal, float64 (n, 5), ``COLUMNS``: g/cm³, cubic angstrom an atom, counts, the group."""
    return np.array([_row(crystal) for crystal in crystals], dtype=np.float64).reshape(len(crystals), len(COLUMNS))


@functools.lru_cache(maxsize=65536)
def _row(crystal: Crystal) -> tuple[float, ...]:
    count, volume = len(crystal), crystal.volume
    weight = sum(mass(max(number, 1)) for number in crystal.numbers.tolist())
    group = space_group(crystal, TOLERANCE)[1]
    return (
        _DALTON * weight / volume,
        volume / count,
        float(len(set(crystal.numbers.tolist()))),
        float(count),
        float(group),
    )


def system(group: int) -> str:
    """The crystal system of a space group's number, 1 to 230; "none found" for 0."""
    return "none found" if group < 1 else SYSTEMS[int(np.searchsorted(_LAST, group))]


def wasserstein(name: str) -> Wasserstein:
    """The distance of one of ``COLUMNS``."""
    place = COLUMNS.index(name)
    return Wasserstein(place, UNITS[place] or "1")


def sample_set(crystals: Sequence[Crystal]) -> SampleSet:
    """Crystals as metrics see them: ``table`` as the values, ``columns.element_shares`` as the features."""
    return SampleSet(
        torch.from_numpy(table(crystals)),
        torch.from_numpy(element_shares([crystal.numbers for crystal in crystals])),
        source="the crystals themselves",
    )


@dataclass(frozen=True)
class SpaceGroups(Statistic):
    """Total variation between the shares of the 230 space groups, found within 0.1 angstrom; 1 for disjoint ones."""

    limits = (0.0, 1.0)

    def distance(self, samples: SampleSet, weights: Tensor, reference: SampleSet, others: Tensor) -> Tensor:
        place = COLUMNS.index("space group")
        shares = [
            torch.zeros(len(weight), GROUPS, dtype=torch.float64).index_add_(1, rows.values[:, place].long(), weight)
            for rows, weight in ((samples, weights), (reference, others))
        ]
        return (shares[0] - shares[1]).abs().sum(1) / 2
