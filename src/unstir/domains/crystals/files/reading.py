"""Files of crystals, whichever kind they are of."""

from collections.abc import Callable, Iterator
from pathlib import Path

from unstir.core.errors import InputError, unknown
from unstir.domains.crystals.files.ase_files import read_ase_db, read_extxyz
from unstir.domains.crystals.files.cif import read_cif_file
from unstir.domains.crystals.files.poscar import read_poscar
from unstir.domains.crystals.files.tables import read_table
from unstir.domains.matter.structures import Collection, Crystal, Unread

Reader = Callable[[Path], Iterator[Crystal | Unread]]

KINDS = {
    "cif": (".cif", ".mcif"),
    "poscar": (".vasp", ".poscar"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet", ".pq"),
    "extxyz": (".extxyz", ".xyz"),
    "ase-db": (".db",),
}
"""The kinds of files, and the suffixes that each is known by; a POSCAR or CONTCAR by its name too."""
_MOLECULES = (".sdf", ".mol", ".mol2", ".smi", ".pdb")


def read_files(path: Path, kind: str | None = None, column: str | None = None) -> Collection:
    """All crystals of a file, or of the files in a folder, in the order of their names.

    ``kind`` is told by the suffix where it is not said. Raises InputError for what is not there, is of no known kind or
    holds nothing at all; what cannot be read within it is in ``unread``.
    """
    if kind is not None and kind not in KINDS:
        raise unknown("kind of file of crystals (`data.kind`)", kind, KINDS)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_dir():
        kinds = {each: kind_of(each) for each in sorted(path.iterdir()) if each.is_file()}
        files = [each for each, found in kinds.items() if found is not None and kind in (None, found)]
        if not files:
            raise InputError(f"{path}: there are no files of crystals in this folder; known suffixes: {_suffixes()}")
    else:
        files = [path]
    structures: list[Crystal] = []
    unread: list[Unread] = []
    for file in files:
        if not file.stat().st_size:
            unread.append(Unread(file.name, "the file is empty"))
            continue
        for found in _reader(file, kind, column)(file):
            if isinstance(found, Unread):
                unread.append(found)
            else:
                structures.append(found)
    if not structures and not unread:
        raise InputError(f"{path}: holds no structures")
    return Collection(path.name, tuple(structures), tuple(unread))


def kind_of(path: Path) -> str | None:
    """The kind of a file by its suffix or name; None if it is no known one."""
    if path.name.upper().startswith(("POSCAR", "CONTCAR")):
        return "poscar"
    return next((kind for kind, suffixes in KINDS.items() if path.suffix.lower() in suffixes), None)


def _reader(path: Path, kind: str | None, column: str | None) -> Reader:
    found = kind or kind_of(path)
    if found is None:
        if path.suffix.lower() in _MOLECULES:
            raise InputError(
                f"{path}: {path.suffix} is a file of molecules; take the field molecules (`domain: molecules`)"
            )
        raise InputError(
            f"{path}: no kind of crystals' file is known by the suffix {path.suffix!r}; known: {_suffixes()}. Or say "
            f"`data.kind`: {', '.join(KINDS)}"
        )
    if column is not None and found not in ("csv", "parquet"):
        raise InputError(f"`data.column={column}` is for tables; {path.name} is {found}")
    if found in ("csv", "parquet"):
        return lambda file: read_table(file, column)
    return {"cif": read_cif_file, "poscar": read_poscar, "extxyz": read_extxyz, "ase-db": read_ase_db}[found]


def _suffixes() -> str:
    return ", ".join(suffix for suffixes in KINDS.values() for suffix in suffixes)
