"""What guides share: the strength at a noise level, and beliefs taken apart and moved."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from unstir.core.errors import InputError, suggest
from unstir.core.state import apply_mask, expand, map_state
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import time_of

Strength: TypeAlias = float | int | Mapping[str, float | int] | Callable[[Tensor], Tensor]
"""A number; one for each part of a joint state, zero for those not named; or a function of the log-SNR."""


class Guide(Denoiser):
    """A denoiser whose belief is another's, steered.

    ``strength`` holds where the noise level sigma/alpha lies in (``sigma_min``, ``sigma_max``] and is zero elsewhere;
    the parts of a joint state go by the noise levels of their own. At strength zero the belief is the other's.

    Raises InputError for a strength that is not finite, parts that are not there, and an empty interval.

    Reference: Kynkäänniemi et al., Applying guidance in a limited interval improves sample and distribution quality in
    diffusion models (2024), eq. 5, for the interval.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
    ) -> None:
        super().__init__()
        self.denoiser, self.process = denoiser, denoiser.process
        self.strength = strength
        self.interval = (float(sigma_min), math.inf if sigma_max is None else float(sigma_max))
        if not 0 <= self.interval[0] < self.interval[1]:
            raise InputError(f"guidance needs 0 <= sigma_min < sigma_max; seen {sigma_min} and {sigma_max}")
        numbers = list(strength.values()) if isinstance(strength, Mapping) else [strength]
        if not callable(strength) and not all(
            isinstance(number, float | int) and math.isfinite(number) for number in numbers
        ):
            raise InputError(f"the strength of guidance is a finite number (or a function of log-SNR); seen {strength}")
        if isinstance(strength, Mapping):
            parts = getattr(self.process, "parts", {})
            if astray := sorted(set(strength) - set(parts)):
                raise InputError(f"a strength is told for {astray[0]!r}, which is no part; {suggest(astray[0], parts)}")

    @property
    def mask(self) -> Tensor | None:
        """The other's bound mask."""
        return self.denoiser.mask

    def beginning(self, noise: Any, t: Tensor, **condition: Tensor) -> Any:
        return self.denoiser.beginning(noise, t, **condition)

    def strengths(self, t: Any, drop: Tensor | None = None) -> Any:
        """The strength at the times, float64 of shape () or (batch,); of a joint process by the names of its parts.

        Zero for samples that ``drop`` their conditions, if it is given. A joint process may have a time for each part.
        """
        return self._strengths(self.process, float64(t), drop, None)

    def _strengths(self, process: Any, t: Any, drop: Tensor | None, own: float | int | None) -> Any:
        if hasattr(process, "parts"):
            told = self.strength if own is None and isinstance(self.strength, Mapping) else None
            return {
                name: self._strengths(part, time_of(t, name), drop, own if told is None else float(told.get(name, 0.0)))
                for name, part in process.parts.items()
            }
        level = process.schedule.log_snr(t)
        value = self.strength(level) if callable(self.strength) and own is None else None
        if value is None:
            value = torch.full_like(level, self.strength if own is None else own)  # type: ignore[arg-type]
        sigma = (-level / 2).exp()
        inside = (sigma > self.interval[0]) & (sigma <= self.interval[1])
        value = torch.where(inside, value, 0.0).double()
        return value if drop is None else torch.where(drop.to(value.device), 0.0, value)


def float64(t: Any) -> Any:
    """A time, or one for each part, as float64."""
    return map_state(lambda time: torch.as_tensor(time, dtype=torch.float64), t)


def idle(strengths: Any) -> bool:
    """Whether all strengths are zero."""
    if isinstance(strengths, Mapping):
        return all(idle(part) for part in strengths.values())
    return not bool(strengths.any())


def with_mean(posterior: Posterior, mean: Tensor) -> Posterior:
    """The belief moved to another mean: its width is kept if it has one of its own, else it is a point."""
    if isinstance(posterior, PointPosterior | GaussianPosterior):
        return replace(posterior, mean=mean)
    return PointPosterior(mean)


def times(values: Tensor, tensor: Tensor) -> Tensor:
    """Per-sample float64 values times a tensor, in the tensor's dtype."""
    return expand(values, tensor) * tensor


def followed(x: Tensor) -> bool:
    """Whether somebody outside (another guide, a method for inverse problems) wants gradients through this state."""
    return torch.is_grad_enabled() and x.requires_grad


def gradient(function: Callable[[Tensor], Tensor], x: Tensor, what: str) -> Tensor:
    """The gradient of each sample's scalar, of the shape of ``x``; itself differentiable where ``x`` is followed.

    Raises InputError, which says ``what`` must be differentiable, where no gradient comes back.
    """
    onwards = followed(x)
    with torch.enable_grad():
        given = x if onwards else x.detach().requires_grad_()
        value = function(given)
        if not value.requires_grad:
            raise InputError(f"{what} must be differentiable in the state; what came back has no gradient")
        return torch.autograd.grad(value.sum(), given, create_graph=onwards)[0]


def per_signal(process: GaussianProcess, slopes: Tensor, t: Tensor, mask: Tensor | None) -> Tensor:
    """sigma^2/alpha times the gradients: how far a gradient of log-density moves the belief's mean; zero at alpha 0."""
    return by_mode(process, slopes, t, mask, lambda alpha, sigma: torch.where(alpha > 0, sigma.square() / alpha, 0.0))


def by_mode(
    process: GaussianProcess,
    values: Tensor,
    t: Tensor,
    mask: Tensor | None,
    factor: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Values times a factor of (alpha, sigma): mode by mode where a process has modes, in its subspace if any."""
    modes = getattr(process, "modes", None)
    grid = None if modes is None else modes(values)
    scale = factor(*process.coefficients(t, values))
    moved = scale * (values if grid is None else grid.to_modes(values))
    moved = moved if grid is None else grid.to_grid(moved)
    return getattr(process, "project", apply_mask)(moved, mask)


def bound(conditions: Mapping[str, Any], given: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Conditions of a guide's own, one row a sample: of values that are one for all, or the name of a given condition.

    Raises InputError for a name that was not given, and for other numbers of rows.
    """
    rows = {}
    for name, value in conditions.items():
        if isinstance(value, str):
            if value not in given:
                raise InputError(
                    f"{name!r} is to be the condition {value!r}, which was not given; {suggest(value, given)}"
                )
            value = given[value]
        value = torch.as_tensor(value)
        value = (
            value
            if value.ndim and len(value) != 1
            else value.reshape(1, *value.shape[1:]).expand(count, *value.shape[1:])
        )
        if len(value) != count:
            raise InputError(
                f"the condition {name!r} has {len(value)} rows for {count} samples; give one for all, or each"
            )
        rows[name] = value
    return rows


def names_in(conditions: Mapping[str, Any]) -> set[str]:
    """The names of given conditions that a guide's own ones stand for."""
    return {value for value in conditions.values() if isinstance(value, str)}


def refuse(guide: str, process: Any, served: str) -> InputError:
    """For a space that a guide cannot serve."""
    return InputError(
        f"{guide} does not know the space {process.space!r} of {type(process).__name__}; it serves {served}"
    )
