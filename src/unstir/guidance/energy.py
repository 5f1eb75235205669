"""Guidance by an energy: any function of the data that is to be small."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from unstir.core.choices import normalised
from unstir.core.errors import InputError, unknown
from unstir.core.state import batch_size, beside, map_state
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior, log_marginals
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior
from unstir.guidance.base import Guide, Strength, by_mode, float64, followed, idle, per_signal, refuse, times, with_mean
from unstir.guidance.classifier import ClassifierGuidance
from unstir.guidance.tilted import TiltedPosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import time_of

__all__ = ["EnergyGuidance", "RegressorGuidance"]

WAYS = ("clean", "noisy", "draws")


class EnergyGuidance(Guide):
    r"""The belief towards small values of any energy: :math:`p(x_0|x_t)\,e^{-wE}`; minus a reward is an energy too.

    ``energy`` returns a number a sample, (batch,), in nats; ``told`` names the conditions that go to it and not to the
    denoiser (nothing is steered where they are not given, or dropped). ``on`` says what it is asked of:

    - ``"clean"``: ``energy(x0, **told)`` of the believed clean sample, and differentiable in it. The mean of Gaussian
      parts moves by :math:`-w\frac{\sigma^2}{\alpha}\nabla_{x_t}E(\hat x_0(x_t))`, which goes through the denoiser and
      is :math:`-w\,\mathrm{Cov}[x_0|x_t]\nabla E`: exact for linear energies of Gaussian data, else wrong by what the
      width of the belief does to the energy. With ``through=False`` the covariance is that of data of standard
      deviation ``deviation``, which spares the denoiser's gradient. Tokens come as their probabilities, (batch, ...,
      classes), and have each multiplied by :math:`\exp(-w\,\partial E/\partial p)`: exact for sums over independent
      tokens.
    - ``"noisy"``: ``energy(xt, t, **told)`` of the state, noise-aware; steered as by ``ClassifierGuidance`` with minus
      the energy, enumeration of tokens and all.
    - ``"draws"``: ``energy(x0, **told)`` of draws from the belief, on every space and without gradients: of
      ``candidates`` one is kept (``TiltedPosterior``). With many of them, an exact belief and a sampler that draws from
      it (ancestral), the law is exactly :math:`p(x_0)e^{-wE(x_0)}`. A belief that is a point cannot be drawn from.

    A joint state has its energy of all parts together; every part goes by its own kind and strength (the draws of all
    by that of the clock). Guides around one another on ``"clean"`` see each other's shift, so that two are not the sum
    of both; for that add the energies.

    Raises InputError for spaces that cannot serve, and energies without a gradient or of another shape.

    Reference: Dhariwal, Nichol, Diffusion models beat GANs on image synthesis (2021), section 4; Chung et al.,
    Diffusion posterior sampling for general noisy inverse problems (2023), section 3; Bansal et al., Universal guidance
    for diffusion models (2023), section 3.
    """

    conditional: ClassVar[bool] = True
    """Whether the energy is a condition, which samples may drop; a law of nature is none."""

    def __init__(
        self,
        denoiser: Denoiser,
        energy: Callable[..., Tensor],
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
        on: str = "clean",
        through: bool = True,
        deviation: float | int = 1.0,
        told: Sequence[str] = (),
        candidates: int = 64,
        rows: int = 1,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        if on not in WAYS:
            raise unknown("way to ask an energy", on, WAYS)
        if isinstance(told, str) or candidates < 2 or rows < 1:
            raise InputError(
                f"told holds names, candidates is 2 and rows 1 at least; seen {told!r}, {candidates} and {rows}"
            )
        if rows > 1 and on != "clean":
            raise InputError(f"an energy of several rows together is asked of clean data; seen on={on!r}")
        if not 0 < deviation < math.inf:
            raise InputError(f"the data's standard deviation is positive and finite; seen {deviation}")
        self.energy, self.on, self.through, self.deviation = energy, on, through, float(deviation)
        self.told, self.candidates, self.rows = tuple(told), candidates, rows

    @classmethod
    def examples(cls) -> Mapping[str, type["EnergyGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The steered belief."""
        told = {name: condition.pop(name) for name in self.told if name in condition}
        if told and len(told) < len(self.told):
            raise InputError(f"the energy is told {list(self.told)} together; seen only {sorted(told)}")
        strengths = self.strengths(t, drop if self.conditional else None)
        if idle(strengths) or (self.told and not told):
            return self.denoiser(xt, t, drop, **condition)
        if batch_size(xt) % self.rows:
            raise InputError(
                f"{self.rows} rows of a batch belong together; {batch_size(xt)} cannot be parted into such groups: "
                f"choose a batch that is a multiple"
            )
        if self.on == "noisy":
            return self._of_state(xt, t, drop, condition, told)
        mask = condition.get("mask", self.mask)
        if self.on == "draws":
            belief = self.denoiser(xt, t, drop, **condition)
            return self._of_draws(belief, strengths, told)
        onwards = any(followed(part) for part in _leaves(xt))
        with torch.enable_grad():
            given = self._given(self.process, xt, onwards)
            belief = self.denoiser(given, t, drop, **condition)
            means = self._means(self.process, belief, onwards)
            value = self._value(means, told)
            places = self._places(self.process, given, means)
            slopes = torch.autograd.grad(value.sum(), _leaves(places), create_graph=onwards, allow_unused=True)
            filled = [
                torch.zeros_like(place) if slope is None else slope
                for place, slope in zip(_leaves(places), slopes, strict=True)
            ]
        rest = iter(filled)
        found = map_state(lambda place: next(rest), _sorted(places))
        steered = self._steered(self.process, belief, found, float64(t), strengths, mask)
        return steered if onwards else _apart(steered)

    def _value(self, means: Any, told: Mapping[str, Tensor]) -> Tensor:
        """The energies of each sample, or of each group of rows; differentiable."""
        count = batch_size(means) // self.rows
        if self.rows > 1:
            means = map_state(lambda part: part.unflatten(0, (count, self.rows)), means)
        value = self.energy(means, **told)
        if value.shape != (count,):
            raise InputError(
                f"an energy returns a number for each of {count} {'groups' if self.rows > 1 else 'samples'}, shape "
                f"({count},); seen {tuple(value.shape)}"
            )
        if not value.requires_grad:
            raise InputError("the energy must be differentiable in the clean data; what came back has no gradient")
        return value

    def _of_state(
        self, xt: Any, t: Any, drop: Tensor | None, condition: Mapping[str, Tensor], told: Mapping[str, Tensor]
    ) -> Posterior:
        def log_likelihood(state: Any, at: Any, **own: Tensor) -> Tensor:
            return -self.energy(state, at, **own)

        low, high = self.interval
        names = tuple(told)
        steered = ClassifierGuidance(
            self.denoiser, log_likelihood, self.strength, low, None if high == math.inf else high, names
        )
        return steered(xt, t, drop, **condition, **told)

    def _of_draws(self, belief: Any, strengths: Any, told: Mapping[str, Tensor]) -> Posterior:
        if _pointed(belief):
            raise InputError(
                "an energy on draws needs a belief that can be drawn from (an exact law, a learned variance); this one "
                "is a point: take on='clean'"
            )
        while isinstance(strengths, Mapping):
            clock = getattr(self.process, "clock", None)
            strengths = strengths[clock if clock in strengths else next(iter(strengths))]
        return TiltedPosterior(belief, lambda x0: self.energy(x0, **told), strengths, self.candidates)

    def _given(self, process: Any, xt: Any, onwards: bool) -> Any:
        """The state, with gradients wanted at Gaussian parts if they are to go through the denoiser."""
        if hasattr(process, "parts"):
            return {name: self._given(part, xt[name], onwards) for name, part in process.parts.items()}
        if not self.through or not isinstance(process, GaussianProcess):
            return xt
        return xt if onwards and xt.requires_grad else xt.detach().requires_grad_()

    def _means(self, process: Any, belief: Any, onwards: bool) -> Any:
        """What the energy is asked of: means, and the probabilities of tokens."""
        if hasattr(process, "parts"):
            return {name: self._means(part, belief.part(name), onwards) for name, part in process.parts.items()}
        if process.space == "tokens":
            value = log_marginals(belief, process.classes).exp()
        elif isinstance(process, GaussianProcess):
            value = belief.mean
        else:
            raise refuse(
                "an energy of clean data",
                process,
                "Gaussian processes, tokens and what is made of these (on='draws' serves every space)",
            )
        return value if value.requires_grad else value.detach().requires_grad_()

    def _places(self, process: Any, given: Any, means: Any) -> Any:
        """Where the gradients are taken."""
        if hasattr(process, "parts"):
            return {name: self._places(part, given[name], means[name]) for name, part in process.parts.items()}
        return given if self.through and isinstance(process, GaussianProcess) else means

    def _steered(self, process: Any, belief: Any, slopes: Any, t: Any, strength: Any, mask: Tensor | None) -> Posterior:
        if hasattr(process, "parts"):
            return JointPosterior(
                {
                    name: self._steered(part, belief.part(name), slopes[name], time_of(t, name), strength[name], mask)
                    for name, part in process.parts.items()
                }
            )
        if idle(strength):
            return belief
        slopes = slopes.double()
        if process.space == "tokens":
            logs = log_marginals(belief, process.classes)
            return CategoricalPosterior(normalised(logs - beside(strength, logs) * slopes))
        if self.through:
            shift = per_signal(process, slopes, t, mask)
        else:
            shift = by_mode(process, slopes, t, mask, self._variance)
        return with_mean(belief, belief.mean - times(strength, shift).to(belief.mean.dtype))

    def _variance(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Of clean data of the deviation, given a noisy value."""
        return (self.deviation**-2 + (alpha / sigma).square()).reciprocal()


class RegressorGuidance(EnergyGuidance):
    r"""Guidance to a value that a regressor foretells, whose error is taken to be normal.

    The energy is :math:`\|f(x)-y\|^2/(2s^2)`.
    ``regressor(x0, **told)``, or with ``on="noisy"`` the noise-aware ``regressor(xt, t, **told)``, returns numbers
    (batch,) or (batch, k); ``target`` y is one for all, or k, or the name of a condition with a row a sample;
    ``deviation`` s is the standard deviation of the regressor's error, in the target's unit. All else is as for
    ``EnergyGuidance`` (``width`` is the data's deviation there).

    Raises InputError for a deviation that is not positive, and a target that does not fit what is foretold.

    Reference: Dhariwal, Nichol, Diffusion models beat GANs on image synthesis (2021), section 4, with a normal
    likelihood.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        regressor: Callable[..., Tensor],
        target: float | int | Sequence[float] | Tensor | str,
        deviation: float | int = 1.0,
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
        on: str = "clean",
        through: bool = True,
        width: float | int = 1.0,
        told: Sequence[str] = (),
        candidates: int = 64,
    ) -> None:
        if not 0 < deviation < math.inf:
            raise InputError(f"the regressor's error has a positive, finite standard deviation; seen {deviation}")
        named = isinstance(target, str)
        names = (*told, target) if isinstance(target, str) else told
        super().__init__(denoiser, self._misfit, strength, sigma_min, sigma_max, on, through, width, names, candidates)
        self.regressor, self.error = regressor, float(deviation)
        self.condition = target if named else None
        self.target = None if isinstance(target, str) else torch.as_tensor(target, dtype=torch.float64)

    def _misfit(self, *state: Any, **told: Tensor) -> Tensor:
        wanted = told.pop(self.condition) if self.condition is not None else self.target
        foretold = self.regressor(*state, **told)
        assert wanted is not None
        wanted = wanted.to(foretold)
        fits = [tuple(foretold.shape)] if self.condition is not None else [(), tuple(foretold.shape[1:])]
        if tuple(wanted.shape) not in fits:
            raise InputError(
                f"a target fits what is foretold, {tuple(foretold.shape)} with the batch first; seen "
                f"{tuple(wanted.shape)}"
            )
        away = (foretold - wanted) / self.error
        return away.square().reshape(len(away), -1).sum(1) / 2


def _sorted(state: Any) -> Any:
    return {name: _sorted(state[name]) for name in sorted(state)} if isinstance(state, Mapping) else state


def _leaves(state: Any) -> list[Tensor]:
    if isinstance(state, Mapping):
        return [leaf for name in sorted(state) for leaf in _leaves(state[name])]
    return [state]


def _pointed(belief: Any) -> bool:
    """Whether any part of a belief is a point."""
    if isinstance(belief, JointPosterior):
        return any(_pointed(part) for part in belief.parts.values())
    return isinstance(belief, PointPosterior)


def _apart(belief: Any) -> Any:
    """The belief without the record of how it came about, which holds all of a network's inner states."""
    if isinstance(belief, JointPosterior):
        return JointPosterior({name: _apart(part) for name, part in belief.parts.items()}, belief.weights)
    if not isinstance(belief, PointPosterior | GaussianPosterior | CategoricalPosterior):
        return belief
    told = {field.name: getattr(belief, field.name) for field in fields(belief) if field.init}
    return replace(belief, **{name: value.detach() for name, value in told.items() if isinstance(value, Tensor)})
