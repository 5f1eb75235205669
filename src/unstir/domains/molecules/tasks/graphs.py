"""What a molecule's graph says of its shape beside elements, charges and bonds: handedness, and sides of double bonds.

Arrays of atoms and bonds do not hold it. RDKit finds it in a SMILES, or in positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.matter.sets import padded
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.files.convert import from_rdkit, quiet, rdkit_chem, to_rdkit

HANDEDNESS, SIDES = "handedness", "sides"


@dataclass(frozen=True, eq=False)
class Stereo:
    """``handedness`` int64 (n,): 1 for atoms that are R, -1 for S, 0 else, by the rules of Cahn, Ingold and Prelog.

    ``sides`` int64 (n, n), symmetric: of two atoms at the two ends of a double bond 1 if they lie on one side of it,
    -1 if across, 0 for all others. A mirror turns the first about and leaves the second.
    """

    handedness: np.ndarray
    sides: np.ndarray


def graph_of(smiles: str, hydrogens: bool = True, source: str = "") -> tuple[Molecule, Stereo]:
    """A SMILES as a molecule without positions, and what it says of handedness and sides.

    Raises InputError, with RDKit's reason, for what is no SMILES.
    """
    Chem = rdkit_chem("reading SMILES")
    with quiet() as reasons:
        mol = Chem.MolFromSmiles(str(smiles)) if smiles else None
        if mol is not None and mol.GetNumAtoms():
            mol = Chem.AddHs(mol) if hydrogens else Chem.RemoveHs(mol)
    if mol is None or not mol.GetNumAtoms():
        raise InputError(f"{smiles!r} is no SMILES{': ' + reasons[0] if reasons else ''}")
    return from_rdkit(mol, source or f"the SMILES {smiles}", name=str(smiles)), stereo_of(mol)


def stereo_of(molecule: Any) -> Stereo:
    """Handedness and sides of RDKit's ``Mol``, or of a molecule with bonds, from its positions where it has some."""
    Chem = rdkit_chem("finding handedness")
    mol = to_rdkit(molecule) if isinstance(molecule, Molecule) else Chem.Mol(molecule)
    with quiet():
        Chem.AssignStereochemistry(mol, cleanIt=False, force=True)
    count = mol.GetNumAtoms()
    hands, sides = np.zeros(count, dtype=np.int64), np.zeros((count, count), dtype=np.int64)
    for atom in mol.GetAtoms():
        if atom.HasProp("_CIPCode"):
            hands[atom.GetIdx()] = {"R": 1, "S": -1}.get(atom.GetProp("_CIPCode"), 0)
    same = (Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS)
    across = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)
    for bond in mol.GetBonds():
        if bond.GetStereo() not in (*same, *across):
            continue
        ends = (bond.GetBeginAtom(), bond.GetEndAtom())
        named = list(bond.GetStereoAtoms())
        sign = 1 if bond.GetStereo() in same else -1
        for first in _others(ends[0], ends[1]):
            for second in _others(ends[1], ends[0]):
                turned = (first != named[0]) != (second != named[1])
                sides[first, second] = sides[second, first] = -sign if turned else sign
    return Stereo(hands, sides)


def stereo_conditions(found: Sequence[Stereo], size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The conditions ``handedness`` float32 (rows, size, 1) and ``sides`` (rows, size, size, 1), and their kinds."""
    sides = torch.zeros(len(found), size, size, 1)
    for row, one in enumerate(found):
        count = len(one.sides)
        sides[row, :count, :count, 0] = torch.from_numpy(one.sides).float()
    hands = padded([one.handedness for one in found], size, torch.float32)[..., None]
    return {HANDEDNESS: hands, SIDES: sides}, {HANDEDNESS: {"channels": 1}, SIDES: {"pairs": 1}}


def as_asked(molecule: Molecule, asked: Stereo) -> Molecule | None:
    """The conformer, or its mirror image, that has the asked handedness and sides; None where neither has.

    A mirror image is a conformer of the mirrored molecule with the same energy, so that nothing is lost by taking it.
    What the asked graph leaves open may be either.
    """
    try:
        seen = stereo_of(molecule)
    except InputError:
        return None
    if ((asked.sides != 0) & (seen.sides != asked.sides)).any():
        return None
    centres = asked.handedness != 0
    if (seen.handedness[centres] == asked.handedness[centres]).all():
        return molecule
    if (seen.handedness[centres] == -asked.handedness[centres]).all():
        assert molecule.positions is not None
        mirrored = molecule.positions * np.array([1.0, 1.0, -1.0])
        return Molecule(
            molecule.numbers, mirrored, molecule.charges, molecule.bonds, molecule.properties, molecule.name,
            molecule.source,
        )  # fmt: skip
    return None


def _others(atom: Any, partner: Any) -> list[int]:
    return [other.GetIdx() for other in atom.GetNeighbors() if other.GetIdx() != partner.GetIdx()]
