"""Claims of the beliefs that networks' numbers are read as, whatever the numbers."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.core.state import map_state, take, tensors_of
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.posteriors import PointPosterior, Posterior
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most, mean_is

__all__ = ["belief_draws_what_it_says", "belief_is_finite_at_the_ends_of_time", "belief_knows_no_company"]

_FAINT = 0.15  # of the numbers' deviation, by which two beliefs differ that are weighed against each other


@claim("learned")
def belief_draws_what_it_says(denoiser: LearnedDenoiser, effort: Effort) -> Iterator[Measured]:
    """Draws have the density that the belief says: weighed by another belief's density over it they count one."""
    count = effort.of(4_000, 40_000)
    xt, seeds = _states(denoiser, count, 0.5, effort)
    said = _belief(denoiser, xt, 0.5, seeds.at("numbers"))
    if _has_a_point(said):
        raise NotMeasured("a point has no density", silent=True)
    other = _belief(denoiser, xt, 0.5, seeds.at("numbers"), seeds.at("others"))
    drawn = said.sample(seeds.at("draw"))
    yield mean_is("mean ratio of two densities", (other.log_prob(drawn) - said.log_prob(drawn)).exp().numpy(), 1.0)


@claim("learned")
def belief_is_finite_at_the_ends_of_time(denoiser: LearnedDenoiser, effort: Effort) -> Iterator[Measured]:
    """Loss, gradient and draws are finite from no noise to nothing but noise, in float32; draws lie in the space."""
    lost = astray = 0
    for t in (0.0, 1e-6, 0.5, 1.0):
        xt, seeds = _states(denoiser, 200, t, effort, torch.float32)
        x0 = map_state(lambda part: part.float() if part.is_floating_point() else part, _clean(denoiser, 200))
        numbers = _numbers(denoiser, xt, seeds.at("numbers")).float().requires_grad_()
        time = torch.full((200,), t, dtype=torch.float64)
        belief = denoiser.believe(numbers, xt, time, None)
        loss = belief.loss(x0)
        # where the data is known, what the numbers say does not matter
        loss.sum().backward() if loss.requires_grad else None
        drawn = belief.sample(seeds.at("draw"))
        lost += int((~loss.isfinite()).sum())
        lost += 0 if numbers.grad is None else int((~numbers.grad.isfinite()).sum())
        same = all(a.dtype == b.dtype for a, b in zip(tensors_of(drawn), tensors_of(x0), strict=True))
        astray += int((~denoiser.process.contains(map_state(lambda part: part.detach(), drawn))).sum()) + (not same)
    yield at_most("losses and gradients that are not finite", lost, 0.0)
    yield at_most("draws that lie elsewhere, or have another dtype", astray, 0.0)


@claim("learned")
def belief_knows_no_company(denoiser: LearnedDenoiser, effort: Effort) -> Iterator[Measured]:
    """A sample's belief and draw are the same alone and in any batch."""
    xt, seeds = _states(denoiser, 40, 0.6, effort)
    chosen = torch.tensor([31, 7])
    numbers = _numbers(denoiser, xt, seeds.at("numbers"))
    time = torch.full((40,), 0.6, dtype=torch.float64)
    whole = denoiser.believe(numbers, xt, time, None).sample(seeds.at("draw"))
    few = denoiser.believe(numbers[chosen], take(xt, chosen), time[chosen], None).sample(seeds[chosen].at("draw"))
    gaps = [
        (a.double() - b.double()).abs().max().item()
        for a, b in zip(tensors_of(take(whole, chosen)), tensors_of(few), strict=True)
    ]
    yield at_most("difference between 2 of 40 and 2 alone", max(gaps), 1e-12)


def _clean(denoiser: LearnedDenoiser, count: int) -> Any:
    return denoiser.process.example_data(count)


def _states(
    denoiser: LearnedDenoiser, count: int, t: float, effort: Effort, dtype: torch.dtype = torch.float64
) -> tuple[Any, Seeds]:
    seeds = effort.seeds(count, "learned", str(t))
    x0 = map_state(lambda part: part.to(dtype) if part.is_floating_point() else part, _clean(denoiser, count))
    return denoiser.process.noise(x0, torch.tensor(t, dtype=torch.float64), seeds.at("noise")), seeds


def _numbers(denoiser: LearnedDenoiser, xt: Any, seeds: Seeds) -> Tensor:
    """What a network might have said, of unit deviation."""
    told = denoiser.inputs(xt, torch.full((len(seeds),), 0.5, dtype=torch.float64))
    return seeds.normal((*told.shape[1:-1], denoiser.width_out(xt)), torch.float64)


def _belief(denoiser: LearnedDenoiser, xt: Any, t: float, seeds: Seeds, faintly: Seeds | None = None) -> Posterior:
    numbers = _numbers(denoiser, xt, seeds)
    if faintly is not None:
        numbers = numbers + _FAINT * _numbers(denoiser, xt, faintly)
    return denoiser.believe(numbers, xt, torch.full((len(seeds),), t, dtype=torch.float64), None)


def _has_a_point(belief: Posterior) -> bool:
    if isinstance(belief, JointPosterior):
        return any(_has_a_point(part) for part in belief.parts.values())
    return isinstance(belief, PointPosterior)
