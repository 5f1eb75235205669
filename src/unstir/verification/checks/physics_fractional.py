"""Claims about diffusion that waits: Mittag-Leffler relaxation, its laws, solvers and walks, against other routes."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import special

from unstir.physics.mittag_leffler import mittag_leffler
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.checks.fractional_references import half_line, laplace_inverse
from unstir.verification.statistics import at_most, counts_are, distribution_is, mean_is, order_of

__all__ = [
    "box_modes_relax_exactly",
    "l1_scheme_keeps_its_order",
    "mittag_leffler_is_accurate",
    "mittag_leffler_special_cases",
    "subdiffusion_is_its_transform",
    "subdiffusion_spreads_as_it_says",
    "walk_becomes_fractional_diffusion",
    "walk_has_its_exact_law",
]


@claim("physics", "mittag-leffler")
def mittag_leffler_is_accurate(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Relative error below 1e-12 over all orders in (0, 1] and arguments down to -1e6, against mpmath."""
    rng = np.random.default_rng(effort.seed)
    count = effort.of(3, 40)
    orders = [1e-4, 0.01, 0.3, 0.599, 0.601, 0.667, 0.9, 0.99, 1 - 1e-6, 1 - 1e-12, 1.0]
    orders += [*rng.uniform(0, 1, count), *(1 - 10 ** rng.uniform(-9, -1, count)), *10 ** rng.uniform(-3, -1, count)]
    for name, impulse in (("beta = 1", False), ("beta = alpha", True)):
        worst = []
        arguments = np.concatenate(([0.49, 0.51, 3.0, 15.0, 1e6], 10 ** rng.uniform(-2, 6, effort.of(1, 6))))
        for order in orders:
            kept = arguments if order < 1 else arguments[arguments < 20]  # exp(-x) is below the contour's error soon
            seen = subject(-kept, float(order), float(order) if impulse else 1.0)
            true = laplace_inverse(kept, order, order if impulse else 1.0)
            worst.append(np.max(np.abs(seen / true - 1)))
        drawn = np.argsort(orders)
        curve = Curve("worst error", np.asarray(orders)[drawn], np.maximum(worst, 1e-18)[drawn])
        plot = Plot(f"Mittag-Leffler function, {name}", "order alpha", "relative error", (curve,), y_log=True)
        note = f"{len(orders)} orders, {len(arguments)} arguments each"
        yield at_most(f"relative error, {name}", max(worst), 1e-12, note, plot)


@claim("physics", "mittag-leffler")
def mittag_leffler_special_cases(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Order 1 is the exponential, order 1/2 the scaled error function, 1/n roots on the positive side included."""
    z = np.concatenate((-np.geomspace(1e-6, 600, effort.of(100, 2000)), np.linspace(0, 20, effort.of(20, 200))))
    yield at_most("order 1 against exp", np.abs(subject(z, 1.0) / np.exp(z) - 1), 1e-12)
    yield at_most("order 1/2 against erfcx", np.abs(subject(z, 0.5) / special.erfcx(-z) - 1), 1e-11)
    small = np.concatenate((-np.geomspace(1e-3, 6, 40), np.linspace(0, 3, 20)))
    impulse = special.rgamma(0.5) + small * special.erfcx(-small)
    yield at_most("E_{1/2,1/2} against erfcx", np.abs(subject(small, 0.5, 0.5) / impulse - 1), 1e-11)


@claim("physics", "subdiffusion")
def subdiffusion_is_its_transform(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The density's Fourier transform is the Mittag-Leffler function, its second moment 2 K t^order/Gamma(1+order)."""
    curves = []
    time, waves = 1.7, np.array([0.0, 0.5, 1.0, 3.0])
    for order in effort.of((0.3, 0.7, 1.0), (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)):
        law = subject(order, diffusivity=0.8, clock=2.0)
        rate = 0.8 * 2.0 ** (1 - order)
        seen = 2 * half_line(lambda x, law=law: np.cos(waves[:, None] * x) * law.density(x, time))
        true = np.append(1.0, laplace_inverse(rate * waves[1:] ** 2 * time**order, order, 1.0))
        yield at_most(f"Fourier transform at order {order}", np.abs(seen - true), 1e-9)
        yield at_most(
            f"characteristic function at order {order}", np.abs(law.characteristic(waves, time) - true), 1e-12
        )
        second = 2 * half_line(lambda x, law=law: x**2 * law.density(x, time))
        variance = 2 * rate * time**order / math.gamma(1 + order)
        yield at_most(f"second moment at order {order}", abs(second / variance - 1), 1e-9)
        yield at_most(f"variance at order {order}", abs(law.variance(time) / variance - 1), 1e-12)
        inside = law.cdf(1.3, time) - law.cdf(0.2, time)
        nodes, weights = np.polynomial.legendre.leggauss(40)
        area = 0.55 * np.sum(weights * law.density(0.75 + 0.55 * nodes, time))
        yield at_most(f"probability of an interval at order {order}", abs(inside - area), 1e-11)
        x = np.linspace(-4, 4, 81)
        curves.append(Curve(f"order {order:g}", x, law.density(x, time)))
    airy = subject(2 / 3).density(x, 1.0)
    true = 3 ** (2 / 3) / 2 * special.airy(np.abs(x) / 3 ** (1 / 3))[0]
    plot = Plot("What spread from one point", "x", "density", tuple(curves))
    yield at_most("order 2/3 against Airy's function", np.abs(airy / true - 1), 1e-11, plot=plot)


@claim("physics", "subdiffusion")
def subdiffusion_spreads_as_it_says(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Draws have the law of the density, and a variance that grows as t^order."""
    seeds = effort.seeds(effort.of(4000, 100_000), "subdiffusion")
    for order in (0.4, 0.8, 1.0):
        law = subject(order, diffusivity=0.5, clock=3.0)
        drawn = [
            law.sample(time, seeds.at(order.hex(), index), 2).numpy() for index, time in enumerate((0.1, 2.0, 70.0))
        ]
        variances = [time**order / math.gamma(1 + order) * 3.0 ** (1 - order) for time in (0.1, 2.0, 70.0)]
        squares = np.stack([(part**2).mean(1) / variance for part, variance in zip(drawn, variances, strict=True)], 1)
        yield mean_is(f"variances at order {order:g}, of what they should be", squares, 1.0)
        draws = drawn[1][:, 0]
        edges = np.linspace(-5, 5, 41)
        share = np.histogram(draws, edges)[0] / len(draws) / 0.25
        middles = (edges[1:] + edges[:-1]) / 2
        curves = (Curve("draws", middles, share), Curve("density", middles, law.density(middles, 2.0), dashed=True))
        plot = Plot(f"Subdiffusion of order {order:g}", "x", "density", curves)
        yield distribution_is(f"draws at order {order:g}", draws, lambda x, law=law: law.cdf(x, 2.0), plot)


@claim("physics", "fractional-heat")
def box_modes_relax_exactly(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Every mode of a box relaxes by the Mittag-Leffler function, and a spot in a large box spreads as on the line."""
    order, clock = 0.6, 2.0
    times = np.array([0.0, 0.01, 1.0, 50.0])
    for boundary, wave, shape in (
        ("dirichlet", lambda x, length: np.sin(2 * np.pi * x / length), 2 * np.pi),
        ("neumann", lambda x, length: np.cos(3 * np.pi * x / length), 3 * np.pi),
        ("periodic", lambda x, length: np.cos(2 * np.pi * x / length + 0.4), 2 * np.pi),
    ):
        flow = subject(order, (1.5, 0.7), diffusivity=0.3, boundary=boundary, clock=clock)
        x, y = flow.points(12, 10)
        start = wave(x, 1.5) * wave(y, 0.7)
        rate = 0.3 * clock ** (1 - order) * shape**2 * (1 / 1.5**2 + 1 / 0.7**2)
        factors = np.append(1.0, laplace_inverse(rate * times[1:] ** order, order, 1.0))
        error = np.abs(flow.solve(start, times) - factors[:, None, None] * start)
        yield at_most(f"a {boundary} mode in two dimensions", error, 1e-12)
    # a normal spot of width 0.5, spread by the line's kernel as a mixture of normals over the random operational time
    flow = subject(0.5, 40.0, diffusivity=1.0, boundary="periodic")
    (x,) = flow.points(effort.of(400, 1600))
    seen = flow.solve(np.exp(-((x - 20) ** 2) / 0.5) / math.sqrt(0.5 * math.pi), 1.0)

    def mixed(instant: np.ndarray) -> np.ndarray:
        # at order 1/2 the operational time at t = 1 has the density exp(-tau²/4)/sqrt(pi)
        width = 0.25 + 2 * instant
        normal = np.exp(-((x[:, None] - 20) ** 2) / (2 * width)) / np.sqrt(2 * np.pi * width)
        return normal * np.exp(-(instant**2) / 4) / math.sqrt(math.pi)

    yield at_most("a spot in a large box against a mixture of heat kernels", np.abs(seen - half_line(mixed)), 1e-9)


@claim("physics", "fractional-heat")
def l1_scheme_keeps_its_order(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The L1 scheme has order 2 - alpha at all times on a graded mesh; on a uniform one alpha, and 1 at fixed times."""
    order = 0.5
    flow = subject(order, math.pi)
    (x,) = flow.points(4)
    start = np.sin(x)
    counts = [64, 128, 256, 512, *effort.of([], [1024, 2048])]

    def errors(grading: float | None) -> tuple[list[float], list[float]]:
        anywhere, last = [], []
        for count in counts:
            times, fields = flow.march(start, 1.0, count, grading)
            true = special.erfcx(np.sqrt(times))[:, None] * start  # E_{1/2}(-sqrt(t)), in SciPy's words
            anywhere.append(float(np.abs(fields - true).max()))
            last.append(float(np.abs(fields - true)[-1].max()))
        return anywhere, last

    steps = [1 / count for count in counts]
    graded, _ = errors(None)
    uniform, late = errors(1.0)
    yield order_of("graded mesh, all times", steps, graded, 2 - order)
    yield order_of("uniform mesh, all times", steps, uniform, order)
    yield order_of("uniform mesh, at the end", steps, late, 1.0)
    # a constant source fills the box: u' = (1 - E)/rate in each mode
    filled = [flow.march(0 * start, 1.0, count, source=lambda t: start)[1][-1] for count in counts]
    # at the end, the rate is 2 - alpha as well
    away = [float(np.abs(field - (1 - special.erfcx(1.0)) * start).max()) for field in filled]
    yield order_of("graded mesh, constant source", steps, away, 2 - order)
    wide = subject(order, (math.pi, math.pi), boundary="periodic")
    gaps = []
    for cells in (16, 32, 64, 128):
        x, y = wide.points(cells, cells)
        pair = [wide.march(np.sin(2 * x) * np.cos(2 * y), 0.1, 8, discrete=chosen)[1][-1] for chosen in (False, True)]
        gaps.append(float(np.abs(pair[0] - pair[1]).max()))
    yield order_of("second differences in space", [1 / 16, 1 / 32, 1 / 64, 1 / 128], gaps, 2.0)


@claim("physics", "continuous-time-walk")
def walk_has_its_exact_law(subject: Any, effort: Effort) -> Iterable[Measured]:
    """At every time, not only late, the walk has its exact law: waits, sites, characteristic function, variance."""
    count = effort.of(2000, 20_000)
    for order in (0.5, 0.9, 1.0):
        walk = subject(order, wait=0.5, jump=0.2, jumps="lattice")
        seeds = effort.seeds(count, "walk", order.hex())
        waits = walk.draw_waits(seeds, 3)
        yield distribution_is(
            f"waits at order {order:g}", waits, lambda t, order=order: 1 - mittag_leffler(-((t / 0.5) ** order), order)
        )
        times = (0.0, 0.3, 8.0)
        places = walk.simulate(times, seeds).numpy()[..., 0]
        yield at_most(f"place at time 0 at order {order:g}", np.abs(places[:, 0]), 0.0)
        for column in (1, 2):
            sites = np.rint(places[:, column] / 0.2).astype(int)
            reach = max(10, int(np.abs(sites).max()))
            law = walk.lattice_law(times[column], reach)
            seen = np.bincount(sites + reach, minlength=2 * reach + 1)
            yield counts_are(f"sites at time {times[column]:g}, order {order:g}", seen, law)
        walk = subject(order, wait=0.5, jump=0.2)
        places = walk.simulate(times[1:], seeds.at("gaussian"), 2).numpy()
        waves = np.array([1.0, 5.0, 12.0])
        seen = np.cos(places[:, :, :1] * waves).reshape(count, -1)
        ripe = np.array([(time / 0.5) ** order for time in times[1:]])
        true = laplace_inverse(np.outer(ripe, 1 - np.exp(-((0.2 * waves) ** 2) / 2)).ravel(), order, 1.0)
        yield mean_is(f"characteristic function at order {order:g}", seen, true)
        yield mean_is(f"variance at order {order:g}", places[:, :, 1] ** 2, 0.04 * ripe / math.gamma(1 + order))


@claim("physics", "continuous-time-walk")
def walk_becomes_fractional_diffusion(subject: Any, effort: Effort) -> Iterable[Measured]:
    """From afar the walk is fractional diffusion: its law approaches with order 2 in the jump, its histogram agrees."""
    order, time = 0.7, 1.0
    jumps, gaps = [0.4, 0.2, 0.1, 0.05], []
    for jump in jumps:
        walk = subject(order, wait=(jump**2 / 2) ** (1 / order), jump=jump, jumps="lattice")
        reach = round(12 / jump)
        below = np.cumsum(walk.lattice_law(time, reach))
        # between two sites, away from the cusp
        edges = (np.arange(-reach, reach + 1) + 0.5) * jump
        far = np.abs(np.abs(edges) - 1.5) < 1.0
        gaps.append(float(np.abs(below - walk.limit.cdf(edges, time))[far].max()))
    yield order_of("distribution function against the limit's", jumps, gaps, 2.0, 0.15, step_name="jump")
    late = effort.of(300.0, 3000.0)
    walk = subject(order)
    places = walk.simulate([late], effort.seeds(effort.of(1000, 4000), "late")).numpy().ravel()
    limit = walk.limit
    edges = np.quantile(np.abs(places), 0.98) * np.linspace(-1, 1, 31)
    middles = (edges[1:] + edges[:-1]) / 2
    share = np.histogram(places, edges)[0] / len(places) / np.diff(edges)
    curves = (Curve("walkers", middles, share), Curve("limit", middles, limit.density(middles, late), dashed=True))
    plot = Plot("Walkers that wait, and fractional diffusion", "x", "density", curves)
    yield distribution_is("walkers late, against the limit", places, lambda x: limit.cdf(x, late), plot)
