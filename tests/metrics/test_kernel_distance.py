import math

import torch
from sklearn.metrics.pairwise import polynomial_kernel

from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.kernel import Kernel, kernel_distance


def test_definition_against_scikit_learns_kernel():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(20, 5, generator=generator), torch.randn(30, 5, generator=generator) + 0.3

    def mean_of_pairs(rows):
        gram = polynomial_kernel(rows.double().numpy(), degree=3)
        return (gram.sum() - gram.trace()) / (len(rows) * (len(rows) - 1))

    across = polynomial_kernel(first.double().numpy(), second.double().numpy(), degree=3).mean()
    expected = mean_of_pairs(first) + mean_of_pairs(second) - 2 * across
    assert math.isclose(kernel_distance(first, second), expected, rel_tol=1e-10)


def test_unbiased_for_equal_and_for_shifted_laws():
    generator = torch.Generator().manual_seed(1)
    for shift in (0.0, 0.5):
        values = torch.tensor(
            [
                kernel_distance(
                    torch.randn(40, 1, generator=generator) + shift, torch.randn(60, 1, generator=generator)
                )
                for _ in range(150)
            ]
        )
        # (xy + 1)^3 = 1 + 3xy + 3x^2 y^2 + x^3 y^3 compares the first three moments
        moments = (shift, shift**2, shift**3 + 3 * shift)
        expected = 3 * moments[0] ** 2 + 3 * moments[1] ** 2 + moments[2] ** 2
        assert abs(values.mean() - expected) < 5 * values.std() / math.sqrt(len(values))


def test_replicates_leave_out_a_sample_beside_itself():
    generator = torch.Generator().manual_seed(2)
    rows, real = torch.randn(6, 3, generator=generator).double(), torch.randn(9, 3, generator=generator).double()
    measured = Kernel().measure(SampleSet(rows), SampleSet(real), Seeds.range(0, 6))
    counts = torch.tensor([[2.0, 0, 1, 3, 0, 0]]).double()
    drawn = [0, 0, 2, 3, 3, 3]
    gram = (rows @ rows.T / 3 + 1) ** 3
    pairs = [gram[i, j] for i in drawn for j in drawn if i != j]
    real_gram = (real @ real.T / 3 + 1) ** 3
    within = (real_gram.sum() - real_gram.trace()) / 72
    across = ((rows[drawn] @ real.T / 3 + 1) ** 3).mean()
    torch.testing.assert_close(measured.resampled(counts)[0], torch.stack(pairs).mean() + within - 2 * across)


def test_blocks_do_not_change_the_value(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    first, second = torch.randn(50, 4, generator=generator), torch.randn(40, 4, generator=generator)
    whole = kernel_distance(first, second)
    monkeypatch.setattr("unstir.metrics.kernel._BLOCK", 300)
    assert math.isclose(kernel_distance(first, second), whole, rel_tol=1e-9, abs_tol=1e-12)
