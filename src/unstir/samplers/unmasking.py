"""Masked diffusion that shows the tokens it is surest of first."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.choices import choose, normalised
from unstir.core.errors import InputError, unknown
from unstir.core.state import apply_mask
from unstir.denoisers.base import Denoiser
from unstir.samplers.base import Sampler, SamplerState
from unstir.samplers.token_steps import TOKENS, belief_at, masked_process

__all__ = ["ConfidenceUnmaskingSampler"]

CRITERIA = ("entropy", "margin", "probability", "random")


@dataclass(frozen=True)
class ConfidenceUnmaskingSampler(Sampler):
    """Shows as many tokens a step as the schedule says, those first of which the belief is surest (MaskGIT).

    After a step to s the schedule's share of a sample's tokens is masked, rounded up, so that the last step shows one
    at least; a step that shows none costs no call. ``criterion`` says what is sure: ``probability`` that of the class
    that was drawn (greedy, with ``temperature`` 0), ``margin`` of the likeliest class above the next, ``entropy`` a low
    one, ``random`` nothing. ``temperature`` sharpens the belief that classes are drawn from, 0 takes the likeliest;
    ``noise`` adds Gumbel noise to what is sure, times the share still masked.

    One token a step, classes at temperature 1 and a criterion that does not look at what was drawn (all but
    ``probability``) give the law of the data exactly, if the belief is exact. Everything else is sharper than it.

    Reference: Chang et al., MaskGIT: masked generative image transformer (2022), section 3.2; Kim et al., Train for the
    worst, plan for the best: understanding token ordering in masked diffusions (2025), section 4 (margin).
    """

    criterion: str = "probability"
    temperature: float = 1.0
    noise: float = 0.0
    spaces = TOKENS
    order = 1

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise unknown("criterion of unmasking", self.criterion, CRITERIA)
        if not 0 <= self.temperature < torch.inf or not 0 <= self.noise < torch.inf:
            raise InputError(
                f"temperature and noise are not negative; seen temperature {self.temperature} and noise {self.noise}"
            )

    @classmethod
    def examples(cls) -> Mapping[str, "ConfidenceUnmaskingSampler"]:
        """Members whose claims are measured."""
        return {
            "probability": cls(),
            "probability, with noise": cls(noise=1.0),
            "margin": cls("margin"),
            "entropy": cls("entropy"),
            "random": cls("random"),
            "greedy": cls(temperature=0.0),
        }

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        process, x, seeds = masked_process(denoiser, "confidence-unmasking"), state.tensor, state.step_seeds()
        places = apply_mask(torch.ones_like(x), state.mask).bool()
        masked = (x == process.mask_class) & places
        share = process.schedule.log_snr(s).neg().sigmoid()
        wanted = (places.flatten(1).sum(1) * share - 1e-6).ceil().long()  # rounding must not add a token
        shown = (masked.flatten(1).sum(1) - wanted).clamp(min=0)
        if not bool(shown.any()):
            return state.advance(x, state.mean)
        belief, mean = belief_at(denoiser, x, t)
        sharp = belief.argmax(-1) if self.temperature == 0 else None
        drawn = choose(normalised(belief / self.temperature), seeds.at("class")) if sharp is None else sharp
        scores = self._scores(belief, drawn)
        if self.noise or self.criterion == "random":
            level = 1.0 if self.criterion == "random" else self.noise * share
            scores = scores - level * (-seeds.at("order").to(x.device).uniform(tuple(x.shape[1:])).log()).log()
        ranked = torch.where(masked, scores, -torch.inf).flatten(1).argsort(dim=1, descending=True, stable=True)
        first = (ranked.argsort(1) < shown[:, None]).reshape(x.shape)
        return state.advance(torch.where(first & masked, drawn, x), mean)

    def _scores(self, belief: Tensor, drawn: Tensor) -> Tensor:
        """How sure every token is, of the shape of ``drawn``."""
        if self.criterion == "probability":
            return belief.gather(-1, drawn[..., None])[..., 0]
        if self.criterion == "entropy":
            return torch.special.xlogy(belief.exp(), belief.exp()).sum(-1)
        if self.criterion == "margin":
            best = belief.exp().topk(min(2, belief.shape[-1]), -1).values
            return best[..., 0] - (best[..., 1] if best.shape[-1] > 1 else 0.0)
        return torch.zeros(drawn.shape, dtype=torch.float64, device=drawn.device)
