"""What windows of weather are like: quantiles, tails, memory, spectrum and covariance; and rivals that draw some."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.climate.layout import Layout

LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_TAILS = (0.99, 0.999)
_MOST_ROWS = 2000  # of windows, for a fitted Gaussian: its covariance has no higher rank
_WIDEST = 1024  # numbers of a window, beyond which covariances are of places chosen evenly


def autocorrelation(windows: np.ndarray, layout: Layout) -> np.ndarray:
    r"""By channel over all places, :math:`\sum x_0x_l/\sqrt{\sum x_0^2\sum x_l^2}` of departures, (channels, lags)."""
    if "lead" not in layout.names:
        return np.zeros((windows.shape[1], 0))
    away = windows - windows.mean(axis=0, keepdims=True)
    away = np.moveaxis(away, 2 + layout.names.index("lead"), 2).reshape(*windows.shape[:2], -1, _places(layout))
    sums = np.einsum("ncp,nclp->cl", away[:, :, 0], away)
    squares = np.square(away).sum(axis=(0, 3))
    return (sums / np.sqrt(squares[:, :1] * squares))[:, 1:]


def spectrum(windows: np.ndarray, layout: Layout) -> np.ndarray:
    """Mean squared amplitude of the departures by wavenumber (from 1) along the last axis of space, (channels, k)."""
    space = [place for place, axis in enumerate(layout.axes) if axis.name not in ("lead", "station")]
    if not space or len(layout.axes[space[-1]]) < 4:
        return np.zeros((windows.shape[1], 0))
    away = np.moveaxis(windows - windows.mean(axis=0, keepdims=True), 2 + space[-1], -1)
    power = np.square(np.abs(np.fft.rfft(away, axis=-1)))[..., 1:] / away.shape[-1]
    return power.mean(axis=(0, *range(2, power.ndim - 1)))


def covariance(windows: np.ndarray) -> np.ndarray:
    """Between all numbers of a window, or so many of them chosen evenly, (d, d)."""
    flat = windows.reshape(len(windows), -1)
    if flat.shape[1] > _WIDEST:
        flat = flat[:, np.linspace(0, flat.shape[1] - 1, _WIDEST).round().astype(int)]
    return np.atleast_2d(np.cov(flat, rowvar=False))


@dataclass(frozen=True)
class Distance:
    """A measure of windows against others: from scaled windows of both, of one layout, to a number."""

    name: str
    of: Callable[[np.ndarray, np.ndarray, Layout], float]
    unit: str
    note: str


def _of_quantiles(one: np.ndarray, other: np.ndarray, layout: Layout) -> float:
    return float(np.abs(_quantiles(one) - _quantiles(other)).mean())


def _quantiles(windows: np.ndarray) -> np.ndarray:
    """By channel, (channels, levels)."""
    flat = np.moveaxis(windows.reshape(*windows.shape[:2], -1), 1, 0).reshape(windows.shape[1], -1)
    return np.quantile(flat, LEVELS, axis=1).T


def _of_tails(one: np.ndarray, other: np.ndarray, layout: Layout) -> float:
    told = []
    for channel in range(one.shape[1]):
        here, there = one[:, channel].ravel(), other[:, channel].ravel()
        for level in _TAILS:
            low, high = np.quantile(there, [1 - level, level])
            # half an event more on either side: a tail that was never met counts as little, not as nothing
            told += [
                np.log((float((here > high).sum()) + 0.5) / (len(here) + 1) / (1 - level)),
                np.log((float((here < low).sum()) + 0.5) / (len(here) + 1) / (1 - level)),
            ]
    return float(np.abs(told).mean())


def _of_memory(one: np.ndarray, other: np.ndarray, layout: Layout) -> float:
    return float(np.abs(autocorrelation(one, layout) - autocorrelation(other, layout)).mean())


def _of_spectrum(one: np.ndarray, other: np.ndarray, layout: Layout) -> float:
    return float(np.abs(np.log(spectrum(one, layout) / spectrum(other, layout))).mean())


def _of_covariance(one: np.ndarray, other: np.ndarray, layout: Layout) -> float:
    there = covariance(other)
    return float(np.linalg.norm(covariance(one) - there) / np.linalg.norm(there))


def _of_maxima(one: np.ndarray, other: np.ndarray, layout: Layout) -> float:
    levels = (np.arange(200) + 0.5) / 200
    told = []
    for channel in range(one.shape[1]):
        here, there = (each[:, channel].reshape(len(each), -1).max(axis=1) for each in (one, other))
        told.append(np.abs(np.quantile(here, levels) - np.quantile(there, levels)).mean())
    return float(np.mean(told))


def distances_for(layout: Layout) -> list[Distance]:
    """Those that this layout has the axes for."""
    deviations = "climatological deviations"
    found = [
        Distance("quantile-error", _of_quantiles, deviations, "Mean distance of 11 quantiles from 0.1 to 99.9 %"),
        Distance(
            "tail-error",
            _of_tails,
            "nats",
            "Mean |log ratio| of how often the observed 0.1, 1, 99 and 99.9 % quantiles are passed",
        ),
        Distance("maximum-error", _of_maxima, deviations, "Wasserstein distance of the windows' maxima"),
    ]
    if int(np.prod(layout.shape)) > 1:
        found.append(
            Distance("covariance-error", _of_covariance, "1", "Of all numbers of a window, Frobenius, relative")
        )
    if "lead" in layout.names:
        found.append(Distance("autocorrelation-error", _of_memory, "1", "Mean over the window's lags"))
    if spectrum(np.zeros((1, *layout.shape)), layout).shape[1]:
        found.append(Distance("spectrum-error", _of_spectrum, "nats", "Mean |log ratio| over the wavenumbers"))
    return found


def gaussian_windows(training: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Windows of the Gaussian with the training windows' mean and covariance, (count, ...): any linear model's best."""
    from unstir.metrics.baselines import gaussian

    rows = np.linspace(0, len(training) - 1, min(len(training), _MOST_ROWS)).round().astype(int)
    return gaussian(torch.from_numpy(training[rows]), Seeds.range(seed, count).at("generate")).numpy()


def scaled(states: Mapping[str, np.ndarray], encode: Callable[[np.ndarray], Tensor]) -> dict[str, np.ndarray]:
    """By name, windows in the data's units as encoded float64 numbers."""
    return {name: encode(values).double().numpy() for name, values in states.items()}


def _places(layout: Layout) -> int:
    return int(np.prod([len(axis) for axis in layout.axes if axis.name != "lead"]))
