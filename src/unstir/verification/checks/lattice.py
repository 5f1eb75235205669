"""Claims of noise in a periodic cell of any form."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes import lattice_theta
from unstir.processes.lattice import LatticeProcess
from unstir.processes.lattice_theta import lattice_of
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.processes.wrapped_normal import shortest
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, counts_are

__all__ = [
    "lattice_bridge_has_the_density_of_bayes",
    "lattice_normal_is_the_sum_over_the_lattice",
    "square_cell_is_the_torus",
]

CELLS = {
    "oblique plane": ((1.0, 0.0), (3.4, 0.8)),
    "long plane": ((1.0, 0.0), (0.2, 6.0)),
    "face-centred": ((0.0, 2.0, 2.0), (2.0, 0.0, 2.0), (2.0, 2.0, 0.0)),
    "skew": ((3.0, 0.0, 0.0), (7.1, 3.4, 0.0), (-4.8, 8.5, 4.2)),
}


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@claim("processes", "lattice")
def lattice_normal_is_the_sum_over_the_lattice(process: Any, effort: Effort) -> Iterator[Measured]:
    """Density and score agree with plain sums over lattice or dual vectors at high precision, at all noise levels."""
    shares = effort.of((1e-3, 0.97, 1.03), (1e-6, 1e-3, 0.1, 0.5, 0.97, 1.03, 1.5, 3.0))
    for name, cell in CELLS.items():
        if len(cell) != len(process.cell) or (effort.quick and name == "face-centred"):
            continue
        lattice = lattice_of(cell)
        worst_density, worst_score = 0.0, 0.0
        for share in shares:
            sigma = share * lattice.self_dual
            for place in ((0.31, -0.22, 0.45), (0.02, 0.93, 2.57), (0.5, 0.4999, -0.25))[: effort.of(4 - len(cell), 3)]:
                x = torch.tensor(place[: len(cell)], dtype=torch.float64)
                logs, slope = _theta(cell, place[: len(cell)], sigma, share > 1)
                told = lattice_theta.log_density(lattice, x, _time(sigma)).item()
                worst_density = max(worst_density, abs(told - float(logs)) / max(1.0, abs(float(logs))))
                difference = lattice_theta.score(lattice, x, _time(sigma)).numpy() - slope
                worst_score = max(worst_score, float(np.linalg.norm(difference) / np.linalg.norm(slope)))
        yield at_most(f"{name}: log-density, largest error", worst_density, 1e-11)
        yield at_most(f"{name}: score, largest relative error", worst_score, 1e-8)


def _theta(cell: Any, place: Any, sigma: float, wide: bool) -> tuple[Any, np.ndarray]:
    """Log-density relative to uniform, and score in space, in the cell's own basis; all vectors of a large box."""
    size = len(cell)
    matrix = np.array(cell)
    inverse = np.linalg.inv(matrix)
    with mpmath.workdps(50):
        if wide:
            # |m| < reach * |a| for a dual vector of whole coordinates m shorter than reach
            reach = 3.2 / sigma + 1 / np.linalg.norm(matrix, axis=1).min()
            limits = np.ceil(reach * np.linalg.norm(matrix, axis=1)).astype(int)
            vectors = np.array(list(product(*(range(-n, n + 1) for n in limits))))
            dual = vectors @ inverse.T
            chosen = np.square(dual).sum(1) <= reach**2
            total, slopes = mpmath.mpf(0), [mpmath.mpf(0)] * size
            for whole, wave in zip(vectors[chosen].tolist(), dual[chosen].tolist(), strict=True):
                factor = mpmath.exp(-2 * mpmath.pi**2 * mpmath.mpf(sigma) ** 2 * mpmath.fsum(w * w for w in wave))
                phase = (
                    2
                    * mpmath.pi
                    * mpmath.fsum(mpmath.mpf(n) * mpmath.mpf(f) for n, f in zip(whole, place, strict=True))
                )
                total += factor * mpmath.cos(phase)
                slopes = [s - 2 * mpmath.pi * w * factor * mpmath.sin(phase) for s, w in zip(slopes, wave, strict=True)]
            logs = mpmath.log(total)
        else:
            start = np.array(place) @ matrix
            near = np.linalg.norm(start - np.rint(np.array(place)) @ matrix)
            reach = near + 10 * sigma  # the nearest copy is no further than this one
            limits = np.ceil((reach + np.linalg.norm(start)) * np.linalg.norm(inverse, axis=0)).astype(int)
            vectors = np.array(list(product(*(range(-n, n + 1) for n in limits))))
            chosen = np.linalg.norm(start + vectors @ matrix, axis=1) <= reach
            total, slopes = mpmath.mpf(0), [mpmath.mpf(0)] * size
            for whole in vectors[chosen].tolist():
                away = [
                    mpmath.fsum(
                        (mpmath.mpf(f) + n) * mpmath.mpf(row[axis])
                        for f, n, row in zip(place, whole, cell, strict=True)
                    )
                    for axis in range(size)
                ]
                term = mpmath.exp(-mpmath.fsum(a * a for a in away) / (2 * mpmath.mpf(sigma) ** 2))
                total += term
                slopes = [s - a / mpmath.mpf(sigma) ** 2 * term for s, a in zip(slopes, away, strict=True)]
            volume = abs(mpmath.det(mpmath.matrix([list(row) for row in cell])))
            logs = mpmath.log(total * volume / (2 * mpmath.pi * mpmath.mpf(sigma) ** 2) ** (mpmath.mpf(size) / 2))
        return logs, np.array([float(slope / total) for slope in slopes])


@claim("processes", "lattice")
def square_cell_is_the_torus(process: Any, effort: Effort) -> Iterator[Measured]:
    """In a cell with right angles and equal edges, density, score and draws are those of a torus, to rounding."""
    edge, count = 1.7, effort.of(50, 500)
    schedule = ExponentialVESchedule(0.01, 3.0)
    torus = WrappedProcess(schedule, edge)
    for size in (1, 2) if len(process.cell) == 2 else (3,):
        cubic = LatticeProcess(schedule, (edge * np.eye(size)).tolist())
        x0, xt = (effort.seeds(count, "square", which).uniform((4, size)) for which in ("x0", "xt"))
        worst = {"log-density": 0.0, "score": 0.0, "draw": 0.0}
        for t in (1e-9, 1e-3, 0.3, 0.7, 0.75, 0.9):
            now = _time(t)
            wanted = torus.log_density(edge * xt, edge * x0, now) + 4 * size * np.log(edge)
            gap = (cubic.log_density(xt, x0, now) - wanted).abs() / wanted.abs().clamp(min=1)
            worst["log-density"] = max(worst["log-density"], gap.max().item())
            score = torus.conditional_score(edge * xt, edge * x0, now)
            gap = (cubic.conditional_score(xt, x0, now) - score).norm(dim=2) / score.norm(dim=2)
            worst["score"] = max(worst["score"], gap.max().item())
            seeds = effort.seeds(count, "drawn")
            gap = cubic.noise(x0, now, seeds) - torus.noise(edge * x0, now, seeds) / edge
            worst["draw"] = max(worst["draw"], shortest(gap, 1.0).abs().max().item())
        yield at_most(f"log-density, {size} dimensions", worst["log-density"], 1e-12)
        # a torus is exact in every coordinate, a cell in the length of the score
        yield at_most(f"score, {size} dimensions, relative", worst["score"], 1e-9)
        yield at_most(f"difference of draws, {size} dimensions, in edges", worst["draw"], 1e-12)


@claim("processes", "lattice")
def lattice_bridge_has_the_density_of_bayes(process: Any, effort: Effort) -> Iterator[Measured]:
    """The bridge's draws fall into parts of the cell as often as the product of two densities says."""
    lattice, size = process.lattice, len(process.cell)
    count, parts = effort.of(3_000, 30_000), 3 if size == 3 else 5
    fine = parts * (6 if size == 3 else 12)
    axis = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine
    grid = torch.cartesian_prod(*[axis] * size).reshape(-1, size)
    x0, xt = (torch.tensor(place[:size], dtype=torch.float64) for place in ((0.1, 0.8, 0.3), (0.62, 0.15, 0.7)))

    def numbered(places: Tensor) -> np.ndarray:
        return ((places * parts).long() * parts ** torch.arange(size)).sum(-1).numpy()

    # both narrow, and one of the two wide: the two ways to draw
    for shares in effort.of(((0.7, 0.8), (0.6, 1.5)), ((0.7, 0.8), (0.9, 0.95), (0.6, 1.5), (1.6, 0.5), (1.3, 1.2))):
        first, second = (share * lattice.self_dual for share in shares)
        s = process.schedule.time_at_sigma(first)
        t = process.schedule.time_at_sigma((first**2 + second**2) ** 0.5)
        logs = lattice_theta.log_density(lattice, grid - x0, _time(first)) + lattice_theta.log_density(
            lattice, xt - grid, _time(second)
        )
        chances = np.bincount(numbered(grid), logs.softmax(0).numpy())
        start, seen = (place.expand(count, 1, size).contiguous() for place in (x0, xt))
        seeds: Seeds = effort.seeds(count, "bayes", str(shares))
        drawn = process.bridge(seen, PointPosterior(start), t, s, seeds)
        counted = np.bincount(numbered(drawn[:, 0]), minlength=len(chances))
        yield counts_are(f"deviations of {shares[0]} and {shares[1]} self-dual ones", counted, chances)
