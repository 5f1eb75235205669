"""Walks on lattices and graphs: their laws, and the diffusion that they become."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import linalg, stats

from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import (
    at_most,
    counts_are,
    order_of,
)

__all__ = ["continuous_walk_law", "graph_walk_law", "walk_becomes_diffusion", "walk_law"]


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
