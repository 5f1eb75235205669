import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.neighbourhood import Coverage, Density, Precision, Recall

METRICS = {"precision": Precision, "recall": Recall, "density": Density, "coverage": Coverage}


def values(rows, real, neighbours=5):
    first, second, seeds = SampleSet(rows), SampleSet(real), Seeds.range(0, len(rows))
    return {name: metric(neighbours).measure(first, second, seeds).value for name, metric in METRICS.items()}


@pytest.mark.parametrize("neighbours", [1, 5])
def test_agree_with_the_authors_package(neighbours):
    prdc = pytest.importorskip("prdc")
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(150, 6, generator=generator).double()
    rows = 0.8 * torch.randn(110, 6, generator=generator).double() + 0.4
    assert values(rows, real, neighbours) == pytest.approx(prdc.compute_prdc(real.numpy(), rows.numpy(), neighbours))


def test_equal_laws_have_the_expectations_of_the_paper():
    generator = torch.Generator().manual_seed(1)
    n, m, k, repeats = 60, 90, 5, 100
    drawn = [
        values(torch.randn(n, 3, generator=generator), torch.randn(m, 3, generator=generator)) for _ in range(repeats)
    ]
    expected = {"density": 1.0, "coverage": 1 - math.prod((m - i) / (n + m - i) for i in range(1, k + 1))}
    for name, mean in expected.items():
        column = torch.tensor([row[name] for row in drawn]).double()
        assert abs(column.mean() - mean) < 5 * column.std() / math.sqrt(repeats), name


def test_collapsed_and_far_samples():
    generator = torch.Generator().manual_seed(2)
    real = torch.randn(200, 2, generator=generator)
    collapsed = real[:1] + 1e-4 * torch.randn(100, 2, generator=generator)
    found = values(collapsed, real)
    assert found["precision"] == 1
    assert found["recall"] < 0.05
    assert found["coverage"] < 0.2
    assert set(values(real[:100] + 100, real).values()) == {0.0}


def test_replicates_count_the_drawn_rows():
    generator = torch.Generator().manual_seed(3)
    rows, real = torch.randn(20, 2, generator=generator), torch.randn(30, 2, generator=generator)
    counts = torch.zeros(1, 20, dtype=torch.float64)
    counts[0, :4] = torch.tensor([5.0, 5, 6, 4])
    first, second, seeds = SampleSet(rows), SampleSet(real), Seeds.range(0, 20)
    radius = (real[:, None] - real).norm(dim=2).sort(dim=1).values[:, 5]
    inside = (rows[:4, None] - real).norm(dim=2) < radius
    assert Coverage().measure(first, second, seeds).resampled(counts).item() == inside.any(0).double().mean()
    expected = (counts[0, :4] * inside.any(1)).sum().item() / 20
    assert Precision().measure(first, second, seeds).resampled(counts).item() == pytest.approx(expected)


def test_too_few_rows_and_neighbours():
    with pytest.raises(InputError, match="at least 6"):
        values(torch.randn(5, 2), torch.randn(50, 2))
    with pytest.raises(InputError, match="neighbours must be at least 1"):
        Precision(0)
