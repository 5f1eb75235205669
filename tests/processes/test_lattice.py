"""Noise in a periodic cell: what it refuses, sums over the lattice, reduction of cells, and broken copies."""

import itertools
import math

import numpy as np
import pytest
import torch
from mutants import is_caught, misses
from scipy import stats
from thresholds import assert_distribution

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.lattice import LatticePosterior
from unstir.denoisers.learned.lattice import LatticeDenoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes import lattice_theta
from unstir.processes.lattice import LatticeProcess
from unstir.processes.lattice_theta import lattice_of
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.verification.checks import lattice as own_checks
from unstir.verification.checks import processes as checks

SKEW = ((3.0, 0.0, 0.0), (7.1, 3.4, 0.0), (-4.8, 8.5, 4.2))
HEXAGONAL = LatticeProcess.examples()["hexagonal plane"]


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": CosineSchedule()}, "scale must be 've'.*seen CosineSchedule of scale 'vp'"),
        ({"cell": 3.0}, r"1 to 3 lattice vectors of as many numbers; seen the shape \(\)"),
        ({"cell": ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))}, r"seen the shape \(3, 2\)"),
        ({"cell": ((1.0, 0.0), (2.0, 0.0))}, "needs a volume"),
        ({"cell": ((1.0, math.nan), (0.0, 1.0))}, "needs a volume"),
        ({"cell": "cubic"}, "a square table of numbers"),
        ({"cell": ((1e-3, 0.0, 0.0), (0.0, 1e-3, 0.0), (0.0, 0.0, 9.0))}, "too elongated"),
        ({"cell": ((20.0, 0.0), (0.0, 20.0))}, "raise the schedule's sigma_max from 5 to about 20"),
    ],
)
def test_what_is_no_cell_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        LatticeProcess(**options)


def test_states_have_as_many_coordinates_as_the_cell_has_vectors():
    with pytest.raises(InputError, match=r"states are \(batch, n, 2\); seen \(4, 5, 3\)"):
        HEXAGONAL.noise(torch.zeros(4, 5, 3), scalar(0.5), Seeds.range(0, 4))
    x = torch.zeros(2, 1, 2)
    with pytest.raises(InputError, match="s must not exceed t"):
        HEXAGONAL.bridge(x, PointPosterior(x), scalar(0.3), scalar(0.4), Seeds.range(0, 2))


@pytest.mark.parametrize(
    "cell", [SKEW, ((0.0, 2.0, 2.0), (2.0, 0.0, 2.0), (2.0, 2.0, 0.0)), ((1.0, 0.0), (1000.3, 1.1)), ((-2.0,),)]
)
def test_reduced_basis_spans_the_same_lattice_with_the_shortest_vectors(cell):
    lattice = lattice_of(cell)
    torch.testing.assert_close(lattice.whole @ lattice.reduced, lattice.cell, rtol=1e-12, atol=1e-12)
    assert abs(torch.linalg.det(lattice.whole)) == pytest.approx(1, abs=1e-9)
    size = len(cell)
    lengths = lattice.reduced.norm(dim=1)
    assert (lengths.diff() >= -1e-12).all()
    # Minkowski's conditions: no combination of vectors with the i-th in it is shorter than that
    for whole in itertools.product(range(-3, 4), repeat=size):
        place = torch.tensor(whole, dtype=torch.float64) @ lattice.reduced
        used = [index for index, count in enumerate(whole) if count]
        if used and math.gcd(*whole[max(used) :]) == 1:
            assert place.norm() >= lengths[max(used)] - 1e-9


@pytest.mark.parametrize("share", [0.3, 0.999, 1.001, 2.0])
def test_the_same_lattice_in_another_cell_has_the_same_density_and_score(share):
    """Whichever basis the user writes down: fractional coordinates differ, the law in space does not."""
    one = lattice_of(((3.0, 0.0, 0.0), (1.1, 3.4, 0.0), (-0.8, 1.5, 4.2)))
    whole = torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [-3.0, 5.0, 1.0]], dtype=torch.float64)
    other = lattice_of(tuple(tuple(row) for row in (whole @ one.cell).tolist()))
    first = Seeds.range(0, 50).uniform((3,))
    second = torch.linalg.solve(whole.T, first[..., None])[..., 0]
    sigma = scalar(share * one.self_dual)
    for function in (lattice_theta.log_density, lattice_theta.score):
        torch.testing.assert_close(function(one, first, sigma), function(other, second, sigma), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("share", [1e-3, 0.5, 0.999, 1.001, 1.5, math.inf])
def test_score_is_the_gradient_in_space(share):
    lattice = lattice_of(SKEW)
    x = (Seeds.range(2, 40).uniform((3,)) - 0.5).requires_grad_()
    sigma = scalar(share * lattice.self_dual)
    (gradient,) = torch.autograd.grad(lattice_theta.log_density(lattice, x, sigma).sum(), x)
    told = lattice_theta.score(lattice, x.detach(), sigma)
    # with f = x cell^-1, the derivative in space is cell^-1 times that in f
    wanted = torch.linalg.solve(lattice.cell, gradient[..., None])[..., 0]
    largest = wanted.norm(dim=1).max()
    torch.testing.assert_close(told, wanted, rtol=1e-8, atol=1e-11 * max(1.0, largest.item()))


def test_both_sums_meet_where_they_change():
    lattice = lattice_of(SKEW)
    x = Seeds.range(3, 200).uniform((3,))
    below, above = (lattice.self_dual * (1 + side * 1e-12) for side in (-1, 1))
    for function in (lattice_theta.log_density, lattice_theta.score):
        torch.testing.assert_close(
            function(lattice, x, scalar(below)), function(lattice, x, scalar(above)), rtol=1e-9, atol=1e-11
        )


def test_noise_is_the_same_in_every_direction_of_space():
    """In a skew cell: projections of short steps on any direction are normal of one deviation."""
    process = LatticeProcess(ExponentialVESchedule(0.02, 8.0), SKEW)
    x0 = torch.full((20_000, 1, 3), 0.5, dtype=torch.float64)
    time, sigma = scalar(0.2), process.schedule.sigma(0.2).item()
    away = process.lattice.cartesian(process.noise(x0, time, Seeds.range(7, 20_000)) - x0)[:, 0]
    for direction in ((1.0, 0.0, 0.0), (0.0, 0.6, 0.8), (0.48, -0.6, 0.64)):
        assert_distribution(away @ torch.tensor(direction, dtype=torch.float64), stats.norm(scale=sigma).cdf)


def test_prior_error_is_that_of_the_shortest_wave():
    """Wide noise in a cubic cell of edge 1: six waves of e^(-2 pi^2 sigma^2)."""
    process = LatticeProcess(ExponentialVESchedule(0.005, 1.0))
    variance = process.schedule.sigma(1.0).item() ** 2
    assert process.prior_error() == pytest.approx(6 * math.exp(-2 * math.pi**2 * variance), rel=1e-6)


def test_every_sample_may_have_its_own_time():
    process = LatticeProcess.examples()["triclinic"]
    x0 = process.example_data(5)
    times = torch.tensor([0.0, 0.2, 0.6, 0.85, 1.0], dtype=torch.float64)
    together = process.noise(x0, times, Seeds.range(0, 5))
    back = process.bridge(together, PointPosterior(x0), times, times / 2, Seeds.range(1, 5))
    for row in range(5):
        seeds, rows = torch.tensor([row]), slice(row, row + 1)
        one = process.bridge(together[rows], PointPosterior(x0[rows]), times[row], times[row] / 2, Seeds(1, seeds))
        assert torch.equal(back[rows], one)
    assert process.contains(back).all()


def test_padded_sites_stay_empty():
    mask = torch.tensor([[True, False], [True, True]])
    x0 = HEXAGONAL.example_data(2).float() * mask[..., None]
    noisy = HEXAGONAL.noise(x0, scalar(0.6), Seeds.range(0, 2), mask)
    assert (noisy[~mask] == 0).all() and (noisy[mask] != 0).all()


def test_belief_has_the_moments_of_its_draws_and_a_density_that_sums_to_one():
    count = 20_000
    shares = torch.tensor([0.7, 0.3], dtype=torch.float64).log()
    centres = torch.tensor([[0.1, 0.9], [0.6, 0.3]], dtype=torch.float64)
    deviations = torch.tensor([0.05, 0.2], dtype=torch.float64)
    belief = LatticePosterior(
        shares.expand(count, 1, 2), centres.expand(count, 1, 2, 2), deviations.expand(count, 1, 2), HEXAGONAL
    )
    drawn = belief.sample(Seeds.range(0, count))
    turned = torch.polar(torch.ones_like(drawn), 2 * math.pi * drawn)
    error = (turned.mean(0) - belief.moment[0]).abs().max()
    assert error < 5 / math.sqrt(count)  # five standard errors: a complex number of length one
    axis = (torch.arange(120, dtype=torch.float64) + 0.5) / 120
    grid = torch.cartesian_prod(axis, axis)[:, None]
    one = LatticePosterior(
        shares.expand(len(grid), 1, 2),
        centres.expand(len(grid), 1, 2, 2),
        deviations.expand(len(grid), 1, 2),
        HEXAGONAL,
    )
    assert one.log_prob(grid).exp().mean().item() == pytest.approx(1, abs=1e-10)


def test_learned_belief_moves_with_the_state_and_heeds_the_mask():
    denoiser = LatticeDenoiser(None, HEXAGONAL, components=2)
    xt = HEXAGONAL.example_data(3)
    numbers = Seeds.range(0, 3).normal((2, denoiser.numbers), torch.float64)
    shift = torch.tensor([0.3, 0.85], dtype=torch.float64)
    first = denoiser.read(numbers, xt, scalar(0.3), None)
    second = denoiser.read(numbers, (xt + shift) % 1, scalar(0.3), None)
    x0 = HEXAGONAL.example_data(6)[3:]
    torch.testing.assert_close(first.log_prob(x0), second.log_prob((x0 + shift) % 1), rtol=1e-10, atol=1e-10)
    mask = torch.tensor([[True, False]] * 3)
    alone = denoiser.read(numbers[:, :1], xt[:, :1], scalar(0.3), None)
    torch.testing.assert_close(first.loss(x0, mask), alone.loss(x0[:, :1]))
    assert denoiser.network_size((5, 2)) == ((5, 4), 3)  # 5 sites of 4 features; 12 numbers each
    with pytest.raises(InputError, match="at least 1 component; seen 0"):
        LatticeDenoiser(None, HEXAGONAL, components=0)


class AsInFractions(LatticeProcess):
    """Adds the same noise to every fractional coordinate, whatever the cell's angles."""

    @property
    def lattice(self):
        return lattice_of(tuple(tuple(row) for row in np.eye(len(self.cell)).tolist()))


class NarrowBridge(LatticeProcess):
    """Takes the shortest way for the only one."""

    @staticmethod
    def _by_rejection(lattice, x0, xt, v, w, seeds):
        return NarrowBridge._by_windings(lattice, x0, xt, v, w, seeds)

    @staticmethod
    def _by_windings(lattice, x0, xt, v, w, seeds):
        way = lattice.shortest(xt - x0) @ lattice.reduced
        total = (v + w).clamp(min=1e-300)
        fresh = seeds.at("bridge").normal(tuple(x0.shape[1:]), torch.float64)
        return x0 + lattice.fractional((v / total)[..., None] * way + (v * w / total).sqrt()[..., None] * fresh)


def test_a_bridge_that_knows_one_way_only_is_caught():
    mutant = NarrowBridge(HEXAGONAL.schedule, HEXAGONAL.cell)
    assert is_caught(own_checks.lattice_bridge_has_the_density_of_bayes, None, mutant)
    assert is_caught(checks.bridge_reverses_the_noise, None, mutant)


def test_noise_without_the_cells_metric_is_no_noise_of_space():
    """A process of fractions is a process too, but not this one: its density differs."""
    mutant = AsInFractions(HEXAGONAL.schedule, HEXAGONAL.cell)
    x0, xt = HEXAGONAL.example_data(20), HEXAGONAL.example_data(40)[20:]
    assert (mutant.log_density(xt, x0, 0.6) - HEXAGONAL.log_density(xt, x0, 0.6)).abs().max() > 0.1


@pytest.mark.parametrize("part", ["near", "dual"])
def test_a_sum_of_too_few_terms_is_caught(part, monkeypatch):
    honest = lattice_of

    def poor(cell):
        lattice = honest(cell)
        kept = {"near": lattice.near[:7], "dual": lattice.dual[:2], "dual_squares": lattice.dual_squares[:2]}
        chosen = ("near",) if part == "near" else ("dual", "dual_squares")
        return type(lattice)(**{**vars(lattice), **{name: kept[name] for name in chosen}})

    monkeypatch.setattr(own_checks, "lattice_of", poor)
    assert misses(own_checks.lattice_normal_is_the_sum_over_the_lattice, HEXAGONAL)
