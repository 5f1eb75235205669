"""Numbers that molecules are drawn under: found in the file, or computed by RDKit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unstir.core.errors import InputError, suggest
from unstir.domains.matter.structures import Molecule, Unread
from unstir.domains.molecules.descriptors import PREFIX, descriptor
from unstir.domains.molecules.encoding import COMPOSITION, PARTS, Property
from unstir.domains.molecules.files.convert import quiet, to_rdkit
from unstir.domains.molecules.perceiving import with_bonds

_TAKEN = (*PARTS, COMPOSITION, "mask", "label", "atoms", "formula", "smiles", "known", "x", "noise", "drop")


def wanted(told: Any) -> dict[str, str]:
    """The properties that are asked for: how each is called, and the column or ``rdkit:...`` that holds it.

    ``[gap, rdkit:logp]`` are called gap and logp, ``{homo: "HOMO (eV)"}`` has a name of one's own. Raises InputError
    for two of one name, and names that mean something else.
    """
    if told is None:
        return {}
    if isinstance(told, Mapping):
        found = {str(name): str(key) for name, key in told.items()}
    elif isinstance(told, list | tuple):
        found = {}
        for key in map(str, told):
            name = key.removeprefix(PREFIX)
            if name in found:
                raise InputError(f"`data.properties: {told}`: two are called {name!r}; name them, {{name: column}}")
            found[name] = key
    else:
        raise InputError(f"`data.properties: {told!r}`: a list of columns is needed, or {{name: column}}")
    for name, key in found.items():
        if name in _TAKEN:
            raise InputError(f"`data.properties`: {name!r} means something else here; name it, {{my_{name}: {key}}}")
        if "." in name or not name:
            raise InputError(
                f"`data.properties`: {name!r} cannot be a name, as it holds a point; name it, {{name: {key}}}"
            )
    return found


def with_properties(
    molecules: Sequence[Molecule], asked: Mapping[str, str], source: str
) -> tuple[list[Molecule], list[Unread]]:
    """The molecules with the properties that are asked for and no others, by their new names; and those that lack one.

    Raises InputError, with the nearest name, for a property that no molecule has.
    """
    if not asked or not molecules:
        return list(molecules), []
    known = {name for molecule in molecules for name in molecule.properties}
    compute = {name: descriptor(key) for name, key in asked.items() if key.startswith(PREFIX)}
    for name, key in asked.items():
        if name not in compute and key not in known:
            raise InputError(
                f"{source}: no molecule has the number {key!r}; {suggest(key, known)} Or one that RDKit computes: "
                "rdkit:logp, rdkit:tpsa, rdkit:weight, ..."
            )
    found: list[Molecule] = []
    lacking: list[Unread] = []
    for molecule in molecules:
        values: dict[str, float] = {}
        try:
            mol = _graph(molecule) if compute else None
            for name, key in asked.items():
                if name in compute:
                    with quiet():
                        values[name] = compute[name](mol)
                elif key in molecule.properties:
                    values[name] = float(molecule.properties[key])
                else:
                    raise InputError(f"it has no number {key!r}, which others have")
                if not np.isfinite(values[name]):
                    raise InputError(f"its {name} is {values[name]}")
        except (InputError, ValueError, RuntimeError) as error:
            lacking.append(Unread(molecule.source, str(error)))
        else:
            found.append(replace(molecule, properties=values))
    return found, lacking


def fitted_property(name: str, key: str, molecules: Sequence[Molecule]) -> Property:
    """A property with its mean, deviation and range; InputError where all molecules have the same."""
    values = np.array([molecule.properties[name] for molecule in molecules])
    if values.std() <= 1e-12 * max(1.0, float(np.abs(values).max())):
        raise InputError(f"`data.properties`: {name!r} is {values[0]:g} for all molecules; there is nothing to ask for")
    return Property(name, key, *(float(number) for number in (values.mean(), values.std(), values.min(), values.max())))


def _graph(molecule: Molecule) -> Any:
    """RDKit's ``Mol`` with bonds, found from positions where the molecule has none."""
    return to_rdkit(molecule if molecule.bonds is not None else with_bonds(molecule))
