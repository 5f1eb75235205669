"""Guidance by a symmetry of the law: a denoiser is averaged over a group."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior
from unstir.guidance.base import Guide, Strength, idle, refuse, times, with_mean
from unstir.processes.gaussian import GaussianProcess

__all__ = ["SymmetryGuidance"]


class SymmetryGuidance(Guide):
    r"""The belief's mean, averaged over a finite group: :math:`\frac1{|G|}\sum_g g^{-1}\hat x_0(gx_t)`.

    For data as likely as their images (turned, mirrored, shifted, with exchanged parts), the exact belief turns with
    the state; a learned one does so only in part, and the average does exactly. It leaves the exact belief of a
    symmetric law alone, and what a network errs by can only fall: the average is its projection onto the symmetric
    ones. Single samples need not be symmetric: for that there is ``constraints.SymmetryConstraint``.

    ``transforms`` are pairs (g, its inverse) of all of the group's elements, the identity among them: functions of
    states (batch, *shape), linear and orthogonal, so that noise keeps its law. Conditions are taken to be unchanged by
    them. The denoiser is called once for each pair. With ``strength`` w the mean goes that share of the way.

    Raises InputError for other than Gaussian processes, and what are no pairs.

    Reference: Murphy et al., Janossy pooling (2019), section 2, and Puny et al., Frame averaging for invariant and
    equivariant network design (2022), section 2, of which it is the case of all elements.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        transforms: Sequence[Any],
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        if not isinstance(self.process, GaussianProcess):
            raise refuse("symmetry guidance", self.process, "Gaussian processes")
        pairs = list(transforms)
        if not pairs or not all(
            isinstance(pair, tuple | list) and len(pair) == 2 and all(callable(one) for one in pair) for pair in pairs
        ):
            raise InputError(
                f"a group is told by pairs of functions, each element and its inverse; seen {transforms!r}"
            )
        self.transforms = pairs

    @classmethod
    def examples(cls) -> Mapping[str, type["SymmetryGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief with the averaged mean."""
        strengths = self.strengths(t)
        belief = self.denoiser(xt, t, drop, **condition)
        if idle(strengths):
            return belief
        images = [back(self.denoiser(there(xt), t, drop, **condition).mean) for there, back in self.transforms]
        return with_mean(belief, belief.mean + times(strengths, torch.stack(images).mean(0) - belief.mean))
