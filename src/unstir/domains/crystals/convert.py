"""Crystals as the objects that others work with: pymatgen's Structure, ASE's Atoms; out and in."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError
from unstir.domains.crystals.lattices import right_handed, wrapped
from unstir.domains.matter.structures import Crystal


def made(
    numbers: Any, fractional: Any, cell: Any, properties: Mapping[str, Any], name: str = "", source: str = ""
) -> Crystal:
    """A Crystal of anything like arrays: coordinates brought to [0, 1), the cell right-handed, properties numbers.

    Raises InputError for arrays of other shapes than (n,), (n, 3) and (3, 3).
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    cell, fractional = np.asarray(cell, dtype=np.float64), np.asarray(fractional, dtype=np.float64)
    fits = fractional.shape == (*numbers.shape, 3) or not (numbers.size or fractional.size)
    if cell.shape != (3, 3) or numbers.ndim != 1 or not fits:
        raise InputError(
            f"a crystal has n atomic numbers, coordinates (n, 3) and a cell (3, 3); seen the shapes {numbers.shape}, "
            f"{fractional.shape} and {cell.shape}"
        )
    cell, fractional = right_handed(cell, fractional.reshape(-1, 3))
    inside = wrapped(fractional) if np.isfinite(fractional).all() else fractional
    return Crystal(numbers, inside, cell, numbers_among(properties), name, source)


def numbers_among(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that are finite numbers, or text that says one."""
    found = {}
    for name, value in values.items():
        if isinstance(value, int | float | str | np.integer | np.floating | np.bool_):
            try:
                number = float(value)
            except ValueError:
                continue
            if math.isfinite(number):
                found[str(name)] = number
    return found


def to_pymatgen(crystal: Crystal) -> Any:
    """A ``pymatgen.core.Structure``; the crystal's properties come along as those of the structure."""
    try:
        from pymatgen.core import Lattice, Structure
    except ImportError:
        raise NotInstalledError("pymatgen", "crystals", "a pymatgen Structure") from None
    species = [_symbol(number) for number in crystal.numbers.tolist()]
    structure = Structure(Lattice(crystal.cell), species, crystal.fractional)
    structure.properties = dict(crystal.properties)
    return structure


def from_pymatgen(structure: Any, properties: Mapping[str, Any] | None = None, source: str = "") -> Crystal:
    """A Crystal of a ``pymatgen.core.Structure``; ``properties`` beside those that it has itself.

    Raises InputError for sites that are disordered or hold no element, and for structures that are not periodic.
    """
    if not all(getattr(structure.lattice, "pbc", (True,) * 3)):
        raise InputError("not periodic in all three directions; molecules and slabs belong to the field molecules")
    numbers = []
    for place, site in enumerate(structure, 1):
        species = list(site.species.items())
        if len(species) != 1 or abs(species[0][1] - 1) > 1e-6:
            raise InputError(
                f"site {place} is disordered ({site.species_string}); write one ordered structure of it, as pymatgen's "
                "OrderDisorderedStructureTransformation does"
            )
        number = int(getattr(species[0][0], "Z", 0) or 0)
        if number < 1 or type(species[0][0]).__name__ == "DummySpecies":
            raise InputError(f"site {place} holds {site.species_string!r}, which is no element")
        numbers.append(number)
    own = {**(getattr(structure, "properties", None) or {}), **(properties or {})}
    return made(numbers, structure.frac_coords, structure.lattice.matrix, own, structure.formula, source)


def to_ase(crystal: Crystal) -> Any:
    """An ``ase.Atoms``, periodic in all directions; the crystal's properties are in its ``info``."""
    try:
        from ase import Atoms
    except ImportError:
        raise NotInstalledError("ase", "crystals", "an ASE Atoms object") from None
    return Atoms(
        numbers=crystal.numbers,
        scaled_positions=crystal.fractional,
        cell=crystal.cell,
        pbc=True,
        info=dict(crystal.properties),
    )


def from_ase(atoms: Any, properties: Mapping[str, Any] | None = None, source: str = "") -> Crystal:
    """A Crystal of an ``ase.Atoms``; the numbers in its ``info`` and the energy it brings along are its properties.

    Raises InputError where it is not periodic in all three directions, has no cell, or sites of partial occupancy.
    """
    if not atoms.pbc.all():
        raise InputError(
            f"periodic in {int(atoms.pbc.sum())} of three directions; molecules and slabs belong to the field molecules"
        )
    if atoms.cell.rank < 3:
        raise InputError("no cell of three independent vectors; molecules belong to the field molecules")
    for site, shares in (atoms.info.get("occupancy") or {}).items():
        if isinstance(shares, Mapping) and (len(shares) != 1 or abs(sum(shares.values()) - 1) > 1e-6):
            raise InputError(f"site {site} is disordered ({dict(shares)}); write one ordered structure of it")
    energy = getattr(atoms.calc, "results", {}).get("energy") if atoms.calc is not None else None
    own = {**({} if energy is None else {"energy": energy}), **atoms.info, **(properties or {})}
    cell = np.asarray(atoms.cell.array)
    fractional = np.linalg.solve(cell.T, atoms.positions.T).T
    return made(atoms.numbers, fractional, cell, own, atoms.get_chemical_formula(), source)


def _symbol(number: int) -> str:
    from unstir.domains.matter.elements import symbol_of

    if number < 1:
        raise InputError("this crystal has sites whose element is not known yet, so pymatgen cannot hold it")
    return symbol_of(number)
