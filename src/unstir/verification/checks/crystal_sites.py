"""Claims of beliefs about the sites of a cell whose origin does not count."""

from collections.abc import Iterator
from typing import Any

import torch

from unstir.core.seeds import Seeds
from unstir.denoisers.learned.sites import SitesDenoiser, nearest
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.sites import SitesProcess
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most

__all__ = ["sites_belief_knows_no_origin", "sites_lie_nearest_where_they_are_moved_to"]


@claim("learned", "sites")
def sites_belief_knows_no_origin(denoiser: Any, effort: Effort) -> Iterator[Measured]:
    """Its loss stays the same where the clean sites are moved together, or the noisy ones, padded or not."""
    count, sites = effort.of(50, 500), 4
    seeds, t = effort.seeds(count, "origin"), torch.full((count,), 0.4, dtype=torch.float64)
    own = SitesDenoiser(None, SitesProcess(ExponentialVESchedule(0.02, 0.5)), layout="parts")
    x0 = seeds.at("clean").uniform((sites, 3))
    mask = torch.arange(sites) < (1 + torch.arange(count) % sites)[:, None]
    move = seeds.at("move").uniform((1, 3))
    numbers = seeds.at("numbers").normal((sites, 3, own.numbers), torch.float64)
    for name, shown in (("all sites", None), ("padded", mask)):
        xt = own.process.noise(x0, t, seeds.at("noise"), shown)
        belief = own.read(numbers, xt, t, shown)
        loss = belief.loss(x0, shown)
        moved = belief.loss((x0 + move) % 1, shown)
        yield at_most(f"change with the origin, {name}, in nats", (moved - loss).abs().max() / loss.abs().max(), 1e-9)
        elsewhere = own.read(numbers, (xt + move) % 1, t, shown).loss(x0, shown)
        yield at_most(
            f"change with the noisy sites' origin, {name}", (elsewhere - loss).abs().max() / loss.abs().max(), 1e-9
        )


@claim("learned", "sites")
def sites_lie_nearest_where_they_are_moved_to(denoiser: Any, effort: Effort) -> Iterator[Measured]:
    """No other common move brings the clean sites nearer to the noisy ones, by the cosines of their differences."""
    count, sites = effort.of(50, 300), 5
    seeds: Seeds = effort.seeds(count, "nearest")
    x0, xt = (seeds.at(name).uniform((sites, 3)) for name in ("clean", "noisy"))
    found = nearest(x0, xt)

    def nearness(x: torch.Tensor) -> torch.Tensor:
        return (2 * torch.pi * (x - xt)).cos().sum(1)

    steps = torch.linspace(0, 1, effort.of(400, 4_000), dtype=torch.float64)
    best = torch.stack([nearness(x0 + step) for step in steps]).amax(0)
    # between two of the steps the sum of five cosines rises by no more than the curvature allows
    slack = sites * (2 * torch.pi * float(steps[1])) ** 2 / 8
    yield at_most("best of many moves, beyond the one found", (best - nearness(found)).max(), 1e-12)
    yield at_most("the one found, beyond the best of many", (nearness(found) - best).max(), slack)
    together = found - x0
    spread = together - together[:, :1]
    yield at_most("sites moved otherwise than together", (spread - spread.round()).abs().max(), 1e-12)
