"""Assimilation of a linear-Gaussian chain, whose every answer the Rauch–Tung–Striebel smoother knows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.climate.tasks.assimilating.assimilation import (
    SeenOperator,
    WindowedDenoiser,
    assimilate,
    trajectories,
)
from unstir.domains.climate.tasks.assimilating.filters import Readings, ensemble_kalman
from unstir.exact.kalman import LinearChain, smooth
from unstir.exact.linear_chain import LinearChainDenoiser
from unstir.inverse.measurement import Measurement
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most, mean_is, probable, uniform_are

__all__ = [
    "chain_cycles_to_kalman",
    "chain_smoothed_by_conditioning",
    "chain_smoothed_by_mmps",
    "chain_trajectory_ranks",
    "chain_windows_compose",
]

_NOISE = 0.6


def _chain() -> LinearChain:
    """A damped turn of two numbers."""
    return LinearChain.stationary([[0.8, -0.4], [0.4, 0.8]], [0.1, 0.0], [[0.2, 0.05], [0.05, 0.15]])


def _read(chain: LinearChain, length: int, seeds: Seeds) -> tuple[Tensor, Tensor]:
    """A trajectory (length, 2), and readings of its first number, every third time of both; NaN elsewhere."""
    truth = chain.draw(length, seeds)[0]
    values = truth + _NOISE * seeds.at("noise").normal((length, 2), torch.float64)[0]
    values[torch.arange(length) % 3 != 0, 1] = torch.nan
    values[2:4] = torch.nan
    return truth, values


def _measured(values: Tensor) -> Measurement:
    seen = ~values.T.isnan()
    factors = torch.full((int(seen.sum()),), 1 / _NOISE, dtype=torch.float64)
    return Measurement(SeenOperator(tuple(seen.shape), seen, factors), values.T[seen] * factors, GaussianNoise(1.0))


@claim("exact", "linear-chain")
def chain_smoothed_by_conditioning(law: LinearChainDenoiser, effort: Effort) -> Iterator[Measured]:
    """Conditioned on readings of its states, the trajectory's law is what the smoother says, time by time."""
    chain, length, size = law.chain, law.shape[1], law.shape[0]
    scale = law.components.covariances()[0, 0].diagonal().reshape(size, length)[:, 0] / chain.covariance.diagonal()
    scale = scale.rsqrt()
    shift = chain.mean - law.mean[:, 0] * scale
    operator = torch.linspace(0.5, 1.0, size, dtype=torch.float64)[None]
    values = chain.draw(length, effort.seeds(1, "smoothing"))[0] @ operator.T + 0.3
    values[1] = torch.nan
    told = smooth(chain, operator, values, 0.4)
    there = (~values[:, 0].isnan()).nonzero()[:, 0]
    rows = torch.zeros(len(there), size, length, dtype=torch.float64)
    rows[torch.arange(len(there)), :, there] = operator[0] * scale
    given = law.given_observation(rows.flatten(1), (values[there] - operator @ shift)[:, 0], 0.4)
    means = given.mean.T * scale + shift
    blocks = given.covariance().reshape(size, length, size, length)
    covariances = torch.stack([blocks[:, k, :, k] for k in range(length)]) * scale[:, None] * scale
    yield at_most("means against the smoother's", (means - told.means).abs().max(), 1e-12)
    yield at_most("covariances against the smoother's", (covariances - told.covariances).abs().max(), 1e-12)
    yield at_most("log-evidence against the filter's", (given.log_evidence - told.log_evidence).abs(), 1e-11)


@claim("exact", "linear-chain")
def chain_smoothed_by_mmps(law: LinearChainDenoiser, effort: Effort) -> Iterator[Measured]:
    """Trajectories drawn through ``inverse`` have the smoother's mean and covariance within sampling error."""
    if law.shape != (2, 5):
        raise NotMeasured("measured on the damped turn of two numbers alone")
    chain, length = _chain(), 8
    prior = LinearChainDenoiser(chain, length, GaussianProcess(EDMSchedule(sigma_max=20.0)))
    _, values = _read(chain, length, effort.seeds(1, "mmps"))
    told = smooth(chain, torch.eye(2), values, _NOISE)
    count = effort.of(400, 4000)
    method = {"name": "mmps", "iterations": 16, "sampler": "dpm-solver-pp-2m"}
    drawn = trajectories(prior, _measured(values), effort.seeds(count, "draws"), method, effort.of(60, 400))
    drawn = drawn.double().transpose(1, 2)  # (draws, time, n)
    spread = told.covariances.diagonal(dim1=1, dim2=2).sqrt()
    # few steps leave a bias of their own: a tenth of a standard error of so many draws at these steps
    yield mean_is("means, in deviations", ((drawn - told.means) / spread).flatten(1).numpy(), 0.0, 1.0)
    roots = torch.linalg.cholesky(told.covariances)
    white = torch.linalg.solve_triangular(roots, (drawn - told.means)[..., None], upper=False)[..., 0]
    for name, square in (("first", white[..., 0].square()), ("second", white[..., 1].square())):
        each = square.sum(0).numpy()
        chances = np.minimum(stats.chi2(count).cdf(each), stats.chi2(count).sf(each))
        yield probable(f"variances of the {name} direction", min(1.0, 2 * length * float(chances.min())))
    cross = (white[..., 0] * white[..., 1]).numpy()
    yield mean_is("covariance of the two directions", cross, 0.0, 1.0)


@claim("exact", "linear-chain")
def chain_trajectory_ranks(law: LinearChainDenoiser, effort: Effort) -> Iterator[Measured]:
    """Truths have uniform ranks among trajectories drawn from their readings."""
    if law.shape != (2, 5):
        raise NotMeasured("measured on the damped turn of two numbers alone")
    chain, length, members = _chain(), 6, 19
    prior = LinearChainDenoiser(chain, length, GaussianProcess(EDMSchedule(sigma_max=20.0)))
    ranks = []
    for number in range(effort.of(12, 300)):
        seeds = Seeds.range(effort.seed, 1, number).at("ranks")
        truth, values = _read(chain, length, seeds)
        own = Seeds.range(effort.seed, members, number * members).at("ranked")
        method = {"name": "mmps", "iterations": 12, "sampler": "dpm-solver-pp-2m"}
        drawn = trajectories(prior, _measured(values), own, method, 24)
        # one number of each trial, so that the ranks are independent: the last, which is forecast from what is read
        below = (drawn[:, number % 2, number % length] < truth[number % length, number % 2]).sum()
        jitter = float(seeds.at("jitter").uniform()[0])
        ranks.append((float(below) + jitter) / (members + 1))
    yield uniform_are("ranks of the truth", ranks)


@claim("exact", "linear-chain")
def chain_windows_compose(law: LinearChainDenoiser, effort: Effort) -> Iterator[Measured]:
    """Beliefs composed of windows come to the whole trajectory's as the window grows past the memory under noise."""
    if law.shape != (2, 5):
        raise NotMeasured("measured on the damped turn of two numbers alone")
    chain, length, process = _chain(), 33, GaussianProcess(EDMSchedule(sigma_max=20.0))
    whole = LinearChainDenoiser(chain, length, process)
    for sigma in (0.3, 1.0, 3.0):
        t = process.schedule.time(torch.tensor(-2 * np.log(sigma), dtype=torch.float64))
        xt = whole.draw(effort.seeds(64, "windows"), t)
        exact = whole(xt, t).mean
        spread = chain.covariance.diagonal().mean().sqrt()
        errors = []
        for window in (5, 9, 17):
            composed = WindowedDenoiser(LinearChainDenoiser(chain, window, process), window)(xt, t).mean
            errors.append(float((composed - exact).square().mean().sqrt() / spread))
        note = f"errors {errors[0]:.2g}, {errors[1]:.2g}, {errors[2]:.2g} of windows of 5, 9 and 17 times"
        yield at_most(f"growth of the error with the window, noise {sigma}", max(np.diff(errors)), 0.0, note)
        # what is further than half the window is forgotten at least as fast as the chain's own memory
        memory = float(torch.linalg.eigvals(chain.transition).abs().max())
        yield at_most(f"error of windows of 17 times, noise {sigma}", errors[2], memory**8, note)
    same = LinearChainDenoiser(chain, 9, process)
    xt = same.draw(effort.seeds(8, "one window"), 0.5)
    away = WindowedDenoiser(same, 9)(xt, torch.tensor(0.5)).mean - same(xt, torch.tensor(0.5)).mean
    yield at_most("a trajectory of one window", away.abs().max(), 0.0)


@claim("exact", "linear-chain")
def chain_cycles_to_kalman(law: LinearChainDenoiser, effort: Effort) -> Iterator[Measured]:
    """Cycled through a Gaussian law of the ensemble, analyses are Kalman's within the ensemble's sampling error."""
    if law.shape != (2, 5):
        raise NotMeasured("measured on the damped turn of two numbers alone")
    chain, length, members = _chain(), 12, effort.of(2000, 20000)
    _, values = _read(chain, length, effort.seeds(1, "cycles"))
    told = smooth(chain, torch.eye(2), values, _NOISE)
    readings = Readings(values, torch.eye(2), torch.tensor(_NOISE))
    shake = torch.linalg.cholesky(chain.noise)

    def forecast(ensemble: Tensor, number: int, seeds: Seeds) -> Tensor:
        return ensemble @ chain.transition.T + chain.offset + seeds.normal((2,), torch.float64) @ shake.T

    seeds = effort.seeds(members, "members")
    start = chain.draw(1, seeds)[:, 0]
    ways: dict[str, Any] = {
        "independent draws": assimilate(start, forecast, readings, seeds, law="gaussian"),
        "moved members": assimilate(start, forecast, readings, seeds, law="gaussian", pathwise=True),
        "the ensemble Kalman filter": ensemble_kalman(start, forecast, readings, seeds),
    }
    deviation = told.filtered_covariances.diagonal(dim1=1, dim2=2).sqrt()
    for name, found in ways.items():
        away = ((found.means - told.filtered_means) / deviation).abs().max()
        # each cycle draws anew, and the errors of gain and mean that add up are forgotten as the chain forgets
        yield at_most(f"means by {name}, in deviations", away, 20 / members**0.5)
        ratio = (found.ensembles.var(1).sqrt() / deviation - 1).abs().max()
        yield at_most(f"deviations by {name}, relative", ratio, 20 / members**0.5)
