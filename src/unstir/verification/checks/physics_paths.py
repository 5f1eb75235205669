"""Paths of particles: exact laws, first passages, and the orders of the steppers."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import integrate, linalg, stats

from unstir.core.seeds import Seeds
from unstir.physics.brownian_motion import BrownianMotion
from unstir.physics.stochastic_process import brownian_increments
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import (
    at_most,
    distribution_is,
    order_of,
)

__all__ = [
    "bridge_law",
    "euler_strong_order",
    "euler_weak_order",
    "exact_step_law",
    "first_passage",
    "laws_compose",
    "milstein_strong_order",
]

# the options of each process, and its law again by SciPy: from x0, after a time t
PROCESSES: dict[str, Any] = {
    "BrownianMotion": (
        {"sigma": 0.8, "drift": -0.5},
        lambda x0, t: stats.norm(x0 - 0.5 * t, 0.8 * math.sqrt(t)),
    ),
    "OrnsteinUhlenbeck": (
        {"rate": 1.3, "mean": 0.4, "sigma": 0.9},
        lambda x0, t: stats.norm(
            0.4 + (x0 - 0.4) * math.exp(-1.3 * t), 0.9 * math.sqrt((1 - math.exp(-2.6 * t)) / 2.6)
        ),
    ),
    "GeometricBrownianMotion": (
        {"growth": 0.3, "volatility": 0.5},
        lambda x0, t: stats.lognorm(0.5 * math.sqrt(t), scale=x0 * math.exp((0.3 - 0.125) * t)),
    ),
}
NAMES = ("brownian-motion", "ornstein-uhlenbeck", "geometric-brownian-motion")


def _case(subject: Any) -> tuple[Any, Any]:
    options, law = next(PROCESSES[kind.__name__] for kind in subject.__mro__ if kind.__name__ in PROCESSES)
    return subject(**options), law


@claim("physics", *NAMES)
def exact_step_law(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Exact steps of any length have the transition law."""
    process, law = _case(subject)
    start, count = 1.7, effort.of(4000, 100_000)
    path = process.simulate(start, [0.0, 0.3, 0.31, 1.1], effort.seeds(count, "exact step"), method="exact").numpy()
    for index, t in ((1, 0.3), (3, 1.1)):
        expected = law(start, t)
        yield distribution_is(f"law at t = {t}", path[:, index], expected.cdf)
    seen = law(path[:, 1], 0.01).cdf(path[:, 2])
    yield distribution_is("law of a short step, given where it starts", seen, stats.uniform.cdf)


@claim("physics", *NAMES)
def laws_compose(subject: Any, effort: Effort) -> Iterator[Measured]:
    """The transition density integrates to its distribution function and obeys Chapman and Kolmogorov's equation."""
    process, law = _case(subject)
    start, first, second = 1.7, 0.4, 0.7
    between, until = law(start, first), law(start, first + second)
    # a Gauss–Legendre rule in the probability's own scale: no tail is left out that float64 would see
    low, high = between.ppf(1e-18) if between.support()[0] < 0 else 1e-9, between.isf(1e-18)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z, weights = low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2
    y = until.ppf([0.01, 0.2, 0.5, 0.9, 0.999])
    reached = process.density(z, start, first).numpy()
    onward = process.density(y[:, None], z[None], second).numpy()
    direct = process.density(y, start, first + second).numpy()
    yield at_most("Chapman and Kolmogorov, relative error", abs(onward @ (weights * reached) / direct - 1), 1e-9)
    areas = [integrate.quad(lambda x: float(process.density(x, start, first)), low, top)[0] for top in y]
    yield at_most(
        "integrated density against the distribution", abs(process.cdf(y, start, first).numpy() - areas), 1e-7
    )
    told = process.log_density(y, start, first + second).numpy()
    yield at_most("log density against SciPy's", abs(told - until.logpdf(y)), 1e-10)


@claim("physics", "brownian-motion", "brownian-bridge")
def first_passage(subject: Any, effort: Effort) -> Iterator[Measured]:
    """First-passage times and crossings of a bridge agree, by integration over the path's end."""
    from unstir.physics.brownian_bridge import BrownianBridge

    bridge = subject if issubclass(subject, BrownianBridge) else BrownianBridge
    motion = subject if issubclass(subject, BrownianMotion) else BrownianMotion
    duration, sigma = 1.4, 0.8
    for drift, level in ((0.0, 0.9), (0.7, 0.9), (-0.6, 0.5), (-0.6, -1.1)):
        walker, end = motion(sigma, drift), stats.norm(drift * duration, sigma * math.sqrt(duration))

        def touched(x: float, level: float = level, end: Any = end) -> float:
            return float(bridge(0.0, x, duration, sigma).crossing_probability(level)) * end.pdf(x)

        span = end.mean() + 12 * end.std() * np.array([-1, 1])
        expected = integrate.quad(touched, *span, points=[level], epsabs=1e-12, epsrel=1e-11, limit=200)[0]
        told = float(walker.first_passage_cdf(level, duration))
        yield at_most(f"chance to reach {level} with drift {drift}", abs(told - expected), 1e-9)
        area = integrate.quad(lambda t, w=walker, at=level: float(w.first_passage_density(at, t)), 0, duration)[0]
        yield at_most(f"integrated density, {level} with drift {drift}", abs(area - told), 1e-7)


@claim("physics", "brownian-bridge")
def bridge_law(subject: Any, effort: Effort) -> Iterator[Measured]:
    """A bridge's paths have, jointly, the law of Brownian motion given its end, and reach the end exactly."""
    start, end, duration, sigma = -0.4, 1.1, 2.0, 0.7
    bridge = subject(start, end, duration, sigma)
    times = np.array([0.0, 0.1, 0.7, 1.5, 1.95, 2.0])
    paths = bridge.simulate(times, effort.seeds(effort.of(4000, 50_000), "bridge")).numpy()
    yield at_most("distance from the two ends", abs(paths[:, [0, -1]] - [start, end]), 1e-12)
    inner = times[1:-1]
    # Brownian motion at the inner times and the end is normal; conditioned on the end by Schur's complement
    joint = sigma**2 * np.minimum.outer(times[1:], times[1:])
    covariance = joint[:-1, :-1] - np.outer(joint[:-1, -1], joint[-1, :-1]) / joint[-1, -1]
    mean = start + joint[:-1, -1] / joint[-1, -1] * (end - start)
    told = bridge.covariance(inner[:, None], inner[None]).numpy()
    yield at_most("covariance", abs(told - covariance), 1e-12)
    yield at_most("mean", abs(bridge.mean(inner).numpy() - mean), 1e-12)
    yield at_most("variance", abs(bridge.variance(inner).numpy() - np.diag(covariance)), 1e-12)
    white = linalg.solve_triangular(np.linalg.cholesky(covariance), (paths[:, 1:-1] - mean).T, lower=True)
    yield distribution_is("joint law of four times, made white", white, stats.norm.cdf)


def _geometric(subject: Any) -> Any:
    return subject(lambda x, t: 0.4 * x, lambda x, t: 0.6 * x)


def _strong(quantity: str, solve: Any, exact: Any, levels: range, expected: float, groups: int = 10) -> Measured:
    """The order of the root-mean-square error at the end, and the slope's own error by groups of paths."""
    squares = np.stack([np.square(solve(level) - exact).reshape(len(exact), -1).sum(1) for level in levels])
    steps = [2.0**-level for level in levels]
    measured = order_of(quantity, steps, np.sqrt(squares.mean(1)), expected)
    parts = np.array_split(squares, groups, axis=1)
    slopes = [np.polyfit(np.log(steps), np.log(part.mean(1)) / 2, 1)[0] for part in parts]
    return _by_chance(measured, float(np.std(slopes, ddof=1) / math.sqrt(groups)))


def _by_chance(measured: Measured, uncertainty: float) -> Measured:
    """A slope that draws have made uncertain, and may put beyond its bounds."""
    tolerance = (measured.high - measured.low) / 2
    return replace(measured, uncertainty=uncertainty, false_alarm=2 * float(stats.norm.sf(tolerance / uncertainty)))


def _geometric_end(seeds: Seeds) -> np.ndarray:
    """The exact solution at t = 1 along the Brownian path that ``simulate`` will draw."""
    motion = brownian_increments([0.0, 1.0], seeds)[:, 0].numpy()
    return np.exp(0.4 - 0.18 + 0.6 * motion)


@claim("physics", "ito-process")
def euler_strong_order(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Euler and Maruyama's steps have strong order 1/2 where the noise depends on the state."""
    seeds = effort.seeds(effort.of(4000, 10_000), "euler")
    process = _geometric(subject)

    def solve(level: int) -> np.ndarray:
        return process.simulate(1.0, [0.0, 1.0], seeds, "euler-maruyama", level)[:, -1].numpy()

    yield _strong("Euler and Maruyama, strong", solve, _geometric_end(seeds), range(4, effort.of(9, 11)), 0.5)


@claim("physics", "ito-process")
def milstein_strong_order(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Milstein's steps have strong order 1, with independent noises and with one shared noise."""
    seeds = effort.seeds(effort.of(3000, 12_000), "milstein")
    process = _geometric(subject)

    def solve(level: int) -> np.ndarray:
        return process.simulate(1.0, [0.0, 1.0], seeds, "milstein", level)[:, -1].numpy()

    levels = range(4, effort.of(8, 10))
    yield _strong("Milstein, strong", solve, _geometric_end(seeds), levels, 1.0)
    # dX = a X dt + B X dW with one W is solved by exp((a - B^2/2) t + B W)
    mixing = torch.tensor([[0.5, 0.3], [-0.2, 0.4]], dtype=torch.float64)
    shared = subject(lambda x, t: 0.3 * x, lambda x, t: (x @ mixing.T)[..., None])
    motion = brownian_increments([0.0, 1.0], seeds, (1,))[:, 0, :, None]
    exponent = 0.3 * torch.eye(2, dtype=torch.float64) - mixing @ mixing / 2 + mixing * motion
    exact = (torch.linalg.matrix_exp(exponent) @ torch.ones(2, dtype=torch.float64)).numpy()
    start = torch.ones(len(seeds), 2)

    def solve_shared(level: int) -> np.ndarray:
        return shared.simulate(start, [0.0, 1.0], seeds, "milstein", level)[:, -1].numpy()

    yield _strong("Milstein, one noise for two components", solve_shared, exact, levels, 1.0)


@claim("physics", "ito-process")
def euler_weak_order(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Euler and Maruyama's steps have weak order 1: moments are an order better than paths."""
    seeds = effort.seeds(effort.of(8000, 25_000), "weak")
    process = subject(lambda x, t: 0.8 * x, lambda x, t: 0.15 * x)
    motion = brownian_increments([0.0, 1.0], seeds)[:, 0].numpy()
    exact = np.exp(0.8 - 0.15**2 / 2 + 0.15 * motion)
    levels = range(4, effort.of(9, 10))
    # the same Brownian path solved exactly takes nearly all of the chance out of the difference
    ends = [process.simulate(1.0, [0.0, 1.0], seeds, "euler-maruyama", level)[:, -1].numpy() for level in levels]
    for power, name in ((1, "mean"), (2, "second moment")):
        apart = np.stack([exact**power - end**power for end in ends])
        steps = [2.0**-level for level in levels]
        measured = order_of(f"Euler and Maruyama, weak: {name}", steps, np.abs(apart.mean(1)), 1.0)
        relative = apart.std(1) / math.sqrt(len(seeds)) / np.abs(apart.mean(1))
        centred = np.log(steps) - np.mean(np.log(steps))
        yield _by_chance(measured, float(np.abs(centred) @ relative / (centred @ centred)))
