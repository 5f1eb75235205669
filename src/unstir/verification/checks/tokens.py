"""Claims of what is taught and told of tokens: ratios between states, their losses, and the weightings of these."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.denoisers.discrete import (
    CategoricalPosterior,
    ScoreEntropyPosterior,
    belief_of_ratios,
    clean_log_ratios,
    log_marginals,
    log_ratios,
    score_entropy,
)
from unstir.denoisers.noise_levels import UniformLevels, UniformLogSNRLevels, stratified
from unstir.exact.base import ExactDenoiser
from unstir.likelihood.token_bound import token_bound
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.token_matrices import NAMED, generator_of
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.checks.token_bound import chain
from unstir.verification.spaces import points
from unstir.verification.statistics import at_most, mean_is

__all__ = [
    "named_rates_forget_alike",
    "ratios_follow_from_the_belief",
    "score_entropy_is_least_at_the_truth",
    "steps_of_a_matrix_are_its_powers",
    "token_weighting_gives_the_bound",
]

Weighting = Callable[[Tensor, Tensor], Tensor]


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@claim("exact", "token-chain", "token-product")
def ratios_follow_from_the_belief(law: ExactDenoiser, effort: Effort) -> Iterator[Measured]:
    """Ratios of p_t between states one token apart follow from the beliefs about single tokens, and these from them."""
    process: Any = law.process
    states, _ = points(law, noisy=True)
    states = states[:: max(1, len(states) // effort.of(40, 400))]
    for t in effort.of((0.4,), (0.05, 0.4, 0.7)):
        density = law.log_density(states, t)
        possible = density > -math.inf
        here, density = states[possible], density[possible]
        logs = log_marginals(law(here, _time(t)), process.classes)
        told = log_ratios(logs, here, process, t)
        errors, rows = [], torch.arange(len(here))
        for place in range(here.shape[1]):
            for other in range(process.states):
                changed = here.clone()
                changed[:, place] = other
                ratio = (law.log_density(changed, t) - density).exp()
                error = (told[:, place, other].exp() - ratio).abs() / ratio.clamp(min=1.0)
                # no noise leads from one class that is shown to another, nor does its reversal
                errors.append(error[process.log_forward(changed, 0.0, t)[:, place].exp()[rows, here[:, place]] > 0])
        yield at_most(f"error of p_t(y)/p_t(x), relative where above one, t = {t:g}", torch.cat(errors).max(), 1e-10)
        back = belief_of_ratios(told, here, process, t).mean
        yield at_most(f"error of the belief out of the ratios, t = {t:g}", (back - logs.exp()).abs().max(), 1e-9)


@claim("processes", "categorical")
def score_entropy_is_least_at_the_truth(process: CategoricalProcess, effort: Effort) -> Iterator[Measured]:
    """Score entropy is zero at the true ratios, positive elsewhere, and what its formula says."""
    count = effort.of(50, 1_000)
    x0 = process.example_data(count)
    seeds = effort.seeds(count, "score entropy")
    for t in effort.of((0.5,), (1e-3, 0.5, 0.9)):
        xt = process.noise(x0, _time(t), seeds)
        true = clean_log_ratios(x0, xt, process, t)
        yield at_most(f"at the truth, t = {t:g}", score_entropy(true, true, process, xt).abs().max(), 1e-9)
        drawn = seeds.at("belief").normal((2, process.classes), torch.float64).log_softmax(-1)
        if process.absorbing:  # a token that is seen is known
            known = torch.nn.functional.one_hot(x0, process.classes).double().log()
            drawn = torch.where((xt == process.mask_class)[..., None], drawn, known)
        told = log_ratios(drawn, xt, process, t)
        each = score_entropy(told, true, process, xt).numpy()
        yield Measured(f"least elsewhere, t = {t:g}", float(each.min()), low=-1e-12)
        rates = process.generator.numpy().T[xt.numpy()]
        s, r = np.exp(told.numpy()), np.exp(true.numpy())
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = rates * (s - r + np.where(r > 0, r * (true - told).numpy(), 0.0))
        np.put_along_axis(terms, xt.numpy()[..., None], 0.0, -1)
        wanted = np.where(rates > 0, terms, 0.0).sum(-1)
        scale = np.maximum(wanted, 1.0)
        yield at_most(f"relative error of the formula, t = {t:g}", np.abs((each - wanted) / scale).max(), 1e-9)


@claim("processes", "categorical")
def named_rates_forget_alike(process: CategoricalProcess, effort: Effort) -> Iterator[Measured]:
    """Rates that have a name keep the even law and forget as exp(-tau), as uniform noise does."""
    if process.rates != "uniform":
        raise NotMeasured("measured once, beside uniform noise", silent=True)
    for name in NAMED:
        for classes in effort.of((2, 5), (2, 3, 5, 17, 64)):
            named = CategoricalProcess(classes, rates=name)
            yield at_most(
                f"distance from the even law, {name}, {classes}", (named.stationary * classes - 1).abs(), 1e-9
            )
            gap = -np.sort(np.linalg.eigvalsh(named.generator.numpy()))[-2]
            yield at_most(f"slowest rate less one, {name}, {classes}", abs(gap - 1), 1e-9)


@claim("processes", "categorical")
def steps_of_a_matrix_are_its_powers(process: CategoricalProcess, effort: Effort) -> Iterator[Measured]:
    """Given a matrix of probabilities, whole units of the clock are its powers."""
    law = process.log_forward(torch.arange(process.states)[:, None], _time(0.0), _time(0.3))[:, 0].exp()
    if bool((law == 0).any()):
        raise NotMeasured("a chain that cannot return has a matrix of its own", silent=True)
    stepped = CategoricalProcess(process.states, rates=law.tolist())
    every = torch.arange(process.states)[:, None]
    for count in (1, 2, 5):
        t = stepped.schedule.time(torch.tensor(-math.log(math.expm1(count)), dtype=torch.float64))
        told = stepped.log_forward(every, _time(0.0), t)[:, 0].exp()
        yield at_most(f"{count} steps", (told - torch.linalg.matrix_power(law, count)).abs().max(), 1e-9)
    yield at_most("its logarithm", (torch.linalg.matrix_exp(generator_of(law)) - law).abs().max(), 1e-9)


@claim("weightings", "masked-likelihood", "score-entropy")
def token_weighting_gives_the_bound(weighting: Weighting, effort: Effort) -> Iterator[Measured]:
    """Met as in training, the weighted loss of tokens is the bound on -log p in nats per token, for any levels met.

    Both are means over the same sequences between two noise levels; a belief that has learned half of its law.
    """
    count, ends = effort.of(4_000, 100_000), (-6.0, 6.0)
    masked = type(weighting).__name__ == "MaskedLikelihoodWeighting"
    processes = {"masked": CategoricalProcess(3, rates="absorbing")}
    if not masked:
        processes |= {"uniform": CategoricalProcess(3), "in order": CategoricalProcess(3, rates="neighbours")}
    for name, process in processes.items():
        law = chain(process, 4)
        data = law.draw(effort.seeds(count, "data"))
        # under masking the bound takes all to be masked at its first level, and training does not
        low = -40.0 if process.absorbing else ends[0]
        bound = token_bound(law, data, effort.seeds(count, "bound", name), 8, draws=1, log_snr=(low, ends[1]))
        schedule = process.schedule
        first, last = (schedule.time(torch.tensor(end).double()).item() for end in reversed(ends))
        for kind, levels in {
            "log-SNR": UniformLogSNRLevels(*ends),
            "time": UniformLevels(schedule, first, last),
        }.items():
            seeds = effort.seeds(count, "training", name, kind)
            met = levels(stratified(effort.seeds(1, "levels"), count, torch.randperm(count, generator=_generator())))
            t = schedule.time(met.log_snr)
            xt = process.noise(data, t, seeds.at("noise"))
            logs = log_marginals(law(xt, t), process.classes)
            belief = CategoricalPosterior(logs) if masked else ScoreEntropyPosterior(logs, process, xt, t)
            loss = weighting(met.log_snr, met.density) * belief.loss(data)
            wanted = bound.transitions.sum(1)
            if process.absorbing:
                wanted = wanted - _late(law, data, ends[0], effort, name, kind)
            yield mean_is(f"loss less bound, nats per token, {name}, even in {kind}", loss - wanted / 4, 0.0)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _late(law: Any, data: Tensor, first: float, effort: Effort, *purpose: str) -> Tensor:
    """What the levels noisier than ``first`` cost, which training leaves out."""
    told = token_bound(law, data, effort.seeds(len(data), "late", *purpose), 1, draws=1, log_snr=(-40.0, first))
    return told.transitions.sum(1)
