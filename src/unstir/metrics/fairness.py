r"""How unfair decisions are between protected groups, and what it costs in truth to make them fair.

Decisions are numbers in [0, 1] (yes or no, or the chance of a yes), groups either numbers or soft memberships. All
functions of tensors are differentiable and take further axes before that of the samples, so that they serve as
guidance of a batch as they serve as a report on a table.

Reference: Hardt, Price, Srebro, Equality of opportunity in supervised learning (2016), definition 2.1, for equalised
odds; Dwork et al., Fairness through awareness (2012), section 3, for demographic parity; Kamiran, Calders, Data
preprocessing techniques for classification without discrimination (2012), section 4, for the weights.
"""

import torch
from torch import Tensor

from unstir.core.errors import InputError


def demographic_parity_gap(decisions: Tensor, groups: Tensor) -> Tensor:
    """The largest difference between the groups' rates of a yes; 0 is fair, 1 the worst.

    ``decisions`` (..., n) in [0, 1]; ``groups`` whole numbers (..., n), or memberships (..., n, k) that are not
    negative. Returns (...). Raises InputError for a group without anybody in it.
    """
    rates, _ = group_rates(decisions, memberships(groups, decisions))
    return rates.amax(-1) - rates.amin(-1)


def equalised_odds_gap(decisions: Tensor, groups: Tensor, outcomes: Tensor) -> Tensor:
    """The larger of two gaps: of the rates of a yes among those whose outcome is 1, and among those where it is 0.

    ``outcomes`` (..., n) in [0, 1] are what was to be foretold; the first gap is one of true positive rates, the second
    of false positive ones. All else is as for ``demographic_parity_gap``. Raises InputError where a group has nobody
    with one of the outcomes.
    """
    belonging = memberships(groups, decisions)
    outcomes = _shares("outcomes", outcomes)
    gaps = []
    for share in (outcomes, 1 - outcomes):
        rates, _ = group_rates(decisions, belonging * share[..., None])
        gaps.append(rates.amax(-1) - rates.amin(-1))
    return torch.maximum(*gaps)


def memberships(groups: Tensor, like: Tensor) -> Tensor:
    """Groups as memberships (..., n, k) of the dtype of ``like``: whole numbers are written as ones and zeros."""
    if not groups.is_floating_point():
        if groups.numel() and int(groups.min()) < 0:
            raise InputError(f"groups are counted from 0; seen {int(groups.min())}")
        values = groups.long().unique()
        # numbers that nobody has are no groups
        return (groups[..., None] == values).to(_floating(like).dtype)
    if groups.ndim != like.ndim + 1:
        raise InputError(
            f"soft memberships have an axis for the groups, {tuple(like.shape)} and k; seen {tuple(groups.shape)}"
        )
    if bool((groups < 0).any()):
        raise InputError("memberships are not negative")
    return groups


def group_rates(decisions: Tensor, belonging: Tensor, least: float = 0.0) -> tuple[Tensor, Tensor]:
    """The weighted mean of the decisions in each group, (..., k), and the groups' sizes.

    Raises InputError for a group of no size, unless ``least`` is positive: the rate of one smaller is then not to be
    relied on (its size tells), and finite.
    """
    decisions = _shares("decisions", decisions)
    if belonging.shape[:-1] != decisions.shape:
        raise InputError(
            f"every sample has a decision and a group; seen decisions {tuple(decisions.shape)} and memberships "
            f"{tuple(belonging.shape)}"
        )
    sizes = belonging.sum(-2)
    if least == 0 and not bool((sizes > 0).all()):
        raise InputError("nobody is in one of the groups: a gap cannot be told; leave it out, or take more samples")
    return (decisions[..., None] * belonging).sum(-2) / sizes.clamp(
        min=max(least, torch.finfo(sizes.dtype).tiny)
    ), sizes


def squared_gap(rates: Tensor, sizes: Tensor, least: float) -> Tensor:
    """The squared difference of rates, averaged over all pairs of groups of at least that size.

    Of two groups it is the gap's square; zero where there is no such pair. Smooth in the rates, unlike the gap itself.
    """
    there = sizes >= least
    pairs = (there[..., :, None] & there[..., None, :]).to(rates.dtype).triu(diagonal=1)
    apart = (rates[..., :, None] - rates[..., None, :]).square()
    return (apart * pairs).sum((-2, -1)) / pairs.sum((-2, -1)).clamp(min=1)


def parity_weights(decisions: Tensor, groups: Tensor) -> Tensor:
    """Weights that make data fair and keep the sizes of their groups and the overall rate: the reference for parity.

    A sample of group a and decision d weighs p(a) p(d)/p(a, d). Both are whole numbers (n,); the mean weight is one.
    Raises InputError where a group has nobody with some decision: no weights can mend that.
    """
    table, first, second = _table(decisions, groups)
    weights = table.sum(1, keepdim=True) * table.sum(0, keepdim=True) / table
    return weights[first, second]


def parity_cost(decisions: Tensor, groups: Tensor) -> float:
    r"""What parity costs in nats: KL(target‖bias) of the fair law :math:`p(a)p(d)` from the biased :math:`p(a,d)`.

    Samples that are perfectly fair, and within each cell of group and decision just like the data, are this far from
    the data, exactly, and no less: a fidelity that is measured against biased data sees it as an error. Measured
    against data weighted by ``parity_weights``, it is none.
    """
    table, _, _ = _table(decisions, groups)
    fair = table.sum(1, keepdim=True) * table.sum(0, keepdim=True)
    return float((fair * (fair / table).log()).sum())


def _table(decisions: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shares of all cells, float64 (groups, decisions), and the place of each sample."""
    for name, values in (("decisions", decisions), ("groups", groups)):
        if values.ndim != 1 or values.is_floating_point() or not len(values):
            raise InputError(f"{name} are whole numbers (n,) here; seen {values.dtype} {tuple(values.shape)}")
    if len(decisions) != len(groups):
        raise InputError(f"every sample has a decision and a group; seen {len(decisions)} and {len(groups)}")
    _, first = groups.unique(return_inverse=True)
    _, second = decisions.long().unique(return_inverse=True)
    table = torch.zeros(int(first.max()) + 1, int(second.max()) + 1, dtype=torch.float64)
    table.index_put_((first, second), torch.ones(len(first), dtype=torch.float64), accumulate=True)
    if not bool((table > 0).all()):
        raise InputError("one of the groups has nobody with some decision; no weights can make such data fair")
    return table / len(first), first, second


def _shares(name: str, values: Tensor) -> Tensor:
    values = _floating(values)
    held = values.detach()
    if held.numel() and not (held.min().item() >= 0 and held.max().item() <= 1):
        raise InputError(f"{name} lie between 0 and 1; seen values from {held.min().item():g} to {held.max().item():g}")
    return values


def _floating(values: Tensor) -> Tensor:
    return values if values.is_floating_point() else values.double()
