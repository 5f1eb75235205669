"""Beliefs: their draws, densities and losses agree."""

import math

import pytest
import torch
from mixture import one_dimensional, two_dimensional
from scipy import stats
from thresholds import assert_distribution, assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior
from unstir.processes.gaussian import GaussianProcess

MEAN = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, 1.0]], dtype=torch.float64)
X0 = torch.tensor([[0.0, -1.5, 2.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_point_belief():
    point = PointPosterior(MEAN)
    assert point.sample(Seeds.range(0, 2)) is MEAN
    assert point.log_prob(torch.stack((MEAN[0], X0[1]))).tolist() == [0.0, -math.inf]
    assert point.loss(X0).tolist() == pytest.approx([0.5 / 3, 5 / 3])
    assert point.loss(X0, MASK).tolist() == pytest.approx([0.25, 1.0])


def test_gaussian_belief_against_scipy():
    variance = torch.tensor([[0.5, 1.0, 2.0], [0.1, 4.0, 1.0]], dtype=torch.float64)
    belief = GaussianPosterior(MEAN, variance)
    densities = stats.norm(MEAN.numpy(), variance.sqrt().numpy()).logpdf(X0.numpy())
    assert belief.log_prob(X0).tolist() == pytest.approx(densities.sum(1))
    assert belief.loss(X0).tolist() == pytest.approx(-densities.mean(1))
    assert belief.loss(X0, MASK).tolist() == pytest.approx([-densities[0, :2].mean(), -densities[1, 0]])


def test_gaussian_belief_draws_from_itself():
    count = 40_000
    belief = GaussianPosterior(MEAN[:1].expand(count, -1), torch.tensor([[0.5, 1.0, 2.0]]).double().expand(count, -1))
    drawn = belief.sample(Seeds.range(0, count))
    assert_distribution((drawn - belief.mean) / belief.variance.sqrt(), stats.norm.cdf)


def test_a_belief_without_padded_sets_says_so():
    belief = one_dimensional(GaussianProcess())(torch.zeros(2, 1), torch.tensor(0.5))
    with pytest.raises(InputError, match="MixturePosterior does not know padded sets"):
        belief.loss(torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool))


def test_default_loss_is_nats_per_element():
    belief = two_dimensional(GaussianProcess())(torch.zeros(3, 2), torch.tensor(0.5))
    x0 = Seeds.range(0, 3).normal((2,), torch.float64)
    torch.testing.assert_close(belief.loss(x0), -belief.log_prob(x0) / 2)


class TestMixture:
    """The reference that other tests lean on, held against the definition of a posterior."""

    def test_bayes(self):
        """log p(x0 | xt) = log p(x0) + log q(xt | x0) - log p(xt)."""
        denoiser = two_dimensional(GaussianProcess())
        x0, xt = (Seeds.range(seed, 20).normal((2,), torch.float64) for seed in (1, 2))
        t = torch.linspace(0.05, 0.95, 20, dtype=torch.float64)
        alpha, sigma = denoiser.process.coefficients(t, xt)
        likelihood = torch.distributions.Normal(alpha * x0, sigma.expand(-1, 2)).log_prob(xt).sum(1)
        expected = denoiser.log_density(x0, 0.0) + likelihood - denoiser.log_density(xt, t)
        torch.testing.assert_close(denoiser(xt, t).log_prob(x0), expected)

    def test_draws_have_the_stated_mean_and_law(self):
        denoiser = one_dimensional(GaussianProcess())
        xt = torch.full((40_000, 1), 0.1, dtype=torch.float64)
        belief = denoiser(xt, torch.tensor(0.4, dtype=torch.float64))
        drawn = belief.sample(Seeds.range(0, len(xt)))
        assert_mean(drawn, belief.mean[0].item())
        weights = belief.log_weights[0].exp().tolist()
        assert min(weights) > 0.02, "both components take part"
        laws = [
            stats.norm(mean, variance**0.5).cdf
            for mean, variance in zip(belief.means[0, :, 0].tolist(), belief.variances[0].tolist(), strict=True)
        ]
        assert_distribution(drawn, lambda x: sum(w * law(x) for w, law in zip(weights, laws, strict=True)))
