"""Training data for what is asked of molecules beside new ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.matter.sets import SetData
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.data import encoded_rows, fitted_encoding
from unstir.domains.molecules.files.writing import smiles_of
from unstir.domains.molecules.loading import load
from unstir.domains.molecules.tasks.conformers import etkdg
from unstir.domains.molecules.tasks.graphs import stereo_conditions, stereo_of
from unstir.domains.rows import kept_apart

TASK_OPTIONS: dict[str, dict[str, Any]] = {"conformers": {"conformers": None}}
"""What each task may be told beside the options of all molecules."""


def read_task(given: Mapping[str, Any]) -> SetData:
    """Conformers from the (complete) options of a recipe's ``data``: positions are drawn, the graph is told.

    - ``conformers``: how many of each molecule are built by RDKit's distance geometry (ETKDG) to train on; by default
      those of the file, or of the dictionary.

    Molecules are kept apart whole, never some of their conformers.
    """
    number = given["conformers"]
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise InputError(f"`data.conformers: {number!r}`: a whole number from 1 on is needed, or null for the file's")
    if given["properties"] or given["composition"]:
        raise InputError("conformers are told their graph, which says all: leave properties and composition out")
    collection, remarks = load(given, needs=("bonds",) if number else ("positions", "bonds"))
    molecules, remarks = list(collection.structures), list(remarks)
    if number:
        molecules, failed = _built(molecules, number, given["seed"])
        if failed:
            remarks.append(f"Of {failed} molecules distance geometry found no conformer; they are left out.")
    names = [smiles_of(molecule) for molecule in molecules]
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    train, apart = kept_apart(len(order), given["held_out"], given["seed"])
    group = np.array([order[name] for name in names])
    rows, rest = (np.flatnonzero(np.isin(group, chosen)) for chosen in (train, apart))
    charged = given["charges"] is not False and any(molecule.charges is not None for molecule in molecules)
    known = ("elements", *(("charges",) if charged else ()), "bonds")
    encoding = fitted_encoding(molecules, given, rows, known)

    def part(title: str, chosen: np.ndarray) -> SetData:
        data = encoded_rows(title, encoding, molecules, chosen)
        told, kinds = stereo_conditions([stereo_of(molecules[row]) for row in chosen.tolist()], data.mask.shape[1])
        return replace(data, told={**data.told, **told}, kinds={**data.kinds, **kinds})

    second = part(f"{collection.name}, held out", rest) if len(rest) else None
    return replace(part(collection.name, rows), held_out=second, remarks=tuple(remarks))


def _built(molecules: Sequence[Molecule], number: int, seed: int) -> tuple[list[Molecule], int]:
    found: list[Molecule] = []
    failed = 0
    for row, molecule in enumerate(molecules):
        drawn = etkdg(molecule, number, Seeds.range(seed, 1, start=row))
        found += drawn
        failed += not drawn
    if not found:
        raise InputError("distance geometry found no conformer of any molecule; are their bonds right?")
    return found, failed
