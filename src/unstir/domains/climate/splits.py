"""Training, validation and test cut along time, a gap between them: what is near in time is alike, and would leak."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unstir.core.errors import InputError

OPTIONS: dict[str, Any] = {
    "train_from": None,
    "train_to": None,
    "validation": 0.1,
    "test_from": None,
    "held_out": 0.2,
    "gap": 0,
}
"""How a dataset is cut, with defaults; see ``parts_of``."""

_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}
_SHORT = {"s": "second", "min": "minute", "h": "hour", "d": "day", "sec": "second", "hr": "hour"}

_DATE = re.compile(r"(\d{1,4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2})(?::(\d{2}))?(?::(\d{2}))?Z?)?)?)?")


@dataclass(frozen=True)
class Parts:
    """Positions along time, int64 and rising; no part is shuffled, and none overlaps another."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def parts_of(times: np.ndarray, options: Mapping[str, Any]) -> Parts:
    """The positions of three parts that follow each other in time.

    times: rising, (n,), datetime64, cftime or plain numbers.
    options: ``test_from``, the first time to test on, else all that is later than ``train_to``, else the last share
        ``held_out``; of what comes before, the last share ``validation`` (or what is not before it, if it is a date)
        is to choose by and the rest to train on, from ``train_from`` on. ``gap`` is left out at the end of the
        earlier part, so that the later one stays as it was asked for: a number of positions, or a duration such as
        ``10 days`` by which the parts are to be further apart. A date that names a day, a month or a year only means,
        as an end, all of it. A share of 0 leaves a part empty.

    Raises InputError for times that do not rise, dates that are none, and parts that would overlap or be empty.
    """
    told = {**OPTIONS, **{name: value for name, value in options.items() if name in OPTIONS}}
    times = np.asarray(times)
    if times.ndim != 1 or not len(times):
        raise InputError(f"times (n,) are needed to cut a dataset along; seen the shape {times.shape}")
    if not bool(np.all(times[1:] > times[:-1])):
        raise InputError("the times do not rise everywhere; a dataset is cut into parts along sorted times only")
    test_from = _place(times, told["test_from"], "test_from")
    train_to = _place(times, told["train_to"], "train_to", end=True)
    begin = _place(times, told["train_from"], "train_from") or 0
    if test_from is None:
        test_from = train_to if train_to is not None else len(times) - _share(told["held_out"], len(times), "held_out")
    if train_to is None:
        train_to = test_from
    if train_to > test_from:
        raise InputError(
            f"`data.train_to={told['train_to']}` is later than `data.test_from={told['test_from']}`: the parts would "
            "overlap; end the training before the test"
        )
    gap = _gap(told["gap"], times)
    pool = _cut(times, begin, train_to, test_from, gap)
    if isinstance(told["validation"], int | float) and told["validation"] < 1:
        choose_from = pool - _share(told["validation"], max(pool - begin, 0), "validation")
    else:
        choose_from = min(_place(times, told["validation"], "validation") or pool, pool)
    train = _cut(times, begin, choose_from, choose_from if choose_from < pool else test_from, gap)
    parts = Parts(np.arange(begin, train), np.arange(choose_from, pool), np.arange(test_from, len(times)))
    _check(parts, told, times)
    return parts


def _check(parts: Parts, told: Mapping[str, Any], times: np.ndarray) -> None:
    wanted = {
        "train": True,
        "validation": told["validation"] not in (0, None),
        "test": told["test_from"] is not None or told["train_to"] is not None or told["held_out"] != 0,
    }
    for name, needed in wanted.items():
        if needed and not len(getattr(parts, name)):
            raise InputError(
                f"the part '{name}' is empty: the data has {len(times)} time(s), from {times[0]} to {times[-1]}; "
                "change `data.train_to`, `data.test_from`, the shares `data.validation` and `data.held_out`, or "
                f"`data.gap={told['gap']}`"
            )


def _cut(times: np.ndarray, begin: int, end: int, later: int, gap: Any) -> int:
    """The end of a part so that a gap is left before position ``later``; the part would end at ``end``."""
    if later >= len(times):
        return end
    if isinstance(gap, int):
        return max(begin, min(end, later - gap))
    return max(begin, min(end, int((times < times[later] - gap).sum()))) if gap else end


def _share(share: Any, count: int, name: str) -> int:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise InputError(f"`data.{name}: {share!r}`: a share of the times is needed, from 0 to below 1")
    return min(count, max(1, round(count * share))) if share else 0


def _gap(told: Any, times: np.ndarray) -> Any:
    """Whole numbers count positions; anything else is a span of the times' kind, or a number where they are numbers."""
    if isinstance(told, int) and not isinstance(told, bool) and told >= 0:
        return told
    if _numeric(times):
        if isinstance(told, float) and told >= 0 and math.isfinite(told):
            return told
        raise InputError(
            f"`data.gap: {told!r}`: the data's times are plain numbers; give a number of positions (5) or a span of "
            "time (0.5)"
        )
    return duration(told, "data.gap", like=times)


def duration(text: Any, name: str, like: np.ndarray | None = None) -> Any:
    """``10 days``, ``6h``, ``1 week`` as timedelta64[s], or as datetime.timedelta if ``like`` holds cftime; InputError.

    name: of the option, for the message.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]+)\s*", text) if isinstance(text, str) else None
    unit = found[2].lower() if found else ""
    unit = _SHORT.get(unit, unit.removesuffix("s"))
    if found is None or unit not in _SECONDS:
        raise InputError(
            f"`{name}: {text!r}`: a duration such as '10 days' is needed (seconds, minutes, hours, days, weeks), or a "
            "whole number of positions"
        )
    span = np.timedelta64(round(float(found[1]) * _SECONDS[unit]), "s")
    return span.item() if like is not None and like.dtype == object else span


def _numeric(times: np.ndarray) -> bool:
    return times.dtype.kind in "fiu"


def _place(times: np.ndarray, told: Any, name: str, end: bool = False) -> int | None:
    """The first position not before that time; with ``end``, the first after it."""
    if told is None:
        return None
    if _numeric(times):
        if isinstance(told, bool) or not isinstance(told, int | float):
            raise InputError(
                f"`data.{name}: {told!r}`: the data's times are plain numbers from {times[0]} to {times[-1]}; give one "
                "of that kind"
            )
        return int(np.searchsorted(times, told, side="right" if end else "left"))
    first, after = _moment(told, times, name)
    if end:
        # a whole day, month or year belongs to what it ends; a moment told to the second is itself the last one
        return int((times < after).sum() if after is not None else (times <= first).sum())
    return int((times < first).sum())


def _moment(told: Any, times: np.ndarray, name: str) -> tuple[Any, Any]:
    """The moment, and for a year, month or day the moment after all of it, in the times' own calendar."""
    text = str(told).strip()
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError("no date")
        year, month, day, *clock = (None if part is None else int(part) for part in found.groups())
        assert year is not None
        start = _date(times, year, month or 1, day or 1, *(part or 0 for part in clock))
        if clock and clock[0] is not None:
            return start, None
        if day is not None:
            span = np.timedelta64(1, "D")
            return start, start + (span.astype("timedelta64[s]").item() if times.dtype == object else span)
        after = (year + 1, 1) if month is None or month == 12 else (year, month + 1)
        return start, _date(times, *after, 1)
    except (ValueError, OverflowError):
        raise InputError(
            f"`data.{name}: {told!r}`: a date of the data's calendar is needed, such as 2009-12-31; the data goes from "
            f"{times[0]} to {times[-1]}"
        ) from None


def _date(times: np.ndarray, year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> Any:
    if times.dtype == object:
        return type(times[0])(year, month, day, hour, minute, second)
    return np.datetime64(f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}", "s")
