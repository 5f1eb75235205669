"""The exact mixture denoiser: its edges, its errors, and other people's numbers."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.covariances import LowRank
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule

PROCESS = GaussianProcess()
EXAMPLES = MixtureDenoiser.examples()
PLANE = [[1.0, 0.5], [-1.0, 0.8], [0.2, -1.2]]


def whole(denoiser):
    """The same mixture with covariances as whole matrices."""
    means = denoiser.means.flatten(1)
    return MixtureDenoiser(denoiser.weights, means, denoiser.covariances(), denoiser.process)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("times", ["one", "each"])
def test_every_kind_of_covariance_agrees_with_whole_matrices(name, times):
    denoiser = EXAMPLES[name]
    t = torch.tensor(0.4).double() if times == "one" else torch.linspace(0.05, 0.95, 6).double()
    x = denoiser.draw(Seeds.range(0, 6), t)
    flat, other = x.flatten(1), whole(denoiser)
    mine, theirs = denoiser(x, t), other(flat, t)
    torch.testing.assert_close(mine.mean.flatten(1), theirs.mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(mine.covariance(), theirs.covariance(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(mine.variance.flatten(1), theirs.variance, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(denoiser.score(x, t).flatten(1), other.score(flat, t), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(denoiser.log_density(x, t), other.log_density(flat, t), rtol=1e-11, atol=1e-11)
    x0 = mine.sample(Seeds.range(1, 6))
    torch.testing.assert_close(mine.log_prob(x0), theirs.log_prob(x0.flatten(1)), rtol=1e-9, atol=1e-9)


def test_density_is_that_of_scipy_and_shares_those_of_scikit_learn():
    denoiser = EXAMPLES["correlated"]
    t = torch.tensor(0.3).double()
    alpha, sigma = float(PROCESS.schedule.alpha(t)), float(PROCESS.schedule.sigma(t))
    x = denoiser.draw(Seeds.range(2, 8), t)
    marginal = alpha**2 * denoiser.covariances().numpy() + sigma**2 * np.eye(2)
    weights, means = denoiser.weights.numpy(), alpha * denoiser.means.numpy()
    laws = [stats.multivariate_normal(mean, matrix) for mean, matrix in zip(means, marginal, strict=True)]
    density = sum(weight * law.pdf(x.numpy()) for weight, law in zip(weights, laws, strict=True))
    torch.testing.assert_close(denoiser.log_density(x, t), torch.tensor(density).log(), rtol=1e-12, atol=1e-12)
    theirs = GaussianMixture(3)
    theirs.weights_, theirs.means_ = weights, means
    theirs.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(marginal))
    torch.testing.assert_close(denoiser(x, t).log_weights.exp(), torch.tensor(theirs.predict_proba(x.numpy())))


@pytest.mark.parametrize("name", EXAMPLES)
def test_without_noise_the_belief_is_the_state_itself(name):
    denoiser = EXAMPLES[name]
    x = denoiser.draw(Seeds.range(0, 5))
    posterior = denoiser(x, 0.0)
    torch.testing.assert_close(posterior.mean, x, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(posterior.sample(Seeds.range(1, 5)), x, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(posterior.log_prob(posterior.mean), torch.zeros(5).double(), rtol=0, atol=1e-9)
    assert bool((posterior.log_prob(x + 0.1) == -math.inf).all())


def test_infinite_noise_tells_nothing():
    process = GaussianProcess(CosineSchedule(scale="ve"))
    assert process.schedule.sigma(1.0) == math.inf
    denoiser = MixtureDenoiser([0.5, 0.5], [[1.0, 0.0], [2.0, 4.0]], [0.1, 0.2], process)
    x = denoiser.draw(Seeds.range(0, 3), 1.0)
    posterior = denoiser(x, 1.0)
    torch.testing.assert_close(posterior.mean, torch.tensor([[1.5, 2.0]]).double().expand(3, 2))
    torch.testing.assert_close(posterior.variance[0], torch.tensor([0.15 + 0.25, 0.15 + 4.0]).double())
    assert denoiser.score(x, 1.0).abs().max() < 1e-290


def test_labels_choose_components_and_can_be_forgotten():
    denoiser = EXAMPLES["labelled-ve"]
    alone = MixtureDenoiser([0.3, 0.5], denoiser.means[1:], [0.2, 0.15], denoiser.process)
    x = denoiser.draw(Seeds.range(0, 4), 0.3)
    ones = torch.ones(4, dtype=torch.long)
    torch.testing.assert_close(denoiser(x, 0.3, label=ones).mean, alone(x, 0.3).mean)
    torch.testing.assert_close(denoiser.score(x, 0.3, label=ones), alone.score(x, 0.3))
    torch.testing.assert_close(denoiser.log_density(x, 0.3, label=ones), alone.log_density(x, 0.3))
    drop = torch.tensor([True, False, True, False])
    mixed = denoiser(x, torch.tensor(0.3).double(), drop, label=ones).mean
    torch.testing.assert_close(mixed[drop], denoiser(x, 0.3).mean[drop])
    torch.testing.assert_close(mixed[~drop], alone(x, 0.3).mean[~drop])
    drawn = denoiser.draw(Seeds.range(0, 2000), label=torch.zeros(2000, dtype=torch.long))
    assert (drawn - denoiser.means[0]).abs().max() < 6 * math.sqrt(0.1)  # of its one component


def test_what_comes_back_has_the_states_dtype_and_shape():
    denoiser = EXAMPLES["grid-ve"]
    x = denoiser.draw(Seeds.range(0, 3), 0.5).float()
    posterior = denoiser(x, torch.full((3,), 0.5).double())
    for value in (posterior.mean, posterior.variance, posterior.sample(Seeds.range(0, 3)), denoiser.score(x, 0.5)):
        assert value.dtype == torch.float32 and value.shape == (3, 2, 2)
    assert posterior.covariance().shape == (3, 4, 4)
    assert denoiser.log_density(x, 0.5).dtype == torch.float64
    moved = denoiser.to("cpu").half()  # the law keeps its digits
    assert moved.means.dtype == torch.float64


def test_an_exact_measurement_gives_the_conditional_of_the_other_coordinates():
    denoiser = EXAMPLES["correlated"]
    given = denoiser.given_observation(torch.tensor([[1.0, 0.0]]), torch.tensor([0.4], dtype=torch.float64), 0.0)
    # by the textbook, component by component
    means, matrices = denoiser.means, denoiser.covariances()
    gain = matrices[:, 1, 0] / matrices[:, 0, 0]
    expected = means[:, 1] + gain * (0.4 - means[:, 0])
    variance = matrices[:, 1, 1] - gain * matrices[:, 0, 1]
    likelihood = stats.norm(means[:, 0].numpy(), matrices[:, 0, 0].sqrt().numpy()).pdf(0.4)
    evidence = (denoiser.weights * torch.tensor(likelihood)).sum()
    torch.testing.assert_close(given.weights, denoiser.weights * torch.tensor(likelihood) / evidence)
    torch.testing.assert_close(given.log_evidence, evidence.log())
    torch.testing.assert_close(given.means[:, 1], expected)
    torch.testing.assert_close(given.means[:, 0], torch.full((3,), 0.4).double())
    torch.testing.assert_close(given.covariances()[:, 1, 1], variance)
    drawn = given.draw(Seeds.range(0, 100))
    assert (drawn[:, 0] - 0.4).abs().max() < 1e-14
    # the density on the line is that of the conditional, and none off it
    law = sum(
        float(w) * stats.norm(float(m), math.sqrt(v)).pdf(drawn[:, 1].numpy())
        for w, m, v in zip(given.weights, expected, variance, strict=True)
    )
    torch.testing.assert_close(given.log_density(drawn, 0.0), torch.tensor(law).log())
    assert bool((given.log_density(drawn + torch.tensor([0.01, 0.0]), 0.0) == -math.inf).all())
    assert bool(given(given.draw(Seeds.range(1, 50), 1e-9), 1e-9).mean.isfinite().all())


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_measured_coordinates_agree_with_a_general_operator(name, noise):
    """Single coordinates go a way of their own, which must agree with that of all operators."""
    denoiser = EXAMPLES[name]
    size = denoiser.means[0].numel()
    operator, value = torch.zeros(1, size).double(), torch.tensor([0.7]).double()
    operator[0, size - 1] = 2.0
    first = denoiser.given_observation(operator, value, noise)
    second = whole(denoiser).given_observation(operator, value, noise)
    torch.testing.assert_close(first.log_evidence, second.log_evidence, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(first.weights, second.weights, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(first.means.flatten(1), second.means, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(first.covariances(), second.covariances(), rtol=1e-10, atol=1e-12)
    x = denoiser.draw(Seeds.range(0, 4), 0.5)
    torch.testing.assert_close(first(x, 0.5).mean.flatten(1), second(x.flatten(1), 0.5).mean, rtol=1e-9, atol=1e-11)


def test_measurements_one_after_another_are_those_together_and_may_be_redundant():
    denoiser = EXAMPLES["axes-flow"]
    operator = torch.tensor([[1.0, 0.5, -0.2], [0.3, 0.0, 1.0]]).double()
    y, noise = torch.tensor([0.4, -0.1]).double(), torch.tensor([0.2, 0.5]).double()
    together = denoiser.given_observation(operator, y, noise)
    first = denoiser.given_observation(operator[:1], y[:1], noise[:1])
    after = first.given_observation(operator[1:], y[1:], noise[1:])
    torch.testing.assert_close(together.means, after.means)
    torch.testing.assert_close(together.log_evidence, after.log_evidence)
    by_covariance = denoiser.given_observation(operator, y, torch.diag(noise.square()))
    torch.testing.assert_close(by_covariance.means, together.means)
    once = denoiser.given_observation(operator[:1], y[:1], 0.0)
    twice = denoiser.given_observation(operator[[0, 0]], y[[0, 0]], 0.0)
    torch.testing.assert_close(once.means, twice.means)
    torch.testing.assert_close(once.weights, twice.weights)
    with pytest.raises(InputError, match="impossible"):
        denoiser.given_observation(operator[[0, 0]], torch.tensor([0.4, 0.5]), 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(weights=[0.5]), "one a component"),
        (dict(weights=[0.5, -0.5, 1.0]), "none negative"),
        (dict(means=[[math.nan, 0.0]] * 3), "means are finite"),
        (dict(covariances=[0.1, 0.2]), r"have the shape \(3,\)"),
        (dict(covariances=[0.1, -0.2, 0.3]), "a variance is not negative"),
        (dict(covariances=[0.1, math.inf, 0.3]), "must be finite"),
        (dict(covariances=[[[1.0, 0.5], [0.1, 1.0]]] * 3), "symmetric"),
        (dict(covariances=[[[1.0, 2.0], [2.0, 1.0]]] * 3), "no negative eigenvalues"),
        (dict(covariances=LowRank(torch.ones(2, 1), torch.ones(2))), "a LowRank of 3 components on 2"),
        (dict(covariances=LowRank(torch.ones(3, 2, 1), torch.zeros(3, 2))), "its diagonal positive"),
        (dict(labels=[0, 1]), "one whole number a component"),
        (dict(labels=[0.5, 1.0, 2.0]), "one whole number a component"),
    ],
)
def test_what_is_no_mixture_is_refused(arguments, message):
    good = dict(weights=[0.5, 0.3, 0.2], means=PLANE, covariances=[0.1, 0.2, 0.3], process=PROCESS)
    with pytest.raises(InputError, match=message):
        MixtureDenoiser(**{**good, **arguments})


def test_what_cannot_be_asked_is_refused():
    denoiser, labelled = EXAMPLES["correlated"], EXAMPLES["labelled-ve"]
    x = torch.zeros(4, 2).double()
    with pytest.raises(InputError, match="samples of the shape"):
        denoiser(torch.zeros(4, 3), 0.5)
    with pytest.raises(InputError, match="one a sample"):
        denoiser(x, torch.zeros(3).double())
    with pytest.raises(InputError, match="give it labels"):
        denoiser(x, 0.5, label=torch.zeros(4, dtype=torch.long))
    with pytest.raises(InputError, match="'lable'; did you mean 'label'"):
        labelled(x, 0.5, lable=torch.zeros(4, dtype=torch.long))
    with pytest.raises(InputError, match="label 7; allowed: \\[0, 1\\]"):
        labelled(x, 0.5, label=torch.full((4,), 7))
    with pytest.raises(InputError, match="a whole number a sample"):
        labelled(x, 0.5, label=torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize(
    ("operator", "observation", "noise", "message"),
    [
        (torch.ones(1, 3), torch.ones(1), 0.1, "an operator"),
        (torch.ones(1, 2), torch.ones(2), 0.1, "an operator"),
        (torch.ones(1, 2), torch.tensor([math.nan]), 0.1, "must be finite"),
        (torch.ones(1, 2), torch.ones(1), -0.1, "not negative"),
        (torch.ones(2, 2), torch.ones(2), torch.ones(3), "noise is a standard deviation"),
        (torch.eye(2), torch.ones(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "no negative eigenvalues"),
    ],
)
def test_what_is_no_measurement_is_refused(operator, observation, noise, message):
    with pytest.raises(InputError, match=message):
        EXAMPLES["correlated"].given_observation(operator, observation, noise)
