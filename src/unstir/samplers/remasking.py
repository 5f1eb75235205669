r"""Masked diffusion whose tokens may be masked again, so that what was shown too early can be mended.

A token that is shown at t is masked at s with the chance :math:`\sigma`; one that is masked is shown with the chance
:math:`(m_t - m_s + \sigma(1-m_t))/m_t`, where m is the share masked. Whatever :math:`\sigma \le m_s/(1-m_t)`, the law
of x_s given the clean data is then that of the noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError, unknown
from unstir.core.state import apply_mask
from unstir.denoisers.base import Denoiser
from unstir.processes.categorical import CategoricalProcess
from unstir.samplers.base import SamplerState
from unstir.samplers.token_steps import Moves, TokenSampler, belief_at, masked_process

__all__ = ["RemaskingSampler"]

VARIANTS = ("cap", "confidence", "rescale")


@dataclass(frozen=True)
class RemaskingSampler(TokenSampler):
    """Unmasking with remasking (ReMDM): steps in which tokens that were shown may be masked again.

    ``variant`` says with which chance: ``cap`` the ``strength``, as far as is allowed; ``rescale`` that share of what
    is allowed; ``confidence`` shares out the latter over the tokens of a sample, most to those that were shown with the
    least probability (the chances of a sample then add up to no more than ``strength``, and masked tokens are shown as
    if there was no remasking, so that the noise's law is kept nearly, not exactly). Remasking begins once a share of
    no more than ``below`` is masked.

    Reference: Wang et al., Remasking discrete diffusion models with inference-time scaling (2025), section 4.
    """

    variant: str = "rescale"
    strength: float = 0.5
    below: float = 1.0
    order = 1

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise unknown("variant of remasking", self.variant, VARIANTS)
        if not 0 <= self.strength <= 1 or not 0 <= self.below <= 1:
            raise InputError(
                f"strength and below are shares between 0 and 1; seen strength {self.strength} and below {self.below}"
            )

    @classmethod
    def examples(cls) -> Mapping[str, "RemaskingSampler"]:
        """Members whose claims are measured."""
        return {
            "rescale": cls(),
            "cap": cls("cap", 0.1),
            "confidence": cls("confidence", 1.0),
            "rescale, once half is shown": cls("rescale", 0.5, 0.5),
        }

    def moves(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> Moves:
        """The move of a step; of the variant ``confidence`` as if all tokens had been shown with one probability."""
        process = masked_process(denoiser, "remasking")
        belief, mean = belief_at(denoiser, x, t)
        even = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        yield remasking_law(process, belief, x, t, s, self._chance(process, x, t, s, even))
        return mean

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        if self.variant != "confidence":
            return super().step(denoiser, state, t, s)
        process, x = masked_process(denoiser, "remasking"), state.tensor
        belief, mean = belief_at(denoiser, x, t)
        told = state.history[0] if state.history else torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        law = remasking_law(process, belief, x, t, s, self._chance(process, x, t, s, told, state.mask))
        drawn = apply_mask(choose(law, state.step_seeds().at("move")), state.mask)
        fresh = (x == process.mask_class) & (drawn != process.mask_class)
        seen = belief.gather(-1, torch.where(fresh, drawn, 0)[..., None])[..., 0].exp()
        return state.advance(drawn, mean, (torch.where(fresh, seen, told),))

    def _chance(
        self,
        process: CategoricalProcess,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        confidence: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """sigma of every token, () or of the shape of x."""
        hidden, left = process.schedule.log_snr(t).neg().sigmoid(), process.schedule.log_snr(s).neg().sigmoid()
        allowed = bool(left > 0) and bool(hidden <= self.below)
        most = (left / (1 - hidden)).clamp(max=1.0) if allowed else torch.zeros_like(hidden)
        if self.variant == "cap":
            return most.clamp(max=self.strength)
        if self.variant == "rescale":
            return most * self.strength
        shown = x != process.mask_class
        if mask is not None:
            shown = shown & apply_mask(torch.ones_like(shown), mask).bool()
        shares = torch.where(shown, -confidence, -torch.inf).flatten(1).softmax(1)
        # a sample that shows nothing has nothing to mask
        return most * self.strength * torch.nan_to_num(shares, nan=0.0).reshape(x.shape)


def remasking_law(
    process: CategoricalProcess, belief: Tensor, x: Tensor, t: Tensor, s: Tensor, chance: Tensor
) -> Tensor:
    """Log-probabilities of each token at s, (batch, ..., states), given x at t and the chance to be masked again."""
    hidden, left = process.schedule.log_snr(t).neg().sigmoid(), process.schedule.log_snr(s).neg().sigmoid()
    masked = x == process.mask_class
    freed = ((hidden - left + chance * (1 - hidden)) / hidden).clamp(0.0, 1.0).expand(x.shape)
    shown = torch.where(masked, freed, 1 - chance)[..., None]
    here = torch.nn.functional.one_hot(torch.where(masked, 0, x), process.classes).double()
    classes = torch.where(masked[..., None], belief.exp(), here) * shown
    return torch.cat((classes, 1 - shown), -1).log()
