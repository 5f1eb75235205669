"""Claims of noise in an interval, and of the laws known exactly there."""

import math
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

from unstir.processes import reflected_normal
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, counts_are

__all__ = [
    "reflected_belief_follows_bayes",
    "reflected_density_sums_to_one",
    "reflected_draws_follow_the_density",
    "reflected_normal_is_the_sum_of_images",
    "reflected_score_is_the_gradient",
]


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@claim("processes", "reflected")
def reflected_normal_is_the_sum_of_images(process: Any, effort: Effort) -> Iterator[Measured]:
    """Density, score and mean of the noise agree with the sum over mirror images at high precision, at all levels."""
    worst = {"log-density": 0.0, "score": 0.0, "mean": 0.0}
    width = float(process.ends(process.example_data(1))[1].flatten()[0])
    with mpmath.workdps(effort.of(40, 120)):
        for rho in effort.of(
            (1e-4, 0.59, 0.79, 0.81, 1.2), (1e-6, 1e-3, 0.05, 0.2, 0.4, 0.59, 0.61, 0.79, 0.81, 1.5, 4.0)
        ):
            for x, c in ((0.3, 0.31), (1e-7, 0.6), (0.98, 0.99), (0.45, 0.1), (1 - 1e-6, 0.3)):
                logs, slope, mean = _images(mpmath.mpf(x), mpmath.mpf(c), mpmath.mpf(rho))
                place, centre, deviation = (_time(value * width) for value in (x, c, rho))
                told = reflected_normal.log_density(place, centre, deviation, width).item() + math.log(width)
                worst["log-density"] = max(worst["log-density"], abs(told - float(logs)) / max(1.0, abs(float(logs))))
                told = reflected_normal.score(place, centre, deviation, width).item() * width
                # 1 - x is rounded before it is handed over, as c - x is
                worst["score"] = max(worst["score"], abs(told - float(slope)) / abs(float(slope)))
                told = reflected_normal.mean(centre, deviation, width).item() / width
                worst["mean"] = max(worst["mean"], abs(told - float(mean)))
    yield at_most("log-density, largest error", worst["log-density"], 1e-12)
    yield at_most("score, largest relative error", worst["score"], 1e-8)
    yield at_most("mean, largest error in widths", worst["mean"], 1e-12)


def _images(x: Any, c: Any, rho: Any) -> tuple[Any, Any, Any]:
    """Log-density, score and mean in the unit interval, by plain sums over images in mpmath's precision."""
    reach = int(8 * rho**2 + 14 * rho) + 3
    places = [sign * c + 2 * k for k in range(-reach, reach + 1) for sign in (1, -1)]
    terms = [mpmath.exp(-((x - a) ** 2) / (2 * rho**2)) for a in places]
    slope = mpmath.fsum(-(x - a) / rho**2 * term for a, term in zip(places, terms, strict=True))
    total = mpmath.fsum(terms)

    def partial(a: Any) -> Any:
        """The part of E[y] that a normal about a leaves between 0 and 1."""
        low, high = (-a / rho, (1 - a) / rho)
        inside = mpmath.ncdf(high) - mpmath.ncdf(low)
        return a * inside + rho * (mpmath.npdf(low) - mpmath.npdf(high))

    mean = mpmath.fsum(partial(a) for a in places)
    return mpmath.log(total / (mpmath.sqrt(2 * mpmath.pi) * rho)), slope / total, mean


def _grid(law: Any, fineness: int) -> tuple[Tensor, float]:
    """The middles of even cells, where sums are exact for functions that are smooth in the mirrors; log of a volume."""
    middles = (torch.arange(fineness, dtype=torch.float64) + 0.5) / fineness
    low, width = law.process.ends(torch.zeros(1, *law.shape, dtype=torch.float64))
    places = torch.cartesian_prod(*[middles] * math.prod(law.shape)).reshape(-1, *law.shape)
    volume = (width / fineness).expand(law.shape).log().sum().item()
    return low + places * width, volume


def _nodes(law: Any, count: int) -> tuple[Tensor, Tensor]:
    """Gauss's and Legendre's nodes: exact for all that is smooth within the interval; logarithms of their weights."""
    nodes, weights = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(count))
    low, width = law.process.ends(torch.zeros(1, *law.shape, dtype=torch.float64))
    elements = math.prod(law.shape)
    places = torch.cartesian_prod(*[(nodes + 1) / 2] * elements).reshape(-1, *law.shape)
    volume = torch.cartesian_prod(*[(weights / 2).log()] * elements).reshape(-1, elements).sum(1)
    return low + places * width, volume + width.expand(law.shape).log().sum()


@claim("exact", "reflected-mixture")
def reflected_density_sums_to_one(law: Any, effort: Effort) -> Iterator[Measured]:
    """The density of every noisy marginal sums to one over the interval."""
    places, volume = _grid(law, effort.of(128, 256))
    for t in (0.0, 0.4, 1.0):
        total = (law.log_density(places, t) + volume).logsumexp(0).exp().item()
        yield at_most(f"difference from one, t = {t:g}", abs(total - 1), 1e-10)


@claim("exact", "reflected-mixture")
def reflected_belief_follows_bayes(law: Any, effort: Effort) -> Iterator[Measured]:
    """Evidence, mean and density of the belief are those that Bayes' rule gives over the whole interval."""
    places, volume = _nodes(law, effort.of(128, 256))
    prior, count = law.log_density(places, 0.0), effort.of(6, 40)
    x0 = law.draw(effort.seeds(count, "elsewhere"))
    for t in effort.of((0.5,), (0.5, 0.7, 0.9)):
        xt = law.draw(effort.seeds(count, "bayes"), t)
        belief = law(xt, _time(t))
        evidence, means = [], []
        for row in range(count):
            seen = xt[row : row + 1].expand(len(places), *law.shape)
            logs = prior + volume + law.process.log_density(seen, places, _time(t))
            evidence.append(logs.logsumexp(0))
            means.append(torch.einsum("n,n...->...", logs.softmax(0), places))
        wanted = torch.stack(evidence)
        yield at_most(f"log p_t(x_t), t = {t:g}", (wanted - law.log_density(xt, t)).abs().max(), 1e-9)
        yield at_most(f"mean of the belief, t = {t:g}", (torch.stack(means) - belief.mean).abs().max(), 1e-8)
        logs = law.log_density(x0, 0.0) + law.process.log_density(xt, x0, _time(t)) - wanted
        gap = (belief.log_prob(x0) - logs).abs().max()
        yield at_most(f"log-density of the belief, t = {t:g}", gap, 1e-8)


@claim("exact", "reflected-mixture")
def reflected_draws_follow_the_density(law: Any, effort: Effort) -> Iterator[Measured]:
    """Draws, and draws from the belief at draws, fall into cells of the interval as often as the density says."""
    count, cells = effort.of(4_000, 40_000), 8
    places, volume = _grid(law, 128)
    low, width = law.process.ends(places)

    def numbered(states: Tensor) -> np.ndarray:
        cell = ((states - low) / width * cells).long().clamp(max=cells - 1).flatten(1)
        return (cell * cells ** torch.arange(cell.shape[1])).sum(1).numpy()

    clean = np.zeros(0)
    for t in (0.0, 0.5):
        chances = (law.log_density(places, t) + volume).exp().numpy()
        wanted = np.bincount(numbered(places), chances)
        drawn = law.draw(effort.seeds(count, "draws", str(t)), t)
        yield counts_are(
            f"counts in {len(wanted)} cells, t = {t:g}", np.bincount(numbered(drawn), minlength=len(wanted)), wanted
        )
        if t == 0:
            clean = wanted
        else:
            believed = law(drawn, _time(t)).sample(effort.seeds(count, "belief"))
            counted = np.bincount(numbered(believed), minlength=len(clean))
            yield counts_are(f"of draws from the belief at t = {t:g}", counted, clean)


@claim("exact", "reflected-mixture")
def reflected_score_is_the_gradient(law: Any, effort: Effort) -> Iterator[Measured]:
    """The score is the gradient of the log-density at all noise levels, and vanishes at the ends of the interval."""
    for t in (0.0, 1e-3, 0.3, 0.6, 1.0):
        xt = law.draw(effort.seeds(effort.of(100, 1_000), "score", str(t)), t).requires_grad_()
        (gradient,) = torch.autograd.grad(law.log_density(xt, t).sum(), xt)
        told = law.score(xt.detach(), t)
        yield at_most(
            f"largest error over the largest score, t = {t:g}",
            (told - gradient).abs().max() / gradient.abs().max(),
            1e-10,
        )
    low, width = law.process.ends(xt)
    for name, end in (("lower", low), ("upper", low + width)):
        at_end = end.expand(1, *law.shape)
        yield at_most(f"score at the {name} end, t = 0.6", law.score(at_end, 0.6).abs().max(), 1e-9)
