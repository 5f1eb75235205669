"""Claims of couplings: they keep both laws, cost what they should, and leave every condition the whole source."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.exact.transport import schrodinger_coupling
from unstir.training.couplings import (
    ConditionalTransportCoupling,
    Coupling,
    SinkhornCoupling,
    TransportCoupling,
    squared_distances,
)
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, distribution_is, probable

__all__ = [
    "conditional_transport_leaves_each_condition_the_source",
    "coupling_keeps_data_and_sources",
    "coupling_knows_its_part_alone",
    "sinkhorn_plan_is_schrodingers",
    "transport_is_the_cheapest",
]


@claim("couplings")
def coupling_keeps_data_and_sources(coupling: Coupling, effort: Effort) -> Iterator[Measured]:
    """Every row of the data has one source, and the sources' law stays as it is, all parts of batches together.

    Sources are as often taken as they were drawn: each once by a permutation, once on average by a plan.
    """
    size, parts = 64, effort.of(60, 400)
    drawn, astray, apart = [], 0, 0
    for part in range(parts):
        x0, source, label = _part(effort.seeds(size, "keeps", part))
        chosen = coupling(x0, source, {"label": label}, effort.seeds(size, "keeps", part, "pair"))
        astray += int(chosen.dtype != torch.int64 or chosen.shape != (size,))
        astray += int(((chosen < 0) | (chosen >= size)).sum())
        apart += size - len(chosen.unique())
        drawn.append(source[chosen])
    yield at_most("rows without a source", astray, 0.0)
    if not isinstance(coupling, SinkhornCoupling):
        yield at_most("sources left over by a permutation", apart, 0.0)
        return
    # a source may come twice in a part: the parts' means are independent of each other, the rows are not
    first = torch.stack([part.mean(0) for part in drawn]).numpy()
    second = torch.stack([part.square().mean(0) for part in drawn]).numpy()
    for name, values, wanted in (("means", first, 0.0), ("squares", second, 1.0)):
        distances = np.abs(values.mean(0) - wanted) / (values.std(0, ddof=1) / np.sqrt(parts))
        chance = min(1.0, 2 * distances.size * float(stats.t(parts - 1).sf(distances.max())))
        yield probable(f"{name} of the sources taken", chance, f"{distances.max():.1f} standard errors, {parts} parts")


@claim("couplings")
def coupling_knows_its_part_alone(coupling: Coupling, effort: Effort) -> Iterator[Measured]:
    """The pairs follow from the part of the batch and its addresses, whatever the order of the sources."""
    x0, source, label = _part(effort.seeds(48, "part"))
    seeds = effort.seeds(48, "part", "pair")
    condition = {"label": label}
    chosen = coupling(x0, source, condition, seeds)
    again = coupling(x0.clone(), source.clone(), condition, seeds)
    yield at_most("rows that differ the second time", int((chosen != again).sum()), 0.0)
    masked = {**condition, "mask": torch.ones(48, 2, dtype=torch.bool), "augment": x0, "source": source}
    told = coupling(x0, source, masked, seeds)
    yield at_most("rows that differ by what is no condition", int((chosen != told).sum()), 0.0)


@claim("couplings", "transport", "conditional-transport")
def transport_is_the_cheapest(coupling: Coupling, effort: Effort) -> Iterator[Measured]:
    """Without conditions no permutation is cheaper: all of six tried; on the line the order is kept."""
    permutations = torch.tensor(list(itertools.permutations(range(6))))
    worst = 0.0
    for number in range(effort.of(20, 200)):
        x0, source, _ = _part(effort.seeds(6, "cheapest", number))
        cost = squared_distances(x0, source)
        every = cost[torch.arange(6), permutations].sum(1)
        told = cost[torch.arange(6), coupling(x0, source, {}, effort.seeds(6))].sum()
        worst = max(worst, ((told - every.min()) / every.min()).item())
    yield at_most("cost above the least of 720", worst, 1e-12)
    seeds = effort.seeds(300, "line")
    x0, source = seeds.at("x").normal((1,), torch.float64), seeds.at("y").normal((1,), torch.float64).exp()
    chosen = coupling(x0, source, {}, seeds)
    wrong = (x0[:, 0].argsort().argsort() != source[chosen, 0].argsort().argsort()).sum()
    yield at_most("rows out of order on the line", int(wrong), 0.0)


@claim("couplings", "sinkhorn")
def sinkhorn_plan_is_schrodingers(coupling: SinkhornCoupling, effort: Effort) -> Iterator[Measured]:
    """The plan has even sums and Schrödinger's form; for normal data it tends to the closed form.

    log P_ij has the cross differences of -|x_i - y_j|^2/(2 sigma^2), which with the sums makes it the only one. On the
    line data and sources are the middles of n equal shares of two Gaussians: no draws; the error falls with n.
    """
    for sigma in (0.5, 1.0, 3.0):
        own = SinkhornCoupling(sigma, coupling.iterations, coupling.tolerance)
        x0, source, _ = _part(effort.seeds(80, "plan"))
        plan = own.log_plan(x0, source)
        form = plan + squared_distances(x0, source) / (2 * sigma**2)
        crossed = form - form[:1] - form[:, :1] + form[0, 0]
        yield at_most(f"cross differences, sigma {sigma:g}", crossed.abs().max(), 1e-9)
        yield at_most(f"rows' sums less one, sigma {sigma:g}", (plan.exp().sum(1) - 1).abs().max(), 1e-12)
        sums = (plan.exp().sum(0) - 1).abs().max()
        yield at_most(f"columns' sums less one, sigma {sigma:g}", sums, 2 * own.tolerance)
        errors = []
        for count in (50, 400):
            quantiles = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)[:, None]
            x0, source = 0.8 * quantiles, 1.3 * quantiles
            product = (own.log_plan(x0, source).exp() * (x0 @ source.mT)).sum() / count
            # of the law of the middles, whose variances fall short a little
            share = quantiles.square().mean()
            wanted = schrodinger_coupling(0.64 * share[None, None], 1.69 * share[None, None], sigma)[0, 0]
            errors.append((product / wanted - 1).abs().item())
        yield at_most(f"E[x_0 x_1], relative error of 400 shares, sigma {sigma:g}", errors[1], 5e-3)
        yield at_most(f"that over the error of 50, sigma {sigma:g}", errors[1] / errors[0], 0.5)


@claim("couplings", "conditional-transport")
def conditional_transport_leaves_each_condition_the_source(
    coupling: ConditionalTransportCoupling, effort: Effort
) -> Iterator[Measured]:
    """Given a label the source is the whole source, of which plain transport leaves a part; the cost still falls.

    Two clusters, told apart by their label, and normal sources. Of each part of a batch one row of either label is
    taken: rows of one part hang together. A vector as condition: its correlation with the source falls.
    """
    parts, size = effort.of(500, 8_000), 32
    blind = TransportCoupling()
    kept: dict[str, list[Tensor]] = {"own": [], "plain": []}
    costs = {"own": 0.0, "plain": 0.0, "independent": 0.0}
    exchanged = 0
    for part in range(parts):
        x0, source, label = _part(effort.seeds(size, "whole", part))
        label[:2] = torch.tensor([0, 1])
        x0[:2, 0] = torch.tensor([-1.5, 1.5], dtype=torch.float64)
        chosen = {
            "own": coupling(x0, source, {"label": label}, effort.seeds(size)),
            "plain": blind(x0, source, {"label": label}, effort.seeds(size)),
        }
        exchanged += int((label[chosen["own"]] != label).sum())
        for name, rows in chosen.items():
            kept[name].append(source[rows[_one_of_each(label, part)], 0])
            costs[name] += (x0 - source[rows]).square().sum().item()
        costs["independent"] += (x0 - source).square().sum().item()
    yield at_most("sources exchanged between labels", exchanged, 0.0)
    for label in (0, 1):
        own = torch.stack(kept["own"])[:, label].numpy()
        yield distribution_is(f"source given the label {label} is normal", own, stats.norm.cdf)
    plain = torch.stack(kept["plain"])
    yield Measured(
        "by plain transport: difference of the labels' means", (plain[:, 1] - plain[:, 0]).mean().item(), low=1.0
    )
    yield at_most("cost over that of independent pairs", costs["own"] / costs["independent"], 0.95)

    correlations = {"own": [], "plain": []}
    for part in range(effort.of(40, 400)):
        seeds = effort.seeds(128, "vector", part)
        told = seeds.at("told").normal((1,), torch.float64)
        x0 = 1.5 * told + 0.3 * seeds.at("x").normal((1,), torch.float64)
        source = seeds.at("source").normal((1,), torch.float64)
        for name, pairing in (("own", coupling), ("plain", blind)):
            rows = pairing(x0, source, {"vector": told}, seeds)
            correlations[name].append(torch.corrcoef(torch.cat((told, source[rows]), 1).mT)[0, 1].item())
    plain_mean, own_mean = (float(np.mean(correlations[name])) for name in ("plain", "own"))
    yield Measured("by plain transport: correlation of vector and source", plain_mean, low=0.9)
    yield at_most("correlation of vector and source", abs(own_mean), 0.25)


def _one_of_each(label: Tensor, part: int) -> Tensor:
    """A row of label 0 and one of label 1, chosen without a look at data or sources."""
    rows = [(label == value).nonzero().flatten() for value in (0, 1)]
    return torch.stack([own[part % len(own)] for own in rows])


def _part(seeds: Seeds) -> tuple[Tensor, Tensor, Tensor]:
    """Two clusters on the first axis told apart by a label, and normal sources."""
    label = seeds.at("label").integers(0, 2)
    x0 = 0.4 * seeds.at("data").normal((2,), torch.float64)
    x0[:, 0] += 3.0 * label - 1.5
    return x0, seeds.at("source").normal((2,), torch.float64), label
