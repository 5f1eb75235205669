import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.memorisation import Copied, Memorisation

SEEDS = Seeds.range(0, 100)


def gaussian(count, seed, dimension=4):
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ratio_is_that_of_the_medians():
    rows, real = gaussian(51, 0), gaussian(80, 1)
    table = (rows[:, None] - real).norm(dim=2)
    own = (real[:, None] - real).norm(dim=2).fill_diagonal_(torch.inf)
    measured = Memorisation().measure(SampleSet(rows), SampleSet(real), SEEDS)
    assert measured.value == pytest.approx((table.min(1).values.median() / own.min(1).values.median()).item())
    assert measured.details["nearest_rows"] == table.argmin(1).tolist()
    assert measured.details["nearest_distances"] == pytest.approx(table.min(1).values.tolist())
    counts = torch.zeros(1, 51, dtype=torch.float64)
    counts[0, 7] = 51
    assert measured.resampled(counts).item() == pytest.approx((table[7].min() / own.min(1).values.median()).item())


def test_copies_are_caught_and_new_data_is_not():
    real = SampleSet(gaussian(300, 2))
    copies = SampleSet(real.values[:100])
    assert Memorisation().measure(copies, real, SEEDS).value == 0
    caught = Copied().measure(copies, real, SEEDS)
    assert caught.value == 1
    assert caught.details["training_rows"] == list(range(100))
    fresh = Memorisation().measure(SampleSet(gaussian(300, 3)), real, SEEDS)
    floor = Memorisation().floor(real, 300, SEEDS, 50)
    spread = torch.tensor(floor).std().item()
    # new data and training rows are both draws of one law against (nearly) as many rows
    assert abs(fresh.value - 1) < 5 * math.sqrt(2) * spread + 1 / 300


def test_copy_of_a_repeated_training_row_is_still_a_copy():
    real = gaussian(50, 4)
    real = torch.cat([real, real[:10]])
    assert Copied().measure(SampleSet(real[:5]), SampleSet(real), SEEDS).value == 1


def test_few_copies_among_new_data_are_counted_and_named():
    real = gaussian(200, 5, 20)
    rows = gaussian(100, 6, 20)
    rows[[3, 50]] = real[[17, 90]] + 1e-3
    caught = Copied().measure(SampleSet(rows), SampleSet(real), SEEDS)
    assert caught.details == {"samples": [3, 50], "training_rows": [17, 90]}
    assert caught.value == 0.02
    assert caught.interval[0] < 0.02 < caught.interval[1]


def test_values_not_features_are_compared():
    real = gaussian(30, 7)
    rows = SampleSet(real + 1e-6, features=gaussian(30, 8))
    assert Memorisation().measure(rows, SampleSet(real, features=gaussian(30, 9)), SEEDS).value < 1e-4


def test_refusals():
    with pytest.raises(InputError, match="ratio"):
        Copied(1.5)
    same = SampleSet(torch.ones(10, 2))
    with pytest.raises(InputError, match="duplicates"):
        Memorisation().measure(same, same, SEEDS)
