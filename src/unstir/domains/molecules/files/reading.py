"""From a path to molecules: which kind of file it is, and every structure that cannot be read with its reason."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from unstir.core.errors import InputError, suggest, unknown
from unstir.domains.matter.structures import Collection, Molecule, Unread
from unstir.domains.molecules.files.ase_db import read_ase_db
from unstir.domains.molecules.files.convert import from_ase, from_rdkit
from unstir.domains.molecules.files.sdf import read_sdf
from unstir.domains.molecules.files.tables import read_smiles, read_table
from unstir.domains.molecules.files.xyz import read_xyz

KINDS: dict[str, tuple[str, ...]] = {
    "xyz": (".xyz", ".extxyz"),
    "sdf": (".sdf", ".sd", ".mol"),
    "table": (".csv", ".tsv", ".txt", ".parquet", ".pq"),
    "smiles": (".smi", ".smiles", ".ism"),
    "ase-db": (".db",),
}
"""The kinds of files by name, and their suffixes."""
_CRYSTALS = (".cif", ".poscar", ".vasp", ".contcar", ".res")


def read_file(
    path: str | Path,
    kind: str | None = None,
    column: str | None = None,
    aromatic: bool = False,
    embed: int | None = None,
) -> Collection:
    """All molecules of a file, or of the files of a folder in the order of their names.

    The suffix tells the kind unless ``kind`` does. ``column`` is the one of a table that holds the molecules,
    ``aromatic`` keeps aromatic bonds as what they are, ``embed`` is a seed by which molecules that are told by their
    bonds alone get positions.

    Raises InputError for a path that is not there, a file of no known kind, and one without any structure.
    """
    path = Path(path).expanduser()
    if kind is not None and kind not in KINDS:
        raise unknown("kind of file with molecules", str(kind), KINDS)
    if path.is_dir():
        wanted = (kind,) if kind else tuple(KINDS)
        files = [file for file in sorted(path.iterdir()) if file.is_file() and _kind_of(file) in wanted]
        if not files:
            raise InputError(f"{path}: no file with molecules in this folder; {suggest('', sum(KINDS.values(), ()))}")
        return _collected(
            path.name, (read for file in files for read in _read(file, kind, column, aromatic, embed)), path
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    return _collected(path.name, _read(path, kind, column, aromatic, embed), path)


def from_objects(objects: Iterable[Any], name: str = "molecules", aromatic: bool = False) -> Collection:
    """Objects in memory as molecules: RDKit's ``Mol``, ASE's ``Atoms``, or molecules of ours, mixed or not.

    Raises InputError for no objects, and for one of another type.
    """
    return _collected(name, (_object(one, f"{name}, number {number}", aromatic) for number, one in enumerate(objects)))


def _object(given: Any, source: str, aromatic: bool) -> Molecule | Unread:
    kind = f"{type(given).__module__}.{type(given).__name__}"
    try:
        if isinstance(given, Molecule):
            return given
        if kind.startswith("rdkit."):
            return from_rdkit(given, source, aromatic=aromatic)
        if kind.startswith("ase."):
            return from_ase(given, source)
    except InputError as error:
        return Unread(source, str(error))
    raise InputError(f"{source}: RDKit's Mol, ASE's Atoms or a Molecule is needed; seen {kind}")


def _kind_of(path: Path) -> str | None:
    return next((name for name, suffixes in KINDS.items() if path.suffix.lower() in suffixes), None)


def _read(
    path: Path, kind: str | None, column: str | None, aromatic: bool, embed: int | None
) -> Iterator[Molecule | Unread]:
    chosen = kind or _kind_of(path)
    if chosen is None:
        hint = " Crystals have a field of their own: `domain: crystals`." if path.suffix.lower() in _CRYSTALS else ""
        raise InputError(
            f"{path}: its suffix tells no kind of file with molecules.{hint} "
            f"{suggest(path.suffix, sum(KINDS.values(), ()))} Or say it, `data.kind=sdf`."
        )
    if column is not None and chosen != "table":
        raise InputError(f"`data.column={column}`: tables have columns; {path.name} is read as {chosen}")
    readers: dict[str, Callable[[], Iterable[Any]]] = {
        "xyz": lambda: read_xyz(path),
        "sdf": lambda: read_sdf(path, aromatic, embed),
        "table": lambda: read_table(path, column, aromatic, embed),
        "smiles": lambda: read_smiles(path, aromatic, embed),
        "ase-db": lambda: read_ase_db(path),
    }
    yield from readers[chosen]()


def _collected(name: str, entries: Iterable[Molecule | Unread], path: Path | None = None) -> Collection:
    structures: list[Molecule] = []
    unread: list[Unread] = []
    for entry in entries:
        if isinstance(entry, Unread):
            unread.append(entry)
        else:
            structures.append(entry)
    if not structures and not unread:
        raise InputError(f"{path or name}: holds no molecules; is it empty?")
    return Collection(name, tuple(structures), tuple(unread))
