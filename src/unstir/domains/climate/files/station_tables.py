"""Tables of station data (CSV): a column of times, columns of numbers, ensembles as numbered columns."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.domains.delimited import MISSING

_TIMES = ("time", "date", "datetime", "valid_time", "timestamp", "init", "init_time", "day")
_INDEX = {
    "station": ("station", "station_id", "site", "stationid"),
    "member": ("member", "number", "realization", "sample"),
    "lead": ("lead", "lead_time", "leadtime", "step"),
    "level": ("level", "plev"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon"),
}
_NUMBERED = (re.compile(r"(.+)([._\- ])0*(\d+)"), re.compile(r"(.*[^\W\d_])()0*(\d+)"))


def read_table(path: Path, rename: Mapping[str, str]) -> Any:
    """A table as an xarray Dataset with the dimension ``time``; missing cells become NaN.

    The times are in the column that ``rename`` calls ``time``, or that is called so, or in the first that holds nothing
    but dates. Columns of one name with numbers that follow each other (``rain.1``, ``rain.2``, ...) become one variable
    with the dimension ``member``. Where a table holds several stations, leads or members one below the other, their
    columns become dimensions as well. Columns of text are left out.

    Raises InputError for what is no such table.
    """
    try:
        import pandas
    except ImportError as error:
        raise NotInstalledError("pandas", "climate", "reading tables of stations") from error
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline()
        delimiter = max(",;\t|", key=head.count)
        table = pandas.read_csv(path, sep=delimiter, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table of UTF-8 text ({str(error).splitlines()[0]})") from error
    table.columns = [str(name).strip() for name in table.columns]
    for old in rename:
        if old not in table.columns:
            raise unknown(f"column in `data.rename` for {path}:", str(old), table.columns)
    table = table.rename(columns=dict(rename))
    columns = {name: [text.strip() for text in table[name]] for name in table.columns}
    if not columns or not len(table):
        raise InputError(f"{path}: holds no rows below the names of the columns")
    if len(columns) < len(table.columns):
        raise InputError(f"{path}: every column needs a name of its own; seen {list(table.columns)}")
    times_in = _time_column(columns, path)
    times = _times(columns.pop(times_in), times_in, path)
    index = {"time": times}
    for name, aliases in _INDEX.items():
        for column in [column for column in columns if column.lower() in aliases]:
            if name not in index and len(set(columns[column])) > (1 if name != "station" else 0):
                texts = columns.pop(column)
                numbers = _numbers(texts)
                index[name] = np.array(texts) if numbers is None else numbers
    numbers = {name: found for name, texts in columns.items() if (found := _numbers(texts)) is not None}
    if not numbers:
        raise InputError(f"{path}: no column but {times_in!r} holds numbers; seen the columns {list(table.columns)}")
    return _as_dataset(index, numbers, path)


def _as_dataset(index: dict[str, np.ndarray], numbers: dict[str, np.ndarray], path: Path) -> Any:
    import xarray

    variables: dict[str, np.ndarray] = dict(numbers)
    members = None
    if "member" not in index:
        variables, members = _by_member(numbers)
    last = {} if members is None else {"member": members}
    if len(index) == 1:
        told = {name: (("time", "member")[: values.ndim], values) for name, values in variables.items()}
        return xarray.Dataset(told, {**index, **last})
    places, axes = {}, {}
    for name, values in index.items():
        axes[name], places[name] = np.unique(values, return_inverse=True)
    shape = tuple(len(values) for values in axes.values())
    flat = np.ravel_multi_index(tuple(places.values()), shape)
    if len(np.unique(flat)) < len(flat):
        values, counts = np.unique(flat, return_counts=True)
        first = np.unravel_index(values[counts > 1][0], shape)
        told = ", ".join(f"{name} {axes[name][place]}" for name, place in zip(axes, first, strict=True))
        raise InputError(f"{path}: there are several rows for {told}; keep one of them")
    grids = {}
    for name, values in variables.items():
        grid = np.full((int(np.prod(shape)), *values.shape[1:]), np.nan)
        grid[flat] = values
        grids[name] = ((*axes, *last)[: len(axes) + values.ndim - 1], grid.reshape(*shape, *values.shape[1:]))
    return xarray.Dataset(grids, {**axes, **last})


def _by_member(numbers: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Variables from columns; numbered columns together, where their numbers follow each other from 0 or 1."""
    found: dict[str, dict[int, str]] = {}
    parted = set()
    for name in numbers:
        if match := _NUMBERED[0].fullmatch(name) or _NUMBERED[1].fullmatch(name):
            found.setdefault(match[1], {})[int(match[3])] = name
            parted |= {match[1]} if match[2] else set()
    variables: dict[str, np.ndarray] = {}
    members: np.ndarray | None = None
    grouped: dict[str, list[str]] = {}
    for stem, group in found.items():
        whole = sorted(group) == list(range(min(group), min(group) + len(group))) and min(group) in (0, 1)
        # two columns u1, u2 are two quantities; u.1, u.2 or a row of many is an ensemble
        enough = len(group) >= (2 if stem in parted else 3)
        if whole and enough and stem not in numbers and (members is None or len(members) == len(group)):
            grouped[stem] = [group[number] for number in sorted(group)]
            members = np.array(sorted(group)) if members is None else members
    member_of = {column: stem for stem, group in grouped.items() for column in group}
    for name, values in numbers.items():
        stem = member_of.get(name)
        if stem is None:
            variables[name] = values
        elif stem not in variables:
            variables[stem] = np.stack([numbers[column] for column in grouped[stem]], 1)
    return variables, members


def _time_column(columns: Mapping[str, list[str]], path: Path) -> str:
    named = [name for name in columns if name.lower() in _TIMES]
    for name in [*sorted(named, key=lambda each: _TIMES.index(each.lower())), *columns]:
        if name.lower() in _TIMES or all(_is_date(text) for text in columns[name]):
            return name
    raise InputError(
        f"{path}: no column holds the times; seen {list(columns)}. Call it 'time', write dates as 2009-12-31, or name "
        "it with `data.rename`, such as {when: time}"
    )


def _is_date(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}(-\d{2}([T ]\d{2}(:\d{2}){0,2}(\.\d+)?Z?)?)?", text) is not None


def _exists(text: str) -> bool:
    try:
        return _is_date(text) and bool(np.datetime64(text.removesuffix("Z").replace(" ", "T")))
    except ValueError:
        return False


def _times(texts: list[str], name: str, path: Path) -> np.ndarray:
    if all(re.fullmatch(r"(1[6-9]|2[0-9])\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])", text) for text in texts):
        texts = [f"{text[:4]}-{text[4:6]}-{text[6:]}" for text in texts]
    elif (numbers := _numbers(texts)) is not None:
        return numbers
    try:
        return np.array([text.removesuffix("Z").replace(" ", "T") for text in texts], dtype="datetime64[ns]")
    except ValueError:
        row, text = next(((row, text) for row, text in enumerate(texts, 1) if not _exists(text)), (1, texts[0]))
        raise InputError(
            f"{path}, column {name!r}, row {row}: {text!r} is no date such as 2009-12-31 or 2009-12-31T06:00"
        ) from None


def _numbers(texts: list[str]) -> np.ndarray | None:
    try:
        return np.array([np.nan if text.lower() in MISSING else float(text) for text in texts])
    except ValueError:
        return None
