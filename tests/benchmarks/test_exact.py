"""The benchmark of the exact mixture in miniature."""

import pytest
from benchmarks.exact import KINDS, compare


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_give_the_same_mean_and_take_time(kind):
    row = compare(kind, batch=8, rounds=1, repeats=1)
    assert row["difference"] < 1e-12
    assert row["unstir"] > 0 and row["einsum"] > 0
    assert row["ratio"] == row["unstir"] / row["einsum"]
