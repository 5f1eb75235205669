"""Correction steps for tokens: back into the noise and out again, at one noise level."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.samplers.base import ANY_SPACE, Sampler, SamplerState
from unstir.samplers.token_steps import TOKENS, Moves, belief_at, bridge_law, follow_moves

__all__ = ["token_predictor_corrector"]


@dataclass(frozen=True)
class TokenCorrections:
    """How many corrections after a step, and which share of the step each goes back: in time, from s towards t."""

    count: int
    size: float

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.size <= 1:
            raise InputError(
                "at least 1 correction, of a size between 0 and 1 (the share of the step that is made anew), is "
                f"needed; seen {self.count} of size {self.size}"
            )

    def moves(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> Moves:
        """From the state at s into the noise and back to s, as often as there are corrections."""
        process, noisier, mean = denoiser.process, torch.lerp(s, t, self.size), None
        for _ in range(self.count):
            y = yield process.log_forward(x, s, noisier)
            belief, mean = belief_at(denoiser, y, noisier)
            x = yield bridge_law(process, belief, y, noisier, s)
        return mean


@dataclass(frozen=True)
class TokenPredictorCorrectorSampler(Sampler):
    """Another sampler's step, and corrections at the level it came to; none after the step into time 0."""

    predictor: Sampler
    corrections: TokenCorrections
    spaces = TOKENS
    order = 1

    def __post_init__(self) -> None:
        if self.predictor.spaces != ANY_SPACE and not TOKENS & self.predictor.spaces:
            raise InputError(f"the predictor must serve tokens; {type(self.predictor).__name__} does not")

    @property
    def calls_per_step(self) -> int | None:  # type: ignore[override]
        """The predictor's, and one for each correction."""
        calls = self.predictor.calls_per_step
        return None if calls is None else calls + self.corrections.count

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        moved = self.predictor.step(denoiser, state, t, s)
        if s == 0:
            return moved
        here = SamplerState(moved.x, state.seeds, state.step, mask=state.mask)
        x, _ = follow_moves(self.corrections.moves(denoiser, moved.tensor, t, s), here, "correction")
        return state.advance(x, moved.mean, moved.history)


def token_predictor_corrector(
    predictor: str | Mapping[str, Any] = "tau-leaping", corrections: int = 1, size: float = 0.5
) -> TokenPredictorCorrectorSampler:
    """Predictor-corrector for tokens: any sampler's step, then back into the noise and out again at the new level.

    A correction adds the noise of a ``size`` share of the step just made, exactly, and takes it away by the bridge. The
    law of the noise stays as it is if the belief is exact, up to what tokens do together within the correction; an
    error that the steps before have left is forgotten by and by. One call each.

    Reference: Campbell et al., A continuous time framework for discrete denoising models (2022), section 4.4, for
    forward and backward moves at one level; Gat et al., Discrete flow matching (2024), section 3.3.
    """
    return TokenPredictorCorrectorSampler(build("samplers", predictor), TokenCorrections(corrections, size))


token_predictor_corrector.examples = lambda: {  # type: ignore[attr-defined]
    "tau-leaping": token_predictor_corrector(),
    "ancestral, two corrections": token_predictor_corrector("ancestral", 2, 1.0),
    "theta-trapezoidal": token_predictor_corrector("theta-trapezoidal", 1, 0.5),
}
