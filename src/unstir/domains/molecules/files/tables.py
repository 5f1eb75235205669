"""Tables with a molecule in every row, as SMILES or as a block of XYZ: CSV, TSV, Parquet; and lists of SMILES."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unstir.core.errors import InputError, NotInstalledError, suggest
from unstir.core.seeds import Seeds
from unstir.domains.matter.structures import Molecule, Unread
from unstir.domains.molecules.files.convert import EXTRA, from_rdkit, numbers_among, quiet, rdkit_chem
from unstir.domains.molecules.files.xyz import blocks
from unstir.domains.molecules.perceiving import conformer

SMILES_NAMES = ("smiles", "canonical_smiles", "isomeric_smiles", "smile", "structure")
_XYZ_NAMES = ("xyz", "xyz_block", "geometry")
_LABELS = ("name", "id", "title")
_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Row:
    """One row: its molecule as text, and what else the row tells."""

    text: str
    source: str
    name: str = ""
    properties: Mapping[str, float] = field(default_factory=dict)


def read_table(
    path: Path, column: str | None = None, aromatic: bool = False, embed: int | None = None
) -> Iterator[Molecule | Unread]:
    """The molecules of a table, in the order of its rows; rows that cannot be read as ``Unread``.

    ``column`` names the one that holds SMILES or XYZ, else it is found by its name. A molecule of a SMILES has the
    atoms that are written out there, no positions, and every number of its row as a property; or, if ``embed`` gives a
    seed, all hydrogens and a conformer.
    """
    rows, kind = table_rows(path, column)
    for number, row in enumerate(rows):
        if isinstance(row, Unread):
            yield row
        elif kind == "smiles":
            yield molecule_of(row, aromatic, _address(embed, number))
        else:
            found = list(blocks(row.text.replace("\\n", "\n").splitlines(), row.source)) if row.text else []
            if len(found) != 1 or isinstance(found[0], Unread):
                reason = found[0].reason if len(found) == 1 and isinstance(found[0], Unread) else ""
                yield Unread(row.source, reason or f"one block of XYZ is needed, and {len(found)} are there")
            else:
                one = found[0]
                yield Molecule(
                    one.numbers, one.positions, one.charges, one.bonds, {**one.properties, **row.properties}, row.name,
                    row.source,
                )  # fmt: skip


def read_smiles(path: Path, aromatic: bool = False, embed: int | None = None) -> Iterator[Molecule | Unread]:
    """The molecules of a list of SMILES, one a line, with a name behind it or without."""
    for number, row in enumerate(smiles_rows(path)):
        yield molecule_of(row, aromatic, _address(embed, number))


def _address(embed: int | None, number: int) -> Seeds | None:
    return None if embed is None else Seeds.range(embed, 1, start=number)


def molecule_of(row: Row, aromatic: bool = False, seeds: Seeds | None = None) -> Molecule | Unread:
    """The molecule of a SMILES, with a conformer if ``seeds`` has its address; RDKit's reason where there is none."""
    Chem = rdkit_chem("reading SMILES")
    with quiet() as reasons:
        mol = Chem.MolFromSmiles(row.text, sanitize=True) if row.text else None
    if mol is None:
        return Unread(row.source, reasons[0] if reasons else f"{row.text!r} is no SMILES")
    try:
        mol = mol if seeds is None else conformer(mol, seeds)
        return from_rdkit(mol, row.source, properties=row.properties, name=row.name or row.text, aromatic=aromatic)
    except InputError as error:
        return Unread(row.source, str(error))


def table_rows(path: Path, column: str | None = None) -> tuple[list[Row | Unread], str]:
    """The rows of a table with their molecules as text, and what that text is: ``smiles`` or ``xyz``."""
    names, records = _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _delimited(path)
    chosen, kind = _column(path, names, column)
    label = next((name for name in names if name.lower() in _LABELS), None)
    found: list[Row | Unread] = []
    for number, record in records:
        source = f"{path.name}, {number}"
        if isinstance(record, str):
            found.append(Unread(source, record))
            continue
        text = str(record[chosen] or "").strip()
        if not text:
            found.append(Unread(source, f"the cell of {chosen!r} is empty"))
            continue
        others = {name: value for name, value in record.items() if name not in (chosen, label)}
        found.append(Row(text, source, str(record[label]) if label else "", numbers_among(others)))
    return found, kind


def _column(path: Path, names: Sequence[str], column: str | None) -> tuple[str, str]:
    if column is not None:
        if column not in names:
            raise InputError(f"{path}: there is no column {column!r}; {suggest(column, names)}")
        return column, "xyz" if column.lower() in _XYZ_NAMES else "smiles"
    for known, kind in ((SMILES_NAMES, "smiles"), (_XYZ_NAMES, "xyz")):
        for name in names:
            if name.strip().lower() in known:
                return name, kind
    raise InputError(
        f"{path}: no column is called smiles or xyz; say which one holds the molecules, `data.column=...`. "
        f"{suggest('smiles', names)}"
    )


def _delimited(path: Path) -> tuple[list[str], list[tuple[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save the table as CSV in UTF-8") from None
    head = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [name.strip() for name in next(reader, [])]
    if not any(names):
        raise InputError(f"{path}: is empty; a table with the names of its columns in the first line is needed")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: every column needs a name of its own; seen {twice!r} twice among {names}")
    records: list[tuple[str, Any]] = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        place = f"row {len(records) + 1} (line {reader.line_num})"
        fits = len(row) == len(names)
        told = dict(zip(names, row, strict=True)) if fits else f"{len(row)} cells, but {len(names)} columns are named"
        records.append((place, told))
    return names, records


def _parquet(path: Path) -> tuple[list[str], list[tuple[str, Any]]]:
    try:
        import pandas
        import pyarrow
    except ImportError:
        raise NotInstalledError("pyarrow", EXTRA, "reading Parquet files") from None
    try:
        frame = pandas.read_parquet(path)
    except (ValueError, OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path}: no Parquet file that can be read ({error})") from None
    frame.columns = [str(name) for name in frame.columns]
    records = frame.to_dict("records")
    return list(frame.columns), [(f"row {number}", record) for number, record in enumerate(records, 1)]


def smiles_rows(path: Path) -> list[Row]:
    """The lines of a list of SMILES, with their names."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        cells = line.strip().split(None, 1)
        if not cells or (number == 1 and cells[0].lower() in SMILES_NAMES):
            continue
        found.append(Row(cells[0], f"{path.name}, line {number}", cells[1] if len(cells) > 1 else ""))
    return found
