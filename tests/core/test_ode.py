"""Per-sample adaptive solving: against closed forms and SciPy, alone and in company, either way, by autograd."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.ode import METHODS, solve
from unstir.core.tableaus import EULER, HEUN, KUTTA_3, MIDPOINT, RUNGE_KUTTA_4

RATES = torch.tensor([0.5, 1.0, 4.0, 30.0], dtype=torch.float64)


def decay(u, y):
    """y' = -rate y + cos u, row by row at its own rate."""
    return -RATES[: len(y), None] * y + torch.cos(u)[:, None]


def van_der_pol(stiffness):
    def slope(u, y):
        return torch.stack((y[:, 1], stiffness * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]), 1)

    return slope


def reference(field, y, start, end):
    rows = []
    for row in y:
        solved = solve_ivp(
            lambda u, v: field(torch.tensor([u]), torch.tensor(v)[None])[0].numpy(),
            (start, end), row.numpy(), method="DOP853", rtol=1e-12, atol=1e-12,
        )  # fmt: skip
        rows.append(torch.tensor(solved.y[:, -1]))
    return torch.stack(rows)


@pytest.mark.parametrize("pair", METHODS.values(), ids=METHODS)
def test_pairs_meet_the_order_conditions(pair):
    """Quadrature conditions up to the order, b and embedded; each row of a sums to its c; the last stage is kept."""
    for row, node in zip(pair.matrix, pair.nodes, strict=True):
        assert math.isclose(sum(row), node, abs_tol=1e-14)
    embedded = [b - e for b, e in zip(pair.weights, pair.error, strict=True)]
    for weights, order in ((pair.weights, pair.order), (embedded, pair.embedded)):
        for power in range(order):
            got = sum(b * c**power for b, c in zip(weights, pair.nodes, strict=True))
            assert math.isclose(got, 1 / (power + 1), abs_tol=1e-14)
        if order >= 3:
            inner = [sum(a * c for a, c in zip(row, pair.nodes, strict=False)) for row in pair.matrix]
            assert math.isclose(sum(b * v for b, v in zip(weights, inner, strict=True)), 1 / 6, abs_tol=1e-14)
    assert abs(sum(pair.error)) < 1e-15 and max(map(abs, pair.error)) > 1e-3
    assert pair.first_same_as_last
    assert not any(tableau.first_same_as_last for tableau in (EULER, MIDPOINT, HEUN, KUTTA_3, RUNGE_KUTTA_4))


@pytest.mark.parametrize("stiffness", [1.0, 6.0])
@pytest.mark.parametrize(
    ("method", "peer", "tolerances"),
    [("dormand-prince", "RK45", (1e-3, 1e-4, 1e-6)), ("bogacki-shampine", "RK23", (1e-2, 1e-3, 1e-5))],
)
def test_it_agrees_with_scipy(method, peer, tolerances, stiffness):
    """Smooth, and stiff enough to vary the steps a hundredfold: the error follows the tolerance down."""
    field = van_der_pol(stiffness)
    y = torch.tensor([[2.0, 0.0], [1.0, 1.0], [-0.5, 0.3]], dtype=torch.float64)
    expected = reference(field, y, 0.0, 2.0)
    errors = []
    for tolerance in tolerances:
        found = solve(field, y, 0.0, 2.0, relative=tolerance, absolute=tolerance, method=method, max_calls=100_000)
        errors.append((found.y - expected).abs().max().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[-1] < 1e3 * tolerance and errors[-1] < errors[0] / 30
    scipy = solve_ivp(
        lambda u, v: field(torch.tensor([u]), torch.tensor(v)[None])[0].numpy(), (0, 2), y[0].numpy(),
        method=peer, rtol=tolerance, atol=tolerance,
    )  # fmt: skip
    assert found.calls[0] < 1.5 * scipy.nfev


def test_calls_and_steps_are_counted():
    asked = []

    def field(u, y):
        asked.append(len(y))
        return decay(u, y)

    y = torch.ones(4, 2, dtype=torch.float64)
    found = solve(field, y, 0.0, 2.0, relative=1e-6, absolute=1e-6)
    assert set(asked) == {4} and int(found.calls.max()) == len(asked)
    assert torch.equal(found.calls, 2 + 6 * (found.accepted + found.rejected))
    assert found.calls[3] > found.calls[0]
    assert bool((found.error > 0).all()) and torch.equal(found.share, torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("control", ["local", "global"])
def test_a_sample_does_not_depend_on_those_beside_it(control):
    y = torch.tensor([[2.0, 0.0], [1.0, 1.0], [-0.5, 0.3], [0.1, 2.5]], dtype=torch.float64)
    options = {"relative": 1e-5, "absolute": 1e-5, "control": control}
    whole = solve(van_der_pol(3.0), y, 0.0, 4.0, **options)
    other = solve(van_der_pol(3.0), torch.cat((y[:1], 3 * y[1:])), 0.0, 4.0, **options)
    assert torch.equal(whole.y[0], other.y[0]) and whole.calls[0] == other.calls[0]
    assert not torch.equal(whole.y[1], other.y[1])
    assert len(whole.calls.unique()) > 1
    alone = solve(van_der_pol(3.0), y[:1], 0.0, 4.0, **options)
    torch.testing.assert_close(alone.y[0], whole.y[0], rtol=1e-9, atol=1e-9)


def test_each_sample_has_its_own_ends_in_either_direction():
    start = torch.tensor([0.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    end = torch.tensor([2.0, 0.0, 1.0, 0.75], dtype=torch.float64)
    y = torch.ones(4, 3, 1, dtype=torch.float64)
    found = solve(lambda u, y: u[:, None, None] * y, y, start, end, relative=1e-10, absolute=1e-10)
    expected = ((end**2 - start**2) / 2).exp()[:, None, None].expand(4, 3, 1)
    torch.testing.assert_close(found.y, expected, rtol=1e-8, atol=1e-8)
    assert found.calls[2] == 0 and torch.equal(found.y[2], y[2])
    nothing = solve(lambda u, y: y / 0, y[:0], 0.0, 1.0, relative=1e-3, absolute=1e-3)
    assert nothing.y.shape == (0, 3, 1) and nothing.calls.shape == (0,)


def test_going_back_returns():
    y = torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    there = solve(van_der_pol(1.0), y, 0.0, 2.0, relative=1e-10, absolute=1e-10)
    back = solve(van_der_pol(1.0), there.y, 2.0, 0.0, relative=1e-10, absolute=1e-10, first_step=there.step)
    torch.testing.assert_close(back.y, y, rtol=1e-7, atol=1e-7)


def test_single_precision_stays_so():
    found = solve(decay, torch.ones(4, 1), 0.0, 1.0, relative=1e-4, absolute=1e-4)
    assert found.y.dtype == torch.float32
    exact = solve(decay, torch.ones(4, 1, dtype=torch.float64), 0.0, 1.0, relative=1e-10, absolute=1e-10)
    assert (found.y - exact.y).abs().max() < 1e-3


def test_global_control_honours_the_tolerance_where_errors_grow():
    """y' = rate (y - cos u) - sin u follows cos u and multiplies what is beside it by exp(rate u), 1 to 20,000."""
    rates = torch.linspace(0, 10, 24, dtype=torch.float64)[:, None]

    def field(u, y):
        return rates * (y - torch.cos(u)[:, None]) - torch.sin(u)[:, None]

    y = torch.ones(24, 1, dtype=torch.float64)
    for tolerance in (1e-2, 1e-4, 1e-6):
        options = {"relative": 0.0, "absolute": tolerance}
        plain, honest = (solve(field, y, 0.0, 1.0, control=control, **options) for control in ("local", "global"))
        assert (honest.y - math.cos(1.0)).square().mean().sqrt() <= 3 * tolerance
        assert bool((honest.error <= 1).all())
        assert honest.share[-1] < honest.share[0] / 10
    assert (plain.y - math.cos(1.0)).square().mean().sqrt() > 10 * tolerance


@pytest.mark.parametrize("control", ["local", "global"])
def test_gradients_agree_with_finite_differences(control):
    rate = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[0.7, -0.2], [1.1, 0.4]], dtype=torch.float64, requires_grad=True)

    def end(y, rate):
        def field(u, y):
            return torch.sin(rate * y) + 0.3 * torch.cos(u)[:, None] * y.flip(1)

        options = {"relative": 1e-9, "absolute": 1e-9, "control": control}
        return solve(field, y, 0.0, torch.tensor([1.5, 0.5], dtype=torch.float64), **options).y.square().sum()

    by_state, by_rate = torch.autograd.grad(end(y, rate), (y, rate))
    small = 1e-5
    with torch.no_grad():
        difference = (end(y, rate + small) - end(y, rate - small)) / (2 * small)
        assert math.isclose(by_rate.item(), difference.item(), rel_tol=1e-5)
        for place in np.ndindex(2, 2):
            moved = torch.zeros(2, 2, dtype=torch.float64)
            moved[place] = small
            difference = (end(y + moved, rate) - end(y - moved, rate)) / (2 * small)
            assert math.isclose(by_state[place].item(), difference.item(), rel_tol=1e-5, abs_tol=1e-7)


def test_a_refused_trial_leaves_no_trace_in_the_gradient():
    """The first trial leaves the domain of the root and is taken again, shorter: values and gradients stay finite."""
    y = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    trial = torch.tensor([1.0], dtype=torch.float64)
    found = solve(lambda u, y: -y.sqrt() * 1.9, y, 0.0, 1.0, relative=1e-8, absolute=1e-8, first_step=5 * trial)
    (gradient,) = torch.autograd.grad(found.y.sum(), y)
    assert found.rejected[0] > 0
    torch.testing.assert_close(found.y.detach(), torch.full((1, 1), 0.05**2, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient, torch.full((1, 1), 0.05, dtype=torch.float64), rtol=1e-3, atol=1e-6)


def test_what_cannot_be_followed_is_named():
    rows = torch.tensor([[1.0], [0.1], [3.0]], dtype=torch.float64)
    with pytest.raises(NonFiniteError, match=r"2 of 3 samples cannot be followed, rows 0, 2"):
        solve(lambda u, y: torch.where(y > 0.5, torch.nan, y), rows, 0.0, 1.0, relative=1e-3, absolute=1e-3)
    with pytest.raises(NonFiniteError, match=r"1 of 3 samples cannot be followed, rows 2; .* shrunk to nothing"):
        solve(lambda u, y: y * (y > 2) * y, rows, 0.0, 1.0, relative=1e-3, absolute=1e-3)
    with pytest.raises(InputError, match=r"1 samples, row 0 .*max_calls, now 50"):
        solve(lambda u, y: 50 * torch.cos(100 * u)[:, None] * y, rows[:1], 0.0, 9.0, relative=0.0, absolute=1e-6, max_calls=50)  # noqa: E501  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "euler"}, "unknown method of solution 'euler'"),
        ({"control": "total"}, "unknown error control 'total'"),
        ({"relative": 0.0, "absolute": 0.0}, "seen both zero"),
        ({"absolute": -1.0}, "absolute tolerance must be .* not below zero"),
        ({"absolute": torch.ones(3)}, "absolute tolerance must be"),
        ({"relative": math.nan}, "relative tolerance must be"),
        ({"end": torch.ones(3)}, "the end must be one finite number or one for each of the 4 samples"),
        ({"start": math.inf}, "the start must be one finite number"),
        ({"first_step": torch.ones(2)}, "the first_step must be"),
        ({"y": torch.ones(4, 1, dtype=torch.int64)}, "y must be a tensor of real numbers, batch first"),
    ],
)
def test_bad_options_are_refused(options, message):
    whole = {"y": torch.ones(4, 1), "start": 0.0, "end": 1.0, "relative": 1e-3, "absolute": 1e-3, **options}
    with pytest.raises(InputError, match=message):
        solve(decay, whole.pop("y"), whole.pop("start"), whole.pop("end"), **whole)
