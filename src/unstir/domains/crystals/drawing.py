"""Crystals as pictures: unit cells in perspective, atoms on a face of the cell repeated on the other."""

import functools
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from unstir.domains.crystals.encoding import CrystalEncoding
from unstir.domains.matter.elements import radius
from unstir.domains.matter.painting import painted, tiled
from unstir.domains.matter.scene import pieces
from unstir.domains.matter.structures import Crystal

FACE = 0.08
"""How near to a face of the cell, as a share of it, an atom is repeated on the opposite one."""
_NEAREST, _FARTHEST = 1.3, 1.4  # sticks: of an element's nearest neighbour, and of the sum of covalent radii


def draw_crystals(
    encoding: CrystalEncoding,
    state: Mapping[str, Tensor],
    columns: int | None = None,
    scale: int | None = None,
    padding: int = 6,
    condition: Mapping[str, Tensor] | None = None,
) -> np.ndarray:
    """Samples as unit cells side by side, uint8 (height, width, 3).

    columns: crystals beside each other; scale: a cell's side in pixels, 110 if left out; condition: what the samples
    were drawn under, which says how many sites they have and, where structures are predicted, of which elements.
    Raises InputError for sizes too small to see anything.
    """
    crystals = encoding.decode(state, condition)
    size = 110 if scale is None else scale
    return tiled(len(crystals), lambda place: draw_crystal(crystals[place], size), size, columns, padding)


@functools.lru_cache(maxsize=1024)
def draw_crystal(crystal: Crystal, size: int) -> np.ndarray:
    """One unit cell, uint8 (size, size, 3)."""
    numbers, positions = shown(crystal)
    return painted(pieces(positions, numbers, bonds_of(crystal, numbers, positions), crystal.cell), size)


def shown(crystal: Crystal) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers (m,) and positions (m, 3) of the atoms in the cell and of their images on its other faces.

    An atom at a corner is drawn at all eight, as crystals are drawn; what is no crystal is drawn as it is.
    """
    numbers, places = [], []
    for number, point in zip(crystal.numbers.tolist(), crystal.fractional, strict=True):
        point = np.where(point > 1 - FACE, point - 1, point)
        on_face = np.flatnonzero(np.abs(point) < FACE)
        for choice in range(2 ** len(on_face)):
            image = point.copy()
            for bit, axis in enumerate(on_face):
                image[axis] += choice >> bit & 1
            numbers.append(number)
            places.append(image)
    return np.array(numbers, dtype=np.int64), np.asarray(np.array(places).reshape(-1, 3) @ crystal.cell)


def bonds_of(crystal: Crystal, numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The pairs of shown atoms that a stick joins, int64 (m, 2): nearest neighbours of each other.

    Distances count in sums of covalent radii; a stick joins two atoms of which neither has one much nearer, so that
    octahedra are seen, and not every contact of the large ion between them.
    """
    radii = np.array([radius(number) if number else np.nan for number in numbers.tolist()])
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1) / (radii[:, None] + radii[None])
    apart = np.where((apart > 0.2) & np.isfinite(apart), apart, np.inf)
    shortest = dict(zip(crystal.numbers.tolist(), [np.inf] * len(crystal), strict=True))
    for number, row in zip(numbers.tolist(), apart, strict=True):
        shortest[number] = min(shortest[number], float(row.min()))
    limit = np.array([min(_NEAREST * shortest[number], _FARTHEST) for number in numbers.tolist()])
    return np.argwhere(np.triu(apart <= np.minimum(limit[:, None], limit[None]), 1)).reshape(-1, 2)
