import math

import numpy as np
import pytest
import scipy.linalg
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.frechet import Frechet, FrechetInfinity, frechet_distance


def with_moments(count, mean, covariance, generator):
    """Rows whose sample mean and covariance are exactly those asked for."""
    mean, covariance = torch.as_tensor(mean).double(), torch.as_tensor(covariance).double()
    rows = torch.randn(count, len(mean), generator=generator, dtype=torch.float64)
    rows = rows - rows.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(rows.T)), rows.T, upper=False).T
    return mean + white @ torch.linalg.cholesky(covariance).T


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_commuting_gaussians_have_the_closed_form(generator):
    first = with_moments(50, [1.0, 2.0, 3.0], torch.diag(torch.tensor([1.0, 4.0, 9.0])), generator)
    second = with_moments(70, [0.0, 2.0, 5.0], torch.diag(torch.tensor([4.0, 4.0, 0.25])), generator)
    # |mean difference|^2 + sum of squared differences of the standard deviations
    assert frechet_distance(first, second) == pytest.approx(1 + 4 + 1 + 0 + 2.5**2, rel=1e-9)


def test_any_gaussians_agree_with_scipys_matrix_root(generator):
    mixed = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    one, two = (matrix @ matrix.T + 0.1 * torch.eye(6) for matrix in mixed)
    first, second = (with_moments(40, torch.zeros(6), matrix, generator) for matrix in (one, two))
    expected = one.trace() + two.trace() - 2 * np.trace(scipy.linalg.sqrtm((one @ two).numpy())).real
    assert frechet_distance(first, second) == pytest.approx(float(expected), rel=1e-8)


def test_fewer_samples_than_features_stay_finite_and_symmetric(generator):
    first = torch.randn(10, 40, generator=generator)
    second = torch.randn(15, 40, generator=generator)
    forth, back = frechet_distance(first, second), frechet_distance(second, first)
    assert forth == pytest.approx(back, rel=1e-6)
    # each of 40 eigenvalues, up to about 30, is exact to 1e-16 of the largest, its root to the root of that
    assert frechet_distance(first, first) == pytest.approx(0, abs=2 * 40 * math.sqrt(1e-15 * 30))
    assert "few" in Frechet().measure(SampleSet(first), SampleSet(second), Seeds.range(0, 10)).note


def test_replicates_are_the_distances_of_the_drawn_rows(generator):
    rows, real = torch.randn(12, 3, generator=generator) + 5, torch.randn(30, 3, generator=generator)
    measured = Frechet().measure(SampleSet(rows), SampleSet(real), Seeds.range(0, 12))
    counts = torch.tensor([[2, 0, 1, 1, 3, 0, 0, 1, 1, 1, 1, 1], [1] * 12]).double()
    drawn = rows.repeat_interleave(counts[0].long(), dim=0)
    expected = torch.tensor([frechet_distance(drawn, real), measured.value], dtype=torch.float64)
    torch.testing.assert_close(measured.resampled(counts), expected, rtol=1e-9, atol=1e-9)


def test_extrapolation_removes_the_bias_of_few_samples(generator):
    reference = SampleSet(with_moments(500, torch.zeros(4), torch.eye(4), generator))
    plain, extrapolated = [], []
    for repeat in range(60):
        samples = SampleSet(torch.randn(200, 4, generator=generator, dtype=torch.float64))
        seeds = Seeds.range(repeat, 200)
        plain.append(Frechet().measure(samples, reference, seeds).value)
        extrapolated.append(FrechetInfinity().measure(samples, reference, seeds).value)
    biased, unbiased = (torch.tensor(values).double() for values in (plain, extrapolated))
    error = unbiased.std() / math.sqrt(len(unbiased))
    # what the line leaves is of the order of (bias)^2
    assert unbiased.mean().abs() < 5 * error + biased.mean() ** 2
    assert biased.mean() > 5 * biased.std() / math.sqrt(len(biased))
    assert biased.mean() > 3 * unbiased.mean().abs()


def test_refusals(generator):
    rows = torch.randn(10, 3, generator=generator)
    with pytest.raises(InputError, match="one feature extractor"):
        frechet_distance(rows, torch.randn(10, 4, generator=generator))
    with pytest.raises(InputError, match="four samples a feature"):
        FrechetInfinity().measure(SampleSet(rows), SampleSet(rows), Seeds.range(0, 10))
