"""XYZ and extended XYZ: blocks of a number of atoms, a comment, and a line for each atom."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.domains.matter.elements import element, number_of
from unstir.domains.matter.structures import Molecule, Unread
from unstir.domains.molecules.files.convert import ase_package, bond_table, formal, numbers_among

_NAME = re.compile(r'(?:^|\s)name=(?:"([^"]*)"|(\S+))')
_CHARGES = ("formal_charges", "formal_charge", "initial_charges", "charges")


def read_xyz(path: Path) -> Iterator[Molecule | Unread]:
    """The blocks of a file, in their order; those that cannot be read as ``Unread``.

    The comment of extended XYZ says which columns there are (``Properties=species:S:1:pos:R:3``) and holds numbers of
    the whole molecule (``gap=7.1``); of plain XYZ it is the name, and the columns are element, x, y, z in angstrom.
    Elements are told by their symbols or atomic numbers.
    """
    yield from blocks(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), path.name)


def blocks(lines: list[str], name: str) -> Iterator[Molecule | Unread]:
    """The same of lines of text."""
    place = entry = 0
    while place < len(lines):
        if not lines[place].strip():
            place += 1
            continue
        entry += 1
        source = f"{name}, entry {entry} (line {place + 1})"
        if not _counts(lines[place]):
            yield Unread(source, f"a number of atoms is needed where {lines[place].strip()[:40]!r} stands")
            place = _next_count(lines, place + 1)
            continue
        count, comment = int(lines[place]), lines[place + 1] if place + 1 < len(lines) else ""
        first = last = place + 2
        while last < len(lines) and lines[last].strip() and not _counts(lines[last]):
            last += 1
        if last - first != count or not count:
            yield Unread(source, f"it is said to have {count} atoms, and {last - first} lines of atoms follow")
        else:
            try:
                yield _molecule(lines[first:last], comment, source)
            except InputError as error:
                yield Unread(source, str(error))
        place = last


def _counts(line: str) -> bool:
    return line.strip().isdigit()


def _next_count(lines: list[str], place: int) -> int:
    while place < len(lines) and not _counts(lines[place]):
        place += 1
    return place


def _molecule(lines: list[str], comment: str, source: str) -> Molecule:
    columns, info = _told(comment)
    rows = [line.split() for line in lines]
    least = max(end for _, end in columns.values())
    for number, row in enumerate(rows, 1):
        if len(row) < least:
            raise InputError(f"atom {number} has {len(row)} columns, and {least} are needed")
    start, end = columns["pos"]
    values = _numbers([row[start:end] for row in rows], "positions")
    charges = None
    for name in _CHARGES:
        if name in columns and charges is None:
            charges = formal(_numbers([[row[columns[name][0]]] for row in rows], name)[:, 0])
    label = _NAME.search(comment)
    name = (label.group(1) or label.group(2) or "") if label else ("" if "=" in comment else comment.strip())
    bonds = info.pop("bonds", None)
    return Molecule(
        np.array([_atomic_number(row[columns["species"][0]]) for row in rows], dtype=np.int64),
        values,
        charges,
        None if bonds is None else bond_table(bonds, len(rows)),
        numbers_among({key: value for key, value in info.items() if key != "name"}),
        name,
        source,
    )


def _told(comment: str) -> tuple[dict[str, tuple[int, int]], dict[str, Any]]:
    """Where each column begins and ends, and what else the comment tells."""
    if "=" not in comment:
        return {"species": (0, 1), "pos": (1, 4)}, {}
    ase_package()
    from ase.io.extxyz import key_val_str_to_dict

    info: dict[str, Any] = {}
    try:
        info = key_val_str_to_dict(comment)
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"its comment cannot be read as key=value pairs ({error})") from None
    layout = info.pop("Properties", "species:S:1:pos:R:3")
    periodic = info.pop("pbc", "Lattice" in info)
    if np.any(np.asarray(periodic, dtype=object).astype(bool)):
        raise InputError("it is periodic, a crystal: take the field crystals (`domain: crystals`)")
    info.pop("Lattice", None)
    columns: dict[str, tuple[int, int]] = {}
    parts, place = str(layout).split(":"), 0
    if len(parts) % 3 or not all(width.isdigit() for width in parts[2::3]):
        raise InputError(f"`Properties={layout}`: name:type:columns, again and again, is needed")
    for name, width in zip(parts[::3], parts[2::3], strict=True):
        columns[{"symbols": "species", "Z": "species", "numbers": "species", "positions": "pos"}.get(name, name)] = (
            place,
            place + int(width),
        )
        place += int(width)
    for name in ("species", "pos"):
        if name not in columns:
            raise InputError(f"`Properties={layout}`: a column {name!r} is needed")
    return columns, info


def _numbers(cells: list[list[str]], what: str) -> np.ndarray:
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        pass
    try:  # 1.2*^-6 is how Mathematica, and hence QM9, writes small numbers
        return np.array([[float(cell.replace("*^", "e").replace("D", "e")) for cell in row] for row in cells])
    except ValueError as error:
        raise InputError(f"{what}: {error}") from None


def _atomic_number(token: str) -> int:
    return element(int(token)).number if token.isdigit() else number_of(token.capitalize())
