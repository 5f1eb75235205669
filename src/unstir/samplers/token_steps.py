r"""What samplers of tokens share: the reversed chain's rates, its clock, and laws of every token's next class.

Within a step every token moves by itself: a step is a few *moves*, each a table of log-probabilities of the next class
of every token. A sampler tells its moves, and leaves the drawing to whoever follows them: to ``TokenSampler.step``, or
to a check that sums over all states in place of drawing.

Rates are counted by a clock v in which they stay level: :math:`v = \log(1-e^{-\tau})`, the logarithm of the share
touched, under masking, and minus the log-SNR for rates that lead to and fro. A masked token then comes free at the rate
one whatever the schedule, and a class that is out of place near the data is left at about that rate.
"""

from abc import abstractmethod
from collections.abc import Generator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from unstir.core.choices import choose, normalised
from unstir.core.errors import InputError
from unstir.core.state import apply_mask, beside
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import behind, log_marginals, log_ratios
from unstir.processes.categorical import CategoricalProcess
from unstir.samplers.base import Sampler, SamplerState

TOKENS = frozenset({"tokens"})
Moves: TypeAlias = Generator[Tensor, Tensor, Any]
"""Log-probabilities (batch, ..., states) of each move, the drawn state sent back; returns the first belief's mean."""


class TokenSampler(Sampler):
    """A sampler whose steps are moves, in each of which all tokens move by themselves."""

    spaces = TOKENS

    @abstractmethod
    def moves(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> Moves:
        """The moves of a step from t to s."""

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        x, mean = follow_moves(self.moves(denoiser, state.tensor, t, s), state, "move")
        return state.advance(x, mean)


def follow_moves(moves: Moves, state: SamplerState, purpose: str) -> tuple[Tensor, Any]:
    """The state after all moves, drawn at addresses of this step, and what the moves returned."""
    seeds, x, number = state.step_seeds().at(purpose), state.tensor, 0
    try:
        law = next(moves)
        while True:
            x = apply_mask(choose(_of_elements(law, state.mask), seeds.at(number)), state.mask)
            number += 1
            law = moves.send(x)
    except StopIteration as end:
        return x, end.value


def _of_elements(law: Tensor, mask: Tensor | None) -> Tensor:
    """The law, even where there is no element: what padding holds need not be possible."""
    if mask is None:
        return law
    return torch.where(beside(mask, law), law, 0.0)


def belief_at(denoiser: Denoiser, x: Tensor, t: Tensor) -> tuple[Tensor, Any]:
    """What the denoiser believes of each clean token, log-probabilities (batch, ..., classes), and its mean."""
    posterior = denoiser(x, t)
    return log_marginals(posterior, denoiser.process.classes), posterior.mean


def masked_process(denoiser: Denoiser, name: str) -> CategoricalProcess:
    """The denoiser's process, if it masks; an error that says what else to take if it does not."""
    process = denoiser.process
    if not process.absorbing:
        raise InputError(
            f"{name} needs a process that masks, CategoricalProcess(classes, rates='absorbing'); under other rates "
            "take theta-trapezoidal, tau-leaping or token-predictor-corrector"
        )
    return process


def reading(process: CategoricalProcess, t: Tensor) -> Tensor:
    """v at the time t: minus infinity at the clean end."""
    noise = -process.schedule.log_snr(t)
    return torch.nn.functional.logsigmoid(noise) if process.absorbing else noise


def time_of(process: CategoricalProcess, v: Tensor) -> Tensor:
    """The time at which the clock reads v."""
    return process.schedule.time(torch.log(-torch.expm1(v)) - v if process.absorbing else -v)


def reverse_rates(process: CategoricalProcess, belief: Tensor, x: Tensor, t: Tensor) -> Tensor:
    r"""The reversed chain's rates from x to every class in units of v, (batch, ..., states); zero to where it is.

    :math:`\hat R(x \to y) = Q(y, x)\,\frac{p_t(y)}{p_t(x)}\,\frac{d\tau}{dv}`, exact if the belief is.
    """
    if process.absorbing:
        hidden = (x == process.mask_class)[..., None]
        return torch.nn.functional.pad(torch.where(hidden, belief.exp(), 0.0), (0, 1))
    rates = process.generator.to(x.device).T[x] * log_ratios(belief, x, process, t).exp()
    return without(rates, x) * -torch.expm1(-process.clock(t))


def without(rates: Tensor, x: Tensor) -> Tensor:
    """The rates (batch, ..., states), zero to the classes that the tokens have."""
    return rates.scatter(-1, x[..., None], 0.0)


def leap(x: Tensor, rates: Tensor, width: Tensor) -> Tensor:
    """The law after a stretch of constant rates: a token that jumps goes where the rates lead, and stays there."""
    total = rates.sum(-1, keepdim=True)
    gone = -torch.expm1(-total * width)
    law = rates / torch.where(total > 0, total, 1.0) * gone
    return law.scatter(-1, x[..., None], 1 - gone).log()


def bridge_law(process: CategoricalProcess, belief: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The law of each token at s given x at t, by the bridge averaged over the belief about that token.

    Exact for a single token whatever the width of the step, and never a mask at s = 0.
    """
    start = torch.zeros_like(t)
    back = process.log_backward(x, s, t)
    return normalised(process.log_mixture(behind(belief, x, process, t), start, s) + back)
