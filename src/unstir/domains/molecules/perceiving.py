"""Bonds and charges from where the atoms are, hydrogens and positions from bonds: what files do not tell."""

from dataclasses import replace
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.files.convert import from_rdkit, quiet, rdkit_chem, to_rdkit

_MOST_TRIES = 20_000  # of orders of bonds, which many charged or crowded atoms have no end of
_WAYS: tuple[dict[str, Any], ...] = ({}, {"useVdw": True, "covFactor": 1.2})


def with_bonds(molecule: Molecule, charge: int = 0, aromatic: bool = False) -> Molecule:
    """The molecule with bonds and formal charges found from its positions; all hydrogens must be there.

    Near atoms are joined, the nearest first and none beyond its valence; then orders of bonds and charges are sought
    that give every atom an allowed valence and sum up to ``charge``. Where that fails, as in rings so narrow that atoms
    across seem to touch, those are joined that are closer than 1.2 times the sum of their covalent radii.

    Raises InputError where there are none.

    Reference: Kim, Kim, Universal structure conversion method for organic molecules: from atomic connectivity to
    three-dimensional geometry (2015), as in RDKit's rdDetermineBonds.
    """
    Chem = rdkit_chem("finding bonds from positions")
    from rdkit.Chem import rdDetermineBonds

    bare, reason = to_rdkit(replace(molecule, bonds=None, charges=None, properties={}), sanitise=False), ""
    for way in _WAYS:
        mol = Chem.Mol(bare)
        try:
            with quiet():
                rdDetermineBonds.DetermineBonds(mol, charge=charge, embedChiral=False, maxIterations=_MOST_TRIES, **way)
                found = from_rdkit(mol, aromatic=aromatic)
        except (ValueError, RuntimeError) as error:
            reason = reason or _short(error)
        else:
            break
    else:
        raise InputError(f"no bonds fit its positions and the charge {charge} ({reason})")
    return replace(molecule, bonds=found.bonds, charges=found.charges)


def with_hydrogens(molecule: Molecule) -> Molecule:
    """The molecule with the hydrogens that its valences ask for, placed by the usual lengths and angles."""
    Chem = rdkit_chem("adding hydrogens")
    mol = to_rdkit(molecule)
    for atom in mol.GetAtoms():  # those that a file leaves out are counted from valences, not taken for radicals
        atom.SetNoImplicit(False)
        atom.SetNumRadicalElectrons(0)
    mol.UpdatePropertyCache(strict=False)
    with quiet():
        filled = Chem.AddHs(mol, addCoords=molecule.positions is not None)
    return _like(molecule, from_rdkit(filled, aromatic=_aromatic(molecule)))


def without_hydrogens(molecule: Molecule) -> Molecule:
    """The molecule's other atoms; InputError if there are none."""
    kept = molecule.numbers != 1
    if not kept.any():
        raise InputError("it has nothing but hydrogen, and hydrogens are to be dropped")
    return subset(molecule, kept)


def subset(molecule: Molecule, kept: np.ndarray) -> Molecule:
    """The atoms at those places, with the bonds among them."""
    return replace(
        molecule,
        numbers=molecule.numbers[kept],
        positions=None if molecule.positions is None else molecule.positions[kept],
        charges=None if molecule.charges is None else molecule.charges[kept],
        bonds=None if molecule.bonds is None else molecule.bonds[kept][:, kept],
    )


def with_positions(molecule: Molecule, seeds: Seeds) -> Molecule:
    """The molecule with hydrogens and one conformer, of a handedness that is drawn: a table of bonds tells none."""
    mol = conformer(to_rdkit(with_hydrogens(replace(molecule, positions=None))), seeds)
    return _like(molecule, from_rdkit(mol, aromatic=_aromatic(molecule)))


def conformer(mol: Any, seeds: Seeds) -> Any:
    """RDKit's ``Mol`` with hydrogens and one conformer, by distance geometry and, where it knows all atoms, MMFF94.

    The draw is that of the one sample of ``seeds``. What ``mol`` tells of handedness and of double bonds is kept.

    Raises InputError where no conformer is found.

    Reference: Riniker, Landrum, Better informed distance geometry: using what we know to improve conformation
    generation (2015); Halgren, Merck molecular force field I (1996).
    """
    Chem = rdkit_chem("placing atoms in space")
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    how = rdDistGeom.ETKDGv3()
    how.randomSeed = int(seeds.at("conformer").integers(0, 2**31 - 1)[0])
    with quiet():
        filled = Chem.AddHs(mol)
        if rdDistGeom.EmbedMolecule(filled, how) < 0:
            raise InputError("no conformer was found for it")
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(filled):
            rdForceFieldHelpers.MMFFOptimizeMolecule(filled)
    return filled


def _like(molecule: Molecule, other: Molecule) -> Molecule:
    return replace(other, properties=molecule.properties, name=molecule.name, source=molecule.source)


def _aromatic(molecule: Molecule) -> bool:
    return molecule.bonds is not None and bool((molecule.bonds == 4).any())


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).removesuffix(";")[:120]
