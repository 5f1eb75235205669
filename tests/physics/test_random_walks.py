"""Random walks: edges of the lattice, other libraries' laws, sparse graphs, units, and bad input."""

import math

import numpy as np
import pint
import pytest
from scipy import ndimage, sparse, stats
from thresholds import assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.random_walks import GraphWalk, LatticeWalk
from unstir.verification.base import Effort
from unstir.verification.checks.physics_walks import (
    continuous_walk_law,
    graph_walk_law,
    walk_becomes_diffusion,
    walk_law,
)

units = pint.UnitRegistry()
RING = np.roll(np.eye(6), 1, axis=0) + np.roll(np.eye(6), -1, axis=0)


@pytest.mark.parametrize(
    ("boundary", "mode", "probabilities"),
    [
        ("periodic", "wrap", [[0.1, 0.3], [0.25, 0.15]]),
        ("absorbing", "constant", [[0.1, 0.3], [0.25, 0.15]]),
        ("reflecting", "reflect", [[0.3, 0.3], [0.1, 0.1]]),  # SciPy's mirror is the same only without bias
    ],
)
def test_laws_in_the_plane_are_repeated_convolutions(boundary, mode, probabilities):
    walk = LatticeWalk(dimension=2, probabilities=probabilities, boundary=boundary, sites=(6, 9))
    (down, up), (left, right) = probabilities
    kernel = np.array([[0, down, 0], [left, 1 - down - up - left - right, right], [0, up, 0]])
    expected = np.zeros((6, 9))
    expected[1, 7] = 1
    for _ in range(15):
        expected = ndimage.convolve(expected, kernel, mode=mode)
    np.testing.assert_allclose(walk.law(15, (1, 7)), expected, atol=1e-14)
    assert walk.law(15, (1, 7)).sum() == pytest.approx(1 if boundary != "absorbing" else expected.sum())


def test_laws_in_space_are_those_of_independent_axes():
    # two of the three axes rest: the law is that of the one
    walk = LatticeWalk(dimension=3, probabilities=[[0, 0], [0.4, 0.6], [0, 0]])
    law = walk.law(10)
    assert law.shape == (21, 21, 21)
    np.testing.assert_allclose(law[10, ::2, 10], stats.binom(10, 0.6).pmf(range(11)), atol=1e-15)
    np.testing.assert_allclose(law.sum(), 1, rtol=1e-13)


def test_walkers_stay_within_the_lattice_and_move_one_site():
    for boundary in ("periodic", "reflecting", "absorbing"):
        walk = LatticeWalk(dimension=2, boundary=boundary, sites=(4, 3))
        sites = walk.simulate(200, Seeds.range(1, 50), (1, 2)).numpy()
        low, high = (-1, 0) if boundary == "absorbing" else (0, -1)
        assert sites.min() >= low and (sites.max((0, 1)) <= np.array([4, 3]) + high).all()
        if boundary != "periodic":
            assert set(np.abs(np.diff(sites, axis=1)).sum(2).ravel()) <= {0.0, 1.0}
    outside = (sites[:, -1] < 0) | (sites[:, -1] >= [4, 3])
    assert outside.any(1).all()  # after 200 steps on so small a lattice all are absorbed


def test_every_keeps_each_nth_position_of_the_same_walk():
    walk, seeds = LatticeWalk(0.5), Seeds.range(2, 10)
    assert (walk.simulate(70, seeds)[:, ::7] == walk.simulate(70, seeds, every=7)).all()
    assert (walk.simulate(50, seeds) == walk.simulate(70, seeds)[:, :51]).all()


def test_the_drift_and_diffusivity_of_walkers():
    walk = LatticeWalk(0.1, 0.02, 2, [[0.1, 0.4], [0.3, 0.1]])
    moved = walk.simulate(60, Seeds.range(3, 4000))[:, -1] / (60 * 0.02)
    assert_mean(moved, walk.drift)
    apart = (moved - moved.mean(0)) * math.sqrt(60 * 0.02 / 2)
    products = (apart[:, :, None] * apart[:, None]).numpy()
    assert_mean(products, walk.diffusivity)


def test_units_of_the_lattice():
    walk = LatticeWalk(1 * units.nm, 2 * units.ps)
    assert walk.diffusivity.to("nm**2/ps").magnitude == pytest.approx(np.array([[0.25]]))
    assert walk.drift.to("nm/ps").magnitude == pytest.approx(0)
    assert set(walk.simulate(1, Seeds.range(0, 20)).to("nm").magnitude[:, 1, 0].round(9)) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ("spacing must be", {"spacing": 0.0}),
        ("dimension must be at least 1", {"dimension": 0}),
        ("unknown boundary 'periodical'.*did you mean 'periodic'", {"boundary": "periodical", "sites": 4}),
        ("give both of them, or neither", {"boundary": "periodic"}),
        ("give both of them, or neither", {"sites": 4}),
        ("at least 2 each", {"boundary": "periodic", "sites": (4, 4)}),
        ("a sum of at most 1", {"probabilities": [[0.6, 0.6]]}),
        ("a sum of at most 1", {"probabilities": [0.5, 0.5]}),
    ],
)
def test_bad_lattices(told, options):
    with pytest.raises(InputError, match=told):
        LatticeWalk(**options)


def test_bad_walks():
    walk, seeds = LatticeWalk(boundary="reflecting", sites=4), Seeds.range(0, 2)
    with pytest.raises(InputError, match="lies on the lattice"):
        walk.simulate(3, seeds, 4)
    with pytest.raises(InputError, match="a whole number"):
        walk.law(3, 0.5)
    with pytest.raises(InputError, match="at least 1"):
        walk.simulate(0, seeds)
    with pytest.raises(InputError, match="too many to hold"):
        LatticeWalk(dimension=3).law(1000)


def test_sparse_and_dense_graphs_are_one():
    dense, thin = GraphWalk(RING, 0.1), GraphWalk(sparse.coo_matrix(RING), 0.1)
    seeds = Seeds.range(1, 30)
    assert (dense.simulate(0, 20, seeds) == thin.simulate(0, 20, seeds)).all()
    np.testing.assert_array_equal(dense.law(2, 5), thin.law(np.eye(6)[2], 5))


def test_walkers_keep_to_the_edges():
    nodes = GraphWalk(RING).simulate(np.array([0, 3] * 10), 50, Seeds.range(1, 20)).numpy()
    assert (nodes[::2, 0] == 0).all() and (nodes[1::2, 0] == 3).all()
    assert set((np.diff(nodes) % 6).ravel()) == {1, 5}


def test_time_in_units():
    walk = GraphWalk(RING)
    np.testing.assert_allclose(walk.law_at(0, 500 * units.ms, 2 / units.s), walk.law_at(0, 0.5, 2.0), rtol=1e-12)
    seeds = Seeds.range(0, 9)
    assert (
        walk.simulate_at(0, [1, 2] * units.minute, seeds, 3 / units.minute) == walk.simulate_at(0, [1, 2], seeds, 3)
    ).all()


@pytest.mark.parametrize(
    ("told", "weights", "lazy"),
    [
        ("square matrix", np.ones((2, 3)), 0.0),
        ("lazy below 1", RING, 1.0),
        ("lazy must be", RING, -0.1),
        ("symmetric", np.triu(np.ones((3, 3))), 0.0),
        ("not negative", -RING, 0.0),
        ("finite", RING * math.nan, 0.0),
        ("node 1 has no neighbour", np.diag([1.0, 0.0, 1.0]), 0.0),
        ("matrix of numbers", "ring", 0.0),
    ],
)
def test_bad_graphs(told, weights, lazy):
    with pytest.raises(InputError, match=told):
        GraphWalk(weights, lazy)


@pytest.mark.parametrize("start", [6, -1, 0.5, [0, 1]])
def test_bad_starts_on_graphs(start):
    with pytest.raises(InputError, match="start is a node from 0 to 5"):
        GraphWalk(RING).simulate(start, 3, Seeds.range(0, 5))
    with pytest.raises(InputError, match="start is a node from 0 to 5"):
        GraphWalk(RING).law(start, 3)


def test_bad_times_on_graphs():
    with pytest.raises(InputError, match="rise from 0 on"):
        GraphWalk(RING).simulate_at(0, [-1.0, 1.0], Seeds.range(0, 5))
    with pytest.raises(InputError, match="rate must be"):
        GraphWalk(RING).law_at(0, 1.0, 0.0)


class WrongEnd(LatticeWalk):  # the walker is turned back twice as strongly as the law says
    def _moved(self, site, shift, size):
        moved = super()._moved(site, shift, size)
        return moved if self.boundary != "reflecting" else moved + (site == moved).long() * (moved == 0).long()


class Restless(LatticeWalk):
    @property
    def diffusivity(self):
        return super().diffusivity * 1.02


class Unweighted(GraphWalk):
    def _stepper(self, device):
        return GraphWalk(np.sign(self.weights), self.lazy)._stepper(device)


class Uniform(GraphWalk):
    def stationary(self):
        return np.full(len(self.degrees), 1 / len(self.degrees))


class NoWaiting(GraphWalk):
    def simulate_at(self, start, times, seeds, rate=1.0):
        return self.simulate(start, 3, seeds)[:, [1, 3]]


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (walk_law, WrongEnd),
        (walk_becomes_diffusion, Restless),
        (graph_walk_law, Unweighted),
        (graph_walk_law, Uniform),
        (continuous_walk_law, NoWaiting),
    ],
)
def test_the_checks_catch_broken_walks(check, mutant):
    assert not all(measured.passed for measured in check(mutant, Effort(quick=True)))
