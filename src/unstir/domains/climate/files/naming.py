"""Canonical names of dimensions: time, lead, member, level, latitude, longitude; all others keep the file's own.

What a dimension is, is told by the user's ``rename``, its own name, the CF standard name of its coordinate, the names
that archives give it (ECMWF, IRI, NOAA, CMIP), and at last by cf-xarray's rules for units and axes, in that order.

Reference: Eaton et al., NetCDF climate and forecast (CF) metadata conventions 1.11, section 4 and appendix A.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown

CANONICAL = ("time", "lead", "member", "level", "latitude", "longitude")
TURNED = "stored_direction"
"""Attribute of latitudes that the file holds from north to south; what is written goes that way again."""

_ALIASES = {
    "time": "t s start init inits init_time initial_time initial_time0 initialization_time forecast_reference_time "
    "reftime reference_time basetime date dates datetime valid_time time0 time_counter",
    "lead": "l step lead_time leadtime leads prediction_timedelta forecast_period forecast_hour forecast_time0",
    "member": "m number realization realisation ensemble ens members ensemble_member ens_member ensemble0 sample",
    "level": "z lev levels plev plev19 plev8 isobaricinhpa isobaricinpa pressure_level pressure isobaric hybrid "
    "model_level lv_isbl0 depth height heightaboveground depthbelowland",
    "latitude": "y lat lats latitudes nav_lat lat_0 g0_lat_1 grid_latitude0",
    "longitude": "x lon lons long longitudes nav_lon lon_0 g0_lon_2",
}
_BY_ALIAS = {alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()}
_BY_STANDARD_NAME = {
    "time": "time",
    "forecast_reference_time": "time",
    "forecast_period": "lead",
    "realization": "member",
    "air_pressure": "level",
    "model_level_number": "level",
    "altitude": "level",
    "height": "level",
    "depth": "level",
    "latitude": "latitude",
    "longitude": "longitude",
}
_STEPS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def canonical(dataset: Any, rename: Mapping[str, str], source: str) -> Any:
    """The dataset with its dimensions renamed, leads as numbers, latitudes and longitudes rising.

    Raises InputError for names in ``rename`` that are none, and for two dimensions that would be the same.
    """
    for old in rename:
        if old not in dataset.variables and old not in dataset.dims:
            raise unknown(f"name in `data.rename` for {source}:", str(old), [*dataset.dims, *dataset.variables])
    told = {old: str(new) for old, new in rename.items()}
    for dimension in dataset.dims:
        if dimension not in told and (name := _meaning(dataset, str(dimension))) is not None:
            told[dimension] = name
    _refuse_conflicts(told, dataset, source)
    taken = {new for old, new in told.items() if old != new}
    # another thing of that name (a two-dimensional valid time, a scalar) gives way to the dimension
    dataset = dataset.drop_vars([name for name in taken if name in dataset.variables and name not in told])
    dataset = dataset.rename({old: new for old, new in told.items() if old != new})
    for name in CANONICAL:
        if name not in dataset.dims:
            dataset = _scalar(dataset, name)
    return _rising(_plain_leads(dataset))


def in_order(dataset: Any, first: Sequence[str] = ()) -> Any:
    """The dataset with ``first``, times, leads, members, levels in front, latitudes and longitudes behind all else."""
    front, back = [name for name in (*first, *CANONICAL[:4]) if name in dataset.dims], CANONICAL[4:]
    others = [str(name) for name in dataset.dims if name not in (*first, *CANONICAL)]
    return dataset.transpose(*front, *others, *[name for name in back if name in dataset.dims])


def _meaning(dataset: Any, dimension: str) -> str | None:
    if dimension in CANONICAL:
        return dimension
    if dimension in dataset.variables:
        found = _BY_STANDARD_NAME.get(dataset[dimension].attrs.get("standard_name", ""))
        if found is not None:
            return found
    # single letters are dimensions of the IRI library in capitals only; x, y and z are plain axes
    alias = dimension.lower() if len(dimension) > 1 or dimension.isupper() else ""
    if alias in _BY_ALIAS:
        return _BY_ALIAS[alias] if len(dimension) > 1 or dimension in dataset.variables else None
    return _by_rules(dataset, dimension) if dimension in dataset.variables else None


def _by_rules(dataset: Any, dimension: str) -> str | None:
    import cf_xarray  # noqa: F401  (registers the accessor)

    for key, name in (("latitude", "latitude"), ("longitude", "longitude"), ("vertical", "level"), ("time", "time")):
        if dimension in dataset[[dimension]].cf.coordinates.get(key, ()):
            return name
    return None


def _refuse_conflicts(told: Mapping[str, str], dataset: Any, source: str) -> None:
    for new in set(told.values()):
        same = [old for old, name in told.items() if name == new]
        if len(same) > 1:
            raise InputError(
                f"{source}: the dimensions {' and '.join(map(repr, same))} both look like {new!r}; tell them apart "
                f"with `data.rename`, such as {{{same[1]}: other}}"
            )


def _scalar(dataset: Any, name: str) -> Any:
    """A single time or level, which files keep without a dimension, gets one of length one."""
    if name != "time":
        return dataset
    for variable in dataset.coords:
        meaning = _BY_STANDARD_NAME.get(dataset[variable].attrs.get("standard_name", ""))
        if dataset[variable].ndim == 0 and (variable == "time" or meaning == "time"):
            return dataset.rename({variable: "time"} if variable != "time" else {}).expand_dims("time")
    return dataset


def _plain_leads(dataset: Any) -> Any:
    """Leads of type timedelta as numbers of days, hours, minutes or seconds: the coarsest that needs no fraction."""
    if "lead" not in dataset.variables or dataset["lead"].dtype.kind != "m":
        return dataset
    seconds = dataset["lead"].values / np.timedelta64(1, "s")
    size, unit = next((size, unit) for size, unit in _STEPS if not (seconds % size).any() or size == 1)
    attributes = {**dataset["lead"].attrs, "units": unit}
    return dataset.assign_coords(lead=("lead", seconds / size, attributes))


def _rising(dataset: Any) -> Any:
    for name in ("latitude", "longitude"):
        if name not in dataset.dims or name not in dataset.variables:
            continue
        values = dataset[name].values
        if name == "longitude" and len(values) > 2 and np.isclose(abs(values[-1] - values[0]), 360):
            dataset = dataset.isel(longitude=slice(None, -1))  # the meridian that closes the circle is there twice
            values = dataset[name].values
        if (np.diff(values) > 0).all():
            continue
        if name == "latitude" and (np.diff(values) < 0).all():
            dataset = dataset.isel(latitude=slice(None, None, -1))
            dataset["latitude"].attrs[TURNED] = "decreasing"
        else:
            dataset = dataset.sortby(name)
    return dataset


def periodic(longitudes: np.ndarray) -> bool:
    """Whether evenly spaced, rising degrees go around the globe, so that the last one meets the first."""
    values = np.asarray(longitudes, dtype=np.float64)
    if len(values) < 4:
        return False
    step = float(np.diff(values).mean())
    return bool(np.allclose(np.diff(values), step, rtol=1e-2) and abs(step * len(values) - 360) < 0.1 * step)
