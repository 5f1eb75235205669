"""Whether crystals are sound: atoms at possible distances, compositions whose charges can be balanced.

Validity says little by itself: random compositions of oxides balance often, and no pair under half an angstrom is what
a coarse grid of atoms has. Read every share beside that of the data.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.domains.crystals.data import formula_of
from unstir.domains.crystals.measures.neighbours import closest, closest_by_radii
from unstir.domains.matter.elements import symbol_of
from unstir.domains.matter.structures import Crystal

CLOSEST, SMALLEST = 0.5, 0.1
"""Angstrom, and cubic angstrom: what published structural validity asks of distances and of the cell."""
TOUCHING = 0.7
"""The share of the sum of two covalent radii that atoms must be apart."""
_DENSEST = 0.08  # cubic angstrom an atom; in less, spheres of 0.5 angstrom cannot be packed (Kepler's bound is 0.0884)
STATES = ("smact14", "icsd16", "icsd24", "pymatgen_sp")
"""SMACT's lists of oxidation states; the first is the one that published shares were counted with."""


@dataclass(frozen=True, eq=False)
class Validity:
    """What was asked of crystals, each boolean (n,).

    ``structural``: no two atoms within 0.5 angstrom, a cell of more than 0.1 cubic angstrom. ``by_radii``: no two atoms
    nearer than 0.7 of the sum of their covalent radii. ``compositional``: charges balance. ``undecided``: how many
    compositions hold an element without known oxidation states; they count as not valid.
    """

    structural: np.ndarray
    by_radii: np.ndarray
    compositional: np.ndarray
    undecided: int = 0

    @property
    def all(self) -> np.ndarray:
        """Valid in every way, boolean (n,)."""
        return np.asarray(self.structural & self.by_radii & self.compositional)


def validity(crystals: Sequence[Crystal], states: str = STATES[0]) -> Validity:
    """The three of every crystal; InputError for an unknown list of oxidation ``states``.

    Reference: Xie et al., Crystal diffusion variational autoencoder for periodic material generation (ICLR 2022),
    section 5.2, for structural and compositional validity.
    """
    balanced = [balances(crystal, states) for crystal in crystals]
    return Validity(
        np.array([keeps_apart(crystal) for crystal in crystals], dtype=bool),
        np.array([keeps_radii(crystal) for crystal in crystals], dtype=bool),
        np.array([found is True for found in balanced], dtype=bool),
        sum(found is None for found in balanced),
    )


def keeps_apart(crystal: Crystal) -> bool:
    """Structural validity as published: atoms 0.5 angstrom apart at least, a cell of more than 0.1 cubic angstrom."""
    return _has_room(crystal) and crystal.volume > SMALLEST and closest(crystal, CLOSEST) >= CLOSEST


def keeps_radii(crystal: Crystal, share: float = TOUCHING) -> bool:
    """Whether all atoms are ``share`` of the sum of their covalent radii apart; not so for unknown elements.

    Reference: Cordero et al., Covalent radii revisited (2008).
    """
    if not _has_room(crystal) or crystal.numbers.min() < 1 or crystal.volume <= SMALLEST:
        return False
    return closest_by_radii(crystal, share) >= share


def balances(crystal: Crystal, states: str = STATES[0]) -> bool | None:
    """Whether known oxidation states of the elements can add up to zero, anions being the more electronegative.

    A single element is valid, and so is an alloy of metals only. The answer is SMACT's, whose search through all
    combinations never ends for compositions of many elements; sums of charges are followed here instead. None where
    an element has no known oxidation state (noble gases, the heaviest), on which SMACT itself may stop.

    Reference: Davies et al., Computational screening of all stoichiometric inorganic materials (2016), SMACT.
    """
    if states not in STATES:
        raise unknown("list of oxidation states", states, STATES)
    if not len(crystal) or crystal.numbers.min() < 1:
        return None
    return _balanced(formula_of(crystal), states)


@functools.lru_cache(maxsize=65536)
def _balanced(formula: tuple[tuple[int, int], ...], states: str) -> bool | None:
    if len(formula) == 1:
        return True
    known = [_ions(number, states) for number, _ in formula]
    if all(metal for _, _, metal in known):
        return True
    if not all(charges and strength is not None for charges, strength, _ in known):
        return None
    many = [count for _, count in formula]
    # what is stronger than the bound is an anion; elements of one strength are so on one side, as they must be
    bounds = sorted({cast(float, strength) for _, strength, _ in known})[:-1]
    return any(_adds_up([(charges, cast(float, e)) for charges, e, _ in known], many, bound) for bound in bounds)


def _adds_up(known: Sequence[tuple[tuple[int, ...], float]], many: Sequence[int], bound: float) -> bool:
    """Whether charges, cations up to this electronegativity and anions beyond it, can add up to zero.

    The charges that are reached grow element by element: there are few, while combinations of states are many.
    """
    reached = {(0, False)}  # the sum so far, and whether any state so far is not zero
    for (charges, strength), count in zip(known, many, strict=True):
        fitting = [charge for charge in charges if (charge >= 0 if strength <= bound else charge <= 0)]
        reached = {(total + count * charge, some or charge != 0) for total, some in reached for charge in fitting}
    return (0, True) in reached


@functools.cache
def _ions(number: int, states: str) -> tuple[tuple[int, ...], float | None, bool]:
    """SMACT's oxidation states and electronegativity of an element, nothing where it knows none; whether a metal."""
    try:
        from smact import Element, metals
    except ImportError:
        raise NotInstalledError("smact", "crystals", "compositional validity") from None
    symbol = symbol_of(number)
    try:
        found = Element(symbol)
    except NameError:
        return (), None, symbol in metals
    listed = getattr(found, "oxidation_states_" + states.removeprefix("pymatgen_"), None) or ()
    return tuple(listed), found.pauling_eneg, symbol in metals


def _has_room(crystal: Crystal) -> bool:
    if not len(crystal):
        raise InputError("a crystal without atoms can be neither valid nor invalid")
    finite = bool(np.isfinite(crystal.cell).all() and np.isfinite(crystal.fractional).all())
    return finite and math.isfinite(crystal.volume) and crystal.volume > _DENSEST * len(crystal)
