"""What needs no model: molecules scattered, shaken or with their elements exchanged, and copies of the data."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unstir.core.seeds import Seeds
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.measures import lengths

SHAKEN = 0.1  # angstrom


def copies(molecules: Sequence[Molecule], seeds: Seeds) -> list[Molecule]:
    """Molecules of the data, drawn at random with replacement; one for each of the seeds."""
    return [molecules[row] for row in seeds.at("copies").integers(0, len(molecules)).tolist()]


def jittered(molecules: Sequence[Molecule], seeds: Seeds, shift: float = SHAKEN) -> list[Molecule]:
    """Copies, every coordinate moved by a normal step of the deviation ``shift`` in angstrom; bonds stay."""
    return [
        replace(one, positions=placed(one) + shift * _normal(one, seeds[row : row + 1]))
        for row, one in enumerate(copies(molecules, seeds))
    ]


def scattered(molecules: Sequence[Molecule], seeds: Seeds) -> list[Molecule]:
    """The atoms of copies at normal places as widely spread as the molecule's; bonds where a table of lengths has them.

    Those without bonds of their own stay so.
    """
    found = []
    for row, one in enumerate(copies(molecules, seeds)):
        places = (float(placed(one).std()) or 1.0) * _normal(one, seeds[row : row + 1])
        bonds = None if one.bonds is None else lengths.orders(one.numbers, places)
        found.append(replace(one, positions=places, bonds=bonds))
    return found


def exchanged(molecules: Sequence[Molecule], seeds: Seeds) -> list[Molecule]:
    """Copies whose heavy atoms have changed their places among themselves; positions and bonds stay."""
    found = []
    for row, one in enumerate(copies(molecules, seeds)):
        heavy = np.flatnonzero(one.numbers > 1)
        keys = seeds[row : row + 1].at("places").uniform((len(one),)).numpy()[0][heavy]
        numbers = one.numbers.copy()
        numbers[heavy] = one.numbers[heavy[np.argsort(keys)]]
        found.append(replace(one, numbers=numbers))
    return found


def placed(molecule: Molecule) -> np.ndarray:
    """Where its atoms are, float64 (n, 3)."""
    assert molecule.positions is not None
    return molecule.positions


def _normal(molecule: Molecule, seeds: Seeds) -> np.ndarray:
    return np.asarray(seeds.at("steps").normal((len(molecule), 3)).double().numpy()[0])
