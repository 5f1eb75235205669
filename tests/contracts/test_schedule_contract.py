"""What every noise schedule of the catalogue keeps, in every scale that it offers."""

import dataclasses
import itertools

import pytest
import torch
from schedules import SCHEDULES
from scipy.integrate import solve_ivp

from unstir.core.errors import InputError
from unstir.processes.schedules.base import SCALES, alpha_at, check_scale, sigma_at

INSIDE = torch.linspace(0, 1, 2003, dtype=torch.float64)[1:-1]
EPSILON = torch.finfo(torch.float64).eps

every = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def meets_its_scale(scale, alpha, sigma):
    return {
        "vp": alpha.square() + sigma.square(),
        "ve": alpha,
        "flow": alpha + sigma,
        "sub-vp": alpha.square() + sigma,
    }[scale]


@every
def test_starts_clean_and_only_loses_signal(schedule):
    assert schedule.log_snr(0.0) == torch.inf
    assert schedule.alpha(0.0) == 1
    assert schedule.sigma(0.0) == 0
    log_snr = schedule.log_snr(torch.cat((torch.tensor([1e-9, 1e-6, 1e-4]), INSIDE)))
    assert log_snr.isfinite().all()
    assert (log_snr.diff() < 0).all()
    assert (schedule.log_snr_derivative(INSIDE) < 0).all()
    assert schedule.log_snr(1.0) < log_snr[-1]


@every
def test_scale_constraint(schedule):
    times = torch.cat((torch.zeros(1), INSIDE, torch.ones(1)))
    kept = meets_its_scale(schedule.scale, schedule.alpha(times), schedule.sigma(times))
    torch.testing.assert_close(kept, torch.ones_like(kept), rtol=0, atol=4 * EPSILON)
    ratio = schedule.alpha(INSIDE) / schedule.sigma(INSIDE)
    torch.testing.assert_close(2 * ratio.log(), schedule.log_snr(INSIDE), rtol=1e-12, atol=1e-12)


@every
def test_time_inverts_log_snr_to_rounding(schedule):
    """Both ways, to some roundings, which the slope magnifies: beyond bounds where 1 - t has lost its digits."""
    levels = torch.linspace(-20, 20, 801, dtype=torch.float64)
    levels = levels[levels > schedule.log_snr(1.0 - 1e-9)]
    assert len(levels) > 200, "the schedule hardly reaches any noise level"
    times = schedule.time(levels)
    allowed = 64 * EPSILON * (1 + levels.abs() - schedule.log_snr_derivative(times) * times)
    assert ((schedule.log_snr(times) - levels).abs() <= allowed).all()

    slope = schedule.log_snr_derivative(INSIDE).abs()
    back = schedule.time(schedule.log_snr(INSIDE))
    allowed = 64 * EPSILON * (INSIDE + (1 + schedule.log_snr(INSIDE).abs()) / slope)
    assert ((back - INSIDE).abs() <= allowed).all()


@every
def test_time_is_clipped_at_the_ends(schedule):
    assert schedule.time(torch.inf) == 0
    assert schedule.time(schedule.log_snr(1.0)).item() == pytest.approx(1, abs=1e-12)
    assert schedule.time(-torch.inf) == 1
    assert schedule.time_at_sigma(0.0) == 0
    ratio = schedule.sigma(0.3) / schedule.alpha(0.3)
    assert schedule.time_at_sigma(ratio).item() == pytest.approx(0.3, abs=1e-12)


@every
def test_derivative_is_that_of_the_curve(schedule):
    """By automatic differentiation, between the nodes of the discrete schedule."""
    times = INSIDE.clone().requires_grad_()
    (slope,) = torch.autograd.grad(schedule.log_snr(times).sum(), times)
    torch.testing.assert_close(schedule.log_snr_derivative(INSIDE), slope, rtol=1e-9, atol=0)


@every
def test_derivatives_of_alpha_and_sigma(schedule):
    """The same from automatic differentiation of alpha(log-SNR(t)); both go through other formulas in the code."""
    times = INSIDE[20:-20].clone().requires_grad_()
    for function, derivative in (
        (schedule.alpha, schedule.alpha_derivative),
        (schedule.sigma, schedule.sigma_derivative),
    ):
        value = function(times)
        slope = torch.autograd.grad(value.sum(), times)[0] if value.requires_grad else torch.zeros_like(times)
        torch.testing.assert_close(derivative(times.detach()), slope, rtol=1e-8, atol=1e-13)


@every
def test_drift_and_diffusion_carry_the_moments(schedule):
    """d mean/dt = f mean and d var/dt = 2 f var + g^2, integrated, end at alpha and sigma."""
    first, last = 0.02, 0.98

    def slopes(t, moments):
        drift, diffusion = schedule.drift(t).item(), schedule.diffusion(t).item()
        return [drift * moments[0], 2 * drift * moments[1] + diffusion**2]

    start = [schedule.alpha(first).item(), schedule.sigma(first).item() ** 2]
    # the discrete schedule's rate jumps at its nodes; the solver is started anew in each piece
    pieces = len(schedule.betas) if hasattr(schedule, "betas") else 1
    edges = [first, *(k / pieces for k in range(1, pieces)), last]
    moments = start
    for left, right in itertools.pairwise(edge for edge in edges if first <= edge <= last):
        inside = (left + 1e-13 * (pieces > 1), right - 1e-13 * (pieces > 1))
        moments = solve_ivp(slopes, inside, moments, method="DOP853", rtol=1e-10, atol=0).y[:, -1]
    assert moments[0] == pytest.approx(schedule.alpha(last).item(), rel=1e-8)
    assert moments[1] == pytest.approx(schedule.sigma(last).item() ** 2, rel=1e-8)


@every
def test_any_shape_dtype_and_number_is_a_time(schedule):
    for function in (schedule.alpha, schedule.sigma, schedule.log_snr, schedule.drift, schedule.diffusion):
        several = function(torch.tensor([[0.25, 0.5, 0.75]], dtype=torch.float32))
        assert several.shape == (1, 3)
        assert several.dtype == torch.float64
        assert several[0, 1] == function(0.5)
        assert function(torch.tensor(0.5)).shape == ()


@every
def test_coefficients_are_finite_at_both_ends(schedule):
    derived = (schedule.drift, schedule.diffusion, schedule.alpha_derivative, schedule.sigma_derivative)
    for t in (0.0, 1.0):
        assert schedule.alpha(t).isfinite()
        assert all(function(t).isfinite() for function in derived)
    # without a bound on sigma, a curve that forgets the data altogether has infinite noise
    unbounded = schedule.scale == "ve" and schedule.log_snr(1.0) == -torch.inf
    assert schedule.sigma(1.0).isinf() if unbounded else schedule.sigma(1.0).isfinite()


@every
def test_a_schedule_is_a_value(schedule):
    copy = dataclasses.replace(schedule)
    assert copy == schedule
    assert hash(copy) == hash(schedule)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.scale = "vp"


@pytest.mark.parametrize("scale", SCALES)
def test_scales_are_exact_at_both_infinities(scale):
    ends = torch.tensor([torch.inf, -torch.inf], dtype=torch.float64)
    assert alpha_at(scale, ends).tolist() == ([1, 1] if scale == "ve" else [1, 0])
    assert sigma_at(scale, ends).tolist() == ([0, torch.inf] if scale == "ve" else [0, 1])


def test_an_unknown_scale_is_refused():
    with pytest.raises(InputError, match="unknown scale of a schedule 'sub_vp'; did you mean 'sub-vp'"):
        check_scale("sub_vp")
