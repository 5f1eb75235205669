"""Markov chains in continuous time on finitely many states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg, sparse
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics import markov_tools as tools
from unstir.physics.jump_process import evolve
from unstir.physics.markov_chain import MarkovChain
from unstir.physics.units import dimensions

__all__ = ["ContinuousTimeMarkovChain"]

Array = NDArray[np.float64]


@dimensions(generator="1/time")
@dataclass(frozen=True, eq=False)
class ContinuousTimeMarkovChain:
    """Markov jump process on n states: laws by exp(Qt), stationary law, hitting times, exact draws.

    ``generator`` Q (n, n), dense or scipy-sparse (1/time): the rate from row to column off the diagonal, rows sum to
    zero. ``states`` are names for them; every method takes a state by its number or its name.

    Raises InputError for a matrix that is no generator.

    Reference: Norris 1997, "Markov Chains", chapters 2 and 3; Gillespie 1977, "Exact stochastic simulation of coupled
    chemical reactions" (draws).
    """

    generator: Any
    states: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        matrix = tools.square(self.generator, "generator")
        moving = tools.jumps(matrix)
        largest = float(moving.sum(axis=1).max())
        off = np.abs(matrix.sum(axis=1))
        if (moving.data < 0).any() or off.max() > 1e-9 * max(largest, 1e-300):
            raise InputError(
                "generator: rates that are not negative off the diagonal, and rows that sum to zero, are needed; "
                f"seen a smallest rate of {moving.data.min(initial=0.0):.3g}, and row {int(off.argmax())} sums to "
                f"{matrix.sum(axis=1)[off.argmax()]:.3g}"
            )
        tools.check_names(self.states, matrix.shape[0])
        object.__setattr__(self, "generator", matrix)

    @property
    def size(self) -> int:
        """How many states there are."""
        return self.generator.shape[0]

    @dimensions("1", time="time")
    def transition(self, time: Any) -> Array:
        """The probabilities exp(Qt) from row to column after a time (time), dense (n, n), none below zero.

        A short time by uniformization, squared until it is the whole.
        """
        clock = _times(time)
        if clock.ndim:
            raise InputError(f"time: one number is needed; seen the shape {clock.shape}, see `law` for several")
        return self._power(float(clock))

    @dimensions("1", times="time")
    def law(self, initial: Any, times: Any) -> Array:
        """The law after ``times`` (time, any shape), of shape (*times, n); ``initial`` is a state or a law (n,)."""
        law = tools.initial_law(initial, self.states, self.size)
        clock = _times(times)
        if sparse.issparse(self.generator):
            found, state, now = {}, law, 0.0
            for time in np.unique(clock).tolist():
                state, now = evolve(self._forward, state, time - now), time
                found[time] = state
            laws = [found[time] for time in clock.ravel().tolist()]
        else:
            laws = [law @ self._power(time) for time in clock.ravel().tolist()]
        return np.stack(laws).reshape(*clock.shape, self.size)

    @cached_property
    def _stationary(self) -> Array:
        return tools.stationary(self.generator)

    def stationary(self) -> Array:
        """The law that does not change, (n,); every element to many digits, by sums without a subtraction."""
        return self._stationary.copy()

    def is_reversible(self, tolerance: float = 1e-9) -> bool:
        """Whether detailed balance holds: pi_i Q_ij = pi_j Q_ji, to that relative error."""
        flow = sparse.diags_array(self._stationary) @ self._moving
        return bool(((abs(flow - flow.T) - tolerance * (flow + flow.T)).tocoo().data <= 0).all())

    @dimensions("1/time")
    def spectral_gap(self) -> float:
        """The smallest real part of the other eigenvalues of -Q (1/time): how fast the slowest mode is forgotten."""
        return self._gap

    @dimensions("time")
    def relaxation_time(self) -> float:
        """1/spectral gap (time); infinite where two classes are closed."""
        return 1 / self._gap if self._gap > 1e-14 * self._fastest else math.inf

    @dimensions("time")
    def hitting_times(self, target: Any) -> Array:
        """The mean time (time) to the first visit of a state or set of states, from each, (n,).

        Infinite from where the target may be missed for ever.
        """
        return tools.mean_times(self._moving, tools.numbers(target, self.states, self.size))

    def hitting_probabilities(self, target: Any) -> Array:
        """The probability of ever visiting a state or set of states, from each, (n,)."""
        return tools.hitting(self._moving, tools.numbers(target, self.states, self.size))

    def embedded(self) -> MarkovChain:
        """The chain of the states in their order, with their times forgotten; one without an exit stays."""
        leaving = self._moving.sum(axis=1)
        scale = np.divide(1.0, leaving, out=np.zeros_like(leaving), where=leaving > 0)
        chain = sparse.diags_array(scale) @ self._moving + sparse.diags_array((leaving == 0).astype(np.float64))
        return MarkovChain(sparse.csr_array(chain) if sparse.issparse(self.generator) else chain.toarray(), self.states)

    @dimensions(times="time")
    def simulate(self, initial: Any, times: Any, seeds: Seeds) -> Tensor:
        """Exact draws of the states at rising ``times`` (time, from zero), int64 of shape (paths, times).

        ``initial``, the state at time zero: a state, a law (n,) to draw from, or int64 state numbers (paths,).
        Every jump is drawn, waiting time and goal.
        """
        state = tools.first_states(initial, self.states, self.size, seeds)
        marks = torch.as_tensor(_times(times), device=state.device)
        if marks.ndim != 1 or len(marks) == 0 or bool((marks.diff() < 0).any()):
            raise InputError(f"times: a rising list is needed; seen {times!r}")
        draw = tools.Drawing(self.embedded().transition, state.device)
        leaving = torch.as_tensor(self._moving.sum(axis=1), device=state.device)
        clock = torch.zeros(len(seeds), dtype=torch.float64, device=state.device)
        found = state[:, None].repeat(1, len(marks))
        active = torch.arange(len(seeds), device=state.device)
        jump = 0
        while len(active):
            uniform = seeds[active].at("jump", jump).uniform((2,))
            waited = -torch.log(uniform[:, 0]) / leaving[state[active]]  # infinite where nothing leaves
            clock[active] = clock[active] + waited
            state[active] = draw(state[active], uniform[:, 1])
            later = marks >= clock[active, None]
            found[active] = torch.where(later, state[active, None], found[active])
            active = active[clock[active] <= marks[-1]]
            jump += 1
        return found

    def _power(self, duration: float) -> Array:
        halvings = max(0, math.ceil(math.log2(max(duration * self._fastest, 1.0))))
        found = evolve(self._forward, np.eye(self.size), duration / 2**halvings).T
        for _ in range(halvings):
            found = found @ found
            found /= found.sum(axis=1, keepdims=True)
        return found

    @cached_property
    def _gap(self) -> float:
        values: Any = linalg.eigvals(self._dense)
        return float(-np.sort(values.real)[::-1][1]) if self.size > 1 else math.inf

    @cached_property
    def _moving(self) -> Any:
        return tools.jumps(self.generator)

    @cached_property
    def _forward(self) -> Any:
        return sparse.csr_array(self._moving.T - sparse.diags_array(self._moving.sum(axis=1)))

    @cached_property
    def _dense(self) -> Array:
        return self.generator.toarray() if sparse.issparse(self.generator) else self.generator

    @cached_property
    def _fastest(self) -> float:
        return float(self._moving.sum(axis=1).max())


def _times(times: Any) -> Array:
    clock = np.asarray(times, dtype=np.float64)
    if not np.isfinite(clock).all() or (clock < 0).any():
        raise InputError(f"times: finite, and not before zero; seen {times!r}")
    return clock
