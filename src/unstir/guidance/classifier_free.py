"""Guidance by a denoiser's own condition: beyond what it says of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import normalised
from unstir.core.errors import InputError
from unstir.core.state import batch_size, expand, mean_per_sample, tensors_of
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior, log_marginals
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior
from unstir.guidance.base import Guide, Strength, idle, refuse, times, with_mean
from unstir.guidance.reweighted import ReweightedPosterior

__all__ = ["ClassifierFreeGuidance"]

_LINEAR = ("centred", "euclidean", "spectral")
_TINY = torch.finfo(torch.float64).tiny
_LEAST = -745.0  # the logarithm of the smallest float64


class ClassifierFreeGuidance(Guide):
    r"""The conditional belief, pushed away from the unconditional one: :math:`p_c^{1+w}/p_u^{w}`.

    ``strength`` w is 0 for the condition as it is, -1 for none, larger to obey it more than the data does. Gaussian and
    point beliefs move their mean, :math:`\hat x_c + w(\hat x_c - \hat x_u)`, which is the same push of the score;
    tokens have their logarithms pushed and normalised one by one; the parts of a joint belief are pushed apart from one
    another; on every other space draws are resampled (``ReweightedPosterior``). The denoiser is called twice: with its
    conditions, and with all of them dropped (``drop``), unless the strength is zero for all.

    Two remedies against over-guidance work on the means of Gaussian and point beliefs, sample by sample. Of the push
    :math:`d=\hat x_c-\hat x_u`, first shortened to the length ``norm_limit``, the part along :math:`\hat x_c` is taken
    ``parallel`` times (1 for all of it; adaptive projected guidance takes 0). Of the guided mean, the share ``rescale``
    is brought to the deviation that the elements of :math:`\hat x_c` have. The momentum of adaptive projected guidance
    is left out: a belief that remembers the steps before is none about the state it is asked for.

    The laws that this leads to are those in proportion to :math:`p_c^{1+w}/p_u^w` at time 0 only where noise and power
    commute: independent masked tokens, Gaussians of one covariance.

    Reference: Ho, Salimans, Classifier-free diffusion guidance (2022), eq. 6; for tokens: Schiff et al., Simple
    guidance mechanisms for discrete diffusion models (2024), section 3.1; ``rescale``: Lin et al., Common diffusion
    noise schedules and sample steps are flawed (2023), section 3.4; ``parallel`` and ``norm_limit``: Sadat, Hilliges,
    Weber, Eliminating oversaturation and artifacts of high guidance scales in diffusion models (2024), section 4.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
        rescale: float | int = 0.0,
        parallel: float | int = 1.0,
        norm_limit: float | int | None = None,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        numbers = strength.values() if isinstance(strength, Mapping) else [strength]
        if not callable(strength) and min(numbers, default=0.0) < -1:  # type: ignore[type-var]
            raise InputError(f"the strength of classifier-free guidance is -1 (no condition) or more; seen {strength}")
        self.remedy = Remedy(float(rescale), float(parallel), None if norm_limit is None else float(norm_limit))
        if self.remedy.needed and not _moves(self.process):
            raise refuse("rescaling or projecting a push", self.process, "Gaussian processes and what is made of these")

    @classmethod
    def examples(cls) -> Mapping[str, type["ClassifierFreeGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The pushed belief; unconditional, unpushed, for samples that drop their conditions."""
        conditional = self.denoiser(xt, t, drop, **condition)
        strengths = self.strengths(t)
        if idle(strengths):
            return conditional
        everyone = torch.ones(batch_size(xt), dtype=torch.bool, device=tensors_of(xt)[0].device)
        without, mask = self.denoiser(xt, t, everyone, **condition), condition.get("mask", self.mask)
        return pushed(self.process, conditional, without, strengths, self.remedy, mask)


@dataclass(frozen=True)
class Remedy:
    """What is done to the push of a mean, and to the pushed mean, so that it stays like data; by default nothing."""

    rescale: float = 0.0
    parallel: float = 1.0
    norm_limit: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rescale <= 1:
            raise InputError(f"rescale is the share of 0 to 1 that is rescaled; seen {self.rescale}")
        if not math.isfinite(self.parallel):
            raise InputError(f"the factor of the parallel part is finite, as a rule 0 to 1; seen {self.parallel}")
        if self.norm_limit is not None and not self.norm_limit > 0:
            raise InputError(f"norm_limit is a positive length, in the data's unit; seen {self.norm_limit}")

    @property
    def needed(self) -> bool:
        """Whether anything is done."""
        return self != Remedy()

    def __call__(self, mean: Tensor, push: Tensor, strength: Tensor, mask: Tensor | None) -> Tensor:
        """The guided mean, of conditional means and pushes (batch, ...)."""
        if self.norm_limit is not None:
            push = times((self.norm_limit / _norm(push).clamp(min=self.norm_limit)), push)
        if self.parallel != 1:
            along = (push.double() * mean.double()).flatten(1).sum(1) / _norm(mean).square().clamp(min=_TINY)
            push = push - times((1 - self.parallel) * along, mean)
        guided = mean + times(strength, push)
        if self.rescale == 0:
            return guided
        wanted, seen = _deviation(mean, mask), _deviation(guided, mask)
        ratio = torch.where(seen > 0, wanted / seen.where(seen > 0, 1.0), 1.0)
        return times(1 + self.rescale * (ratio - 1), guided)


def _norm(tensor: Tensor) -> Tensor:
    return tensor.double().flatten(1).norm(dim=1)


def _deviation(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Of the elements of each sample, float64 (batch,)."""
    tensor = tensor.double()
    centred = tensor - expand(mean_per_sample(tensor, mask), tensor)
    return mean_per_sample(centred.square(), mask).sqrt()


def _moves(process: Any) -> bool:
    """Whether any part of a process has means that are moved."""
    if hasattr(process, "parts"):
        return any(_moves(part) for part in process.parts.values())
    return process.space in _LINEAR


def pushed(
    process: Any,
    conditional: Any,
    unconditional: Any,
    strength: Any,
    remedy: Remedy | None = None,
    mask: Tensor | None = None,
) -> Posterior:
    """The belief beyond ``conditional`` as seen from ``unconditional``; strengths by name for a joint process."""
    if idle(strength):
        return conditional
    if hasattr(process, "parts"):
        return JointPosterior(
            {
                name: pushed(part, conditional.part(name), unconditional.part(name), strength[name], remedy, mask)
                for name, part in process.parts.items()
            }
        )
    if process.space == "tokens":
        told, without = log_marginals(conditional, process.classes), log_marginals(unconditional, process.classes)
        return _pushed_tokens(told, without, strength)
    if process.space in _LINEAR or isinstance(conditional, PointPosterior | GaussianPosterior):
        mean = conditional.mean
        push = mean - unconditional.mean
        if remedy is not None and remedy.needed:
            return with_mean(conditional, remedy(mean, push, strength, mask))
        return with_mean(conditional, mean + times(strength, push))
    return ReweightedPosterior(conditional, unconditional, strength)


def _pushed_tokens(conditional: Tensor, unconditional: Tensor, strength: Tensor) -> CategoricalPosterior:
    weight = strength.reshape(strength.shape + (1,) * (conditional.ndim - 1)) if strength.ndim else strength
    # what has no chance without the condition has a tiny one with it: rounding, that must not win
    logs = conditional + weight * (conditional.clamp(min=_LEAST) - unconditional.clamp(min=_LEAST))
    return CategoricalPosterior(normalised(torch.where(weight == -1, unconditional, logs)))
