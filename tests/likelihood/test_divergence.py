import math

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from unstir import Seeds
from unstir.core.errors import InputError
from unstir.likelihood import divergence as module
from unstir.likelihood.divergence import LARGEST_EXACT, METHODS, TraceEstimator, chosen_method, divergence
from unstir.networks.transformer import DiffusionTransformer
from unstir.verification.references import stirred

ESTIMATES = [method for method in METHODS if method not in ("auto", "exact")]


def linear(size, seed=0, symmetric=False):
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (matrix + matrix.T) / 2 if symmetric else matrix


def wavy(x):
    """A field with a Jacobian that differs from place to place."""
    return torch.sin(x * 1.3) * x.flatten(1).square().mean(1).reshape(-1, *[1] * (x.ndim - 1))


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 4), (2, 3, 2)])
def test_the_exact_trace_is_that_of_the_whole_jacobian(shape):
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value, error = divergence(wavy, x, "exact")
    size = math.prod(shape)
    expected = [torch.func.jacrev(lambda one: wavy(one[None])[0])(row).reshape(size, size).trace() for row in x]
    assert_close(value, torch.stack(expected))
    assert_close(error, torch.zeros(5, dtype=torch.float64))


def test_chunks_of_vectors_change_nothing(monkeypatch):
    x = torch.randn(5, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = {method: divergence(wavy, x, method, 6) for method in METHODS}
    monkeypatch.setattr(module, "_AT_ONCE", {"cpu": 2 * x.numel(), "other": 1})
    for method in METHODS:
        assert_close(divergence(wavy, x, method, 6), whole[method])


def test_a_derivative_that_knows_no_batches_is_taken_one_by_one():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient if gradient.isfinite().all().item() else gradient

    x = torch.ones(3, 4, dtype=torch.float64)
    for method in ("exact", "hutchinson", "hutch++"):
        assert_close(divergence(Double.apply, x, method, 3)[0], torch.full((3,), 8.0, dtype=torch.float64))


@pytest.mark.parametrize("method", ESTIMATES)
def test_estimates_are_unbiased_and_their_errors_are_students(method):
    size, count, probes = 20, 4000, 10
    matrix = linear(size)
    x = torch.zeros(count, size, dtype=torch.float64)
    value, error = divergence(lambda x: x @ matrix.T, x, method, probes)
    miss = value - matrix.trace()
    assert abs(miss.mean()) < 5 * miss.std() / count**0.5
    # chi-square on probes - 1 degrees in each of the samples, and the spread over samples
    ratio = error.square().mean() / miss.var()
    assert abs(ratio - 1) < 5 * math.sqrt(2 / count + 3 / (count * (probes - 1)))
    inside = (miss.abs() < stats.t(probes - 1).ppf(0.95) * error).double().mean()
    assert abs(inside - 0.9) < 5 * math.sqrt(0.9 * 0.1 / count) + 0.01  # entries are normal to about a hundredth


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_a_multiple_of_the_unit_matrix_costs_no_variance(method):
    x = torch.ones(4, 30, dtype=torch.float64)
    value, error = divergence(lambda x: 3.5 * x, x, method, 4)
    assert_close(value, torch.full((4,), 105.0, dtype=torch.float64))
    assert_close(error, torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)


def test_sketches_catch_a_few_directions_that_differ():
    """A matrix of rank 5 beside a multiple of the unit matrix: 12 sketches leave nothing to estimate."""
    tall = linear(40)[:, :5]
    matrix = 7 * torch.eye(40, dtype=torch.float64) + tall @ tall.T
    x = torch.zeros(3, 40, dtype=torch.float64)
    value, error = divergence(lambda x: x @ matrix, x, "hutch++", 12)
    assert_close(value, matrix.trace().expand(3))
    plain = divergence(lambda x: x @ matrix, x, "hutchinson", 36)[1]
    assert bool((error < 1e-6 * plain).all())


def test_as_many_sketches_as_elements_are_exact():
    matrix = linear(4)
    x = torch.zeros(2, 4, dtype=torch.float64)
    value, error = divergence(lambda x: x @ matrix, x, "hutch++", 9)
    assert_close(value, matrix.trace().expand(2))
    assert_close(error, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_has_the_same_trace_alone(method):
    x = torch.randn(6, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    seeds = Seeds.range(5, 6)
    together = divergence(wavy, x, method, 4, seeds)[0]
    alone = torch.cat([divergence(wavy, x[[row]], method, 4, seeds[row : row + 1])[0] for row in range(6)])
    assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_probes_differ_by_sample_and_by_seed():
    x = torch.ones(2, 12, dtype=torch.float64)
    matrix = linear(12)
    first = divergence(lambda x: x @ matrix, x, "hutchinson", 4, Seeds.range(0, 2))[0]
    other = divergence(lambda x: x @ matrix, x, "hutchinson", 4, Seeds.range(1, 2))[0]
    assert len({*first.tolist(), *other.tolist()}) == 4


@pytest.mark.parametrize("method", METHODS)
def test_padded_elements_have_no_part(method):
    """The same as the trace of the elements that exist; a set of one element too."""
    matrix = linear(6, symmetric=True)
    mask = torch.tensor([[True] * 6, [True, True, True, False, False, False], [True] + [False] * 5])
    x = torch.zeros(3, 6, 2, dtype=torch.float64)
    value, error = divergence(lambda x: torch.einsum("nm,bmc->bnc", matrix, x), x, method, 8, mask=mask)
    expected = 2 * torch.stack([matrix[:k, :k].trace() for k in (6, 3, 1)])
    reach = stats.t(7).isf(1e-5) * error + 1e-9
    assert bool(((value - expected).abs() <= reach).all())
    if method == "hutch++":  # three elements of two numbers each, and 8 sketches: nothing is left
        assert_close(value[1:], expected[1:])


def test_traces_of_a_transformer_agree_by_all_methods():
    with torch.random.fork_rng(devices=[]):
        network = stirred(DiffusionTransformer((2, 8), width=16, depth=1, head_width=8))
    level = torch.zeros(2)
    x = torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(0))

    def field(x):
        return network(x, level)

    exact = divergence(field, x, "exact")[0]
    for method in ("hutchinson", "hutch++"):
        value, error = divergence(field, x, method, 12)
        assert bool(((value - exact).abs() < stats.t(11).isf(1e-5) * error + 1e-4).all())
    assert all(weight.grad is None for weight in network.parameters())


def test_the_trace_is_differentiable_in_state_and_weights():
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    estimator = TraceEstimator.plan(x, "exact", 2)
    trace = estimator(lambda x: (weight * x).sin(), x, differentiable=True)[1]
    by_weight, by_x = torch.autograd.grad(trace.sum(), (weight, x))
    turned = (weight * x).detach()
    assert_close(by_weight, (turned.cos() - turned * turned.sin()).sum())
    assert_close(by_x, -(weight**2).detach() * turned.sin())


def test_a_constant_field_has_no_divergence():
    value, error = divergence(lambda x: torch.ones_like(x), torch.zeros(2, 3), "hutchinson", 2)
    assert value.tolist() == error.tolist() == [0.0, 0.0]


def test_auto_is_exact_up_to_a_size():
    assert chosen_method("auto", LARGEST_EXACT) == "exact"
    assert chosen_method("auto", LARGEST_EXACT + 1) == "hutch++"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "hutch"}, "did you mean"),
        ({"method": "hutchinson", "probes": 1}, "at least 2 probes"),
        ({"method": "hutchinson", "seeds": Seeds.range(0, 3)}, "3 seeds for a batch of 2"),
        ({"method": "exact", "mask": torch.ones(2, 5, dtype=torch.bool)}, "a mask is boolean"),
        ({"method": "exact", "mask": torch.ones(2, 4)}, "a mask is boolean"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        divergence(wavy, torch.zeros(2, 4), **options)


def test_bad_states_and_fields_are_refused():
    with pytest.raises(InputError, match="tensor of real numbers"):
        divergence(wavy, torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(InputError, match="tensor of real numbers"):
        divergence(wavy, torch.zeros(4))
    with pytest.raises(InputError, match="shape of the state"):
        divergence(lambda x: x[:, :2], torch.zeros(2, 4))
