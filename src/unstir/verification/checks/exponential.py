"""What the exponential-integrator family keeps: exact weights, polynomials without error, its papers' formulas."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import torch
from scipy.integrate import quad
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.base import Schedule
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.base import SamplerState
from unstir.samplers.exponential import ExponentialSampler
from unstir.samplers.interpolation import Interpolation, level
from unstir.samplers.single_step import SingleStepSampler
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import IN_THE_PLANE, PointDenoiser, walk
from unstir.verification.statistics import at_most

__all__ = [
    "exponential_averages",
    "exponential_polynomials",
    "exponential_single_steps",
    "exponential_two_values",
    "exponential_weights",
]

MULTISTEP = ("deis", "dpm-solver-pp-3m", "dpm-solver-pp-sde", "exponential-ab", "multistep", "sa-solver", "velocity-ab")
# their noise levels as functions of half the log-SNR in mpmath, beside the schedules themselves
_TIMES: dict[str, tuple[Schedule, Callable[[Any], Any]]] = {
    "cosine": (CosineSchedule(), lambda half: 2 / mpmath.pi * mpmath.atan(mpmath.exp(-half))),
    "flow": (RectifiedFlowSchedule(), lambda half: 1 / (1 + mpmath.exp(half))),
}
# the step's start in half the log-SNR, its width, and the widths of the steps before it
_STEPS = {
    "tiny": (0.4, 1e-4, (2e-4, 0.7e-4, 1.5e-4)),
    "usual": (-1.1, 0.3, (0.5, 0.2, 0.6)),
    "huge": (-6, 13, (1, 3, 2)),
}


@claim("samplers", *MULTISTEP)
def exponential_weights(sampler: ExponentialSampler, effort: Effort) -> Iterator[Measured]:
    """Its weights are the integrals of the polynomial along the path, to ten digits in steps of any width.

    Against mpmath with 30 digits, for every number of values that the sampler uses.
    """
    counts = [count for count in range(1, sampler.steps_used + 1) if count == 1 or count > sampler.averaged]
    for name in effort.of(["cosine"], list(_TIMES)):
        schedule, time_of = _TIMES[name]
        for width in effort.of(["usual", "huge"], list(_STEPS)):
            start, step, before = _STEPS[width]
            halves = [start + step, start, *(start - np.cumsum(before))]
            there, *known = (level(schedule, schedule.time(2 * float(half)).item()) for half in halves)
            rule = sampler.interpolation(known[0], there)
            errors = []
            for count in counts:
                nodes = tuple(known[:count])
                told = rule.weights(schedule, known[0], there, nodes).values
                with mpmath.workdps(30):
                    expected = _integrals(rule, time_of, [place.half for place in (there, *nodes)])
                scales = {"data": there.alpha, "noise": there.sigma}
                norm = math.hypot(rule.scale * there.alpha, there.sigma)
                norm = norm if rule.prediction == "velocity" else rule.scale * there.alpha + there.sigma
                unit = scales.get(rule.prediction, norm)
                largest = max(abs(value) for value in expected)
                errors += [abs(value / unit - one) / largest for value, one in zip(told, expected, strict=True)]
            yield at_most(f"relative error, {width} steps, {name}", max(errors), 1e-10)


def _integrals(rule: Interpolation, time_of: Callable[[Any], Any], halves: list[float]) -> list[float]:
    """Of d kappa times each Lagrange polynomial, from the papers' formulas, in units of alpha_s, sigma_s or norm."""
    end, *nodes = (mpmath.mpf(half) for half in halves)
    scale, rate = mpmath.mpf(rule.scale), mpmath.mpf(rule.noise_rate)
    low, high = (mpmath.mpf(edge) for edge in rule.noise_range)
    variables: dict[str, Callable[[Any], Any]] = {
        "log-snr": lambda half: half,
        "ratio": lambda half: mpmath.exp(-half),
        "time": time_of,
        "angle": lambda half: mpmath.atan(mpmath.exp(-half) / scale),
        "flow": lambda half: mpmath.exp(-half) / (mpmath.exp(-half) + scale),
    }

    def noisy(half: Any) -> Any:
        return rate if low < half < high else 0

    def left(half: Any) -> Any:
        return rate * max(min(end, high) - max(half, low), 0) if rate else 0

    densities: dict[str, Callable[[Any], Any]] = {
        "data": lambda half: (1 + noisy(half)) * mpmath.exp(half - end - left(half)),
        "noise": lambda half: -(1 + noisy(half)) * mpmath.exp(end - half),
        "velocity": lambda half: -1 / (mpmath.exp(half) * scale + mpmath.exp(-half) / scale),
        "flow": lambda half: -mpmath.exp(-half) * scale / (mpmath.exp(-half) + scale) ** 2,
    }
    place, density = variables[rule.variable], densities[rule.prediction]
    places = [place(node) for node in nodes]

    def integral(own: int) -> float:
        def integrand(half: Any) -> Any:
            value = density(half)
            for other, away in enumerate(places):
                if other != own:
                    value *= (place(half) - away) / (places[own] - away)
            return value

        pieces: list[Any] = [nodes[0], *(edge for edge in (low, high) if nodes[0] < edge < end), end]
        halved = sorted([*pieces, *((start + stop) / 2 for start, stop in pairwise(pieces))])
        return float(str(mpmath.quad(integrand, halved)))

    return [integral(own) for own in range(len(nodes))]


@claim("samplers", *MULTISTEP, "unipc")
def exponential_polynomials(sampler: ExponentialSampler, effort: Effort) -> Iterator[Measured]:
    """With k values its step is exact where what it interpolates is a polynomial of degree k - 1 of its variable.

    The belief is made for that; each step starts at the exact state, with what the steps before it found.
    """
    if sampler.noisy:
        raise NotMeasured("it draws noise; its weights are measured", silent=True)
    counts = [sampler.steps_used, *([sampler.corrector] if sampler.corrector else [])]
    degree = min(sampler.steps_used - 1, *(count - 1 if count > sampler.averaged else 0 for count in counts))
    polynomial = np.polynomial.Polynomial([0.7, -0.5, 0.3, 0.2][: degree + 1])
    for name, schedule in effort.of({}, {"edm": EDMSchedule()}).items() | {("cosine", CosineSchedule())}:
        levels = [6.0, 4.5, 2.5, 1.9, 0.8, 0.5, 0.2]
        times = schedule.time_at_sigma(torch.tensor(levels, dtype=torch.float64))
        denoiser = _Polynomial(sampler, polynomial, GaussianProcess(schedule))
        norms = [denoiser.norm(r) * schedule.alpha(t).item() for r, t in zip(levels, times, strict=True)]
        state, exact, errors = SamplerState(torch.zeros(2, 1, dtype=torch.float64), Seeds.range(0, 2)), 0.4, []
        state = replace(state, x=torch.full((2, 1), exact * norms[0], dtype=torch.float64))
        for number, (t, s) in enumerate(pairwise(times)):
            state = sampler.step(denoiser, state, t, s)
            exact += quad(denoiser.slope, levels[number], levels[number + 1], epsabs=1e-13, epsrel=1e-12)[0]
            if number >= max(counts):
                errors.append((state.tensor / (exact * norms[number + 1]) - 1).abs().max().item())
            state = replace(state, x=torch.full((2, 1), exact * norms[number + 1], dtype=torch.float64))
        yield at_most(f"relative error of a step, degree {degree}, {name}", max(errors), 1e-9)


class _Polynomial(Denoiser):
    """A belief that makes what the sampler interpolates a polynomial of its variable, whatever the state."""

    def __init__(
        self, sampler: ExponentialSampler, polynomial: np.polynomial.Polynomial, process: GaussianProcess
    ) -> None:
        super().__init__()
        self.sampler, self.polynomial, self.process = sampler, polynomial, process

    def value(self, r: float) -> float:
        """The quantity at a noise level r = sigma/alpha."""
        c = self.sampler.scale
        place = {
            "log-snr": lambda: -math.log(r),
            "ratio": lambda: r,
            "time": lambda: self.process.schedule.time_at_sigma(r).item(),
            "angle": lambda: math.atan(r / c),
            "flow": lambda: r / (r + c),
        }[self.sampler.variable]
        return float(self.polynomial(place()))

    def slope(self, r: float) -> float:
        """d(x/norm)/dr along the path."""
        c = self.sampler.scale
        paces = {"data": -1 / r**2, "noise": 1.0, "velocity": c / (c**2 + r**2), "flow": c / (c + r) ** 2}
        return self.value(r) * paces[self.sampler.prediction]

    def norm(self, r: float) -> float:
        """By what x/alpha is divided."""
        c = self.sampler.scale
        return {"data": r, "noise": 1.0, "velocity": math.hypot(c, r), "flow": c + r}[self.sampler.prediction]

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """The mean for which the quantity has its value at this state."""
        alpha, sigma = self.process.schedule.alpha(t).item(), self.process.schedule.sigma(t).item()
        c, value = self.sampler.scale, self.value(sigma / alpha)
        if self.sampler.prediction == "data":
            return PointPosterior(torch.full_like(xt, value))
        if self.sampler.prediction == "noise":
            return PointPosterior((xt - sigma * value) / alpha)
        if self.sampler.prediction == "flow":
            return PointPosterior((xt - sigma * value) / (alpha + sigma / c))
        # X = cos m/c + sin eps and V = cos eps - sin m/c give m/c = cos X - sin V
        norm = math.hypot(c * alpha, sigma)
        return PointPosterior(c * (c * alpha / norm * xt / norm - sigma / norm * value))


@claim("samplers", "dpm-solver-pp-2m", "unipc")
def exponential_two_values(sampler: ExponentialSampler, effort: Effort) -> Iterator[Measured]:
    """It takes its paper's steps, with the corrector done as the paper does it, from the state before.

    DPM-Solver++ (2022), algorithm 2; UniPC (2023), algorithms 5 and 6 with B_2(h) = e^h - 1 and a predictor of order 2.
    """
    if sampler.steps_used != 2 or sampler.prediction != "data":
        raise NotMeasured("the formulas written here are those of order 2 in data prediction", silent=True)

    def steps(denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        schedule = denoiser.process.schedule
        before: list[tuple[Any, ...]] = []
        for t, s in pairwise(times):
            alpha, sigma, half = schedule.alpha(t), schedule.sigma(t), schedule.log_snr(t) / 2
            mean = denoiser(x, t).mean
            if sampler.corrector and before:
                x0, m0, half0, sigma0 = before[-1]
                h = half - half0
                anchor, gain = sigma / sigma0 * x0 - alpha * torch.expm1(-h) * m0, torch.expm1(-h)
                if len(before) == 1:
                    x = anchor - alpha * gain * (mean - m0) / 2
                else:
                    r = (before[-2][2] - half0) / h
                    phi2, phi3 = gain / -h - 1, (gain / -h - 1) / -h - 0.5
                    matrix = torch.stack((torch.ones(2, dtype=torch.float64), torch.stack((r, torch.ones_like(r)))))
                    # sum_m r_m^n a_m, n = 0 and 1, are the weighted integrals of u/h and (u/h)^2: B cancels
                    wanted = torch.stack((phi2, 2 * phi3))
                    a = torch.linalg.solve(matrix, wanted)
                    x = anchor - alpha * (a[0] * (before[-2][1] - m0) / r + a[1] * (mean - m0))
            h = schedule.log_snr(s) / 2 - half
            slope = mean if not before else mean + (mean - before[-1][1]) * h / (half - before[-1][2]) / 2
            before.append((x, mean, half, sigma))
            x = schedule.sigma(s) / sigma * x - schedule.alpha(s) * torch.expm1(-h) * slope
        return x

    yield from _agree(sampler, steps)


@claim("samplers", "plms")
def exponential_averages(sampler: ExponentialSampler, effort: Effort) -> Iterator[Measured]:
    """On even times it takes its paper's steps: DDIM's, of Adams' and Bashforth's average of the noise.

    PNDM (2022), equations 11 and 12; the first steps by fewer values are not compared.
    """
    weights = {4: (55 / 24, -59 / 24, 37 / 24, -9 / 24), 3: (23 / 12, -16 / 12, 5 / 12), 2: (1.5, -0.5), 1: (1.0,)}
    schedule = CosineSchedule()
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    times = torch.linspace(0.9, 0.3, 11, dtype=torch.float64)
    x = Seeds.range(effort.seed, 8).normal((2,), torch.float64)
    errors, noises = [], []
    for (t, s), (before, after) in zip(pairwise(times), pairwise(walk(sampler, denoiser, x, times)), strict=True):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        noises.insert(0, (before.tensor - alpha * denoiser(before.tensor, t).mean) / sigma)
        if len(noises) >= 2 * sampler.steps_used:
            average = sum(w * noise for w, noise in zip(weights[sampler.steps_used], noises, strict=False))
            told = schedule.alpha(s) * (before.tensor - sigma * average) / alpha + schedule.sigma(s) * average
            errors.append((told - after.tensor).abs().max().item())
    yield at_most("distance from the paper's step", max(errors), 1e-12)


@claim("samplers", "dpm-solver-2", "dpm-solver-3", "dpm-solver-pp-2s")
def exponential_single_steps(sampler: SingleStepSampler, effort: Effort) -> Iterator[Measured]:
    """It takes its paper's steps, inner states and all.

    DPM-Solver (2022), algorithms 4 and 5; DPM-Solver++ (2022), algorithm 1.
    """

    def steps(denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
        schedule, shares = denoiser.process.schedule, [stage.share for stage in sampler.stages]
        for t, s in pairwise(times):
            half = schedule.log_snr(t) / 2
            h = schedule.log_snr(s) / 2 - half
            inner = [schedule.time(2 * (half + share * h)) for share in shares[:-1]]
            if sampler.prediction == "data":
                mean = denoiser(x, t).mean
                u = _first(schedule, x, mean, t, inner[0])
                r = shares[0]
                blend = (1 - 1 / (2 * r)) * mean + denoiser(u, inner[0]).mean / (2 * r)
                x = _first(schedule, x, blend, t, s)
                continue
            noise = denoiser.process.noise_of(x, denoiser(x, t).mean, t)
            known, values = x, [noise]
            for number, time in enumerate([*inner, s]):
                share = shares[number] * h
                x = schedule.alpha(time) / schedule.alpha(t) * known - schedule.sigma(time) * share.expm1() * noise
                if number == 1 and len(inner) == 1:
                    x = x - schedule.sigma(s) / (2 * shares[0]) * h.expm1() * (values[1] - noise)
                elif number:
                    r = shares[number - 1] / shares[number]
                    x = x - schedule.sigma(time) / r * (share.expm1() / share - 1) * (values[number] - noise)
                if number < len(inner):
                    values.append(denoiser.process.noise_of(x, denoiser(x, time).mean, time))
        return x

    yield from _agree(sampler, steps)


def _first(schedule: Schedule, x: Tensor, mean: Tensor, t: Tensor, s: Tensor) -> Tensor:
    h = (schedule.log_snr(s) - schedule.log_snr(t)) / 2
    return schedule.sigma(s) / schedule.sigma(t) * x - schedule.alpha(s) * torch.expm1(-h) * mean


def _agree(sampler: Any, steps: Callable[[Denoiser, Tensor, Tensor], Tensor]) -> Iterator[Measured]:
    """The sampler beside a paper's loop, on uneven times of two schedules."""
    for name, (schedule, _) in _TIMES.items():
        denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
        times = schedule.time_at_sigma(torch.tensor([8.0, 5.0, 4.0, 2.0, 0.9, 0.7, 0.3, 0.1], dtype=torch.float64))
        x = schedule.sigma(times[0]) * Seeds.range(4, 8).normal((2,), torch.float64)
        away = (walk(sampler, denoiser, x, times)[-1].tensor - steps(denoiser, x, times)).abs().max()
        yield at_most(f"distance from the paper's steps, {name}", away, 1e-10)
