"""Whether samples are new: different from each other and from what the model was trained on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unstir.domains.crystals.measures.matching import among, distinct
from unstir.domains.crystals.measures.validity import keeps_apart
from unstir.domains.matter.structures import Crystal


class New(NamedTuple):
    """Boolean (n,): ``unique``, no earlier sample is the same; ``novel``, no known crystal is."""

    unique: np.ndarray
    novel: np.ndarray


def newness(samples: Sequence[Crystal], known: Sequence[Crystal]) -> New:
    """By StructureMatcher with its own tolerances, among crystals of one reduced formula.

    A crystal whose atoms lie on each other is unlike anything and would count as both: it counts as neither. The share
    of unique ones falls with the number of samples, that of novel ones with the number of known crystals; so compare
    equal numbers only.

    Reference: Zeni et al., A generative model for inorganic materials design (2025), for unique and novel structures.
    """
    sound = np.array([keeps_apart(crystal) for crystal in samples], dtype=bool)
    unique, novel = np.zeros((2, len(samples)), dtype=bool)
    chosen = [crystal for crystal, good in zip(samples, sound, strict=True) if good]
    unique[sound] = distinct(chosen) == np.arange(len(chosen))
    novel[sound] = among(chosen, known) < 0
    return New(unique, novel)
