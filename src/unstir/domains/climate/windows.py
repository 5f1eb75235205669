"""Windows of a dataset: so many times in a row as one case, for generators and for assimilation."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.domains.climate.cases import ClimateData
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.files.datasets import Rows, digest_of, layout_of, opened
from unstir.domains.climate.layout import Axis, Layout
from unstir.domains.climate.scaling import fit_scaling, methods_for
from unstir.domains.climate.splits import parts_of

_GAP = 1.5  # usual steps: a longer one is a gap, while months of 28 to 31 days are none
_CHUNK = 256  # windows at a time, where all are gone through
_YEAR = 365.2425


class WindowCases:
    """Cases that are windows of ``length`` times in a row: float (n, channels, lead, *axes), without lead for one time.

    ``dataset``: an xarray Dataset with ``time``, as ``datasets.opened`` gives it; ``variables`` become the channels,
    one for each level where they have ``level``, and must share all other dimensions. A window begins at every
    ``stride``-th place of ``rows`` (positions in time, all if None) from which the next ``length`` positions are in
    ``rows`` too and without a gap: no step longer than one and a half of the usual. Values are read when asked for.

    ``season``: so many pairs of harmonics of the day of the year at a window's first time, told as ``given``.

    Raises InputError where variables do not fit together, or no window is whole.
    """

    def __init__(
        self,
        dataset: Any,
        variables: Sequence[str],
        length: int,
        stride: int = 1,
        rows: np.ndarray | None = None,
        season: int = 0,
    ) -> None:
        self.length, stride = _whole("length", length), _whole("stride", stride)
        self.dataset, self.season = dataset[list(variables)], season
        self.layout = window_layout(dataset, variables, self.length)
        self._rows = Rows(self.dataset)
        self._times = dataset["time"].values
        usable = np.arange(len(self._times)) if rows is None else np.sort(np.asarray(rows, dtype=np.int64))
        self._steps = _steps(self._times)
        self.starts = _starts(usable, self._steps, self.length, stride)
        if not len(self.starts):
            raise InputError(
                f"no window of {self.length} times in a row among the {len(usable)} of this part: choose a shorter "
                "length, or give data without gaps"
            )

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def times(self) -> np.ndarray:
        """Each window's first time."""
        return self._times[self.starts]

    @property
    def digest(self) -> str:
        """SHA-256 of the windows' places and of the dataset."""
        told = hashlib.sha256(json.dumps([self.length, self.season, digest_of(self.dataset)]).encode())
        told.update(np.ascontiguousarray(self.starts).tobytes())
        return told.hexdigest()

    @property
    def locality(self) -> tuple[int, int] | None:
        """See ``Rows.near``: which windows are read together, of data that is not in memory."""
        return self._rows.near(self.starts, self.length)

    def target(self, rows: np.ndarray) -> np.ndarray:
        """The windows ``rows``, (n, channels, lead, *axes), in the data's units."""
        places = self.starts[np.asarray(rows, dtype=np.int64)][:, None] + np.arange(self.length)
        values = self._rows.values(places)
        return values[:, 0] if self.length == 1 else np.moveaxis(values, 1, 2)

    def given(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The season at each window's beginning, float32 (n, 2 * season); nothing where none is told."""
        if not self.season:
            return {}
        return {"given": harmonics(self.times[np.asarray(rows, dtype=np.int64)], self.season)}

    def chunks(self) -> Iterator[np.ndarray]:
        """All windows that do not overlap, ``_CHUNK`` at a time: every value once, nearly."""
        chosen, last = [], -self.length
        for row, start in enumerate(self.starts):
            if start >= last + self.length:
                chosen.append(row)
                last = start
        for first in range(0, len(chosen), _CHUNK):
            yield self.target(np.array(chosen[first : first + _CHUNK]))


def window_layout(dataset: Any, variables: Sequence[str], length: int) -> Layout:
    """Channels and axes of windows: each variable at each level; ``lead`` (of two times or more), then the others.

    Raises InputError for variables of different dimensions, without time, or with members or leads.
    """
    dataset = dataset[list(variables)]
    for name, array in dataset.data_vars.items():
        if "time" not in array.dims:
            dims = ", ".join(map(str, array.dims)) or "no dimension"
            raise InputError(f"windows are cut in time; {name!r} has only {dims}: leave it out of data.variables")
        if wrong := [dim for dim in ("lead", "member") if dim in array.dims]:
            raise InputError(
                f"windows are cut from one history; {name!r} has {wrong[0]!r} beside time: take one of them, as in "
                f"data.select={{{wrong[0]}: ...}}"
            )
    layout = layout_of(dataset)
    axes = [_lead(dataset["time"].values, length)] if length > 1 else []
    return Layout(layout.quantities, (*axes, *layout.axes), layout.calendar)


def window_data(
    options: Mapping[str, Any],
    length: int,
    *,
    task: str,
    stride: int = 1,
    season: int = 0,
    memory: Mapping[str, Any] | None = None,
) -> ClimateData:
    """Windows of the data that ``options`` name (those of ``datasets.SHARED``), with validation and test beside.

    No window straddles two parts. The scaling is fitted to the training part. ``task`` names whose data it is, and
    ``memory`` what that task keeps with the run.
    """
    dataset = opened(options)
    parts = parts_of(dataset["time"].values, options)
    variables = variables_of(dataset)
    cases = {
        name: WindowCases(dataset, variables, length, stride, rows, season)
        for name, rows in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
        if len(rows)
    }
    layout = cases["train"].layout
    scaling = fit_scaling(cases["train"].chunks(), methods_for(options.get("transform", "standard"), layout.quantities))
    encoding = ClimateEncoding(task, layout, scaling, options, dict(memory or {}))
    conditions = {"given": {"size": 2 * season}} if season else {}
    name = str(options.get("name") or options.get("path") or "windows")
    made = {part: ClimateData(f"{name} ({part})", encoding, each, conditions) for part, each in cases.items()}
    return ClimateData(
        name, encoding, cases["train"], conditions, validation=made.get("validation"), test=made.get("test")
    )


def variables_of(dataset: Any) -> list[str]:
    """The dataset's variables that have a time, in its order; InputError if there is none."""
    found = [str(name) for name, array in dataset.data_vars.items() if "time" in array.dims]
    if not found:
        seen = ", ".join(map(str, dataset.data_vars)) or "none"
        raise InputError(f"no variable has the dimension 'time'; seen {seen}")
    return found


def harmonics(times: np.ndarray, count: int) -> np.ndarray:
    """Cosine and sine of 1 to ``count`` cycles a year at these times, float32 (n, 2 * count).

    Raises InputError for times that are plain numbers and know no year.
    """
    day = day_of_year(times)
    angles = 2 * np.pi * day[:, None] / _YEAR * np.arange(1, count + 1)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def day_of_year(times: np.ndarray) -> np.ndarray:
    """Days since the beginning of each time's year, with fractions, float64; of datetime64 or cftime."""
    if np.issubdtype(times.dtype, np.datetime64):
        begun = times.astype("datetime64[Y]").astype(times.dtype)
        return (times - begun) / np.timedelta64(1, "D")
    if times.dtype == object:
        return np.array([time.dayofyr - 1 + time.hour / 24 + time.minute / 1440 for time in times], dtype=np.float64)
    raise InputError("a season is asked for, and these times are plain numbers without a calendar: set season to 0")


def _lead(times: np.ndarray, length: int) -> Axis:
    usual = float(np.median(_steps(times))) if len(times) > 1 else 1.0
    unit = "1"
    if times.dtype == object or np.issubdtype(times.dtype, np.datetime64):
        unit, size = ("days", 86400.0) if usual >= 86400 else ("hours", 3600.0)
        usual /= size
    return Axis("lead", tuple(round(usual * step, 9) for step in range(length)), unit)


def _steps(times: np.ndarray) -> np.ndarray:
    """From each time to the next, seconds or the times' own unit, float64."""
    if np.issubdtype(times.dtype, np.datetime64):
        return np.diff(times) / np.timedelta64(1, "s")
    if times.dtype == object:
        return np.array([(later - earlier).total_seconds() for earlier, later in pairwise(times)])
    return np.diff(times.astype(np.float64))


def _starts(usable: np.ndarray, steps: np.ndarray, length: int, stride: int) -> np.ndarray:
    """The positions that windows begin at, int64: the runs without gap, each gone through by ``stride``."""
    if not len(usable):
        return usable
    usual = float(np.median(steps)) if len(steps) else 1.0
    broken = np.diff(usable) > 1
    whole = ~broken
    if len(usable) > 1:
        broken[whole] = steps[usable[:-1][whole]] > _GAP * usual
    runs = np.split(usable, np.flatnonzero(broken) + 1)
    return np.concatenate([run[: max(len(run) - length + 1, 0) : stride] for run in runs]).astype(np.int64)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name}, of a window, is a whole number and at least 1; seen {value!r}")
    return value
