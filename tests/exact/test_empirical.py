"""The exact denoiser of finitely many points."""

import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.empirical import EmpiricalDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess

PROCESS = GaussianProcess()
EXAMPLES = EmpiricalDenoiser.examples()


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_it_is_the_mixture_of_components_without_width(name, t):
    points = EXAMPLES[name]
    mixture = MixtureDenoiser(points.weights, points.points, torch.zeros(len(points.weights)), points.process)
    x = points.draw(Seeds.range(0, 6), t)
    mine, theirs = points(x, t), mixture(x, t)
    torch.testing.assert_close(mine.mean, theirs.mean, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(mine.covariance(), theirs.covariance(), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(mine.variance, theirs.variance, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(points.log_density(x, t), mixture.log_density(x, t), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(points.score(x, t), mixture.score(x, t), rtol=1e-7, atol=1e-7)
    x0 = mine.sample(Seeds.range(1, 6))
    torch.testing.assert_close(mine.log_prob(x0), theirs.log_prob(x0), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("t", [1e-6, 0.2, 1.0])
def test_the_chunk_does_not_matter(chunk, t):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    one, other = (EmpiricalDenoiser(values, PROCESS, chunk=size) for size in (7, chunk))
    x = one.draw(Seeds.range(0, 9), t)
    torch.testing.assert_close(one(x, t).mean, other(x, t).mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.log_density(x, t), other.log_density(x, t), rtol=1e-12, atol=1e-10)
    drawn = [law(x, t).sample(Seeds.range(4, 9)) for law in (one, other)]
    torch.testing.assert_close(*drawn, rtol=0, atol=0)


def test_between_two_points_the_nearer_by_a_hair_counts_more():
    """Squared distances are 10^9 times the noise's variance here; their difference is wanted to the last digit."""
    ends = torch.tensor([[-1.0, 0.5], [1.0, 0.5]], dtype=torch.float64)
    denoiser = EmpiricalDenoiser(ends, PROCESS)
    sigma, offset = 2.0**-15, 2.0**-31
    x = torch.tensor([[offset, 0.5]], dtype=torch.float64)
    expected = 1 / (1 + math.exp(-2 * offset / sigma**2))
    share = denoiser.belief(x, 1.0, sigma).log_prob(ends[1:]).exp().item()
    assert share == pytest.approx(expected, abs=1e-9)


def test_at_time_zero_it_is_the_point_itself():
    denoiser = EXAMPLES["few"]
    x = denoiser.points.clone()
    posterior = denoiser(x, 0.0)
    torch.testing.assert_close(posterior.mean, x, rtol=0, atol=0)
    torch.testing.assert_close(denoiser.log_density(x, 0.0), denoiser.weights.log())
    assert bool((denoiser.log_density(x + 1e-3, 0.0) == -math.inf).all())
    assert not posterior.log_prob(x).any()
    assert bool((posterior.log_prob(x + 1e-3) == -math.inf).all())
    assert not posterior.covariance().any()


def test_many_large_points_fit():
    """A tenth of MNIST's size, in float32, with states in float32: memory is that of batch times chunk."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(6000, 784, generator=generator)
    denoiser = EmpiricalDenoiser(values.reshape(-1, 28, 28), PROCESS, chunk=1024)
    assert denoiser.points.dtype == torch.float32
    x = PROCESS.noise(denoiser.points[:8], torch.tensor(0.4).double(), Seeds.range(0, 8))
    posterior = denoiser(x, 0.4)
    assert posterior.mean.shape == (8, 28, 28) and posterior.mean.dtype == torch.float32
    torch.testing.assert_close(posterior.mean, denoiser.points[:8])  # the one that was stirred
    torch.testing.assert_close(posterior.sample(Seeds.range(1, 8)), denoiser.points[:8])


def test_labels_and_measurements_choose_points():
    denoiser = EXAMPLES["labelled"]
    x = torch.zeros(5, 1).double()
    labels = torch.ones(5, dtype=torch.long)
    alone = EmpiricalDenoiser([[0.2], [1.1]], PROCESS)
    torch.testing.assert_close(denoiser(x, 0.6, label=labels).mean, alone(x, 0.6).mean)
    torch.testing.assert_close(denoiser(x, 0.6, label=labels, drop=labels.bool()).mean, denoiser(x, 0.6).mean)
    given = denoiser.given_observation(torch.ones(1, 1), torch.tensor([1.1], dtype=torch.float64), 0.0)
    assert given.points.tolist() == [[1.1]] and given.labels.tolist() == [1]
    assert float(given.log_evidence) == pytest.approx(-math.log(3))
    with pytest.raises(InputError, match="no point gives it"):
        denoiser.given_observation(torch.ones(1, 1), torch.tensor([0.7]), 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(points=[]), "points are finite"),
        (dict(points=[[math.nan]]), "points are finite"),
        (dict(weights=[1.0]), "one a point"),
        (dict(labels=[1]), "one whole number a point"),
        (dict(chunk=0), "at least one point"),
    ],
)
def test_what_is_no_set_of_points_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        EmpiricalDenoiser(**{**dict(points=[[0.0], [1.0]], process=PROCESS), **arguments})
