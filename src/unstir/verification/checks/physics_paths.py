"""Paths of particles: exact laws, orders of the steppers, walks, and the diffusivity that trajectories tell."""

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
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import (
    at_most,
    counts_are,
    distribution_is,
    mean_is,
    order_of,
    probable,
    uniform_are,
)

__all__ = [
    "bridge_law",
    "continuous_walk_law",
    "diffusivity_error_bars",
    "displacements_by_definition",
    "euler_strong_order",
    "euler_weak_order",
    "exact_step_law",
    "exponent_of_fractional_motion",
    "first_passage",
    "graph_walk_law",
    "laws_compose",
    "milstein_strong_order",
    "walk_becomes_diffusion",
    "walk_law",
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


@claim("physics", "lattice-walk")
def walk_law(subject: Any, effort: Effort) -> Iterator[Measured]:
    """A lattice walk's law is the binomial's, or that of the chain with its boundary, and walkers are drawn from it."""
    steps, up = 40, 0.35
    law = subject(probabilities=[[1 - up, up]]).law(steps)
    binomial = stats.binom.pmf(range(steps + 1), steps, up)
    yield at_most("law on the line against the binomial", abs(law[::2] - binomial), 1e-13)
    count = effort.of(5000, 100_000)
    for boundary in ("periodic", "reflecting", "absorbing"):
        walk = subject(0.5, 0.1, probabilities=[[0.3, 0.5]], boundary=boundary, sites=7)
        expected = np.linalg.matrix_power(_chain(7, 0.3, 0.5, boundary), 12)[3]  # the row of site 2
        yield at_most(f"law, {boundary}", abs(walk.law(12, 2) - expected[1:-1]), 1e-13)
        sites = walk.simulate(12, effort.seeds(count, boundary), 2)[:, -1, 0].numpy() / 0.5
        counts = np.bincount(np.round(sites).astype(int) + 1, minlength=9)
        yield counts_are(f"walkers, {boundary}", counts, expected)
    plane = subject(dimension=2, probabilities=[[0.1, 0.3], [0.25, 0.15]])
    seen = plane.simulate(3, effort.seeds(count, "plane"))[:, -1].numpy().astype(int) + 3
    places = np.ravel_multi_index(seen.T, (7, 7))
    yield counts_are("walkers in the plane", np.bincount(places, minlength=49), _paths_of_three())


def _chain(sites: int, down: float, up: float, boundary: str) -> np.ndarray:
    """The transition matrix, with a place outside at each end."""
    matrix = np.zeros((sites + 2, sites + 2))
    matrix[0, 0] = matrix[-1, -1] = 1
    for site in range(1, sites + 1):
        matrix[site, site] += 1 - down - up
        for target, chance in ((site - 1, down), (site + 1, up)):
            outside = target in (0, sites + 1)
            if outside and boundary == "periodic":
                target = sites if target == 0 else 1
            matrix[site, site if outside and boundary == "reflecting" else target] += chance
    return matrix


def _paths_of_three() -> np.ndarray:
    """The law of three steps in the plane, by going through all of them."""
    moves = {(-1, 0): 0.1, (1, 0): 0.3, (0, -1): 0.25, (0, 1): 0.15, (0, 0): 0.2}
    law = np.zeros((7, 7))
    for first, p in moves.items():
        for second, q in moves.items():
            for third, r in moves.items():
                law[3 + first[0] + second[0] + third[0], 3 + first[1] + second[1] + third[1]] += p * q * r
    return law.ravel()


@claim("physics", "lattice-walk")
def walk_becomes_diffusion(subject: Any, effort: Effort) -> Iterator[Measured]:
    """A walk on a finer and finer lattice has the heat kernel of its diffusivity: to second order, and as bounded."""
    time, rest = 1.0, 0.4
    errors, spacings, distances = [], [], []
    for steps in effort.of((32, 64, 128, 256, 512), (64, 128, 256, 512, 1024, 2048)):
        spacing = math.sqrt(2 / steps)
        walk = subject(spacing, time / steps, probabilities=[[0.5 * (1 - rest)] * 2])
        sites = np.arange(-steps, steps + 1) * spacing
        law, spread = walk.law(steps), math.sqrt(2 * float(walk.diffusivity[0, 0]) * time)
        errors.append(float(np.max(abs(law / spacing - stats.norm.pdf(sites, 0, spread)))))
        spacings.append(spacing)
        # Berry and Esseen with Shevtsova's constant; one step has the moments (1 - rest) of any order
        after, kernel = np.cumsum(law), stats.norm.cdf(sites, 0, spread)
        furthest = max(np.max(abs(after - kernel)), np.max(abs(after - law - kernel)))
        distances.append(furthest / (0.4748 / math.sqrt((1 - rest) * steps)))
    yield order_of("density against the heat kernel", spacings, errors, 2.0, step_name="spacing")
    yield at_most("distance of the laws over Berry and Esseen's bound", distances, 1.0)
    probabilities = np.array([[0.1, 0.35], [0.2, 0.05]])
    walk, steps = subject(0.3, 0.02, dimension=2, probabilities=probabilities), 25
    law, sites = walk.law(steps), 0.3 * np.arange(-steps, steps + 1)
    points = np.stack(np.meshgrid(sites, sites, indexing="ij"), -1).reshape(-1, 2)
    mean = law.ravel() @ points
    covariance = (points - mean).T @ ((points - mean) * law.reshape(-1, 1))
    yield at_most("mean of a biased walk against its drift", abs(mean - walk.drift * 0.02 * steps), 1e-10)
    yield at_most("its covariance against 2 D t", abs(covariance - 2 * walk.diffusivity * 0.02 * steps), 1e-10)


def _graph() -> np.ndarray:
    """Nine nodes, weighted edges, one loop, no two sides."""
    weights = np.zeros((9, 9))
    for i in range(9):
        for j in ((i + 1) % 9, (i * i + 2) % 9):
            weights[i, j] = weights[j, i] = 1 + (3 * i + j) % 4
    return weights


@claim("physics", "graph-walk")
def graph_walk_law(subject: Any, effort: Effort) -> Iterator[Measured]:
    """A graph walk's stationary law is in proportion to the degrees, and walkers follow the powers of its matrix."""
    weights, lazy = _graph(), 0.25
    walk = subject(weights, lazy)
    matrix = lazy * np.eye(9) + (1 - lazy) * weights / weights.sum(1, keepdims=True)
    yield at_most("transition matrix", abs(walk.transition_matrix().toarray() - matrix), 1e-14)
    values, vectors = np.linalg.eig(matrix.T)
    kept = vectors[:, np.argmax(values.real)].real
    yield at_most("stationary law against the eigenvector", abs(walk.stationary() - kept / kept.sum()), 1e-12)
    yield at_most("law after 300 steps", abs(walk.law(4, 300) - walk.stationary()), 1e-12)
    paths = walk.simulate(4, 6, effort.seeds(effort.of(4000, 100_000), "graph")).numpy()
    for step in (1, 6):
        expected = np.linalg.matrix_power(matrix, step)[4]
        yield counts_are(f"walkers after {step} steps", np.bincount(paths[:, step], minlength=9), expected)
    pairs = np.bincount(paths[:, 5] * 9 + paths[:, 6], minlength=81)
    joint = np.linalg.matrix_power(matrix, 5)[4][:, None] * matrix
    yield counts_are("pairs of nodes after 5 and 6 steps", pairs, joint)


@claim("physics", "graph-walk")
def continuous_walk_law(subject: Any, effort: Effort) -> Iterator[Measured]:
    """In continuous time a graph walk's law is the exponential of its generator, and walkers follow it."""
    weights = _graph()
    walk, generator = subject(weights), weights / weights.sum(1, keepdims=True) - np.eye(9)
    expected = linalg.expm(1.7 * 0.8 * generator)[3]
    yield at_most("law against the matrix exponential", abs(walk.law_at(3, 0.8, 1.7) - expected), 1e-12)
    seeds = effort.seeds(effort.of(4000, 100_000), "continuous")
    nodes = walk.simulate_at(3, [0.3, 0.8], seeds, 1.7).numpy()
    yield counts_are("walkers at t = 0.8", np.bincount(nodes[:, 1], minlength=9), expected)
    joint = linalg.expm(1.7 * 0.3 * generator)[3][:, None] * linalg.expm(1.7 * 0.5 * generator)
    yield counts_are("pairs of nodes at two times", np.bincount(nodes @ [9, 1], minlength=81), joint)


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
