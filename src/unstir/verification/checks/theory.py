"""Claims about what links stirring to gathering: reversal, flow, control, information, merging peaks."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.exact.base import EuclideanDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.base import Schedule
from unstir.theory.control import controlled_paths, energy_draws, follmer_energy_draws, kl_draws
from unstir.theory.forward_law import ForwardLaw, forward_law
from unstir.theory.information import information_draws, share_of_time, squared_error_draws
from unstir.theory.modes import merging_log_snr, merging_times
from unstir.theory.reverse_time import (
    divergence,
    log_density_by_flow,
    probability_flow,
    reverse_sde,
    schedule_of,
    times_between,
)
from unstir.verification.base import Curve, Effort, Measured, NotMeasured, Plot, claim
from unstir.verification.statistics import at_most, counts_are, mean_is, order_of, same_law

__all__ = [
    "control_energy_is_a_divergence",
    "equal_peaks_merge_where_told",
    "flow_keeps_the_density",
    "girsanov_weights_the_path",
    "information_is_integrated_error",
    "one_law_by_three_routes",
    "reversal_keeps_the_marginals",
    "reversal_returns_to_the_data",
    "time_is_shared_among_noise_levels",
]

# weights of the central difference of order 6, and how far it reaches in units of the local time scale
_DIFFERENCE = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
_REACH = 2e-3


@claim("exact")
def reversal_keeps_the_marginals(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Run backwards with any share of noise, the reverse-time equation with this score has the forward marginals.

    The Fokker–Planck equation of dx = a dt + b dW run to earlier times, b = eta g, put to log p_t:
    d/dt log p + div a + a.grad log p + b^2/2 (lap log p + |grad log p|^2) = 0, the derivatives of log p_t by automatic
    differentiation and by differences in time, which share nothing with the score in a.
    """
    denoiser, schedule = _euclidean(subject)
    for number, level in enumerate((3.0, 0.0, -3.0)):
        t = _time(denoiser, level)
        time = torch.tensor(t, dtype=torch.float64)
        x = denoiser.draw(effort.seeds(effort.of(8, 64), number), t).double().requires_grad_()
        step = _REACH / -float(schedule.log_snr_derivative(t))
        with torch.no_grad():
            later, earlier = ({k: denoiser.log_density(x, t + s * k * step) for k in _DIFFERENCE} for s in (1, -1))
            in_time = torch.stack([w * (later[k] - earlier[k]) for k, w in _DIFFERENCE.items()]).sum(0) / step
        (gradient,) = torch.autograd.grad(denoiser.log_density(x, t).sum(), x, create_graph=True)
        curved = divergence(gradient, x) + gradient.square().flatten(1).sum(1)
        for eta in (0.0, 1.0, 1.5):
            equation = reverse_sde(denoiser, eta)
            drift, spread = equation.drift_at(x, time), float(equation.diffusion(x, time))
            terms = (in_time, divergence(drift, x), (drift * gradient).flatten(1).sum(1), spread**2 / 2 * curved)
            stacked = torch.stack([term.detach() for term in terms])
            left = stacked.sum(0).abs() / (stacked.abs().sum(0) + _REACH / step)
            yield at_most(f"Fokker-Planck, log-SNR {level:+.0f}, stochasticity {eta:g}", left, 1e-8)


@claim("exact")
def reversal_returns_to_the_data(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Gathered by the reverse-time equation, with noise or without, its noisy draws have the law of earlier ones."""
    denoiser, schedule = _euclidean(subject)
    late, early = _time(denoiser, -4.0), _time(denoiser, 4.0)
    count, steps = effort.of((1000, 80), (4000, 400))
    times = _times(schedule, late, early, steps)
    with torch.no_grad():
        wanted = denoiser.draw(effort.seeds(count, "wanted"), early)
        for eta in (1.0, 0.0):
            seeds = effort.seeds(count, "reversed", int(eta))
            start = denoiser.draw(seeds.at("start"), late)
            arrived = reverse_sde(denoiser, eta).simulate(start, times, seeds.at("path"))[:, -1]
            yield same_law(f"law reached with stochasticity {eta:g}", arrived, wanted)


@claim("exact")
def flow_keeps_the_density(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Followed along the probability flow with its divergence, the log-density of late times is that of early ones."""
    denoiser, schedule = _euclidean(subject)
    early, late = _time(denoiser, 4.0), _time(denoiser, -4.0)
    x = denoiser.draw(effort.seeds(effort.of(4, 64)), early).double()
    tolerance = effort.of(1e-7, 1e-9)
    told = log_density_by_flow(denoiser, x, early, late, denoiser.log_density, tolerance=tolerance)
    yield at_most("log-density, nats", (told - denoiser.log_density(x, early)).abs().detach(), 1e-5)
    if not effort.quick:
        back = probability_flow(denoiser, probability_flow(denoiser, x, early, late), late, early)
        yield at_most("there and back, in deviations of the noise", (back - x).abs() / schedule.sigma(early), 1e-4)


@claim("exact")
def control_energy_is_a_divergence(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Steering another law's reversal to this one costs, in mean energy, the divergence of the laws that it bridges.

    Draw by draw, log p/q at the early time less that at the late one less the energy between has the mean zero.
    """
    denoiser, _ = _euclidean(subject)
    early, late = _time(denoiser, 3.0), _time(denoiser, -3.0)
    reference = _reference(denoiser)
    seeds = effort.seeds(effort.of(1000, 20_000))
    energy = energy_draws(denoiser, reference, early, late, seeds)
    gap = kl_draws(denoiser, reference, early, seeds) - kl_draws(denoiser, reference, late, seeds)
    yield mean_is(f"divergence less energy (of {float(energy.mean()):.3f} nats)", gap - energy, 0.0)
    until = 1 / (1 + math.exp(-3.0))
    energy = follmer_energy_draws(denoiser, seeds, until)
    gap = _follmer_gap(denoiser, seeds, until)
    yield mean_is(f"the same, started from a point (of {float(energy.mean()):.3f} nats)", gap - energy, 0.0)


@claim("exact", slow=True)
def girsanov_weights_the_path(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Along a steered path work and energy make up the log-ratio of the laws at its end, to order 1/2 in the step."""
    denoiser, schedule = _euclidean(subject)
    late, early = _time(denoiser, -3.0), _time(denoiser, 3.0)
    seeds, counts = effort.of((500, (25, 50, 100)), (2000, (25, 50, 100, 200, 400)))
    reference, seeds, misses = _reference(denoiser), effort.seeds(seeds), []
    for steps in counts:
        paths = controlled_paths(denoiser, reference, seeds, _times(schedule, late, early, steps))
        misses.append(float((paths.log_ratio - paths.ratio_at_end).square().mean().sqrt()))
    yield order_of("log-ratio of the path measures", [1 / steps for steps in counts], misses, 0.5, at_least=True)


@claim("exact")
def information_is_integrated_error(subject: Any, effort: Effort) -> Iterator[Measured]:
    """What noisy data tell of the clean grows with signal-to-noise by half the least mean squared error (I-MMSE)."""
    denoiser, schedule = _euclidean(subject)
    early, late = _time(denoiser, 4.0), _time(denoiser, -4.0)
    seeds = effort.seeds(effort.of(1000, 20_000))
    high, low = schedule.log_snr(torch.tensor([early, late])).tolist()
    places, weights = np.polynomial.legendre.leggauss(effort.of(24, 48))
    levels = low + (high - low) * (places + 1) / 2
    errors = torch.stack([squared_error_draws(denoiser, float(schedule.time(level)), seeds) for level in levels])
    share = torch.as_tensor(weights * np.exp(levels) * (high - low) / 4)
    gained = information_draws(denoiser, early, seeds) - information_draws(denoiser, late, seeds)
    yield mean_is(f"information gained (of {float(gained.mean()):.3f} nats)", gained - share @ errors, 0.0)


@claim("schedules")
def one_law_by_three_routes(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """Paths of its stochastic equation, the Fokker–Planck equation and the closed form give one law of noisy data.

    The finite volumes must be as near to the closed form as two meshes say by themselves (the finer is in error
    by about a third of what they differ, the scheme being of second order).
    """
    denoiser = _three_peaks(schedule)
    levels = effort.of((1.5, -1.0), (2.0, 0.0, -2.0))
    times = [_reached(schedule, level) for level in levels]
    cells, count = effort.of((40, 2000), (160, 20_000))
    # the box depends on draws of the law alone, so both meshes share it
    coarse, fine = (
        forward_law(denoiser, times, effort.seeds(paths), cells * ratio, steps=cells * ratio // 2)
        for ratio, paths in ((1, 1), (2, count))
    )
    apart = np.abs(fine.fokker_planck.reshape(len(times), cells, 2).sum(2) - coarse.fokker_planck).sum(1) / 2
    for place, level in list(enumerate(levels))[1:]:
        ratio = fine.total_variation[place] / (apart[place] / 3)
        plot = _densities(fine, place, level)
        yield at_most(f"Fokker-Planck, log-SNR {level:+.0f}: error over its own estimate", ratio, 2.0, plot=plot)
        yield counts_are(f"paths, log-SNR {level:+.0f}", fine.counts[place], fine.closed_form[place])
        powers = np.stack([fine.centres, fine.centres**2], axis=-1)
        walked = np.stack([fine.states[:, place], fine.states[:, place] ** 2], axis=-1)
        yield mean_is(f"moments of the paths, log-SNR {level:+.0f}", walked, fine.closed_form[place] @ powers)


@claim("schedules")
def equal_peaks_merge_where_told(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """Two equal components a distance d apart, of variance s², become one peak at signal-to-noise 4/(d² - 4s²)."""
    tolerance = effort.of(1e-4, 1e-6)
    for distance, deviation in effort.of([(2.2, 0.4)], [(2.2, 0.4), (3.0, 0.2), (1.0, 0.45)]):
        expected = merging_log_snr(distance, deviation)
        if not float(schedule.log_snr(1.0)) < expected - 0.5:
            raise NotMeasured(f"the schedule does not reach the log-SNR {expected - 0.5:.1f}")
        means = [[0.3 - distance / 2], [0.3 + distance / 2]]
        denoiser = MixtureDenoiser([0.5, 0.5], means, [deviation**2] * 2, GaussianProcess(schedule))
        found = merging_times(denoiser, (expected + 0.3, expected - 0.2), tolerance, cells=200)
        yield Measured(f"mergings, d = {distance:g}, s = {deviation:g}", float(len(found)), 1.0, 1.0)
        away = abs(found[0].log_snr - expected) if found else math.nan
        yield Measured(f"error in log-SNR, d = {distance:g}, s = {deviation:g}", away, high=3 * tolerance)


@claim("schedules")
def time_is_shared_among_noise_levels(schedule: Schedule, effort: Effort) -> Iterator[Measured]:
    """Even times spend on each band of log-SNR the share that is told of them."""
    edges = np.arange(-12.0, 13.0, 2.0)
    times = effort.seeds(effort.of(10_000, 200_000)).uniform()
    counts = np.bincount(np.searchsorted(edges, schedule.log_snr(times).numpy()), minlength=len(edges) + 1)
    yield counts_are("times in each band of log-SNR", counts, share_of_time(schedule, edges))


def _euclidean(subject: Any) -> tuple[EuclideanDenoiser, Schedule]:
    if not isinstance(subject, EuclideanDenoiser):
        raise NotMeasured("its law does not live on a Euclidean space, and has no score", silent=True)
    return subject, schedule_of(subject)


def _deviation(denoiser: EuclideanDenoiser) -> tuple[Tensor, float]:
    """The mean of one sample and the deviation of its elements, from a few draws: only to choose noise levels by."""
    drawn = denoiser.draw(Effort().seeds(512, "size")).double()
    return drawn.mean(0), max(float((drawn - drawn.mean(0)).square().mean().sqrt()), 1e-12)


def _time(denoiser: EuclideanDenoiser, level: float) -> float:
    """The time of a log-SNR in which the signal is counted in deviations of the data; within the schedule's reach."""
    return _reached(denoiser.process.schedule, level - 2 * math.log(_deviation(denoiser)[1]))


def _times(schedule: Schedule, first: float, last: float, steps: int) -> Tensor:
    return times_between(schedule, float(schedule.log_snr(first)), float(schedule.log_snr(last)), steps)


def _reached(schedule: Schedule, level: float) -> float:
    return float(schedule.time(max(level, float(schedule.log_snr(1.0)) + 0.1)))


def _reference(denoiser: EuclideanDenoiser) -> MixtureDenoiser:
    """A normal law as wide as the data and a deviation beside it."""
    mean, deviation = _deviation(denoiser)
    variances = torch.full_like(mean, deviation**2)
    return MixtureDenoiser([1.0], (mean + deviation / math.sqrt(mean.numel()))[None], variances[None], denoiser.process)


def _follmer_gap(denoiser: EuclideanDenoiser, seeds: Any, until: float) -> Tensor:
    """log of the law of X_s = s x_0 + sqrt(s(1-s)) e against N(0, s I), at the draws of ``follmer_energy_draws``."""
    schedule = denoiser.process.schedule
    x0 = denoiser.draw(seeds.at("data")).double()
    x = until * x0 + math.sqrt(until * (1 - until)) * seeds.at("noise").normal_like(x0)
    t = schedule.time(math.log(until) - math.log1p(-until))
    scale = float(schedule.alpha(t)) / until
    own = denoiser.log_density(scale * x, t) + x0[0].numel() * math.log(scale)
    return own + (x.square() / until + math.log(2 * math.pi * until)).flatten(1).sum(1) / 2


def _three_peaks(schedule: Schedule) -> MixtureDenoiser:
    return MixtureDenoiser([0.5, 0.3, 0.2], [[-1.0], [0.5], [1.5]], [0.1, 0.06, 0.16], GaussianProcess(schedule))


def _densities(law: ForwardLaw, place: int, level: float) -> Plot:
    width = law.edges[1] - law.edges[0]
    group = max(1, len(law.centres) // 64)
    kept = len(law.centres) // group * group
    coarse = law.counts[place][:kept].reshape(-1, group).sum(1)
    middles = law.centres[:kept].reshape(-1, group).mean(1)
    scale = 1 / (len(law.states) * width * group)
    return Plot(
        f"the law of x_t at log-SNR {level:+.0f}",
        "x",
        "density",
        (
            Curve("closed form", law.centres.tolist(), (law.closed_form[place] / width).tolist(), dashed=True),
            Curve("Fokker-Planck", law.centres.tolist(), (law.fokker_planck[place] / width).tolist()),
            Curve("paths", middles.tolist(), (coarse * scale).tolist(), (np.sqrt(coarse) * scale).tolist()),
        ),
    )
