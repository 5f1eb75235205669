"""Measures of strings of molecules: what is valid, unique and new, and how far properties lie from the data's."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from unstir.domains.molecules.descriptors import PREFIX, descriptor
from unstir.domains.molecules.files.convert import rdkit_chem
from unstir.domains.molecules.strings.alphabets import silent
from unstir.metrics.base import SampleSet

DESCRIPTORS = ("weight", "logp", "tpsa", "qed", "rings", "rotatable")
"""What is computed of every molecule, by the names of ``descriptors``."""
UNITS = {"weight": "Da", "tpsa": "Å²"}


def described(smiles: Sequence[str], names: Sequence[str] = DESCRIPTORS) -> dict[str, np.ndarray]:
    """RDKit's numbers of all that are molecules (not empty), float64 (molecules,) each."""
    found: dict[str, list[float]] = {name: [] for name in names}
    compute = {name: _computed(name) for name in names}
    Chem = rdkit_chem("computing properties")
    with silent():
        for one in smiles:
            if one:
                mol = Chem.MolFromSmiles(one)
                for name in names:
                    found[name].append(compute[name](mol))
    return {name: np.array(values, dtype=np.float64) for name, values in found.items()}


class Shares(NamedTuple):
    """Boolean: ``valid`` of all strings (n,), ``unique`` of the valid ones, ``novel`` of the different ones."""

    valid: np.ndarray
    unique: np.ndarray
    novel: np.ndarray


def shares(smiles: Sequence[str], training: Sequence[str]) -> Shares:
    """Which strings are molecules, which of those no earlier one is, and which of the different ones are new.

    ``smiles`` are canonical, empty for what is no molecule; new is what is not among ``training``.

    Reference: Brown et al., GuacaMol: benchmarking models for de novo molecular design (2019), section 3.
    """
    valid = [one for one in smiles if one]
    distinct = list(dict.fromkeys(valid))
    seen: set[str] = set()
    unique = [not (one in seen or seen.add(one)) for one in valid]
    known = set(training)
    return Shares(
        np.array([bool(one) for one in smiles], dtype=bool),
        np.array(unique, dtype=bool),
        np.array([one not in known for one in distinct], dtype=bool),
    )


def property_set(values: Mapping[str, np.ndarray]) -> SampleSet:
    """Described molecules as metrics see them: a row a molecule, a column a descriptor."""
    return SampleSet(torch.from_numpy(np.stack(list(values.values()), 1)), source="RDKit's descriptors")


def scaffolds(smiles: Sequence[str]) -> set[str]:
    """The different Bemis-Murcko scaffolds of molecules; acyclic ones have the empty one."""
    Chem = rdkit_chem("finding scaffolds")
    from rdkit.Chem.Scaffolds import MurckoScaffold

    with silent():
        return {MurckoScaffold.MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(one)) for one in smiles if one}


@functools.cache
def _computed(name: str) -> Callable[[Any], float]:
    return descriptor(f"{PREFIX}{name}")
