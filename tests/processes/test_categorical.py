"""Noise on tokens: what it refuses, its rates at tiny times, its bridge by enumeration, and broken copies."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from thresholds import assert_count

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes import token_matrices
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.generators import transition_matrix
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.token_matrices import NAMED, gaussian_rates, generator_of
from unstir.verification.base import Effort
from unstir.verification.checks import processes as checks
from unstir.verification.checks import tokens as token_checks

EXAMPLES = CategoricalProcess.examples()
every_example = pytest.mark.parametrize("process", EXAMPLES.values(), ids=EXAMPLES)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def fails(check, process):
    return not all(figure.passed for figure in check(process, Effort(quick=True)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "at least two classes; seen 1"),
        ({"classes": 3, "rates": "absorbin"}, "did you mean 'absorbing'"),
        ({"classes": 3, "rates": [[-1.0, 1.0], [1.0, -1.0]]}, r"3 x 3 rates; seen the shape \(2, 2\)"),
        ({"classes": 2, "rates": [[1.0, -1.0], [1.0, -1.0]]}, "not negative off the diagonal"),
        ({"classes": 2, "rates": [[-1.0, 2.0], [1.0, -1.0]]}, "every row sums to zero"),
        ({"classes": 2, "rates": [[0.0, 0.0], [0.0, 0.0]]}, "not all zero"),
        ({"classes": 2, "rates": [[-math.inf, math.inf], [1.0, -1.0]]}, "finite"),
        (
            {"classes": 3, "rates": [[-1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]},
            "never forgets where it started",
        ),
        ({"classes": 3, "rates": [[1.0, 2.0], [3.0]]}, "3 x 3 numbers; seen"),
        ({"classes": 3, "rates": {"name": "gauss"}}, "did you mean 'gaussian'"),
        ({"classes": 3, "rates": {"deviation": 2.0}}, "unknown matrix of rates"),
        ({"classes": 3, "rates": {"name": "ring", "deviation": 2.0}}, "'ring' have no option 'deviation'"),
        ({"classes": 3, "rates": {"name": "gaussian", "width": 2.0}}, "no option 'width'.*Allowed: deviation"),
        ({"classes": 3, "rates": {"name": "gaussian", "deviation": 0.0}}, "must be positive; seen 0"),
        ({"classes": 2, "rates": [[1.5, -0.5], [0.5, 0.5]]}, "not negative; seen"),
        ({"classes": 2, "rates": [[0.5, 0.5], [0.5, 0.5]]}, "is singular.*the matrix less the identity"),
        ({"classes": 2, "rates": [[0.1, 0.9], [0.9, 0.1]]}, "no real logarithm"),
        (
            {"classes": 3, "rates": [[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]]},
            r"the rate -0\.0267 from the class 2 to 0",
        ),
        ({"classes": 2, "rates": [[1.0, 0.0], [0.0, 1.0]]}, "not all zero"),
    ],
)
def test_what_is_no_chain_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        CategoricalProcess(**options)


@every_example
def test_what_is_no_state_is_refused(process):
    with pytest.raises(InputError, match=r"tokens are int64; seen torch\.float32"):
        process.noise(torch.zeros(2, 3), scalar(0.5), Seeds.range(0, 2))
    with pytest.raises(InputError, match=f"classes 0 to {process.states - 1}; seen values from -1 to 0"):
        process.noise(torch.tensor([[0, -1]]), scalar(0.5), Seeds.range(0, 1))
    tokens = torch.zeros(1, 2, dtype=torch.int64)
    with pytest.raises(InputError, match="s must not exceed t"):
        process.bridge(tokens, PointPosterior(tokens), scalar(0.2), scalar(0.4), Seeds.range(0, 1))


def test_only_the_absorbing_process_has_a_mask():
    assert CategoricalProcess(3, rates="absorbing").mask_class == 3
    with pytest.raises(InputError, match="only the absorbing process has a mask"):
        _ = CategoricalProcess(3).mask_class


def test_two_jumps_in_a_tiny_time_keep_their_digits():
    """From 0 by 1 to 2 in tau: tau^2/2, where a matrix exponential that is exact to 1e-16 says zero."""
    rates = torch.tensor([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0], [1.0, 0.0, -1.0]], dtype=torch.float64)
    for tau in (1e-30, 1e-12, 1e-4):
        told = transition_matrix(rates, scalar(tau))[0]
        assert told[1].item() == pytest.approx(tau * math.exp(-tau), rel=max(1e-14, tau**2))
        assert told[2].item() == pytest.approx(tau**2 / 2 * math.exp(-tau), rel=max(1e-14, tau**2))


def test_a_very_long_time_keeps_the_row_sums():
    rates = torch.tensor([[-3.0, 3.0], [1e-3, -1e-3]], dtype=torch.float64)
    for tau in (1e3, 1e9, math.inf):
        told = transition_matrix(rates, scalar(tau))
        torch.testing.assert_close(told, torch.tensor([[1.0, 3e3]] * 2, dtype=torch.float64) / 3001, rtol=1e-9, atol=0)
    assert transition_matrix(rates, torch.zeros(0, dtype=torch.float64)).shape == (0, 2, 2)


@every_example
def test_stationary_law_does_not_move(process):
    moved = process.stationary @ process.generator
    torch.testing.assert_close(moved, torch.zeros_like(moved), rtol=0, atol=1e-10)
    assert process.stationary.sum().item() == pytest.approx(1, abs=1e-12)


@every_example
def test_share_that_is_kept_is_the_schedules(process):
    """alpha^2 of the variance-preserving scale; what is not touched is seen as it was, whatever the rates."""
    assert process.kept(0.3).item() == pytest.approx(process.schedule.alpha(0.3).item() ** 2, rel=1e-12)
    assert (-process.clock(0.3)).exp().item() == pytest.approx(process.kept(0.3).item(), rel=1e-12)
    tokens = torch.zeros(20_000, 1, dtype=torch.int64)
    drawn = process.noise(tokens, scalar(0.3), Seeds.range(0, 20_000))
    chance = process.log_forward(tokens[:1], 0.0, 0.3)[0, 0].exp()
    for state in range(process.states):
        assert_count(int((drawn == state).sum()), 20_000, chance[state].item())


@every_example
def test_any_schedule_is_a_clock(process):
    other = CategoricalProcess(process.classes, ExponentialVESchedule(), process.rates)
    tokens = torch.zeros(3, 2, dtype=torch.int64)
    assert torch.equal(other.noise(tokens, scalar(0.0), Seeds.range(0, 3)), tokens)
    assert other.noise(tokens, scalar(1.0), Seeds.range(0, 3)).max() < other.states


@every_example
def test_every_sample_may_have_its_own_time(process):
    tokens = torch.arange(12).reshape(4, 3) % process.classes
    times = torch.tensor([0.0, 0.2, 0.6, 1.0], dtype=torch.float64)
    together = process.log_forward(tokens, times / 2, times)
    for row in range(4):
        alone = process.log_forward(tokens[row : row + 1], times[row] / 2, times[row])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-12, atol=0)
    noisy = process.noise(tokens, times, Seeds.range(0, 4))
    back = process.bridge(noisy, PointPosterior(tokens), times, times / 2, Seeds.range(1, 4))
    assert torch.equal(back[0], tokens[0])


@every_example
@pytest.mark.parametrize(("s", "t"), [(0.2, 0.5), (0.5, 1.0)])
def test_bridge_has_the_probabilities_of_bayes(process, s, t):
    """Every possible pair of x_0 and x_t, by the law of three variables written out."""
    count = 4_000
    first, second = (
        torch.linalg.matrix_exp(process.generator * (process.clock(b) - process.clock(a)).clamp(max=60))
        for a, b in ((0.0, s), (s, t))
    )
    for clean in range(process.classes):
        for noisy in range(process.states):
            joint = first[clean] * second[:, noisy]
            if joint.sum() < 1e-12:
                continue
            x0, xt = (torch.full((count, 1), token) for token in (clean, noisy))
            seeds = Seeds.range(3, count).at("pair", clean, noisy)
            drawn = process.bridge(xt, PointPosterior(x0), scalar(t), scalar(s), seeds)
            for state in range(process.states):
                assert_count(int((drawn == state).sum()), count, (joint[state] / joint.sum()).clamp(0, 1).item())


def test_masked_tokens_stay_masked_and_shown_ones_shown():
    process = EXAMPLES["absorbing"]
    tokens = torch.arange(400).reshape(100, 4) % process.classes
    xs = process.noise(tokens, scalar(0.4), Seeds.range(0, 100))
    xt = process.transition(xs, scalar(0.4), scalar(0.8), Seeds.range(1, 100))
    assert (xt[xs == process.mask_class] == process.mask_class).all()
    back = process.bridge(xt, PointPosterior(tokens), scalar(0.8), scalar(0.4), Seeds.range(2, 100))
    assert torch.equal(back[xt != process.mask_class], tokens[xt != process.mask_class])


@every_example
def test_padded_places_hold_class_zero(process):
    mask = torch.tensor([[True, False]])
    for drawn in (
        process.prior((2,), Seeds.range(0, 1), mask=mask),
        process.noise(torch.ones(1, 2, dtype=torch.int64), scalar(1.0), Seeds.range(0, 1), mask),
    ):
        assert drawn[0, 1] == 0
        assert drawn.dtype == torch.int64


@pytest.mark.parametrize("name", NAMED)
def test_named_rates_are_as_in_a_recipe(name):
    plain, mapped = CategoricalProcess(6, rates=name), CategoricalProcess(6, rates={"name": name})
    assert plain == mapped
    assert plain == CategoricalProcess(6, rates=plain.generator)
    assert plain == CategoricalProcess(6, rates=np.array(plain.rates))


def test_neighbours_go_one_place_at_a_time_and_a_ring_is_closed():
    order, ring = (CategoricalProcess(5, rates=name).generator > 0 for name in ("neighbours", "ring"))
    place = torch.arange(5)
    apart = (place[:, None] - place).abs()
    assert torch.equal(order, apart == 1)
    assert torch.equal(ring, (apart == 1) | (apart == 4))


def test_gaussian_jumps_have_the_ratios_of_a_normal_law():
    rates = gaussian_rates(7, deviation=1.5)
    assert (rates[3, 5] / rates[3, 4]).item() == pytest.approx(math.exp(-3 / (2 * 1.5**2)), rel=1e-12)
    assert torch.equal(CategoricalProcess(16, rates="gaussian").generator, gaussian_rates(16, 2.0))


@every_example
def test_mixture_of_laws_is_their_sum(process):
    times = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    weights = torch.randn(3, 2, process.classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights[:, 0, 1] = -torch.inf
    every = torch.arange(process.classes).expand(3, -1)
    for s, t in ((torch.zeros_like(times), times), (times / 2, times), (times, times), (0.25, 0.5)):
        laws = process.log_forward(every, s, t)[:, None]
        told = process.log_mixture(weights, s, t)
        torch.testing.assert_close(told, (weights[..., None] + laws).logsumexp(-2), rtol=1e-12, atol=1e-12)


def test_mixture_knows_masks_that_are_there_already():
    process = EXAMPLES["absorbing"]
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.0, 0.4]], dtype=torch.float64).log()
    told = process.log_mixture(weights, 0.2, 0.6).exp()
    law = expm(process.generator.numpy() * (process.clock(0.6) - process.clock(0.2)).item())
    np.testing.assert_allclose(told[0], weights[0].exp().numpy() @ law, atol=1e-14)


def test_gradient_goes_through_a_mixture():
    for process in EXAMPLES.values():
        weights = torch.zeros(1, 2, process.classes, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda w, p=process: p.log_mixture(w, 0.0, 0.4), weights)


def test_a_step_that_has_a_logarithm_gives_it_back():
    generator = np.array([[-0.7, 0.4, 0.3], [0.2, -0.2, 0.0], [0.0, 1.1, -1.1]])
    np.testing.assert_allclose(generator_of(torch.from_numpy(expm(generator))).numpy(), generator, atol=1e-12)


class TestBrokenCopies:
    """Each breaks one claim, and the check of that claim sees it."""

    def test_bridge_that_forgets_where_it_stands(self):
        class Mutant(CategoricalProcess):
            def log_backward(self, xt, s, t):
                return super().log_backward(xt, torch.zeros_like(torch.as_tensor(s)), t)

        assert fails(checks.bridge_reverses_the_noise, Mutant(3))

    def test_bridge_that_unmasks_too_early(self):
        class Mutant(CategoricalProcess):
            def _touched(self, t):
                return super()._touched(t).sqrt()

        mutant = Mutant(3, rates="absorbing")
        assert fails(checks.bridge_reverses_the_noise, mutant)

    def test_clock_that_runs_twice_as_fast(self):
        class Mutant(CategoricalProcess):
            def clock(self, t):
                return 2 * super().clock(t)

        assert fails(checks.token_chain_is_generated_by_its_rates, Mutant(3))

    def test_clock_that_is_no_clock(self):
        class Mutant(CategoricalProcess):
            def _gap(self, s, t):
                return super()._gap(s, t).square()

        assert fails(checks.noise_composes, Mutant(3))

    def test_prior_of_another_law(self):
        class Mutant(CategoricalProcess):
            def prior(self, *options, **more):
                return (super().prior(*options, **more) + 1).clamp(max=2)

        assert fails(checks.noise_ends_in_the_prior, Mutant(3))

    def test_rates_with_rows_and_columns_exchanged(self):
        class Mutant(CategoricalProcess):
            def log_forward(self, xs, s, t):
                return super().log_backward(xs, s, t)

        assert fails(
            checks.token_chain_is_generated_by_its_rates, Mutant(3, rates=EXAMPLES["rates of one's own"].rates)
        )

    def test_named_rates_that_forget_at_a_speed_of_their_own(self, monkeypatch):
        monkeypatch.setattr(token_matrices, "slowest_rate", lambda rates: 1.0)
        assert fails(token_checks.named_rates_forget_alike, CategoricalProcess(5))

    def test_logarithm_of_another_matrix(self, monkeypatch):
        original = token_matrices.generator_of
        monkeypatch.setattr(token_matrices, "generator_of", lambda law: 2 * original(law))
        assert fails(token_checks.steps_of_a_matrix_are_its_powers, EXAMPLES["rates of one's own"])

    def test_ratios_without_their_logarithm_in_the_score_entropy(self, monkeypatch):
        monkeypatch.setattr(
            token_checks, "score_entropy", lambda told, true, *rest: (told.exp() - true.exp()).abs().sum(-1)
        )
        assert fails(token_checks.score_entropy_is_least_at_the_truth, CategoricalProcess(3))
