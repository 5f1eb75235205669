"""Claims of forward processes: what noise, transition, prior and bridge promise one another."""

import itertools
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.core.state import map_state, tensors_of
from unstir.processes import wrapped_normal
from unstir.processes.joint import Drawn
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.spaces import law_of, numbers, rows, same_moments, token_matrix
from unstir.verification.statistics import at_most, same_law

__all__ = [
    "bridge_ends_where_it_should",
    "bridge_reverses_the_noise",
    "exact_belief_returns_the_data",
    "gaussian_bridge_is_conditioning",
    "noise_composes",
    "noise_ends_in_the_prior",
    "sample_is_the_same_in_any_batch",
    "state_stays_in_its_space",
    "token_chain_is_generated_by_its_rates",
    "wrapped_normal_is_the_theta_function",
]

TIMES = ((0.4, 0.45), (0.58, 0.68))  # near together, so that an error of either step is large beside the noise


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _beside(process: Any, *states: Any) -> np.ndarray:
    return np.concatenate([numbers(process, state) for state in states], 1)


@claim("processes")
def noise_composes(process: Any, effort: Effort) -> Iterator[Measured]:
    """Noise up to s and a transition on to t have the law of noise up to t (Chapman and Kolmogorov)."""
    count = effort.of(8_000, 40_000)
    x0 = process.example_data(count)
    for s, t in TIMES:
        seeds = effort.seeds(count, "composes", str(t))
        xs = process.noise(x0, _time(s), seeds.at("first"))
        through = process.transition(xs, _time(s), _time(t), seeds.at("second"))
        straight = process.noise(x0, _time(t), seeds.at("straight"))
        yield from _same(
            f"x_0 and x_t, t = {t:g} by way of {s:g}", _beside(process, x0, through), _beside(process, x0, straight)
        )


@claim("processes")
def bridge_reverses_the_noise(process: Any, effort: Effort) -> Iterator[Measured]:
    """Given the clean data, noise up to t and the bridge back to s have the joint law of going by way of s."""
    count = effort.of(8_000, 40_000)
    x0 = process.example_data(count)
    for s, t in effort.of(TIMES[-1:], TIMES):
        seeds = effort.seeds(count, "reverses", str(t))
        xt = process.noise(x0, _time(t), seeds.at("noise"))
        back = process.bridge(xt, Drawn(x0), _time(t), _time(s), seeds.at("bridge"))
        xs = process.noise(x0, _time(s), seeds.at("first"))
        on = process.transition(xs, _time(s), _time(t), seeds.at("second"))
        yield from _same(
            f"x_0, x_s and x_t, s = {s:g}, t = {t:g}", _beside(process, x0, back, xt), _beside(process, x0, xs, on)
        )


@claim("processes")
def bridge_ends_where_it_should(process: Any, effort: Effort) -> Iterator[Measured]:
    """The bridge to time 0 is the clean data, and in no time nothing moves."""
    x0 = process.example_data(100)
    seeds = effort.seeds(100, "ends")
    for t in (0.0, 1e-6, 0.5, 0.95):
        xt = process.noise(x0, _time(t), seeds.at("noise", str(t)))
        clean = process.bridge(xt, Drawn(x0), _time(t), _time(0.0), seeds.at("back"))
        yield at_most(f"from t = {t:g} to 0: distance from x_0", _distance(process, clean, x0), 1e-12)
        still = process.bridge(xt, Drawn(x0), _time(t), _time(t), seeds.at("back"))
        yield at_most(f"from t = {t:g} to itself: distance", _distance(process, still, xt), 0.0)


@claim("processes")
def noise_ends_in_the_prior(process: Any, effort: Effort) -> Iterator[Measured]:
    """At time 1 the noisy data has the law that sampling starts from."""
    count = effort.of(4_000, 20_000)
    x0 = process.example_data(count)
    shape = map_state(lambda part: tuple(part.shape[1:]), x0)
    seeds = effort.seeds(count, "prior")
    noisy = process.noise(x0, _time(1.0), seeds.at("noise"))
    fresh = process.prior(shape, seeds.at("prior"), 1.0, torch.float64)
    yield from _same("x_0 and x_1, and x_0 with the prior", _beside(process, x0, noisy), _beside(process, x0, fresh))


@claim("processes")
def sample_is_the_same_in_any_batch(process: Any, effort: Effort) -> Iterator[Measured]:
    """Every draw belongs to its sample: it is the same to the bit alone and in any batch."""
    x0, seeds, t, s = process.example_data(64), effort.seeds(64, "addresses"), _time(0.7), _time(0.3)
    shape = map_state(lambda part: tuple(part.shape[1:]), x0)
    chosen = torch.tensor([41, 3, 12])

    def draws(x0: Any, seeds: Seeds) -> dict[str, Any]:
        xt = process.noise(x0, t, seeds.at("noise"))
        return {
            "noise": xt,
            "transition": process.transition(x0, s, t, seeds.at("transition")),
            "prior": process.prior(shape, seeds.at("prior")),
            "bridge": process.bridge(xt, Drawn(x0), t, s, seeds.at("bridge")),
        }

    few = draws(rows(x0, chosen), seeds[chosen])
    for name, drawn in draws(x0, seeds).items():
        yield at_most(
            f"{name}: difference between 3 of 64 and 3 alone", _difference(rows(drawn, chosen), few[name]), 0.0
        )


@claim("processes")
def state_stays_in_its_space(process: Any, effort: Effort) -> Iterator[Measured]:
    """States keep their dtype, stay finite, and stay on the torus or among the classes, at all times."""
    x0 = map_state(lambda part: part.float() if part.is_floating_point() else part, process.example_data(500))
    seeds = effort.seeds(500, "space")
    astray = 0
    for t in (0.0, 1e-8, 0.3, 1.0):
        xt = process.noise(x0, _time(t), seeds.at("noise", str(t)))
        for state in (xt, process.bridge(xt, Drawn(x0), _time(t), _time(t / 2), seeds.at("bridge", str(t)))):
            kept = [
                a.dtype == b.dtype and a.shape == b.shape
                for a, b in zip(tensors_of(state), tensors_of(x0), strict=True)
            ]
            astray += kept.count(False) + int((~process.contains(state)).sum())
    yield at_most("elements that are elsewhere", astray, 0.0)


@claim("processes")
def exact_belief_returns_the_data(process: Any, effort: Effort) -> Iterator[Measured]:
    """Ancestral steps from the prior, with the exact belief, draw the data's own law, however few they are."""
    count = effort.of(3_000, 20_000)
    law: Any = law_of(process)
    for times in ((1.0, 0.0), (1.0, 0.75, 0.4, 0.0)):
        seeds = effort.seeds(count, "returns", len(times))
        grid = torch.tensor(times, dtype=torch.float64)
        drawn = sample(law, AncestralSampler(), law.shape, grid=grid, seeds=seeds, batch=count, dtype=torch.float64)
        data = law.draw(seeds.at("data"))
        steps = len(times) - 1
        yield from _same(
            f"samples of {steps} step{'s' * (steps > 1)} against the data",
            numbers(process, drawn),
            numbers(process, data),
        )


@claim("processes", "gaussian")
def gaussian_bridge_is_conditioning(process: Any, effort: Effort) -> Iterator[Measured]:
    """The bridge's coefficients are those of conditioning the joint normal law of x_s and x_t given x_0."""
    grid = torch.linspace(0.02, 0.98, effort.of(15, 60), dtype=torch.float64)
    s, t = (grid[index] for index in torch.triu_indices(len(grid), len(grid), 1))
    schedule = process.schedule
    ratio = schedule.alpha(t) / schedule.alpha(s)
    here, there = schedule.sigma(s).square(), schedule.sigma(t).square()
    slope = ratio * here / there
    told = process.bridge_coefficients(t, s)
    expected = (slope, schedule.alpha(s) - slope * schedule.alpha(t), here - slope.square() * there)
    scales = (slope, schedule.alpha(s), here)
    for name, value, wanted, scale in zip(
        ("of x_t", "of x_0", "variance"), (told[0], told[1], told[2].square()), expected, scales, strict=True
    ):
        yield at_most(
            f"{name}: largest relative error over pairs of times", ((value - wanted).abs() / scale).max(), 1e-9
        )


@claim("processes", "categorical")
def token_chain_is_generated_by_its_rates(process: Any, effort: Effort) -> Iterator[Measured]:
    """Transition probabilities are the exponential of the rates, and sum to one."""
    classes = torch.arange(process.states)[:, None].expand(-1, 2)
    errors, sums = [], []
    for s, t in itertools.combinations((0.0, 1e-4, 0.1, 0.5, 0.9, 0.999), 2):
        wanted = token_matrix(process, t, s)
        told = process.log_forward(classes, _time(s), _time(t))[:, 0].exp().numpy()
        backward = process.log_backward(classes, _time(s), _time(t))[:, 0].exp().numpy().T
        errors += [np.abs(told - wanted).max(), np.abs(backward - wanted).max()]
        sums.append(np.abs(told.sum(1) - 1).max())
    yield at_most("largest error against the matrix exponential", max(errors), 1e-11)
    yield at_most("largest error of a row's sum", max(sums), 1e-12)


@claim("processes", "wrapped")
def wrapped_normal_is_the_theta_function(process: Any, effort: Effort) -> Iterator[Measured]:
    """Log-density and score of the noise agree with Jacobi's theta function at all noise levels."""
    period = float(torch.tensor(process.period).flatten()[0])
    worst_density, worst_score, worst_prior = 0.0, 0.0, 0.0
    with mpmath.workdps(150):
        for rho in effort.of(
            (1e-3, 0.1, 0.39, 0.41, 2.0), (1e-6, 1e-3, 0.03, 0.1, 0.25, 0.39, 0.41, 0.6, 1.0, 2.0, 3.0)
        ):
            for share in (-0.4999, -0.3, 1e-3 * rho, 0.11, 0.25, 0.5):
                density, score = _theta(mpmath.mpf(share), mpmath.mpf(rho))
                distance = torch.tensor([share * period], dtype=torch.float64)
                deviation = torch.tensor([rho * period], dtype=torch.float64)
                told = wrapped_normal.log_density(distance, deviation, period).item() + float(np.log(period))
                slope = wrapped_normal.score(distance, deviation, period).item() * period
                worst_density = max(worst_density, abs(told - float(density)) / max(1.0, abs(float(density))))
                if share != 0.5:  # the score vanishes there
                    worst_score = max(worst_score, abs(slope - float(score)) / abs(float(score)))
            peak = mpmath.expm1(_theta(mpmath.mpf(0), mpmath.mpf(rho))[0])
            told = wrapped_normal.largest_deviation_from_uniform(_time(rho * period), period).item()
            worst_prior = max(worst_prior, abs(told - float(peak)) / float(peak))
    yield at_most("log-density, largest error", worst_density, 1e-12)
    yield at_most("score, largest relative error", worst_score, 1e-10)
    yield at_most("distance from uniform, largest relative error", worst_prior, 1e-9)


def _theta(share: Any, rho: Any) -> tuple[Any, Any]:
    """Log-density and score for the period 1, by the sum over windings, in mpmath's precision."""
    reach = int(8 * rho**2 + 14 * rho) + 3  # its tail is far below the distance from uniform
    windings = [share + k for k in range(-reach, reach + 1)]
    terms = [mpmath.exp(-(away**2) / (2 * rho**2)) for away in windings]
    total = mpmath.fsum(terms)
    slope = mpmath.fsum(-away / rho**2 * term for away, term in zip(windings, terms, strict=True))
    return mpmath.log(total / (mpmath.sqrt(2 * mpmath.pi) * rho)), slope / total


def _same(quantity: str, first: np.ndarray, second: np.ndarray) -> Iterator[Measured]:
    yield same_law(quantity, first, second)
    yield same_moments(f"{quantity}: moments", first, second)


def _difference(first: Any, second: Any) -> float:
    return max(
        (a.double() - b.double()).abs().max().item() for a, b in zip(tensors_of(first), tensors_of(second), strict=True)
    )


def _distance(process: Any, first: Any, second: Any) -> float:
    """In features, so that both ends of a period are one place."""
    return float(np.abs(numbers(process, first) - numbers(process, second)).max())
