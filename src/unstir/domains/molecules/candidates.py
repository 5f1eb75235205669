"""The best samples as files: SDF, a page that turns, and a table of what they are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unstir.domains.delimited import csv_text, write_whole
from unstir.domains.matter.structures import Molecule
from unstir.domains.matter.viewer import view
from unstir.domains.molecules.descriptors import PREFIX, descriptor
from unstir.domains.molecules.files.convert import quiet, rdkit_chem
from unstir.domains.molecules.files.writing import contents, formula_of

DESCRIPTORS = ("weight", "logp", "tpsa", "qed")


class Candidate(NamedTuple):
    """A sample: its number, the molecule with its bonds, its SMILES, its strain in kcal/mol (NaN if unknown)."""

    number: int
    molecule: Molecule
    smiles: str
    strain: float
    nearest: float
    """The likeness, 0 to 1, of the training molecule that is most like it."""


def write_candidates(chosen: Sequence[Candidate], folder: Path) -> list[Path]:
    """Samples into a folder, in the order given; returns the files, the table first.

    ``candidates.csv`` has a row for each: file, sample, formula, SMILES, strain, the likeness of the nearest training
    molecule, and some of RDKit's descriptors. What an earlier evaluation left there is taken away.
    """
    for path in folder.glob("[0-9][0-9][0-9]-*"):
        if path.suffix in (".sdf", ".html"):
            path.unlink()
    names = [f"{place:03d}-{formula_of(one.molecule.numbers)}" for place, one in enumerate(chosen, 1)]
    table: dict[str, list[str]] = {
        "file": [f"{name}.sdf" for name in names],
        "sample": [str(one.number) for one in chosen],
        "formula": [formula_of(one.molecule.numbers) for one in chosen],
        "smiles": [one.smiles for one in chosen],
        "strain (kcal/mol)": ["" if np.isnan(one.strain) else f"{one.strain:.2f}" for one in chosen],
        "likeness to training": [f"{one.nearest:.3f}" for one in chosen],
    }
    Chem = rdkit_chem("writing candidates")
    with quiet():
        mols = [Chem.MolFromSmiles(one.smiles) for one in chosen]
    for name in DESCRIPTORS:
        compute = descriptor(f"{PREFIX}{name}")
        table[name] = [f"{compute(mol):.4g}" for mol in mols]
    files = [write_whole(folder / "candidates.csv", csv_text(table).encode(), overwrite=True)]
    for name, one in zip(names, chosen, strict=True):
        molecule = replace(one.molecule, name=f"sample {one.number}")
        page = view(molecule.positions, molecule.numbers, molecule.bonds, title=f"{one.smiles}, sample {one.number}")  # type: ignore[arg-type]
        files.append(write_whole(folder / f"{name}.sdf", contents([molecule], ".sdf"), overwrite=True))
        files.append(write_whole(folder / f"{name}.html", page.encode(), overwrite=True))
    return files


def nearest(smiles: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """The likeness of each molecule and the known one that is most like it, float64 (n,): Tanimoto's, of Morgan prints.

    Reference: Rogers, Hahn, Extended-connectivity fingerprints (2010).
    """
    if not smiles or not known:
        return np.zeros(len(smiles))
    Chem = rdkit_chem("comparing molecules")
    from rdkit import DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    prints = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)

    def of(one: str) -> Any:
        return prints.GetFingerprint(Chem.MolFromSmiles(one))

    with quiet():
        others = [of(one) for one in known]
        return np.array([max(DataStructs.BulkTanimotoSimilarity(of(one), others)) for one in smiles], dtype=np.float64)
