"""Guidance by what data must obey, softly: the energy of a residual."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.guidance.base import Strength
from unstir.guidance.constraints import Constraint
from unstir.guidance.energy import EnergyGuidance

__all__ = ["ConstraintGuidance"]


class ConstraintGuidance(EnergyGuidance):
    r"""The belief towards what meets a constraint: the energy :math:`\sum r(x_0)^2/(2s^2)` of a residual r.

    ``constraint`` is one of ``guidance.constraints`` (a divergence that is to vanish, a total, an equation of heat) or
    any function from clean samples to residuals (batch, ...); on a joint state a function of all parts. ``tolerance`` s
    is the size of residual that may stay, in the residual's unit: a stiff one (small against what the residual spreads
    by) needs many steps. It is no condition that a sample drops. All else is as for ``EnergyGuidance`` on clean data.

    Raises InputError for a tolerance that is not positive.

    Reference: Shu, Li, Farimani, A physics-informed diffusion model for high-fidelity flow field reconstruction (2023),
    section 2; Bastek, Sun, Kochmann, Physics-informed diffusion models (2024), section 3.
    """

    conditional = False

    def __init__(
        self,
        denoiser: Denoiser,
        constraint: Constraint | Callable[[Any], Tensor],
        tolerance: float | int = 1.0,
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
        through: bool = True,
        deviation: float | int = 1.0,
    ) -> None:
        if not 0 < tolerance < math.inf:
            raise InputError(f"the residual that may stay is positive and finite; seen {tolerance}")
        super().__init__(denoiser, self._misfit, strength, sigma_min, sigma_max, through=through, deviation=deviation)
        self.residual = constraint.residual if isinstance(constraint, Constraint) else constraint
        self.tolerance = float(tolerance)

    @classmethod
    def examples(cls) -> Mapping[str, type["ConstraintGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def _misfit(self, x0: Any) -> Tensor:
        residual = self.residual(x0)
        return (residual / self.tolerance).square().reshape(len(residual), -1).sum(1) / 2
