"""ASE's databases: rows of atoms with key-value pairs."""

from collections.abc import Iterator
from pathlib import Path

from unstir.core.errors import InputError
from unstir.domains.matter.structures import Molecule, Unread
from unstir.domains.molecules.files.convert import ase_package, from_ase, numbers_among

_COMPUTED = ("energy", "free_energy", "magmom")


def read_ase_db(path: Path) -> Iterator[Molecule | Unread]:
    """The rows of a database in the order of their numbers.

    Key-value pairs that are numbers are properties, and so is an energy that a calculator has left. Bonds are those in
    the row's ``data["bonds"]``, as ``to_ase`` tells them.
    """
    ase_package("reading ASE's databases")
    from ase.db import connect

    try:
        rows = list(connect(str(path)).select(sort="id"))
    except Exception as error:  # sqlite3 has errors of its own, which come as they are
        raise InputError(f"{path}: no database of ASE's that can be read ({error})") from None
    for row in rows:
        source = f"{path.name}, id {row.id}"
        try:
            computed = {name: row.get(name) for name in _COMPUTED if row.get(name) is not None}
            known = {**numbers_among(computed), **row.key_value_pairs}
            if "bonds" in row.data:
                known["bonds"] = row.data["bonds"]
            yield from_ase(row.toatoms(), source, known)
        except InputError as error:
            yield Unread(source, str(error))
