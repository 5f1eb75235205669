"""Itô processes: one Brownian path at every refinement, falling times, noises of any kind, and bad input."""

import math

import pytest
import torch
from scipy import stats
from thresholds import assert_distribution, assert_mean

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.physics.stochastic_process import ItoProcess, brownian_increments
from unstir.verification.base import Effort
from unstir.verification.checks.physics_paths import euler_strong_order, euler_weak_order, milstein_strong_order

SEEDS = Seeds.range(5, 4000)


def still(x, t):
    return 0.0


def test_finer_increments_add_up_to_the_coarser_ones():
    times = [0.0, 0.5, 0.6, 2.0]
    coarse = brownian_increments(times, SEEDS[:50], (2,))
    fine = brownian_increments(times, SEEDS[:50], (2,), refinements=4)
    assert fine.shape == (50, 3 * 16, 2)
    torch.testing.assert_close(fine.reshape(50, 3, 16, 2).sum(2), coarse, rtol=0, atol=1e-13)
    middle = brownian_increments(times, SEEDS[:50], (2,), refinements=2)
    torch.testing.assert_close(fine.reshape(50, 12, 4, 2).sum(2), middle, rtol=0, atol=1e-13)


def test_refined_increments_are_independent_normals():
    fine = brownian_increments([0.0, 2.0], SEEDS, refinements=3) / math.sqrt(2 / 8)
    assert_distribution(fine.numpy(), stats.norm.cdf)
    products = fine.T @ fine / len(SEEDS) - torch.eye(8)
    assert products.abs().max() < 5.5 * math.sqrt(2 / len(SEEDS))


def test_a_path_is_the_same_alone():
    process = ItoProcess(lambda x, t: -x, lambda x, t: 1 + x**2 / 10)
    many = process.simulate(0.5, [0.0, 0.2, 1.0], Seeds.range(3, 40), refinements=2)
    alone = process.simulate(0.5, [0.0, 0.2, 1.0], Seeds.range(3, 1, start=17), refinements=2)
    torch.testing.assert_close(many[17:18], alone, rtol=1e-14, atol=1e-14)


def test_blocks_of_paths_do_not_change_the_draws(monkeypatch):
    whole = brownian_increments([0.0, 1.0, 3.0], SEEDS[:100], (3,))
    monkeypatch.setattr("unstir.physics.stochastic_process._DRAWN_AT_ONCE", 64)
    assert torch.equal(brownian_increments([0.0, 1.0, 3.0], SEEDS[:100], (3,)), whole)


def test_refined_steps_pass_the_time_between():
    seen = []
    ItoProcess(lambda x, t: seen.append(float(t)) or 0.0, lambda x, t: 1.0).simulate(
        0.0, [0.0, 1.0, 0.5 + 1.0], SEEDS[:1], refinements=1
    )
    assert seen == [0.0, 0.5, 1.0, 1.25]


def test_falling_times_run_the_equation_backwards():
    # the stationary process dx = -x dt + sqrt(2) dW of data N(2, 1/4), turned round by Anderson's drift
    def drift(x, t):
        kept = torch.exp(-t)
        variance = 1 + (0.25 - 1) * kept**2
        return -x + 2 * (x - 2 * kept) / variance

    start = SEEDS.at("start").normal((), torch.float64)
    data = ItoProcess(drift, lambda x, t: math.sqrt(2)).simulate(start, [5.0, 1.0, 0.0], SEEDS, refinements=9)
    # the steps of 1/512 near the data leave an error of order 1/512, below the resolution of 4000 draws
    assert_distribution(data[:, -1].numpy(), stats.norm(2, 0.5).cdf)


def test_mixed_noises_have_the_covariance_of_their_matrix():
    mixing = torch.tensor([[1.0, 0.5, 0.0], [0.0, -0.3, 2.0]], dtype=torch.float64)
    process = ItoProcess(still, lambda x, t: mixing.expand(len(x), 2, 3))
    ends = process.simulate(torch.zeros(len(SEEDS), 2), [0.0, 0.7], SEEDS)[:, -1]
    assert_mean(torch.einsum("ni,nj->nij", ends, ends), 0.7 * mixing @ mixing.T)


def test_states_of_any_shape():
    start = torch.zeros(6, 3, 4, 4)
    assert ItoProcess(still, lambda x, t: 1.0).simulate(start, [0.0, 1.0], SEEDS[:6]).shape == (6, 2, 3, 4, 4)


@pytest.mark.parametrize("shared", [False, True])
def test_a_given_derivative_is_that_of_automatic_differentiation(shared):
    def diffusion(x, t):
        wave = torch.sin(x) + t
        return wave[..., None] if shared else wave

    def derivative(x, t):
        return torch.diag_embed(torch.cos(x)) if shared else torch.cos(x)

    start = torch.linspace(-1, 1, 20).reshape(10, 2)
    told = ItoProcess(still, diffusion, derivative).simulate(start, [0.0, 0.5, 1.0], SEEDS[:10], "milstein")
    found = ItoProcess(still, diffusion).simulate(start, [0.0, 0.5, 1.0], SEEDS[:10], "milstein")
    plain = ItoProcess(still, diffusion).simulate(start, [0.0, 0.5, 1.0], SEEDS[:10])
    torch.testing.assert_close(told, found, rtol=1e-13, atol=1e-13)
    assert (told - plain).abs().max() > 0.01


def test_no_gradients_are_kept():
    factor = torch.ones(2, dtype=torch.float64, requires_grad=True)
    ends = ItoProcess(lambda x, t: factor * x, lambda x, t: factor).simulate(
        torch.ones(4, 2), [0.0, 1.0], SEEDS[:4], "milstein"
    )
    assert not ends.requires_grad


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ("method must be one of", {"method": "heun"}),
        ("not known in closed form", {"method": "exact"}),
        ("rise or fall strictly", {"times": [0.0, 1.0, 1.0]}),
        ("rise or fall strictly", {"times": [0.0]}),
        ("rise or fall strictly", {"times": [0.0, math.nan]}),
        ("must be numbers", {"times": ["now", "then"]}),
        ("a row for each of the 8 paths", {"x0": torch.zeros(3, 2)}),
        ("must be finite", {"x0": math.inf}),
        ("0 to 24", {"refinements": -1}),
    ],
)
def test_bad_arguments(told, options):
    process = ItoProcess(lambda x, t: -x, lambda x, t: 1.0)
    with pytest.raises(InputError, match=told):
        process.simulate(**{"x0": 0.0, "times": [0.0, 1.0], "seeds": SEEDS[:8], **options})


@pytest.mark.parametrize(
    ("told", "drift", "diffusion"),
    [
        ("the drift must be", lambda x, t: x[:3], lambda x, t: 1.0),
        ("the diffusion must be", still, lambda x, t: torch.ones(5)),
        ("with shared noises is", still, lambda x, t: torch.ones(8, 3, 1)),
        ("serves independent noises or one shared noise", still, lambda x, t: torch.ones(8, 2, 2)),
        ("its own component", still, lambda x, t: x.flip(-1)),
    ],
)
def test_bad_coefficients(told, drift, diffusion):
    with pytest.raises(InputError, match=told):
        ItoProcess(drift, diffusion).simulate(torch.ones(8, 2), [0.0, 1.0], SEEDS[:8], "milstein")


def test_a_bad_derivative():
    process = ItoProcess(still, lambda x, t: x[..., None], lambda x, t: torch.ones(3))
    with pytest.raises(InputError, match="the derivative of the diffusion is"):
        process.simulate(torch.ones(8, 2), [0.0, 1.0], SEEDS[:8], "milstein")


def test_a_path_that_diverges_is_told():
    with pytest.raises(NonFiniteError, match="between the times 1 and 20"):
        ItoProcess(lambda x, t: x**3, still).simulate(2.0, [0.0, 1.0, 20.0], SEEDS[:2], refinements=3)


def failed(check, subject):
    return [measured.quantity for measured in check(subject, Effort(quick=True)) if not measured.passed]


class NoCorrection(ItoProcess):
    def diffusion_derivative_at(self, x, t):
        return torch.zeros_like(x)


class DoubledCorrection(ItoProcess):
    def diffusion_derivative_at(self, x, t):
        return 2 * super().diffusion_derivative_at(x, t)


class LooseRefinement(ItoProcess):
    def simulate(self, x0, times, seeds, method="euler-maruyama", refinements=0):
        return super().simulate(x0, times, seeds.at("other", refinements), method, refinements)


class HalfDrift(ItoProcess):
    def drift_at(self, x, t):
        return super().drift_at(x, t) * 0.99


class Stratonovich(ItoProcess):
    def drift_at(self, x, t):
        return super().drift_at(x, t) + self.diffusion_derivative_at(x, t) / 2


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (milstein_strong_order, NoCorrection),
        (milstein_strong_order, DoubledCorrection),
        (milstein_strong_order, LooseRefinement),
        (euler_strong_order, LooseRefinement),
        (euler_strong_order, Stratonovich),
        (euler_weak_order, HalfDrift),
        (euler_weak_order, Stratonovich),
    ],
)
def test_the_checks_catch_broken_steppers(check, mutant):
    assert failed(check, mutant)
