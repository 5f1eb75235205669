"""Claims of bridges and flows between data and a source, and of their exact laws."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.exact.pairs import PairMixtureDenoiser
from unstir.exact.transport import schrodinger_coupling
from unstir.physics.brownian_bridge import BrownianBridge
from unstir.processes.bridge import BridgeProcess
from unstir.processes.bridge_schedule import BridgeSchedule
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import Drawn
from unstir.processes.schedules.base import Schedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.samplers.runge_kutta import rk4
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.checks import schedules
from unstir.verification.references import IN_THE_PLANE, PointDenoiser
from unstir.verification.spaces import same_moments
from unstir.verification.statistics import at_most, mean_is, same_law

__all__ = [
    "bridge_given_its_source_is_a_scaled_brownian_bridge",
    "bridge_noise_level_is_a_schedule",
    "flow_matching_is_the_belief",
    "iterated_fitting_finds_schrodingers_bridge",
    "pair_belief_is_conditioning",
    "pair_belief_stands_for_the_clean_data",
    "pair_flow_carries_the_source_to_the_data",
    "pair_steps_carry_the_source_to_the_data",
    "schrodingers_bridge_is_markov",
]


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@claim("processes", "bridge")
def bridge_given_its_source_is_a_scaled_brownian_bridge(process: BridgeProcess, effort: Effort) -> Iterator[Measured]:
    """Given both ends, states at two times have the moments of a Brownian bridge, in another clock and scale.

    x/(alpha + sigma) at u = sigma/(alpha + sigma) against `physics`, forwards and back. Fresh noise for each half.
    """
    count = effort.of(20_000, 200_000)
    start, end = (torch.tensor(ends, dtype=torch.float64).expand(count, 2) for ends in ((1.0, -0.5), (-2.0, 0.7)))
    known = BrownianBridge(start[0], end[0], 1.0, process.sigma) if process.sigma > 0 else None
    for s, t in effort.of(((0.3, 0.7),), ((0.3, 0.7), (0.05, 0.1), (0.9, 0.98))):
        clocks, scales = zip(*(_clock(process.path, time) for time in (s, t)), strict=True)
        seeds = effort.seeds(count, "both ends", str(s))
        xs = process.noise(start, _time(s), seeds.at("s"), source=end)
        xt = process.transition(xs, _time(s), _time(t), seeds.at("on"), source=end)
        later = process.noise(start, _time(t), seeds.at("t"), source=end)
        back = process.bridge(later, Drawn(start), _time(t), _time(s), seeds.at("back"))
        mean = start[0] + torch.stack([clock * (end[0] - start[0]) for clock in clocks])
        for way, here, there in (("forwards", xs, xt), ("back", back, later)):
            away = torch.stack((here / scales[0], there / scales[1]), 1) - mean
            if known is None:
                yield at_most(f"distance from the straight line, {way}, s = {s:g}", away.abs().max(), 1e-12)
                continue
            products = torch.stack((away[:, 0].square(), (away[:, 0] * away[:, 1]), away[:, 1].square()), 1)
            pairs = ((clocks[0], clocks[0]), (clocks[0], clocks[1]), (clocks[1], clocks[1]))
            wanted = np.array([float(known.covariance(*pair)) for pair in pairs])[:, None]
            yield mean_is(f"means, {way}, s = {s:g}", away.numpy(), 0.0)
            yield mean_is(f"covariances, {way}, s = {s:g}", products.numpy(), wanted)


@claim("processes", "bridge")
def bridge_noise_level_is_a_schedule(process: BridgeProcess, effort: Effort) -> Iterator[Measured]:
    """What grids and networks take for the noise level keeps what schedules keep, but for the four scales."""
    schedule = process.schedule
    if not isinstance(schedule, BridgeSchedule):
        raise NotMeasured("a flow's schedule is the catalogue's own", silent=True)
    for check in (
        schedules.schedule_clean_start,
        schedules.schedule_falling_log_snr,
        schedules.schedule_time_inverse,
        schedules.schedule_time_clipping,
        schedules.schedule_log_snr_derivative,
        schedules.schedule_coefficient_derivatives,
        schedules.schedule_forward_moments,
        schedules.schedule_finite_ends,
        schedules.schedule_times_of_any_kind,
        schedules.schedule_equality,
    ):
        yield from check(schedule, effort)
    count = effort.of(20_000, 200_000)
    t = torch.linspace(0.1, 0.9, count, dtype=torch.float64)
    seeds = effort.seeds(count, "level")
    x0 = torch.full((count, 1), 0.7, dtype=torch.float64)
    away = process.noise(x0, t, seeds, source=seeds.at("other").normal((1,), torch.float64)) - (
        schedule.alpha(t)[:, None] * x0
    )
    yield mean_is("variance over its own", (away[:, 0] / schedule.sigma(t)).square().numpy(), 1.0)


@claim("schedules", "rectified-flow", "cosine")
def flow_matching_is_the_belief(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """Conditional flow matching is the belief in other words: its field is the belief's velocity, its loss weighted.

    The field E[alpha' x_0 + sigma' eps | x_t] of independent data and noise, from their joint law; and for any
    prediction |v - (alpha' x_0 + sigma' eps)|^2 = w |m - x_0|^2 with w = (alpha' - sigma' alpha/sigma)^2.
    """
    count = effort.of(200, 2_000)
    gaussian = GaussianProcess(schedule)
    law: Any = IN_THE_PLANE.denoiser(gaussian)
    unit = torch.eye(2, dtype=torch.float64)
    if schedule.alpha(1.0) != 0 or schedule.sigma(1.0) != 1:
        raise NotMeasured("it leaves some of the data at time 1", silent=True)
    data = (IN_THE_PLANE.weights, IN_THE_PLANE.means, [deviation**2 * unit for deviation in IN_THE_PLANE.deviations])
    pairs = PairMixtureDenoiser.independent(
        (data[0], data[1], torch.stack(data[2])), ([1.0], [[0.0, 0.0]], unit[None]), BridgeProcess(schedule)
    )
    for t in (0.02, 0.3, 0.7, 0.98):
        seeds = effort.seeds(count, "flow matching", str(t))
        x0, noise = law.draw(seeds.at("data")), seeds.at("eps").normal((2,), torch.float64)
        xt = schedule.alpha(t) * x0 + schedule.sigma(t) * noise
        field = gaussian.velocity_of(xt, law(xt, _time(t)).mean, _time(t))
        size = field.abs().max()
        yield at_most(f"field, relative error, t = {t:g}", ((pairs.velocity(xt, t) - field).abs() / size).max(), 1e-11)
        guess = x0 + seeds.at("guess").normal((2,), torch.float64)
        target = schedule.alpha_derivative(t) * x0 + schedule.sigma_derivative(t) * noise
        weight = (
            schedule.alpha_derivative(t) - schedule.sigma_derivative(t) * schedule.alpha(t) / schedule.sigma(t)
        ).square()
        loss = (gaussian.velocity_of(xt, guess, _time(t)) - target).square().sum(1)
        wanted = weight * (guess - x0).square().sum(1)
        yield at_most(f"loss, relative error, t = {t:g}", ((loss - wanted).abs() / wanted).max(), 1e-9)


@claim("exact", "pair-mixture")
def pair_belief_is_conditioning(law: PairMixtureDenoiser, effort: Effort) -> Iterator[Measured]:
    """Evidence, mean, variance and field are those of conditioning the joint normal law of data, source and state.

    Written anew: an operator on (x_0, x_1, z), NumPy's solver, and every component by itself.
    """
    count, size = effort.of(20, 200), law.shape[0]
    process, unit = law.process, np.eye(law.shape[0])
    for t in effort.of((0.01, 0.6), (1e-4, 0.01, 0.3, 0.6, 0.99)):
        alpha, sigma = process.path.alpha(t).item(), process.path.sigma(t).item()
        motion = process.sigma * math.sqrt(alpha * sigma)
        xt = law.draw(effort.seeds(count, "conditioning", str(t)), t)
        operator = np.concatenate((alpha * unit, sigma * unit, motion * unit), 1)
        slope = (
            process.sigma
            * (process.path.alpha_derivative(t) * sigma + alpha * process.path.sigma_derivative(t)).item()
            / (2 * math.sqrt(alpha * sigma))
        )
        field = np.concatenate(
            (
                process.path.alpha_derivative(t).item() * unit,
                process.path.sigma_derivative(t).item() * unit,
                slope * unit,
            ),
            1,
        )
        logs, means, variances, fields = [], [], [], []
        for weight, ends, joint in zip(law.log_weights, law.means, law.covariances, strict=True):
            whole = np.zeros((3 * size, 3 * size))
            whole[: 2 * size, : 2 * size], whole[2 * size :, 2 * size :] = joint.numpy(), unit
            centre = np.concatenate((ends.numpy().ravel(), np.zeros(size)))
            marginal = operator @ whole @ operator.T
            away = xt.numpy() - operator @ centre
            solved = np.linalg.solve(marginal, away.T)
            _, determinant = np.linalg.slogdet(2 * math.pi * marginal)
            logs.append(weight.item() - ((away.T * solved).sum(0) + determinant) / 2)
            expected = centre[:, None] + whole @ operator.T @ solved
            means.append(expected[:size].T)
            fields.append((field @ expected).T)
            left = whole - whole @ operator.T @ np.linalg.solve(marginal, operator @ whole)
            variances.append(np.diag(left)[:size] + means[-1] ** 2)
        evidence = np.logaddexp.reduce(logs)
        shares = np.exp(np.array(logs) - evidence)[..., None]
        belief = law(xt, _time(t))
        mean = (shares * means).sum(0)
        yield at_most(f"log p_t, t = {t:g}", np.abs(law.log_density(xt, t).numpy() - evidence).max(), 1e-8)
        yield at_most(f"mean, t = {t:g}", np.abs(belief.mean.numpy() - mean).max(), 1e-8)
        variance = (shares * variances).sum(0) - mean**2
        yield at_most(f"variance, t = {t:g}", np.abs(belief.variance.numpy() - variance).max(), 1e-8)
        told = law.velocity(xt, t).numpy()
        wanted = (shares * fields).sum(0)
        yield at_most(f"field, relative, t = {t:g}", np.abs(told - wanted).max() / np.abs(wanted).max(), 1e-7)


@claim("exact", "pair-mixture")
def pair_belief_stands_for_the_clean_data(law: PairMixtureDenoiser, effort: Effort) -> Iterator[Measured]:
    """Draws from the belief, told the source or not, have the joint law of the clean data with state and source."""
    count = effort.of(6_000, 40_000)
    for t in effort.of((0.5,), (0.2, 0.5, 0.8)):
        seeds = effort.seeds(count, "stands", str(t))
        x0, source = law.draw_pairs(seeds.at("first"))
        xt = law.process.noise(x0, _time(t), seeds.at("noise"), source=source)
        other, begin = law.draw_pairs(seeds.at("second"))
        seen = law.process.noise(other, _time(t), seeds.at("seen"), source=begin)
        for told, condition in (("state", {}), ("state and source", {"source": begin})):
            drawn = law(seen, _time(t), **condition).sample(seeds.at("belief", told))
            first = torch.cat((x0, xt, source) if condition else (x0, xt), 1).numpy()
            second = torch.cat((drawn, seen, begin) if condition else (drawn, seen), 1).numpy()
            yield same_law(f"told {told}, t = {t:g}", first, second)
            yield same_moments(f"told {told}, t = {t:g}: moments", first, second)


@claim("exact", "pair-mixture")
def pair_steps_carry_the_source_to_the_data(law: PairMixtureDenoiser, effort: Effort) -> Iterator[Measured]:
    """Ancestral steps from the sources, with the exact belief, draw the data's own law, however few they are."""
    count = effort.of(4_000, 40_000)
    for times in ((1.0, 0.0), (1.0, 0.7, 0.3, 0.0)):
        seeds = effort.seeds(count, "steps", len(times))
        _, source = law.draw_pairs(seeds.at("source"))
        grid = torch.tensor(times, dtype=torch.float64)
        drawn = sample(
            law, AncestralSampler(), law.shape, seeds=seeds, start=source, grid=grid, batch=count, dtype=torch.float64
        )
        data, _ = law.draw_pairs(seeds.at("data"))
        yield same_law(f"{len(times) - 1} steps", drawn.numpy(), data.numpy())
        yield same_moments(f"{len(times) - 1} steps: moments", drawn.numpy(), data.numpy())


@claim("exact", "pair-mixture")
def pair_flow_carries_the_source_to_the_data(law: PairMixtureDenoiser, effort: Effort) -> Iterator[Measured]:
    """The probability flow, from the sources, arrives at the data's own law; without motion by a Euclidean sampler."""
    count = effort.of(2_000, 40_000)
    seeds = effort.seeds(count, "flow")
    _, source = law.draw_pairs(seeds.at("source"))
    data, _ = law.draw_pairs(seeds.at("data"))
    # even in the angle: both ends, where the field may be steep, are met in small steps
    times = (torch.linspace(math.pi / 2, 0, effort.of(25, 41), dtype=torch.float64).sin()).square()
    if law.process.sigma == 0:
        told = PointDenoiser(law)
        drawn = sample(told, rk4(), law.shape, seeds=seeds, start=source, grid=times, batch=count, dtype=torch.float64)
    else:
        drawn = source
        for t, s in pairwise((0.002 + 0.996 * times).tolist()):
            middle, step = (t + s) / 2, s - t
            first = law.velocity(drawn, t)
            second = law.velocity(drawn + step / 2 * first, middle)
            third = law.velocity(drawn + step / 2 * second, middle)
            last = law.velocity(drawn + step * third, s)
            drawn = drawn + step / 6 * (first + 2 * second + 2 * third + last)
        data = law.process.noise(data, _time(0.002), seeds.at("end"), source=law.draw_pairs(seeds.at("data"))[1])
    yield same_law("samples against the data", drawn.numpy(), data.numpy())
    yield same_moments("samples against the data: moments", drawn.numpy(), data.numpy())


@claim("exact", "pair-mixture")
def schrodingers_bridge_is_markov(law: PairMixtureDenoiser, effort: Effort) -> Iterator[Measured]:
    """The steps of Schrödinger's bridge, and of no other coupling, leave data and source as they hang together.

    Gaussians: E[x_0 x_1^T] after steps is a product of the belief's gains. Its precision couples data and source by
    1/sigma^2, which no other coupling's does.
    """
    if len(law.means) > 1 or law.process.sigma == 0:
        raise NotMeasured("Schrödinger's bridge is known for two Gaussians with a motion", silent=True)
    first, _, second = (block[0] for block in law.blocks)
    for sigma in effort.of((0.8,), (0.3, 0.8, 2.0)):
        process = BridgeProcess(sigma=sigma)
        data, source = (law.means[0, 0], first), (law.means[0, 1], second)
        found = PairMixtureDenoiser.schrodinger(data, source, process)
        block = torch.linalg.inv(found.covariances[0])[: len(first), len(first) :]
        wanted = torch.eye(len(first), dtype=torch.float64) / sigma**2
        yield at_most(
            f"precision, error over 1/sigma^2, sigma {sigma:g}", (block + wanted).abs().max() * sigma**2, 1e-9
        )
        kept = (_after_steps(found, (1.0, 0.8, 0.3, 0.0)) - found.blocks[1][0]).abs().max()
        yield at_most(f"change of the coupling in three steps, sigma {sigma:g}", kept, 1e-11)
        apart = PairMixtureDenoiser.gaussian(data, source, torch.zeros_like(first), process)
        moved = (_after_steps(apart, (1.0, 0.8, 0.3, 0.0))).abs().max().item()
        yield Measured(f"change of the independent coupling, sigma {sigma:g}", moved, low=1e-3)


@claim("exact", "pair-mixture")
def iterated_fitting_finds_schrodingers_bridge(law: PairMixtureDenoiser, effort: Effort) -> Iterator[Measured]:
    """Taking the coupling that a bridge's steps make for the next bridge's leads to Schrödinger's, by equal factors."""
    if len(law.means) > 1 or law.process.sigma == 0:
        raise NotMeasured("Schrödinger's bridge is known for two Gaussians with a motion", silent=True)
    process = BridgeProcess(sigma=1.0)
    first, _, second = (block[0] for block in law.blocks)
    data, source = (law.means[0, 0], first), (law.means[0, 1], second)
    wanted = schrodinger_coupling(first, second, 1.0)
    cross, errors = torch.zeros_like(first), []
    for _ in range(40):
        cross = _after_steps(PairMixtureDenoiser.gaussian(data, source, cross, process), (1.0, 0.75, 0.5, 0.25, 0.0))
        errors.append((cross - wanted).abs().max().item())
    yield at_most("largest error of the cross-covariance after 40 rounds", errors[-1], 1e-9)
    factors = [after / before for before, after in pairwise(errors[:8])]
    yield at_most("largest factor between rounds", max(factors), 0.9)


def _after_steps(law: PairMixtureDenoiser, times: tuple[float, ...]) -> Tensor:
    """E[dx_0 dx_1^T] after ancestral steps of a law of one component."""
    size = law.shape[0]
    coupled = law.blocks[2][0].clone()  # of the state, the source at first, with the source
    for t, s in pairwise(times):
        kept, pulled, _ = law.process.bridge_coefficients(_time(t), _time(s))
        points = torch.cat((torch.zeros(1, size, dtype=torch.float64), torch.eye(size, dtype=torch.float64)))
        told = law(points, _time(t)).mean
        gain = (told[1:] - told[0]).mT
        coupled = (kept * torch.eye(size, dtype=torch.float64) + pulled * gain) @ coupled
    return coupled


def _clock(path: Schedule, t: float) -> tuple[Tensor, Tensor]:
    alpha, sigma = path.alpha(t), path.sigma(t)
    return sigma / (alpha + sigma), alpha + sigma
