"""Noise in an interval: what it refuses, the numbers of others, and broken copies that must fail."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mutants import is_caught, misses
from scipy import integrate, stats
from thresholds import assert_distribution

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.interval import ReflectedPosterior
from unstir.denoisers.learned.interval import IntervalDenoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.reflected import ReflectedMixtureDenoiser
from unstir.processes import reflected_normal
from unstir.processes.reflected import ReflectedProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.verification.checks import processes as checks
from unstir.verification.checks import reflected as own_checks

UNIT = ReflectedProcess(ExponentialVESchedule(0.01, 2.0))


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": CosineSchedule()}, "scale must be 've'.*seen CosineSchedule of scale 'vp'"),
        ({"low": 1.0}, "finite ends, low < high; seen 1.0 and 1.0"),
        ({"high": math.inf}, "finite ends"),
        ({"low": (0.0, 0.0), "high": (1.0, 1.0, 1.0)}, "as many lower as upper ends are needed; seen 2 and 3"),
        ({"high": 255.0}, "raise the schedule's sigma_max from 5 to about 510"),
    ],
)
def test_what_is_no_interval_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        ReflectedProcess(**options)


def test_intervals_belong_to_the_last_axis():
    process = ReflectedProcess(ExponentialVESchedule(0.01, 50.0), (0.0, -1.0), (1.0, 9.0))
    with pytest.raises(InputError, match=r"2 intervals need a last axis of 2; the state's shape is \(4, 3\)"):
        process.noise(torch.zeros(4, 3), scalar(0.5), Seeds.range(0, 4))
    drawn = process.prior((5, 2), Seeds.range(0, 400))
    assert drawn.amax((0, 1)).tolist() == pytest.approx([1.0, 9.0], abs=0.05)
    assert drawn.amin((0, 1)).tolist() == pytest.approx([0.0, -1.0], abs=0.05)


def test_time_is_not_turned_round():
    x = torch.zeros(2, 1)
    with pytest.raises(InputError, match="s must not exceed t"):
        UNIT.bridge(x, PointPosterior(x), scalar(0.3), scalar(0.4), Seeds.range(0, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_never_leaves_the_interval(dtype):
    process = ReflectedProcess(ExponentialVESchedule(0.01, 2.0), 0.1, 0.7)
    y = torch.cat((torch.linspace(-5, 5, 20_001, dtype=torch.float64), torch.tensor([-1e-30, 1e-30]).double()))
    folded = process.folded(y[:, None], torch.zeros(len(y), 1, dtype=dtype))
    assert folded.dtype == dtype
    assert process.contains(folded).all()


def test_noise_solves_the_heat_equation_without_flow_through_the_ends():
    """d f/d(sigma^2/2) = f'', and f' = 0 at both ends: by central differences of the density."""
    x = torch.linspace(0.0, 1.0, 2001, dtype=torch.float64)
    centre, h = scalar(0.2), 1e-3

    def density(variance):
        return reflected_normal.log_density(x, centre, scalar(variance**0.5), 1.0).exp()

    rate = (density(0.04 + h * 0.04) - density(0.04 - h * 0.04)) / (h * 0.04)  # of half the variance
    f, step = density(0.04), (x[1] - x[0]).item()
    curvature = (f[2:] - 2 * f[1:-1] + f[:-2]) / step**2
    assert (rate[1:-1] - curvature).abs().max() < 1e-4 * curvature.abs().max()
    assert max(abs(f[1] - f[0]), abs(f[-1] - f[-2])) / step < 2e-2 * (f.diff().abs().max() / step)


@pytest.mark.parametrize("deviation", [0.01, 0.05, 0.59, 0.61, 0.79, 0.81, 3.0, math.inf])
def test_score_is_the_gradient_and_mean_the_integral(deviation):
    x = torch.linspace(0.0, 2.0, 41, dtype=torch.float64).requires_grad_()
    spread = scalar(deviation).expand(41)
    logs = reflected_normal.log_density(x, scalar(0.3), spread, 2.0)
    (gradient,) = torch.autograd.grad(logs.sum(), x)
    told = reflected_normal.score(x.detach(), scalar(0.3), spread, 2.0)
    torch.testing.assert_close(told, gradient, rtol=1e-8, atol=1e-10 * max(1.0, gradient.abs().max().item()))

    def weighted(y):
        return y * reflected_normal.log_density(scalar(y), scalar(0.3), scalar(deviation), 2.0).exp().item()

    wanted = integrate.quad(weighted, 0, 2, points=[0.3], epsabs=1e-11, limit=200)[0]
    assert reflected_normal.mean(scalar(0.3), scalar(deviation), 2.0).item() == pytest.approx(wanted, abs=1e-9)


def test_noise_has_the_density_of_scipys_folded_normal():
    """Far from the upper end a reflected normal is SciPy's folded one."""
    count, sigma = 20_000, UNIT.schedule.sigma(0.5).item()
    x0 = torch.full((count, 1), 0.05, dtype=torch.float64)
    law = stats.foldnorm(0.05 / sigma, scale=sigma)
    assert law.sf(0.99) < 1e-7
    assert_distribution(UNIT.noise(x0, scalar(0.5), Seeds.range(3, count)), law.cdf)


@pytest.mark.parametrize(("s", "t"), [(0.7, 0.8), (0.5, 0.75), (0.85, 0.9)])
def test_bridge_has_the_density_of_bayes(s, t):
    """At noise of about the width, where mirrors count; the density by quadrature."""
    count, x0, xt = 20_000, 0.1, 0.85
    grid = np.linspace(0, 1, 4001)
    there = torch.from_numpy(grid)
    first, total = UNIT.schedule.sigma(s), UNIT.schedule.sigma(t)
    logs = reflected_normal.log_density(there, scalar(x0), first, 1.0) + reflected_normal.log_density(
        scalar(xt), there, (total.square() - first.square()).sqrt(), 1.0
    )
    cdf = integrate.cumulative_simpson(logs.exp().numpy(), x=grid, initial=0)
    start, seen = (torch.full((count, 1), place, dtype=torch.float64) for place in (x0, xt))
    drawn = UNIT.bridge(seen, PointPosterior(start), scalar(t), scalar(s), Seeds.range(5, count))
    assert_distribution(drawn, lambda y: np.interp(y, grid, cdf / cdf[-1]))


def test_noise_may_be_infinite():
    process = ReflectedProcess(CosineSchedule(scale="ve"))
    x0 = torch.full((20_000, 1), 0.2, dtype=torch.float64)
    xt = process.noise(x0, scalar(1.0), Seeds.range(0, 20_000))
    assert_distribution(xt, stats.uniform.cdf)
    xs = process.bridge(xt, PointPosterior(x0), scalar(1.0), scalar(0.05), Seeds.range(1, 20_000))
    law = stats.foldnorm(0.2 / process.schedule.sigma(0.05).item(), scale=process.schedule.sigma(0.05).item())
    assert_distribution(xs, law.cdf)


def test_padded_places_stay_empty():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    x0 = torch.full((2, 3), 0.5)
    noisy = UNIT.noise(x0, scalar(0.5), Seeds.range(0, 2), mask)
    assert (noisy[~mask] == 0).all() and (noisy[mask] != 0).all()


def test_learned_belief_follows_the_state_and_heeds_the_mask():
    """Told nothing, the first component lies on the noisy state; the loss is that of the places that are there."""
    denoiser = IntervalDenoiser(None, UNIT, components=1)
    xt = torch.tensor([[0.2, 0.9, 0.0]])
    numbers = torch.zeros(1, 3, 3)
    numbers[..., 1] = -10.0
    belief = denoiser.read(numbers, xt, scalar(0.1), None)
    assert belief.mean[0].tolist() == pytest.approx([0.2, 0.9, 0.0], abs=2e-3)
    x0 = torch.tensor([[0.2, 0.9, 0.6]])
    mask = torch.tensor([[True, True, False]])
    alone = denoiser.read(numbers[:, :2], xt[:, :2], scalar(0.1), None)
    assert belief.loss(x0, mask).item() == pytest.approx(alone.loss(x0[:, :2]).item(), rel=1e-12)
    with pytest.raises(InputError, match="at least 1 component; seen 0"):
        IntervalDenoiser(None, UNIT, components=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [[1.2]], 0.1), "lie between 0.0 and 1.0; seen .* from 1.2 to 1.2"),
        (([1.0], [[0.2]], -0.1), "not negative"),
        (([0.5, 0.5], [[0.2], [0.4]], [0.1, 0.1, 0.1]), "one a component, or one a mean"),
        (([0.5], [[0.2], [0.4]], 0.1), "weights are one a component"),
    ],
)
def test_laws_that_are_none_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        ReflectedMixtureDenoiser(*arguments, UNIT)


def test_law_knows_its_shape_and_labels():
    law = ReflectedMixtureDenoiser.examples()["two ranges, labelled"]
    with pytest.raises(InputError, match=r"samples have the shape \(2,\); seen \(3,\)"):
        law(torch.zeros(1, 3, dtype=torch.float64), scalar(0.5))
    state = law.draw(Seeds.range(0, 50), 0.4)
    label = torch.ones(50, dtype=torch.int64)
    told = law.log_density(state, 0.4, label=label) + math.log(0.6)
    other = law.log_density(state, 0.4, label=0 * label) + math.log(0.4)
    torch.testing.assert_close(torch.logaddexp(told, other), law.log_density(state, 0.4), rtol=1e-12, atol=1e-12)


class OneMirror(ReflectedProcess):
    """Clamps where it should reflect."""

    def _folded(self, y, like):
        low, width = self.ends(like)
        return (low + y.clamp(min=0).minimum(width)).to(like.dtype)


class NoMirrorInTheBridge(ReflectedProcess):
    """The bridge goes straight to x_t, never by a mirror."""

    def bridge(self, xt, posterior, t, s, seeds, mask=None):
        x0 = posterior.sample(seeds.at("clean"))
        first, rest = self.schedule.sigma(s), self._spread(s, t, xt)
        gain = first.square() / (first.square() + rest.square())
        fresh = seeds.at("bridge").normal(tuple(xt.shape[1:]), torch.float64)
        return self._folded(x0 + gain * (xt - x0) + first * rest / (first.square() + rest.square()).sqrt() * fresh, xt)


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (checks.noise_ends_in_the_prior, OneMirror),
        (checks.noise_composes, OneMirror),
        (checks.bridge_reverses_the_noise, NoMirrorInTheBridge),
    ],
)
def test_broken_processes_are_caught(check, mutant):
    assert is_caught(check, None, mutant(UNIT.schedule))


def test_a_belief_of_half_the_images_is_caught(monkeypatch):
    law = ReflectedMixtureDenoiser.examples()["one fraction"]
    honest = reflected_normal.product

    def half(*arguments):
        shares, centres, deviation = honest(*arguments)
        kept = shares.shape[-1] // 2
        return shares[..., :kept].log_softmax(-1), centres[..., :kept], deviation

    monkeypatch.setattr(reflected_normal, "product", half)
    assert misses(own_checks.reflected_belief_follows_bayes, law)


def test_posterior_is_a_frozen_value():
    belief = ReflectedMixtureDenoiser.examples()["one fraction"](scalar([[0.3]]), scalar(0.5))
    assert isinstance(belief, ReflectedPosterior)
    assert replace(belief, like=belief.like.float()).sample(Seeds.range(0, 1)).dtype == torch.float32
