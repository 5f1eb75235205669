"""What a network may be told of crystals beside their own properties, computed from the crystals themselves."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, NotInstalledError, suggest, unknown
from unstir.domains.crystals.lattices import answer_of
from unstir.domains.matter.elements import mass, number_of, symbol_of
from unstir.domains.matter.structures import Crystal

SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
_LAST_GROUPS = np.array([2, 15, 74, 142, 167, 194, 230])  # of each crystal system
GROUPS = 230
SYMPREC = 0.01
"""The distance in angstrom within which atoms are taken for symmetric, where nothing else is said."""
_DALTON = 1.66053906660  # g/cm^3 for one dalton in a cubic angstrom


def density(crystal: Crystal) -> float:
    """The density in g/cm^3."""
    return sum(mass(number) for number in crystal.numbers.tolist()) * _DALTON / crystal.volume


def volume_per_atom(crystal: Crystal) -> float:
    """The cell's volume divided by its atoms, in cubic angstrom."""
    return crystal.volume / len(crystal)


NUMBERS: Mapping[str, Callable[[Crystal], float]] = {"density": density, "volume_per_atom": volume_per_atom}
"""The numbers that can be computed, by their names."""
NAMES = ("composition", "system", "space_group", "crystal_system", *NUMBERS)
"""All that can be told."""


def conditions_of(
    structures: Sequence[Crystal],
    names: Sequence[str],
    record: Mapping[str, Any] | None = None,
    elements: Sequence[str] | None = None,
    symprec: float = SYMPREC,
) -> tuple[dict[str, Tensor], dict[str, Mapping[str, Any]], dict[str, Any]]:
    """The conditions of those ``names``, a row a crystal; what a network is told of each; and what a run keeps of it.

    - ``composition``: the share of each element, float32 (rows, k); ``system``: which elements there are, 0 or 1.
    - ``space_group``: int64 (rows,), the number of the group less one, and ``crystal_system``, a place in ``SYSTEMS``,
      both by spglib within ``symprec`` angstrom.
    - ``density`` in g/cm^3 and ``volume_per_atom`` in cubic angstrom: float32 (rows, 1), standardised.

    ``record`` is what an earlier call has returned, of the crystals that were trained on: its elements, scalings and
    precision are then used. Else ``elements`` are the symbols that are told apart, those met by default.

    Raises InputError for a name that is not known, an element that is not told apart, a number that is the same for all
    crystals, and a crystal whose symmetry spglib does not find.
    """
    for name in names:
        if name not in NAMES:
            raise unknown("condition of crystals", name, NAMES)
    kept = _record(structures, names, elements, symprec) if record is None else dict(record)
    told: dict[str, Tensor] = {}
    kinds: dict[str, Mapping[str, Any]] = {}
    if {"space_group", "crystal_system"} & set(names):
        groups = np.array([space_group(crystal, kept["symprec"]) for crystal in structures], dtype=np.int64)
        told["space_group"], kinds["space_group"] = torch.from_numpy(groups - 1), {"classes": GROUPS}
        told["crystal_system"], kinds["crystal_system"] = crystal_systems(groups), {"classes": len(SYSTEMS)}
    if {"composition", "system"} & set(names):
        shares = compositions([crystal.numbers for crystal in structures], kept["elements"])
        told["composition"], kinds["composition"] = shares, {"size": len(kept["elements"])}
        told["system"], kinds["system"] = (shares > 0).float(), {"size": len(kept["elements"])}
    for name in set(NUMBERS) & set(names):
        told[name] = standardised(np.array([NUMBERS[name](crystal) for crystal in structures]), *kept["scalings"][name])
        kinds[name] = {"size": 1}
    return {name: told[name] for name in names}, {name: kinds[name] for name in names}, kept


def compositions(numbers: Sequence[np.ndarray], elements: Sequence[str]) -> Tensor:
    """The share of each of the ``elements`` among atomic numbers, float32 (rows, k)."""
    places = {number_of(symbol): place for place, symbol in enumerate(elements)}
    found = torch.zeros(len(numbers), len(elements))
    for row, atoms in enumerate(numbers):
        for number in atoms.tolist():
            if number not in places:
                raise InputError(
                    f"{symbol_of(number)} is not among the elements that this run tells apart: {', '.join(elements)}"
                )
            found[row, places[number]] += 1 / len(atoms)
    return found


def standardised(values: np.ndarray, mean: float, deviation: float) -> Tensor:
    """(value - mean) / deviation, float32 (rows, 1)."""
    return torch.from_numpy((np.asarray(values, dtype=np.float64) - mean) / deviation).float()[:, None]


def crystal_systems(groups: np.ndarray) -> Tensor:
    """The place in ``SYSTEMS`` of each space group's number, int64 (rows,)."""
    return torch.from_numpy(np.searchsorted(_LAST_GROUPS, groups))


def space_group(crystal: Crystal, symprec: float = SYMPREC) -> int:
    """The number of the space group by spglib, 1 to 230; InputError where it finds none."""
    return int(dataset_of(crystal, symprec).number)


def dataset_of(crystal: Crystal, symprec: float = SYMPREC) -> Any:
    """All that spglib finds of a crystal's symmetry; InputError where that is nothing."""
    cell = (crystal.cell, crystal.fractional, crystal.numbers)
    found = spglib_says(lambda spglib: spglib.get_symmetry_dataset(cell, symprec=symprec))
    if found is None:
        raise InputError(
            f"{crystal.source or 'a crystal'}: spglib finds no symmetry within {symprec:g} angstrom; are two of its "
            "atoms in one place?"
        )
    return found


def group_number(asked: Any) -> int:
    """The number of a space group from its number or its international symbol, 221 or "Pm-3m"."""
    if isinstance(asked, int) and not isinstance(asked, bool):
        if not 1 <= asked <= GROUPS:
            raise InputError(f"space groups have the numbers 1 to {GROUPS}; seen {asked}")
        return asked
    plain = str(asked).replace(" ", "").replace("_", "").lower()
    symbols = group_symbols()
    found = {symbol.replace("_", "").lower(): number for symbol, number in symbols.items()}
    if plain not in found:
        raise InputError(f"unknown space group {asked!r}; {_nearest(str(asked), symbols)}")
    return found[plain]


@functools.cache
def group_symbols() -> dict[str, int]:
    """The short international symbols of all 230 space groups, by spglib, with their numbers."""
    found: dict[int, str] = {}
    for hall in range(1, 531):
        kind = spglib_says(lambda spglib, hall=hall: spglib.get_spacegroup_type(hall))
        found.setdefault(kind.number, kind.international_short)
    return {symbol: number for number, symbol in found.items()}


def _nearest(name: str, symbols: Mapping[str, int]) -> str:
    """The nearest symbol; all of them would be too many to read."""
    hint = suggest(name, symbols).split("Allowed:")[0].strip()
    return f"{hint} Say its number, 1 to {GROUPS}, or its short international symbol, like Pm-3m".strip()


def _record(
    structures: Sequence[Crystal], names: Sequence[str], elements: Sequence[str] | None, symprec: float
) -> dict[str, Any]:
    met = sorted({number for crystal in structures for number in crystal.numbers.tolist()})
    scalings = {}
    for name in (name for name in names if name in NUMBERS):
        values = np.array([NUMBERS[name](crystal) for crystal in structures])
        if not values.std() > 1e-9 * np.abs(values).max():
            raise InputError(
                f"`data.conditions`: {name!r} is the same for every crystal, so that nothing is told by it"
            )
        scalings[name] = [float(values.mean()), float(values.std())]
    symbols = [symbol_of(number) for number in met] if elements is None else list(elements)
    return {"names": list(names), "elements": symbols, "scalings": scalings, "symprec": float(symprec)}


def spglib_says(question: Callable[..., Any]) -> Any:
    """What spglib answers to ``question(spglib)``; None where it has no answer, whichever way its version says so."""
    try:
        import spglib
    except ImportError:
        raise NotInstalledError("spglib", "crystals", "the symmetry of crystals") from None
    return answer_of(lambda: question(spglib))
