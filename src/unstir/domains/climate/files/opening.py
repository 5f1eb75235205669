"""Files of every kind this field takes, as xarray Datasets that read nothing but their coordinates yet."""

from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from unstir.core.errors import InputError, NotInstalledError
from unstir.domains.climate.files.naming import canonical
from unstir.domains.climate.files.station_tables import read_table

_MAGIC = {b"\x89HDF": "h5netcdf", b"CDF\x01": "scipy", b"CDF\x02": "scipy", b"CDF\x05": "scipy", b"GRIB": "cfgrib"}
_TABLES = (".csv", ".tsv", ".txt")


def files_of(path: Any) -> list[Path]:
    """The files that ``data.path`` means: one, a list of them, or a pattern; InputError if there are none."""
    listed = list(path) if isinstance(path, Sequence) and not isinstance(path, str) else [path]
    found: list[Path] = []
    for each in listed:
        whole = Path(str(each)).expanduser()
        matching = [whole] if whole.exists() else [Path(name) for name in sorted(glob(str(whole)))]
        if not matching:
            raise InputError(f"{whole}: there is no such file, and no file that this pattern means")
        found += matching
    return found


def open_file(path: Path, rename: Mapping[str, str], grib: Mapping[str, Any]) -> Any:
    """One file with its dimensions' canonical names and its times decoded; InputError for what cannot be read."""
    try:
        import xarray
    except ImportError as error:
        raise NotInstalledError("xarray", "climate", "reading weather and climate data") from error
    if path.suffix.lower() in _TABLES:
        return canonical(read_table(path, rename), {}, str(path))
    engine = _engine(path)
    options: dict[str, Any] = {"engine": engine, "decode_times": False, "cache": False}
    if engine == "cfgrib":
        options["backend_kwargs"] = {"indexpath": "", "filter_by_keys": dict(grib)}
    if engine == "h5netcdf":
        options["backend_kwargs"] = {"phony_dims": "sort"}
    if engine == "zarr":
        options["consolidated"] = False
    try:
        raw = xarray.open_dataset(path, **options)
    except Exception as error:  # each engine has its own
        hint = "; choose one kind of field with `data.grib`, such as {typeOfLevel: surface}"
        raise InputError(
            f"{path}: cannot be read as {_KINDS[engine]} ({_first_line(error)}){hint if engine == 'cfgrib' else ''}"
        ) from error
    if engine == "zarr":
        # a store lists its members in any order; channels must come in the same one at every reading
        raw = raw[sorted(raw.data_vars, key=str)]
    return canonical(_with_times(raw, path), rename, str(path))


_KINDS = {"h5netcdf": "NetCDF-4 or HDF5", "scipy": "NetCDF-3", "cfgrib": "GRIB", "zarr": "a Zarr store"}


def _engine(path: Path) -> str:
    if path.is_dir():
        if any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata")):
            return _needs("zarr")
        raise InputError(f"{path}: a folder, but no Zarr store; name a file, a .zarr store, or a pattern (folder/*.nc)")
    with path.open("rb") as file:
        engine = _MAGIC.get(file.read(4))
    if engine is None:
        raise InputError(
            f"{path}: neither NetCDF, HDF5, GRIB nor a Zarr store by its content, nor a table by its name; allowed are "
            f".nc, .nc4, .h5, .zarr, .grib, {', '.join(_TABLES)}"
        )
    return _needs(engine)


def _needs(engine: str) -> str:
    from importlib.util import find_spec

    if find_spec(engine) is None:
        raise NotInstalledError(engine, "climate", f"reading {_KINDS[engine]}")
    return engine


def _with_times(raw: Any, path: Path) -> Any:
    """Times decoded in the file's calendar; durations stay numbers with their units."""
    import xarray

    for variable in raw.variables.values():
        if variable.attrs.get("calendar") == "360":  # as the IRI library writes it
            variable.attrs["calendar"] = "360_day"
    try:
        return xarray.decode_cf(raw, mask_and_scale=False, decode_timedelta=False)
    except (ValueError, OverflowError) as error:
        units = {str(name): str(variable.attrs.get("units")) for name, variable in raw.variables.items()}
        told = {name: unit for name, unit in units.items() if " since " in unit}
        raise InputError(
            f"{path}: the times cannot be understood ({_first_line(error)}); seen the units {told}: CF allows 'days "
            "since 1960-01-01' and the like, months only in the calendar 360_day"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
