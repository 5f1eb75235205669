"""What trajectories tell: displacements, the diffusivity with its error bars, the exponent."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import stats

from unstir.physics.brownian_motion import BrownianMotion
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import (
    at_most,
    mean_is,
    probable,
    uniform_are,
)

__all__ = ["diffusivity_error_bars", "displacements_by_definition", "exponent_of_fractional_motion"]


@claim("physics", "mean-squared-displacement")
def displacements_by_definition(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Mean-squared displacements are the averages of their definition, and 2 d D t of Brownian motion."""
    seeds, diffusivity, dt = effort.seeds(effort.of(400, 5000), "displacement"), 0.6, 0.25
    start = torch.full((len(seeds), 3), 50.0)
    paths = BrownianMotion.of_diffusivity(diffusivity).simulate(start, np.arange(41) * dt, seeds)
    x = paths.numpy()
    direct = np.array([np.mean(np.square(x[:, k:] - x[:, : 41 - k]).sum(2)) for k in range(41)])
    told = subject(paths).numpy()
    yield at_most("against the sums of the definition, relative", abs(told - direct) / direct.max(), 1e-12)
    each = subject(paths, 10, "time").numpy()
    yield mean_is("time average of each path", each[:, 1:], 6 * diffusivity * dt * np.arange(1, 11))
    from_start = np.square(x - x[:, :1]).sum(2).mean(0)
    yield at_most("average over paths from the start", abs(subject(paths, average="paths").numpy() - from_start), 1e-10)


@claim("physics", "estimate-diffusivity")
def diffusivity_error_bars(subject: Any, effort: Effort) -> Iterator[Measured]:
    """A diffusivity from noisy, blurred trajectories is unbiased, and its error bar covers as often as it tells."""
    groups, paths, length = effort.of((60, 20, 60), (400, 40, 100))
    diffusivity, dt, noise, shutter = 0.7, 0.1, 0.05, 4
    # the mean of `shutter` instants spread over the interval blurs as much as R = (1 - 1/shutter^2)/6
    blur = (1 - shutter**-2) / 6
    seeds = effort.seeds(groups * paths, "estimate")
    moments = np.arange((length + 1) * shutter + 1) * dt / shutter
    fine = BrownianMotion.of_diffusivity(diffusivity).simulate(0.0, moments, seeds)[:, 1:]
    seen = fine.reshape(len(seeds), length + 1, shutter).mean(2)
    seen = seen + math.sqrt(noise) * seeds.at("localisation").normal((length + 1,), torch.float64)
    best = _information_bound(diffusivity, dt, length, blur, noise) / math.sqrt(paths)
    for method in ("likelihood", "covariance", "displacements"):
        told = [subject(part, dt, method, blur) for part in seen.split(paths)]
        away = np.array([estimate.diffusivity - diffusivity for estimate in told])
        bars = np.array([estimate.standard_error for estimate in told])
        yield mean_is(f"{method}: error of D", away, 0.0)
        chances = stats.norm.cdf(away / bars)
        yield uniform_are(f"{method}: errors over error bars are normal", chances, _coverage(method, away / bars))
        aside = [(estimate.localisation_variance - noise) / estimate.localisation_standard_error for estimate in told]
        yield uniform_are(f"{method}: those of the localisation error", stats.norm.cdf(aside))
        if method != "covariance":
            total = float(np.sum(np.square(away / best)))
            chance = 2 * min(stats.chi2(groups).sf(total), stats.chi2(groups).cdf(total))
            share = f"spread {math.sqrt(total / groups):.2f} times the bound"
            yield probable(f"{method}: spread reaches the information bound", chance, share)


def _information_bound(diffusivity: float, dt: float, length: int, blur: float, noise: float) -> float:
    """The least standard error of D from one trajectory, by Fisher's information of normal increments."""
    neighbours = np.eye(length, k=1) + np.eye(length, k=-1)
    moved, seen = 2 * dt * ((1 - 2 * blur) * np.eye(length) + blur * neighbours), 2 * np.eye(length) - neighbours
    slopes = [np.linalg.solve(diffusivity * moved + noise * seen, part) for part in (moved, seen)]
    information = np.array([[np.trace(a @ b) / 2 for b in slopes] for a in slopes])
    return math.sqrt(np.linalg.inv(information)[0, 0])


def _coverage(method: str, distances: np.ndarray) -> Plot:
    nominal = np.linspace(0.05, 0.95, 19)
    seen = [float(np.mean(abs(distances) < stats.norm.isf((1 - level) / 2))) for level in nominal]
    error = np.sqrt(nominal * (1 - nominal) / len(distances))
    curves = (Curve(method, list(nominal), seen, list(error)), Curve("as told", [0, 1], [0, 1], dashed=True))
    return Plot("coverage of error bars", "nominal", "measured", curves)


@claim("physics", "anomalous-exponent")
def exponent_of_fractional_motion(subject: Any, effort: Effort) -> Iterator[Measured]:
    """The exponent of fractional Brownian motion is told within its error bar: sub-, normal and superdiffusion."""
    count, steps = effort.of(150, 1000), 200
    times = np.arange(1, steps + 1)
    for hurst in (0.3, 0.5, 0.7):
        power = 2 * hurst
        gaps = np.abs(times[:, None] - times[None])
        covariance = (times[:, None] ** power + times[None] ** power - gaps**power) / 2
        normals = effort.seeds(count, "fractional", str(hurst)).normal((steps,), torch.float64).numpy()
        paths = np.concatenate((np.zeros((count, 1)), normals @ np.linalg.cholesky(covariance).T), axis=1)
        told = subject(paths)
        distance = (told.exponent - power) / told.standard_error
        chance = 2 * float(stats.t(count - 1).sf(abs(distance)))
        note = f"{told.exponent:.3f} ± {told.standard_error:.3f}"
        yield probable(f"exponent {power:g}", chance, note)
