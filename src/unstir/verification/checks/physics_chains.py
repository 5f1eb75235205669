"""Claims about Markov chains in discrete and in continuous time, on chains that are known in closed form."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import linalg, special

from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import at_most, counts_are

__all__ = [
    "jump_process_draws",
    "jump_process_hitting",
    "jump_process_laws",
    "jump_process_stationary_law",
    "markov_chain_draws",
    "markov_chain_hitting",
    "markov_chain_mixing",
    "markov_chain_reversible",
    "markov_chain_spectrum",
    "markov_chain_stationary_law",
]


def _random(generator: np.random.Generator, size: int) -> Any:
    matrix = generator.random((size, size)) * (generator.random((size, size)) < 0.5) + 0.05 * np.eye(size)
    matrix += 0.05 * np.roll(np.eye(size), 1, axis=1)  # a way round through all states
    return matrix / matrix.sum(axis=1, keepdims=True)


def _lazy_circle(size: int) -> Any:
    return 0.5 * np.eye(size) + 0.25 * (np.roll(np.eye(size), 1, axis=1) + np.roll(np.eye(size), -1, axis=1))


def _lazy_hypercube(dimension: int) -> Any:
    corners = np.arange(2**dimension)
    matrix = 0.5 * np.eye(len(corners))
    for bit in range(dimension):
        matrix[corners, corners ^ (1 << bit)] = 0.5 / dimension
    return matrix


def _circle_distance(size: int, steps: int) -> float:
    modes = np.arange(size)
    factors = (0.5 + 0.5 * np.cos(2 * np.pi * modes / size)) ** steps
    return float(np.abs((np.cos(2 * np.pi * np.outer(modes, modes) / size) @ factors - 1) / size).sum() / 2)


def _hypercube_distance(dimension: int, steps: int) -> float:
    """By Krawtchouk polynomials: of the corners at each distance, how far their probability is from the mean."""
    total = 0.0
    for away in range(dimension + 1):
        excess = sum(
            (-1) ** both * special.comb(away, both) * special.comb(dimension - away, rest)
            * (1 - (both + rest) / dimension) ** steps
            for both in range(away + 1)
            for rest in range(dimension - away + 1)
            if both + rest > 0
        )  # fmt: skip
        total += special.comb(dimension, away) * abs(excess) / 2**dimension
    return total / 2


@claim("physics", "markov-chain")
def markov_chain_stationary_law(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The stationary law is right in every element, however small, where states are hardly connected too."""
    size = effort.of(40, 300)
    # a birth-death chain: the law is a product of ratios; from 1 down to 1e-200
    up, down = np.full(size - 1, 10.0 ** (-200 / size) * 0.3), np.full(size - 1, 0.3)
    up[size // 2] = down[size // 2] = 1e-14  # two halves that hardly meet
    matrix = np.diag(up, 1) + np.diag(down, -1)
    matrix += np.diag(1 - matrix.sum(axis=1))
    exact = np.concatenate(([1.0], np.cumprod(up / down)))
    exact /= exact.sum()
    yield at_most("relative error, a product law", np.abs(subject(matrix).stationary() / exact - 1), 1e-12)
    dense = _random(effort.seeds(1, "chain").generator(), effort.of(20, 60))
    import mpmath  # only here: it takes a while to load

    with mpmath.workdps(50):
        system = mpmath.matrix((dense.T - np.eye(len(dense))).tolist())
        for column in range(len(dense)):  # the rows of a float matrix do not quite sum to one: nor the diagonal counts
            system[column, column] = -mpmath.fsum(
                dense[column, other] for other in range(len(dense)) if other != column
            )
        system[0, :] = mpmath.matrix([[1] * len(dense)])
        solved = mpmath.lu_solve(system, mpmath.matrix([1] + [0] * (len(dense) - 1)))
        found = subject(dense).stationary()
        worst = max(abs(mpmath.mpf(float(mine)) / theirs - 1) for mine, theirs in zip(found, solved, strict=True))
    yield at_most("relative error, a random chain in 50 digits", float(worst), 1e-13)


@claim("physics", "markov-chain")
def markov_chain_spectrum(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Gap, relaxation time and Kemeny's constant are those of the known eigenvalues of circle and hypercube."""
    size, dimension = effort.of(31, 101), effort.of(6, 9)
    circle, cube = subject(_lazy_circle(size)), subject(_lazy_hypercube(dimension))
    gap = (1 - math.cos(2 * math.pi / size)) / 2
    yield at_most("relative error of a circle's gap", abs(circle.spectral_gap() / gap - 1), 1e-10)
    yield at_most("relative error of a hypercube's relaxation time", abs(cube.relaxation_time() / dimension - 1), 1e-10)
    known = sum(special.comb(dimension, level) * dimension / level for level in range(1, dimension + 1))
    yield at_most("relative error of a hypercube's Kemeny constant", abs(cube.kemeny_constant() / known - 1), 1e-10)
    chain = subject(_random(effort.seeds(1, "chain").generator(), effort.of(15, 60)))
    law = chain.stationary()
    waits = np.stack([chain.hitting_times(state) for state in range(chain.size)], axis=1) @ law
    constant = chain.kemeny_constant()
    yield at_most(
        "mean time to a stationary state over Kemeny's constant, from any", np.abs(waits / constant - 1), 1e-10
    )


@claim("physics", "markov-chain")
def markov_chain_mixing(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The mixing time is the first step within the distance, as closed forms count it, and within its bounds."""
    leave, back = 0.013, 0.004
    two = subject([[1 - leave, leave], [back, 1 - back]])
    for distance in (0.25, 0.01):
        farthest = max(leave, back) / (leave + back)
        exact = math.ceil(math.log(distance / farthest) / math.log(1 - leave - back))
        yield at_most(f"steps off, two states to {distance}", abs(two.mixing_time(distance) - exact), 0.0)
    families = {"circle": (_lazy_circle, _circle_distance), "hypercube": (_lazy_hypercube, _hypercube_distance)}
    for name, size in (("circle", effort.of(20, 60)), ("hypercube", effort.of(6, 8))):
        build, known = families[name]
        chain = subject(build(size))
        time = chain.mixing_time()
        exact = next(steps for steps in range(10**6) if known(size, steps) <= 0.25)
        ticks = sorted({round(time * part / 10) for part in range(1, 21)})
        curve = Plot(
            f"mixing on a {name}",
            "steps",
            "distance in total variation",
            (
                Curve("measured", ticks, [chain.distance(step) for step in ticks]),
                Curve("closed form", ticks, [known(size, step) for step in ticks], dashed=True),
            ),
        )
        off = max(abs(chain.distance(step) - known(size, step)) for step in ticks)
        yield at_most(f"error of the distance, {name}", off, 1e-11, plot=curve)
        yield at_most(f"steps off, {name}", abs(time - exact), 0.0)
        low, high = chain.mixing_time_bounds()
        yield Measured(f"mixing time between its bounds, {name}", float(time), low, high + 1)


@claim("physics", "markov-chain")
def markov_chain_hitting(subject: Any, effort: Effort) -> Iterable[Measured]:
    """A gambler's ruin has its closed-form chance and duration."""
    size, win = effort.of(20, 200), 0.48
    matrix = np.diag(np.append(0.0, np.full(size - 1, win)), 1) + np.diag(
        np.append(np.full(size - 1, 1 - win), 0.0), -1
    )
    matrix[0, 0] = matrix[size, size] = 1.0
    chain, ratio = subject(matrix), (1 - win) / win
    start = np.arange(size + 1)
    chance = np.expm1(start * math.log(ratio)) / math.expm1(size * math.log(ratio))
    yield at_most("error of the chance to win", np.abs(chain.hitting_probabilities(size) - chance), 1e-11)
    duration = (start - size * chance) / (1 - 2 * win)
    yield at_most("relative error of the duration", np.abs(chain.hitting_times([0, size]) - duration) / size, 1e-9)


@claim("physics", "markov-chain")
def markov_chain_reversible(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Metropolis' chain has Boltzmann's law and detailed balance; entropy rates are those known."""
    generator = effort.seeds(1, "metropolis").generator()
    energy = generator.normal(size=effort.of(20, 100)) * 3
    chain = subject.metropolis(energy, _random(generator, len(energy)) * 0.5 + 0.5 / len(energy), temperature=0.7)
    law = special.softmax(-energy / 0.7)
    yield at_most("relative error of the law", np.abs(chain.stationary() / law - 1), 1e-10)
    flow = law[:, None] * np.asarray(chain.transition)
    yield at_most("broken detailed balance, relative", np.abs(flow - flow.T).max() / flow.max(), 1e-12)
    size = effort.of(8, 12)
    walk = subject((np.roll(np.eye(size), 1, axis=1) + np.roll(np.eye(size), -1, axis=1)) / 2)
    yield at_most("error of a walk's entropy rate, ln 2", abs(walk.entropy_rate() - math.log(2)), 1e-14)
    leave, back = 0.2, 0.05
    binary = lambda p: -p * math.log(p) - (1 - p) * math.log(1 - p)  # noqa: E731
    rate = (back * binary(leave) + leave * binary(back)) / (leave + back)
    two = subject([[1 - leave, leave], [back, 1 - back]])
    yield at_most("error of two states' entropy rate", abs(two.entropy_rate() - rate), 1e-14)


@claim("physics", "markov-chain")
def markov_chain_draws(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Independent paths visit states, and pairs of states, as often as powers of the matrix say."""
    paths, steps = effort.of(20_000, 200_000), 7
    matrix = _random(effort.seeds(1, "chain").generator(), 8)
    start = np.array([0.5, 0.2, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0])
    drawn = subject(matrix).simulate(start, steps, effort.seeds(paths, "paths")).cpu().numpy()
    yield counts_are("start", np.bincount(drawn[:, 0], minlength=8), start)
    joint = (start @ np.linalg.matrix_power(matrix, steps - 1))[:, None] * matrix
    yield counts_are("last two states", np.bincount(drawn[:, -2] * 8 + drawn[:, -1], minlength=64), joint)
    apart = start[:, None] * np.linalg.matrix_power(matrix, 3)
    yield counts_are("states three steps apart", np.bincount(drawn[:, 0] * 8 + drawn[:, 3], minlength=64), apart)
    last = joint.sum(axis=0)
    pairs = np.bincount(drawn[::2, -1] * 8 + drawn[1::2, -1], minlength=64)
    yield counts_are("neighbouring paths, independent", pairs, np.outer(last, last))


@claim("physics", "continuous-time-markov-chain")
def jump_process_laws(subject: Any, effort: Effort) -> Iterable[Measured]:
    """exp(Qt) is that of the closed form for two states, and SciPy's for many, with no probability below zero."""
    there, back = 3.0, 0.5
    two = subject([[-there, there], [back, -back]])
    times = np.array([0.0, 1e-6, 0.1, 1.0, 30.0])
    exact = there / (there + back) * -np.expm1(-(there + back) * times)
    yield at_most("error, two states", np.abs(two.law(0, times)[:, 1] - exact), 1e-13)
    size = effort.of(20, 100)
    rates = _random(effort.seeds(1, "chain").generator(), size) * np.geomspace(1e-3, 1e2, size)[:, None]
    generator = rates - np.diag(rates.sum(axis=1))
    chain = subject(generator)
    for time in (0.01, 1.0, 100.0):
        found = chain.transition(time)
        yield at_most(f"error of exp(Qt), t = {time}", np.abs(found - linalg.expm(generator * time)), 1e-9)
        yield at_most(f"probability below zero, t = {time}", -found.min(), 0.0)


@claim("physics", "continuous-time-markov-chain")
def jump_process_stationary_law(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The stationary law of a queue is the product of its ratios in every element."""
    size = effort.of(30, 200)
    arrivals, service = np.full(size - 1, 0.2), 1.0 + np.arange(size - 1)
    generator = np.diag(arrivals, 1) + np.diag(service, -1)
    generator -= np.diag(generator.sum(axis=1))
    logs = np.arange(size) * math.log(0.2) - special.gammaln(np.arange(size) + 1)
    kept = logs > -690  # doubles end soon after
    law = subject(generator).stationary()
    off = np.log(law[kept] / law[0]) - logs[kept]
    yield at_most("error of the logarithms", np.abs(off), 1e-11)


@claim("physics", "continuous-time-markov-chain")
def jump_process_hitting(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Mean times of a birth-death process are the closed sums; the slowest rate is that of its known spectrum."""
    size = effort.of(12, 60)
    births, deaths = 1.0 + 0.1 * np.arange(size - 1), 1.5 + 0.05 * np.arange(size - 1)
    generator = np.diag(births, 1) + np.diag(deaths, -1)
    generator -= np.diag(generator.sum(axis=1))
    weights = np.concatenate(([1.0], np.cumprod(births / deaths)))
    # from i down to i - 1 it takes sum_(j >= i) weight_j/(death_i weight_i)
    down = np.cumsum(weights[::-1])[::-1][1:] / (deaths * weights[1:])
    exact = np.concatenate(([0.0], np.cumsum(down)))
    found = subject(generator).hitting_times(0)
    yield at_most("relative error of the mean times to 0", np.abs(found[1:] / exact[1:] - 1), 1e-11)
    circle = 4.0 * (_lazy_circle(size) - np.eye(size))
    gap = 2 * (1 - math.cos(2 * math.pi / size))
    yield at_most("relative error of a circle's gap", abs(subject(circle).spectral_gap() / gap - 1), 1e-9)


@claim("physics", "continuous-time-markov-chain")
def jump_process_draws(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Draws have the joint law of the states at several times that exp(Qt) gives."""
    paths, size = effort.of(20_000, 200_000), 6
    rates = _random(effort.seeds(1, "chain").generator(), size) * np.geomspace(0.3, 5.0, size)[:, None]
    generator = rates - np.diag(rates.sum(axis=1))
    drawn = subject(generator).simulate(2, [0.0, 0.2, 1.5], effort.seeds(paths, "paths")).cpu().numpy()
    yield at_most("paths that do not start where they should", float((drawn[:, 0] != 2).sum()), 0.0)
    joint = linalg.expm(generator * 0.2)[2][:, None] * linalg.expm(generator * 1.3)
    yield counts_are("states at two times", np.bincount(drawn[:, 1] * size + drawn[:, 2], minlength=size**2), joint)
    last = joint.sum(axis=0)
    pairs = np.bincount(drawn[::2, 2] * size + drawn[1::2, 2], minlength=size**2)
    yield counts_are("neighbouring paths, independent", pairs, np.outer(last, last))
