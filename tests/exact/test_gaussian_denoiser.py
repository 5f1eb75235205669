"""The exact Gaussian denoiser: large dimensions, edges and errors."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.covariances import LowRank
from unstir.exact.gaussian import GaussianDenoiser
from unstir.processes.gaussian import GaussianProcess

PROCESS = GaussianProcess()
EXAMPLES = GaussianDenoiser.examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_belief_is_wieners_filter(name):
    denoiser = EXAMPLES[name]
    t = torch.tensor(0.35).double()
    alpha, sigma = (float(part(t)) for part in (denoiser.process.schedule.alpha, denoiser.process.schedule.sigma))
    x = denoiser.draw(Seeds.range(0, 5), t)
    mean, matrix = denoiser.mean.flatten().numpy(), denoiser.covariance().numpy()
    marginal = alpha**2 * matrix + sigma**2 * np.eye(len(mean))
    gain = alpha * matrix @ np.linalg.inv(marginal)
    flat, posterior = x.flatten(1).numpy(), denoiser(x, t)
    expected = torch.tensor(mean + (flat - alpha * mean) @ gain.T)
    torch.testing.assert_close(posterior.mean.flatten(1), expected, rtol=1e-9, atol=1e-10)
    spread = torch.tensor(matrix - alpha * gain @ matrix)
    torch.testing.assert_close(posterior.covariance()[0], spread, rtol=1e-7, atol=1e-9 * sigma**2)
    law = stats.multivariate_normal(alpha * mean, marginal)
    torch.testing.assert_close(denoiser.log_density(x, t), torch.tensor(law.logpdf(flat)), rtol=1e-9, atol=1e-9)
    x0 = posterior.sample(Seeds.range(1, 5))
    one = stats.multivariate_normal(posterior.mean[0].flatten().numpy(), posterior.covariance()[0].numpy())
    assert abs(float(posterior.log_prob(x0)[0]) - one.logpdf(x0[0].flatten().numpy())) < 1e-6


def test_factors_serve_a_hundred_thousand_elements():
    """No matrix of 10^10 numbers can be formed; the answer is known where the factor is one direction."""
    size = 100_000
    direction = torch.ones(size, 1, dtype=torch.float64) / math.sqrt(size)
    denoiser = GaussianDenoiser(torch.zeros(size), LowRank(3.0 * direction, torch.full((size,), 0.25)), PROCESS)
    t = torch.tensor(0.4).double()
    alpha, sigma = PROCESS.schedule.alpha(t), PROCESS.schedule.sigma(t)
    x = denoiser.draw(Seeds.range(0, 2), t)
    along = (x @ direction) @ direction.T
    small, large = 0.25, 0.25 + 9.0
    gains = [alpha * value / (alpha**2 * value + sigma**2) for value in (small, large)]
    posterior = denoiser(x, t)
    torch.testing.assert_close(posterior.mean, gains[0] * (x - along) + gains[1] * along, rtol=1e-11, atol=1e-12)
    scores = [1 / (alpha**2 * value + sigma**2) for value in (small, large)]
    torch.testing.assert_close(
        denoiser.score(x, t), -scores[0] * (x - along) - scores[1] * along, rtol=1e-10, atol=1e-11
    )
    variance = torch.full(
        (2, size), float(sigma**2) * (small * scores[0] + (large * scores[1] - small * scores[0]) / size)
    )
    torch.testing.assert_close(posterior.variance, variance.double(), rtol=1e-6, atol=0.0)
    assert posterior.sample(Seeds.range(1, 2)).shape == (2, size)
    operator = torch.zeros(1, size)
    operator[0, 17] = 1.0
    given = denoiser.given_observation(operator, torch.tensor([2.0]), 0.0)
    assert float(given.mean[17]) == pytest.approx(2.0, abs=1e-12)
    with pytest.raises(InputError, match="at most 8192 elements"):
        denoiser.given_observation(torch.ones(1, size), torch.tensor([2.0]), 0.1)


@pytest.mark.parametrize("log_snr", [-20.0, 0.0, 20.0])
def test_factors_keep_their_digits(log_snr):
    """A nearly singular law: Woodbury's formula would lose the nine digits between noise and factor."""
    sigma = 1 / math.sqrt(1 + math.exp(log_snr))
    alpha = 1 / math.sqrt(1 + math.exp(-log_snr))
    factor = torch.tensor([[1.0], [2.0], [-2.0]], dtype=torch.float64)
    narrow = 1e-10
    denoiser = GaussianDenoiser([0.0, 0.0, 0.0], LowRank(factor, torch.full((3,), narrow).double()), PROCESS)
    x = denoiser.draw(Seeds.range(0, 4))
    along, across = alpha**2 * (9 + narrow) + sigma**2, alpha**2 * narrow + sigma**2
    unit = factor[:, 0] / 3
    inside = (alpha * x) @ unit
    rest = alpha * x - inside[:, None] * unit
    squares = inside.square() / along + rest.square().sum(1) / across
    expected = -(squares + math.log(along) + 2 * math.log(across) + 3 * math.log(2 * math.pi)) / 2
    torch.testing.assert_close(denoiser.log_density_at(alpha * x, alpha, sigma), expected, rtol=1e-9, atol=1e-9)


def test_a_scalar_state_and_a_point_mass():
    number = GaussianDenoiser(1.0, 4.0, PROCESS)
    x = number.draw(Seeds.range(0, 6), 0.5)
    assert x.shape == (6,) and number(x, 0.5).mean.shape == (6,)
    point = GaussianDenoiser([1.0, 2.0], 0.0, PROCESS)
    x = point.draw(Seeds.range(0, 3), 0.5)
    posterior = point(x, 0.5)
    torch.testing.assert_close(posterior.mean, torch.tensor([[1.0, 2.0]]).double().expand(3, 2))
    assert not posterior.variance.any() and not posterior.log_prob(posterior.mean).any()
    clean = point.draw(Seeds.range(0, 3))
    assert not point.log_density(clean, 0.0).any()
    assert bool((point.log_density(clean + 1e-3, 0.0) == -math.inf).all())


def test_kalmans_update_is_scipys_conditional():
    denoiser = EXAMPLES["correlated-flow"]
    operator, y = torch.tensor([[0.5, -1.0, 0.2]]).double(), torch.tensor([0.3], dtype=torch.float64)
    given = denoiser.given_observation(operator, y, 0.1)
    matrix, mean = denoiser.covariance(), denoiser.mean
    spread = float(operator @ matrix @ operator.T) + 0.01
    gain = matrix @ operator[0] / spread
    torch.testing.assert_close(given.mean, mean + gain * (y - operator @ mean))
    torch.testing.assert_close(given.covariance(), matrix - torch.outer(gain, matrix @ operator[0]))
    expected = stats.norm(float(operator @ mean), math.sqrt(spread)).logpdf(0.3)
    assert float(given.log_evidence) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        ([math.inf, 0.0], 1.0, "a mean is finite"),
        ([0.0, 0.0], -1.0, "not negative"),
        ([0.0, 0.0], [1.0, 1.0, 1.0], "have the shape"),
        ([0.0, 0.0], LowRank(torch.ones(3, 1), torch.ones(3)), "a LowRank"),
    ],
)
def test_what_is_no_gaussian_is_refused(mean, covariance, message):
    with pytest.raises(InputError, match=message):
        GaussianDenoiser(mean, covariance, PROCESS)
