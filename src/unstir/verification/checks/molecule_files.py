"""Claims of molecules as data: nothing is lost in files, in states, or on the way to other programs; `molecules`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from unstir.core.errors import NotInstalledError
from unstir.core.seeds import Seeds
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.embedded import ligands
from unstir.domains.molecules.files.convert import from_ase, from_rdkit, rdkit_chem, to_ase, to_rdkit
from unstir.domains.molecules.files.reading import read_file
from unstir.domains.molecules.files.tables import Row, molecule_of
from unstir.domains.molecules.files.writing import smiles_of, write_file
from unstir.domains.molecules.perceiving import with_bonds
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most

__all__ = ["molecule_embedded", "molecule_files", "molecule_graphs", "molecule_states"]

_SMILES = ("CCO", "c1ccncc1", "C[N+](=O)[O-]", "CC#N", "N[C@@H](C)C(=O)O", "CS(C)(=O)=O", "C[NH3+]", "F[C@H](Cl)Br")
# half of the last digit that a format writes, in angstrom; and what adding and subtracting a centre rounds
_DIGITS = {".sdf": 0.5e-4, ".extxyz": 0.0, ".db": 1e-12}
_ROUNDING = 1e-9


@claim("domains", "molecules")
def molecule_files(domain: Any, effort: Effort) -> Iterator[Measured]:
    """What is written as SDF, extended XYZ or an ASE database is read back: atoms, places, charges, bonds, numbers."""
    molecules = _molecules()
    with TemporaryDirectory() as folder:
        for suffix, places in _DIGITS.items():
            read = read_file(write_file(molecules, Path(folder) / f"all{suffix}"))
            yield at_most(f"molecules that are not read, {suffix}", len(molecules) - len(read.structures), 0.0)
            yield at_most(
                f"differences of atoms, charges and bonds, {suffix}", _differ(molecules, read.structures), 0.0
            )
            away = [_apart(one, other) for one, other in zip(molecules, read.structures, strict=True)]
            yield at_most(f"largest shift of an atom, angstrom, {suffix}", away, places + _ROUNDING * (places > 0))
            numbers = [
                one.properties["gap"] - other.properties["gap"] for one, other in _pairs(molecules, read.structures)
            ]
            yield at_most(f"largest change of a property, {suffix}", np.abs(numbers), 1e-12)
        read = read_file(write_file(molecules, Path(folder) / "all.smi"))
        wrong = sum(_bare(one) != smiles_of(other) for one, other in _pairs(molecules, read.structures))
        yield at_most("graphs that differ, .smi", wrong, 0.0)


@claim("domains", "molecules")
def molecule_graphs(domain: Any, effort: Effort) -> Iterator[Measured]:
    """Through RDKit's and ASE's objects molecules stay the same, and bonds found from positions are the graph's own."""
    molecules = _molecules()
    for name, back in {
        "RDKit's Mol": [from_rdkit(to_rdkit(one)) for one in molecules],
        "ASE's Atoms": [from_ase(to_ase(one)) for one in molecules],
    }.items():
        yield at_most(f"differences of atoms, charges and bonds, {name}", _differ(molecules, back), 0.0)
        yield at_most(f"largest shift of an atom, {name}", [_apart(*pair) for pair in _pairs(molecules, back)], 0.0)
    chem = rdkit_chem()
    for smiles, molecule in zip(_SMILES, molecules, strict=True):
        found = with_bonds(Molecule(molecule.numbers, molecule.positions), int(molecule.charges.sum()))  # type: ignore[union-attr]
        graph = chem.MolToSmiles(chem.RemoveHs(to_rdkit(found)))
        yield at_most(f"{smiles} found from positions as another molecule", int(graph != chem.CanonSmiles(smiles)), 0.0)


@claim("domains", "molecules")
def molecule_states(domain: Any, effort: Effort) -> Iterator[Measured]:
    """A state is decoded to the molecules that it was made of, to the bit; by an encoding from its record too."""
    molecules = _molecules()
    with TemporaryDirectory() as folder:
        path = write_file(molecules, Path(folder) / "all.sdf")
        data = domain.read({"path": str(path), "properties": ["gap"], "composition": True, "held_out": 0.0})
    rows = np.array([3, 0, 7, 3])
    state, condition = data.batch(rows)
    yield at_most("conditions announced and not given, or the reverse", len(set(data.conditions) ^ set(condition)), 0.0)
    for name, encoding in {"its own": data.encoding, "restored": domain.restore(data.encoding.record())}.items():
        found = encoding.decode(state, condition)
        wanted = [data.structures[row] for row in rows]
        yield at_most(f"differences of atoms, charges and bonds, {name} encoding", _differ(wanted, found), 0.0)
        yield at_most(f"largest shift, {name} encoding", [_apart(*pair) for pair in _pairs(wanted, found)], 0.0)
        again, _ = encoding.encode(found, data.mask.shape[1])
        parts = sum(not torch.equal(again[part], state[part]) for part in encoding.parts[1:])
        yield at_most(f"parts that differ when encoded again, {name} encoding", parts, 0.0)
    gap = data.encoding.property_of("gap").own(condition["gap"].double().numpy()[:, 0])
    yield at_most(
        "properties told in another unit", np.abs(gap - [molecules[row].properties["gap"] for row in rows]), 1e-6
    )
    counts = data.encoding.counts(condition["composition"]).numpy()
    atoms = np.array([[(molecules[row].numbers == one).sum() for one in data.encoding.elements] for row in rows])
    yield at_most("compositions told wrongly", np.abs(counts - atoms), 0.0)


@claim("domains", "molecules", slow=True)
def molecule_embedded(domain: Any, effort: Effort) -> Iterator[Measured]:
    """Of the embedded ligands every valence is filled and every molecule one piece; RDKit takes them all."""
    try:
        found = ligands(effort.seed).structures
    except NotInstalledError as error:
        raise NotMeasured(str(error)) from None
    chem = rdkit_chem()
    refused = pieces = radicals = 0
    for molecule in found[::5]:
        mol = to_rdkit(molecule, sanitise=False)
        refused += chem.SanitizeMol(mol, catchErrors=True) != chem.SanitizeFlags.SANITIZE_NONE
        pieces += len(chem.GetMolFrags(mol)) > 1
        radicals += sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()) > 0
    yield at_most("molecules that RDKit refuses", refused, 0.0)
    yield at_most("molecules in several pieces", pieces, 0.0)
    yield at_most("molecules with open valences", radicals, 0.0)
    names = [molecule.name for molecule in found]
    yield at_most("entries that come twice", len(names) - len(set(names)), 0.0)


def _molecules() -> list[Molecule]:
    """A conformer of each, with a number."""
    try:
        rdkit_chem()
    except NotInstalledError as error:
        raise NotMeasured(str(error)) from None
    found = []
    for number, smiles in enumerate(_SMILES):
        row = Row(smiles, f"molecule {number}", f"molecule {number}", {"gap": 0.3 * number - 1.0})
        molecule = molecule_of(row, seeds=Seeds.range(0, 1, start=number))
        assert isinstance(molecule, Molecule)
        found.append(molecule)
    return found


def _pairs(first: Sequence[Molecule], second: Sequence[Molecule]) -> list[tuple[Molecule, Molecule]]:
    return list(zip(first, second, strict=True))


def _bare(molecule: Molecule) -> str:
    """The canonical SMILES without handedness, which a molecule without positions does not know."""
    chem = rdkit_chem()
    return str(chem.MolToSmiles(chem.RemoveHs(to_rdkit(molecule)), isomericSmiles=False))


def _differ(first: Sequence[Molecule], second: Sequence[Molecule]) -> int:
    return sum(
        not np.array_equal(getattr(one, part), getattr(other, part))
        for one, other in _pairs(first, second)
        for part in ("numbers", "charges", "bonds")
    )


def _apart(one: Molecule, other: Molecule) -> float:
    assert one.positions is not None and other.positions is not None
    return float(np.abs(one.positions - other.positions).max())
