"""States and ensembles as xarray Datasets with their units and coordinates, and on disk: NetCDF, Zarr, CSV."""

import os
import secrets
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError, NotInstalledError
from unstir.core.files import write_whole
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.files.naming import CANONICAL, TURNED, in_order
from unstir.domains.climate.layout import Axis, Layout

SUFFIXES = (".nc", ".zarr", ".csv")
_STANDARD = {
    "time": {"standard_name": "time", "axis": "T"},
    "member": {"standard_name": "realization", "axis": "E"},
    "lead": {"standard_name": "forecast_period"},
    "latitude": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "longitude": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}
_TABLE = ("time", "sample", "case", "lead", "member")


def as_dataset(
    encoding: ClimateEncoding,
    values: Any,
    times: Any = None,
    *,
    leads: Any = None,
    lead_unit: str = "",
    coords: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
) -> Any:
    """Values in the data's units as an xarray Dataset with names, units and coordinates as the data had them.

    values: (n, channels, *axes), (n, members, channels, *axes), or with a lead in front of the channels if ``leads``
        is given; NaN where missing.
    times: (n,) datetime64, cftime or numbers, else the first dimension is ``sample``, counted from 0.
    coords: the leading dimensions in their order with their coordinates, for any other case.
    layout: else the encoding's.

    Raises InputError for values of another shape.
    """
    xarray = _xarray()
    layout = layout or encoding.layout
    values = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    count = values.ndim - 1 - len(layout.axes)
    if coords is None:
        coords = {"sample": None} if times is None else {"time": times}
        if count > len(coords) + (leads is not None):
            coords["member"] = None
        if leads is not None:
            coords["lead"] = leads
    if len(coords) != count or values.shape[count:] != layout.shape:
        wanted = ", ".join([*coords, *map(str, layout.shape)])
        raise InputError(f"values of shape ({wanted}) are needed; seen the shape {values.shape}")
    made: dict[str, Any] = {}
    for place, (name, told) in enumerate(coords.items()):
        size = values.shape[place]
        numbers = np.arange(name == "member", size + (name == "member")) if told is None else np.asarray(told)
        if numbers.shape != (size,):
            raise InputError(f"{size} values of {name!r} are needed; seen the shape {numbers.shape}")
        attributes = dict(_STANDARD.get(name, {}))
        if name == "time" and numbers.dtype.kind in "fiu":
            attributes = {}  # plain numbers are no CF time
        if name == "lead" and lead_unit:
            attributes["units"] = lead_unit
        made[name] = (name, numbers, attributes)
    for axis in layout.axes:
        made[axis.name] = (axis.name, np.asarray(axis.values), _attributes(axis))
    variables = _variables(layout, values, list(coords), made)
    dataset = xarray.Dataset(variables, made, {"Conventions": "CF-1.11", "source": "drawn by unstir"})
    dataset = in_order(dataset, [name for name in coords if name not in CANONICAL])
    latitude = layout.axis("latitude")
    if latitude is not None and (latitude.attributes or {}).get(TURNED) == "decreasing":
        dataset = dataset.isel(latitude=slice(None, None, -1))
    return dataset


def _variables(layout: Layout, values: np.ndarray, leading: list[str], made: dict[str, Any]) -> dict[str, Any]:
    """One variable for each name, those of several levels along a dimension ``level``; adds it to ``made``."""
    places: dict[str, list[int]] = {}
    for place, quantity in enumerate(layout.quantities):
        places.setdefault(quantity.variable, []).append(place)
    found: dict[str, Any] = {}
    for name, channels in places.items():
        quantity = layout.quantities[channels[0]]
        attributes = _plain({key: value for key, value in (quantity.attributes or {}).items() if key != "level"})
        attributes["units"] = quantity.unit
        if quantity.title:
            attributes["long_name"] = quantity.title
        chosen = np.take(values, channels, axis=len(leading))
        axes = layout.names
        if quantity.level is None:
            found[name] = ((*leading, *axes), chosen.squeeze(len(leading)), attributes)
            continue
        levels = np.array([layout.quantities[channel].level for channel in channels], dtype=np.float64)
        known = (each for each in made if each.startswith("level") and np.array_equal(made[each][1], levels))
        level = next(known, None)
        if level is None:
            level = "level" if "level" not in made else f"level_{name}"
            made[level] = (level, levels, _plain((quantity.attributes or {}).get("level") or {}))
        found[name] = ((*leading, level, *axes), chosen, attributes)
    return found


def _attributes(axis: Axis) -> dict[str, Any]:
    found = {**_STANDARD.get(axis.name, {}), **_plain(axis.attributes or {})}
    found.pop(TURNED, None)
    if axis.unit:
        found["units"] = axis.unit
    return found


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a NetCDF attribute can hold."""
    found: dict[str, Any] = {}
    for key, value in attributes.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            found[key] = value
        elif isinstance(value, list | tuple) and value and all(isinstance(each, int | float) for each in value):
            found[key] = np.asarray(value)
    return found


def check_target(path: str | Path) -> None:
    """InputError unless a dataset can be saved at ``path``: .nc, .zarr or .csv, in a folder that is there or made."""
    path = Path(path).expanduser()
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: the ending says what is written, one of {', '.join(SUFFIXES)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: no folder can be made there ({error.strerror})") from error
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path.parent}: this folder cannot be written to")
    if path.suffix.lower() == ".zarr":
        if path.is_file() or (path.is_dir() and any(path.iterdir()) and not _is_store(path)):
            raise InputError(f"{path}: there is something else than a Zarr store here already; choose another name")
    elif path.is_dir():
        raise InputError(f"{path}: there is a folder of this name; choose another name")


def save(dataset: Any, path: str | Path) -> Path:
    """Writes an xarray Dataset as the ending of ``path`` says, whole or not at all; a file of before is replaced.

    CSV has a row for each time and lead, and numbered columns for members, as ``datasets.opened`` reads it; data along
    other axes has a row for each value.
    """
    path = Path(path).expanduser()
    check_target(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return write_whole(path, table_of(dataset).encode())
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        if suffix == ".nc":
            _to_netcdf(dataset, partial)
            os.replace(partial, path)
            return path
        with warnings.catch_warnings():
            # other readers look for consolidated metadata first, and warn where there are none
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
            _cleaned(dataset).to_zarr(partial, mode="w", consolidated=True)
        if not path.exists():
            os.replace(partial, path)
            return path
        old = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
        os.replace(path, old)
        os.replace(partial, path)
        shutil.rmtree(old)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        partial.unlink(missing_ok=True)
    return path


def write_climate(
    encoding: ClimateEncoding,
    state: Tensor,
    folder: str | Path,
    labels: Any = None,
    first: int = 0,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the samples ``first``, ``first + 1``, ... as NetCDF, float32, in the data's units and coordinates.

    Samples without axes (of a station) are written as a table (CSV) as well. A file of other content is never replaced
    unless ``overwrite``: InputError.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    values = encoding.decode(state).astype(np.float32)
    dataset = as_dataset(encoding, values, coords={"sample": np.arange(first, first + len(values))})
    path = folder / f"samples-{first:06d}.nc"
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        _to_netcdf(dataset, partial)
        if path.exists() and not overwrite and path.read_bytes() != partial.read_bytes():
            raise InputError(
                f"{path}: there are other samples here already; choose another folder, other sample numbers, or say "
                "that they may be overwritten"
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if encoding.layout.axes:
        return [path]
    return [path, write_whole(path.with_suffix(".csv"), table_of(dataset).encode())]


def table_of(dataset: Any) -> str:
    """The dataset as the text of a CSV file; see ``save``."""
    if set(dataset.dims) - set(_TABLE):
        frame = _cleaned(dataset).to_dataframe().reset_index()
        return frame.to_csv(index=False, lineterminator="\n")
    import pandas

    rows = [name for name in _TABLE if name in dataset.dims and name != "member"]
    columns: dict[str, np.ndarray] = {}
    grids = np.meshgrid(*(np.arange(dataset.sizes[name]) for name in rows), indexing="ij")
    for name, grid in zip(rows, grids, strict=True):
        columns[name] = dataset[name].values[grid.ravel()]
    for name, variable in dataset.data_vars.items():
        whole = variable.broadcast_like(dataset.drop_dims("member", errors="ignore")) if rows else variable
        whole = whole.transpose(*rows, *(["member"] if "member" in variable.dims else []))
        values = whole.values.reshape(max(1, len(grids[0].ravel()) if rows else 1), -1)
        numbered = "member" in variable.dims
        for number in range(values.shape[1]):
            columns[f"{name}.{number + 1}" if numbered else str(name)] = values[:, number]
    return pandas.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def _to_netcdf(dataset: Any, path: Path) -> None:
    from importlib.util import find_spec

    if find_spec("h5netcdf") is None:
        raise NotInstalledError("h5netcdf", "climate", "writing NetCDF")
    dataset = _cleaned(dataset)
    encoding = {name: {"_FillValue": None} for name in dataset.coords if dataset[name].dtype.kind in "fM"}
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)


def _cleaned(dataset: Any) -> Any:
    """Without what an earlier file said of its chunks and packing; the epoch and calendar of times are kept."""
    dataset = dataset.copy()
    for variable in dataset.variables.values():
        variable.encoding = {key: value for key, value in variable.encoding.items() if key in ("units", "calendar")}
    return dataset


def _is_store(path: Path) -> bool:
    return any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise NotInstalledError("xarray", "climate", "writing weather and climate data") from error
    return xarray
