"""Populations of weighted particles, side by side in a batch."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.inverse.methods.resampling import ancestors, check_weights, effective_sample_size


@dataclass(frozen=True)
class Particles:
    r"""The weights of P populations of N particles, which lie one after another in the batch; all float64.

    ``log_weights`` (P, N) are those since the last resampling, ``log_evidence`` (P,) what all earlier ones told.
    ``seen`` is what the twist knows of each particle (it has ``log_twist``, (P N,), and ``take``), ``origins`` (P N,)
    the particle of the first time that each descends from. ``sizes`` and ``resampled`` have a column (P,) for the
    first states and one for each step.

    The mean weight times exp(log_evidence) is an unbiased estimate of the mean of everything that was weighed with.
    """

    log_weights: Tensor
    log_evidence: Tensor
    seen: Any
    origins: Tensor
    sizes: tuple[Tensor, ...] = ()
    resampled: tuple[Tensor, ...] = ()

    @classmethod
    def begin(cls, log_weights: Tensor, count: int, seen: Any) -> "Particles":
        """The first states, weighed by log_weights (P N,); ``count`` is N."""
        rows = log_weights.double().reshape(-1, count)
        origins = torch.arange(count, device=rows.device).repeat(len(rows))
        return cls(rows, torch.zeros_like(rows[:, 0]), seen, origins)

    def weighed(self, log_factors: Tensor, seen: Any) -> "Particles":
        """The same particles moved, their weights times exp(log_factors), (P N,)."""
        return replace(self, log_weights=self.log_weights + log_factors.double().view_as(self.log_weights), seen=seen)

    def settled(self, seeds: Seeds, threshold: float, scheme: str) -> tuple["Particles", Tensor | None]:
        """The particles, resampled where few count, and the rows (P N,) that they came from; None where all stay.

        Few is an effective sample size below ``threshold`` N; at infinity all populations are resampled. Each takes
        part by itself, so that a population goes its way whichever others lie beside it.
        """
        check_weights(self.log_weights)
        populations, count = self.log_weights.shape
        sizes = effective_sample_size(self.log_weights)
        few = sizes < threshold * count
        told = replace(self, sizes=(*self.sizes, sizes), resampled=(*self.resampled, few))
        if not bool(few.any()):
            return told, None
        stay = torch.arange(count, device=sizes.device).expand(populations, -1)
        chosen = torch.where(few[:, None], ancestors(self.log_weights, seeds, scheme), stay)
        rows = (chosen + count * torch.arange(populations, device=sizes.device)[:, None]).flatten()
        gained = torch.where(few, self.log_weights.logsumexp(1) - math.log(count), 0.0)
        after = replace(
            told,
            log_weights=torch.where(few[:, None], 0.0, self.log_weights),
            log_evidence=self.log_evidence + gained,
            seen=None if self.seen is None else self.seen.take(rows),
            origins=self.origins[rows],
        )
        return after, rows

    def survivors(self) -> Tensor:
        """How many of the first particles have descendants, int64 (P,)."""
        origins = self.origins.view_as(self.log_weights).sort(1).values
        return 1 + (origins.diff(dim=1) != 0).sum(1)
