import pytest
import torch

from unstir.core.errors import InputError
from unstir.metrics.base import SampleSet
from unstir.metrics.distances import blocks, nearest, nearest_other


def test_features_default_to_the_flattened_values():
    values = torch.randn(5, 2, 3)
    samples = SampleSet(values)
    assert torch.equal(samples.features, values.flatten(1).double())
    assert torch.equal(samples.space("values"), samples.space("features"))
    assert len(samples) == 5


def test_take_keeps_rows_together():
    samples = SampleSet(torch.arange(6.0)[:, None], labels=torch.arange(6), probabilities=torch.eye(6))
    part = samples.take(torch.tensor([4, 1]))
    assert part.values.flatten().tolist() == [4, 1]
    assert part.labels.tolist() == [4, 1]
    assert part.probabilities.argmax(1).tolist() == [4, 1]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"values": torch.randn(5, 2), "features": torch.randn(4, 2)}, "5 values but 4 features"),
        ({"values": torch.randn(5, 2), "features": torch.randn(5, 2, 2)}, "flatten"),
        ({"values": torch.randn(5)}, r"\(n, \.\.\.\)"),
        ({"values": torch.randn(1, 2)}, "at least 2"),
        ({"values": torch.randn(5, 2), "labels": torch.randn(5)}, "integers"),
        ({"values": torch.randn(5, 2), "labels": torch.arange(3)}, "3 labels"),
        ({"values": torch.randn(5, 2), "probabilities": torch.rand(5)}, "classes"),
        ({"values": torch.tensor([[1.0], [torch.nan], [torch.inf]])}, r"values: 2 of 3 .* \(rows 1, 2\)"),
        ({"values": torch.randn(3, 1), "features": torch.tensor([[1.0], [2.0], [torch.nan]])}, "features: 1 of 3"),
    ],
)
def test_unusable_parts_are_named(parts, message):
    with pytest.raises(InputError, match=message):
        SampleSet(**parts)


def test_nearest_rows_are_exact_in_any_block(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    second = torch.cat([torch.randn(60, 4, generator=generator, dtype=torch.float64), first[:3]])
    table = (first[:, None] - second).norm(dim=2)
    monkeypatch.setattr("unstir.metrics.distances._BLOCK", 200)
    assert sum(len(part) for _, part in blocks(first, second)) == 50
    distances, rows = nearest(first, second, 3)
    assert torch.equal(rows, table.argsort(dim=1)[:, :3])
    torch.testing.assert_close(distances, table.sort(dim=1).values[:, :3], rtol=1e-12, atol=0)
    assert distances[:3, 0].tolist() == [0, 0, 0]
    own, _ = nearest_other(second, 2)
    others = (second[:, None] - second).norm(dim=2).fill_diagonal_(torch.inf)
    torch.testing.assert_close(own, others.sort(dim=1).values[:, :2], rtol=1e-12, atol=0)
