"""Cases of the task ``downscale``: what is coarse, and the fine field behind it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unstir.core.errors import InputError
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.files.reading import Rows
from unstir.domains.climate.layout import Axis
from unstir.domains.climate.scaling import Scaling
from unstir.domains.climate.tasks.downscaling.coarsening import Grids
from unstir.domains.climate.tasks.downscaling.regression import LocalRegression
from unstir.domains.climate.windows import day_of_year
from unstir.domains.rows import evenly

CYCLES = ("season", "hour")
_CHUNK = 256  # cases at a time, of data in memory
_KEPT = 256 << 20  # bytes of conditions that are kept
_MOST = 2 << 30  # bytes of the training part that what is fitted before the training looks at


@dataclass(frozen=True, eq=False)
class Stage:
    """What a coarse field tells beforehand: the regression's mean, and the maps that the network sees.

    ``coarse`` and ``fine`` bring values of either grid to about unit scale. The mean is the ``interpolation`` of the
    coarse values (None where they are other variables), brought to that scale, and the ``regression`` of what it
    misses; times ``factors`` (channels,) it is a state, in which what the mean misses has deviation 1. ``maps``
    (k, *fine) never change; ``clock`` are cycles of the time.
    """

    grids: Grids
    coarse: Scaling
    fine: Scaling
    interpolation: str | None
    regression: LocalRegression | None
    factors: np.ndarray
    maps: np.ndarray
    clock: tuple[str, ...]

    def interpolated(self, values: np.ndarray) -> np.ndarray:
        """Coarse values (n, channels, *coarse) in their units as fine ones in theirs, (n, channels, *fine)."""
        kind = self.interpolation or "linear"
        filled = self.coarse.decode(torch.from_numpy(scaled_by(self.coarse, values))).numpy()
        return self.grids.interpolated(filled[:, : len(self.fine.channels)], kind)

    def base(self, values: np.ndarray) -> np.ndarray:
        """The interpolation at the scale of what is fine; zero where there is none."""
        if self.interpolation is None:
            return np.zeros((len(values), len(self.fine.channels), *self.grids.fine_shape))
        return scaled_by(self.fine, self.interpolated(values))

    def told(self, values: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
        """The conditions for coarse values (n, channels, *coarse) in their units, NaN where missing, at these times."""
        scaled, season = scaled_by(self.coarse, values), clock_of(times, self.clock)
        assert self.regression is not None
        mean = self.base(values) + self.regression(scaled, season)
        factors = self.factors.reshape(-1, *(1,) * (mean.ndim - 2))
        maps = np.broadcast_to(self.maps, (len(values), *self.maps.shape))
        seen = np.concatenate((self.grids.interpolated(scaled, "linear"), maps), axis=1)
        found = {"given": seen.astype(np.float32), "centre": (mean * factors).astype(np.float32)}
        return {**found, "clock": season.astype(np.float32)} if self.clock else found

    def conditions(self, channels: int) -> dict[str, dict[str, int]]:
        """As networks take them."""
        found = {"given": {"channels": len(self.coarse.channels) + len(self.maps)}, "centre": {"channels": channels}}
        return {**found, "clock": {"size": 2 * len(self.clock)}} if self.clock else found

    def record(self) -> dict[str, Any]:
        """Plain values; the fine axes are the layout's."""
        return {
            "axes": [
                {"name": axis.name, "values": list(axis.values), "unit": axis.unit, "periodic": axis.periodic}
                for axis in self.grids.coarse
            ],
            "factor": self.grids.factor,
            "coarse": self.coarse.record(),
            "fine": self.fine.record(),
            "interpolation": self.interpolation,
            "regression": None if self.regression is None else self.regression.record(),
            "factors": self.factors.tolist(),
            "maps": self.maps.tolist(),
            "clock": list(self.clock),
        }

    @staticmethod
    def restored(encoding: ClimateEncoding) -> "Stage":
        """The stage that an encoding's memory keeps."""
        told, layout = encoding.memory["stage"], encoding.layout
        axes = tuple(Axis(each["name"], tuple(each["values"]), each["unit"], each["periodic"]) for each in told["axes"])
        grids = Grids(layout.axes, axes, layout.weights(), told["factor"])
        maps = np.asarray(told["maps"], dtype=np.float64).reshape(-1, *layout.shape[1:])
        regression = LocalRegression.restored(grids, told["regression"])
        return Stage(
            grids,
            Scaling(tuple(told["coarse"])),
            Scaling(tuple(told["fine"])),
            told["interpolation"],
            regression,
            np.asarray(told["factors"], dtype=np.float64),
            maps,
            tuple(told["clock"]),
        )


class DownscaleCases:
    """Times of a fine dataset, with the coarse field of each: means of its blocks, or another dataset's. Is ``Cases``.

    ``positions``: those of the times in ``fine``; ``theirs``: those in ``coarse``, where that is another dataset.
    """

    def __init__(
        self,
        fine: Rows,
        positions: np.ndarray,
        grids: Grids,
        coarse: Rows | None = None,
        theirs: np.ndarray | None = None,
        source: str = "",
    ) -> None:
        self.fine, self.positions, self.grids = fine, positions, grids
        self.others, self.theirs, self.source = coarse, theirs, source
        self.stage: Stage | None = None
        self._read: tuple[bytes, np.ndarray] | None = None
        self._told: dict[str, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def times(self) -> np.ndarray:
        """Of the fine fields."""
        return self.fine.times[self.positions]

    @property
    def locality(self) -> tuple[int, int] | None:
        """See ``Rows.near``: which cases are read together, of data that is not in memory."""
        return self.fine.near(self.positions, 1)

    @property
    def digest(self) -> str:
        """SHA-256 of the datasets' digests and of the positions."""
        parts = [self.positions, *([] if self.theirs is None else [self.theirs])]
        return hashlib.sha256(self.source.encode() + b"".join(part.tobytes() for part in parts)).hexdigest()

    def target(self, rows: np.ndarray) -> np.ndarray:
        """The fine fields, (n, channels, *fine) in the data's units."""
        rows = np.asarray(rows, dtype=np.int64)
        if self._read is None or self._read[0] != rows.tobytes():
            # a batch asks for the fine field and, of the same, for the means of its blocks
            self._read = rows.tobytes(), np.asarray(self.fine.values(self.positions[rows]), dtype=np.float64)
        return self._read[1]

    def coarse(self, rows: np.ndarray) -> np.ndarray:
        """What is coarse, (n, channels, *coarse) in its units, NaN where missing."""
        if self.others is None or self.theirs is None:
            return self.grids.means(self.target(rows))
        return np.asarray(self.others.values(self.theirs[np.asarray(rows, dtype=np.int64)]), dtype=np.float64)

    def given(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What the stage makes of the coarse field; of data in memory all is made once, and kept."""
        rows = np.asarray(rows, dtype=np.int64)
        if self._told is None and self.fine.locality is None and self._size() <= _KEPT:
            pieces = [self._of(part) for part in self.chunks()]
            self._told = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        return self._of(rows) if self._told is None else {name: values[rows] for name, values in self._told.items()}

    def _of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        assert self.stage is not None
        return self.stage.told(self.coarse(rows), self.times[rows])

    def _size(self) -> int:
        """Of all conditions, in bytes."""
        assert self.stage is not None
        channels = sum(each.get("channels", 0) for each in self.stage.conditions(1).values())
        return 4 * len(self) * channels * self.grids.cells.size

    def chunks(self) -> Iterator[np.ndarray]:
        """Rows in order, so many at a time as are read together; of data too large to look at twice, an even choice."""
        size = _CHUNK if self.fine.locality is None else max(1, min(_CHUNK, self.fine.locality[0]))
        firsts = range(0, len(self), size)
        each = sum(self.fine.dataset[name].nbytes for name in self.fine.names) / max(1, len(self.fine))
        most = max(1, int(_MOST / max(1.0, each * size)))
        chosen = evenly(len(firsts), most)
        for number in chosen:
            yield np.arange(firsts[number], min(firsts[number] + size, len(self)))


def drawn_fields(
    draw: Callable[..., Any],
    encoding: ClimateEncoding,
    stage: Stage,
    coarse: np.ndarray,
    times: np.ndarray,
    members: int,
    seed: int,
    consistent: str,
) -> np.ndarray:
    """Ensembles (n, members, channels, *fine) in the data's units, for coarse fields (n, channels, *coarse)."""
    told = {name: torch.from_numpy(values) for name, values in stage.told(coarse, times).items()}
    condition = {name: values.repeat_interleave(members, 0) for name, values in told.items()}
    values = encoding.decode(draw(len(coarse) * members, seed=seed, condition=condition))
    values = values.reshape(len(coarse), members, *values.shape[1:])
    return stage.grids.kept(values, coarse[:, None], consistent) if consistent != "none" else values


def scaled_by(scaling: Scaling, values: np.ndarray) -> np.ndarray:
    """Values (n, channels, ...) at about unit scale; zero, which is usual, where they are missing."""
    return np.nan_to_num(scaling.encode(torch.from_numpy(np.asarray(values, dtype=np.float64))).numpy(), nan=0.0)


def clock_of(times: np.ndarray, cycles: Sequence[str]) -> np.ndarray:
    """Cosine and sine of each cycle's phase, float64 (n, 2 * cycles): of the year, and of the day."""
    if not cycles:
        return np.zeros((len(times), 0))
    day = day_of_year(times)
    phases = {"season": day / 365.2425, "hour": day}
    angles = 2 * np.pi * np.stack([phases[cycle] for cycle in cycles], axis=1)
    return np.concatenate((np.cos(angles), np.sin(angles)), axis=1)


def places_within(grids: Grids) -> np.ndarray:
    """Where in its cell each fine place lies, from -1 to 1 along each axis: float64 (axes, *fine)."""
    found = [2 * (places - np.floor(places + 0.5)) for places in (grids.along(axis) for axis in range(len(grids.fine)))]
    return np.stack(np.meshgrid(*found, indexing="ij"))


def common_times(fine: np.ndarray, coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in both of the times that both have; InputError if there is none."""
    if fine.dtype == object or coarse.dtype == object:
        own, other = np.array([str(time) for time in fine]), np.array([str(time) for time in coarse])
    else:
        own, other = fine, coarse
    _, first, second = np.intersect1d(own, other, return_indices=True)
    if not len(first):
        raise InputError(
            f"the fine data goes from {fine[0]} to {fine[-1]}, the coarse data from {coarse[0]} to {coarse[-1]}, and "
            "no time is in both: give coarse data of the same times"
        )
    order = np.argsort(first)
    return first[order], second[order]


def checked_clock(told: Any, times: np.ndarray) -> tuple[str, ...]:
    """The cycles that ``data.clock`` means; ``auto`` for the year and the day, where the times tell of them."""
    numbers = times.dtype.kind in "fiu"
    if told == "auto":
        if numbers or len(times) < 2:
            return ()
        days = day_of_year(times)
        hours = ["hour"] if len(np.unique(np.round(days % 1, 4))) > 1 else []
        return (*(["season"] if np.ptp(days) > 180 else []), *hours)
    cycles = tuple(told) if isinstance(told, list | tuple) else (told,)
    for cycle in cycles:
        if cycle not in CYCLES:
            raise InputError(f"`data.clock: {told!r}`: allowed are auto, and a list of {' and '.join(CYCLES)}")
    if cycles and numbers:
        raise InputError("data.clock: these times are plain numbers without a calendar; take []")
    return cycles
