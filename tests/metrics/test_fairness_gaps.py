"""Gaps between groups: by hand, against counting, soft, differentiable, and what parity costs in truth."""

import math

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.exact.mixture import MixtureDenoiser
from unstir.metrics.fairness import (
    demographic_parity_gap,
    equalised_odds_gap,
    group_rates,
    memberships,
    parity_cost,
    parity_weights,
    squared_gap,
)
from unstir.processes.gaussian import GaussianProcess

DECISIONS = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0], dtype=torch.float64)
GROUPS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
OUTCOMES = torch.tensor([1, 1, 0, 0, 1, 1, 0, 0], dtype=torch.float64)


def test_the_gaps_by_hand():
    assert demographic_parity_gap(DECISIONS, GROUPS).item() == 0.75 - 0.25
    # with the outcome 1: 2 of 2 against 1 of 2; with the outcome 0: 1 of 2 against 0 of 2
    assert equalised_odds_gap(DECISIONS, GROUPS, OUTCOMES).item() == 0.5


def test_the_gaps_by_counting_confusions_of_three_groups():
    """The differences of selection rates, true and false positive rates, as fairness libraries define them."""
    draw = np.random.default_rng(0)
    yes, group, truth = draw.integers(0, 2, 300), draw.integers(2, 5, 300), draw.integers(0, 2, 300)

    def spread(chosen):
        rates = [yes[chosen & (group == one)].mean() for one in (2, 3, 4)]
        return max(rates) - min(rates)

    told = torch.from_numpy(yes).double(), torch.from_numpy(group)
    assert demographic_parity_gap(*told).item() == pytest.approx(spread(np.full(300, True)), abs=1e-12)
    wanted = max(spread(truth == 1), spread(truth == 0))
    assert equalised_odds_gap(*told, torch.from_numpy(truth)).item() == pytest.approx(wanted, abs=1e-12)


def test_soft_memberships_and_further_axes():
    hard = (GROUPS[:, None] == torch.arange(2)).double()
    assert demographic_parity_gap(DECISIONS, hard) == demographic_parity_gap(DECISIONS, GROUPS)
    both = torch.stack((DECISIONS, 1 - DECISIONS))
    assert torch.equal(demographic_parity_gap(both, hard.expand(2, -1, -1)), torch.tensor([0.5, 0.5]).double())
    half = torch.full((8, 2), 0.5).double()
    assert demographic_parity_gap(DECISIONS, half) == 0


def test_the_squared_gap_is_smooth_and_leaves_small_groups_out():
    decisions = DECISIONS.clone().requires_grad_()
    rates, sizes = group_rates(decisions, memberships(GROUPS, decisions))
    value = squared_gap(rates, sizes, 0.5)
    assert value.item() == pytest.approx(0.25)
    value.backward()
    assert torch.allclose(decisions.grad, torch.where(GROUPS == 0, 1.0, -1.0).double() * 2 * 0.5 / 4)
    three = torch.cat((memberships(GROUPS, DECISIONS), torch.zeros(8, 1).double()), 1)
    rates, sizes = group_rates(DECISIONS, three, least=0.5)
    assert squared_gap(rates, sizes, 0.5).item() == pytest.approx(0.25)
    assert squared_gap(rates[:1], sizes[:1], 0.5).item() == 0


def test_weights_make_data_fair_and_keep_both_margins():
    draw = np.random.default_rng(1)
    group = torch.from_numpy(draw.integers(0, 3, 500))
    yes = torch.from_numpy((draw.random(500) < 0.2 + 0.25 * group.numpy()).astype(np.int64))
    weights = parity_weights(yes, group)
    assert weights.sum().item() == pytest.approx(500)
    overall = yes.double().mean()
    for one in range(3):
        assert weights[group == one].sum().item() == pytest.approx((group == one).sum().item())
        rate = (weights * yes)[group == one].sum() / weights[group == one].sum()
        assert rate.item() == pytest.approx(overall.item())


def test_fair_samples_are_from_biased_data_by_the_parity_cost_exactly():
    """KL(target‖bias) of two mixtures of the same blobs, far apart, by quadrature: that of their weights alone."""
    table = torch.tensor([[35, 15], [20, 30]])  # groups by decisions
    group = torch.tensor([0, 0, 1, 1]).repeat_interleave(table.flatten())
    yes = torch.tensor([0, 1, 0, 1]).repeat_interleave(table.flatten())
    cost = parity_cost(yes, group)
    fair = parity_weights(yes, group)
    cells = torch.tensor([fair[(group == a) & (yes == d)].sum() for a in (0, 1) for d in (0, 1)])
    target, bias = (
        MixtureDenoiser(weights, [[-30.0], [-10.0], [10.0], [30.0]], [1.0] * 4, GaussianProcess())
        for weights in (cells, table.flatten())
    )
    line = torch.linspace(-45, 45, 9001, dtype=torch.float64)[:, None]
    one, other = target.log_density(line, 0.0), bias.log_density(line, 0.0)
    assert cost == pytest.approx(float((one.exp() * (one - other)).sum() * 0.01), rel=1e-9)
    by_hand = 0.275 * math.log(0.275 / 0.35) + 0.225 * math.log(0.225 / 0.15)
    by_hand += 0.275 * math.log(0.275 / 0.2) + 0.225 * math.log(0.225 / 0.3)
    assert cost == pytest.approx(by_hand, rel=1e-12)
    # measured against the reweighted reference it costs nothing
    assert parity_cost(torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: demographic_parity_gap(DECISIONS * 2, GROUPS),
            "decisions lie between 0 and 1; seen values from 0 to 2",
        ),
        (lambda: demographic_parity_gap(DECISIONS, GROUPS[:4]), "every sample has a decision and a group"),
        (lambda: demographic_parity_gap(DECISIONS, GROUPS - 1), "groups are counted from 0; seen -1"),
        (lambda: demographic_parity_gap(DECISIONS, DECISIONS), "soft memberships have an axis for the groups"),
        (lambda: demographic_parity_gap(DECISIONS, -torch.ones(8, 2)), "memberships are not negative"),
        (
            lambda: demographic_parity_gap(DECISIONS, torch.eye(2)[GROUPS * 0].double()),
            "nobody is in one of the groups",
        ),
        (lambda: equalised_odds_gap(DECISIONS, GROUPS, torch.ones(8)), "nobody is in one of the groups"),
        (lambda: equalised_odds_gap(DECISIONS, GROUPS, OUTCOMES - 1), "outcomes lie between 0 and 1"),
        (lambda: parity_weights(DECISIONS, GROUPS), "decisions are whole numbers"),
        (lambda: parity_weights(GROUPS, GROUPS), "nobody with some decision"),
        (lambda: parity_cost(GROUPS[:3], GROUPS), "seen 3 and 8"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
