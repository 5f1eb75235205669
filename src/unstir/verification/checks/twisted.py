"""Claims of twisted sequential Monte Carlo: unbiased in every space, and each population by itself."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.exact.categorical import TokenChainDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.inverse.measurement import Measurement, exact_posterior
from unstir.inverse.methods.twisted import TwistedMethod
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.inverse.solving import Solution, solve
from unstir.inverse.steering import steer
from unstir.metrics.base import SampleSet
from unstir.metrics.sliced_wasserstein import SlicedWasserstein
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import PointDenoiser
from unstir.verification.statistics import at_most, mean_is

__all__ = [
    "twisted_angles_are_unbiased",
    "twisted_joint_states_are_unbiased",
    "twisted_normal_posterior_is_unbiased",
    "twisted_populations_are_independent",
    "twisted_ring_is_at_the_floor",
    "twisted_tokens_are_unbiased",
]


def _small(method: TwistedMethod, particles: int = 32) -> TwistedMethod:
    return replace(method, particles=particles, candidates=min(method.candidates, 6))


def _candidates_only(method: TwistedMethod) -> None:
    if method.proposal != "candidates":
        raise NotMeasured("in this space all proposals are candidates", silent=True)


def _unbiased(
    what: str, solution: Solution, features: Callable[[Any], Tensor], told: Tensor, log_evidence: Tensor, particles: int
) -> Measured:
    r"""E[Z_k mean_k(f)] = p(y) E[f | y] over populations k, for f = 1 and all the features, in units of p(y).

    Unlike the mean of the draws alone, which is biased as one over the particles, this holds for any number of them.
    """
    ratio = (solution.diagnostics["log_evidence"].flatten() - log_evidence).exp()[:, None]
    means = features(solution.samples).double().reshape(len(ratio), particles, -1).mean(1)
    values = ratio * torch.cat((torch.ones_like(ratio), means), 1)
    return mean_is(what, values.cpu(), torch.cat((torch.ones(1, dtype=torch.float64), told.double().flatten())).cpu())


def _squares(x: Tensor) -> Tensor:
    flat = x.double().flatten(1)
    return torch.cat((flat, flat.square(), flat[:, :1] * flat[:, 1:]), 1)


@claim("methods", "twisted")
def twisted_normal_posterior_is_unbiased(method: TwistedMethod, effort: Effort) -> Iterator[Measured]:
    """Of normal data the evidence, and the posterior's moments weighted by it, are unbiased in 8 steps.

    Linear measurements of two values, few particles, under VP and VE.
    """
    method, populations = _small(method), effort.of(40, 400)
    for name, schedule in (("variance preserving", CosineSchedule()), ("variance exploding", EDMSchedule())):
        law = GaussianDenoiser([0.5, -1.0, 0.2], [0.8, 0.3, 1.5], GaussianProcess(schedule))
        operator = MatrixOperator((3,), [[1.0, 0.5, -0.3], [0.0, 1.0, 0.6]])
        measurement = Measurement(operator, torch.tensor([0.9, -0.2]), GaussianNoise(0.3))
        exact: Any = exact_posterior(law, measurement)
        mean, covariance = exact.mean.flatten(), exact.covariance()
        second = covariance + torch.outer(mean, mean)
        told = torch.cat((mean, second.diagonal(), second[0, 1:]))
        solution = solve(
            law,
            measurement,
            method,
            populations * method.particles,
            steps=8,
            grid={"name": "log-snr-uniform", "sigma_max": 60.0, "sigma_min": 0.05},
            seed=effort.seed,
            batch=populations * method.particles,
            dtype=torch.float64,
        )
        yield _unbiased(f"evidence and moments, {name}", solution, _squares, told, exact.log_evidence, method.particles)


@claim("methods", "twisted")
def twisted_populations_are_independent(method: TwistedMethod, effort: Effort) -> Iterator[Measured]:
    """A population's draws and evidence are the same whichever others lie in the batch; after the end all weigh one."""
    method = _small(method, 16)
    law = MixtureDenoiser([0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], [0.05, 0.1], GaussianProcess())
    measurement = Measurement(MaskOperator((2,), torch.tensor([True, False])), torch.tensor([0.2]), GaussianNoise(0.4))
    found = [
        solve(law, measurement, method, 48, steps=6, seed=effort.seed, batch=batch, dtype=torch.float64)
        for batch in (16, 48)
    ]
    yield at_most("largest difference of draws", (found[0].samples - found[1].samples).abs().max(), 1e-9)
    evidence = [solution.diagnostics["log_evidence"].flatten() for solution in found]
    yield at_most("largest difference of log-evidence", (evidence[0] - evidence[1]).abs().max(), 1e-9)
    sizes = torch.cat([solution.diagnostics["effective_sample_size"].flatten() for solution in found])
    yield at_most("effective sample size over the particles", sizes.max() / 16, 1 + 1e-12)
    yield at_most("one over the effective sample size", (1 / sizes).max(), 1 + 1e-12)


@claim("methods", "twisted")
def twisted_tokens_are_unbiased(method: TwistedMethod, effort: Effort) -> Iterator[Measured]:
    """Of a chain of tokens read with noise, evidence and the probabilities of all pairs are unbiased in 4 steps."""
    _candidates_only(method)
    method, populations = _small(method), effort.of(40, 200)
    steps = [[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.5, 0.0, 0.5]]
    logs = torch.tensor([[0.0, -1.5, -1.0], [-2.0, 0.0, -0.5], [-1.0, -1.0, 0.0]], dtype=torch.float64)
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)

    def potential(x: Tensor) -> Tensor:
        return logs[torch.arange(3), x].sum(1)

    for rates in ("absorbing", "uniform"):
        law = TokenChainDenoiser([0.5, 0.3, 0.2], steps, CategoricalProcess(3, rates=rates), 3)
        joint = law.log_density(every, 0.0) + potential(every)
        evidence = joint.logsumexp(0)

        def pairs(x: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(9 * x[:, 0] + 3 * x[:, 1] + x[:, 2], 27)

        # no cell that is never drawn, of which nothing can be told
        likely = (joint - evidence).exp() > 0.02
        solution = _steered(law, potential, law.shape, method, populations, 4, effort)
        told = (joint - evidence).exp()[likely]
        yield _unbiased(
            f"evidence and probabilities, {rates}",
            solution,
            lambda x, likely=likely: pairs(x)[:, likely],
            told,
            evidence,
            method.particles,
        )


@claim("methods", "twisted")
def twisted_angles_are_unbiased(method: TwistedMethod, effort: Effort) -> Iterator[Measured]:
    """Of an angle whose cosine is read, evidence and moments are those of numerical integration, in 5 steps."""
    _candidates_only(method)
    method, populations = _small(method), effort.of(40, 400)
    law = WrappedMixtureDenoiser(
        [0.5, 0.3, 0.2], [[0.02], [0.4], [0.7]], [0.04, 0.1, 0.3], WrappedProcess(ExponentialVESchedule(0.01, 2.0))
    )
    turn = 2 * math.pi

    def potential(x: Tensor) -> Tensor:
        return -((turn * x[:, 0]).cos() - 0.5).square() / (2 * 0.3**2)

    def waves(x: Tensor) -> Tensor:
        return torch.cat(((turn * x).cos(), (turn * x).sin(), (2 * turn * x).cos(), (2 * turn * x).sin()), 1)

    # the trapezoidal rule on a circle converges faster than any power
    places = torch.arange(4000, dtype=torch.float64)[:, None] / 4000
    weights = (law.log_density(places, 0.0) + potential(places)).exp()
    told = (weights[:, None] * waves(places)).sum(0) / weights.sum()
    solution = _steered(law, potential, (1,), method, populations, 5, effort)
    yield _unbiased("evidence and moments", solution, waves, told, weights.mean().log(), method.particles)


@claim("methods", "twisted")
def twisted_joint_states_are_unbiased(method: TwistedMethod, effort: Effort) -> Iterator[Measured]:
    """A reading of a number tells of the angle and token beside it: evidence and moments are unbiased in 4 steps."""
    _candidates_only(method)
    method, populations = _small(method), effort.of(40, 200)
    law = JointMixtureDenoiser.examples()["number, angle and token"]
    deviation, reading, turn = 0.5, 0.4, 2 * math.pi

    def potential(x: Any) -> Tensor:
        away = (x["place"][:, 0].double() - reading) / deviation
        return -away.square() / 2 - math.log(deviation) - math.log(turn) / 2

    def seen(x: Any) -> Tensor:
        angle = turn * x["angle"][:, 0].double()
        parts = [x["place"][:, 0].double(), angle.cos(), angle.sin(), (x["kind"][:, 0] == 2).double()]
        return torch.stack(parts, 1)

    # given the hidden component all is known: the number is a mixture, the rest does not see the reading
    evidence, means = [], []
    for component in range(2):
        place, angle, kind = (law.laws[name][component] for name in ("place", "angle", "kind"))  # type: ignore[index]
        told = place.given_observation(torch.ones(1, 1), torch.tensor([reading]), deviation)
        evidence.append(law.log_weights[component] + told.log_evidence)
        number = (told.weights[:, None] * told.means.flatten(1)).sum()
        shrunk = (-((turn * angle.deviations) ** 2) / 2).exp() * torch.exp(1j * turn * angle.means)
        wave = (angle.log_weights.exp()[:, None] * shrunk).sum()
        means.append(torch.stack((number, wave.real, wave.imag, kind.log_probabilities.exp()[0, 0, 2])))
    logs = torch.stack(evidence)
    told_means = (logs.softmax(0)[:, None] * torch.stack(means)).sum(0)
    solution = _steered(law, potential, law.shape, method, populations, 4, effort)
    yield _unbiased("evidence and moments", solution, seen, told_means, logs.logsumexp(0), method.particles)


@claim("methods", "twisted", slow=True)
def twisted_ring_is_at_the_floor(method: TwistedMethod, effort: Effort) -> Iterator[Measured]:
    """On a ring of eight unequal modes with one coordinate read, draws are as far from exact ones as exact ones are.

    In sliced Wasserstein distance, averaged over populations of 4,000, the belief a point as a network's; with
    candidates the exact belief. Particles of unequal weight are worth fewer, and each step errs a little: up to
    twice the floor is allowed, where methods without resampling are at ten times (0.2 to 0.4).
    """
    turns = torch.arange(8, dtype=torch.float64) * math.pi / 4
    places = torch.stack((turns.cos(), turns.sin()), 1)
    law = MixtureDenoiser(torch.arange(1.0, 9.0), places, torch.full((8,), 0.01), GaussianProcess(EDMSchedule()))
    measurement = Measurement(MaskOperator((2,), torch.tensor([True, False])), torch.tensor([0.6]), GaussianNoise(0.1))
    exact = exact_posterior(law, measurement)
    denoiser: Denoiser = law if method.proposal == "candidates" else PointDenoiser(law)
    count, metric = 4000, SlicedWasserstein()
    distances, floor = [], []
    for number in range(4):
        seeds = effort.seeds(count, "ring", number)
        sets = [SampleSet(exact.draw(seeds.at(name))) for name in ("first", "second")]
        floor.append(metric.measure(sets[0], sets[1], seeds).value)
        solution = solve(
            denoiser,
            measurement,
            replace(method, particles=count, candidates=8),
            count,
            steps=25 if method.proposal == "candidates" else 100,
            seed=effort.seed + number,
            batch=count,
            dtype=torch.float64,
        )
        distances.append(metric.measure(SampleSet(solution.samples), sets[1], seeds).value)
    mean, least = sum(distances) / len(distances), sum(floor) / len(floor)
    yield at_most("sliced Wasserstein distance over that of exact draws", mean / least, 2.0, f"{mean:.3f}, {least:.3f}")


def _steered(
    law: Denoiser,
    potential: Callable[[Any], Tensor],
    shape: Any,
    method: TwistedMethod,
    populations: int,
    steps: int,
    effort: Effort,
) -> Solution:
    count = populations * method.particles
    return steer(
        law, potential, shape, count, method=method, steps=steps, batch=count, seed=effort.seed, dtype=torch.float64
    )
