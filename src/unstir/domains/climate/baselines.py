"""What every forecast must beat: climatology of the season, and persistence of the last value.

Reference: Wilks, Statistical methods in the atmospheric sciences (4th ed., 2019), section 9.1.4, for both.
"""

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds


def season_of(times: np.ndarray) -> np.ndarray:
    """How much of its year has passed at each time, from 0 to below 1; float64 (n,).

    times: datetime64 or cftime of any calendar. Raises InputError for plain numbers, which have no season.
    """
    times = np.asarray(times)
    if times.dtype.kind == "M":
        year = times.astype("datetime64[Y]")
        start, end = year.astype("datetime64[s]"), (year + 1).astype("datetime64[s]")
        return (times.astype("datetime64[s]") - start) / (end - start)
    if times.dtype != object:
        raise InputError("plain numbers for times have no season; give dates, or do without what follows the season")
    found = []
    for time in times:
        start, end = type(time)(time.year, 1, 1), type(time)(time.year + 1, 1, 1)
        found.append((time - start).total_seconds() / (end - start).total_seconds())
    return np.array(found, dtype=np.float64)


def climatology_ensemble(
    values: Tensor | np.ndarray,
    times: np.ndarray,
    at: np.ndarray,
    members: int,
    seeds: Seeds,
    window_days: float | int | None = None,
) -> Tensor:
    """Ensembles (cases, members, ...) of past values, drawn from the same season where a window is given.

    values: (n, ...) of the training part at ``times`` (n,); those with nothing known are not drawn.
    at: for when each case is forecast, (cases,), of the times' kind; seeds: one a case.
    window_days: values up to so many days of the year away are drawn from, around the turn of the year as well; None
        for all values. Where they are at least as many as the members, no value is drawn twice for a case.

    Raises InputError where a case has no past value in its window, and for fewer than 1 member.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    if members < 1:
        raise InputError(f"an ensemble has at least 1 member; seen {members}")
    if len(values) != len(times) or len(at) != len(seeds):
        raise InputError(f"{len(times)} times for {len(values)} values, and {len(seeds)} seeds for {len(at)} cases")
    known = (~values.flatten(1).isnan()).any(1).numpy() if values.ndim > 1 else (~values.isnan()).numpy()
    pool = np.flatnonzero(known)
    seasons = None if window_days is None else (season_of(np.asarray(times)[pool]), season_of(np.asarray(at)))
    levels = seeds.at("climatology").uniform().numpy()
    chosen = np.empty((len(at), members), dtype=np.int64)
    for case in range(len(at)):
        near = pool
        if seasons is not None and window_days is not None:
            away = np.abs(seasons[0] - seasons[1][case])
            near = pool[np.minimum(away, 1 - away) * 365.2425 <= window_days]
        if not len(near):
            raise InputError(
                f"no past value within {window_days} days of the season of {at[case]}; widen the window, or train on "
                "more time"
            )
        # evenly spaced places in an order of its own: every set of members is as likely, and none is drawn twice
        strata = np.floor((np.arange(members) + levels[case]) / members * len(near)).astype(np.int64)
        generator = seeds[case : case + 1].at("climatology", "order", int(seeds.samples[case])).generator()
        chosen[case] = near[generator.permutation(len(near))[strata.clip(0, len(near) - 1)]]
    return values[torch.from_numpy(chosen)]


def latest(times: np.ndarray, starts: np.ndarray, strictly: bool = False) -> np.ndarray:
    """Where in rising ``times`` the last one not after each start is, or before it if ``strictly``; -1 for none."""
    return np.searchsorted(times, starts, side="left" if strictly else "right") - 1


def persistence(
    values: Tensor | np.ndarray, times: np.ndarray, starts: np.ndarray, leads: int, strictly: bool = False
) -> Tensor:
    """The last value known at each start, kept for all leads: (cases, 1, leads, ...); NaN where there is none.

    values: (n, ...) at rising ``times``; ``strictly``: what is valid at the start itself is not known yet.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    place = latest(np.asarray(times), np.asarray(starts), strictly)
    found = values[torch.from_numpy(place.clip(0))]
    found[torch.from_numpy(place < 0)] = torch.nan
    return found[:, None, None].expand(-1, 1, leads, *values.shape[1:]).clone()
