"""Cases of the task ``forecast``: the last states, and the one after them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.layout import Layout
from unstir.domains.climate.scaling import Scaling, multiplied
from unstir.domains.climate.tasks.forecasting.rollout import Stepper
from unstir.domains.climate.tasks.forecasting.stencil import StencilForecast, count_monomials, fit_stencil
from unstir.domains.climate.windows import WindowCases
from unstir.domains.rows import evenly

_EQUATIONS = 400_000  # of a regression: more would not be seen in its few weights
_PRODUCTS = 20_000_000  # of equations and weights
_NUMBERS = 4_000_000  # that a piece of a regression may hold
_MEASURED = 20_000  # cases on which deviations are measured


class ForecastCases:
    """Windows of ``history`` states, ``step`` times apart, and one more: the target. Implements ``Cases``."""

    def __init__(self, windows: WindowCases, stepper: Stepper | None, encoding: ClimateEncoding, step: int) -> None:
        self.windows, self.stepper, self.encoding, self.step = windows, stepper, encoding, step
        self._read: tuple[bytes, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def times(self) -> np.ndarray:
        """When each target is valid."""
        return self.windows.dataset["time"].values[self.windows.starts + self.windows.length - 1]

    @property
    def digest(self) -> str:
        """SHA-256 of the windows."""
        return self.windows.digest

    @property
    def locality(self) -> tuple[int, int] | None:
        """Which cases are read together, of data that is not in memory."""
        return self.windows.locality

    def target(self, rows: np.ndarray) -> np.ndarray:
        """The states that are to be foretold, (n, channels, *axes) in the data's units."""
        return self._windows(rows)[:, :, -1]

    def past(self, rows: np.ndarray) -> Tensor:
        """The states that are known, encoded, (n, history, channels, *axes)."""
        return self.encoded(self._windows(rows)[:, :, : -self.step : self.step])

    def given(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What the stepper makes of the past, but for the mask, which the target's own missing values are."""
        assert self.stepper is not None, "cases that a regression is fitted to are told nothing"
        told = self.stepper.condition(self.past(rows), self.times[np.asarray(rows, dtype=np.int64)])
        return {name: values.numpy() for name, values in told.items() if name != "mask"}

    def encoded(self, values: np.ndarray) -> Tensor:
        """Values (n, channels, times, *axes) as states (n, times, channels, *axes)."""
        flat = np.moveaxis(values, 2, 1)
        return self.encoding.encode(flat.reshape(-1, *flat.shape[2:])).reshape(flat.shape)

    def _windows(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if self._read is None or self._read[0] != rows.tobytes():
            # a batch asks for target and past, one after the other
            self._read = rows.tobytes(), self.windows.target(rows)
        return self._read[1]


@dataclass(frozen=True)
class Fitted:
    """What the training part tells: the scaling, and what a step is told by."""

    scaling: Scaling
    stepper: Stepper


def fitted(windows: WindowCases, layout: Layout, scaling: Scaling, options: Mapping[str, Any], told: Any) -> Fitted:
    """The stepper of a training part, and the scaling by which what is left to be foretold has deviation 1.

    Encoded numbers are multiplied, channel by channel, so that the error of what the belief is centred about has
    deviation 1: slow and fast variables then weigh the same, and noise levels need no tuning to the data. ``told``:
    (maps (k, *axes), cycles of the clock).
    """
    bare = ForecastCases(windows, None, ClimateEncoding("forecast", layout, scaling), options["step"])
    regression = fit_regression(bare, options["history"], options["radius"], options["degree"])

    def centred(past: Tensor) -> Tensor:
        if options["centre"] == "none":
            return torch.zeros_like(past[:, -1])
        return regression(past.nan_to_num(0.0)) if options["centre"] == "regression" else past[:, -1]

    sums = torch.zeros(4, layout.shape[0], dtype=torch.float64)
    missing = torch.ones(layout.shape, dtype=torch.bool)
    for past, target in _pairs(bare, _spread(len(windows), _MEASURED)):
        missing &= target.isnan().all(0)
        for place, values in enumerate((target - centred(past), target, target - past[:, -1])):
            sums[place] += _by_channel(values.double().nan_to_num(0.0).square())
        sums[3] += _by_channel(target.isfinite().double())
    error, states, changes = (sums[:3] / sums[3].clamp(min=1)).sqrt().unbind()
    if not bool((error > 1e-6 * states).all()):
        raise InputError(
            "the regression makes no error in the training part: nothing is left to chance; look at the data, or take "
            "data.centre=last"
        )
    factors = (1 / error).numpy()
    scales = torch.stack((states, changes.clamp(min=1e-6))) / error
    maps, clock = told
    never = missing if bool(missing.any()) else None
    stepper = Stepper(options["history"], regression.multiplied(factors), options["centre"], scales, maps, clock, never)
    return Fitted(multiplied(scaling, factors), stepper)


def fit_regression(cases: ForecastCases, history: int, radius: int, degree: int) -> StencilForecast:
    """The regression of the cases' targets on their past, in encoded numbers; see ``StencilForecast``."""
    layout = cases.encoding.layout
    radii = tuple(radius if _is_space(axis.name, axis.values) else 0 for axis in layout.axes)
    periodic = tuple(axis.periodic for axis in layout.axes)
    weights = count_monomials(history, layout.shape[0], radii, degree)
    places = int(np.prod(layout.shape[1:]))
    rows = _spread(len(cases), max(10, min(_EQUATIONS, _PRODUCTS // weights) // places))
    squares, bound = torch.zeros(2, layout.shape[0], dtype=torch.float64), torch.zeros(layout.shape[0])
    for _, target in _pairs(cases, rows):
        squares[0] += _by_channel(target.double().nan_to_num(0.0).square())
        squares[1] += _by_channel(target.isfinite().double())
        bound = torch.maximum(bound, target.nan_to_num(0.0).abs().transpose(0, 1).flatten(1).amax(1))
    scale = (squares[0] / squares[1].clamp(min=1)).sqrt().clamp(min=1e-6).numpy()
    size = max(1, _NUMBERS // (places * weights))
    return fit_stencil(_pairs(cases, rows, size), scale, bound.double().numpy() / scale, radii, periodic, degree)


def residuals(cases: ForecastCases, regression: StencilForecast, most: int) -> Tensor:
    """Errors of a regression, encoded float64 (n, channels, *axes), of at most so many cases spread evenly."""
    found = [target - regression(past.nan_to_num(0.0)) for past, target in _pairs(cases, _spread(len(cases), most))]
    return torch.cat(found).double().nan_to_num(0.0)


def _pairs(cases: ForecastCases, rows: np.ndarray, size: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
    for first in range(0, len(rows), size):
        some = rows[first : first + size]
        yield cases.past(some), cases.encoding.encode(cases.target(some))


def _by_channel(values: Tensor) -> Tensor:
    return values.transpose(0, 1).flatten(1).sum(1)


def _spread(count: int, most: int) -> np.ndarray:
    """So many of the rows at most, evenly."""
    return evenly(count, max(1, most))


def _is_space(name: str, values: Sequence[Any]) -> bool:
    """Whether neighbours along the axis are neighbours in space."""
    return name not in ("station", "member") and all(isinstance(value, int | float) for value in values)
