import math

import pytest
import torch
from scipy.stats import norm

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.two_sample import NearestNeighbour, TwoSample


def gaussian(count, dimension, generator, shift=0.0):
    rows = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    rows[:, 0] += shift
    return SampleSet(rows)


def measure(metric, rows, real, seed=0):
    return metric.measure(rows, real, Seeds.range(seed, len(rows))).value


def test_equal_laws_cannot_be_told():
    generator = torch.Generator().manual_seed(0)
    repeats, count = 40, 100
    pairs = [(gaussian(count, 4, generator), gaussian(count, 4, generator)) for _ in range(repeats)]
    area = torch.tensor([measure(TwoSample(), *pair, seed) for seed, pair in enumerate(pairs)]).double()
    assert abs(area.mean() - 0.5) < 5 * area.std() / math.sqrt(repeats)
    accuracy = [measure(NearestNeighbour(), *pair) for pair in pairs]
    # binomial, of at most twice the variance: mutual neighbours are right or wrong together; leaving one out
    # makes the other set the larger by one, which lowers the expectation to (n - 1) / (2n - 1)
    expected, total = (count - 1) / (2 * count - 1), 2 * count * repeats
    assert abs(sum(accuracy) / repeats - expected) < 5 * math.sqrt(2 * 0.25 / total)


def test_power_against_a_shift_is_near_the_best_possible():
    generator = torch.Generator().manual_seed(1)
    count, shift = 400, 1.5
    best = norm.cdf(shift / math.sqrt(2))
    found = measure(TwoSample(), gaussian(count, 3, generator, shift), gaussian(count, 3, generator))
    error = math.sqrt(best * (1 - best) / count)
    assert found < best + 5 * error
    assert found - 0.5 > 0.8 * (best - 0.5) - 5 * error
    assert found > 0.5 + 5 * math.sqrt(1 / (6 * count))


def test_far_laws_are_told_every_time():
    generator = torch.Generator().manual_seed(2)
    pair = gaussian(60, 2, generator, 100.0), gaussian(80, 2, generator)
    assert measure(TwoSample(), *pair) == 1
    assert measure(NearestNeighbour(), *pair) == 1


def test_copies_bring_the_nearest_neighbour_test_below_one_half():
    real = gaussian(100, 5, torch.Generator().manual_seed(3))
    assert measure(NearestNeighbour(), SampleSet(real.values + 1e-9), real) == 0


def test_floor_uses_disjoint_halves():
    real = gaussian(101, 3, torch.Generator().manual_seed(4))
    values = NearestNeighbour().floor(real, 1000, Seeds.range(0, 1000), 30)
    # with a row in both halves the accuracy would be far below one half, as for copies
    assert abs(sum(values) / 30 - 49 / 99) < 5 * math.sqrt(2 * 0.25 / 100)


def test_refusals():
    generator = torch.Generator().manual_seed(5)
    with pytest.raises(InputError, match="at least 10"):
        measure(TwoSample(), gaussian(9, 2, generator), gaussian(50, 2, generator))
    with pytest.raises(InputError, match="folds"):
        TwoSample(folds=1)
