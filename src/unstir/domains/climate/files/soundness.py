"""What a dataset must be before anything is learnt from it: times that rise, values that are numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unstir.core.errors import InputError

MISSING = ("error", "mask", "drop")
_TWICE = ("error", "first", "last")
_FILLS = (-9999.0, -999.0, -99.0, -99999.0, -32768.0, 9.969209968386869e36, 1e20, 1e30, -1e30)
_PIECE = 32 << 20  # bytes of a variable that are looked at, where it is not in memory


def with_sound_times(dataset: Any, options: Mapping[str, Any]) -> Any:
    """The dataset with times that rise, each one once; InputError unless it has them or the options bring them.

    options: ``sort`` (whether times may be sorted), ``duplicates`` (error, first or last), ``calendar``.
    """
    if "time" not in dataset.dims:
        raise InputError(
            f"the data has no dimension 'time'; seen {_sizes(dataset)}. If another one is the time, say so with "
            "`data.rename`, such as {t: time}"
        )
    if "time" not in dataset.variables:
        raise InputError("the dimension 'time' has no coordinate that says when each step is; add it to the file")
    if options["duplicates"] not in _TWICE:
        raise InputError(f"`data.duplicates: {options['duplicates']!r}`: allowed are {', '.join(_TWICE)}")
    times = dataset["time"].values
    unknown_times = np.isnat(times) if times.dtype.kind == "M" else times != times
    if times.dtype.kind not in "MfiuO":
        raise InputError(f"the times must be dates or numbers; seen {times[0]!r}")
    if unknown_times.any():
        if options["missing"] != "drop":
            raise InputError(
                f"{int(unknown_times.sum())} time(s) are unknown (NaT), the first at position "
                f"{int(unknown_times.argmax())}; leave them out with `data.missing=drop`, or mend the file"
            )
        dataset = dataset.isel(time=np.flatnonzero(~unknown_times))
        times = dataset["time"].values
    if not (times[1:] >= times[:-1]).all():
        if not options["sort"]:
            place = int(np.flatnonzero(~(times[1:] >= times[:-1]))[0])
            raise InputError(
                f"the times are not sorted: {times[place]} is followed by {times[place + 1]} (position {place + 1}); "
                "sort the file, or let it be sorted with `data.sort=true`"
            )
        dataset = dataset.isel(time=np.argsort(times, kind="stable"))
        times = dataset["time"].values
    twice = times[1:] == times[:-1]
    if twice.any():
        if options["duplicates"] == "error":
            raise InputError(
                f"{int(twice.sum())} time(s) are there more than once, the first of them {times[1:][twice][0]}; keep "
                "one of each in the file, or say which with `data.duplicates=first` or `last`"
            )
        kept = np.concatenate(([True], ~twice) if options["duplicates"] == "first" else (~twice, [True]))
        dataset = dataset.isel(time=np.flatnonzero(kept))
    return _in_calendar(dataset, options["calendar"])


def calendar_of(dataset: Any) -> str:
    """The calendar of the times as CF calls it; ``none`` for times that are plain numbers."""
    times = dataset["time"].values
    if times.dtype.kind in "fiu":
        return "none"
    found = str(dataset["time"].dt.calendar)
    return "standard" if found in ("gregorian", "proleptic_gregorian") else found


def _in_calendar(dataset: Any, calendar: Any) -> Any:
    if calendar is None or calendar == calendar_of(dataset):
        return dataset
    if calendar_of(dataset) == "none":
        raise InputError(f"`data.calendar={calendar}`: the data's times are plain numbers, which have no calendar")
    try:
        # a day of a year of 360 comes to lie at its share of the year; else days keep their dates, and those that the
        # other calendar lacks are left out
        align = "year" if "360_day" in (calendar, calendar_of(dataset)) else None
        return dataset.convert_calendar(calendar, align_on=align)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"`data.calendar={calendar}`: the calendar {calendar_of(dataset)!r} cannot be brought to it ({error}); "
            "allowed are standard, noleap, all_leap, 360_day, julian"
        ) from error


def numeric(dataset: Any, names: Sequence[str], fill: Any) -> Any:
    """The dataset with these variables as floating-point numbers, ``fill`` as NaN; InputError for text."""
    for name in names:
        variable = dataset[name]
        if variable.dtype.kind not in "fiub":
            raise InputError(
                f"the variable {name!r} holds no numbers (type {variable.dtype}); choose others with `data.variables`"
            )
        if variable.dtype.kind != "f":
            variable = variable.astype(np.float64 if variable.dtype.itemsize > 2 else np.float32, keep_attrs=True)
        if fill is not None:
            if isinstance(fill, bool) or not isinstance(fill, int | float):
                raise InputError(f"`data.fill: {fill!r}`: the number that stands for missing values is needed")
            variable = variable.where(abs(variable - fill) > 1e-6 * max(1.0, abs(fill)))
        dataset = dataset.assign({name: variable.assign_attrs(dataset[name].attrs)})
    return dataset


def with_sound_values(dataset: Any, names: Sequence[str], missing: Any) -> Any:
    """The dataset whose values are all finite, or NaN where ``missing`` is ``mask``; with ``drop``, without such times.

    Data that is not in memory is looked at in part, the rest as it is read; ``drop`` reads all of it once.

    Raises InputError for infinite values, for what looks like an undeclared fill value, and for variables that hold
    nothing.
    """
    if missing not in MISSING:
        raise InputError(f"`data.missing: {missing!r}`: allowed are {', '.join(MISSING)}")
    if missing == "drop":
        absent: Any = sum(
            dataset[name].isnull().any(_others(dataset[name])) for name in names if "time" in dataset[name].dims
        )
        kept = np.flatnonzero(~np.asarray(absent, dtype=bool)) if np.ndim(absent) else np.arange(dataset.sizes["time"])
        if not len(kept):
            raise InputError(
                "every time has a missing value, so `data.missing=drop` leaves nothing; keep them with "
                "`data.missing=mask`, or choose other variables"
            )
        dataset = dataset.isel(time=kept)
    for name in names:
        check_values(piece_of(dataset[name]).values, name, missing, f" of {_sizes(dataset[name])}")
    return dataset


def _others(variable: Any) -> list[str]:
    return [name for name in variable.dims if name != "time"]


def piece_of(variable: Any) -> Any:
    """All of a variable in memory, else its first and its last times up to 32 MiB."""
    in_memory = isinstance(variable.variable._data, np.ndarray)
    if in_memory or variable.nbytes <= _PIECE or "time" not in variable.dims:
        return variable
    count = variable.sizes["time"]
    few = max(1, int(_PIECE // 2 // (variable.nbytes / count)))
    return variable if 2 * few >= count else variable.isel(time=np.r_[0:few, count - few : count])


def check_values(values: np.ndarray, name: str, missing: str, where: str = "") -> None:
    """InputError for values of ``name`` that are infinite, missing without leave, or absent altogether."""
    unknown = np.isnan(values)
    if unknown.all():
        raise InputError(f"the variable {name!r} holds no value at all (all are NaN); leave it out of `data.variables`")
    if np.isinf(values).any():
        raise InputError(f"the variable {name!r} holds {int(np.isinf(values).sum())} infinite value(s); mend the file")
    if unknown.any() and missing == "error":
        first = np.unravel_index(int(unknown.argmax()), values.shape)
        raise InputError(
            f"the variable {name!r} has {int(unknown.sum())} missing value(s) (NaN) among {values.size}{where}, the "
            f"first at {tuple(int(place) for place in first)}; fill them in, keep them as missing with "
            "`data.missing=mask`, or leave their times out with `data.missing=drop`"
        )
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    for fill, rest in ((low, values[values > low]), (high, values[values < high])):
        if len(rest) and any(abs(fill - each) <= 1e-5 * abs(each) for each in _FILLS):
            nearest = float(rest.min() if fill == low else rest.max())
            if abs(fill - nearest) > 3 * float(rest.max() - rest.min()):
                raise InputError(
                    f"the variable {name!r} holds the value {fill:g}, far from all others ({float(rest.min()):g} to "
                    f"{float(rest.max()):g}): a fill value that the file does not declare? Say so with "
                    f"`data.fill={fill:g}`"
                )


def _sizes(dataset: Any) -> str:
    return ", ".join(f"{name} {size}" for name, size in dataset.sizes.items()) or "no dimension"
