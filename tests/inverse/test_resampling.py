"""Resampling: unbiased by every scheme, as even as it says, and the same for a population alone."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from unstir.core.errors import NonFiniteError
from unstir.core.seeds import Seeds
from unstir.inverse.methods.resampling import SCHEMES, ancestors, effective_sample_size

WEIGHTS = torch.tensor([0.05, 0.0, 0.4, 0.125, 0.31, 0.015, 0.1], dtype=torch.float64)
COUNT = len(WEIGHTS)


def drawn_often(scheme, populations=20_000):
    """How often each particle goes on, (populations, N)."""
    logs = WEIGHTS.log().expand(populations, -1) + torch.arange(populations)[:, None]  # any scale of weights
    chosen = ancestors(logs, Seeds.range(4, populations * COUNT), scheme)
    assert chosen.shape == (populations, COUNT)
    return torch.nn.functional.one_hot(chosen, COUNT).sum(1)


@pytest.mark.parametrize("scheme", SCHEMES)
class TestEveryScheme:
    def test_it_is_unbiased(self, scheme):
        often = drawn_often(scheme).double()
        expected = COUNT * WEIGHTS
        # of variance N w (1 - w) at most, that of multinomial draws
        error = (expected * (1 - WEIGHTS) / len(often)).sqrt()
        assert (often.mean(0) - expected).abs().le(6 * error).all()
        assert (often[:, 1] == 0).all()  # what has no weight is never drawn

    def test_it_is_the_law_it_says_for_one_particle(self, scheme):
        often = drawn_often(scheme)[:, 2]  # 7 * 0.4 = 2.8 are expected
        counts = torch.bincount(often, minlength=COUNT + 1).double().numpy()
        if scheme == "multinomial":
            expected = stats.binom(COUNT, 0.4).pmf(np.arange(COUNT + 1)) * counts.sum()
            assert stats.chisquare(counts, expected).pvalue > 1e-7
        else:
            spread = 1 if scheme == "systematic" else 2
            seen = counts.nonzero()[0]
            assert seen.min() > 2.8 - spread
            assert seen.max() < 2.8 + spread

    def test_a_population_goes_its_way_alone(self, scheme):
        logs = Seeds.range(1, 5).normal((COUNT,), torch.float64)
        seeds = Seeds.range(9, 5 * COUNT)
        together = ancestors(logs, seeds, scheme)
        assert torch.equal(ancestors(logs[3:4], seeds[3 * COUNT : 4 * COUNT], scheme), together[3:4])

    def test_one_particle_with_all_the_weight_is_everyone(self, scheme):
        for place in (0, COUNT - 1):
            logs = torch.full((1, COUNT), -math.inf, dtype=torch.float64)
            logs[0, place] = -1e4
            assert (ancestors(logs, Seeds.range(2, COUNT), scheme) == place).all()

    @pytest.mark.parametrize("bad", [-math.inf, math.nan, math.inf])
    def test_lost_weights_are_refused(self, scheme, bad):
        logs = torch.zeros(3, 4, dtype=torch.float64)
        logs[1] = bad
        with pytest.raises(NonFiniteError, match=r"population 1 .*more particles"):
            ancestors(logs, Seeds.range(0, 12), scheme)


def test_systematic_places_are_those_of_a_plain_loop():
    logs = Seeds.range(5, 40).normal((9,), torch.float64)
    seeds = Seeds.range(6, 360)
    chosen = ancestors(logs, seeds, "systematic").numpy()
    starts = seeds.uniform().reshape(40, 9)[:, 0].numpy()
    for row, start, told in zip(logs.exp().numpy(), starts, chosen, strict=True):
        edges = np.cumsum(row / row.sum())
        assert [int(np.searchsorted(edges, (place + start) / 9)) for place in range(9)] == told.tolist()


def test_the_effective_size_by_hand():
    logs = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-5.0, -math.inf, -math.inf, -math.inf], [700.0, 700.0, -900.0, -900.0]])
    torch.testing.assert_close(effective_sample_size(logs.double()), torch.tensor([4.0, 1.0, 2.0]).double())
    weights = np.array([0.2, 0.5, 1.3])
    told = effective_sample_size(torch.tensor(weights).log()[None])
    assert told.item() == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-14)
    assert effective_sample_size(torch.full((1, 3), -math.inf, dtype=torch.float64)).item() == 0
