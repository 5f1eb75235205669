r"""Diffusivity from trajectories, with its uncertainty.

Positions are measured at equal intervals dt, each averaged over an exposure and with a localisation error of
variance s^2 per axis. Increments of one axis are then normal, with the covariance
:math:`c_0 = 2D\,dt\,(1 - 2R) + 2s^2` on the diagonal and :math:`c_1 = 2D\,dt\,R - s^2` beside it: everything
here follows from these two numbers. R, from 0 to 1/4, is the motion blur: 0 of instants, 1/6 of an exposure
that lasts the whole interval.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.physics.stochastic_process import check_number
from unstir.physics.units import dimensions

__all__ = ["anomalous_exponent", "estimate_diffusivity", "mean_squared_displacement"]

METHODS = ("likelihood", "covariance", "displacements")


@dataclass(frozen=True)
class DiffusivityEstimate:
    """A diffusivity (length^2/time) and the variance of one axis's localisation error (length^2), with standard errors.

    The variance is an estimate, and may come out negative where the truth is near zero.
    """

    diffusivity: Any
    standard_error: Any
    localisation_variance: Any
    localisation_standard_error: Any


@dataclass(frozen=True)
class ExponentEstimate:
    """The exponent of the mean-squared displacement in the time, and its standard error (NaN of a single path)."""

    exponent: float
    standard_error: float


@dimensions("length**2", paths="length")
def mean_squared_displacement(paths: Any, longest: int | None = None, average: str = "time-and-paths") -> Tensor:
    r"""Mean-squared displacement of trajectories at the lags 0, 1, ..., ``longest`` steps, by fast Fourier transform.

    ``paths`` (length) has the shape (paths, steps + 1) or (paths, steps + 1, d); squares are summed over the axes.
    The result (length^2) is (lags,): ``average`` over time and paths, or over ``paths`` from the start only; or
    (paths, lags) over ``time`` only. Brownian motion has 2 d D t.

    Reference: Calandrini, Pellegrini, Calligari, Hinsen, Kneller, nMoldyn, Collection SFN 12 (2011) 201, section 4.2.
    """
    if average not in (allowed := ("time-and-paths", "time", "paths")):
        raise unknown("average", average, allowed)
    x = _positions(paths)
    count = x.shape[1]
    longest = count - 1 if longest is None else longest
    if not 1 <= longest < count:
        raise InputError(f"the longest lag must be 1 to {count - 1} steps; seen {longest}")
    x = x - x[:, :1]
    squares = x.square().sum(2)
    if average == "paths":
        return squares[:, : longest + 1].mean(0)
    # mean of |x(m+k)|^2 + |x(m)|^2 - 2 x(m+k) x(m) over m: two running sums and an autocorrelation
    spectrum = torch.fft.rfft(x, n=2 * count, dim=1).abs().square().sum(2)
    correlation = torch.fft.irfft(spectrum, n=2 * count, dim=1)[:, : longest + 1]
    before = torch.cat((torch.zeros_like(squares[:, :1]), squares.cumsum(1)), dim=1)
    lags = torch.arange(longest + 1, device=x.device)
    sums = before[:, count - lags] + before[:, -1:] - before[:, lags]
    per_path = ((sums - 2 * correlation) / (count - lags)).clamp(min=0)
    per_path[:, 0] = 0
    return per_path if average == "time" else per_path.mean(0)


def estimate_diffusivity(
    paths: Any, dt: Any, method: str = "likelihood", motion_blur: float | int = 0.0, localisation_variance: Any = None
) -> DiffusivityEstimate:
    r"""Diffusivity D from trajectories, dX = sqrt(2 D) dW, with its standard error; by one of three methods.

    ``paths`` (length) are (paths, steps + 1) or (paths, steps + 1, d), of independent axes without drift; ``dt``
    (time) is the interval between two positions. ``localisation_variance`` (length^2, per axis) is given where it is
    known, and estimated too where it is not. ``motion_blur`` is R, 0 to 1/4: 1/6 of a shutter
    that is always open.

    - ``likelihood``: maximum likelihood. The sine transform makes the increments independent, exactly; reaches the
      Cramér–Rao bound as trajectories grow.
    - ``covariance``: D = <dx^2>/2dt + <dx dx'>/dt with dx' the next increment; no iteration, no bias of any size.
    - ``displacements``: generalised least squares on the mean-squared displacement at short lags, with its exact
      covariance.

    The standard errors are those of normal increments at the estimate.

    Reference: Berglund, Physical Review E 82 (2010) 011917; Vestergaard, Blainey, Flyvbjerg, Physical Review E 89
    (2014) 022726; Qian, Sheetz, Elson, Biophysical Journal 60 (1991) 910; Michalet, Physical Review E 82 (2010) 041914.
    """
    return DiffusivityEstimate(*_estimate(paths, dt, method, motion_blur, localisation_variance))


def anomalous_exponent(paths: Any, shortest: int = 1, longest: int | None = None) -> ExponentEstimate:
    r"""The exponent a of a mean-squared displacement that grows as t^a: 1 is normal, less is sub-, more superdiffusion.

    The slope of log MSD against log lag, by least squares on lags spaced by factors of about 2^½ from ``shortest`` to
    ``longest`` steps (a tenth of the trajectory), averaged over time and paths. The standard error is that of the
    jackknife over paths, whatever their law. A localisation error bends the line at short lags: start beyond it.

    ``paths`` are (paths, steps + 1) or (paths, steps + 1, d), in any unit.

    Reference: Metzler, Jeon, Cherstvy, Barkai, Physical Chemistry Chemical Physics 16 (2014) 24128; jackknife: Efron,
    Stein, Annals of Statistics 9 (1981) 586.
    """
    x = _positions(getattr(paths, "magnitude", paths))
    longest = max(shortest + 1, (x.shape[1] - 1) // 10) if longest is None else longest
    if not 1 <= shortest < longest < x.shape[1]:
        raise InputError(
            f"lags must satisfy 1 <= shortest < longest <= {x.shape[1] - 1} steps; seen {shortest} and {longest}"
        )
    lags = np.unique(np.round(np.geomspace(shortest, longest, 2 + int(2 * math.log2(longest / shortest)))).astype(int))
    each = mean_squared_displacement(x, longest, "time").cpu().numpy()[:, lags]
    centred = np.log(lags) - np.log(lags).mean()
    weights = centred / (centred @ centred)
    count, total = len(each), each.sum(0)
    if not (total > 0).all():
        raise InputError("the paths do not move: there is no exponent to tell")
    exponent = float(weights @ np.log(total))
    if count == 1:
        return ExponentEstimate(exponent, math.nan)
    without = np.log(np.maximum(total - each, 1e-300)) @ weights
    return ExponentEstimate(exponent, math.sqrt((count - 1) * without.var()))


@dimensions(
    ("length**2/time", "length**2/time", "length**2", "length**2"),
    paths="length",
    dt="time",
    localisation_variance="length**2",
)
def _estimate(
    paths: Any, dt: Any, method: str, motion_blur: float | int, localisation_variance: Any
) -> tuple[float, float, float, float]:
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    check_number(dt, "dt", 0, strict=True)
    check_number(motion_blur, "motion_blur", 0)
    if motion_blur > 0.25:
        raise InputError(f"motion_blur, R, lies within 0 and 1/4; seen {motion_blur}")
    x = _positions(paths).diff(dim=1)
    if x.shape[1] < 3:
        raise InputError(f"trajectories need at least 4 positions; seen {x.shape[1] + 1}")
    if not bool((x != 0).any()):
        raise InputError("the paths do not move: there is no diffusivity to tell")
    increments = x.transpose(1, 2).flatten(0, 1).cpu().numpy()
    known = None
    if localisation_variance is not None:
        check_number(localisation_variance, "localisation_variance", 0)
        known = float(localisation_variance)
    # in units of length^2: the diffusion 2 D dt of one step, and the localisation variance
    model = _Increments(increments.shape[0], increments.shape[1], float(motion_blur))
    estimate = {"likelihood": _likelihood, "covariance": _covariance, "displacements": _displacements}[method]
    spread, localisation, errors = estimate(increments, model, known)
    return (spread / (2 * dt), errors[0] / (2 * dt), localisation, errors[1])


@dataclass(frozen=True)
class _Increments:
    """The law of ``count`` independent series of ``length`` increments each."""

    count: int
    length: int
    blur: float

    def covariances(self, spread: float, localisation: float) -> tuple[float, float]:
        """Of an increment with itself, and with its neighbour; ``spread`` is 2 D dt."""
        return spread * (1 - 2 * self.blur) + 2 * localisation, spread * self.blur - localisation

    def solved(self, c0: float, c1: float) -> np.ndarray:
        """Spread and localisation variance that have these covariances: the inverse of ``covariances``."""
        return np.array([c0 + 2 * c1, self.blur * c0 + (2 * self.blur - 1) * c1])

    def covariance_of_averages(self, c0: float, c1: float) -> np.ndarray:
        """Covariance matrix of the averages of dx^2 and of dx dx', by Wick's theorem."""
        n, m = self.length, self.length - 1
        squares = 2 * (n * c0**2 + 2 * m * c1**2) / n**2
        products = (m * (c0**2 + c1**2) + 2 * (m - 1) * c1**2) / m**2
        mixed = 4 * c0 * c1 / n
        return np.array([[squares, mixed], [mixed, products]]) / self.count


def _covariance(increments: np.ndarray, model: _Increments, known: float | None) -> tuple[float, float, Any]:
    c0 = float(np.mean(increments**2))
    if known is not None:
        spread = (c0 - 2 * known) / (1 - 2 * model.blur)
        variance = model.covariance_of_averages(*_possible(model, spread, known))[0, 0]
        return spread, known, (math.sqrt(variance) / (1 - 2 * model.blur), 0.0)
    c1 = float(np.mean(increments[:, 1:] * increments[:, :-1]))
    spread, localisation = model.solved(c0, c1)
    slopes = np.column_stack((model.solved(1.0, 0.0), model.solved(0.0, 1.0)))
    errors = slopes @ model.covariance_of_averages(*_possible(model, spread, localisation)) @ slopes.T
    return float(spread), float(localisation), np.sqrt(np.diag(errors))


def _likelihood(increments: np.ndarray, model: _Increments, known: float | None) -> tuple[float, float, Any]:
    # tridiagonal Toeplitz matrices share their eigenvectors, the sines: only the eigenvalues hold the parameters
    power = np.mean(fft.dst(increments, type=1, norm="ortho", axis=1) ** 2, axis=0)
    wave = 1 - np.cos(np.arange(1, model.length + 1) * math.pi / (model.length + 1))
    design = np.column_stack((1 - 2 * model.blur * wave, 2 * wave))
    offset = np.zeros(model.length)
    start = np.array(_covariance(increments, model, known)[:2])
    if known is not None:
        design, offset, start = design[:, :1], known * design[:, 1], start[:1]
    start[0] = max(start[0], 1e-3 * power.mean())
    if not (design @ start + offset > 0).all():
        start = np.array([power.mean(), 0.0])[: len(start)]

    def loss(parameters: np.ndarray) -> float:
        spectrum = design @ parameters + offset
        return float(np.sum(np.log(spectrum) + power / spectrum)) if (spectrum > 0).all() else math.inf

    parameters, best = start, loss(start)
    for _ in range(200):
        spectrum = design @ parameters + offset
        weighted = design / spectrum[:, None]
        step = np.linalg.lstsq(weighted, (power - spectrum) / spectrum, rcond=None)[0]
        share = 1.0
        while share > 1e-12 and not (after := loss(parameters + share * step)) <= best:
            share /= 2
        if share <= 1e-12:
            break
        gained, parameters, best = best - after, parameters + share * step, after
        if gained <= 1e-14 * abs(best):
            break
    weighted = design / (design @ parameters + offset)[:, None]
    errors = np.sqrt(np.diag(np.linalg.inv(weighted.T @ weighted)) * 2 / model.count)
    if known is not None:
        return float(parameters[0]), known, (float(errors[0]), 0.0)
    return float(parameters[0]), float(parameters[1]), errors


def _displacements(increments: np.ndarray, model: _Increments, known: float | None) -> tuple[float, float, Any]:
    first = _covariance(increments, model, known)
    least = 1e-3 * float(np.mean(increments**2))
    spread, localisation = max(first[0], least), first[1]
    # the noisier the positions, the more lags tell of D: Michalet's optimum, doubled since the weights are exact
    noise = max(0.0, localisation / spread)
    longest = min(model.length // 2 + 1, 2 * (2 + math.ceil(2.7 * math.sqrt(noise))))
    lags = np.arange(1, longest + 1)
    paths = np.concatenate((np.zeros((model.count, 1)), np.cumsum(increments, axis=1)), axis=1)
    seen = mean_squared_displacement(torch.as_tensor(paths), longest).numpy()[1:]
    design = np.column_stack((lags - 2 * model.blur, np.full(longest, 2.0)))
    terms = _displacement_terms(model.length, longest)
    for _ in range(10):
        c0, c1 = _possible(model, max(spread, least), max(localisation, 0.0))
        covariance = np.tensordot([c0 * c0, c0 * c1, c1 * c1], terms, 1) / model.count
        if known is None:
            information = design.T @ np.linalg.solve(covariance, design)
            after = np.linalg.solve(information, design.T @ np.linalg.solve(covariance, seen))
        else:
            information = design[:, :1].T @ np.linalg.solve(covariance, design[:, :1])
            rest = design[:, :1].T @ np.linalg.solve(covariance, seen - 2 * known)
            after = np.array([(rest / information[0, 0])[0], known])
        moved = abs(after[0] - spread)
        spread, localisation = map(float, after)
        if moved <= 1e-12 * abs(spread):
            break
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    return spread, localisation, (errors if known is None else (float(errors[0]), 0.0))


@cache
def _displacement_terms(length: int, longest: int) -> np.ndarray:
    """What c0^2, c0 c1 and c1^2 contribute to the covariances of the time-averaged squared displacements (Wick)."""
    terms = np.zeros((3, longest, longest))
    for i in range(1, longest + 1):
        for j in range(1, i + 1):
            # windows of i and j increments, the second shifted by -j to i: shared increments, neighbouring pairs
            shared = np.pad(np.convolve(np.ones(i), np.ones(j)), 1)
            beside = np.roll(shared, 1) + np.roll(shared, -1)
            shifts = np.arange(-j, i + 1)
            starts_i, starts_j = length - i + 1, length - j + 1
            pairs = np.maximum(np.minimum(starts_i, starts_j - shifts) - np.maximum(0, -shifts), 0)
            parts = np.stack((shared**2, 2 * shared * beside, beside**2))
            terms[:, i - 1, j - 1] = terms[:, j - 1, i - 1] = 2 * parts @ pairs / (starts_i * starts_j)
    return terms


def _possible(model: _Increments, spread: float, localisation: float) -> tuple[float, float]:
    """The covariances at an estimate, kept to what increments can have: a spectrum above zero."""
    c0, c1 = model.covariances(spread, localisation)
    return c0, float(np.clip(c1, -c0 / 2, c0 / 2))


def _positions(paths: Any) -> Tensor:
    """Float64 (paths, steps + 1, d)."""
    x = torch.as_tensor(paths, dtype=torch.float64)
    x = x[..., None] if x.ndim == 2 else x
    if x.ndim != 3 or x.shape[1] < 2 or 0 in x.shape or not bool(x.isfinite().all()):
        raise InputError(
            f"paths are finite numbers of the shape (paths, steps + 1) or (paths, steps + 1, d), at least one step; "
            f"seen the shape {tuple(x.shape)}"
        )
    return x
