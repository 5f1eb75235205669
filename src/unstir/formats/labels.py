"""Labels of any kind, from any place, as class numbers with names."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.formats.base import some_of

_NUMBER = re.compile(r"\s*-?[0-9]{1,15}(\.0*)?\s*")
Labels = tuple[np.ndarray, tuple[str, ...]]


def class_numbers(raw: Any, source: str) -> Labels:
    """Class numbers, int64 (n,), and the name of each class.

    Numbers 0, 1, ... without a gap stay as they are. Text, and numbers with gaps (1 to 26), are numbered in order.

    Raises InputError for a label that is empty, negative, or a fraction.
    """
    values = np.asarray(raw)
    if values.dtype.kind in "SO":
        values = np.array([entry.decode() if isinstance(entry, bytes) else str(entry) for entry in values.ravel()])
    if values.ndim != 1:
        raise InputError(f"{source}: labels of shape {values.shape}; one label a sample is needed, of shape (n,)")
    if values.dtype.kind == "U":
        return _from_text(values, source)
    if values.dtype.kind not in "buif":
        raise InputError(f"{source}: labels are of type {values.dtype}; allowed are whole numbers and text")
    whole = (
        np.isfinite(values) & (values == np.floor(values)) if values.dtype.kind == "f" else np.ones(len(values), bool)
    )
    wrong = np.flatnonzero(~whole | (values < 0))
    if len(wrong):
        rows = some_of([str(row) for row in wrong[:5]], len(wrong))
        raise InputError(
            f"{source}: row {rows}: label {values[wrong[0]]}; class numbers are whole and not negative. "
            "Leave out samples of unknown class, or give them a class of their own"
        )
    numbers = values.astype(np.int64)
    present = np.unique(numbers)
    if len(present) and present[-1] != len(present) - 1:
        numbers = np.searchsorted(present, numbers)
    return numbers, tuple(str(number) for number in present)


def read_labels(path: str | Path, column: str | None, count: int, files: Sequence[str] | None = None) -> Labels:
    """Labels from a table (.csv, .tsv) or an array (.npy), one for each of ``count`` samples.

    column: which column holds the labels; may be left out where only one can.
    files: the samples' file names; then the rows of the table are matched by name (with or without folder or
        ending), in any order, and rows of no sample are passed over. Else they follow the samples' order.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of labels")
    if path.suffix == ".npy":
        try:
            numbers, names = class_numbers(np.load(path, allow_pickle=False), str(path))
        except (ValueError, EOFError, OSError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: cannot be read as an array of labels ({error})") from None
        return _counted(path, numbers, count), names
    table = _read_table(path)
    named = _column_of_files(table, files) if files is not None else None
    if files is not None and named is None:
        raise InputError(
            f"{path}: no column (of {', '.join(table)}) names all of the pictures; "
            "a column with their file names is needed"
        )
    candidates = [name for name in table if named is None or name != named[0]]
    if column is None and len(candidates) != 1:
        raise InputError(f"{path}: which column holds the labels? Say `data.column=...`: {', '.join(candidates)}")
    column = column or candidates[0]
    if column not in table:
        raise unknown("column of labels", column, table)
    entries = np.array(table[column])
    if named is not None:
        entries = entries[named[1]]
    _counted(path, entries, count)
    if all(_NUMBER.fullmatch(entry) for entry in entries):
        entries = entries.astype(np.float64)
    return class_numbers(entries, f"{path}, column {column!r}")


def _from_text(values: np.ndarray, source: str) -> Labels:
    empty = np.flatnonzero(np.char.str_len(np.char.strip(values)) == 0)
    if len(empty):
        raise InputError(f"{source}: row {some_of([str(row) for row in empty[:5]], len(empty))}: the label is empty")
    names, numbers = np.unique(values, return_inverse=True)
    return numbers.astype(np.int64), tuple(str(name) for name in names)


def _counted(path: Path, labels: np.ndarray, count: int) -> np.ndarray:
    if len(labels) != count:
        raise InputError(f"{path}: {len(labels)} labels for {count} samples; one a sample is needed, in the same order")
    return labels


def _read_table(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from None
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise InputError(f"{path}: a table needs a line of column names and a line for each sample")
    ragged = [number for number, row in enumerate(rows) if len(row) != len(rows[0])]
    if ragged:
        raise InputError(
            f"{path}: line {ragged[0] + 1} has {len(rows[ragged[0]])} entries, the first has {len(rows[0])}"
        )
    return {name.strip(): [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}


def _column_of_files(table: dict[str, list[str]], files: Sequence[str]) -> tuple[str, np.ndarray] | None:
    """The column that names every file, and the row of each file in it."""
    for spelling in (str, lambda name: Path(name).name, lambda name: Path(name).stem):
        wanted = [spelling(name) for name in files]
        for column, entries in table.items():
            places = {spelling(entry): row for row, entry in enumerate(entries)}
            if len(places) >= len(set(wanted)) == len(files) and all(name in places for name in wanted):
                return column, np.array([places[name] for name in wanted])
    return None
