"""Claims about laws that leap: stable ones, Lévy flights, the fractional Laplacian, each against another route."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import linalg, special

from unstir.verification.base import Effort, Measured, claim
from unstir.verification.checks.fractional_references import half_line, jacobi_rates
from unstir.verification.statistics import at_most, distribution_is, mean_is, order_of

__all__ = [
    "absorbed_flight_loses_as_known",
    "absorbed_flight_orders",
    "flight_leaps_by_stable_laws",
    "one_sided_law_is_kanters",
    "space_fractional_modes_decay_exactly",
    "stable_law_is_fouriers",
]


@claim("physics", "stable-law")
def stable_law_is_fouriers(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Densities are the Fourier integrals of exp(-|k|^order): closed forms, quadrature on the real line, draws."""
    x = np.concatenate(([0.0], np.geomspace(1e-4, 1e5, effort.of(60, 2000))))
    cauchy = 1 / (np.pi * (1 + x**2))
    yield at_most("order 1 against Cauchy's law", np.abs(subject(1.0).density(x) / cauchy - 1), 1e-11)
    yield at_most("its tail", np.abs(subject(1.0).cdf(-x) * np.pi / np.arctan2(1, x) - 1), 1e-10)
    normal = np.exp(-(x**2) / 4) / math.sqrt(4 * math.pi)
    yield at_most("order 2 against the normal law", np.abs(subject(2.0).density(x) - normal), 1e-13)
    yield at_most("its tail, absolute", np.abs(subject(2.0).cdf(-x) - special.erfc(x / 2) / 2), 1e-13)
    inner = x[x > 0]
    sine, cosine = special.fresnel(1 / np.sqrt(2 * np.pi * inner))
    angle = 1 / (4 * inner)
    half = (np.sin(angle) * (0.5 - sine) + np.cos(angle) * (0.5 - cosine)) / np.sqrt(2 * np.pi) / inner**1.5
    # near zero Fresnel's integrals cancel, and the peak 2/pi sets the scale
    yield at_most("order 1/2 against Fresnel's integrals", np.abs(subject(0.5).density(inner) - half), 1e-8)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    near = np.linspace(0, 12, 40)
    for order in (1.01, 1.3, 1.7, 1.99):
        top = 40 ** (1 / order)
        unit = (nodes + 1) / 2
        waves = top * unit**6
        shares = 3 * top * unit**5 * weights * np.exp(-(waves**order)) / np.pi
        true = np.cos(near[:, None] * waves) @ shares
        law = subject(order, 1.5)
        yield at_most(f"order {order:g} against quadrature", np.abs(1.5 * law.density(1.5 * near) - true), 1e-10)
        below = 0.5 + (np.sinc(near[:, None] * waves / np.pi) * near[:, None]) @ shares
        yield at_most(f"its distribution function, order {order:g}", np.abs(law.cdf(1.5 * near) - below), 1e-10)
    for order in (0.5, 1.0, 1.6, 2.0):
        law = subject(order, 0.3)
        draws = law.sample(effort.seeds(effort.of(2000, 20_000), "stable", order.hex()), 2)
        yield distribution_is(f"draws at order {order:g}", draws, law.cdf)


@claim("physics", "one-sided-stable-law")
def one_sided_law_is_kanters(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The law's Laplace transform is exp(-s^order); Mainardi's function is Airy's at order 1/3 and Gauss's at 1/2."""
    rates = np.array([[0.0], [0.3], [1.0], [5.0]])
    for order in effort.of((0.3, 0.6, 0.9), (0.1, 0.3, 0.5, 0.6, 0.8, 0.9, 0.95)):
        law = subject(order)
        # over z = x^-order, whose density falls fast
        step = min(0.02, 0.1 * (1 - order))
        seen = half_line(lambda z, law=law, order=order: np.exp(-rates * z ** (-1 / order)) * law.mainardi(z), step)
        yield at_most(f"Laplace transform at order {order:g}", np.abs(seen - np.exp(-(rates[:, 0] ** order))), 1e-9)
        x = np.geomspace(0.05, 50, 30)
        step = 1e-4 * x
        slope = (
            (law.cdf(x - 2 * step) - 8 * law.cdf(x - step) + 8 * law.cdf(x + step) - law.cdf(x + 2 * step)) / 12 / step
        )
        yield at_most(f"slope of the distribution function at order {order:g}", np.abs(slope - law.density(x)), 1e-8)
        draws = law.sample(effort.seeds(effort.of(2000, 15_000), "one-sided", order.hex()), 2)
        yield distribution_is(f"draws at order {order:g}", draws, law.cdf)
    z = np.linspace(0, 12, effort.of(50, 1000))
    third = 3 ** (2 / 3) * special.airy(z / 3 ** (1 / 3))[0]
    yield at_most("order 1/3 against Airy's function", np.abs(subject(1 / 3).mainardi(z) / third - 1), 1e-11)
    half = np.exp(-(z**2) / 4) / math.sqrt(math.pi)
    yield at_most("order 1/2 against Gauss's", np.abs(subject(0.5).mainardi(z) / half - 1), 1e-11)


@claim("physics", "levy-flight")
def flight_leaps_by_stable_laws(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Positions have the stable law of their time in each coordinate, jointly over times and directions."""
    count = effort.of(3000, 30_000)
    for order in (0.7, 1.0, 1.5, 2.0):
        flight = subject(order, diffusivity=0.6, scale=2.0)
        strength = 0.6 * 2.0 ** (order - 2)
        paths = flight.simulate((0.0, 0.5, 2.0), effort.seeds(count, "flight", order.hex()), 2).numpy()
        yield at_most(f"start at order {order:g}", np.abs(paths[:, 0]), 0.0)
        yield distribution_is(f"places at order {order:g}", paths[:, 2, 1], lambda x, f=flight: f.cdf(x, 2.0))
        first, then = np.array([[0.4, 0.3], [1.0, -0.2], [0.0, 1.5]]), np.array([[0.5, 0.1], [0.0, 0.0], [-0.7, 0.7]])
        phases = paths[:, 1] @ first.T + (paths[:, 2] - paths[:, 1]) @ then.T
        size = 0.5 * np.linalg.norm(first, axis=1) ** order + 1.5 * np.linalg.norm(then, axis=1) ** order
        yield mean_is(f"joint characteristic function at order {order:g}", np.cos(phases), np.exp(-strength * size))


@claim("physics", "space-fractional-heat")
def space_fractional_modes_decay_exactly(subject: Any, effort: Effort) -> Iterable[Measured]:
    """A wrapped Cauchy law widens into another, modes decay as exp(-K k^order t), differences converge with order 2."""
    flow = subject(1.0, 2 * np.pi, diffusivity=0.8, scale=0.5)
    (x,) = flow.points(effort.of(128, 512))

    def wrapped(width: float) -> np.ndarray:
        return math.sinh(width) / (np.cosh(width) - np.cos(x - 1)) / (2 * np.pi)

    seen = flow.solve(wrapped(0.7), [0.0, 0.4, 1.0])
    true = np.stack([wrapped(0.7 + 1.6 * time) for time in (0.0, 0.4, 1.0)])
    yield at_most("wrapped Cauchy law", np.abs(seen - true), 1e-12)
    for boundary, wave in (("dirichlet", np.sin), ("neumann", np.cos)):
        flow = subject(1.4, (2.0, 1.0), boundary=boundary)
        x, y = flow.points(10, 12)
        start = wave(np.pi * x) * wave(3 * np.pi * y)
        rate = (10 * np.pi**2) ** 0.7
        yield at_most(f"rate of a {boundary} mode", np.abs(flow.rate(start) + rate * start), 1e-11 * rate)
        yield at_most(
            f"decay of a {boundary} mode", np.abs(flow.solve(start, 0.01) - math.exp(-0.01 * rate) * start), 1e-12
        )
    for order in (0.6, 1.5):
        gaps = []
        counts = [16, 32, 64, 128]
        for count in counts:
            flow = subject(order, 2 * np.pi, discrete=True)
            (x,) = flow.points(count)
            gaps.append(float(np.abs(flow.rate(np.cos(2 * x)) + 2**order * np.cos(2 * x)).max()))
        yield order_of(f"second differences at order {order:g}", [1 / count for count in counts], gaps, 2.0)


@claim("physics", "absorbed-levy-flight")
def absorbed_flight_orders(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Of order 2 where fields are smooth; exit times of order 1 inside and order/2 at the ends, against Getoor's."""
    counts = [64, 128, 256, 512, *effort.of([], [1024])]
    steps = [1 / count for count in counts]
    for order in (0.6, 1.0, 1.5):
        smooth, middle, ends = [], [], []
        for count in counts:
            flight = subject(order, -7.0, 7.0, count - 1)
            bump = np.exp(-(flight.grid**2))
            factor = 2**order * special.gamma((1 + order) / 2) / math.sqrt(math.pi)
            true = -factor * special.hyp1f1((1 + order) / 2, 0.5, -(flight.grid**2))
            smooth.append(float(np.abs(flight.generator @ bump - true).max()))
            flight = subject(order, 0.0, 3.0, count - 1, diffusivity=0.4, scale=2.0)
            strength = 0.4 * 2.0 ** (order - 2) * math.gamma(1 + order)
            true = (flight.grid * (3 - flight.grid)) ** (order / 2) / strength
            away = np.abs(flight.exit_times() - true)
            middle.append(float(away[count // 2 - 1]))
            ends.append(float(away.max()))
        yield order_of(f"a smooth field at order {order:g}", steps, smooth, 2.0)
        yield order_of(f"exit times inside at order {order:g}", steps, middle, 1.0)
        yield order_of(f"exit times at the ends at order {order:g}", steps, ends, order / 2)


@claim("physics", "absorbed-levy-flight")
def absorbed_flight_loses_as_known(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Decay rates converge with order 1 to those of a spectral method in Jacobi polynomials; fields decay by them."""
    for order in (0.6, 1.0, 1.5):
        true = jacobi_rates(order, 3)
        counts = [50, 100, 200, 400, *effort.of([], [800])]
        gaps = [float(np.abs(subject(order, points=count - 1).decay_rates(3) / true - 1).max()) for count in counts]
        yield order_of(f"decay rates at order {order:g}", [1 / count for count in counts], gaps, 1.0)
        flight = subject(order, points=60)
        start = np.exp(-5 * flight.grid**2)
        away = flight.solve(start, [0.0, 0.3]) - np.stack((start, linalg.expm(0.3 * flight.generator) @ start))
        yield at_most(f"field in time at order {order:g}", np.abs(away), 1e-12)
