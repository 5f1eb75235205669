"""Markov chains in discrete time on finitely many states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg, sparse, special
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics import markov_tools as tools

__all__ = ["MarkovChain"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MarkovChain:
    """Markov chain on n states: laws, stationary law, mixing and hitting times, entropy, draws.

    ``transition`` (n, n), dense or scipy-sparse: from row to column, rows sum to one. ``states`` are names for them;
    every method takes a state by its number or its name. Pure numbers all; times count steps, entropy is in nats.
    What needs all eigenvalues or a power of the matrix works on a dense copy, O(n³).

    Raises InputError for a matrix that is no transition matrix, and where what is asked does not exist (a stationary
    law of a chain with two closed classes, the mixing time of a periodic one).

    Reference: Levin, Peres, Wilmer 2017, "Markov Chains and Mixing Times", 2nd edition.
    """

    transition: Any
    states: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        matrix = tools.square(self.transition, "transition")
        values = matrix.data if sparse.issparse(matrix) else matrix
        off = np.abs(matrix.sum(axis=1) - 1)
        if (values < 0).any() or off.max() > 1e-9:
            raise InputError(
                f"transition: rows of probabilities that sum to one are needed; seen a smallest of {values.min():.3g}, "
                f"and row {int(off.argmax())} sums to {matrix.sum(axis=1)[off.argmax()]:.10g}"
            )
        tools.check_names(self.states, matrix.shape[0])
        object.__setattr__(self, "transition", matrix)

    @classmethod
    def metropolis(cls, energy: Any, proposal: Any, temperature: float = 1.0) -> "MarkovChain":
        """The chain of Metropolis and Hastings, whose stationary law is proportional to exp(-energy/temperature).

        ``energy`` (n,), in the temperature's unit; ``proposal`` (n, n), the probabilities of proposing each state.
        """
        wished = cls(proposal)
        levels = np.asarray(energy, dtype=np.float64)
        if levels.shape != (wished.size,) or not np.isfinite(levels).all() or not temperature > 0:
            raise InputError(
                f"energy: {wished.size} finite numbers, and a temperature above zero, are needed; seen the shape "
                f"{levels.shape} and the temperature {temperature}"
            )
        ahead = wished._dense
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(ahead.T) - np.log(ahead) - (levels[None, :] - levels[:, None]) / temperature
        accepted = np.where(ahead > 0, ahead * np.exp(np.minimum(np.nan_to_num(ratio, nan=-np.inf), 0.0)), 0.0)
        np.fill_diagonal(accepted, 0.0)
        np.fill_diagonal(accepted, 1 - accepted.sum(axis=1))
        return cls(accepted)

    @property
    def size(self) -> int:
        """How many states there are."""
        return self.transition.shape[0]

    def lazy(self, hold: float = 0.5) -> "MarkovChain":
        """The chain that stays with probability ``hold`` and else moves as this one: aperiodic, of the same law."""
        if not 0 <= hold < 1:
            raise InputError(f"hold: a probability below one is needed; seen {hold}")
        one = sparse.eye_array(self.size, format="csr") if sparse.issparse(self.transition) else np.eye(self.size)
        return MarkovChain(hold * one + (1 - hold) * self.transition, self.states)

    def law(self, initial: Any, steps: int) -> Array:
        """The law after that many steps, (n,); ``initial`` is a state or a law (n,)."""
        _count(steps)
        law = tools.initial_law(initial, self.states, self.size)
        if sparse.issparse(self.transition) or steps <= self.size:
            backwards = self.transition.T
            for _ in range(steps):
                law = backwards @ law
            return law
        return law @ np.linalg.matrix_power(self._dense, steps)

    @cached_property
    def _stationary(self) -> Array:
        return tools.stationary(self.transition)

    def stationary(self) -> Array:
        """The law that a step does not change, (n,); every element to many digits, by sums without a subtraction."""
        return self._stationary.copy()

    def communicating_classes(self) -> list[tuple[NDArray[np.int64], bool]]:
        """The sets of states that reach each other, by their numbers, and whether each cannot be left."""
        return tools.classes(tools.jumps(self.transition))

    @property
    def is_irreducible(self) -> bool:
        """Whether every state is reached from every other."""
        return len(self.communicating_classes()) == 1

    def period(self, state: Any = 0) -> int:
        """The greatest common divisor of the times of possible returns to a state; 0 if it never returns."""
        return tools.period(self.transition, int(tools.numbers(state, self.states, self.size)[0]))

    def is_reversible(self, tolerance: float = 1e-9) -> bool:
        """Whether detailed balance holds: pi_i P_ij = pi_j P_ji, to that relative error."""
        flow = self._stationary[:, None] * self._dense
        return bool((np.abs(flow - flow.T) <= tolerance * (flow + flow.T)).all())

    def reversed(self) -> "MarkovChain":
        """The stationary chain seen backwards in time, P*_ij = pi_j P_ji/pi_i; of an irreducible chain."""
        law = self._irreducible("a reversed chain")
        backwards = self._dense.T * law / law[:, None]
        return MarkovChain(backwards / backwards.sum(axis=1, keepdims=True), self.states)

    @cached_property
    def _eigenvalues(self) -> NDArray[np.complex128]:
        values: Any
        if self.is_irreducible and self.is_reversible():
            # detailed balance makes sqrt(pi_i/pi_j) P_ij symmetric, and equal to this, which has no tiny divisor
            values = linalg.eigvalsh(np.sqrt(self._dense * self._dense.T))
        else:
            values = linalg.eigvals(self._dense)
        values = np.asarray(values, dtype=np.complex128)
        return values[np.lexsort((-values.real, np.abs(values - 1)))]

    def eigenvalues(self) -> NDArray[np.complex128]:
        """All eigenvalues, the nearest to one first, complex of shape (n,)."""
        return self._eigenvalues.copy()

    def spectral_gap(self, absolute: bool = True) -> float:
        """One less the largest other eigenvalue: its modulus, or if not ``absolute`` its real part."""
        others = self._eigenvalues[1:]
        if len(others) == 0:
            return 1.0
        return float(1 - (np.abs(others) if absolute else others.real).max())

    def relaxation_time(self) -> float:
        """1/absolute spectral gap, in steps; infinite for a periodic or reducible chain."""
        gap = self.spectral_gap()
        return 1 / gap if gap > 1e-14 else math.inf

    def distance(self, steps: int) -> float:
        """The largest total variation distance from the stationary law after that many steps, over all starts."""
        _count(steps)
        return self._distance(np.linalg.matrix_power(self._dense, steps))

    def mixing_time(self, distance: float = 0.25) -> int:
        """The first number of steps after which the law is within that total variation from any start; exact.

        The distance never rises, so the matrix is squared until it is small enough, and then bisected.
        """
        if not 0 < distance < 1:
            raise InputError(f"distance: between 0 and 1; seen {distance}")
        closed = [group for group, shut in self.communicating_classes() if shut]
        if len(closed) > 1 or self.period(closed[0][0]) > 1:
            raise InputError(
                f"this chain never mixes: it has {len(closed)} closed classes, the first of period "
                f"{self.period(closed[0][0])}; one of period 1 is needed, see `lazy`"
            )
        if self._distance(np.eye(self.size)) <= distance:
            return 0
        powers = [self._dense]
        while self._distance(powers[-1]) > distance:
            if len(powers) > 60:
                raise InputError("this chain does not mix within 2^60 steps")
            powers.append(_normalised(powers[-1] @ powers[-1]))
        steps, reached = 0, np.eye(self.size)
        for doubling in reversed(range(len(powers))):
            tried = _normalised(reached @ powers[doubling])
            if self._distance(tried) > distance:
                steps, reached = steps + 2**doubling, tried
        return steps + 1

    def mixing_time_bounds(self, distance: float = 0.25) -> tuple[float, float]:
        """What the relaxation time says of the mixing time of a reversible, irreducible chain: lower and upper bound.

        (t_rel - 1) ln(1/(2 d)) <= t_mix(d) <= t_rel ln(1/(d min pi)); theorems 12.4 and 12.5 of the reference.
        """
        law = self._irreducible("a bound by the spectral gap")
        if not self.is_reversible():
            raise InputError("these bounds hold for reversible chains; this one is not, see `mixing_time`")
        time = self.relaxation_time()
        return max(0.0, (time - 1) * math.log(1 / (2 * distance))), time * math.log(1 / (distance * law.min()))

    def hitting_times(self, target: Any) -> Array:
        """The mean number of steps to the first visit of a state or set of states, from each, (n,).

        Infinite from where the target may be missed for ever.
        """
        return tools.mean_times(tools.jumps(self.transition), tools.numbers(target, self.states, self.size))

    def hitting_probabilities(self, target: Any) -> Array:
        """The probability of ever visiting a state or set of states, from each, (n,)."""
        return tools.hitting(tools.jumps(self.transition), tools.numbers(target, self.states, self.size))

    def kemeny_constant(self) -> float:
        """The mean number of steps to a state drawn from the stationary law, the same from every start.

        The trace of the fundamental matrix (1 - P + 1 pi)^-1, less one; zero steps if it is the start.
        """
        fundamental = np.linalg.inv(np.eye(self.size) - self._dense + self._stationary)
        return float(np.trace(fundamental) - 1)

    def entropy_rate(self) -> float:
        """The entropy of the next step in the stationary chain, -sum_i pi_i sum_j P_ij ln P_ij, in nats."""
        return float(self._stationary @ special.entr(self._dense).sum(axis=1))

    def simulate(self, initial: Any, steps: int, seeds: Seeds) -> Tensor:
        """Paths, int64 of shape (paths, steps + 1), one a seed; a path goes on the same when asked for more steps.

        ``initial``: a state, a law (n,) to draw from, or int64 state numbers (paths,).
        """
        _count(steps)
        state = tools.first_states(initial, self.states, self.size, seeds)
        draw = tools.Drawing(self.transition, state.device)
        path = [state]
        for step in range(steps):
            path.append(draw(path[-1], seeds.at("step", step).uniform(())))
        return torch.stack(path, dim=1)

    @cached_property
    def _dense(self) -> Array:
        return self.transition.toarray() if sparse.issparse(self.transition) else self.transition

    def _distance(self, power: Array) -> float:
        return float(np.abs(power - self._stationary).sum(axis=1).max() / 2)

    def _irreducible(self, what: str) -> Array:
        if not self.is_irreducible:
            raise InputError(f"{what} needs an irreducible chain; this one has more than one communicating class")
        return self._stationary


def _normalised(power: Array) -> Array:
    """Rows that sum to one again: squaring would double their rounding each time."""
    return power / power.sum(axis=1, keepdims=True)


def _count(steps: int) -> None:
    if steps < 0:
        raise InputError(f"steps: a count of 0 or more; seen {steps}")
