"""Guidance by what data must obey, strictly: beliefs are projected onto it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, suggest
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior
from unstir.guidance.base import Guide, Strength, idle, refuse, times
from unstir.guidance.constraints import Constraint, HardConstraint
from unstir.processes.gaussian import GaussianProcess

__all__ = ["ProjectionGuidance"]


@dataclass(frozen=True)
class ProjectedPosterior(GaussianPosterior):
    """A Gaussian belief whose draws are projected too; ``project`` moves states (batch, ...) as the guide does."""

    project: Callable[[Tensor], Tensor]

    def sample(self, seeds: Seeds) -> Tensor:
        return self.project(super().sample(seeds))

    def log_prob(self, x0: Tensor) -> Tensor:
        """Refused: a projected law has no density."""
        raise InputError("a projected belief has no density on the whole space")


class ProjectionGuidance(Guide):
    r"""The belief's mean, projected onto the clean data that meet a constraint: :math:`\hat x_0+w(P\hat x_0-\hat x_0)`.

    ``constraint`` is a hard one of ``guidance.constraints`` (linear equations, a total that is kept, a range, a
    symmetry, no divergence) or any function that projects clean samples (batch, ...); on a joint process a mapping with
    one for each part that has any. With ``strength`` w = 1 at the last step every sample meets it to rounding, whatever
    the sampler, as it lands on the mean or on a draw, which is projected too; with other strengths it goes part of the
    way. It is no condition that a sample drops. Gaussian processes are served; padded sets only by constraints of
    single elements (a range), and by functions, which are handed zeros there.

    It is the exact belief given A x_0 = b where the belief is Gaussian and as wide in all directions that A sees.
    For all other data the law is that of a sampler that is pulled onto the constraint at every step.

    Raises InputError for soft constraints, other spaces, and parts that are not there.

    Reference: Christopher, Baek, Fioretto, Constrained synthesis with projected diffusion models (2024), section 4;
    Cheng et al., Gradient-free generation for hard-constrained systems (2024), section 3.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        constraint: Constraint | Callable[[Tensor], Tensor] | Mapping[str, Any],
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        parts = getattr(self.process, "parts", None)
        if (parts is None) == isinstance(constraint, Mapping):
            raise InputError(
                "a joint process takes a mapping with a constraint for each part, any other one constraint"
            )
        self.constraint = constraint
        for name, own in constraint.items() if isinstance(constraint, Mapping) else [("", constraint)]:
            if parts is not None and name not in parts:
                raise InputError(f"a constraint is told for {name!r}, which is no part; {suggest(name, parts)}")
            process = self.process if parts is None else parts[name]
            if not isinstance(process, GaussianProcess):
                raise refuse("a projection", process, "Gaussian processes and such parts of a joint one")
            if isinstance(own, Constraint) and not isinstance(own, HardConstraint):
                raise InputError(
                    f"{type(own).__name__} can be asked for its residual, and not projected onto: take "
                    "ConstraintGuidance"
                )

    @classmethod
    def examples(cls) -> Mapping[str, type["ProjectionGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The projected belief."""
        belief, strengths = self.denoiser(xt, t, drop, **condition), self.strengths(t)
        if idle(strengths):
            return belief
        mask = condition.get("mask", self.mask)
        if not isinstance(self.constraint, Mapping):
            return _projected(self.process, belief, self.constraint, strengths, mask)
        return JointPosterior(
            {
                name: _projected(part, belief.part(name), self.constraint[name], strengths[name], mask)
                if name in self.constraint
                else belief.part(name)
                for name, part in self.process.parts.items()
            }
        )


def _projected(process: Any, belief: Any, constraint: Any, strength: Tensor, mask: Tensor | None) -> Posterior:
    if idle(strength):
        return belief
    if mask is not None and isinstance(constraint, Constraint) and not constraint.padded:
        raise InputError(
            f"{type(constraint).__name__} takes every element for data, and does not know padded sets: give a function "
            "that knows the mask"
        )
    onto = constraint.project if isinstance(constraint, HardConstraint) else constraint

    def project(x: Tensor) -> Tensor:
        # as it is where the strength is one: a sum would lose the last digit
        whole = torch.as_tensor(strength == 1).reshape(strength.shape + (1,) * (x.ndim - 1 if strength.ndim else 0))
        landed = onto(x)
        kept = landed if bool(whole.all()) else torch.where(whole.to(x.device), landed, x + times(strength, landed - x))
        return process.project(kept, mask)

    if isinstance(belief, GaussianPosterior):
        return ProjectedPosterior(project(belief.mean), belief.variance, project)
    return PointPosterior(project(belief.mean))
