"""Guidance by a denoiser's own condition: beyond what it says of it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import normalised
from unstir.core.errors import InputError
from unstir.core.state import batch_size, tensors_of
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior, log_marginals
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior
from unstir.guidance.base import Guide, Strength, idle, times, with_mean
from unstir.guidance.reweighted import ReweightedPosterior

__all__ = ["ClassifierFreeGuidance"]

_LINEAR = ("centred", "euclidean", "spectral")
_LEAST = -745.0  # the logarithm of the smallest float64


class ClassifierFreeGuidance(Guide):
    r"""The conditional belief, pushed away from the unconditional one: :math:`p_c^{1+w}/p_u^{w}`.

    ``strength`` w is 0 for the condition as it is, -1 for none, larger to obey it more than the data does. Gaussian and
    point beliefs move their mean, :math:`\hat x_c + w(\hat x_c - \hat x_u)`, which is the same push of the score;
    tokens have their logarithms pushed and normalised one by one; the parts of a joint belief are pushed apart from one
    another; on every other space draws are resampled (``ReweightedPosterior``). The denoiser is called twice: with its
    conditions, and with all of them dropped (``drop``), unless the strength is zero for all.

    The laws that this leads to are those in proportion to :math:`p_c^{1+w}/p_u^w` at time 0 only where noise and power
    commute: independent masked tokens, Gaussians of one covariance.

    Reference: Ho, Salimans, Classifier-free diffusion guidance (2022), eq. 6; for tokens: Schiff et al., Simple
    guidance mechanisms for discrete diffusion models (2024), section 3.1.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        numbers = strength.values() if isinstance(strength, Mapping) else [strength]
        if not callable(strength) and min(numbers, default=0.0) < -1:  # type: ignore[type-var]
            raise InputError(f"the strength of classifier-free guidance is -1 (no condition) or more; seen {strength}")

    @classmethod
    def examples(cls) -> Mapping[str, type["ClassifierFreeGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The pushed belief; unconditional, unpushed, for samples that drop their conditions."""
        conditional = self.denoiser(xt, t, drop, **condition)
        strengths = self.strengths(t)
        if idle(strengths):
            return conditional
        everyone = torch.ones(batch_size(xt), dtype=torch.bool, device=tensors_of(xt)[0].device)
        return pushed(self.process, conditional, self.denoiser(xt, t, everyone, **condition), strengths)


def pushed(process: Any, conditional: Any, unconditional: Any, strength: Any) -> Posterior:
    """The belief beyond ``conditional`` as seen from ``unconditional``; strengths by name for a joint process."""
    if idle(strength):
        return conditional
    if hasattr(process, "parts"):
        return JointPosterior(
            {
                name: pushed(part, conditional.part(name), unconditional.part(name), strength[name])
                for name, part in process.parts.items()
            }
        )
    if process.space == "tokens":
        told, without = log_marginals(conditional, process.classes), log_marginals(unconditional, process.classes)
        return _pushed_tokens(told, without, strength)
    if process.space in _LINEAR or isinstance(conditional, PointPosterior | GaussianPosterior):
        mean = conditional.mean
        return with_mean(conditional, mean + times(strength, mean - unconditional.mean))
    return ReweightedPosterior(conditional, unconditional, strength)


def _pushed_tokens(conditional: Tensor, unconditional: Tensor, strength: Tensor) -> CategoricalPosterior:
    weight = strength.reshape(strength.shape + (1,) * (conditional.ndim - 1)) if strength.ndim else strength
    # what has no chance without the condition has a tiny one with it: rounding, that must not win
    logs = conditional + weight * (conditional.clamp(min=_LEAST) - unconditional.clamp(min=_LEAST))
    return CategoricalPosterior(normalised(torch.where(weight == -1, unconditional, logs)))
