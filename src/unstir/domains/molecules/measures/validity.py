"""Whether atoms in space are molecules: bonds by several routes, and RDKit's verdict on each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.files.convert import quiet, rdkit_chem, to_rdkit
from unstir.domains.molecules.measures import lengths
from unstir.domains.molecules.perceiving import with_bonds

ROUTES = {
    "bonds": "its own bonds and charges",
    "lengths": "bonds by a table of lengths, without charges",
    "perceived": "bonds and charges found from the positions, the whole being neutral",
}
"""How the bonds of a molecule can be told."""


@dataclass(frozen=True, eq=False)
class Validity:
    """What the molecules are by one route.

    ``graphs``: each with the bonds of the route, None where it finds none. ``mols``: RDKit's ``Mol`` of those that are
    valid, None else. ``smiles``: canonical, without handedness and written-out hydrogens, empty for what is not valid.
    ``pieces``: int64 (n,), of how many pieces each valid one is, 0 for the others.
    """

    route: str
    graphs: tuple[Molecule | None, ...]
    mols: tuple[Any, ...]
    smiles: tuple[str, ...]
    pieces: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """Boolean (n,)."""
        return np.asarray(self.pieces > 0)

    @property
    def connected(self) -> np.ndarray:
        """Valid and of one piece, boolean (n,)."""
        return np.asarray(self.pieces == 1)

    @cached_property
    def unique(self) -> np.ndarray:
        """Valid, of one piece, and no earlier molecule is the same; boolean (n,)."""
        seen: set[str] = set()
        found = np.zeros(len(self.smiles), dtype=bool)
        for row in np.flatnonzero(self.connected).tolist():
            found[row] = self.smiles[row] not in seen
            seen.add(self.smiles[row])
        return found

    def novel(self, known: set[str]) -> np.ndarray:
        """Valid, of one piece, and not among the canonical SMILES ``known``; boolean (n,)."""
        new = np.array([smiles not in known for smiles in self.smiles], dtype=bool)
        return np.asarray(self.connected & new)


def validity(molecules: Sequence[Molecule], route: str, implicit: bool = False) -> Validity:
    """Which molecules are valid: all valences can be, aromatic rings have a Kekulé form, and no electron is unpaired.

    ``route`` is one of ``ROUTES``. An atom that lacks a bond is a radical, and its molecule not valid; RDKit alone
    would let it pass. With ``implicit`` the molecules come without hydrogens, and those that valences ask for are
    thought of. Handedness is left out of the SMILES, so that mirror images are the same molecule.

    Raises InputError for no molecules, for another route, and for molecules without what the route needs.

    Reference: Hoogeboom et al., Equivariant diffusion for molecule generation in 3D (2022), section 5.1.
    """
    if route not in ROUTES:
        raise unknown("route to bonds", route, ROUTES)
    if not len(molecules):
        raise InputError("no molecules to judge; at least one is needed")
    graphs = tuple(graph_by(molecule, route) for molecule in molecules)
    mols = tuple(None if graph is None else sound_mol(graph, implicit) for graph in graphs)
    Chem = rdkit_chem("judging molecules")
    with quiet():
        pieces = [0 if mol is None else len(Chem.GetMolFrags(mol)) for mol in mols]
    smiles = tuple("" if mol is None else flat_smiles(mol) for mol in mols)
    return Validity(route, graphs, mols, smiles, np.array(pieces, dtype=np.int64))


def graph_by(molecule: Molecule, route: str) -> Molecule | None:
    """The molecule with its bonds by the route; None where it finds none."""
    place = molecule.source or molecule.name or "a molecule"
    if route == "bonds":
        if molecule.bonds is None:
            raise InputError(f"{place} has no bonds of its own; take another route")
        return molecule
    if molecule.positions is None:
        raise InputError(f"{place} has no positions to tell bonds by; take route='bonds'")
    if route == "lengths":
        return replace(molecule, bonds=lengths.orders(molecule.numbers, molecule.positions), charges=None)
    try:
        return with_bonds(molecule)
    except InputError:
        return None


def sound_mol(graph: Molecule, implicit: bool = False) -> Any:
    """RDKit's ``Mol`` of a molecule with bonds, None if its valences cannot be or electrons are unpaired."""
    try:
        mol = to_rdkit(graph)
    except (InputError, RuntimeError):
        return None
    for atom in mol.GetAtoms():
        if atom.GetNumRadicalElectrons() or (not implicit and atom.GetTotalNumHs()):
            return None
    return mol


def flat_smiles(mol: Any) -> str:
    """The canonical SMILES without handedness and without hydrogens that are written out."""
    Chem = rdkit_chem("writing SMILES")
    with quiet():
        return str(Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False))


def flat_smiles_of(molecules: Sequence[Molecule], route: str, implicit: bool = False) -> set[str]:
    """The canonical SMILES of those molecules that are valid, by that route."""
    return set(validity(molecules, route, implicit).smiles) - {""}
