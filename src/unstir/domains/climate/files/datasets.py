"""Datasets of weather and climate: opened by path or by name, checked, in canonical dimensions, lazy where large."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.domains.climate.files.naming import in_order, periodic
from unstir.domains.climate.files.opening import files_of, open_file
from unstir.domains.climate.files.reading import Rows
from unstir.domains.climate.files.soundness import calendar_of, numeric, with_sound_times, with_sound_values
from unstir.domains.climate.files.units import with_units
from unstir.domains.climate.layout import Axis, Layout, Quantity
from unstir.domains.climate.made.embedded import embedded
from unstir.domains.climate.splits import OPTIONS as SPLIT_OPTIONS

__all__ = ["SHARED", "Rows", "calendar_of", "digest_of", "layout_of", "opened"]

SHARED: dict[str, Any] = {
    "path": None,
    "name": None,
    "options": {},
    "variables": None,
    "rename": {},
    "select": {},
    "units": {},
    "missing": "error",
    "fill": None,
    "sort": False,
    "duplicates": "error",
    "calendar": None,
    "grib": {},
    "memory": 512,
    "transform": "standard",
    "seed": 0,
    **SPLIT_OPTIONS,
}
"""What all tasks let a recipe's ``data`` say, with defaults; see ``opened``, ``splits.parts_of``, ``scaling``."""

_PIECE = 16 << 20  # bytes that are read at a time, where the file's own chunks are not larger


def opened(options: Mapping[str, Any]) -> Any:
    """The data that the options mean, as an xarray Dataset (time, ...) of the chosen variables.

    options: of ``SHARED``; others are the task's and not looked at.
        ``path``: a file, a list or a pattern of them (NetCDF, HDF5, Zarr, GRIB, CSV); several follow each other in
        time, or hold a variable each. ``name``: embedded data instead, made by ``options``.
        ``variables``: a name or several, all that hold numbers by default. ``rename``: names by the file's names.
        ``select``: by dimension, values or ``{from: a, to: b}``. ``units``: by variable, see ``units.with_units``.
        ``missing``: ``error``, ``mask`` (NaN stays) or ``drop`` (times with NaN are left out); ``fill``: a number that
        stands for missing values. ``sort``, ``duplicates``, ``calendar``: see ``soundness.with_sound_times``.
        ``memory``: MiB up to which all is held in memory; what is larger is read as it is asked for (``Rows``).

    Dimensions are called time, lead (numbers, with ``units``), member, level, latitude, longitude where they are that,
    and lie in this order, others before the latitude; times, latitudes and longitudes rise. Attributes are the file's.

    Raises InputError that says what to do, for all that cannot be learnt from as it is.
    """
    told = {**SHARED, **{name: value for name, value in options.items() if name in SHARED}}
    if (told["path"] is None) == (told["name"] is None):
        raise InputError("either `data.path` (a file, a pattern) or `data.name` (embedded data) says what to read")
    for name in ("rename", "select", "units", "grib", "options"):
        if not isinstance(told[name], Mapping):
            raise InputError(f"`data.{name}: {told[name]!r}`: a mapping is needed, such as {{name: value}}")
    tables = False
    if told["name"] is not None:
        dataset = embedded(str(told["name"]), told["options"])
    else:
        files = files_of(told["path"])
        tables = all(file.suffix.lower() in (".csv", ".tsv", ".txt") for file in files)
        dataset = _together([_laid_out(open_file(file, told["rename"], told["grib"])) for file in files], files)
    names = _chosen(dataset, told["variables"])
    dataset = _selected(dataset[names], told["select"])
    dataset = with_sound_times(dataset, told)
    dataset = numeric(dataset, names, told["fill"])
    if dataset.nbytes <= float(told["memory"]) * 2**20:
        dataset = dataset.load()
    dataset = with_units(dataset, told["units"], stated_by_table=tables)
    dataset = with_sound_values(dataset, names, told["missing"])
    return in_order(dataset)


def layout_of(dataset: Any, without: Sequence[str] = ("time", "member")) -> Layout:
    """Channels (a variable, or a variable at one level) and axes (all other dimensions, those of ``without`` not).

    Raises InputError for variables that do not lie along the same axes.
    """
    axes: dict[str, tuple[str, ...]] = {}
    quantities = []
    for name, variable in dataset.data_vars.items():
        axes[name] = tuple(str(each) for each in variable.dims if each not in (*without, "level"))
        attributes = {key: value for key, value in variable.attrs.items() if key not in ("units", "long_name")}
        unit, title = str(variable.attrs.get("units", "1")), str(variable.attrs.get("long_name", ""))
        if "level" not in variable.dims:
            quantities.append(Quantity(str(name), unit, title, None, attributes))
            continue
        attributes["level"] = dict(dataset["level"].attrs) if "level" in dataset.coords else {}
        for level in _coordinate(dataset, "level"):
            quantities.append(Quantity(str(name), unit, title, float(level), attributes))
    if len(set(axes.values())) > 1:
        raise InputError(
            f"the variables lie along different axes: {axes}; choose those that share theirs with `data.variables`"
        )
    return Layout(
        tuple(quantities), tuple(_axis(dataset, name) for name in next(iter(axes.values()))), calendar_of(dataset)
    )


def digest_of(dataset: Any) -> str:
    """SHA-256 of the values and coordinates; of data that is not in memory, of its structure, coordinates and ends."""
    from unstir.domains.climate.files.soundness import piece_of

    found = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        variable = dataset[name]
        found.update(json.dumps([name, variable.dims, variable.shape, str(variable.dtype)]).encode())
        values = piece_of(variable).values
        found.update(" ".join(map(str, values.ravel())).encode() if values.dtype == object else values.tobytes())
    return found.hexdigest()


def _axis(dataset: Any, name: str) -> Axis:
    values = _coordinate(dataset, name)
    attributes = dict(dataset[name].attrs) if name in dataset.coords else {}
    unit = str(attributes.pop("units", ""))
    around = attributes.pop("periodic", None)
    rounds = bool(around) if around is not None else name == "longitude" and periodic(values)
    return Axis(name, tuple(values.tolist()), unit, rounds, attributes)


def _coordinate(dataset: Any, name: str) -> np.ndarray:
    return dataset[name].values if name in dataset.coords else np.arange(dataset.sizes[name], dtype=np.float64)


def _chosen(dataset: Any, variables: Any) -> list[str]:
    able = [str(name) for name in dataset.data_vars]
    if variables is None:
        # bounds of cells, names of stations and projections are no quantities
        bounds = {str(dataset[name].attrs.get("bounds")) for name in dataset.variables}
        found = [
            name for name in able if dataset[name].dtype.kind in "fiu" and name not in bounds and dataset[name].ndim > 0
        ]
        if not found:
            raise InputError(f"the data has no variable that holds numbers; seen {able}")
        return found
    wanted = [variables] if isinstance(variables, str) else list(variables)
    for name in wanted:
        if name not in able:
            raise unknown("variable (data.variables):", str(name), able)
    if not wanted or len(set(wanted)) < len(wanted):
        raise InputError(f"`data.variables: {wanted}`: one or more different names are needed")
    return wanted


def _selected(dataset: Any, select: Mapping[str, Any]) -> Any:
    for name, told in select.items():
        if name not in dataset.dims:
            raise unknown("dimension in `data.select`:", str(name), map(str, dataset.dims))
        try:
            if isinstance(told, Mapping):
                if set(told) - {"from", "to"} or not told:
                    raise InputError(f"`data.select.{name}: {dict(told)}`: allowed are from and to")
                ends = [None if told.get(end) is None else _plain_date(told[end]) for end in ("from", "to")]
                dataset = dataset.sel({name: slice(*ends)})
            else:
                wanted = list(told) if isinstance(told, Sequence) and not isinstance(told, str) else [told]
                dataset = dataset.sel({name: [_plain_date(each) for each in wanted]})
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"`data.select.{name}: {told!r}`: not among the data's, which go from "
                f"{_coordinate(dataset, name)[0]} to {_coordinate(dataset, name)[-1]}"
            ) from error
        if not dataset.sizes[name]:
            raise InputError(f"`data.select.{name}: {told!r}` leaves nothing")
    return dataset


def _plain_date(value: Any) -> Any:
    return str(value) if hasattr(value, "isoformat") else value


def _laid_out(dataset: Any) -> Any:
    """In pieces along time, where it is large: the file's own chunks, or several of them up to some MiB."""
    if "time" not in dataset.dims or dataset.nbytes < _PIECE:
        return dataset
    along = [variable for variable in dataset.data_vars.values() if "time" in variable.dims]
    own = max([_own_chunk(variable) for variable in along] or [1])
    most = int(_PIECE // max(1.0, sum(variable.nbytes for variable in along) / max(1, dataset.sizes["time"])))
    return dataset.chunk({"time": min(dataset.sizes["time"], max(own, most // own * own))})


def _own_chunk(variable: Any) -> int:
    told = variable.encoding.get("chunks") or variable.encoding.get("chunksizes")
    return int(told[variable.dims.index("time")]) if told and len(told) == variable.ndim else 1


def _together(datasets: Sequence[Any], files: Sequence[Path]) -> Any:
    """Files of the same variables one after the other in time; files of others side by side."""
    import xarray

    if len(datasets) == 1:
        return datasets[0]
    first, calendar = datasets[0], None
    for dataset, file in zip(datasets, files, strict=True):
        if "time" not in dataset.dims or "time" not in dataset.variables:
            raise InputError(f"{file}: has no dimension 'time', along which several files could follow each other")
        calendar = calendar or calendar_of(dataset)
        if calendar_of(dataset) != calendar:
            raise InputError(
                f"{files[0]} tells time in the calendar {calendar!r}, {file} in {calendar_of(dataset)!r}; bring them "
                "to one calendar (xarray's convert_calendar), or read them apart"
            )
        for name in set(first.dims) & set(dataset.dims) - {"time"}:
            own, other = _coordinate(first, str(name)), _coordinate(dataset, str(name))
            if len(own) != len(other) or not (np.array_equal(own, other) or _close(own, other)):
                raise InputError(
                    f"{files[0]} and {file} lie on different grids: their coordinates '{name}' differ ({len(own)} and "
                    f"{len(other)} values from {own[0]} and {other[0]}); bring them to one grid first"
                )
    groups: dict[frozenset[str], list[Any]] = {}
    for dataset in datasets:
        # to the bit the same coordinates, so that no reading aligns them to nothing
        told = {name: first[name] for name in set(first.dims) & set(dataset.dims) - {"time"} if name in first.coords}
        groups.setdefault(frozenset(map(str, dataset.data_vars)), []).append(dataset.assign_coords(told))
    joined = []
    for group in groups.values():
        group.sort(key=lambda dataset: dataset["time"].values[0])
        joined.append(
            xarray.concat(group, "time", data_vars="minimal", coords="minimal", compat="override", join="exact")
            if len(group) > 1
            else group[0]
        )
    try:
        return xarray.merge(joined, join="exact", compat="no_conflicts", combine_attrs="override")
    except ValueError as error:
        raise InputError(
            f"the files hold different variables that do not fit together ({str(error).splitlines()[0]}): either all "
            "have the same variables, or the same times"
        ) from error


def _close(own: np.ndarray, other: np.ndarray) -> bool:
    return own.dtype.kind in "fiu" and other.dtype.kind in "fiu" and bool(np.allclose(own, other, rtol=0, atol=1e-4))
