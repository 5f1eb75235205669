"""Conformers of a given molecule: the classical way to build them, and how two sets of them are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.files.convert import quiet, rdkit_chem, to_rdkit

THRESHOLD = 0.5
"""Angstrom: a conformer is found where another comes so near. Literature takes 0.5 for QM9 and 1.25 for GEOM-Drugs."""
_MATCHES = 1000  # ways to lay a symmetric molecule on itself that are tried


@dataclass(frozen=True)
class Coverage:
    """Two sets of conformers of one molecule, compared; distances in angstrom.

    ``recall`` is the share of reference conformers that some drawn one comes near to, ``precision`` the share of drawn
    ones near to some reference; ``matching_recall`` and ``matching_precision`` the mean distances to the nearest.
    """

    recall: float
    matching_recall: float
    precision: float
    matching_precision: float


def etkdg(molecule: Molecule, number: int, seeds: Seeds, optimise: bool = False) -> list[Molecule]:
    """So many conformers of a molecule's graph by distance geometry with knowledge of torsions; fewer where it fails.

    Handedness and sides are those of its positions, where it has some. ``optimise`` relaxes each by MMFF94 where that
    knows all atoms. The draw is that of the one sample of ``seeds``.

    Reference: Riniker, Landrum, Better informed distance geometry: using what we know to improve conformation
    generation (2015).
    """
    Chem = rdkit_chem("building conformers")
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    mol = to_rdkit(molecule)
    mol = Chem.Mol(mol)
    mol.RemoveAllConformers()
    how = rdDistGeom.ETKDGv3()
    how.randomSeed = int(seeds.at("etkdg").integers(0, 2**31 - 1)[0])
    with quiet():
        found = list(rdDistGeom.EmbedMultipleConfs(mol, number, how))
        if optimise and found and rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol)
    places = [np.array(mol.GetConformer(one).GetPositions(), dtype=np.float64) for one in found]
    return [replace(molecule, positions=positions) for positions in places if np.isfinite(positions).all()]


def distances(drawn: Sequence[Molecule], reference: Sequence[Molecule]) -> np.ndarray:
    """The least root mean square distance of heavy atoms of every two, float64 (drawn, reference), in angstrom.

    The least over turning and moving, and over all ways to lay the molecule's graph on itself. All are conformers of
    one graph; their atoms may come in any order. Raises InputError where they are not.
    """
    Chem = rdkit_chem("comparing conformers")
    from rdkit.Chem import rdMolAlign

    with quiet():
        mols = [Chem.RemoveHs(to_rdkit(molecule)) for molecule in (*drawn, *reference)]
    first, second = mols[: len(drawn)], mols[len(drawn) :]
    found = np.zeros((len(first), len(second)))
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            try:
                with quiet():
                    found[row, column] = rdMolAlign.GetBestRMS(Chem.Mol(one), other, maxMatches=_MATCHES)
            except RuntimeError:
                raise InputError("conformers are compared of one molecule; these two have different graphs") from None
    return found


def coverage(apart: np.ndarray, threshold: float = THRESHOLD) -> Coverage:
    """Coverage and matching, from the distances (drawn, reference) of ``distances``.

    Reference: Xu et al., GeoDiff: a geometric diffusion model for molecular conformation generation (2022), section
    5.1; Ganea et al., GeoMol: torsional geometric generation of molecular 3D conformer ensembles (2021), section 4.
    """
    if not apart.size:
        raise InputError("conformers are compared from one of either set on; seen none")
    near_reference, near_drawn = apart.min(0), apart.min(1)
    return Coverage(
        float((near_reference < threshold).mean()),
        float(near_reference.mean()),
        float((near_drawn < threshold).mean()),
        float(near_drawn.mean()),
    )


def mean_coverage(found: Sequence[Coverage]) -> Coverage:
    """The mean over molecules, each counting alike."""
    table = np.array([list(vars(one).values()) for one in found])
    return Coverage(*(float(value) for value in table.mean(0)))
