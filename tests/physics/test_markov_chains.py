import math

import numpy as np
import pint
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, sparse

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.continuous_time_markov_chain import ContinuousTimeMarkovChain
from unstir.physics.markov_chain import MarkovChain
from unstir.verification.base import Effort
from unstir.verification.checks import physics_chains as checks

WEATHER = [[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.2, 0.3, 0.5]]
NAMES = ("sun", "cloud", "rain")


@pytest.mark.parametrize(
    ("matrix", "states", "told"),
    [
        ([[0.5, 0.4], [0.5, 0.5]], None, "row 0 sums to 0.9"),
        ([[1.5, -0.5], [0.5, 0.5]], None, "smallest of -0.5"),
        ([[0.5, 0.5]], None, "square"),
        ([[np.nan, 0.5], [0.5, 0.5]], None, "not finite"),
        (WEATHER, ("sun", "rain"), "3 different names"),
        (WEATHER, ("sun", "rain", "sun"), "3 different names"),
    ],
)
def test_what_is_no_transition_matrix_is_told(matrix, states, told):
    with pytest.raises(InputError, match=told):
        MarkovChain(matrix, states)
    with pytest.raises(InputError, match="row 1 sums to"):
        ContinuousTimeMarkovChain([[-1.0, 1.0], [1.0, -2.0]])
    with pytest.raises(InputError, match="smallest rate of -1"):
        ContinuousTimeMarkovChain([[1.0, -1.0], [1.0, -1.0]])


def test_questions_that_cannot_be_answered_are_told():
    chain = MarkovChain(WEATHER, NAMES)
    with pytest.raises(InputError, match="did you mean 'rain'"):
        chain.hitting_times("rains")
    with pytest.raises(InputError, match="0 to 2"):
        MarkovChain(WEATHER).law(3, 1)
    with pytest.raises(InputError, match="sum to one"):
        chain.law([0.5, 0.5, 0.5], 1)
    with pytest.raises(InputError, match="count of 0 or more"):
        chain.law("sun", -1)
    with pytest.raises(InputError, match="2 sets of states"):
        MarkovChain(np.eye(2)).stationary()
    with pytest.raises(InputError, match="2 pieces"):
        MarkovChain(sparse.eye_array(2)).stationary()
    with pytest.raises(InputError, match="period 2"):
        MarkovChain([[0.0, 1.0], [1.0, 0.0]]).mixing_time()
    with pytest.raises(InputError, match="reversible"):
        chain.mixing_time_bounds()
    with pytest.raises(InputError, match="at least one"):
        chain.hitting_times([])
    with pytest.raises(InputError, match="state numbers below 3"):
        chain.simulate(torch.tensor([0, 5]), 1, Seeds.range(0, 2))
    jumps = ContinuousTimeMarkovChain([[-1.0, 1.0], [1.0, -1.0]])
    with pytest.raises(InputError, match="not before zero"):
        jumps.law(0, -1.0)
    with pytest.raises(InputError, match="rising"):
        jumps.simulate(0, [2.0, 1.0], Seeds.range(0, 2))


def test_classes_and_periods():
    matrix = np.zeros((6, 6))
    matrix[0, [1, 3]] = 0.5
    matrix[1, 2] = matrix[2, 1] = matrix[3, 4] = matrix[4, 5] = matrix[5, 3] = 1.0
    chain = MarkovChain(matrix)
    found = [(group.tolist(), closed) for group, closed in chain.communicating_classes()]
    assert found == [([0], False), ([1, 2], True), ([3, 4, 5], True)]
    assert [chain.period(state) for state in range(6)] == [0, 2, 2, 3, 3, 3]
    assert chain.lazy().period(4) == 1
    np.testing.assert_allclose(chain.hitting_probabilities([4]), [0.5, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(chain.hitting_times([4]), [np.inf, np.inf, np.inf, 1, 0, 2])


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 12), st.booleans())
def test_agrees_with_linear_algebra(seed, size, as_sparse):
    matrix = np.random.default_rng(seed).dirichlet(np.ones(size), size)
    chain = MarkovChain(sparse.csr_array(matrix) if as_sparse else matrix)
    values, vectors = linalg.eig(matrix.T)
    first = vectors[:, np.argmin(np.abs(values - 1))].real
    np.testing.assert_allclose(chain.stationary(), first / first.sum(), atol=1e-12)
    np.testing.assert_allclose(chain.law(1, 5), np.linalg.matrix_power(matrix, 5)[1], atol=1e-13)
    others = np.delete(np.arange(size), 0)
    times = np.linalg.solve(np.eye(size - 1) - matrix[np.ix_(others, others)], np.ones(size - 1))
    np.testing.assert_allclose(chain.hitting_times(0)[1:], times, rtol=1e-9)
    steps = chain.mixing_time(0.01)
    assert chain.distance(steps) <= 0.01 < chain.distance(steps - 1)
    back = chain.reversed()
    np.testing.assert_allclose(back.stationary(), chain.stationary(), atol=1e-12)
    np.testing.assert_allclose(back.entropy_rate(), chain.entropy_rate(), rtol=1e-9)
    assert not chain.is_reversible() or size == 2


def test_a_sparse_chain_of_many_states():
    size = 20_000
    up, down = np.full(size - 1, 0.3), np.full(size - 1, 0.31)
    stay = 1 - np.append(up, 0) - np.insert(down, 0, 0)
    chain = MarkovChain(sparse.diags_array([up, stay, down], offsets=[1, 0, -1], format="csr"))
    law = chain.stationary()
    np.testing.assert_allclose(law[1:2000] / law[:1999], 0.3 / 0.31, rtol=1e-9)
    np.testing.assert_allclose(chain.hitting_times(0)[[1, 100]], [100, 10_000], rtol=1e-6)
    assert chain.simulate(0, 3, Seeds.range(0, 5)).shape == (5, 4)


def test_paths_are_those_of_their_seeds():
    chain = MarkovChain(WEATHER, NAMES)
    paths = chain.simulate("rain", 20, Seeds.range(7, 50))
    assert paths.dtype == torch.int64 and paths.shape == (50, 21) and bool((paths[:, 0] == 2).all())
    torch.testing.assert_close(chain.simulate("rain", 8, Seeds.range(7, 10, start=40)), paths[40:, :9])
    begun = chain.simulate(paths[:, 3], 2, Seeds.range(1, 50))
    torch.testing.assert_close(begun[:, 0], paths[:, 3])
    jumps = ContinuousTimeMarkovChain([[-2.0, 2.0, 0.0], [1.0, -1.5, 0.5], [0.0, 0.0, 0.0]])
    drawn = jumps.simulate(0, [0.5, 1.0, 50.0], Seeds.range(3, 40))
    torch.testing.assert_close(jumps.simulate(0, [1.0], Seeds.range(3, 5, start=20))[:, 0], drawn[20:25, 1])
    assert bool((drawn[:, 2] == 2).float().mean() > 0.5)  # the last state is not left


def test_the_jump_process_in_its_chains_and_units():
    unit = pint.UnitRegistry()
    plain = ContinuousTimeMarkovChain(np.array([[-2.0, 2.0, 0.0], [1.0, -1.5, 0.5], [3.0, 0.0, -3.0]]), NAMES)
    np.testing.assert_allclose(plain.embedded().transition, [[0, 1, 0], [2 / 3, 0, 1 / 3], [1, 0, 0]])
    assert not plain.is_reversible()
    many = ContinuousTimeMarkovChain(sparse.csr_array(plain.generator))
    np.testing.assert_allclose(
        many.law(0, [[0.3, 0.1], [2.0, 0.3]]), plain.law(0, [[0.3, 0.1], [2.0, 0.3]]), atol=1e-13
    )
    quantity = ContinuousTimeMarkovChain(plain.generator / unit.ms)
    np.testing.assert_allclose(quantity.transition(1 * unit.ms).magnitude, plain.transition(1.0), atol=1e-13)
    np.testing.assert_allclose(quantity.relaxation_time().to("ms").magnitude, plain.relaxation_time())
    assert quantity.hitting_times(0).check("[time]")
    with pytest.raises(InputError, match="needs a unit"):
        quantity.law(0, 1.0)


class PowerIteration(MarkovChain):
    def stationary(self):
        return np.linalg.matrix_power(np.asarray(self.transition), 10**6)[0]


class OneStepLate(MarkovChain):
    def mixing_time(self, distance=0.25):
        return super().mixing_time(distance) + 1


class Backwards(MarkovChain):
    def simulate(self, initial, steps, seeds):
        return MarkovChain(self.reversed().transition).simulate(initial, steps, seeds)


class WithoutArrival(MarkovChain):
    def hitting_times(self, target):
        return super().hitting_times(target) * (1 - 1e-8)


class SpectralHalf(MarkovChain):
    def spectral_gap(self, absolute=True):
        return super().spectral_gap(absolute) / 2


class Barker(MarkovChain):
    @classmethod
    def metropolis(cls, energy, proposal, temperature=1.0):
        return MarkovChain.metropolis(energy, proposal, temperature * 1.001)


class OneDrawForTwo(MarkovChain):
    def simulate(self, initial, steps, seeds):
        drawn = super().simulate(initial, steps, seeds)
        drawn[1::2] = drawn[: len(drawn) - 1 : 2]  # paths that are not independent
        return drawn


class OneRateForAll(ContinuousTimeMarkovChain):
    def simulate(self, initial, times, seeds):
        moves = self.embedded().transition - np.eye(self.size)
        mean = -np.asarray(self.generator).diagonal().mean()
        return ContinuousTimeMarkovChain(mean * moves).simulate(initial, times, seeds)


class FirstOrderPower(ContinuousTimeMarkovChain):
    def transition(self, time):
        return np.linalg.matrix_power(np.eye(self.size) + np.asarray(self.generator) * float(time) / 2**20, 2**20)


class NoSelfLoops(ContinuousTimeMarkovChain):
    def stationary(self):
        return self.embedded().stationary()


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (PowerIteration, checks.markov_chain_stationary_law),
        (OneStepLate, checks.markov_chain_mixing),
        (Backwards, checks.markov_chain_draws),
        (OneDrawForTwo, checks.markov_chain_draws),
        (WithoutArrival, checks.markov_chain_hitting),
        (SpectralHalf, checks.markov_chain_spectrum),
        (Barker, checks.markov_chain_reversible),
        (OneRateForAll, checks.jump_process_draws),
        (FirstOrderPower, checks.jump_process_laws),
        (NoSelfLoops, checks.jump_process_stationary_law),
    ],
)
def test_a_broken_copy_fails(broken, check):
    right = ContinuousTimeMarkovChain if issubclass(broken, ContinuousTimeMarkovChain) else MarkovChain
    effort = Effort(quick=True)
    assert all(figure.passed for figure in check(right, effort))
    assert not all(figure.passed for figure in check(broken, effort))


def test_two_states_by_hand():
    chain = MarkovChain([[0.8, 0.2], [0.05, 0.95]], ("on", "off"))
    np.testing.assert_allclose(chain.stationary(), [0.2, 0.8])
    assert chain.relaxation_time() == pytest.approx(4.0)
    assert chain.kemeny_constant() == pytest.approx(4.0)
    assert chain.hitting_times("off").tolist() == pytest.approx([5.0, 0.0])
    assert chain.mixing_time() == math.ceil(math.log(0.25 / 0.8) / math.log(0.75))
    assert chain.is_reversible() and chain.period("on") == 1
