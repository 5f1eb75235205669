"""Whether atoms have as many bonds as their element and charge allow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from unstir.core.errors import InputError
from unstir.domains.matter.elements import number_of
from unstir.domains.matter.structures import BOND_ORDERS, Molecule
from unstir.domains.molecules.files.convert import quiet, rdkit_chem, to_rdkit
from unstir.domains.molecules.measures import lengths

Way = Literal["lengths", "bonds"]
_ALLOWED: dict[str, dict[int, tuple[int, ...]]] = {
    "H": {0: (1,), 1: (0,), -1: (0,)},
    "B": {0: (3,), -1: (4,)},
    "C": {0: (4,), 1: (3,), -1: (3,)},
    "N": {0: (3,), 1: (4,), -1: (2,), -2: (1,)},
    "O": {0: (2,), 1: (3,), -1: (1,), -2: (0,)},
    "F": {0: (1,), -1: (0,)},
    "Si": {0: (4,), -1: (5,), -2: (6,)},
    "P": {0: (3, 5), 1: (4,), -1: (2, 4, 6)},
    "S": {0: (2, 4, 6), 1: (3, 5), -1: (1, 3, 5), -2: (0,)},
    "Cl": {0: (1,), -1: (0,), 1: (2,), 2: (3,), 3: (4,)},
    "As": {0: (3, 5), 1: (4,)},
    "Se": {0: (2, 4, 6), 1: (3, 5), -1: (1,)},
    "Br": {0: (1,), -1: (0,), 1: (2,)},
    "I": {0: (1, 3, 5), -1: (0, 2, 4), 1: (2,)},
}
KNOWN = tuple(_ALLOWED)
"""The elements whose valences are known; atoms of others count as not stable."""


@dataclass(frozen=True)
class Stability:
    """How many atoms and molecules have allowed valences.

    ``atom`` is the share of all atoms, ``molecule`` that of the molecules all of whose atoms are stable. ``each`` bool
    (n,) says it of every molecule; ``stable`` and ``atoms`` int64 (n,) count its stable atoms and all of them.
    """

    atom: float
    molecule: float
    each: np.ndarray
    stable: np.ndarray
    atoms: np.ndarray


def stability(molecules: Sequence[Molecule], by: Way = "lengths", implicit: bool = False) -> Stability:
    """Stability of atoms and molecules, the bonds told by a table of ``lengths`` or by the molecules' own ``bonds``.

    An atom is stable if the orders of its bonds sum up to a valence that its element has at its formal charge, which is
    0 where the molecule tells none: 2, 4 or 6 for sulphur, 4 for N+. Aromatic bonds are made single and double ones
    first; where rings have no such form, their atoms are not stable. (A bond of order 1.5 that is stored as a whole
    number becomes 1, and makes phenyl's carbons seem to lack a bond or, with the table bent to fit, unsound ones pass.)
    With ``implicit`` hydrogens are left out, and an atom may have fewer bonds than its valence.

    Raises InputError for no molecules, and for those without positions or bonds where these are needed.

    Reference: Hoogeboom et al., Equivariant diffusion for molecule generation in 3D (2022), section 5.1; Nikitin,
    Anstine, Isayev, GEOM-Drugs revisited: toward more chemically accurate benchmarks for 3D molecule generation (2025),
    for what went wrong with aromatic valences.
    """
    if not len(molecules):
        raise InputError("no molecules to judge; at least one is needed")
    found = [stable_atoms(molecule, by, implicit) for molecule in molecules]
    stable, atoms = (np.array([int(count(one)) for one in found], dtype=np.int64) for count in (np.sum, len))
    each = stable == atoms
    return Stability(float(stable.sum() / max(1, atoms.sum())), float(each.mean()), each, stable, atoms)


def stable_atoms(molecule: Molecule, by: Way = "lengths", implicit: bool = False) -> np.ndarray:
    """Which atoms of a molecule have an allowed valence, boolean (n,)."""
    valence = valences(molecule, by)
    charges = np.zeros(len(molecule), dtype=np.int64) if molecule.charges is None else molecule.charges
    return np.array(
        [
            _fits(value, _BY_NUMBER.get(number, {}).get(charge, ()), implicit)
            for value, number, charge in zip(valence.tolist(), molecule.numbers.tolist(), charges.tolist(), strict=True)
        ],
        dtype=bool,
    )


def valences(molecule: Molecule, by: Way = "lengths") -> np.ndarray:
    """The sum of the orders of each atom's bonds, float64 (n,); NaN for atoms of rings that have no Kekulé form."""
    place = molecule.source or molecule.name or "a molecule"
    if by == "lengths":
        if molecule.positions is None:
            raise InputError(f"{place} has no positions to tell bonds by; take by='bonds'")
        return np.asarray(lengths.orders(molecule.numbers, molecule.positions).sum(1), dtype=np.float64)
    if molecule.bonds is None:
        raise InputError(f"{place} has no bonds of its own; take by='lengths'")
    whole = kekulised(molecule)
    table = molecule.bonds if whole is None or whole.bonds is None else whole.bonds
    found = np.array(BOND_ORDERS)[table].sum(1)
    if whole is None:
        found[(table == BOND_ORDERS.index(1.5)).any(1)] = np.nan
    return np.asarray(found, dtype=np.float64)


def kekulised(molecule: Molecule) -> Molecule | None:
    """The molecule with single and double bonds in the place of aromatic ones; None where that cannot be."""
    aromatic = BOND_ORDERS.index(1.5)
    if molecule.bonds is None or not (molecule.bonds == aromatic).any():
        return molecule
    Chem = rdkit_chem("telling single from double bonds in aromatic rings")
    mol = to_rdkit(replace(molecule, positions=None), sanitise=False)
    with quiet():
        try:
            mol.UpdatePropertyCache(strict=False)
            Chem.GetSymmSSSR(mol)
            Chem.Kekulize(mol, clearAromaticFlags=True)
        except (ValueError, RuntimeError):
            return None
    bonds = molecule.bonds.copy()
    for bond in mol.GetBonds():
        first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        bonds[first, second] = bonds[second, first] = round(bond.GetBondTypeAsDouble())
    return replace(molecule, bonds=bonds)


def _fits(valence: float, allowed: tuple[int, ...], implicit: bool) -> bool:
    if implicit:
        return bool(allowed) and valence <= max(allowed)
    return valence in allowed


_BY_NUMBER = {number_of(symbol): charges for symbol, charges in _ALLOWED.items()}
