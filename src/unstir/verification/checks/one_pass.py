"""Claims of the generator that draws in one pass, measured with a network whose law is known."""

import math
from collections.abc import Iterator

import torch
from scipy import stats
from torch import Tensor, nn

from unstir.core.seeds import Seeds
from unstir.denoisers.learned.one_pass import OnePassDenoiser
from unstir.denoisers.posteriors import Posterior
from unstir.processes.heavy_tailed import HeavyTailedProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, distribution_is, mean_is

__all__ = ["fair_score_is_least_at_the_true_law", "fair_score_knows_no_number_of_members", "one_step_is_one_draw"]

_SIZE = 2
_SURE = 6.0  # standard errors; what is measured lies at 11 or beyond
_WRONG = {"too sure": (0.5, 0.0), "too wide": (2.0, 0.0), "shifted": (1.0, 0.7)}


class _Affine(nn.Module):
    """Draws A g + shift + spread L z, whose law is known wherever that of z is."""

    centre = torch.tensor([[1.0, -0.5], [0.3, 0.8]], dtype=torch.float64)
    root = torch.tensor([[0.9, 0.0], [0.7, 0.4]], dtype=torch.float64)

    def __init__(self, unit: float, spread: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.unit, self.spread, self.shift = unit, spread, shift

    def forward(self, x: Tensor, noise: Tensor, drop: Tensor | None = None, *, given: Tensor) -> Tensor:
        return (given @ self.centre.T + self.shift + self.spread * x @ self.root.T) / self.unit


@claim("learned", "one-pass")
def one_step_is_one_draw(denoiser: OnePassDenoiser, effort: Effort) -> Iterator[Measured]:
    """One ancestral step gives the network's draw with nothing added, of the law that the network makes of the noise.

    The same alone and in any batch.
    """
    count = effort.of(2_000, 20_000)
    seeds, given = _cases(count, effort)
    made = _with(denoiser)
    drawn = _sampled(made, seeds, given)
    noise = made.process.prior((_SIZE,), seeds.at("prior"), 1.0, torch.float64) / made.process.schedule.sigma(1.0)
    expected = given @ _Affine.centre.T + noise @ _Affine.root.T
    away = (drawn - expected).abs() / (1 + expected.abs())
    yield at_most("difference from the network's output", away.max(), 1e-12)
    chosen = torch.tensor([31, 7])
    few = _sampled(made, seeds[chosen], given[chosen])
    yield at_most("difference between 2 of them and 2 alone", (few - drawn[chosen]).abs().max(), 1e-12)
    told = torch.linalg.solve(_Affine.root, (drawn - given @ _Affine.centre.T).T).T
    law = stats.t(made.process.degrees) if isinstance(made.process, HeavyTailedProcess) else stats.norm
    yield distribution_is("law of the draws, against the exact one", told.flatten().numpy(), law.cdf)


@claim("learned", "one-pass")
def fair_score_is_least_at_the_true_law(denoiser: OnePassDenoiser, effort: Effort) -> Iterator[Measured]:
    """Training's mean loss is less with the true law than with one that is too sure, too wide or shifted."""
    count = effort.of(6_000, 60_000)
    seeds, given = _cases(count, effort)
    truth = _truth(denoiser, seeds, given)
    exact = _losses(_with(denoiser), seeds, given, truth, denoiser.members)
    for name, wrong in _WRONG.items():
        gained = _losses(_with(denoiser, *wrong), seeds, given, truth, denoiser.members) - exact
        distance = gained.mean() / gained.std() * math.sqrt(count)
        yield Measured(f"loss of one that is {name}, above the true law's, in standard errors", float(distance), _SURE)


@claim("learned", "one-pass")
def fair_score_knows_no_number_of_members(denoiser: OnePassDenoiser, effort: Effort) -> Iterator[Measured]:
    """The mean loss is the same with few members and with many; for Gaussian noise the one known in closed form."""
    count = effort.of(6_000, 60_000)
    seeds, given = _cases(count, effort)
    truth = _truth(denoiser, seeds, given)
    made = _with(denoiser)
    few, many = (_losses(made, seeds.at(name), given, truth, number) for name, number in (("few", 2), ("many", 9)))
    yield mean_is("loss with 2 members less that with 9", (few - many).numpy(), 0.0)
    if not isinstance(denoiser.process, HeavyTailedProcess):
        yield mean_is("loss with 9 members", many.numpy(), _least(denoiser))


def _least(denoiser: OnePassDenoiser) -> float:
    r"""The mean score of the true law, half the mean distance of two draws, for Gaussian noise.

    Along a direction of angle a, the distance of two draws of the covariance C is Rayleigh's, of mean
    :math:`\sqrt{\pi/2}`, times the root of the form of 2C there.
    """
    covariance = _Affine.root @ _Affine.root.T
    crps = float((covariance.diagonal() / math.pi).sqrt().mean())
    angles = torch.arange(512, dtype=torch.float64) * (2 * math.pi / 512)
    values = torch.linalg.eigvalsh(2 * covariance)
    form = values[0] * angles.cos().square() + values[1] * angles.sin().square()
    energy = float(form.sqrt().mean()) * math.sqrt(math.pi / 2) / 2 / math.sqrt(_SIZE)
    share = {"crps": 0.0, "energy": 1.0, "both": denoiser.share}[denoiser.score]
    return (1 - share) * crps + share * energy


def _cases(count: int, effort: Effort) -> tuple[Seeds, Tensor]:
    seeds = effort.seeds(count, "one-pass")
    return seeds, seeds.at("given").normal((_SIZE,), torch.float64)


def _with(denoiser: OnePassDenoiser, spread: float = 1.0, shift: float = 0.0) -> OnePassDenoiser:
    """The denoiser's own kind with a network of its choice."""
    made = type(denoiser)(None, denoiser.process, denoiser.sigma_data, denoiser.score, denoiser.members, denoiser.share)
    made.network = _Affine(denoiser.sigma_data, spread, shift)
    return made


def _truth(denoiser: OnePassDenoiser, seeds: Seeds, given: Tensor) -> Tensor:
    return _drawn(_with(denoiser), seeds.at("truth"), given).mean


def _drawn(denoiser: OnePassDenoiser, seeds: Seeds, given: Tensor) -> Posterior:
    """The belief at noise drawn as training draws it."""
    noise = denoiser.training_state(torch.zeros(len(seeds), _SIZE, dtype=torch.float64), 1.0, seeds)
    return denoiser(noise, torch.tensor(1.0, dtype=torch.float64), given=given)


def _losses(denoiser: OnePassDenoiser, seeds: Seeds, given: Tensor, truth: Tensor, members: int) -> Tensor:
    """The loss of each case with so many members, laid out as training lays them out."""
    drawn = torch.stack([_drawn(denoiser, seeds.at("member", each), given).mean for each in range(members)], 1)
    return denoiser.believe(
        drawn.flatten(0, 1) / denoiser.sigma_data,
        drawn.flatten(0, 1),
        torch.ones(len(drawn) * members, dtype=torch.float64),
        None,
    ).loss(truth)


def _sampled(denoiser: OnePassDenoiser, seeds: Seeds, given: Tensor) -> Tensor:
    return sample(
        denoiser,
        AncestralSampler(),
        (_SIZE,),
        seeds=seeds,
        condition={"given": given},
        steps=1,
        grid="uniform",
        batch=500,
        dtype=torch.float64,
    )
