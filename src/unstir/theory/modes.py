r"""Modes that blur: how many peaks a law on the line has, and at which time two of them become one.

Under Gaussian noise peaks of a density on the line only ever merge, never split, so their number falls with time.
Two equal components of variance s^2 a distance d apart merge at the signal-to-noise ratio
:math:`\alpha^2/\sigma^2 = 4/(d^2 - 4s^2)`.

Reference: Silverman, Using kernel density estimates to investigate multimodality (1981), theorem; Babaud, Witkin,
Baudin, Duda, Uniqueness of the Gaussian kernel for scale-space filtering (1986).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.base import EuclideanDenoiser
from unstir.theory.forward_law import line_shape
from unstir.theory.reverse_time import schedule_of

_PARTS = 32  # pieces into which an interval is cut at a time: one call of the score serves all intervals
_CELLS = 2000
_DRAWS = 4096


@dataclass(frozen=True)
class Modes:
    """The stationary points of a density on the line: ``peaks`` (n,) rising, and the ``troughs`` between them."""

    peaks: Tensor
    troughs: Tensor

    def __len__(self) -> int:
        return len(self.peaks)


@dataclass(frozen=True)
class Merging:
    """Where forward in time the number of peaks falls from ``before`` to ``after``: the time and its log-SNR."""

    time: float
    log_snr: float
    before: int
    after: int


def modes_of(
    denoiser: EuclideanDenoiser,
    t: Tensor | float | int,
    lower: float | int | None = None,
    upper: float | int | None = None,
    cells: int = _CELLS,
) -> Modes:
    """All peaks and troughs of p_t between ``lower`` and ``upper``, to rounding; of a law on the line.

    Between two zeros of its derivative the score crosses zero at most once. So these zeros are found first, from a
    scan in ``cells`` steps in which each near miss is looked at more closely; then the score is bracketed in every
    piece. By default the bounds are alpha times the range of 4096 draws of the data, with a quarter of it to spare.

    Raises InputError if the law is not on the line.
    """
    schedule_of(denoiser)
    low, high = _bounds(denoiser, t, _clean_range(denoiser)) if lower is None or upper is None else (0.0, 0.0)
    low, high = low if lower is None else float(lower), high if upper is None else float(upper)
    score, slope = _score_on_the_line(denoiser, t)
    if not low < high or cells < 8:
        raise InputError(f"lower < upper and at least 8 cells are needed; seen {low}, {high} and {cells}")
    grid = torch.linspace(low, high, cells + 1, dtype=torch.float64)
    bends = _roots(slope, _with_near_misses(slope, grid))
    edges = torch.cat((grid[:1], bends, grid[-1:]))
    signs = score(edges)
    zeros = _roots(score, edges)
    # along a rising line the score falls through zero at a peak, and rises through it at a trough
    after = torch.searchsorted(edges, zeros).clamp(1, len(edges) - 1)
    falls = signs[after - 1] > signs[after]
    return Modes(zeros[falls], zeros[~falls])


def merging_times(
    denoiser: EuclideanDenoiser,
    log_snr: tuple[float | int, float | int] = (12.0, -12.0),
    tolerance: float = 1e-6,
    cells: int = _CELLS,
) -> list[Merging]:
    """Every time at which peaks of p_t merge, earliest first, between two log-SNR (kept within the schedule's range).

    The number of peaks only falls, so halving finds every merging, to ``tolerance`` in log-SNR.
    """
    schedule = schedule_of(denoiser)
    high, low = max(log_snr), max(min(log_snr), float(schedule.log_snr(1.0)))
    if not high > low or tolerance <= 0:
        raise InputError(f"two log-SNR within the schedule's range and a positive tolerance are needed; seen {log_snr}")

    clean = _clean_range(denoiser)

    def count(level: float) -> int:
        t = float(schedule.time(level))
        return len(modes_of(denoiser, t, *_bounds(denoiser, t, clean), cells))

    found: list[Merging] = []
    open_ends = [(high, count(high), low, count(low))]
    while open_ends:
        early, many, late, few = open_ends.pop()
        middle = (early + late) / 2
        if many == few:
            continue
        if early - late < tolerance:
            found.append(Merging(float(schedule.time(middle)), middle, many, few))
            continue
        between = count(middle)
        open_ends += [(early, many, middle, between), (middle, between, late, few)]
    return sorted(found, key=lambda merging: merging.time)


def merging_log_snr(distance: float | int, deviation: float | int) -> float:
    """The log-SNR at which two equal normal components, so far apart and so wide, become one: log 4/(d^2 - 4s^2)."""
    gap = distance**2 - 4 * deviation**2
    if gap <= 0:
        raise InputError(
            f"two equal components are one peak from the start unless they are more than two deviations apart; "
            f"seen the distance {distance} and the deviation {deviation}"
        )
    return math.log(4 / gap)


def _score_on_the_line(
    denoiser: EuclideanDenoiser, t: Tensor | float
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The score and its derivative as functions of places (n,)."""
    shape = line_shape(denoiser)

    def score(places: Tensor) -> Tensor:
        with torch.no_grad():
            return denoiser.score(places.reshape(-1, *shape), t).reshape(places.shape)

    def slope(places: Tensor) -> Tensor:
        with torch.enable_grad():
            x = places.detach().reshape(-1, *shape).requires_grad_()
            (derivative,) = torch.autograd.grad(denoiser.score(x, t).sum(), x)
        return derivative.reshape(places.shape)

    return score, slope


def _clean_range(denoiser: EuclideanDenoiser) -> tuple[float, float]:
    drawn = denoiser.draw(Seeds.range(0, _DRAWS).at("bounds"))
    low, high = float(drawn.min()), float(drawn.max())
    return low - (high - low) / 4, high + (high - low) / 4


def _bounds(denoiser: EuclideanDenoiser, t: Tensor | float | int, clean: tuple[float, float]) -> tuple[float, float]:
    """Where the score is zero x = alpha E[x_0|x], so all peaks lie within alpha times the range of the data."""
    schedule = denoiser.process.schedule
    alpha, spare = float(schedule.alpha(t)), 1e-3 * min(float(schedule.sigma(t)), 1e12)
    return alpha * clean[0] - spare, alpha * clean[1] + spare


def _with_near_misses(function: Callable[[Tensor], Tensor], grid: Tensor) -> Tensor:
    """The grid and, between its points, the places where the function comes closest to a zero that it may cross."""
    values = function(grid)
    size = values.abs()
    dips = (size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:])
    dips &= (values[1:-1].sign() == values[:-2].sign()) & (values[1:-1].sign() == values[2:].sign())
    left, right = grid[:-2][dips], grid[2:][dips]
    if not len(left):
        return grid
    towards = values[1:-1][dips].sign()[:, None]
    rows = torch.arange(len(left))
    for _ in range(7):  # each time the interval shrinks sixteenfold; the bottom is flat, so half the digits suffice
        places = _cut(left, right)
        lowest = (towards * function(places)).argmin(1).clamp(1, _PARTS - 1)
        left, right = places[rows, lowest - 1], places[rows, lowest + 1]
    return torch.cat((grid, (left + right) / 2)).unique()


def _roots(function: Callable[[Tensor], Tensor], edges: Tensor) -> Tensor:
    """A zero in each interval between rising ``edges`` at whose two ends the function has different signs."""
    signs = function(edges).sign()
    crossed = signs[:-1] * signs[1:] < 0
    left, right, before = edges[:-1][crossed], edges[1:][crossed], signs[:-1][crossed]
    rows = torch.arange(len(left))
    for _ in range(11 if len(left) else 0):
        places = _cut(left, right)
        beyond = function(places).sign() != before[:, None]
        beyond[:, 0], beyond[:, -1] = False, True
        first = beyond.int().argmax(1)
        left, right = places[rows, first - 1], places[rows, first]
    # a zero that lies on an edge itself is crossed where the sign differs on its two sides
    on_edge = (signs[1:-1] == 0) & (signs[:-2] * signs[2:] < 0)
    return torch.cat(((left + right) / 2, edges[1:-1][on_edge])).sort().values


def _cut(left: Tensor, right: Tensor) -> Tensor:
    """The ends and the places between that cut each interval into equal parts, (n, parts + 1)."""
    share = torch.linspace(0, 1, _PARTS + 1, dtype=torch.float64)
    places = left[:, None] + (right - left)[:, None] * share
    places[:, -1] = right
    return places
