"""Claims of methods for inverse problems that are samplers of their own: replacement to split Gibbs."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior, Posterior
from unstir.exact.base import EuclideanDenoiser
from unstir.exact.categorical import TokenChainDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.inverse.measurement import Measurement, exact_posterior
from unstir.inverse.methods.proximal import drawn
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.function import FunctionOperator
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.inverse.solving import solve
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.base import SamplerState
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import FALSE_ALARM, at_most, same_law

__all__ = [
    "decoupled_annealing_draws_from_its_normal_law",
    "draws_of_stepping_methods_stand_alone",
    "jumps_bring_repaint_nearer_to_the_posterior",
    "known_places_are_met",
    "proximal_step_is_the_closed_form",
    "replacement_is_exact_for_independent_elements",
    "split_gibbs_keeps_the_posterior",
    "split_gibbs_reaches_the_posterior",
]

_MATRIX = [[1.0, 0.5, -0.3], [0.2, -1.0, 0.7]]


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


class _Sure(Denoiser):
    """Believes in one thing, whatever it sees."""

    def __init__(self, mean: Tensor, process: GaussianProcess) -> None:
        super().__init__()
        self.mean, self.process = mean, process

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """That."""
        return PointPosterior(self.mean.expand_as(xt).to(xt))


def _gaussian(process: GaussianProcess) -> GaussianDenoiser:
    covariance = torch.tensor([[0.8, 0.3, 0.1], [0.3, 0.6, -0.2], [0.1, -0.2, 0.5]])
    return GaussianDenoiser(torch.tensor([0.3, -0.5, 0.2]), covariance, process)


def _measured(noise: float) -> Measurement:
    reading = torch.tensor([0.9, -0.4], dtype=torch.float64)
    return Measurement(MatrixOperator((3,), _MATRIX), reading, GaussianNoise(noise))


def _pulled(centre: Tensor, width: float, noise: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of N(x; c, w^2) times the likelihood, by the information form, (d,) and (d, d)."""
    matrix, reading = torch.tensor(_MATRIX, dtype=torch.float64), torch.tensor([0.9, -0.4], dtype=torch.float64)
    covariance = torch.linalg.inv(torch.eye(3).double() / width**2 + matrix.T @ matrix / noise**2)
    return covariance @ (centre / width**2 + matrix.T @ reading / noise**2), covariance


@claim("methods", "diff-pir", "daps", "split-gibbs", "replacement", "re-paint")
def draws_of_stepping_methods_stand_alone(method: Any, effort: Effort) -> Iterator[Measured]:
    """A draw is the same to the bit whichever others are asked for, and to rounding in a batch of any size."""
    law = _gaussian(GaussianProcess())
    measurement = _measured(0.3)
    if "mask" in method.needs:
        seen = torch.tensor([True, False, True])
        measurement = Measurement(MaskOperator((3,), seen), measurement.reading, GaussianNoise(0.0))

    def draws(batch: int, numbers: list[int]) -> Tensor:
        seeds = Seeds(effort.seed, torch.tensor(numbers))
        found = solve(law, measurement, method, seeds=seeds, steps=3, batch=batch, dtype=torch.float64)
        return found.samples

    whole = draws(3, [0, 1, 2])
    yield at_most("difference of draws asked for alone, 0 to the bit", (draws(3, [1]) - whole[1:2]).abs().max(), 0.0)
    yield at_most("difference in batches of one", (draws(1, [0, 1, 2]) - whole).abs().max(), 1e-10)
    apart = (whole[1:] - whole[:1]).flatten(1).norm(dim=1).min()
    yield Measured("difference of different draws", float(apart), low=1e-3)


@claim("methods", "diff-pir")
def proximal_step_is_the_closed_form(method: Any, effort: Effort) -> Iterator[Measured]:
    """The last step ends at the one minimum that data and prior have, by matrices, along modes and by gradients."""
    process = GaussianProcess(EDMSchedule())
    centre, level = torch.tensor([0.4, -0.2, 1.1], dtype=torch.float64), 0.7
    t = process.schedule.time_at_sigma(level)
    for noise in (0.3, 1e-4):
        measurement = _measured(noise)
        wanted, _ = _pulled(centre, level / math.sqrt(method.weight), noise)
        _, sampler = method.pair(_Sure(centre, process), measurement)
        state = SamplerState(torch.zeros(4, 3, dtype=torch.float64), effort.seeds(4))
        found = sampler.step(_Sure(centre, process), state, t, _time(0.0)).tensor
        yield at_most(f"distance from the minimum, noise {noise:g}", (found - wanted).abs().max(), 1e-7)
    bent = replace(measurement, operator=_as_function(measurement.operator), noise=GaussianNoise(0.3))
    wanted, _ = _pulled(centre, level / math.sqrt(method.weight), 0.3)
    patient = replace(method, iterations=effort.of(300, 1000))
    _, sampler = patient.pair(_Sure(centre, process), bent)
    found = sampler.step(_Sure(centre, process), state, t, _time(0.0)).tensor
    yield at_most("distance from the minimum by gradient steps", (found - wanted).abs().max(), 1e-5)


def _as_function(operator: Any) -> FunctionOperator:
    """The same map, of which nobody knows that it is linear."""
    return FunctionOperator(operator.shape, operator.__call__)


@claim("methods", "daps")
def decoupled_annealing_draws_from_its_normal_law(method: Any, effort: Effort) -> Iterator[Measured]:
    """Given what the flow leads to, clean data has the law N(x; x0, r^2) p(y|x): exactly, or by Langevin steps."""
    process, count = GaussianProcess(EDMSchedule()), effort.of(3000, 10000)
    centre, level, noise = torch.tensor([0.4, -0.2, 1.1], dtype=torch.float64), 0.7, 0.3
    t = process.schedule.time_at_sigma(level)
    width = method.ratio * level / math.sqrt(1 + level**2)
    mean, covariance = _pulled(centre, width, noise)
    exact = GaussianDenoiser(mean, covariance, process).draw(effort.seeds(count, "exact"))
    measurement, denoiser = _measured(noise), _Sure(centre, process)
    bent = replace(measurement, operator=_as_function(measurement.operator))
    long = replace(method, langevin=effort.of(150, 250))
    for name, made, read in (("closed form", method, measurement), ("Langevin steps", long, bent)):
        _, sampler = made.pair(denoiser, read)
        state = SamplerState(torch.zeros(count, 3, dtype=torch.float64), effort.seeds(count, name))
        yield same_law(f"law of the clean draw, {name}", sampler.step(denoiser, state, t, _time(0.0)).tensor, exact)


def _modes() -> MixtureDenoiser:
    """Two modes that touch, so that a chain gets from one to the other."""
    covariances = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.5]]])
    return MixtureDenoiser([0.35, 0.65], [[1.0, 0.4], [-0.8, -0.2]], covariances, GaussianProcess(EDMSchedule()))


def _kept(law: EuclideanDenoiser, measurement: Any, coupling: float, spared: bool) -> EuclideanDenoiser:
    """The law that the chain keeps: the posterior, or that of a reading with wider noise."""
    matrix, noise = measurement.operator.matrix, measurement.noise.deviation
    own = noise**2 * torch.eye(len(matrix), dtype=torch.float64)
    wide = own if spared else own + coupling**2 * matrix @ matrix.T
    return law.given_observation(matrix, measurement.reading, wide)


@claim("methods", "split-gibbs")
def split_gibbs_keeps_the_posterior(method: Any, effort: Effort) -> Iterator[Measured]:
    """Three turns with exact draws leave the posterior as it is; as published, that of a reading with wider noise."""
    count, coupling = effort.of(4000, 40000), 0.5
    matrix = MatrixOperator((2,), [[1.0, 0.4], [-0.3, 0.8]])
    process = GaussianProcess(EDMSchedule())
    normal = GaussianDenoiser(torch.tensor([0.2, -0.3]), torch.tensor([[0.8, 0.3], [0.3, 0.6]]), process)
    measurement = Measurement(matrix, torch.tensor([0.4, -0.2], dtype=torch.float64), GaussianNoise(0.6))
    made = replace(method, sampler="ancestral", inner=2)
    t = process.schedule.time_at_sigma(coupling)
    for name, law in (("a Gaussian", normal), ("a mixture", _modes())):
        kept = _kept(law, measurement, coupling, method.spared)
        seeds = effort.seeds(count, name)
        z = drawn(measurement, kept.draw(seeds.at("start")), coupling, seeds.at("z"), 1, method.spared)
        _, sampler = made.pair(law, measurement)
        state = SamplerState(z, seeds)
        for s in (t, t, _time(0.0)):
            state = sampler.step(law, state, t, s)
        yield same_law(f"law after three turns, {name}", state.tensor, kept.draw(effort.seeds(count, "other", name)))


@claim("methods", "split-gibbs", slow=True)
def split_gibbs_reaches_the_posterior(method: Any, effort: Effort) -> Iterator[Measured]:
    """From noise, in three hundred turns, it draws from the exact posterior of a mixture (as published: widened)."""
    count, coupling = 8000, 0.5
    law = _modes()
    reading = torch.tensor([0.1], dtype=torch.float64)
    measurement = Measurement(MatrixOperator((2,), [[1.0, 0.4]]), reading, GaussianNoise(0.6))
    made = replace(method, sampler="ancestral", inner=1, coupling=coupling, highest=3.0)
    draws = solve(law, measurement, made, count, steps=300, batch=count, dtype=torch.float64, seed=effort.seed)
    exact = _kept(law, measurement, coupling, method.spared).draw(effort.seeds(count, "exact"))
    yield same_law("law of the draws", draws.samples, exact)


@claim("methods", "replacement", "re-paint")
def known_places_are_met(method: Any, effort: Effort) -> Iterator[Measured]:
    """What was read exactly is in every draw, to the bit: numbers, tokens and angles."""
    seen, count = torch.tensor([True, False, True]), effort.of(16, 64)
    law = _gaussian(GaussianProcess())
    chain, angles = _chain("uniform"), WrappedProcess(period=1.0)
    around = WrappedMixtureDenoiser([0.4, 0.6], [[0.1, 0.8, 0.3], [0.7, 0.2, 0.9]], [0.1, 0.2], angles)
    for name, denoiser, shape, reading in (
        ("numbers", law, (3,), torch.tensor([0.9, -0.4], dtype=torch.float64)),
        ("angles", around, (3,), torch.tensor([0.9, 0.4], dtype=torch.float64)),
        ("tokens", chain, (4,), torch.tensor([0, 2])),
    ):
        places = torch.tensor([True, False, False, True]) if name == "tokens" else seen
        measurement = Measurement(MaskOperator(shape, places), reading, GaussianNoise(0.0))
        found = solve(denoiser, measurement, method, count, steps=4, batch=count, dtype=torch.float64).samples
        yield at_most(f"known {name} that are not met", (found[:, places] != reading).sum(), 0)
        inside = denoiser.process.contains(found)
        yield at_most(f"draws of {name} outside their space", (~inside).sum(), 0)


@claim("methods", "replacement", "re-paint")
def replacement_is_exact_for_independent_elements(method: Any, effort: Effort) -> Iterator[Measured]:
    """Where elements know nothing of each other, the unknown ones keep their law, and known ones get their posterior.

    The latter along a grid that has the level at which the process's own noise is that of the reading.
    """
    count = effort.of(4000, 20000)
    law = MixtureDenoiser([1.0], [[0.4, -0.7]], [[0.5, 0.2]], GaussianProcess())
    seen = torch.tensor([True, False])
    for noise in (0.0, 0.3):
        reading = torch.tensor([1.2], dtype=torch.float64)
        measurement = Measurement(MaskOperator((2,), seen), reading, GaussianNoise(noise))
        grid = law.process.schedule.time_at_sigma(
            torch.tensor([20.0, 2.0, noise or 0.6, 0.1, 0.0], dtype=torch.float64)
        )
        found = solve(
            law, measurement, method, count, grid=grid, batch=count, dtype=torch.float64, seed=effort.seed
        ).samples
        exact = exact_posterior(law, measurement).draw(effort.seeds(count, "exact", str(noise)))
        yield same_law(
            f"law of the elements, noise {noise:g}", found if noise else found[:, 1], exact if noise else exact[:, 1]
        )


def _chain(rates: str) -> TokenChainDenoiser:
    """Tokens that mostly stay what the last one was."""
    steps = [[0.85, 0.1, 0.05], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8]]
    return TokenChainDenoiser([0.2, 0.5, 0.3], steps, CategoricalProcess(3, rates=rates), 4)


def between(denoiser: TokenChainDenoiser, first: int, last: int) -> Tensor:
    """The exact chances of the two tokens between two known ones, (9,), by adding up all sequences."""
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    whole = torch.cat((torch.full((9, 1), first), pairs, torch.full((9, 1), last)), 1)
    return denoiser.log_density(whole, 0.0).softmax(0)


@claim("methods", "re-paint")
def jumps_bring_repaint_nearer_to_the_posterior(method: Any, effort: Effort) -> Iterator[Measured]:
    """Of tokens between two known ones the distance from the exact law falls with the jumps, masked and uniform."""
    count, steps = effort.of(2500, 8000), 6
    # the empirical chances of nine outcomes are within this of the true ones (Weissman's inequality)
    error = math.sqrt((9 * math.log(2) - math.log(FALSE_ALARM)) / (2 * count))
    reading = torch.tensor([0, 2])
    for rates in effort.of(("absorbing",), ("absorbing", "uniform")):
        law = _chain(rates)
        exact = between(law, 0, 2)
        measurement = Measurement(
            MaskOperator((4,), torch.tensor([True, False, False, True])), reading, GaussianNoise(0.0)
        )
        away = []
        for jumps in (1, method.jumps):
            made = replace(method, jumps=jumps)
            found = solve(law, measurement, made, count, steps=steps, batch=count, seed=effort.seed).samples
            counts = torch.bincount(3 * found[:, 1] + found[:, 2], minlength=9)
            away.append(float((counts / count - exact).abs().sum() / 2))
        yield Measured(
            f"total variation taken away by {method.jumps} jumps, {rates}",
            away[0] - away[1],
            low=2 * error,
            false_alarm=2 * FALSE_ALARM,
            note=f"{away[0]:.3f} in one go, {away[1]:.3f} with jumps, each to {error:.3f}",
        )
