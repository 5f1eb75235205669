"""A belief beyond another one, on spaces where no formula says what that is."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import map_state
from unstir.denoisers.posteriors import Posterior


@dataclass(frozen=True)
class ReweightedPosterior(Posterior):
    r"""The belief in proportion to :math:`p_c(x_0)\,(p_c(x_0)/p_u(x_0))^w`, drawn from by importance resampling.

    Of ``candidates`` draws from ``conditional`` one is kept, with chances in proportion to its ratio. All that is asked
    of a belief is that it can be drawn from and has a density, so that any space is served; the bias falls as one over
    the candidates, and is small while a sample has few elements and the ``strength`` w, () or (batch,), is moderate.
    ``mean`` is that of ``conditional``.

    Reference: Rubin, The calculation of posterior distributions by data augmentation: comment (1987).
    """

    mean: Any = field(init=False)
    conditional: Posterior
    unconditional: Posterior
    strength: Tensor
    candidates: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self.conditional.mean)

    def sample(self, seeds: Seeds) -> Any:
        drawn = [self.conditional.sample(seeds.at("candidate", number)) for number in range(self.candidates)]
        ratios = [self.conditional.log_prob(x0).double() - self.unconditional.log_prob(x0).double() for x0 in drawn]
        logs = self.strength.reshape(-1, 1) * torch.stack(ratios, 1)
        # what cannot be without the condition is no better than the likeliest
        chosen = choose(torch.nan_to_num(logs, nan=0.0, posinf=1e300, neginf=-1e300), seeds.at("chosen"))
        rows = torch.arange(len(chosen), device=chosen.device)
        return map_state(lambda *parts: torch.stack(parts)[chosen, rows], *drawn)

    def log_prob(self, x0: Any) -> Tensor:
        """Refused: what it sums to is not known."""
        raise InputError("a belief guided on this space can be drawn from, but its density is not known")
