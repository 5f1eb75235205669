"""Molecules as pictures: balls and sticks in perspective."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from unstir.domains.matter.painting import painted, tiled
from unstir.domains.matter.scene import pieces
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.encoding import MoleculeEncoding


def draw_molecules(
    encoding: MoleculeEncoding,
    state: Mapping[str, Tensor] | Tensor,
    columns: int | None = None,
    scale: int | None = None,
    padding: int = 6,
    condition: Mapping[str, Tensor] | None = None,
) -> np.ndarray:
    """Samples as balls and sticks side by side, uint8 (height, width, 3).

    columns: molecules beside each other; scale: a molecule's side in pixels, 110 if left out; condition: what the
    samples were drawn under, which says how many atoms they have and, of conformers, which and how joined.
    Raises InputError for sizes too small to see anything.
    """
    molecules = encoding.decode(state, condition)
    size = 110 if scale is None else scale
    return tiled(len(molecules), lambda place: draw_molecule(molecules[place], size), size, columns, padding)


def draw_molecule(molecule: Molecule, size: int) -> np.ndarray:
    """One molecule, uint8 (size, size, 3); without bonds of its own near atoms are joined."""
    assert molecule.positions is not None
    return painted(pieces(molecule.positions, molecule.numbers, molecule.bonds), size)
