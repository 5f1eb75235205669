"""Molecules that come with a dependency: the neutral small ones of the Protein Data Bank's ligand dictionary."""

import functools
import re

import numpy as np

from unstir.core.errors import NotInstalledError
from unstir.core.seeds import Seeds
from unstir.domains.matter.structures import Collection, Molecule
from unstir.domains.molecules.files.convert import EXTRA

NAME = "ligands"
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
ATOMS = (5, 29)
_ORDERS = {"SING": 1, "DOUB": 2, "TRIP": 3}
_FORMULA = re.compile(r"([A-Z][a-z]?)(\d*)")
_CLOSEST = 0.7  # angstrom; the shortest bond, of hydrogen, has 0.74


def ligands(seed: int = 0) -> Collection:
    """Neutral molecules of H, C, N, O and F with 5 to 29 atoms, with bonds in Kekulé's form, in an order drawn by seed.

    Of the dictionary's entries those with a released definition, a carbon, ideal coordinates of all atoms, no charge on
    any atom, all atoms joined, none closer than 0.7 angstrom and every valence filled; of entries that are the same
    molecule with the same coordinates, one. Kept in memory.

    Reference: Westbrook et al., The chemical component dictionary: complete descriptions of constituent molecules in
    experimentally determined 3D macromolecules in the Protein Data Bank (2015).
    """
    kept = _entries()
    order = Seeds.range(seed, 1).at("ligands").generator().permutation(len(kept))
    return Collection("ligands of the Protein Data Bank", tuple(kept[place] for place in order))


@functools.cache
def _entries() -> tuple[Molecule, ...]:
    try:
        from biotite.structure import info
    except ImportError:
        raise NotInstalledError("biotite", EXTRA, "the ligands of the Protein Data Bank") from None
    dictionary = info.get_ccd()
    entry, atom, bond = (dictionary[name] for name in ("chem_comp", "chem_comp_atom", "chem_comp_bond"))
    wanted = {
        identifier
        for identifier, formula, status in zip(
            entry["id"].as_array(), entry["formula"].as_array(), entry["pdbx_release_status"].as_array(), strict=True
        )
        if status == "REL" and _fits(str(formula))
    }
    atoms, bonds = _stretches(atom["comp_id"].as_array(), wanted), _stretches(bond["comp_id"].as_array(), wanted)
    symbols, charges, names = (atom[key].as_array() for key in ("type_symbol", "charge", "atom_id"))
    places = np.stack([atom[f"pdbx_model_Cartn_{axis}_ideal"].as_array(np.float64, np.nan) for axis in "xyz"], 1)
    ends = [bond[f"atom_id_{end}"].as_array() for end in (1, 2)]
    orders = bond["value_order"].as_array()
    found: dict[bytes, Molecule] = {}
    for identifier in sorted(wanted & set(atoms) & set(bonds)):
        here, there = atoms[identifier], bonds[identifier]
        if charges[here].any() or not np.isfinite(places[here]).all():
            continue
        numbers = np.array([ELEMENTS[symbol.capitalize()] for symbol in symbols[here].tolist()], dtype=np.int64)
        number_of = {name: place for place, name in enumerate(names[here].tolist())}
        table = np.zeros((len(numbers), len(numbers)), dtype=np.int64)
        triples = (column[there].tolist() for column in (*ends, orders))
        for first, second, order in zip(*triples, strict=True):
            table[number_of[first], number_of[second]] = table[number_of[second], number_of[first]] = _ORDERS[order]
        if _sound(numbers, places[here], table):
            source, neutral = f"ligand {identifier}", np.zeros_like(numbers)
            molecule = Molecule(numbers, places[here].copy(), neutral, table, {}, identifier, source)
            found.setdefault(numbers.tobytes() + places[here].tobytes(), molecule)
    info.get_ccd.cache_clear()  # hundreds of megabytes that nobody needs any more
    return tuple(found.values())


def _fits(formula: str) -> bool:
    counts = {symbol: int(count or 1) for symbol, count in _FORMULA.findall(formula.title())}
    return "C" in counts and counts.keys() <= ELEMENTS.keys() and ATOMS[0] <= sum(counts.values()) <= ATOMS[1]


def _stretches(identifiers: np.ndarray, wanted: set[str]) -> dict[str, slice]:
    """Where the rows of each wanted entry lie, which stand together."""
    starts = np.concatenate(([0], np.flatnonzero(identifiers[1:] != identifiers[:-1]) + 1))
    stops = np.append(starts[1:], len(identifiers))
    names = identifiers[starts].tolist()
    found = zip(names, starts.tolist(), stops.tolist(), strict=True)
    return {name: slice(start, stop) for name, start, stop in found if name in wanted}


def _sound(numbers: np.ndarray, positions: np.ndarray, bonds: np.ndarray) -> bool:
    valences = {1: 1, 6: 4, 7: 3, 8: 2, 9: 1}
    if not ATOMS[0] <= len(numbers) <= ATOMS[1]:
        return False
    if (bonds.sum(1) != np.array([valences[number] for number in numbers.tolist()])).any():
        return False
    reached, before = np.eye(1, len(numbers), dtype=bool)[0], 0
    while (count := int(reached.sum())) > before:
        reached, before = reached | (bonds[reached] > 0).any(0), count
    if before < len(numbers):
        return False
    apart = positions[:, None] - positions[None]
    squares = (apart * apart).sum(-1) + np.diag(np.full(len(numbers), np.inf))
    return bool(squares.min() >= _CLOSEST**2)
