"""Belief about a sequence that is a Markov chain."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.choices import choose, normalised
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import Posterior


@dataclass(frozen=True)
class ChainPosterior(Posterior):
    """A mixture of Markov chains, each token seen through its own evidence: again Markov chains.

    ``log_weights`` (batch, l) of the chains, ``initial`` (l, k) and ``transition`` (l, k, k) their logarithms, and
    ``evidence`` (batch, n, k) the log-likelihood of what was seen of each token. ``log_evidence`` (batch, l) is what
    each chain gives to all of it. ``mean`` holds the classes' marginal probabilities (batch, n, k).
    """

    mean: Tensor = field(init=False)
    log_weights: Tensor
    initial: Tensor
    transition: Tensor
    evidence: Tensor
    log_evidence: Tensor = field(init=False)
    _messages: Tensor = field(init=False)  # (batch, l, n, k): evidence of this token and of all later ones

    def __post_init__(self) -> None:
        length = self.evidence.shape[1]
        message = self.evidence[:, None, -1].expand(-1, len(self.initial), -1)
        messages = [message]
        for place in range(length - 2, -1, -1):
            later = torch.logsumexp(self.transition + message[..., None, :], -1)
            message = self.evidence[:, None, place] + later
            messages.append(message)
        object.__setattr__(self, "_messages", torch.stack(messages[::-1], 2))
        object.__setattr__(self, "log_evidence", torch.logsumexp(self.initial + message, -1))
        object.__setattr__(self, "mean", self._marginals())

    @property
    def log_shares(self) -> Tensor:
        """The chains' weights after what was seen, (batch, l)."""
        return normalised(self.log_weights + self.log_evidence)

    def sample(self, seeds: Seeds) -> Tensor:
        """One sequence a sample, int64 (batch, n), drawn from its first token to its last."""
        chain = choose(self.log_shares, seeds.at("chain"))
        rows = torch.arange(len(chain), device=chain.device)
        messages = self._messages[rows, chain]
        token = choose(self.initial[chain] + messages[:, 0], seeds.at("token", 0))
        tokens = [token]
        for place in range(1, self.evidence.shape[1]):
            token = choose(self.transition[chain, token] + messages[:, place], seeds.at("token", place))
            tokens.append(token)
        return torch.stack(tokens, 1)

    def log_prob(self, x0: Tensor) -> Tensor:
        chains = self.initial[:, x0[:, 0]] + self.transition[:, x0[:, :-1], x0[:, 1:]].sum(-1)
        seen = self.evidence.gather(-1, x0[..., None])[..., 0].sum(1)
        total = torch.logsumexp(self.log_weights + self.log_evidence, 1)
        return torch.logsumexp(self.log_weights + chains.T, 1) + seen - total

    def _marginals(self) -> Tensor:
        here = normalised(self.initial + self._messages[:, :, 0]).exp()
        marginals = [here]
        for place in range(1, self.evidence.shape[1]):
            step = normalised(self.transition + self._messages[:, :, place, None, :]).exp()
            here = (here[..., None] * step).sum(-2)
            marginals.append(here)
        return (self.log_shares.exp()[..., None, None] * torch.stack(marginals, 2)).sum(1)
