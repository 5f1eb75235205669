"""Broken copies of exact denoisers: each must be caught by the check that is named beside it."""

import dataclasses
import math

import pytest
import torch

from unstir.exact.empirical import EmpiricalDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.exact.mixture_posterior import MixturePosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.verification.base import Effort
from unstir.verification.checks import exact_euclidean, exact_euclidean_draws

CHECKS = {name: getattr(module, name) for module in (exact_euclidean, exact_euclidean_draws) for name in module.__all__}


def passes(check, law):
    return all(found.passed for found in CHECKS[check](law, Effort(quick=True)))


def broken(method, change, base=MixtureDenoiser):
    """A copy of the correlated example whose method's result is changed."""

    class Mutant(base):
        pass

    original = getattr(base, method)
    setattr(Mutant, method, lambda self, *args, **kwargs: change(self, original(self, *args, **kwargs), *args))
    example = {MixtureDenoiser: "correlated", EmpiricalDenoiser: "few"}[base]
    return Mutant.examples()[example]


@dataclasses.dataclass(frozen=True)
class Wide(MixturePosterior):
    """Draws that stray half as far again from the mean as they should."""

    def sample(self, seeds):
        return self.mean + 1.5 * (super().sample(seeds) - self.mean)


@dataclasses.dataclass(frozen=True)
class Shifted(MixturePosterior):
    """A density that forgets the scale of the noise."""

    def log_prob(self, x0):
        return super().log_prob(x0) + 0.01


@dataclasses.dataclass(frozen=True)
class Independent(MixturePosterior):
    """Covariances between components left out."""

    def covariance(self):
        return torch.diag_embed(super().covariance().diagonal(dim1=1, dim2=2))


def remade(kind):
    return lambda self, belief, *_: kind(belief.mean, belief.log_weights, belief.noisy)


def moved(self, belief, *_):
    return dataclasses.replace(belief, mean=belief.mean * 1.001)


def without_jacobian(self, value, xt, t, *_):
    """The density of x_t/alpha in place of that of x_t: the volume that alpha squeezes is forgotten."""
    return value + xt[0].numel() * self.process.schedule.alpha(t).log()


class Slow(CosineSchedule):
    """A derivative that is one per cent off."""

    def log_snr_derivative(self, t):
        return 1.01 * super().log_snr_derivative(t)


def with_wrong_derivative():
    example = MixtureDenoiser.examples()["correlated"]
    example.process = GaussianProcess(Slow())
    return example


def narrow(self, drawn, *_):
    return 0.9 * drawn


def stubborn(self, given, *_):
    """The measurement moves the components and leaves their weights."""
    given.log_weights = self.log_weights
    return given


def silent(self, given, *_):
    given.log_evidence = given.log_evidence + math.log(2)
    return given


def in_single(self, score, *_):
    return score.float().to(score.dtype)


MUTANTS = {
    "a likelihood without its Jacobian": ("density_obeys_continuity", lambda: broken("log_density", without_jacobian)),
    "the same, by its integral": ("density_holds_one", lambda: broken("log_density", without_jacobian)),
    "a schedule with a wrong derivative": ("density_obeys_continuity", with_wrong_derivative),
    "a score that has lost half of its digits": ("score_is_gradient", lambda: broken("score", in_single)),
    "a mean that is off by a thousandth": ("mean_by_tweedie", lambda: broken("forward", moved)),
    "a posterior with too much spread": ("belief_follows_pairs", lambda: broken("forward", remade(Wide))),
    "a covariance without correlations": ("covariance_by_tweedie", lambda: broken("forward", remade(Independent))),
    "a belief of the wrong density": ("posterior_by_bayes", lambda: broken("forward", remade(Shifted))),
    "draws that are too narrow": ("draws_follow_density", lambda: broken("draw", narrow)),
    "a measurement that leaves weights alone": (
        "conditioning_by_bayes", lambda: broken("given_observation", stubborn),
    ),
    "an evidence off by a factor": ("conditioning_by_bayes", lambda: broken("given_observation", silent)),
    "points without the Jacobian": (
        "density_obeys_continuity", lambda: broken("log_density", without_jacobian, EmpiricalDenoiser),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_copy_is_caught(name):
    check, make = MUTANTS[name]
    assert not passes(check, make())


@pytest.mark.parametrize("check", sorted({check for check, _ in MUTANTS.values()}))
def test_the_same_check_passes_what_is_whole(check):
    assert passes(check, MixtureDenoiser.examples()["correlated"])


def test_draws_given_a_measurement_that_is_ignored_are_not_calibrated():
    class Deaf(MixtureDenoiser):
        def given_observation(self, operator, observation, noise):
            return self

    deaf = Deaf.examples()["line"]
    assert not all(found.passed for found in CHECKS["conditioning_is_calibrated"](deaf, Effort(quick=True)))


def test_a_draw_that_depends_on_its_batch_is_caught():
    def whitened(self, drawn, *_):
        return drawn - drawn.mean(0) * 1e-3

    assert not passes("draws_follow_process", broken("draw", whitened))


def test_a_state_of_another_dtype_is_caught():
    def doubled(self, belief, *_):
        return dataclasses.replace(belief, mean=belief.mean.double())

    assert not passes("extremes_are_finite", broken("forward", doubled))


def test_a_variance_that_is_not_the_covariances_is_caught():
    @dataclasses.dataclass(frozen=True)
    class Overconfident(MixturePosterior):
        @property
        def variance(self):
            return super().variance / 2

    mutant = broken("forward", remade(Overconfident))
    assert not passes("covariance_by_tweedie", mutant)
    assert not passes("belief_is_calibrated", mutant)
