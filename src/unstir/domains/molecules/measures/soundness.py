"""Whether a molecule's shape is sound: bonds, angles, contacts and flat parts within what chemistry allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unstir.domains.molecules.files.convert import quiet, rdkit_chem

LOOSE, CLASH, FLAT = 0.25, 0.3, 0.25
"""How far a distance may lie beyond its bounds, a contact below them, and an atom off its plane (angstrom)."""
_BOUNDS = {"set15bounds": True, "scaleVDW": True, "doTriangleSmoothing": True, "useMacrocycle14config": False}
_RINGS = ("[ar5^2]1[ar5^2][ar5^2][ar5^2][ar5^2]1", "[ar6^2]1[ar6^2][ar6^2][ar6^2][ar6^2][ar6^2]1")
_DOUBLE = ("[C;X3;^2](*)(*)=[C;X3;^2](*)(*)",)


@dataclass(frozen=True, eq=False)
class Soundness:
    """What holds of each molecule, boolean (n,) each: bond ``lengths``, ``angles``, no ``contacts`` too close,
    aromatic ``rings`` flat, the surroundings of double bonds (``planes``) flat.
    """

    lengths: np.ndarray
    angles: np.ndarray
    contacts: np.ndarray
    rings: np.ndarray
    planes: np.ndarray

    @cached_property
    def all(self) -> np.ndarray:
        """Everything holds, boolean (n,)."""
        return np.asarray(self.lengths & self.angles & self.contacts & self.rings & self.planes)

    def shares(self) -> dict[str, float]:
        """The share of molecules of which each holds."""
        return {name: float(np.mean(flags)) for name, flags in vars(self).items() if name != "all"}


def soundness(mols: Sequence[Any]) -> Soundness:
    """What holds of RDKit's molecules with a conformer each; nothing holds of None, which is no molecule.

    Distances of bonds and across angles may lie a quarter beyond the bounds of RDKit's distance geometry; other
    contacts 30 % below them; aromatic rings and double bonds between carbons a quarter of an angstrom off their plane.
    Hydrogens are not looked at, as in the reference.

    Reference: Buttenschoen, Morris, Deane, PoseBusters: AI-based docking methods fail to generate physically valid
    poses or generalise to novel sequences (2024), table 1, without the checks of the protein and of the energy.
    """
    rows = [_checked(mol) for mol in mols]
    table = np.array(rows, dtype=bool).reshape(len(rows), 5)
    return Soundness(*(np.asarray(table[:, place]) for place in range(5)))


def _checked(mol: Any) -> tuple[bool, ...]:
    if mol is None or not mol.GetNumConformers():
        return (False,) * 5
    places = np.asarray(mol.GetConformer().GetPositions(), dtype=np.float64)
    if not np.isfinite(places).all():
        return (False,) * 5
    return (*_distances(mol, places), _flat(mol, places, _RINGS), _flat(mol, places, _DOUBLE))


def _distances(mol: Any, places: np.ndarray) -> tuple[bool, bool, bool]:
    Chem = rdkit_chem("judging shapes")
    from rdkit.Chem import rdDistGeom

    with quiet():
        try:
            bounds = np.array(rdDistGeom.GetMoleculeBoundsMatrix(mol, **_BOUNDS))
        except (ValueError, RuntimeError):
            return (False,) * 3
        steps = Chem.GetDistanceMatrix(mol)
    heavy = np.array([atom.GetAtomicNum() > 1 for atom in mol.GetAtoms()])
    first, second = np.triu_indices(len(heavy), 1)
    kept = heavy[first] & heavy[second]
    first, second = first[kept], second[kept]
    apart = np.linalg.norm(places[first] - places[second], axis=1)
    upper, lower, away = bounds[first, second], bounds[second, first], steps[first, second]
    beyond = np.where(apart < lower, (apart - lower) / lower, np.where(apart > upper, (apart - upper) / upper, 0.0))
    off = np.abs(beyond) > LOOSE
    return (
        not (off & (away == 1)).any(),
        not (off & (away == 2)).any(),
        not ((beyond < -CLASH) & (away > 2)).any(),
    )


def _flat(mol: Any, places: np.ndarray, patterns: Sequence[str]) -> bool:
    """Whether all matches of the patterns lie in a plane each."""
    Chem = rdkit_chem("judging shapes")
    for pattern in patterns:
        for match in mol.GetSubstructMatches(Chem.MolFromSmarts(pattern)):
            part = places[list(match)]
            normal = np.linalg.svd(part - part.mean(0))[2][2]
            if np.abs((part - part.mean(0)) @ normal).max() > FLAT:
                return False
    return True
