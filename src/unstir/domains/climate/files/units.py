"""Units: read as CF and archives write them, converted, and held against what a quantity can be.

Reference: Eaton et al., NetCDF climate and forecast (CF) metadata conventions 1.11, section 3.1; units are understood
by pint through cf-xarray.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.domains.climate.files.soundness import piece_of

_NONE = {"", "1", "unitless", "dimensionless", "none", "-", "~", "(0 - 1)", "(0-1)", "0-1", "fraction", "code"}
_SPELT = {"gpm": "m", "deg c": "degC", "deg k": "K", "c": "degC", "celsius": "degC", "kelvin": "K"}
_RAIN = {"pr", "tp", "precip", "precipitation", "prate", "rain", "rr", "evap"}
_POSSIBLE = {
    "air_temperature": (130.0, 340.0, "K"),
    "sea_surface_temperature": (260.0, 320.0, "K"),
    "surface_temperature": (130.0, 370.0, "K"),
    "air_pressure_at_mean_sea_level": (80000.0, 115000.0, "Pa"),
    "surface_air_pressure": (30000.0, 115000.0, "Pa"),
    "relative_humidity": (-0.1, 2.0, "1"),
    "wind_speed": (0.0, 200.0, "m s-1"),
}
_CALLED = {
    "t2m": "air_temperature",
    "2t": "air_temperature",
    "tas": "air_temperature",
    "tasmin": "air_temperature",
    "tasmax": "air_temperature",
    "sst": "sea_surface_temperature",
    "tos": "sea_surface_temperature",
    "msl": "air_pressure_at_mean_sea_level",
    "psl": "air_pressure_at_mean_sea_level",
    "sp": "surface_air_pressure",
    "hurs": "relative_humidity",
    "sfcwind": "wind_speed",
}


def with_units(dataset: Any, asked: Mapping[str, Any], stated_by_table: bool = False) -> Any:
    """The dataset in the units asked for, its values changed and its attributes too; all others as they are.

    asked: by variable, the unit to convert to (``{"t2m": "degC"}``), or ``{"from": "K", "to": "degC"}`` where the file
        does not say its unit or says a wrong one (``to`` may be left out).
    stated_by_table: whether the data has no place to tell units, so that what is asked for says what is there.

    Raises InputError for variables and units that are none, units that the values cannot be converted to, and
    values that no such quantity has in the unit that the file states (air at 15 K).
    """
    names = [str(name) for name in dataset.data_vars]
    for name in asked:
        if name not in names:
            raise unknown("variable in `data.units`:", str(name), names)
    changed = {}
    for name in names:
        variable, told = dataset[name], asked.get(name)
        if isinstance(told, Mapping):
            if not told or set(told) - {"from", "to"}:
                raise InputError(
                    f"`data.units.{name}: {dict(told)}`: allowed are from and to, such as {{from: K, to: degC}}"
                )
            source, target = told.get("from"), told.get("to", told.get("from"))
            source = _stated(variable, name) if source is None else str(source)
        elif told is not None and stated_by_table:
            source = target = str(told)
        else:
            source = _stated(variable, name, asked=told is not None)
            target = source if told is None else told
        if not (isinstance(told, Mapping) and told.get("from") is not None):
            _check_possible(variable, name, source)
        factor, offset = 1.0, 0.0
        if target != source:
            factor, offset = conversion(source, str(target), f"`data.units.{name}`", _is_water(variable, name))
        if (factor, offset) != (1.0, 0.0):
            # in float64, and back once
            variable = (variable.astype(np.float64) * factor + offset).astype(variable.dtype)
        if told is not None:
            variable = variable.assign_attrs({**dataset[name].attrs, "units": str(target)})
            changed[name] = variable
    return dataset.assign(changed)


def conversion(source: str, target: str, where: str, water: bool = False) -> tuple[float, float]:
    """Factor and offset that lead a number of one unit to the other: ``conversion("K", "degC", ...) == (1, -273.15)``.

    where: the option, for the message. water: whether a mass of it may be told as its height and the other way round, a
    millimetre for each kilogram on a square metre. Raises InputError where there is no such way.
    """
    pint, registry = _pint()
    first, second, scale = _unit(source, where), _unit(target, where), 1.0
    if water:
        for density, factor in ((_unit("kg m-3", where) ** -1, 1e-3), (_unit("kg m-3", where), 1e3)):
            if (first * density).dimensionality == second.dimensionality:
                first, scale = first * density, factor
    try:
        with np.errstate(all="ignore"):
            zero, one, two = (registry.Quantity(number, first).to(second).magnitude for number in (0.0, 1.0, 2.0))
    except pint.PintError as error:
        raise InputError(
            f"{where}: the data's unit {source!r} cannot be converted to {target!r} ({error}); ask for a unit of the "
            f"same kind, or say what the data really is in with {{from: ..., to: {target}}}"
        ) from error
    factor = float(one - zero) * scale
    if not np.isfinite(factor) or abs(two - 2 * one + zero) > 1e-9 * abs(one - zero):
        raise InputError(f"{where}: from {source!r} to {target!r} leads no factor and offset; convert the file itself")
    # 273.15 comes back from the registry with a rounding error or two
    return (float(f"{factor:.13g}"), float(f"{float(zero):.13g}")) if zero else (factor, 0.0)


def _pint() -> tuple[Any, Any]:
    try:
        import cf_xarray.units
        import pint
    except ImportError as error:
        raise NotInstalledError("pint", "climate", "converting units") from error
    return pint, cf_xarray.units.units


def _unit(text: str, where: str) -> Any:
    _, registry = _pint()
    plain = text.strip()
    plain = "dimensionless" if plain.lower() in _NONE else _SPELT.get(plain.lower(), plain)
    try:
        return registry.Unit(plain)
    except Exception as error:  # the parser meets any text, and has many ways to refuse it
        raise InputError(
            f"{where}: the unit {text!r} is not understood; write units as CF does, such as K, degC, mm day-1, m s-1, %"
        ) from error


def _is_water(variable: Any, name: str) -> bool:
    told = f"{variable.attrs.get('standard_name', '')} {variable.attrs.get('long_name', '')}".lower()
    return name.lower() in _RAIN or any(word in told for word in ("precipitation", "rain", "evaporation", "runoff"))


def _stated(variable: Any, name: str, asked: bool = True) -> str:
    found = variable.attrs.get("units")
    if found is None and asked:
        raise InputError(
            f"`data.units.{name}`: the file does not say the unit of {name!r}; say what it is with "
            f"{{from: ..., to: ...}}"
        )
    return str(found) if found is not None else ""


def _check_possible(variable: Any, name: str, unit: str) -> None:
    told = str(variable.attrs.get("standard_name", "")) or _CALLED.get(name.lower(), "")
    if told not in _POSSIBLE or "anomal" in f"{variable.attrs.get('long_name', '')} {name}".lower():
        return
    low, high, standard = _POSSIBLE[told]
    if not unit:
        return
    factor, offset = conversion(unit, standard, f"the variable {name!r} ({told.replace('_', ' ')})")
    values = piece_of(variable).values
    # the middle of the values, which single wrong ones do not move
    middle = float(np.nanmedian(values)) if not np.isnan(values).all() else np.nan
    if np.isfinite(middle) and not low <= middle * factor + offset <= high:
        raise InputError(
            f"the variable {name!r} is {told.replace('_', ' ')} in {unit!r} as the file says, but {middle:g} {unit} in "
            f"the median cannot be; if the unit is another, say so with `data.units.{name}={{from: ...}}`"
        )
