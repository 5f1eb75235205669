r"""Extreme values: laws of block maxima and of peaks over a threshold, return levels and return periods."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, special

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds

__all__ = ["block_maxima", "decluster", "peaks_over_threshold", "return_levels"]

_FEWEST = 10  # values that three numbers are fitted to
_FLAT = 1e-7  # a shape nearer to zero is zero
_STEEPEST = -1.0  # below this shape the likelihood knows no bounds


@dataclass(frozen=True)
class ReturnLevels:
    r"""A fitted law of extremes: levels that are passed once in so many periods in the mean.

    ``kind``: ``maxima`` (generalised extreme value law, one value a period) or ``peaks`` (generalised Pareto law above
    the threshold ``location``, ``rate`` peaks a period). With a positive ``shape`` the tail is heavy, with a negative
    one it ends. ``values``: what was fitted to, sorted. Units are the data's.
    """

    kind: str
    location: float
    scale: float
    shape: float
    rate: float
    values: np.ndarray

    def level(self, period: Any) -> np.ndarray:
        r"""The level of a return period T (in the periods that the data was cut into), of its shape.

        Maxima: the quantile of :math:`1-1/T`. Peaks: :math:`u+\frac\sigma\xi\bigl((\lambda T)^\xi-1\bigr)`. Raises
        InputError for periods that are not longer than one block, or than what lies between two peaks.
        """
        period = np.asarray(period, dtype=np.float64)
        if not (period * self.rate > 1).all():
            raise InputError(f"a return period is longer than {1 / self.rate:g}; seen {period.min():g}")
        with np.errstate(divide="ignore"):
            reduced = -np.log(-np.log1p(-1 / period)) if self.kind == "maxima" else np.log(self.rate * period)
        return np.asarray(self.location + self.scale * _stretched(reduced, self.shape))

    def period(self, level: Any) -> np.ndarray:
        """The return period of a level, infinite beyond the tail's end; InputError for levels below the threshold."""
        away = (np.asarray(level, dtype=np.float64) - self.location) / self.scale
        if self.kind == "peaks" and (away < 0).any():
            raise InputError(f"levels below the threshold {self.location:g} are passed without being peaks")
        reduced = _reduced(away, self.shape)
        with np.errstate(divide="ignore", over="ignore"):
            if self.kind == "maxima":
                return np.asarray(1 / -np.expm1(-np.exp(-reduced)))
            return np.asarray(np.exp(reduced) / self.rate)

    def observed(self) -> tuple[np.ndarray, np.ndarray]:
        """The values fitted to and their own return periods, by Weibull's plotting positions i/(n + 1)."""
        count = len(self.values)
        return 1 / (self.rate * (1 - np.arange(1, count + 1) / (count + 1))), self.values

    def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Values of the law, (count,)."""
        exponential = generator.exponential(size=count)
        reduced = -np.log(exponential) if self.kind == "maxima" else exponential
        return self.location + self.scale * _stretched(reduced, self.shape)

    def interval(
        self, periods: Any, seeds: Seeds, replicates: int = 200, level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends for the levels of ``periods``, by the parametric bootstrap's quantiles.

        The number of peaks varies as Poisson's law has it. Reference: Davison, Hinkley, Bootstrap methods and their
        application (1997), section 5.3; Coles, An introduction to statistical modeling of extreme values (2001).
        """
        if replicates < 2 or not 0 < level < 1:
            raise InputError(f"two replicates and a level between 0 and 1 are needed; seen {replicates} and {level}")
        generator, found = seeds.at("return levels").generator(), []
        count = len(self.values)
        for _ in range(replicates):
            size = count if self.kind == "maxima" else max(_FEWEST, int(generator.poisson(count)))
            drawn = self.draw(size, generator)
            again = _fitted(self.kind, drawn, self.location, self.rate * size / count)
            with np.errstate(invalid="ignore"):
                usable = np.asarray(periods, dtype=np.float64).clip(min=(1 + 1e-9) / again.rate)
            found.append(again.level(usable))
        low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def return_levels(maxima: Any) -> ReturnLevels:
    r"""The generalised extreme value law of block maxima (n,), such as yearly ones, by maximum likelihood.

    :math:`P(X\le x)=\exp\bigl(-(1+\xi(x-\mu)/\sigma)^{-1/\xi}\bigr)`; the search starts from the L-moments' estimate.
    Its ``level`` and ``period`` tell return levels and periods in blocks. NaN is left out.

    Raises InputError for fewer than ten values, or values that are all equal.

    Reference: Coles, An introduction to statistical modeling of extreme values (2001), section 3.3; Hosking, L-moments:
    analysis and estimation of distributions using linear combinations of order statistics (1990).
    """
    return _fitted("maxima", _checked(maxima), math.nan, 1.0)


def peaks_over_threshold(peaks: Any, threshold: float, periods: float) -> ReturnLevels:
    r"""The generalised Pareto law of peaks above a threshold, by maximum likelihood, with their rate.

    :math:`P(X>x|X>u)=(1+\xi(x-u)/\sigma)^{-1/\xi}`; ``peaks`` (n,) should be independent (``decluster``), those that
    are not above the ``threshold`` are left out. ``periods``: how many periods (years, say) the data covers.

    Raises InputError for fewer than ten peaks above the threshold, equal ones, or periods that are not positive.

    Reference: Davison, Smith, Models for exceedances over high thresholds (1990); Coles (2001), section 4.3.
    """
    if not (math.isfinite(threshold) and math.isfinite(periods) and periods > 0):
        raise InputError(f"a threshold and a positive number of periods are needed; seen {threshold} and {periods}")
    values = np.asarray(peaks, dtype=np.float64).ravel()
    values = _checked(values[values > threshold])
    return _fitted("peaks", values, float(threshold), len(values) / periods)


def block_maxima(values: Any, blocks: Any) -> np.ndarray:
    """The largest value of each block, float64 (k,), in the blocks' order.

    ``values`` (n,); ``blocks``: the block that each belongs to (n,), such as years, or how many values in a row make
    one (those left at the end are dropped). NaN is left out; a block of nothing else is dropped.

    Raises InputError for blocks of another number than the values, or none.

    Reference: Coles, An introduction to statistical modeling of extreme values (2001), section 3.1.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if isinstance(blocks, int | np.integer):
        if not 1 <= blocks <= len(values):
            raise InputError(f"a block holds 1 to {len(values)} values, which are all; seen {blocks}")
        values = values[: len(values) // blocks * blocks]
        blocks = np.arange(len(values)) // blocks
    blocks = np.asarray(blocks).ravel()
    if len(blocks) != len(values):
        raise InputError(f"{len(values)} values need as many blocks that they belong to; seen {len(blocks)}")
    seen = ~np.isnan(values)
    names, place = np.unique(blocks[seen], return_inverse=True)
    found = np.full(len(names), -np.inf)
    np.maximum.at(found, place, values[seen])
    return found


def decluster(values: Any, threshold: float, run: int) -> np.ndarray:
    """The peaks of a series over a threshold: the largest value of each cluster, float64 (k,).

    A cluster ends when ``run`` values in a row are not above the threshold (NaN counts as such).

    Raises InputError for a run of less than one.

    Reference: Coles, An introduction to statistical modeling of extreme values (2001), section 5.3.2; Smith, Weissman,
    Estimating the extremal index (1994), for the runs.
    """
    if run < 1:
        raise InputError(f"a cluster ends after one value at least below the threshold; seen {run}")
    values = np.asarray(values, dtype=np.float64).ravel()
    above = np.flatnonzero(values > threshold)
    if not len(above):
        return np.zeros(0)
    cluster = np.concatenate(([0], np.cumsum(np.diff(above) > run)))
    return block_maxima(values[above], cluster)


def _checked(values: Any) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64).ravel()
    values = np.sort(values[~np.isnan(values)])
    if len(values) < _FEWEST or not np.isfinite(values).all() or values[0] == values[-1]:
        raise InputError(
            f"a law of extremes is fitted to {_FEWEST} finite values at least, not all equal; seen {len(values)}: take "
            "shorter blocks or a lower threshold"
        )
    return values


def _stretched(reduced: Any, shape: float) -> np.ndarray:
    """(exp(shape * reduced) - 1)/shape."""
    return np.asarray(reduced if abs(shape) < _FLAT else np.expm1(shape * np.asarray(reduced)) / shape)


def _reduced(away: Any, shape: float) -> np.ndarray:
    """log(1 + shape * away)/shape, its inverse: infinite beyond the law's end."""
    if abs(shape) < _FLAT:
        return np.asarray(away)
    inner = 1 + shape * np.asarray(away)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(inner > 0, np.log(np.maximum(inner, 0)) / shape, -math.inf if shape > 0 else math.inf)


def _fitted(kind: str, values: np.ndarray, threshold: float, rate: float) -> ReturnLevels:
    """By maximum likelihood, of values in units of their own spread, from L-moments on."""
    values = np.sort(values)
    peaks = kind == "peaks"
    shift = threshold if peaks else float(values.mean())
    unit = float(values.std())
    scaled = (values - shift) / unit
    first, second, skewness = _l_moments(scaled)
    start = _start_of_peaks(first, second) if peaks else _start_of_maxima(first, second, skewness)

    def loss(numbers: Any) -> float:
        location, log_scale, shape = (0.0, *numbers) if peaks else numbers
        if shape <= _STEEPEST or abs(log_scale) > 50:
            return math.inf
        inner = _reduced((scaled - location) / math.exp(log_scale), shape)
        if not np.isfinite(inner).all():
            return math.inf
        total = log_scale + (1 + shape) * inner.mean()
        return total if peaks else float(total + np.exp(-inner).mean())

    origin = np.array([math.log(start[1]), start[2]] if peaks else [start[0], math.log(start[1]), start[2]])
    if not math.isfinite(loss(origin)):  # the estimate's tail ends below a value: an exponential one does not
        origin = np.array([math.log(first), 0.0] if peaks else [first - 0.5772 * second / math.log(2), 0.0, 0.0])
        origin[-2] = math.log(first if peaks else second / math.log(2))
    found = optimize.minimize(
        loss, origin, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-11, "maxiter": 2000}
    ).x
    location, log_scale, shape = (0.0, *found) if peaks else found
    made = ReturnLevels(kind, shift + unit * location, unit * math.exp(log_scale), float(shape), rate, values)
    return replace(made, location=threshold) if peaks else made


def _l_moments(ordered: np.ndarray) -> tuple[float, float, float]:
    """Mean, L-scale and L-skewness of sorted values, without bias."""
    count = len(ordered)
    place = np.arange(count)
    b0 = ordered.mean()
    b1 = (place / (count - 1) * ordered).mean()
    b2 = (place * (place - 1) / ((count - 1) * (count - 2)) * ordered).mean()
    second = 2 * b1 - b0
    return float(b0), float(second), float((6 * b2 - 6 * b1 + b0) / second)


def _start_of_maxima(first: float, second: float, skewness: float) -> tuple[float, float, float]:
    """Hosking, Wallis, Wood, Estimation of the generalized extreme-value distribution (1985)."""
    c = 2 / (3 + skewness) - math.log(2) / math.log(3)
    k = 7.8590 * c + 2.9554 * c * c
    if abs(k) < 1e-4:
        scale = second / math.log(2)
        return first - 0.57721566 * scale, scale, 0.0
    gamma = float(special.gamma(1 + k)) if k > -1 else math.inf
    scale = second * k / ((1 - 2**-k) * gamma)
    return first - scale * (1 - gamma) / k, scale, -k


def _start_of_peaks(first: float, second: float) -> tuple[float, float, float]:
    """Hosking, Wallis, Parameter and quantile estimation for the generalized Pareto distribution (1987)."""
    k = first / second - 2
    return 0.0, (1 + k) * first, -k
