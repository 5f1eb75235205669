"""Claims about the Fokker-Planck solver: orders, kept mass and sign, and laws, currents and times known exactly."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import integrate, linalg, stats

from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import at_most, counts_are, order_of

__all__ = [
    "fokker_planck_agrees_with_paths",
    "fokker_planck_current",
    "fokker_planck_exit",
    "fokker_planck_keeps_mass_and_sign",
    "fokker_planck_order_in_space",
    "fokker_planck_order_in_time",
    "fokker_planck_stationary_law",
]

_NOISE = 0.8  # of the process Y behind X = sinh(Y)


def _sinh_drift(x: Any) -> Any:
    return -np.arcsinh(x) * np.sqrt(1 + x**2) + _NOISE**2 * x / 2


def _sinh_diffusion(x: Any) -> Any:
    return _NOISE**2 * (1 + x**2) / 2


def _ornstein_uhlenbeck(time: float, mean: float, deviation: float) -> Any:
    """The law of dY = -Y dt + noise dW after a time, from a normal one."""
    decay = np.exp(-time)
    return stats.norm(mean * decay, np.sqrt((deviation * decay) ** 2 + _NOISE**2 * (1 - decay**2) / 2))


def _averaged(cdf: Callable[[Any], Any], lower: float, upper: float, cells: int) -> Any:
    """Exact cell averages of a density."""
    return np.diff(cdf(np.linspace(lower, upper, cells + 1))) * cells / (upper - lower)


@claim("physics", "fokker-planck")
def fokker_planck_order_in_space(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Converges with order 2 in the cell width to densities known in closed form, in one and two dimensions."""
    # X = sinh(Y) of an Ornstein-Uhlenbeck process Y: noise that depends on the place, so Itô's rule counts
    counts = effort.of((100, 141, 200, 283), (100, 200, 400, 800))
    errors = []
    for cells in counts:
        solver = subject(-12.0, 12.0, cells, _sinh_drift, _sinh_diffusion)
        start, end = (
            _averaged(lambda x, t=time: _ornstein_uhlenbeck(t, 0.5, 0.3).cdf(np.arcsinh(x)), -12.0, 12.0, cells)
            for time in (0.0, 0.4)
        )
        found = solver.solve(start, [0.0, 0.4], method="exponential")[-1]
        errors.append(np.abs(found - end).sum() * 24 / cells)
    yield order_of("space, multiplicative noise", [24 / cells for cells in counts], errors, 2.0)

    errors, counts = [], effort.of((20, 28, 40, 56), (25, 50, 100, 200))
    for cells in counts:  # a sine between absorbing walls under a drift: p = exp(ax/2B - a²t/4B) sin(pi x) exp(-B pi²t)
        start, end = (
            subject(0.0, 1.0, cells, 1.0, 0.2, "absorbing").averages(
                lambda x, t=time: np.exp(2.5 * x - 1.25 * t - 0.2 * np.pi**2 * t) * np.sin(np.pi * x)
            )
            for time in (0.0, 0.3)
        )
        found = subject(0.0, 1.0, cells, 1.0, 0.2, "absorbing").solve(start, [0.0, 0.3], method="exponential")[-1]
        errors.append(np.abs(found - end).mean())
    yield order_of("space, absorbing walls", [1 / cells for cells in counts], errors, 2.0)

    rate, tensor = np.array([[1.0, 0.3], [-0.2, 1.5]]), np.array([[0.5, 0.2], [0.2, 0.4]])
    shrink = linalg.expm(-0.5 * rate)
    rest = linalg.solve_continuous_lyapunov(rate, 2 * tensor)
    first, mean = 0.2 * np.eye(2), np.array([0.6, -0.4])
    last = rest + shrink @ (first - rest) @ shrink.T
    errors, counts = [], effort.of((36, 45, 57, 72), (40, 57, 80, 113, 160))
    for cells in counts:
        solver = subject((-4.0, -4.0), (4.0, 4.0), (cells, cells), lambda x: -x @ rate.T, tensor)
        start = solver.averages(stats.multivariate_normal(mean, first).pdf)
        found = solver.solve(start, [0.0, 0.5], method="exponential")[-1]
        end = solver.averages(stats.multivariate_normal(shrink @ mean, last).pdf)
        errors.append(np.abs(found - end).sum() * (8 / cells) ** 2)
    yield order_of("space, two dimensions with a full tensor", [8 / cells for cells in counts], errors, 2.0)


@claim("physics", "fokker-planck")
def fokker_planck_order_in_time(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Converges with order 2 in time by TR-BDF2 and 1 by backward Euler, with changing coefficients too."""
    # drift and diffusion share one factor of time, so the semi-discrete solution is a matrix exponential
    cells = 60
    solver = subject(-4.0, 4.0, cells, lambda x, t: -(1 + 3 * t) * x, lambda x, t: 0.5 * (1 + 3 * t))
    start = solver.averages(lambda x: stats.norm.pdf(x, 0.7, 0.5))
    still = subject(-4.0, 4.0, cells, lambda x: -x, 0.5)
    exact = linalg.expm(still.generator().T.toarray() * (1 + 1.5)) @ start
    counts = effort.of((8, 16, 32, 64), (16, 32, 64, 128, 256))
    for method, order in (("tr-bdf2", 2.0), ("backward-euler", 1.0)):
        steps = counts if order == 2 else [4 * count for count in counts]
        errors = [
            np.abs(solver.solve(start, [0.0, 1.0], method=method, steps=count)[-1] - exact).sum() * 8 / cells
            for count in steps
        ]
        yield order_of(f"time, {method}", [1 / count for count in steps], errors, order)
    tolerance = 1e-4
    chosen = solver.solve(start, [0.0, 0.3, 1.0], tolerance=tolerance)[-1]
    yield at_most(
        "error in L1 over the tolerance, two intervals", np.abs(chosen - exact).sum() * 8 / cells, 2 * tolerance
    )


@claim("physics", "fokker-planck")
def fokker_planck_keeps_mass_and_sign(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Keeps all probability, and none below zero, from rough data in steps of any size."""
    generator = effort.seeds(1, "rough").generator()
    size = effort.of(24, 60)
    tensor = np.array([[0.3, 0.1], [0.1, 0.2]])
    cases = {
        "strong drift": subject(-1.0, 1.0, 10 * size, lambda x: -40 * np.sign(x), 0.01),
        "changing in time": subject(0.0, 1.0, 10 * size, lambda x, t: 9 * np.sin(9 * x + 9 * t), lambda x, t: 0.1 + t),
        "vanishing noise": subject(0.0, 4.0, 10 * size, lambda x: 1 - x, lambda x: 0.3 * x),
        "full tensor": subject((0.0, 0.0), (1.0, 1.0), (size, size), lambda x: 3 - 8 * x, tensor),
        "round in circles": subject(
            (0.0, 0.0), (1.0, 1.0), (size, size), lambda x: np.sin(2 * np.pi * x[:, ::-1]), tensor, "periodic"
        ),
    }
    for name, solver in cases.items():
        shape = (10 * size,) if solver.dimension == 1 else (size, size)
        start = np.where(generator.random(shape) < 0.05, generator.exponential(size=shape), 0.0)
        start.flat[size] = 100.0
        start /= start.sum()
        for method in ("tr-bdf2", "backward-euler"):
            found = solver.solve(start, [0.0, 0.001, 0.1, 10.0], method=method, steps=2)
            total = found.reshape(len(found), -1).sum(1)
            yield at_most(f"lost mass, {name}, {method}", np.abs(total - 1).max(), 1e-12)
            yield at_most(f"probability below zero, {name}, {method}", -found.min(), 0.0)


@claim("physics", "fokker-planck")
def fokker_planck_stationary_law(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Its stationary law goes to Boltzmann's, exp(-U/B), with order 2, and solves for no further change."""
    potential = lambda x: 2 * (x**2 - 1) ** 2 + 0.5 * x  # noqa: E731  (a double well)
    force = lambda x: -(8 * x * (x**2 - 1) + 0.5)  # noqa: E731
    total = integrate.quad(lambda x: np.exp(-potential(x) / 0.4), -2.2, 2.2, epsabs=0, epsrel=1e-12)[0]
    counts = effort.of((50, 100, 200, 400), (50, 100, 200, 400, 800, 1600))
    errors, solver = [], subject(-2.2, 2.2, counts[0], force, 0.4)
    for cells in counts:
        solver = subject(-2.2, 2.2, cells, force, 0.4)
        exact = solver.averages(lambda x: np.exp(-potential(x) / 0.4) / total)
        errors.append(np.abs(solver.stationary() - exact).sum() * 4.4 / cells)
    places = solver.centres()
    shape = Plot(
        "stationary law",
        "x",
        "density",
        (
            Curve("finite volumes", places.tolist(), solver.stationary().tolist()),
            Curve("exp(-U/B)", places.tolist(), (np.exp(-potential(places) / 0.4) / total).tolist(), dashed=True),
        ),
    )
    yield order_of("stationary law in a double well", [4.4 / cells for cells in counts], errors, 2.0)
    # with a drift that is linear between centres the ratio of neighbours is the scheme's own exact exponential
    steep = subject(-8.0, 8.0, 160, lambda x: -x, 0.1)
    ratio = steep.stationary() * np.exp(steep.centres() ** 2 / 0.2)
    yield at_most("relative error down to exp(-318) of the peak", np.ptp(ratio) / ratio.max(), 1e-10, plot=shape)
    # in a plane a rotation along the level lines changes the current, not the law
    cells = 40
    turning = subject((-3.0, -3.0), (3.0, 3.0), (cells, cells), lambda x: -x + 2 * x[:, ::-1] * [1, -1], 0.5)
    law = turning.stationary()
    rest = turning.generator().T @ law.ravel()
    yield at_most("what still changes in a rotating stationary law", np.abs(rest).max() / law.max(), 1e-10)


@claim("physics", "fokker-planck")
def fokker_planck_current(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The stationary current in a tilted periodic potential is Stratonovich's, with order 2 or more, and even."""
    length, force, strength = 2.0, 0.8, 0.3

    def tilted(x: Any) -> Any:
        return 0.5 * np.sin(np.pi * x) - force * x

    inner = integrate.dblquad(
        lambda y, x: np.exp((tilted(y) - tilted(x)) / strength), 0, length, lambda x: x, lambda x: x + length
    )[0]
    exact = strength * (1 - np.exp(-force * length / strength)) / inner
    counts = effort.of((16, 32, 64, 128), (16, 32, 64, 128, 256, 512))
    errors, uneven = [], []
    for cells in counts:
        solver = subject(
            0.0, length, cells, lambda x: force - 0.5 * np.pi * np.cos(np.pi * x), strength, boundary="periodic"
        )
        current = solver.current(solver.stationary())
        errors.append(abs(current.mean() - exact))
        uneven.append(np.ptp(current) / exact)
    yield order_of("stationary current", [length / cells for cells in counts], errors, 2.0, at_least=True)
    yield at_most("unevenness of the current, relative", uneven, 1e-9)


@claim("physics", "fokker-planck")
def fokker_planck_exit(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Mean exit times and exit probabilities are those of the closed forms, with order 2."""
    force = lambda x: -np.sin(3 * x)  # noqa: E731
    potential = lambda x: (1 - np.cos(3 * x)) / 3  # noqa: E731
    nodes, weights = np.polynomial.legendre.leggauss(60)

    def integral(function: Callable[[Any], Any], low: float, high: float) -> float:
        half = (high - low) / 2
        return float(half * weights @ function(low + half * (nodes + 1)))

    def exact(start: float) -> float:  # reflecting at 0, absorbing at 2
        inside = lambda ys: np.array([integral(lambda z: np.exp(-potential(z) / 0.3), 0.0, y) for y in ys])  # noqa: E731
        return integral(lambda y: np.exp(potential(y) / 0.3) * inside(y) / 0.3, start, 2.0)

    counts = effort.of((20, 40, 80, 160), (20, 40, 80, 160, 320, 640))
    times, chances = [], []
    for cells in counts:
        solver = subject(0.0, 2.0, cells, force, 0.3, ("reflecting", "absorbing"))
        tenths = [cells // 20, cells // 2, cells - cells // 5]
        times.append(max(abs(solver.mean_exit_time()[cell] - exact(float(solver.centres()[cell]))) for cell in tenths))
        both = subject(0.0, 2.0, cells, force, 0.3, "absorbing")
        whole = integral(lambda y: np.exp(potential(y) / 0.3), 0.0, 2.0)
        part = [integral(lambda y: np.exp(potential(y) / 0.3), 0.0, float(both.centres()[cell])) for cell in tenths]
        chances.append(np.abs(both.exit_probability()[tenths] - np.array(part) / whole).max())
    steps = [2 / cells for cells in counts]
    yield order_of("mean exit time", steps, times, 2.0, at_least=True)
    yield order_of("exit probability", steps, chances, 2.0)
    drifting = subject(0.0, 1.0, 50, 1.0, 0.3, "absorbing")
    sides = drifting.exit_probability(side="lower") + drifting.exit_probability(side="upper")
    yield at_most("probabilities of both ends, from one", np.abs(sides - 1).max(), 1e-12)


@claim("physics", "fokker-planck")
def fokker_planck_agrees_with_paths(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Its cell probabilities are those of exact draws, and of Euler-Maruyama paths in a double well."""
    draws = effort.of(5_000, 50_000)
    generator = effort.seeds(1, "paths").generator()
    solver = subject(-12.0, 12.0, effort.of(480, 1200), _sinh_drift, _sinh_diffusion)
    start = lambda x: _ornstein_uhlenbeck(0.0, 0.5, 0.3).pdf(np.arcsinh(x)) / np.sqrt(1 + x**2)  # noqa: E731
    found = solver.solve(start, [0.0, 0.4])[-1].reshape(120, -1).sum(1)
    paths = np.sinh(_ornstein_uhlenbeck(0.4, 0.5, 0.3).rvs(draws, random_state=generator))
    yield counts_are("exact draws, multiplicative noise", np.histogram(paths, np.linspace(-12, 12, 121))[0], found)

    # paths' weak error and the cells' are of relative size 1/steps and 1e-4: far below the draws' own
    steps, paths = effort.of(300, 2000), np.zeros(draws)
    for step in range(steps):
        gust = np.sqrt(2 * 0.4 / steps) * generator.normal(size=draws)
        paths = paths + (2 * paths - 4 * paths**3 + np.sin(6 * step / steps)) / steps + gust
    solver = subject(-3.0, 3.0, effort.of(360, 720), lambda x, t: 2 * x - 4 * x**3 + np.sin(6 * t), 0.4)
    found = solver.solve(solver.delta(0.0), [0.0, 1.0], tolerance=1e-3)[-1].reshape(60, -1).sum(1)
    yield counts_are("Euler-Maruyama paths, changing force", np.histogram(paths, np.linspace(-3, 3, 61))[0], found)
