"""What samplers that draw noise keep on the way: the law at every noise level, and what Langevin steps settle into."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import log_snr_uniform
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.base import Sampler
from unstir.samplers.langevin import AnnealedLangevinSampler, Corrections, PredictorCorrectorSampler
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import (
    ON_THE_LINE,
    ImpulseSeeds,
    NormalDenoiser,
    PointDenoiser,
    affine_walk,
    goes_along_any_times,
    suited,
)
from unstir.verification.statistics import at_most, distribution_is, order_of

__all__ = ["langevin_limit", "sampler_marginals"]

START, END, STOPS = 10.0, 0.05, 4  # noise levels, and how many stretches of equal log-SNR lie between them
MEAN, DEVIATION = 0.6, 0.8


@claim("samplers")
def sampler_marginals(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """On normal data, mean and variance at the noise levels on the way are right to its declared weak order.

    Exactly, from the states' answers to the first state and to each draw; relative to the true deviation.
    """
    goes_along_any_times(sampler)
    counts = STOPS * np.array(effort.of([6, 9, 14, 21], [12, 24, 48, 96]))
    schedules = {"cosine": CosineSchedule(), **effort.of({}, {"flow": RectifiedFlowSchedule()})}
    for name, schedule in schedules.items():
        denoiser = suited(sampler, NormalDenoiser(MEAN, DEVIATION, GaussianProcess(schedule)))
        errors = []
        for count in counts.tolist():
            times = log_snr_uniform(schedule, count + 1, END, START)[:-1]
            alpha, sigma = schedule.alpha(times), schedule.sigma(times)
            variance = (alpha * DEVIATION).square() + sigma.square()
            states = affine_walk(sampler, denoiser, times)
            if states.shape[1] == 2:
                raise NotMeasured("it draws no noise", silent=True)
            means = states[:, 0] + states[:, 1] * alpha[0] * MEAN
            variances = states[:, 1].square() * variance[0] + states[:, 2:].square().sum(1)
            away = (means - alpha * MEAN).abs() / variance.sqrt() + (variances / variance - 1).abs()
            errors.append(away[:: count // STOPS][1:].max().item())
        quantity = f"weak order at {STOPS} levels, {name}"
        tolerance = effort.of(0.2, 0.15)
        yield order_of(quantity, 1 / counts, errors, float(sampler.order), tolerance, at_least=True)
        yield at_most(f"relative error of mean and variance, {counts[-1]} steps, {name}", errors[-1], 0.2)


@claim("samplers", "langevin", "predictor-corrector")
def langevin_limit(sampler: PredictorCorrectorSampler | AnnealedLangevinSampler, effort: Effort) -> Iterator[Measured]:
    """Many Langevin steps at one level settle into the law at that level.

    Exactly for normal data of the deviation that they are told, whatever the signal-to-noise ratio; for other data up
    to an error of second order in it.
    """
    process = GaussianProcess()
    t = process.schedule.time_at_sigma(0.7)
    alpha, sigma = process.schedule.alpha(t).item(), process.schedule.sigma(t).item()
    told = sampler.corrections.data_deviation
    variances = []
    for ratio in (0.1, 0.2, 0.4, 0.8):
        steps = replace(sampler.corrections, count=round(12 / ratio**2), snr=ratio)
        variances.append([_settled(steps, NormalDenoiser(MEAN, own, process), t) for own in (told, told / 2)])
    own, other = np.array(variances).T
    true = [(alpha * deviation) ** 2 + sigma**2 for deviation in (told, told / 2)]
    yield at_most("relative error of the variance, deviation as told", abs(own / true[0] - 1), 1e-6)
    bias = abs(other / true[1] - 1)[:3]
    yield order_of("order in the ratio, deviation half of that", (0.1, 0.2, 0.4), bias, 2.0, 0.25)

    count = effort.of(2000, 10_000)
    denoiser = PointDenoiser(ON_THE_LINE.denoiser(process))
    steps = replace(sampler.corrections, count=effort.of(400, 800), snr=0.12)
    seeds = effort.seeds(count, "langevin")
    with torch.no_grad():
        x = process.prior((1,), seeds.at("prior"), 1.0, torch.float64)
        x, _ = steps.at(denoiser, x, t, seeds)
    yield distribution_is("draws of a mixture at one level", x.numpy(), lambda v: ON_THE_LINE.cdf(v, alpha, sigma))


def _settled(steps: Corrections, denoiser: NormalDenoiser, t: Tensor) -> float:
    """The variance after the steps, from a state without any, exactly."""
    rows = 2 + steps.count
    with torch.no_grad():
        start = torch.zeros(rows, 1, dtype=torch.float64)
        x, _ = steps.at(denoiser, start, t, ImpulseSeeds(0, torch.arange(rows)))
    return (x[2:] - x[0]).square().sum().item()
