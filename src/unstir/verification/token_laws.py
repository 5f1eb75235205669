"""Laws of sequences so short that a sampler's own law is known: probabilities of all states pushed through its steps.

In place of drawing, every state that a move can lead to is followed with its probability. What a table of steps or an
order is measured on here has no noise of its own.
"""

import itertools
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior, log_marginals
from unstir.exact.categorical import TokenChainDenoiser
from unstir.processes.categorical import CategoricalProcess
from unstir.samplers.base import time_grid
from unstir.samplers.token_steps import Moves

# each row is what follows a class: tokens that tell much of each other (a move may make one twenty times less likely),
# and little (none halves another's probability)
STRONG = ((0.5, 0.3, 0.2), ((0.8, 0.18, 0.02), (0.1, 0.6, 0.3), (0.5, 0.02, 0.48)))
MILD = ((0.4, 0.35, 0.25), ((0.45, 0.3, 0.25), (0.3, 0.4, 0.3), (0.25, 0.3, 0.45)))
_MOST_PATHS = 2**21


@runtime_checkable
class Moving(Protocol):
    """Whatever tells its moves, as samplers of tokens do."""

    def moves(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> Moves:
        """Log-probabilities of every move from t to s."""
        ...


class TokenwiseDenoiser(Denoiser):
    """What another's belief says of every token by itself: all that a network could tell."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.process = denoiser, denoiser.process

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> CategoricalPosterior:
        """The marginals of the belief."""
        belief = self.denoiser(xt, t, drop, **condition)
        return CategoricalPosterior(log_marginals(belief, self.process.classes))


def chain_law(rows: Any, process: CategoricalProcess, length: int = 3) -> TokenChainDenoiser:
    """A Markov chain of this many tokens, such as ``STRONG``."""
    initial, transition = rows
    return TokenChainDenoiser(initial, transition, process, length)


def all_states(process: CategoricalProcess, length: int) -> Tensor:
    """Every state of so many tokens, int64 (states^length, length); the first token turns slowest."""
    return torch.tensor(list(itertools.product(range(process.states), repeat=length)))


@torch.no_grad()
def push(moving: Moving, denoiser: Denoiser, states: Tensor, law: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The law (states,) after a step from t to s, of one that is ``law`` before it."""
    after = torch.zeros_like(law)
    live = (law > 0).nonzero()[:, 0]
    for rows in live.split(max(1, _MOST_PATHS // len(states) ** 2)):
        x, weight, index, path = states[rows], law[rows], rows, []
        while True:
            # a generator cannot be copied: the way so far is gone again, for every branch of it
            moves = moving.moves(denoiser, x, t, s)
            table = next(moves)
            try:
                for state in path:
                    table = moves.send(state)
            except StopIteration:
                break
            chances = weight[:, None] * joint(table, states)
            branch, index = (chances > 0).nonzero().T
            x, weight, path = x[branch], chances[branch, index], [*(state[branch] for state in path), states[index]]
        after.index_add_(0, index, weight)
    return after


def joint(table: Tensor, states: Tensor) -> Tensor:
    """Probabilities (batch, states) of all states, from log-probabilities (batch, n, classes) of single tokens."""
    places = torch.arange(states.shape[1])
    return table[:, places, states].sum(-1).exp()


def marginal(law: TokenChainDenoiser, states: Tensor, t: Tensor | float) -> Tensor:
    """The exact law of x_t over all states; without noise masked tokens have no probability."""
    if not torch.as_tensor(t).item():
        clean = (states < law.process.classes).all(1)
        chances = law.log_density(torch.where(clean[:, None], states, 0), 0.0).exp()
        return torch.where(clean, chances, 0.0)
    return law.log_density(states, t).exp()


def law_after(movings: Sequence[Moving], law: TokenChainDenoiser, times: Tensor) -> tuple[Tensor, Tensor]:
    """All states, and the law that a sampler has at the last of the times, from the noise's own at the first.

    Each step takes the moves of all ``movings`` in turn; all but the first only where it does not end at time 0, and
    from the noise level it came to: corrections.
    """
    states, denoiser = all_states(law.process, law.shape[0]), TokenwiseDenoiser(law)
    chances = marginal(law, states, times[0])
    for t, s in pairwise(times):
        for number, moving in enumerate(movings):
            if s > 0 or not number:
                chances = push(moving, denoiser, states, chances, t, s)
    return states, chances


def distance(law: TokenChainDenoiser, states: Tensor, chances: Tensor, t: Tensor | float) -> float:
    """Total variation from the exact law at t."""
    if abs(chances.sum().item() - 1) > 1e-9:
        return math.nan  # probability was lost
    return 0.5 * (chances - marginal(law, states, t)).abs().sum().item()


def errors_after(movings: Sequence[Moving], law: TokenChainDenoiser, counts: Sequence[int]) -> list[float]:
    """Total variation of clean samples after each number of steps, at even times from pure noise."""
    found = []
    for steps in counts:
        states, chances = law_after(movings, law, time_grid(law.process, "uniform", steps))
        found.append(distance(law, states, chances, 0.0))
    return found


def steps_for(wanted: float, movings: Sequence[Moving], law: TokenChainDenoiser, most: int = 128) -> int:
    """The fewest steps that reach a total variation, zero where ``most`` do not; errors are taken to fall."""
    low, high = 0, 1
    while errors_after(movings, law, [high])[0] > wanted:
        low, high = high, 2 * high
        if high > most:
            return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if errors_after(movings, law, [middle])[0] <= wanted else (middle, high)
    return high
