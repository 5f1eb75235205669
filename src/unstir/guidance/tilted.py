"""A belief weighted by an energy of the clean data, on any space."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import map_state
from unstir.denoisers.posteriors import Posterior

_HUGE = 1e300


@dataclass(frozen=True)
class TiltedPosterior(Posterior):
    r"""The belief in proportion to :math:`p(x_0|x_t)\,e^{-wE(x_0)}`, drawn from by importance resampling.

    Of ``candidates`` draws from ``belief`` one is kept, with chances in proportion to its factor. The energy needs no
    gradient and the space no shape: what the belief can draw, serves. That is the exact belief of the law
    :math:`p(x_0)e^{-wE(x_0)}`, with a bias that falls as one over the candidates and grows with the range of the energy
    among them. ``strength`` w is () or (batch,). ``mean`` is that of ``belief``: a sampler must draw to see the energy.

    Reference: Rubin, The calculation of posterior distributions by data augmentation: comment (1987).
    """

    mean: Any = field(init=False)
    belief: Posterior
    energy: Callable[[Any], Tensor]
    strength: Tensor
    candidates: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self.belief.mean)

    def sample(self, seeds: Seeds) -> Any:
        drawn = [self.belief.sample(seeds.at("candidate", number)) for number in range(self.candidates)]
        energies = torch.stack([self.energy(x0).double() for x0 in drawn], 1)
        strength = self.strength.reshape(-1, 1)
        logs = torch.where(strength == 0, 0.0, -strength * energies)
        # an infinite energy forbids, but where it forbids every candidate there must still be one
        chosen = choose(torch.nan_to_num(logs, nan=-_HUGE, posinf=_HUGE, neginf=-_HUGE), seeds.at("chosen"))
        rows = torch.arange(len(chosen), device=chosen.device)
        return map_state(lambda *parts: torch.stack(parts)[chosen, rows], *drawn)

    def log_prob(self, x0: Any) -> Tensor:
        """Refused: what it sums to is not known."""
        raise InputError("a tilted belief can be drawn from, but its density is known up to a factor only")
