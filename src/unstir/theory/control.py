r"""Gathering as control: what it costs to steer noise into data, and that the bill is a divergence.

Leave a law q to its own reversal; to arrive at the law p instead, the reversal must be pushed by the control
:math:`u = g\,(\nabla\log p_t - \nabla\log q_t)`. Both path measures stir in the same way, so their log-ratio along
a path is that of its two clean ends, and by Girsanov's theorem the mean energy of the push is

.. math:: E\int \tfrac12 |u|^2 dt = \tfrac12\int g^2\,E_p|\nabla\log p_t - \nabla\log q_t|^2\,dt
          = KL(p_0\|q_0) - KL(p_1\|q_1).

Reference: Dai Pra, A stochastic control approach to reciprocal diffusion processes (1991); Föllmer, An entropy
approach to the time reversal of diffusion processes (1985); Lehec, Representation formula for the entropy (2013);
Song, Durkan, Murray, Ermon, Maximum likelihood training of score-based diffusion models (2021), theorem 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.base import EuclideanDenoiser
from unstir.physics.stochastic_process import ItoProcess, brownian_increments, check_times
from unstir.theory.reverse_time import reverse_sde, schedule_of, times_between

_LOG_SNR = 20.0  # beyond, in either direction, a belief of data of order one no longer changes


@dataclass(frozen=True)
class Estimate:
    """A mean over independent draws, and one standard error of it."""

    value: float
    standard_error: float

    @classmethod
    def of(cls, values: Tensor) -> "Estimate":
        """The estimate from one value a draw, (n,)."""
        return cls(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


@dataclass(frozen=True)
class ControlledPaths:
    """Paths from noise to data with what the control spent on them, all float64, one row a path.

    ``states`` (paths, steps + 1, *shape) at the falling ``times`` (steps + 1,); ``energy`` the sum of |u|^2 dt / 2 and
    ``work`` the sum of u dW; ``ratio_at_start`` and ``ratio_at_end`` log p_t/q_t at the two ends of the path.
    """

    times: Tensor
    states: Tensor
    energy: Tensor
    work: Tensor
    ratio_at_start: Tensor
    ratio_at_end: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """The log-density of the controlled against the free path measure, by Girsanov's theorem, (paths,).

        In the limit of short steps it is ``ratio_at_end``, path by path; its mean is the divergence of the measures.
        """
        return self.ratio_at_start + self.work + self.energy


def optimal_control(denoiser: EuclideanDenoiser, reference: EuclideanDenoiser) -> Callable[[Tensor, Any], Tensor]:
    """The push u(x, t) that turns the reference law's reversal into the denoiser's own; of the shape of x."""
    schedule = _common_schedule(denoiser, reference)

    def control(x: Tensor, t: Tensor | float | int) -> Tensor:
        return schedule.diffusion(t) * (denoiser.score(x, t) - reference.score(x, t))

    return control


def controlled_paths(
    denoiser: EuclideanDenoiser, reference: EuclideanDenoiser, seeds: Seeds, times: Tensor
) -> ControlledPaths:
    """Paths of Anderson's equation from p at the first of the falling ``times``, with energy and Girsanov weight.

    Euler–Maruyama steps; the sums over a path converge with strong order 1/2, their means with order 1.
    """
    grid = torch.as_tensor(check_times(times))
    if grid[0] < grid[-1]:
        raise InputError("data are reached backwards in time: give falling times")
    control = optimal_control(denoiser, reference)
    with torch.no_grad():
        start = denoiser.draw(seeds.at("start"), grid[0]).double()
        seeds = seeds.at("path")
        states = reverse_sde(denoiser).simulate(start, grid, seeds)
        kicks = brownian_increments(grid, seeds, start.shape[1:])
        energy, work = torch.zeros(2, len(start), dtype=torch.float64, device=start.device)
        for step, (t, duration) in enumerate(zip(grid[:-1], grid.diff().abs(), strict=True)):
            push = control(states[:, step], t)
            energy = energy + push.square().flatten(1).sum(1) * duration / 2
            work = work + (push * kicks[:, step]).flatten(1).sum(1)
        ends = (
            denoiser.log_density(states[:, place], grid[place]) - reference.log_density(states[:, place], grid[place])
            for place in (0, -1)
        )
    return ControlledPaths(grid, states, energy, work, *ends)


def kl_draws(
    denoiser: EuclideanDenoiser, reference: EuclideanDenoiser, t: Tensor | float | int, seeds: Seeds
) -> Tensor:
    """log p_t/q_t at a draw of p_t for each seed, (n,): its mean is KL(p_t || q_t) in nats."""
    _common_schedule(denoiser, reference)
    with torch.no_grad():
        x = denoiser.draw(seeds, t)
        return denoiser.log_density(x, t) - reference.log_density(x, t)


def energy_draws(
    denoiser: EuclideanDenoiser,
    reference: EuclideanDenoiser,
    start: float | int,
    end: float | int,
    seeds: Seeds,
    nodes: int = 32,
) -> Tensor:
    r"""The control's energy between the times, one value a seed, (n,): its mean is KL at start less KL at end.

    :math:`\tfrac12\int_{start}^{end} g^2 |\nabla\log p_t - \nabla\log q_t|^2 dt` at draws of p_t with the same
    address at every time, by Gauss–Legendre quadrature in log-SNR. No path is simulated, so no step is in error.
    """
    schedule = _common_schedule(denoiser, reference)
    if not 0 < start < end < 1:
        raise InputError(f"the times must satisfy 0 < start < end < 1; seen {start} and {end}")
    high, low = (float(schedule.log_snr(time)) for time in (start, end))
    places, weights = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros(len(seeds), dtype=torch.float64, device=seeds.samples.device)
    with torch.no_grad():
        for place, weight in zip(places, weights, strict=True):
            t = schedule.time(low + (high - low) * (place + 1) / 2)
            x = denoiser.draw(seeds, t)
            apart = denoiser.score(x, t) - reference.score(x, t)
            # g^2 dt = -sigma^2 d log-SNR
            total = total + weight * schedule.sigma(t).square() * apart.double().square().flatten(1).sum(1)
    return total * (high - low) / 4


def control_energy(
    denoiser: EuclideanDenoiser,
    reference: EuclideanDenoiser,
    seeds: Seeds,
    start: float | int | None = None,
    end: float | int | None = None,
) -> Estimate:
    """The mean energy of steering the reference's reversal to the denoiser's law, in nats, from ``end`` to ``start``.

    By default between the log-SNR -10 and 10, or as far as the schedule goes.
    """
    schedule = schedule_of(denoiser)
    late, early = times_between(schedule, -10.0, 10.0, 1).tolist()
    start, end = early if start is None else start, min(late, 1 - 1e-12) if end is None else end
    return Estimate.of(energy_draws(denoiser, reference, start, end, seeds))


def follmer_drift(denoiser: EuclideanDenoiser, x: Tensor, t: Tensor | float | int) -> Tensor:
    r"""Föllmer's drift: of all that bring a Brownian motion from 0 at t = 0 to the data's law at t = 1, the cheapest.

    :math:`u(x,t) = (E[X_1|X_t=x] - x)/(1-t)`. Given X_t, the end is known as if it had been seen in noise of the
    signal-to-noise ratio t/(1-t), whatever the schedule; so any exact denoiser knows this drift. Times in [0, 1).
    """
    schedule = schedule_of(denoiser)
    t = float(t)
    if not 0 <= t < 1:
        raise InputError(f"Föllmer's drift lives at times from 0 to less than 1; seen {t}")
    least = 1 / (1 + math.exp(-max(-_LOG_SNR, float(schedule.log_snr(1.0)))))
    seen = max(t, least)
    time = schedule.time(math.log(seen) - math.log1p(-seen))
    return (denoiser(schedule.alpha(time) * x / seen, time).mean - x) / (1 - t)


def follmer_process(denoiser: EuclideanDenoiser) -> ItoProcess:
    """dX = u dt + dW with Föllmer's drift: started at 0, it has the data's law at t = 1."""
    return ItoProcess(lambda x, t: follmer_drift(denoiser, x, float(t)), lambda x, t: 1.0)


def follmer_energy_draws(
    denoiser: EuclideanDenoiser, seeds: Seeds, until: float | int = 1.0, nodes: int = 96
) -> Tensor:
    r"""The energy :math:`\tfrac12\int|u|^2dt` of Föllmer's drift from 0 to ``until``, one value a seed, (n,).

    Its mean is the divergence of the law of X_until from N(0, until I): at 1, KL(p_0 || N(0, I)) in nats. At exact
    draws :math:`X_t = t x_0 + \sqrt{t(1-t)}\,\epsilon` with one address for all times, by Gauss–Legendre quadrature in
    the logit of t.
    """
    if not 0 < until <= 1:
        raise InputError(f"Föllmer's process lives at times from 0 to 1; seen until = {until}")
    high = min(math.log(until) - math.log1p(-until), _LOG_SNR) if until < 1 else _LOG_SNR
    places, weights = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros(len(seeds), dtype=torch.float64, device=seeds.samples.device)
    with torch.no_grad():
        x0 = denoiser.draw(seeds.at("data")).double()
        noise = seeds.at("noise").normal_like(x0)
        for place, weight in zip(places, weights, strict=True):
            t = 1 / (1 + math.exp(_LOG_SNR - (high + _LOG_SNR) * (place + 1) / 2))
            x = t * x0 + math.sqrt(t * (1 - t)) * noise
            push = follmer_drift(denoiser, x, t).square().flatten(1).sum(1)
            total = total + weight * t * (1 - t) * push / 2
    return total * (high + _LOG_SNR) / 2


def _common_schedule(denoiser: EuclideanDenoiser, reference: EuclideanDenoiser) -> Any:
    if schedule_of(denoiser) != schedule_of(reference):
        raise InputError(
            f"both laws must be stirred by one process; seen {schedule_of(denoiser)} and {schedule_of(reference)}"
        )
    return schedule_of(denoiser)
