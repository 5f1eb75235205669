"""Raw ensembles and what was observed, brought together: from one file or table, or from two."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.domains.climate.baselines import latest
from unstir.domains.climate.files.reading import Rows
from unstir.domains.climate.layout import Layout

_LONG = 1.5  # usual steps: a longer one is a gap
_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}


@dataclass(frozen=True, eq=False)
class Pairs:
    """Numbered forecasts: row r is the r-th time of the ensemble's file.

    ``ensemble``: rows (n, member, channels, *axes); ``observed``: of as many channels, None where nothing is known;
    ``predictors``: further ones, None without. ``layout`` tells channels and axes of what is observed (``lead`` first
    among the axes, where there are leads). ``lags``: for each variable of ``observed_before`` in turn, how many last
    values are told.
    """

    ensemble: Rows
    layout: Layout
    observed: Rows | None = None
    predictors: Rows | None = None
    observed_before: Rows | None = None
    lags: tuple[int, ...] = ()

    @property
    def times(self) -> np.ndarray:
        """Of all rows: when each forecast starts, or is valid where there are no leads."""
        return self.ensemble.times

    @property
    def leads(self) -> tuple[float, ...]:
        """In the unit of the axis ``lead``; a single zero without one."""
        axis = self.layout.axis("lead")
        return (0.0,) if axis is None else tuple(map(float, axis.values))

    def members(self, rows: np.ndarray) -> np.ndarray:
        """The raw ensembles, float64 (n, members, channels, *axes)."""
        return np.asarray(self.ensemble.values(rows), dtype=np.float64)

    def target(self, rows: np.ndarray) -> np.ndarray:
        """What was observed, float64 (n, channels, *axes), NaN where it is not known."""
        if self.observed is None:
            return np.full((len(rows), *self.layout.shape), np.nan)
        lead = self.layout.axis("lead")
        if lead is not None and "lead" in next(iter(self.observed.dataset.data_vars.values())).dims:
            return np.asarray(self.observed.values(rows), dtype=np.float64)
        found = _at(self.observed, self.valid(rows))
        return found[:, 0] if lead is None else np.moveaxis(found, 1, 2)

    def valid(self, rows: np.ndarray) -> np.ndarray:
        """When each lead of the rows is valid, (n, leads)."""
        lead, starts = self.layout.axis("lead"), self.times[np.asarray(rows)]
        if lead is None:
            return starts[:, None]
        return np.stack([starts + _span(value, lead.unit, starts) for value in self.leads], 1)

    def further(self, rows: np.ndarray) -> np.ndarray:
        """The further predictors, float64 (n, k, *axes); those without the axes are the same all along them."""
        shape = self.layout.shape[1:]
        if self.predictors is None:
            return np.zeros((len(rows), 0, *shape))
        found = np.asarray(self.predictors.values(rows), dtype=np.float64)
        found = found.reshape(*found.shape, *(1,) * (len(shape) + 2 - found.ndim))
        return np.broadcast_to(found, (*found.shape[:2], *shape))

    def before(self, rows: np.ndarray) -> np.ndarray:
        """The last values observed before each start, the newest first, (n, k, *axes without lead)."""
        if self.observed_before is None:
            return np.zeros((len(rows), 0))
        times, starts = self.observed_before.times, self.times[np.asarray(rows)]
        newest = latest(times, starts, strictly=True)
        step = usual_step(times)
        found = []
        for variable, count in enumerate(self.lags):
            for lag in range(count):
                place = newest - lag
                values = np.asarray(self.observed_before.values(place.clip(0)), dtype=np.float64)[:, variable]
                gaps = zip(starts, times[place.clip(0)], strict=True)
                away = np.array([_over(start - time, step) for start, time in gaps])
                values[(place < 0) | (away > (lag + 1) * _LONG)] = np.nan
                found.append(values)
        return np.stack(found, 1)

    def known(self, rows: np.ndarray, observed: bool = True) -> np.ndarray:
        """Those of the rows whose ensemble, predictors and last values are whole, and with something observed."""
        rows = np.asarray(rows, dtype=np.int64)
        if not len(rows):
            return rows
        good = np.ones(len(rows), dtype=bool)
        for first in range(0, len(rows), 256):
            piece = slice(first, first + 256)
            told = [self.members(rows[piece]), self.further(rows[piece]), self.before(rows[piece])]
            good[piece] = np.all([np.isfinite(part.reshape(len(part), -1)).all(1) for part in told], 0)
            if observed:
                target = self.target(rows[piece])
                good[piece] &= ~np.isnan(target.reshape(len(target), -1)).all(1)
        return rows[good]


def pairs_of(options: Mapping[str, Any], observations: bool = True) -> Pairs:
    """The forecasts and observations that the task's options name; see ``postprocessing.read_post_process``.

    observations: False for new forecasts, whose outcome need not be in any file.

    Raises InputError where it is not clear which variable is what, and where they do not fit together.
    """
    from unstir.domains.climate.files.datasets import SHARED, layout_of, opened

    shared = {name: value for name, value in options.items() if name in SHARED}
    dataset = opened({**shared, "variables": _read(options, observations)})
    ensembles = [str(name) for name, each in dataset.data_vars.items() if "member" in each.dims]
    if not ensembles:
        raise InputError(
            "no variable has several members; the raw ensemble has a dimension 'member' (or number, realization, "
            f"ensemble), or numbered columns (fc.1, fc.2, ...) in a table; seen {list(map(str, dataset.data_vars))}"
        )
    if options["observations"]:
        wanted = [*_listed(options["observed"]), *(_counts(options["history"]) if options["observed"] else ())]
        path = {"path": options["observations"], "name": None, "variables": list(dict.fromkeys(wanted)) or None}
        own = {name: {key: told for key, told in shared[name].items() if key in wanted} for name in ("units",)}
        beside = opened({**shared, **path, **own, "select": {}, "rename": {}})
    else:
        beside = dataset.drop_vars(ensembles)
    outcomes = [str(name) for name in beside.data_vars if str(name) not in _listed(options["predictors"])]
    ensemble = _named(options, "ensemble", ensembles)
    have = bool(outcomes) and all(name in outcomes for name in _listed(options["observed"]))
    if not observations and not have:
        target, observed = layout_of(dataset[ensemble]), []
    else:
        observed = _named(options, "observed", outcomes)
        _check_pairs(dataset, ensemble, beside, observed)
        without = ("time", "member", "lead")
        own = layout_of(beside[observed], without)
        axes = layout_of(dataset[ensemble]).axes
        _check_axes(own, axes)
        target = Layout(own.quantities, axes, own.calendar)
    predictors = _listed(options["predictors"])
    for name in predictors:
        if name not in dataset.data_vars or name in ensembles:
            raise unknown(
                "predictor (data.predictors):", name, [x for x in map(str, dataset.data_vars) if x not in ensembles]
            )
    history = _history(options["history"], observed or _listed(options["observed"]), outcomes)
    if history and not all(name in beside.data_vars for name in history):
        raise InputError(
            "the last values observed are told to this model, and the input has none: give the file that holds them "
            "with the option observations=FILE"
        )
    return Pairs(
        Rows(dataset[ensemble]),
        target,
        Rows(beside[observed]) if observed else None,
        Rows(dataset[predictors]) if predictors else None,
        Rows(beside[list(history)]) if history else None,
        tuple(history.values()),
    )


def _read(options: Mapping[str, Any], observations: bool) -> list[str] | None:
    """The variables to read of the ensemble's file; None for all, where the options leave some to be found."""
    named = _listed(options["ensemble"])
    if not named or not (options["observations"] or (options["observed"] and observations)):
        return options.get("variables")
    own = [] if options["observations"] else [*_listed(options["observed"]), *_counts(options["history"])]
    return list(dict.fromkeys([*named, *own, *_listed(options["predictors"])]))


def _counts(told: Any) -> list[str]:
    return [str(name) for name in told] if isinstance(told, Mapping) else []


def _listed(told: Any) -> list[str]:
    return [] if told is None else [told] if isinstance(told, str) else [str(each) for each in told]


def _named(options: Mapping[str, Any], option: str, able: list[str]) -> list[str]:
    wanted = _listed(options[option])
    for name in wanted:
        if name not in able:
            raise unknown(f"variable (data.{option}):", name, able)
    if wanted:
        return wanted
    if len(able) != 1:
        what = "the raw ensemble" if option == "ensemble" else "what was observed"
        raise InputError(
            f"which variable holds {what}? Name it with `data.{option}`; seen {', '.join(able) or 'none that could be'}"
            + (" (or give the file that holds it as `data.observations`)" if option == "observed" else "")
        )
    return able


def _check_pairs(dataset: Any, ensemble: list[str], beside: Any, observed: list[str]) -> None:
    if len(ensemble) != len(observed):
        raise InputError(
            f"{len(ensemble)} variable(s) of the ensemble {ensemble} for {len(observed)} observed {observed}"
        )
    for first, second in zip(ensemble, observed, strict=True):
        own, other = (str(part[name].attrs.get("units", "")) for part, name in ((dataset, first), (beside, second)))
        if own and other and own != other:
            raise InputError(
                f"{first!r} is in {own!r} and {second!r} in {other!r}; bring both to one unit with "
                f"`data.units={{{first}: {other}}}`"
            )


def _check_axes(own: Layout, axes: Any) -> None:
    space = [axis for axis in axes if axis.name != "lead"]
    for mine, its in zip(own.axes, space, strict=False):
        same = mine.name == its.name and len(mine) == len(its)
        if same and mine.name in ("latitude", "longitude"):
            same = bool(np.allclose(np.asarray(mine.values, float), np.asarray(its.values, float), atol=1e-4))
        if not same:
            raise InputError(
                f"ensemble and observations lie on different places along {its.name!r}; bring them to one grid"
            )
    if len(own.axes) != len(space):
        raise InputError(
            f"the ensemble lies along {[axis.name for axis in space]}, the observations along "
            f"{[axis.name for axis in own.axes]}; bring them to one grid"
        )


def _history(told: Any, observed: list[str], able: list[str]) -> dict[str, int]:
    counts = dict(told) if isinstance(told, Mapping) else dict.fromkeys(observed, told)
    for name, count in counts.items():
        if name not in able and able:
            raise unknown("variable in `data.history`:", str(name), able)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InputError(f"`data.history: {told!r}`: how many last values are told, 0 or more")
    return {str(name): count for name, count in counts.items() if count}


def usual_step(times: np.ndarray) -> Any:
    """The median distance of rising times, of their own kind."""
    if len(times) < 2:
        return None
    gaps = np.sort(times[1:] - times[:-1])
    return gaps[len(gaps) // 2]


def _over(span: Any, step: Any) -> float:
    return 1.0 if step is None else float(span / step)


def _at(observed: Rows, moments: np.ndarray) -> np.ndarray:
    """The values that stand for these moments: of the last time not after them, unless a step or more has passed."""
    times, step = observed.times, usual_step(observed.times)
    place = latest(times, moments.ravel())
    found = np.array(observed.values(place.clip(0)), dtype=np.float64)
    late = place < 0
    if step is not None:
        late |= np.asarray((moments.ravel() - times[place.clip(0)]) >= step, dtype=bool)
    found[late] = np.nan
    return found.reshape(*moments.shape, *found.shape[1:])


def _span(value: float, unit: str, times: np.ndarray) -> Any:
    """A lead as a difference of the times' own kind."""
    if times.dtype != object and times.dtype.kind != "M":
        return value
    size = _SECONDS.get(unit.rstrip("s"))
    if size is None:
        raise InputError(f"the leads' unit is {unit!r}; allowed are {', '.join(f'{name}s' for name in _SECONDS)}")
    seconds = round(value * size)
    if times.dtype == object:
        from datetime import timedelta

        return timedelta(seconds=seconds)
    return np.timedelta64(seconds, "s")
