"""A network's belief about tokens."""

import torch
from torch import Tensor, nn

from unstir.core.errors import unknown
from unstir.denoisers.discrete import CategoricalPosterior, ScoreEntropyPosterior
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.processes.categorical import CategoricalProcess

__all__ = ["TokensDenoiser"]

LOSSES = ("cross-entropy", "score-entropy")


class TokensDenoiser(LearnedDenoiser):
    """Logits of every token's clean class; under masking, a token that is not masked is known to be the clean one.

    The network sees the one-hot code of the noisy tokens, and is read for as many logits as the data has classes. Their
    softmax is taken in float64, so that draws are not biased by rounding.

    The ``loss`` is the ``cross-entropy`` per token (of masked tokens, under masking: the others are known), a bound on
    -log p(x_0) under masking and the weighting ``masked-likelihood``; or the ``score-entropy`` of the ratios that the
    belief implies, a bound under any noise and the weighting ``score-entropy``.

    Reference: Austin et al., Structured denoising diffusion models in discrete state-spaces (2021), section 3.3; Sahoo
    et al., Simple and effective masked diffusion language models (2024), section 3.2.3 (carried-over tokens); Lou,
    Meng, Ermon, Discrete diffusion modeling by estimating the ratios of the data distribution (2024), eq. 5.
    """

    process: CategoricalProcess

    def __init__(
        self,
        network: nn.Module | None,
        process: CategoricalProcess,
        layout: str = "sequence",
        loss: str = "cross-entropy",
    ) -> None:
        super().__init__(network, process, layout)
        if loss not in LOSSES:
            raise unknown("loss of tokens", loss, LOSSES)
        self.loss = loss

    @property
    def numbers(self) -> int:
        """A logit for each of the data's classes."""
        return self.process.classes

    def read(self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None) -> CategoricalPosterior:
        logs = numbers.double().log_softmax(-1)
        if self.process.absorbing:
            seen = (xt != self.process.mask_class)[..., None]
            known = torch.arange(self.process.classes, device=xt.device) == xt[..., None]
            logs = torch.where(seen, torch.where(known, 0.0, -torch.inf), logs)
        if self.loss == "score-entropy":
            return ScoreEntropyPosterior(logs, self.process, xt, t)
        return CategoricalPosterior(logs)
