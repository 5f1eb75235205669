"""Noise on the sphere: what it refuses, its density against SciPy and a solved heat equation, and broken copies."""

import math

import numpy as np
import pytest
import torch
from mutants import is_caught
from scipy import special
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation
from thresholds import assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes import sphere_heat_kernel
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.sphere import SphereProcess, arc_between, departure, unit
from unstir.verification.checks import rotations as shared
from unstir.verification.checks import sphere as checks

PROCESS = SphereProcess()


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def some_directions(count, seed=0):
    return torch.from_numpy(Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix()[:, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": CosineSchedule()}, "SphereProcess cannot shrink data.*seen CosineSchedule of scale 'vp'"),
        ({"schedule": ExponentialVESchedule(0.01, 1.0)}, "raise the schedule's sigma_max from .* to about 5 radians"),
    ],
)
def test_what_cannot_stir_directions_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        SphereProcess(**options)


def test_states_are_vectors_of_three():
    with pytest.raises(InputError, match=r"end in the axes \(3,\); seen \(2,\) a sample"):
        PROCESS.noise(torch.zeros(5, 2), scalar(0.5), Seeds.range(0, 5))
    assert PROCESS.contains(scalar([[0.6, 0.8, 0.0], [0.6, 0.8, 0.01]])).tolist() == [True, False]


@pytest.mark.parametrize("sigma", [0.3, 0.8, 1.45, 1.55, 4.0])
def test_density_is_the_legendre_series(sigma):
    angle = torch.linspace(0, min(math.pi, 5 * sigma), 60, dtype=torch.float64)
    order = np.arange(60)[:, None]
    wanted = (
        (2 * order + 1)
        * np.exp(-order * (order + 1) * sigma**2 / 2)
        * special.eval_legendre(order, np.cos(angle.numpy()))
    ).sum(0)
    np.testing.assert_allclose(
        sphere_heat_kernel.log_density(angle, scalar(sigma)).exp(), wanted, rtol=1e-10, atol=1e-14
    )


def test_density_solves_the_heat_equation():
    """dp/dv = (p'' + cot(a) p')/2, by finite volumes and SciPy, whose error is of second order and nothing else."""

    def solved(cells, start=0.6, end=1.3):
        edges = np.linspace(0, np.pi, cells + 1)
        middles, width = (edges[1:] + edges[:-1]) / 2, edges[1]
        volumes = -np.diff(np.cos(edges))

        def slope(v, p):
            flow = np.sin(edges[1:-1]) * np.diff(p) / width
            return (np.append(flow, 0) - np.append(0, flow)) / volumes / 2

        first, exact = (
            sphere_heat_kernel.log_density(torch.from_numpy(middles), scalar(sigma)).exp().numpy()
            for sigma in (start, end)
        )
        result = solve_ivp(slope, (start**2, end**2), first, method="BDF", rtol=1e-9, atol=1e-11)
        return np.abs(result.y[:, -1] - exact).max()

    coarse, fine = solved(80), solved(160)
    assert fine < (np.pi / 160) ** 2 * 2
    assert 3.5 < coarse / fine < 4.5


def test_prior_error_is_the_first_harmonics():
    assert PROCESS.prior_error() == pytest.approx(3 * math.exp(-25 + 1e-4), rel=1e-6)
    assert PROCESS.prior_error(0.6) == pytest.approx(
        math.expm1(sphere_heat_kernel.log_density(scalar(0.0), PROCESS.schedule.sigma(0.6))), rel=1e-12
    )


@pytest.mark.parametrize("sigma", [1e-3, 0.2, 1.0, 2.0])
def test_gradient_of_the_density_is_the_score(sigma):
    angle = torch.linspace(1e-3, 3.1, 40, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(sphere_heat_kernel.log_density(angle, scalar(sigma)).sum(), angle)
    told = sphere_heat_kernel.score(angle.detach(), scalar(sigma))
    # the shares of terms of millions of nats keep nine digits
    torch.testing.assert_close(told, gradient, rtol=1e-8, atol=1e-12)


def test_conditional_score_is_the_gradient_and_tangent():
    x0 = some_directions(50)
    for t in (0.3, 0.6, 0.9):
        xt = PROCESS.noise(x0, scalar(t), Seeds.range(0, 50)).requires_grad_()
        (gradient,) = torch.autograd.grad(PROCESS.log_density(xt, x0, t).sum(), xt)
        told = PROCESS.conditional_score(xt.detach(), x0, t)
        torch.testing.assert_close(told, gradient, rtol=1e-9, atol=1e-9)
        assert ((told * xt.detach()).sum(1).abs() < 1e-9 * (1 + told.norm(dim=1))).all()


def test_arcs_and_departures():
    x, y = some_directions(100), some_directions(100, seed=1)
    arc, away = arc_between(x, y), departure(x, y)
    # further along the great circle by the same arc again is the reflection of x in y
    torch.testing.assert_close(arc.cos()[:, None] * y + arc.sin()[:, None] * away, 2 * (x * y).sum(1)[:, None] * y - x)
    assert unit(torch.zeros(1, 3)).tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize(("first", "second"), [(1e-9, 1e-9), (1e-6, 1e-2), (0.3, 1e-8), (1.49, 1.49), (0.01, math.inf)])
@pytest.mark.parametrize("apart", [0.0, 1e-9, 0.7, 3.1, math.pi])
def test_anything_can_be_bridged(first, second, apart):
    a = scalar([0.0, 0.0, 1.0]).expand(300, 1, 3)
    b = scalar([0.0, math.sin(apart), math.cos(apart)]).expand(300, 1, 3)
    drawn = PROCESS.draw_product(a, scalar(first), b, scalar(second), Seeds.range(0, 300))
    assert PROCESS.contains(drawn).all()
    if apart <= 0.7 and second < 0.1:
        spread = first * second / math.hypot(first, second)
        centre = apart * (first / math.hypot(first, second)) ** 2
        assert_mean((torch.atan2(drawn[..., 1], drawn[..., 2]) - centre) / spread, [0.0])


def test_every_sample_may_have_its_own_time():
    x0, times = some_directions(8).reshape(4, 2, 3), scalar([0.0, 0.2, 0.6, 1.0])
    together = PROCESS.noise(x0, times, Seeds.range(0, 4))
    back = PROCESS.bridge(together, PointPosterior(x0), times, times / 2, Seeds.range(1, 4))
    for row in range(4):
        one = slice(row, row + 1)
        seeds = Seeds.range(0, 4)[one]
        assert torch.equal(together[one], PROCESS.noise(x0[one], times[row], seeds))
        alone = PROCESS.bridge(
            together[one], PointPosterior(x0[one]), times[row], times[row] / 2, Seeds.range(1, 4)[one]
        )
        assert torch.equal(back[one], alone)


def test_padded_places_stay_at_zero():
    x0, mask = some_directions(8).reshape(4, 2, 3), torch.tensor([[True, False]] * 4)
    drawn = PROCESS.noise(x0.where(mask[..., None], 0), scalar(0.6), Seeds.range(0, 4), mask)
    assert (drawn[:, 1] == 0).all()
    assert torch.equal(drawn[:, 0], PROCESS.noise(x0, scalar(0.6), Seeds.range(0, 4))[:, 0])


class FlatStep(SphereProcess):
    """A normal step in the tangent plane, along the great circle: right for little noise only."""

    def draw_product(self, first, first_deviation, second, second_deviation, seeds):
        first = unit(first)
        fresh = first_deviation[..., None] * seeds.normal(first.shape[1:], torch.float64)
        tangent = fresh - (fresh * first).sum(-1, keepdim=True) * first
        arc = tangent.norm(dim=-1, keepdim=True)
        return arc.cos() * first + arc.sin() * tangent / arc


class OneWay(SphereProcess):
    """Of all ways between two points the shortest alone."""

    def draw_product(self, first, first_deviation, second, second_deviation, seeds):
        share = (first_deviation / (first_deviation.square() + second_deviation.square()).sqrt()).square()[..., None]
        middle = unit((1 - share) * unit(first) + share * unit(second) + 1e-6)
        narrow = first_deviation * second_deviation / (first_deviation.square() + second_deviation.square()).sqrt()
        return super().draw_product(middle, narrow, middle, torch.full_like(narrow, torch.inf), seeds)


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (shared.noise_damps_the_harmonics, FlatStep()),
        (checks.sphere_noise_is_rotation_noise_of_a_point, FlatStep()),
        (checks.bridge_between_antipodes_has_no_favourite, OneWay()),
        (shared.bridge_has_the_moments_of_bayes, OneWay()),
    ],
)
def test_broken_copies_are_caught(check, mutant):
    assert is_caught(check, None, mutant)
