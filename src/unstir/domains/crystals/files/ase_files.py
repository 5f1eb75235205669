"""What ASE reads: extended XYZ, and its databases."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unstir.core.errors import InputError, NotInstalledError
from unstir.domains.crystals.convert import from_ase
from unstir.domains.matter.structures import Crystal, Unread


def read_extxyz(path: Path) -> Iterator[Crystal | Unread]:
    """Every frame of an extended XYZ file; the numbers of its comment line are its properties."""
    ase_io = _ase("ase.io", "reading extended XYZ")
    frames, place = ase_io.iread(str(path), index=":", format="extxyz"), 0
    while True:
        place += 1
        source = f"{path.name}, frame {place}"
        try:
            atoms = next(frames)
        except StopIteration:
            return
        except Exception as error:  # a parser of other people's files fails in many ways, and all mean the same
            told = " ".join(str(error).split())[:200]
            yield Unread(source, f"from here on it cannot be read as extended XYZ ({told or type(error).__name__})")
            return
        yield _crystal(atoms, {}, source)


def read_ase_db(path: Path) -> Iterator[Crystal | Unread]:
    """Every row of an ASE database; its key-value pairs are its properties."""
    ase_db = _ase("ase.db", "reading an ASE database")
    try:
        rows = list(ase_db.connect(str(path), use_lock_file=False, type="db").select())
    except Exception as error:
        raise InputError(f"{path}: not an ASE database ({' '.join(str(error).split())[:200]})") from None
    for row in rows:
        source = f"{path.name}, row {row.id}"
        try:
            atoms = row.toatoms()
        except Exception as error:
            yield Unread(source, f"ASE makes no atoms of it ({' '.join(str(error).split())[:200]})")
            continue
        own = {name: row.get(name) for name in ("energy",) if row.get(name) is not None}
        yield _crystal(atoms, {**own, **row.key_value_pairs}, source)


def _crystal(atoms: Any, properties: dict[str, Any], source: str) -> Crystal | Unread:
    try:
        return from_ase(atoms, properties, source)
    except InputError as error:
        return Unread(source, str(error))


def _ase(module: str, purpose: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise NotInstalledError("ase", "crystals", purpose) from None
