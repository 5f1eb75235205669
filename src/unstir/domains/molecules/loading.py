"""From a recipe's options to checked molecules: hydrogens, bonds, charges and properties as they were asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unstir.core.errors import InputError, suggest, unknown
from unstir.core.seeds import Seeds
from unstir.domains.matter.elements import element, number_of
from unstir.domains.matter.structures import Collection, Molecule, Unread
from unstir.domains.molecules.embedded import NAME, ligands
from unstir.domains.molecules.files.reading import read_file
from unstir.domains.molecules.perceiving import with_bonds, with_hydrogens, without_hydrogens
from unstir.domains.molecules.properties import wanted, with_properties

CLOSEST = 0.5
"""Angstrom: atoms that are nearer to each other than this overlap."""
OPTIONS: dict[str, Any] = {
    "path": None,
    "kind": None,
    "column": None,
    "name": None,
    "elements": None,
    "hydrogens": "keep",
    "charges": "auto",
    "bonds": "auto",
    "aromatic": False,
    "positions": "read",
    "properties": None,
    "composition": False,
    "largest": None,
    "unreadable": "error",
    "limit": None,
    "held_out": 0.1,
    "seed": 0,
    "task": "generate",
    "form": "geometry",
}
"""The options of a recipe's ``data`` and their defaults."""
_WORDS: dict[str, tuple[Any, ...]] = {
    "hydrogens": ("keep", "drop", "add"),
    "charges": ("auto", True, False),
    "bonds": ("auto", True, False, "perceive"),
    "aromatic": (True, False),
    "positions": ("read", "embed"),
    "composition": (True, False),
    "unreadable": ("error", "drop"),
}
_SHOWN = 5


def checked(given: Mapping[str, Any]) -> None:
    """Raises InputError for options whose values are of no use, with the values that are."""
    for name, allowed in _WORDS.items():
        if not any(given[name] is word or (isinstance(word, str) and given[name] == word) for word in allowed):
            words = ["true" if word is True else "false" if word is False else word for word in allowed]
            raise InputError(f"`data.{name}: {given[name]!r}`: {suggest(str(given[name]), words)}")
    for name in ("largest", "limit"):
        value = given[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 2):
            raise InputError(f"`data.{name}: {value!r}`: a whole number from 2 on is needed")
    if isinstance(given["seed"], bool) or not isinstance(given["seed"], int):
        raise InputError(f"`data.seed: {given['seed']!r}`: a whole number is needed")
    for name in ("kind", "column"):
        if given["path"] is None and given[name] is not None:
            raise InputError(f"`data.{name}`: goes with a file of one's own, `data.path`")


def load(given: Mapping[str, Any], needs: Sequence[str] = ("positions",)) -> tuple[Collection, list[str]]:
    """The molecules that the (complete) options ask for, and remarks on what was left out.

    ``needs`` names what every molecule must have: ``positions``, ``bonds``, or nothing of the two.

    Raises InputError, which names the first five, for molecules that cannot be read or used, unless they are to be
    dropped; and for options that do not fit.
    """
    checked(given)
    if given["path"] is None:
        if given["name"] not in (None, NAME):
            raise unknown("embedded set of molecules", str(given["name"]), [NAME])
        read = ligands(given["seed"])
    else:
        embed = given["seed"] if given["positions"] == "embed" else None
        read = read_file(str(given["path"]), given["kind"], given["column"], bool(given["aromatic"]), embed)
    name = str(given["name"]) if given["path"] is not None and given["name"] else read.name
    return prepared(Collection(name, read.structures, read.unread), given, needs)


def prepared(
    read: Collection, given: Mapping[str, Any], needs: Sequence[str] = ("positions",)
) -> tuple[Collection, list[str]]:
    """Molecules that have been read, as the (complete, checked) options ask for them; errors as of ``load``."""
    name, unread = read.name, list(read.unread)
    molecules, remarks = _chosen(read.structures, given)
    usable: list[Molecule] = []
    some_bonds = any(molecule.bonds is not None for molecule in molecules)
    ready = _preparation(given, some_bonds, needs)
    for molecule in molecules:
        try:
            usable.append(ready(molecule))
        except InputError as error:
            unread.append(Unread(molecule.source, str(error)))
    usable, lacking = with_properties(usable, wanted(given["properties"]), name)
    unread += lacking
    total = len(usable) + len(unread)
    if unread:
        told = "\n".join(f"  {one.source}: {one.reason}" for one in unread[:_SHOWN])
        more = f"\n  ... and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
        first = f"{name}: {len(unread)} of {total} molecules cannot be used"
        if given["unreadable"] == "error":
            raise InputError(f"{first}:\n{told}{more}\nMend them, or leave them out with `data.unreadable=drop`.")
        if not usable:
            raise InputError(f"{first}, so that none is left:\n{told}{more}")
        remarks.append(f"{first} and are left out, the first for this reason: {unread[0].source}: {unread[0].reason}.")
    if not usable:
        raise InputError(f"{name}: no molecule is left; {' '.join(remarks) or 'the file is empty'}")
    return Collection(name, tuple(usable), tuple(unread)), remarks


def _chosen(molecules: Sequence[Molecule], given: Mapping[str, Any]) -> tuple[list[Molecule], list[str]]:
    """Those of the elements and sizes that are asked for, at most ``limit``; and what that leaves out."""
    remarks, kept = [], list(molecules)
    dropped = given["hydrogens"] == "drop"
    if given["elements"] is not None:
        among = {*element_numbers(given["elements"]), *((1,) if dropped else ())}
        within = [one for one in kept if set(one.numbers.tolist()) <= among]
        if len(within) < len(kept):
            told = f"with other elements than {given['elements']}"
            remarks.append(f"{len(kept) - len(within)} of {len(kept)} molecules, {told}, are left out.")
        kept = within
    if (most := given["largest"]) is not None:
        within = [one for one in kept if int((one.numbers != 1).sum() if dropped else len(one)) <= most]
        if len(within) < len(kept):
            remarks.append(
                f"{len(kept) - len(within)} of {len(kept)} molecules, of more than {most} atoms, are left out."
            )
        kept = within
    if given["limit"] is not None and len(kept) > given["limit"]:
        drawn = Seeds.range(given["seed"], 1).at("limit").generator().permutation(len(kept))[: given["limit"]]
        remarks.append(f"{given['limit']} of {len(kept)} molecules are taken, drawn by the seed.")
        kept = [kept[place] for place in np.sort(drawn)]
    return kept, remarks


def element_numbers(told: Any) -> tuple[int, ...]:
    """Elements told by symbols or atomic numbers, as numbers in rising order."""
    if not isinstance(told, list | tuple) or not told:
        raise InputError(f"`data.elements: {told!r}`: a list of elements is needed, [H, C, N, O]")
    found = set()
    for one in told:
        if isinstance(one, bool):  # YAML takes a bare N for no, and says false
            raise InputError(f"`data.elements: {told}`: put quotes about what YAML takes for yes and no, 'N'")
        found.add(element(one).number if isinstance(one, int) else number_of(str(one).capitalize()))
    return tuple(sorted(found))


def _preparation(given: Mapping[str, Any], some_bonds: bool, needs: Sequence[str]) -> Callable[[Molecule], Molecule]:
    """What is done with each molecule; the function raises InputError with the reason why one cannot be used."""
    bonds_needed = "bonds" in needs or given["bonds"] is True or (some_bonds and given["bonds"] == "auto")

    def ready(molecule: Molecule) -> Molecule:
        if len(molecule) == 0:
            raise InputError("it has no atoms")
        if "positions" in needs:
            _check_positions(molecule)
        total = round(molecule.properties.get("charge", 0))
        if molecule.charges is not None:
            total = int(molecule.charges.sum())
        if given["bonds"] == "perceive" and molecule.bonds is None:
            molecule = with_bonds(molecule, total, bool(given["aromatic"]))
        if molecule.bonds is None and bonds_needed:
            others = "" if "bonds" in needs else ", and `data.bonds=false` does without"
            raise InputError(f"it has no bonds; `data.bonds=perceive` finds them from positions{others}")
        if given["hydrogens"] == "add":
            if molecule.bonds is None:
                raise InputError("hydrogens are added to bonds, and it has none")
            molecule = with_hydrogens(molecule)
        elif given["hydrogens"] == "drop":
            molecule = without_hydrogens(molecule)
        if given["bonds"] is False and "bonds" not in needs:
            molecule = replace(molecule, bonds=None)
        return molecule

    return ready


def _check_positions(molecule: Molecule) -> None:
    if molecule.positions is None:
        raise InputError(
            "it has no positions in space (a SMILES, or a drawing in the plane): `data.positions=embed` builds a "
            "conformer, and `data.form=string` does without"
        )
    if not np.isfinite(molecule.positions).all():
        atom = int(np.flatnonzero(~np.isfinite(molecule.positions).all(1))[0])
        raise InputError(f"atom {atom + 1} stands at {molecule.positions[atom].tolist()}, which is no place")
    if len(molecule) < 2:
        raise InputError("it is a single atom, of which there is nothing to place")
    first, second = np.triu_indices(len(molecule), 1)
    apart = np.linalg.norm(molecule.positions[first] - molecule.positions[second], axis=1)
    nearest = int(apart.argmin())
    if apart[nearest] < CLOSEST:
        raise InputError(
            f"atoms {first[nearest] + 1} and {second[nearest] + 1} overlap: they are {apart[nearest]:.3g} angstrom "
            f"apart, and {CLOSEST} is the least (are the positions in angstrom?)"
        )
