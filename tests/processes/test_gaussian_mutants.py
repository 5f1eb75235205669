"""Broken copies of the Gaussian process: each breaks one claim, and the check of that claim sees it."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.verification.base import Effort
from unstir.verification.checks import processes as checks


def fails(check, process):
    return not all(figure.passed for figure in check(process, Effort(quick=True)))


def test_bridge_of_the_upper_variance():
    """DDPM's other choice of variance is no conditional law."""

    class Mutant(GaussianProcess):
        def bridge_coefficients(self, t, s, device=None):
            kept, pulled, deviation = super().bridge_coefficients(t, s, device)
            t, s = (torch.as_tensor(time, dtype=torch.float64) for time in (t, s))
            return kept, pulled, deviation * self.schedule.sigma(t) / self.schedule.sigma(s).clamp(min=1e-12)

    assert fails(checks.gaussian_bridge_is_conditioning, Mutant())


def test_bridge_with_the_wrong_time_in_one_coefficient():
    class Mutant(GaussianProcess):
        def bridge_coefficients(self, t, s, device=None):
            kept, pulled, deviation = super().bridge_coefficients(t, s, device)
            return kept, pulled * 1.02, deviation

    assert fails(checks.gaussian_bridge_is_conditioning, Mutant())
    assert fails(checks.bridge_ends_where_it_should, Mutant())


def test_transition_that_does_not_shrink():
    class Mutant(GaussianProcess):
        def transition(self, xs, s, t, seeds, mask=None):
            return super().transition(xs * 1.1, s, t, seeds, mask)

    assert fails(checks.noise_composes, Mutant())


def test_prior_of_too_little_noise():
    class Mutant(GaussianProcess):
        def prior(self, *options, **more):
            return 0.9 * super().prior(*options, **more)

    assert fails(checks.noise_ends_in_the_prior, Mutant())


def test_transition_goes_on_in_time_and_in_no_time_nowhere():
    process, x = GaussianProcess(CosineSchedule()), torch.ones(2, 3)
    with pytest.raises(InputError, match=r"s must not exceed t; seen s = 0\.6"):
        process.transition(x, torch.tensor(0.6), torch.tensor(0.5), Seeds.range(0, 2))
    for time in (0.0, 0.4, 1.0):
        assert torch.equal(process.transition(x, torch.tensor(time), torch.tensor(time), Seeds.range(0, 2)), x)
