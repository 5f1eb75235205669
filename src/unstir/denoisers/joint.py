"""Belief about several parts at once, and mixtures of beliefs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.seeds import Seeds
from unstir.core.state import beside, map_state
from unstir.denoisers.posteriors import Posterior


@dataclass(frozen=True)
class JointPosterior(Posterior):
    """A belief for each named part, independent of one another; ``mean`` is a dict.

    ``weights``, (batch,) for each part, are those of the parts' losses; all one by default. ``mask_of`` makes of the
    mask of a padded set that of each part, where they differ (``JointProcess.mask_of``).
    """

    mean: dict[str, Any] = field(init=False)
    parts: Mapping[str, Posterior]
    weights: Mapping[str, Tensor] | None = None
    mask_of: Callable[[Tensor | None], Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", {name: part.mean for name, part in self.parts.items()})

    def part(self, name: str) -> Posterior:
        """The belief about one part."""
        return self.parts[name]

    def sample(self, seeds: Seeds) -> Any:
        return {name: part.sample(seeds.at(name)) for name, part in self.parts.items()}

    def log_prob(self, x0: Any) -> Tensor:
        return torch.stack([part.log_prob(x0[name]) for name, part in self.parts.items()]).sum(0)

    def loss(self, x0: Any, mask: Tensor | None = None) -> Tensor:
        """The weighted sum of the parts' losses, each by its own measure per element."""
        masks = dict.fromkeys(self.parts, mask) if self.mask_of is None else self.mask_of(mask)
        losses = {name: part.loss(x0[name], masks[name]) for name, part in self.parts.items()}
        if self.weights is not None:
            losses = {name: self.weights[name].to(loss) * loss for name, loss in losses.items()}
        return torch.stack(list(losses.values())).sum(0)


@dataclass(frozen=True)
class MixedPosterior(Posterior):
    """A mixture of beliefs of one kind: ``log_weights`` (batch, k), normalised, and the k ``members``.

    The parts of a joint belief, or the tokens of a product, then hang together through the hidden member.
    """

    mean: Any = field(init=False)
    log_weights: Tensor
    members: Sequence[Posterior]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", mixed_mean(self.log_weights.exp(), self.members))

    def part(self, name: str) -> "MixedPosterior":
        """The belief about one part of joint members, whatever the others are."""
        return MixedPosterior(self.log_weights, [member.part(name) for member in self.members])  # type: ignore[attr-defined]

    def sample(self, seeds: Seeds) -> Any:
        member = choose(self.log_weights, seeds.at("member"))
        # each sample takes one member's draw, so that all of them may be drawn at one address
        drawn = [posterior.sample(seeds.at("within")) for posterior in self.members]
        rows = torch.arange(len(member), device=member.device)
        return map_state(lambda *parts: torch.stack(parts)[member, rows], *drawn)

    def log_prob(self, x0: Any) -> Tensor:
        logs = torch.stack([posterior.log_prob(x0).double() for posterior in self.members], 1)
        return torch.logsumexp(self.log_weights + logs, 1)

    def loss(self, x0: Any, mask: Tensor | None = None) -> Tensor:
        """Negative log-density in nats per element of all parts together."""
        if mask is not None:
            return super().loss(x0, mask)
        elements = sum(tensor[0].numel() for tensor in (x0.values() if isinstance(x0, Mapping) else (x0,)))
        return -self.log_prob(x0) / elements


def mixed_mean(weights: Tensor, members: Sequence[Any]) -> Any:
    """The mean of a mixture with the weights (batch, k): means are averaged, on curved spaces their first moments."""
    first = members[0]
    if isinstance(first, JointPosterior):
        return {name: mixed_mean(weights, [member.parts[name] for member in members]) for name in first.parts}
    if hasattr(first, "direction"):
        return first.direction(_average(weights, [member.moment for member in members]))
    return map_state(lambda *means: _average(weights, means).to(means[0].dtype), *(member.mean for member in members))


def _average(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack(list(values), 1)
    return (beside(weights, stacked) * stacked).sum(1)
