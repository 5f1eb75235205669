"""Noise on the torus: what it refuses, its density against quadrature, its bridge, and broken copies that must fail."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from thresholds import assert_distribution

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes import wrapped_normal
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.verification.base import Effort
from unstir.verification.checks import processes as checks

UNIT = WrappedProcess(ExponentialVESchedule(0.01, 2.0))


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def fails(check, process, quick=True):
    return not all(figure.passed for figure in check(process, Effort(quick)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": CosineSchedule()}, "scale must be 've'.*seen CosineSchedule of scale 'vp'"),
        ({"period": 0}, "positive and finite; seen 0"),
        ({"period": (1.0, math.inf)}, "positive and finite"),
        ({"period": ()}, "positive and finite"),
        (
            {"schedule": ExponentialVESchedule(0.01, 10.0), "period": 360.0},
            "raise the schedule's sigma_max from .* to about 360",
        ),
    ],
)
def test_what_is_no_torus_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        WrappedProcess(**options)


def test_periods_belong_to_the_last_axis():
    process = WrappedProcess(period=(1.0, 2.0))
    with pytest.raises(InputError, match=r"2 periods need a last axis of 2; the state's shape is \(4, 3\)"):
        process.noise(torch.zeros(4, 3), scalar(0.5), Seeds.range(0, 4))
    assert process.prior((5, 2), Seeds.range(0, 400)).amax((0, 1)).tolist() == pytest.approx([1.0, 2.0], abs=0.01)


def test_time_is_not_turned_round():
    x = torch.zeros(2, 1)
    with pytest.raises(InputError, match="s must not exceed t"):
        UNIT.bridge(x, PointPosterior(x), scalar(0.3), scalar(0.4), Seeds.range(0, 2))
    with pytest.raises(InputError, match="s must not exceed t"):
        UNIT.transition(x, scalar(0.4), scalar(0.3), Seeds.range(0, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wrapping_never_reaches_the_period(dtype):
    """The remainder of a tiny negative number rounds to the period itself."""
    x = torch.tensor([-1e-30, -1e-9, 0.0, 1.0, 2.5], dtype=dtype)
    wrapped = wrapped_normal.wrap(x, 1.0)
    assert ((wrapped >= 0) & (wrapped < 1)).all()
    assert wrapped[-1] == 0.5


def test_noise_may_be_infinite():
    """The cosine curve in the exploding scale ends at infinite noise: uniform, and no NaN."""
    process = WrappedProcess(CosineSchedule(scale="ve"))
    x0 = torch.full((20_000, 1), 0.2, dtype=torch.float64)
    xt = process.noise(x0, scalar(1.0), Seeds.range(0, 20_000))
    assert_distribution(xt, stats.uniform.cdf)
    xs = process.bridge(xt, PointPosterior(x0), scalar(1.0), scalar(0.05), Seeds.range(1, 20_000))
    sigma = process.schedule.sigma(0.05).item()
    assert_distribution(wrapped_normal.shortest(xs - 0.2, 1.0), stats.norm(0, sigma).cdf)


def test_prior_error_falls_as_the_theta_series_says():
    """Jacobi's theta: 2 sum exp(-2 pi^2 rho^2 k^2), at rho = 1 and 2."""
    assert UNIT.prior_error() == pytest.approx(2 * math.exp(-8 * math.pi**2), rel=1e-9)
    unit = WrappedProcess(ExponentialVESchedule(0.01, 1.0))
    assert unit.prior_error() == pytest.approx(2 * math.exp(-2 * math.pi**2 * (1 - 1e-4)), rel=1e-6)


@pytest.mark.parametrize("deviation", [1e-4, 0.05, 0.39, 0.41, 0.8, math.inf])
def test_density_is_differentiable_and_its_gradient_is_the_score(deviation):
    distance = torch.linspace(-1.7, 1.6, 34, dtype=torch.float64).requires_grad_()
    spread = torch.full_like(distance, deviation).detach()
    logs = wrapped_normal.log_density(distance, spread, 1.3)
    (gradient,) = torch.autograd.grad(logs.sum(), distance)
    told = wrapped_normal.score(distance.detach(), spread, 1.3)
    torch.testing.assert_close(told, gradient, rtol=1e-9, atol=1e-12 * max(1.0, gradient.abs().max().item()))


@pytest.mark.parametrize("spreads", [(0.1, 0.2), (0.02, 1.0), (1.4, 1.2), (0.3, 2.5), (2.5, 0.3), (2.5, math.inf)])
def test_product_of_two_densities_is_the_mixture_over_windings(spreads):
    first, second, grid = scalar(0.15), scalar(0.8), torch.linspace(0, 1, 41, dtype=torch.float64)[:-1]
    shares, centres, deviation = wrapped_normal.product(first, scalar(spreads[0]), second, scalar(spreads[1]), 1.0)
    logs = wrapped_normal.log_density(grid[:, None] - centres, deviation[..., None])
    told = (shares + logs).logsumexp(-1).exp()

    def factors(y):
        return math.exp(
            sum(
                wrapped_normal.log_density(scalar(y - place), scalar(float(spread))).item()
                for place, spread in zip((0.15, 0.8), spreads, strict=True)
            )
        )

    total = integrate.quad(factors, 0, 1, points=[0.15, 0.8], epsabs=1e-12, epsrel=1e-11, limit=200)[0]
    wanted = torch.tensor([factors(y) / total for y in grid.tolist()], dtype=torch.float64)
    torch.testing.assert_close(told, wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("s", "t"), [(0.7, 0.8), (0.82, 0.86), (0.5, 0.75)])
def test_bridge_has_the_density_of_bayes(s, t):
    """At noise of about a period, where the way round counts; the density by quadrature."""
    count, x0, xt = 20_000, 0.1, 0.62
    grid = np.linspace(0, 1, 4001)
    there = torch.from_numpy(grid)
    sigma_s, sigma_t = UNIT.schedule.sigma(s), UNIT.schedule.sigma(t)
    logs = wrapped_normal.log_density(there - x0, sigma_s) + wrapped_normal.log_density(
        xt - there, (sigma_t.square() - sigma_s.square()).sqrt()
    )
    density = logs.exp().numpy()
    cdf = integrate.cumulative_simpson(density, x=grid, initial=0)
    start, seen = (torch.full((count, 1), place, dtype=torch.float64) for place in (x0, xt))
    drawn = UNIT.bridge(seen, PointPosterior(start), scalar(t), scalar(s), Seeds.range(5, count))
    assert_distribution(drawn, lambda y: np.interp(y, grid, cdf / cdf[-1]))


def test_every_sample_may_have_its_own_time():
    x0 = torch.full((4, 2), 0.3, dtype=torch.float64)
    times = torch.tensor([0.0, 0.2, 0.6, 1.0], dtype=torch.float64)
    together = UNIT.noise(x0, times, Seeds.range(0, 4))
    back = UNIT.bridge(together, PointPosterior(x0), times, times / 2, Seeds.range(1, 4))
    for row in range(4):
        seeds = Seeds(0, torch.tensor([row]))
        assert torch.equal(together[row : row + 1], UNIT.noise(x0[:1], times[row], seeds))
        one = UNIT.bridge(
            together[row : row + 1], PointPosterior(x0[:1]), times[row], times[row] / 2, Seeds(1, seeds.samples)
        )
        assert torch.equal(back[row : row + 1], one)


def test_padded_places_stay_zero():
    mask = torch.tensor([[True, False, True]])
    x = UNIT.noise(torch.full((1, 3), 0.5), scalar(0.9), Seeds.range(0, 1), mask)
    assert x[0, 1] == 0
    assert UNIT.prior((3,), Seeds.range(0, 1), mask=mask)[0, 1] == 0


class TestBrokenCopies:
    """Each breaks one claim, and the check of that claim sees it."""

    def test_bridge_that_knows_of_no_windings(self, monkeypatch):
        monkeypatch.setattr(wrapped_normal, "_WINDINGS", 0)
        assert fails(checks.bridge_reverses_the_noise, UNIT)

    def test_transition_with_all_of_the_noise(self):
        class Mutant(WrappedProcess):
            def transition(self, xs, s, t, seeds, mask=None):
                return super().transition(xs, torch.zeros_like(s), t, seeds, mask)

        assert fails(checks.noise_composes, Mutant(UNIT.schedule))

    def test_prior_on_half_of_the_circle(self):
        class Mutant(WrappedProcess):
            def prior(self, *options, **more):
                return super().prior(*options, **more) / 2

        assert fails(checks.noise_ends_in_the_prior, Mutant(UNIT.schedule))

    def test_state_that_leaves_the_torus(self):
        class Mutant(WrappedProcess):
            def noise(self, x0, t, seeds, mask=None):
                return super().noise(x0, t, seeds, mask) - 0.5

        assert fails(checks.state_stays_in_its_space, Mutant(UNIT.schedule))

    def test_draws_that_depend_on_the_batch(self):
        class Mutant(WrappedProcess):
            def noise(self, x0, t, seeds, mask=None):
                return super().noise(x0, t, Seeds.range(seeds.seed, len(seeds)), mask)

        assert fails(checks.sample_is_the_same_in_any_batch, Mutant(UNIT.schedule))

    def test_series_cut_short(self, monkeypatch):
        monkeypatch.setattr(wrapped_normal, "_DIRECT_TERMS", 1)
        assert fails(checks.wrapped_normal_is_the_theta_function, UNIT)
