"""The same crystal told by a smaller cell, or by shorter lattice vectors."""

import math

import numpy as np

from unstir.core.errors import InputError, NotInstalledError
from unstir.domains.crystals.lattices import answer_of, lower, right_handed, wrapped
from unstir.domains.matter.structures import Crystal

REDUCTIONS = ("as-it-is", "primitive", "niggli")
TOLERANCE = 0.01
"""Angstrom within which atoms that a translation brings upon each other are taken for the same."""


def reduced(crystal: Crystal, way: str) -> Crystal:
    """The same crystal in another cell, in standard orientation.

    - ``primitive``: the smallest cell, which every translation that leaves the crystal as it is makes smaller; as it is
      where there is none.
    - ``niggli``: the Niggli cell of that, whose vectors are the shortest there are; of each crystal there is one.

    Raises InputError for cells so oblique that spglib finds no Niggli cell.

    Reference: Grosse-Kunstleve, Sauter, Adams, Numerically stable algorithms for the computation of reduced unit cells
    (2004); Togo, Shinohara, Tanaka, Spglib: a software library for crystal symmetry search (2024).
    """
    if way == "as-it-is":
        return crystal
    numbers, fractional, cell = _smallest(crystal)
    if way == "niggli" or len(numbers) < len(crystal):
        shortest = _niggli(cell, crystal.source)
        # the places in space stay; what changes is how they are told in the new vectors
        fractional, cell = fractional @ cell @ np.linalg.inv(shortest), shortest
    cell, fractional = right_handed(cell, fractional)
    return Crystal(numbers, wrapped(fractional), lower(cell), crystal.properties, crystal.name, crystal.source)


def translations(crystal: Crystal) -> np.ndarray:
    """The translations by less than a lattice vector that leave the crystal as it is, fractional, float64 (k, 3).

    The first one is none. They are exact: with k of them each is a multiple of 1/k along every axis.
    """
    kinds, counts = np.unique(crystal.numbers, return_counts=True)
    rarest = np.flatnonzero(crystal.numbers == kinds[counts.argmin()])
    other = crystal.numbers[:, None] != crystal.numbers[None]
    away = crystal.fractional[:, None] - crystal.fractional[None]
    found = []
    for step in crystal.fractional[rarest] - crystal.fractional[rarest[0]]:
        moved = away + step
        distances = np.linalg.norm((moved - np.round(moved)) @ crystal.cell, axis=-1)
        distances[other] = np.inf
        if distances.min(1).max() < TOLERANCE:
            found.append(step)
    exact = np.round(np.array(found) * len(found)) / len(found)
    shifts = np.linalg.norm((exact - found) @ crystal.cell, axis=1)
    return exact if shifts.max() < TOLERANCE else np.zeros((1, 3))


def _smallest(crystal: Crystal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, coordinates and cell of a primitive cell."""
    steps = translations(crystal)
    basis = _basis(np.concatenate((np.round(steps * len(steps)).astype(int), len(steps) * np.eye(3, dtype=int))))
    basis = basis / len(steps)
    if not math.isclose(float(np.linalg.det(basis)) * len(steps), 1.0, abs_tol=1e-9):
        basis = np.eye(3)  # no group, so that some of them are accidents of the tolerance
    fractional, cell = crystal.fractional @ np.linalg.inv(basis), basis @ crystal.cell
    away = fractional[:, None] - fractional[None]
    distances = np.linalg.norm((away - np.round(away)) @ cell, axis=-1)
    # of atoms that have become the same, the first
    kept = ~np.tril((distances < 2 * TOLERANCE) & (crystal.numbers[:, None] == crystal.numbers[None]), -1).any(1)
    return crystal.numbers[kept], fractional[kept], cell


def _basis(rows: np.ndarray) -> np.ndarray:
    """Three integer vectors that span what the integer ``rows`` (m, 3) do: their Hermite form, int64 (3, 3)."""
    rows = rows.copy()
    found = []
    for column in range(3):
        while np.count_nonzero(rows[:, column]) > 1:
            sizes = np.where(rows[:, column] == 0, np.iinfo(np.int64).max, np.abs(rows[:, column]))
            least = int(sizes.argmin())
            factors = rows[:, column] // rows[least, column]
            factors[least] = 0
            rows = rows - factors[:, None] * rows[least]
        place = int(np.flatnonzero(rows[:, column])[0])
        found.append(rows[place] * np.sign(rows[place, column]))
        rows = np.delete(rows, place, 0)
    return np.stack(found)


def _niggli(cell: np.ndarray, source: str) -> np.ndarray:
    try:
        import spglib
    except ImportError:
        raise NotInstalledError("spglib", "crystals", "`data.cell` other than as-it-is") from None
    found = answer_of(lambda: spglib.niggli_reduce(cell))
    if found is None:
        raise InputError(f"{source or 'a crystal'}: spglib finds no Niggli cell of it; take `data.cell=as-it-is`")
    return np.asarray(found, dtype=np.float64)
