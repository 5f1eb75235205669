"""Tables with a structure in one column: CSV or Parquet; the structure as CIF or as pymatgen's JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unstir.core.errors import InputError, NotInstalledError, suggest
from unstir.domains.crystals.convert import from_pymatgen, made, numbers_among
from unstir.domains.crystals.files.cif import read_cif
from unstir.domains.matter.structures import Crystal, Unread

_DELIMITERS = ",;\t|"
_LOOKED_AT = 20  # rows, to find the column that holds structures
_LONGEST = 2**31 - 1  # characters in a cell


def read_table(path: Path, column: str | None = None) -> Iterator[Crystal | Unread]:
    """The structure of every row; the numbers of all other columns are its properties.

    ``column`` names the one with the structures; else it is the one whose cells are CIF or pymatgen's JSON.
    """
    names, rows = _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _csv(path)
    chosen = names.index(_column(path, names, rows, column))
    for place, row in enumerate(rows, 1):
        source = f"{path.name}, row {place}"
        if len(row) != len(names):
            yield Unread(source, f"{len(row)} cells, but {len(names)} columns are named")
            continue
        others = {name: value for name, value in zip(names, row, strict=True) if name and value is not None}
        others.pop(names[chosen], None)
        yield _structure(row[chosen], numbers_among(others), source)


def _structure(cell: Any, properties: dict[str, float], source: str) -> Crystal | Unread:
    if isinstance(cell, dict) or (isinstance(cell, str) and cell.lstrip().startswith("{")):
        return _by_json(cell, properties, source)
    if not isinstance(cell, str) or not cell.strip():
        return Unread(source, "its cell for the structure is empty")
    found = list(read_cif(cell, source))
    if len(found) > 1:
        return Unread(source, f"its CIF holds {len(found)} structures; one a row is needed")
    if isinstance(found[0], Unread):
        return found[0]
    crystal = found[0]
    return made(crystal.numbers, crystal.fractional, crystal.cell, properties, crystal.name, source)


def _by_json(cell: Any, properties: dict[str, float], source: str) -> Crystal | Unread:
    try:
        from pymatgen.core import Structure
    except ImportError:
        raise NotInstalledError("pymatgen", "crystals", "a column of pymatgen structures") from None
    try:
        told = json.loads(cell) if isinstance(cell, str) else cell
        return from_pymatgen(Structure.from_dict(told), properties, source)
    except InputError as error:
        return Unread(source, str(error))
    except Exception as error:
        return Unread(source, f"it cannot be read as pymatgen's JSON ({' '.join(str(error).split())[:200]})")


def _column(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]], wanted: str | None) -> str:
    """The column with the structures."""
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"{path}: there is no column {wanted!r}; {suggest(wanted, filter(None, names))}")
        if names.count(wanted) > 1:
            raise InputError(f"{path}: {names.count(wanted)} columns are called {wanted!r}; give them different names")
    looked = rows[:_LOOKED_AT]
    found = [
        name
        for place, name in enumerate(names)
        if name and any(len(row) > place and _is_structure(row[place]) for row in looked)
    ]
    if wanted is not None and (wanted in found or not found):
        return wanted
    if wanted is not None:
        raise InputError(f"{path}: the column {wanted!r} holds no structures; {suggest('', found)}")
    if len(found) != 1:
        told = f"several columns hold structures ({', '.join(found)})" if found else "no column holds CIF or JSON"
        raise InputError(
            f"{path}: {told}; say which with `data.column`. Columns: {', '.join(filter(None, names)) or 'none'}"
        )
    return found[0]


def _is_structure(cell: Any) -> bool:
    if isinstance(cell, dict):
        return "lattice" in cell
    return isinstance(cell, str) and ("_cell_length_a" in cell or ("lattice" in cell and cell.lstrip().startswith("{")))


def _csv(path: Path) -> tuple[list[str], list[list[Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save the table as CSV in UTF-8") from None
    head = text.partition("\n")[0]
    limit = csv.field_size_limit(_LONGEST)  # a large cell's CIF is longer than the 131,072 characters allowed else
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=max(_DELIMITERS, key=head.count)) if any(row)]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV table ({error})") from None
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise InputError(f"{path}: the file is empty; a first line with the columns' names is needed, then rows")
    return [name.strip() for name in rows[0]], rows[1:]


def _parquet(path: Path) -> tuple[list[str], list[list[Any]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise NotInstalledError("pyarrow", "crystals", "reading Parquet") from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file ({' '.join(str(error).split())[:200]})") from None
    columns = [column.to_pylist() for column in table.columns]
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)]
