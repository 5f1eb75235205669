"""What needs no model: crystals by rule, against which a model's are read."""

import functools
from collections.abc import Sequence
from itertools import permutations

import numpy as np
from scipy.spatial.distance import cdist

from unstir.core.seeds import Seeds
from unstir.domains.crystals.lattices import wrapped
from unstir.domains.crystals.measures.fingerprints import structures
from unstir.domains.matter.elements import features, radius
from unstir.domains.matter.structures import Crystal
from unstir.domains.rows import evenly

MOST_ELEMENTS = 6
"""Compositions of more elements are not given those of others; the ways to do so grow as their factorial."""
_TYPICAL = 400  # crystals among which a typical one is looked for


class Library:
    """Known crystals, by how many sites their elements have."""

    def __init__(self, known: Sequence[Crystal]) -> None:
        self._groups: dict[tuple[int, ...], list[Crystal]] = {}
        for crystal in known:
            self._groups.setdefault(counts(crystal), []).append(crystal)
        self._features: dict[tuple[int, ...], np.ndarray] = {}

    def nearest(self, target: Crystal) -> Crystal | None:
        """The known crystal of the most similar composition, its elements exchanged for the target's.

        Similar is what has the same counts of sites and, element by element, the least distance of the elements'
        features; elements take the places where this is least. The cell is scaled so that spheres of the covalent radii
        fill the same share of it. None where no known crystal has these counts. Of the target only its composition is
        looked at.

        Reference: Hautier et al., Data mined ionic substitutions for the discovery of new compounds (2011), for the
        idea.
        """
        group = counts(target)
        if group not in self._groups or len(group) > MOST_ELEMENTS:
            return None
        if group not in self._features:
            self._features[group] = np.stack([features(_ordered(crystal)) for crystal in self._groups[group]])
        costs, orders = _costs(self._features[group], target)
        row, way = np.unravel_index(int(costs.argmin()), costs.shape)
        return exchanged(self._groups[group][row], _table(self._groups[group][row], orders[way]))

    def typical(self, target: Crystal) -> Crystal | None:
        """The one structure that crystals with these counts of sites look most like, with the target's elements in it.

        It is the medoid of at most 400 of them, evenly spread, by the fingerprint of structure; None as above.
        """
        group = counts(target)
        if group not in self._groups or len(group) > MOST_ELEMENTS:
            return None
        medoid = _medoid(tuple(self._groups[group][row] for row in evenly(len(self._groups[group]), _TYPICAL)))
        costs, orders = _costs(features(_ordered(medoid))[None], target)
        return exchanged(medoid, _table(medoid, orders[int(costs[0].argmin())]))

    def scattered(self, target: Crystal, seeds: Seeds) -> Crystal:
        """The target's atoms at random places in a random known crystal's cell, one with these counts if there is one.

        The draw of the one seed.
        """
        known = self._groups.get(counts(target)) or [crystal for group in self._groups.values() for crystal in group]
        other = known[int(seeds.at("cell").integers(0, len(known)).item())]
        places = seeds.at("places").uniform((len(target), 3)).numpy()[0]
        return Crystal(target.numbers, places, other.cell * (len(target) / len(other)) ** (1 / 3))


def counts(crystal: Crystal) -> tuple[int, ...]:
    """How many sites the elements have, without their names: (1, 1, 3) for a cell of CaTiO3."""
    return tuple(sorted(np.unique(crystal.numbers, return_counts=True)[1].tolist()))


def exchanged(crystal: Crystal, table: dict[int, int]) -> Crystal:
    """The crystal with other elements, in a cell that their spheres fill as the old ones did."""
    numbers = np.array([table[number] for number in crystal.numbers.tolist()], dtype=np.int64)
    before, after = (sum(radius(number) ** 3 for number in each.tolist()) for each in (crystal.numbers, numbers))
    return Crystal(numbers, crystal.fractional, crystal.cell * (after / before) ** (1 / 3), {}, "", crystal.source)


def random_elements(crystals: Sequence[Crystal], seeds: Seeds) -> list[Crystal]:
    """Crystals with other elements of these crystals, drawn at random; a crystal for each of the seeds."""
    rows = seeds.at("prototypes").integers(0, len(crystals)).tolist()
    known = np.unique(np.concatenate([crystal.numbers for crystal in crystals]))
    keys = seeds.at("elements").uniform((len(known),)).numpy()
    found = []
    for row, key in zip(rows, keys, strict=True):
        old = np.unique(crystals[row].numbers)
        new = known[np.argsort(key)[: len(old)]]
        found.append(exchanged(crystals[row], dict(zip(old.tolist(), new.tolist(), strict=True))))
    return found


def jittered(crystals: Sequence[Crystal], seeds: Seeds, shift: float = 0.3, strain: float = 0.03) -> list[Crystal]:
    """Copies of these crystals, drawn at random, every atom moved and every cell strained; one for each of the seeds.

    ``shift``: the deviation of each coordinate in angstrom; ``strain``: that of the entries of the symmetric strain.
    """
    rows = seeds.at("copies").integers(0, len(crystals)).tolist()
    return [moved(crystals[row], seeds[place : place + 1], shift, strain) for place, row in enumerate(rows)]


def moved(crystal: Crystal, seeds: Seeds, shift: float, strain: float) -> Crystal:
    """One crystal, its atoms moved by Gaussian steps (angstrom) and its cell strained; the draw of the one seed."""
    steps = seeds.at("atoms").normal((len(crystal), 3)).double().numpy()[0] * shift
    bent = seeds.at("cell").normal((3, 3)).double().numpy()[0] * strain
    cell = crystal.cell @ (np.eye(3) + (bent + bent.T) / 2)
    fractional = wrapped(crystal.fractional + steps @ np.linalg.inv(crystal.cell))
    return Crystal(crystal.numbers, fractional, cell, {}, crystal.name, crystal.source)


def _ordered(crystal: Crystal) -> np.ndarray:
    """The elements by how many sites they have, then by atomic number."""
    numbers, many = np.unique(crystal.numbers, return_counts=True)
    return np.asarray(numbers[np.argsort(many, kind="stable")])


def _costs(known: np.ndarray, target: Crystal) -> tuple[np.ndarray, list[np.ndarray]]:
    """What each way to put the target's elements in known ones' places costs, (n, ways); the elements of each way."""
    group, numbers = counts(target), _ordered(target)
    orders = [order for order in permutations(range(len(group))) if [group[place] for place in order] == list(group)]
    ways = [numbers[list(order)] for order in orders]
    wanted = np.stack([features(way) for way in ways])
    apart = np.sqrt(((known[:, None] - wanted[None]) ** 2).sum(-1))
    return np.asarray(apart @ np.array(group, dtype=np.float64)), ways


def _table(crystal: Crystal, new: np.ndarray) -> dict[int, int]:
    return dict(zip(_ordered(crystal).tolist(), new.tolist(), strict=True))


@functools.lru_cache(maxsize=64)
def _medoid(crystals: tuple[Crystal, ...]) -> Crystal:
    found = structures(crystals)
    return crystals[int(cdist(found, found).sum(1).argmin())]
