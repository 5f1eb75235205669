"""Guidance of a model by a worse version of itself."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior
from unstir.guidance.base import Guide, Strength, idle
from unstir.guidance.classifier_free import Remedy, pushed

__all__ = ["AutoGuidance"]

_LEVELS = (0.1, 0.5, 0.9)


class AutoGuidance(Guide):
    r"""A denoiser's belief, pushed away from that of a weaker one: :math:`p_s^{1+w}/p_w^w`.

    ``weak`` was trained shorter, is smaller, or has dropout: it errs as ``denoiser`` does, only more, so that going
    beyond the better one as seen from the worse takes back some of the error. Both are called with the same conditions,
    of which nothing is taken away: what is sharpened is the quality, not the obedience. ``strength`` w is 0 for the
    denoiser as it is. Every space is served, as by ``ClassifierFreeGuidance``, whose ``rescale``, ``parallel`` and
    ``norm_limit`` may be told here too.

    Raises InputError for a weak denoiser of another process.

    Reference: Karras et al., Guiding a diffusion model with a bad version of itself (2024), section 4.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        weak: Denoiser,
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
        rescale: float | int = 0.0,
        parallel: float | int = 1.0,
        norm_limit: float | int | None = None,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        same_noise(self.process, weak.process, "the weak denoiser")
        self.weak = weak
        self.remedy = Remedy(float(rescale), float(parallel), None if norm_limit is None else float(norm_limit))

    @classmethod
    def examples(cls) -> Mapping[str, type["AutoGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The pushed belief."""
        belief, strengths = self.denoiser(xt, t, drop, **condition), self.strengths(t)
        if idle(strengths):
            return belief
        mask = condition.get("mask", self.mask)
        return pushed(self.process, belief, self.weak(xt, t, drop, **condition), strengths, self.remedy, mask)


def same_noise(process: Any, other: Any, whose: str) -> None:
    """Refuses another denoiser whose states are not noised as ours are: of another kind, or by another schedule."""
    ours, theirs = getattr(process, "parts", None), getattr(other, "parts", None)
    if ours is not None and theirs is not None and set(ours) == set(theirs):
        for name in ours:
            same_noise(ours[name], theirs[name], f"{whose}, part {name!r},")
        return
    alike = type(process) is type(other) and ours is None
    if alike:
        levels = torch.tensor(_LEVELS, dtype=torch.float64)
        alike = torch.allclose(process.schedule.log_snr(levels), other.schedule.log_snr(levels), rtol=1e-9)
    if not alike:
        raise InputError(
            f"{whose} must have the same process and schedule as the one that is guided; seen "
            f"{type(other).__name__} beside {type(process).__name__}"
        )
