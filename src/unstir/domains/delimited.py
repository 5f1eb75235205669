"""Tables of text, one row a line (CSV): read with every mistake named by its line, written whole or not at all."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from unstir.core import files
from unstir.core.errors import InputError, suggest

_DELIMITERS = ",;\t|"
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})


def read_columns(
    path: str | Path, columns: Sequence[str] | None = None, missing: str = "error"
) -> dict[str, list[str]]:
    """The columns of a CSV file by the names in its first line, as text; those of ``columns``, or all.

    The delimiter is the one of comma, semicolon, tab and bar that the first line has most of. Cells that are empty or
    say NA, NaN, null, none or ? are missing: an error that names them, or with ``missing`` = ``drop`` their row is left
    out. Raises InputError for a file that is not there, is no UTF-8, has no names, or rows of other lengths.
    """
    path = Path(path).expanduser()
    if missing not in ("error", "drop"):
        raise InputError(f"`data.missing: {missing!r}`: allowed are error and drop")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save the table as CSV in UTF-8") from None
    head = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    names = [name.strip() for name in next(reader, [])]
    if not any(names) or all(_is_number(name) for name in names):
        raise InputError(f"{path}: the first line must name the columns; seen {head[:60]!r}")
    if "" in names or len(set(names)) < len(names):
        twice = [name for name in names if not name or names.count(name) > 1]
        raise InputError(f"{path}: every column needs a name of its own; seen {twice[0]!r} among {names}")
    wanted = list(columns) if columns is not None else names
    for name in wanted:
        if name not in names:
            raise InputError(f"{path}: there is no column {name!r}; {suggest(str(name), names)}")
    found: dict[str, list[str]] = {name: [] for name in wanted}
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(names):
            raise InputError(f"{path}, line {reader.line_num}: {len(row)} cells, but {len(names)} columns are named")
        cells = {name: cell.strip() for name, cell in zip(names, row, strict=True)}
        absent = [name for name in wanted if cells[name].lower() in MISSING]
        if absent and missing == "error":
            raise InputError(
                f"{path}, line {reader.line_num}: the value of {absent[0]!r} is missing ({cells[absent[0]]!r}); fill "
                "it in, or leave such rows out with `data.missing=drop`"
            )
        if not absent:
            for name in wanted:
                found[name].append(cells[name])
    if not found or not found[wanted[0]]:
        raise InputError(f"{path}: holds no rows below the names of the columns")
    return found


def as_numbers(values: Sequence[str], name: str, source: str) -> np.ndarray:
    """A column of text as float64 (n,); InputError that names the first cell that is no finite number."""
    for row, value in enumerate(values, 1):
        if not _is_number(value):
            raise InputError(f"{source}, column {name!r}, row {row}: {value!r} is not a finite number")
    return np.array([float(value) for value in values])


def all_numbers(values: Sequence[str]) -> bool:
    """Whether every cell is a finite number."""
    return all(_is_number(value) for value in values)


def csv_text(columns: Mapping[str, Sequence[str]]) -> str:
    """The columns as a table of text with their names in the first line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def npy_bytes(values: np.ndarray) -> bytes:
    """An array as the content of an ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def write_whole(path: Path, content: bytes, overwrite: bool = False) -> Path:
    """Writes a file whole or not at all; one of other content is replaced with ``overwrite`` only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not overwrite and path.read_bytes() != content:
        raise InputError(
            f"{path}: there are other samples here already; choose another folder, other sample numbers, or say that "
            "they may be overwritten"
        )
    return files.write_whole(path, content)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
