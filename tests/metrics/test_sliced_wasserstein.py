import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.sliced_wasserstein import SlicedWasserstein, common_quantiles


def distance(rows, real, directions=200):
    return SlicedWasserstein(directions).measure(SampleSet(rows), SampleSet(real), Seeds.range(0, len(rows)))


def test_shift_has_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    dimension, directions = 7, 4000
    rows = torch.randn(30, dimension, generator=generator).double()
    shift = torch.randn(dimension, generator=generator).double()
    found = distance(rows + shift, rows, directions).value ** 2
    square = shift.square().sum().item()
    # (shift . theta)^2 is |shift|^2 times a Beta(1/2, (d - 1)/2) variable
    spread = square * math.sqrt(2 * (dimension - 1) / (dimension**2 * (dimension + 2)) / directions)
    assert abs(found - square / dimension) < 5 * spread


def test_sets_of_different_sizes_agree_with_pot():
    ot = pytest.importorskip("ot")
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(23, generator=generator).double(), 2 * torch.randn(35, generator=generator).double()
    widths, i, j = common_quantiles(23, 35)
    mine = ((first.sort().values[i] - second.sort().values[j]).square() * widths).sum()
    assert widths.sum().item() == pytest.approx(1)
    assert mine.item() == pytest.approx(float(ot.wasserstein_1d(first.numpy(), second.numpy(), p=2)), rel=1e-10)


def test_equal_sets_are_at_zero_and_repeats_change_nothing():
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(2)).double()
    assert distance(rows, rows[torch.randperm(20, generator=torch.Generator().manual_seed(0))]).value == 0
    assert distance(rows.repeat(3, 1), rows).value < 1e-12


def test_replicates_are_the_distances_of_the_drawn_rows():
    generator = torch.Generator().manual_seed(3)
    rows, real = torch.randn(8, 2, generator=generator), torch.randn(11, 2, generator=generator)
    counts = torch.tensor([[3, 0, 1, 0, 2, 1, 1, 0]]).double()
    measured = distance(rows, real)
    expected = distance(rows.repeat_interleave(counts[0].long(), dim=0), real).value
    assert measured.resampled(counts).item() == pytest.approx(expected, rel=1e-12)


def test_refusals():
    with pytest.raises(InputError, match="directions"):
        SlicedWasserstein(0)
    with pytest.raises(InputError, match="numbers a row"):
        distance(torch.randn(5, 2), torch.randn(5, 3))
