"""Strain: how much energy a molecule gives off when it relaxes, by a force field or by quantum chemistry."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.files.convert import ase_package, quiet, rdkit_chem, to_ase, to_rdkit

_KCAL = 23.060548  # kcal/mol of an electronvolt
_STEPS, _FORCE = 200, 0.05  # of the relaxation by quantum chemistry; eV/angstrom


def strains(molecules: Sequence[Molecule], method: str = "mmff94") -> np.ndarray:
    """The strain of each molecule in kcal/mol, float64 (n,); NaN where the method knows not all of it.

    ``mmff94``: the force field, which needs bonds; ``gfn2``: the tight-binding method GFN2-xTB, which asks for tblite
    and takes seconds a molecule. The energy above that of the nearest minimum by the same method: rotations about bonds
    into a better minimum are not counted.

    Raises InputError for another method, NotInstalledError where what it needs is not there.

    Reference: Halgren, Merck molecular force field I (1996); Bannwarth, Ehlert, Grimme, GFN2-xTB (2019); Nikitin,
    Anstine, Isayev, GEOM-Drugs revisited (2025), for strain as a measure of generated molecules.
    """
    methods: dict[str, Callable[[Molecule], float]] = {"mmff94": _by_force_field, "gfn2": _by_tight_binding}
    if method not in methods:
        raise unknown("method for strain", method, methods)
    return np.array([methods[method](molecule) for molecule in molecules], dtype=np.float64)


def _by_force_field(molecule: Molecule) -> float:
    rdkit_chem("computing energies")
    from rdkit.Chem import rdForceFieldHelpers

    try:
        mol: Any = to_rdkit(molecule)
    except InputError:
        return float("nan")
    with quiet():
        if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            return float("nan")
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, rdForceFieldHelpers.MMFFGetMoleculeProperties(mol))
        if field is None:
            return float("nan")
        before = field.CalcEnergy()
        field.Minimize(maxIts=2000)
        return float(before - field.CalcEnergy())


def _by_tight_binding(molecule: Molecule) -> float:
    ase_package("relaxing molecules")
    from ase.optimize import BFGS

    try:
        from tblite.ase import TBLite
        from tblite.exceptions import TBLiteRuntimeError
    except ImportError:
        raise NotInstalledError("tblite", "energies", "strain by GFN2-xTB") from None
    atoms = to_ase(replace(molecule, bonds=None, properties={}))
    charge = 0 if molecule.charges is None else int(molecule.charges.sum())
    atoms.calc = TBLite(method="GFN2-xTB", charge=charge, verbosity=0)
    try:
        before = float(atoms.get_potential_energy())
        BFGS(atoms, logfile=None).run(fmax=_FORCE, steps=_STEPS)
        return (before - float(atoms.get_potential_energy())) * _KCAL
    except (TBLiteRuntimeError, RuntimeError):
        return float("nan")
