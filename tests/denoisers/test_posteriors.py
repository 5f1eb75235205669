"""Beliefs: their draws, densities and losses agree."""

import math

import pytest
import torch
from scipy import stats
from thresholds import assert_distribution

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.references import IN_THE_PLANE, ON_THE_LINE

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
    belief = ON_THE_LINE.denoiser(GaussianProcess())(torch.zeros(2, 1), torch.tensor(0.5))
    with pytest.raises(InputError, match="MixturePosterior does not know padded sets"):
        belief.loss(torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool))


def test_default_loss_is_nats_per_element():
    belief = IN_THE_PLANE.denoiser(GaussianProcess())(torch.zeros(3, 2), torch.tensor(0.5))
    x0 = Seeds.range(0, 3).normal((2,), torch.float64)
    torch.testing.assert_close(belief.loss(x0), -belief.log_prob(x0) / 2)
