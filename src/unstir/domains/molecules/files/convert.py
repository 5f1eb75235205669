"""Molecules as other programs' objects, and back: RDKit's ``Mol``, ASE's ``Atoms``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError
from unstir.domains.matter.structures import BOND_ORDERS, Molecule

EXTRA = "molecules"
_PURPOSE = "reading and writing molecules"
_NOT_A_REASON = ("****", "Post-condition", "Pre-condition", "Invariant", "Violation", "Failed Expression", "-----")


def rdkit_chem(purpose: str = _PURPOSE) -> Any:
    """The module ``rdkit.Chem``; NotInstalledError where there is none."""
    try:
        from rdkit import Chem
    except ImportError:
        raise NotInstalledError("rdkit", EXTRA, purpose) from None
    return Chem


def ase_package(purpose: str = _PURPOSE) -> Any:
    """The package ``ase``; NotInstalledError where there is none."""
    try:
        import ase
        import ase.data
    except ImportError:
        raise NotInstalledError("ase", EXTRA, purpose) from None
    return ase


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Keeps RDKit's messages off the screen; the list holds, at the end, the first reason among them."""
    rdkit_chem()
    from rdkit import rdBase

    reasons: list[str] = []
    capture = getattr(rdBase, "CaptureErrorLog", None)  # from 2025 on
    if capture is None:
        with rdBase.BlockLogs():
            yield reasons
        return
    with rdBase.BlockLogs(), capture() as log:  # in this order: a block within the capture leaves it nothing
        yield reasons
    lines = [line.split("] ", 1)[-1].strip() for line in (log.messages or "").splitlines()]
    reasons += [line for line in lines if line and not line.startswith(_NOT_A_REASON)][:1]


def to_rdkit(molecule: Molecule, sanitise: bool = True) -> Any:
    """A molecule as RDKit's ``Mol``, with its bonds, charges, positions, name and properties.

    All its hydrogens are there if it has any: an atom is given none beside. Of a molecule without a hydrogen RDKit
    counts those that valences ask for. Without ``bonds`` the atoms stand alone. With ``sanitise`` valences, rings and
    aromaticity are found, and handedness from the positions.

    Raises InputError, when it is to be sanitised, for valences that cannot be.
    """
    Chem = rdkit_chem()
    from rdkit.Geometry import Point3D

    types = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)
    made = Chem.RWMol()
    complete = molecule.bonds is None or bool((molecule.numbers == 1).any())
    charges = np.zeros(len(molecule), dtype=int) if molecule.charges is None else molecule.charges
    for number, charge in zip(molecule.numbers.tolist(), charges.tolist(), strict=True):
        atom = Chem.Atom(number)
        atom.SetFormalCharge(charge)
        atom.SetNoImplicit(complete)
        made.AddAtom(atom)
    if molecule.bonds is not None:
        for first, second in np.argwhere(np.triu(molecule.bonds, 1)).tolist():
            order = types[molecule.bonds[first, second] - 1]
            made.AddBond(first, second, order)
            if order == Chem.BondType.AROMATIC:
                made.GetBondBetweenAtoms(first, second).SetIsAromatic(True)
                made.GetAtomWithIdx(first).SetIsAromatic(True)
                made.GetAtomWithIdx(second).SetIsAromatic(True)
    if molecule.positions is not None:
        conformer = Chem.Conformer(len(molecule))
        conformer.Set3D(True)
        for place, point in enumerate(molecule.positions.tolist()):
            conformer.SetAtomPosition(place, Point3D(*point))
        made.AddConformer(conformer, assignId=True)
    found = made.GetMol()
    if molecule.name:
        found.SetProp("_Name", molecule.name)
    for name, value in molecule.properties.items():
        found.SetDoubleProp(name, float(value))
    if sanitise:
        with quiet():
            try:
                Chem.SanitizeMol(found)
            except ValueError as error:
                raise InputError(f"{molecule.source or molecule.name or 'this molecule'}: {error}") from None
            if molecule.positions is not None and molecule.bonds is not None:
                Chem.AssignStereochemistryFrom3D(found)
    return found


def from_rdkit(
    mol: Any,
    source: str = "",
    *,
    properties: Mapping[str, float] | None = None,
    name: str | None = None,
    aromatic: bool = False,
) -> Molecule:
    """RDKit's ``Mol`` as a molecule: the atoms that it has written out, none of those that it only counts.

    Positions are those of its first conformer, if that is one in space and no drawing in the plane. Aromatic bonds
    become single and double ones, as Kekulé writes them, unless they are asked for. Properties are the numbers among
    its own, or those given.

    Raises InputError for no atoms, bonds of other kinds (dative, hydrogen) and rings that have no Kekulé form.
    """
    Chem = rdkit_chem()
    if not mol.GetNumAtoms():
        raise InputError("it has no atoms")
    orders = {
        Chem.BondType.SINGLE: 1,
        Chem.BondType.DOUBLE: 2,
        Chem.BondType.TRIPLE: 3,
        Chem.BondType.AROMATIC: BOND_ORDERS.index(1.5),
    }
    if not aromatic and any(bond.GetIsAromatic() for bond in mol.GetBonds()):
        mol = Chem.Mol(mol)
        with quiet():
            try:
                Chem.Kekulize(mol, clearAromaticFlags=True)
            except ValueError as error:
                raise InputError(str(error).strip()) from None
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)
    if not numbers.all():
        raise InputError("it has an atom of no element (a dummy, `*` or R), which no model can place")
    bonds = np.zeros((len(numbers), len(numbers)), dtype=np.int64)
    for bond in mol.GetBonds():
        if bond.GetBondType() not in orders:
            raise InputError(
                f"a bond of the kind {bond.GetBondType().name.lower()}, where single, double, triple and aromatic "
                "ones are known"
            )
        first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        bonds[first, second] = bonds[second, first] = orders[bond.GetBondType()]
    positions = None
    if mol.GetNumConformers() and mol.GetConformer().Is3D():
        positions = np.array(mol.GetConformer().GetPositions(), dtype=np.float64)
    if properties is None:
        properties = numbers_among(mol.GetPropsAsDict())
    return Molecule(
        numbers,
        positions,
        np.array([atom.GetFormalCharge() for atom in mol.GetAtoms()], dtype=np.int64),
        bonds,
        properties,
        (mol.GetProp("_Name") if mol.HasProp("_Name") else "") if name is None else name,
        source,
    )


def to_ase(molecule: Molecule) -> Any:
    """A molecule as ASE's ``Atoms``: formal charges as its initial charges, bonds as ``info["bonds"]``.

    The bonds are a list of [first atom, second atom, class], the classes as in ``BOND_ORDERS``.
    """
    ase = ase_package()
    if molecule.positions is None:
        place = molecule.source or molecule.name or "this molecule"
        raise InputError(f"{place} has no positions, and ASE's Atoms need some")
    info: dict[str, Any] = dict(molecule.properties)
    if molecule.name:
        info["name"] = molecule.name
    if molecule.bonds is not None:
        pairs = np.argwhere(np.triu(molecule.bonds, 1))
        info["bonds"] = [[i, j, int(molecule.bonds[i, j])] for i, j in pairs.tolist()]
    return ase.Atoms(numbers=molecule.numbers, positions=molecule.positions, charges=molecule.charges, info=info)


def from_ase(atoms: Any, source: str = "", extra: Mapping[str, Any] | None = None) -> Molecule:
    """ASE's ``Atoms`` as a molecule; ``extra`` are further entries of its ``info``.

    Whole initial charges are formal ones; others, which some programs leave there, are not taken.

    Raises InputError for a periodic cell and for bonds that do not fit.
    """
    if np.any(atoms.pbc):
        raise InputError("it is periodic, a crystal: take the field crystals (`domain: crystals`)")
    if not len(atoms):
        raise InputError("it has no atoms")
    if not atoms.numbers.all():
        raise InputError("it has an atom of no element (X), which no model can place")
    info = {**atoms.info, **(extra or {})}
    bonds = bond_table(info.pop("bonds"), len(atoms)) if "bonds" in info else None
    charges = formal(atoms.get_initial_charges()) if atoms.has("initial_charges") else None
    return Molecule(
        np.asarray(atoms.numbers, dtype=np.int64),
        np.asarray(atoms.positions, dtype=np.float64),
        charges,
        bonds,
        numbers_among(info),
        str(info.get("name", "")),
        source,
    )


def formal(charges: np.ndarray) -> np.ndarray | None:
    """Charges as int64 if all are whole numbers; None otherwise."""
    whole = np.round(charges)
    return whole.astype(np.int64) if np.allclose(charges, whole, atol=1e-6) else None


def bond_table(triples: Any, atoms: int) -> np.ndarray:
    """Bonds told as [first atom, second atom, class] as a symmetric table of classes, int64 (atoms, atoms)."""
    listed = np.asarray(triples if len(triples) else np.zeros((0, 3)))
    if listed.ndim != 2 or listed.shape[1] != 3 or not np.issubdtype(listed.dtype, np.number):
        raise InputError(f"bonds are told as [first atom, second atom, class]; seen an array {listed.shape}")
    listed = listed.astype(np.int64)
    ends, classes = listed[:, :2], listed[:, 2]
    if (ends < 0).any() or (ends >= atoms).any() or (ends[:, 0] == ends[:, 1]).any():
        raise InputError(f"a bond between atoms that are not there; atoms count from 0 to {atoms - 1}")
    if (classes < 1).any() or (classes >= len(BOND_ORDERS)).any():
        raise InputError(f"a bond of the class {classes.max()}; 1 to {len(BOND_ORDERS) - 1} are known")
    table = np.zeros((atoms, atoms), dtype=np.int64)
    table[ends[:, 0], ends[:, 1]] = classes
    table[ends[:, 1], ends[:, 0]] = classes
    return table


def numbers_among(values: Mapping[str, Any]) -> dict[str, float]:
    """Those entries that are single finite numbers, by their names."""
    found = {}
    for name, value in values.items():
        if isinstance(value, bool | np.bool_ | bytes):
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if np.isfinite(number):
            found[str(name)] = number
    return found
