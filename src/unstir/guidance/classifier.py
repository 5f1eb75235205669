"""Guidance by a second model that tells how probable it is what one wants."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import normalised
from unstir.core.errors import InputError
from unstir.core.state import apply_mask, beside, map_state, take
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior, belief_of_ratios, log_marginals, log_ratios
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.posteriors import Posterior
from unstir.guidance.base import Guide, Strength, float64, gradient, idle, per_signal, refuse, times, with_mean
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import time_of

__all__ = ["ClassifierGuidance"]

_BLIND = 30.0  # of a token's clock: what is left of the data is less than rounding


class ClassifierGuidance(Guide):
    r"""The belief given what a noise-aware classifier says of the state: :math:`p(x_0|x_t)\,p(y|x_t,t)^w`, by its kind.

    ``log_likelihood(xt, t, **told)`` returns :math:`\log p(y|x_t)` in nats, (batch,), up to a constant; ``told`` names
    the conditions that go to it and not to the denoiser (``label``, say; none for a fixed y). Where they are not given,
    or dropped, nothing is steered. With strength w = 1 and the exact likelihood the result is the exact conditional
    belief, of which joint ones are given part by part:

    - Gaussian processes: the mean moves by :math:`w\,\frac{\sigma^2}{\alpha}\nabla_{x_t}\log p(y|x_t)`, the width
      stays.
    - tokens: the reversed chain's rate from x to x' is multiplied by :math:`(p(y|x')/p(y|x))^w`, for which every change
      of one token is looked at, ``chunk`` at a time. With ``first_order`` the ratios come from one gradient: the
      likelihood is called with the tokens' one-hot code, float64 (batch, ..., states), and differentiable in it.

    Raises InputError on other spaces. Where nothing is left of the data, no likelihood can tell, and nothing moves.

    Reference: Dhariwal, Nichol, Diffusion models beat GANs on image synthesis (2021), section 4; Nisonoff et al.,
    Unlocking guidance for discrete state-space diffusion and flow models (2024), section 3; Schiff et al., Simple
    guidance mechanisms for discrete diffusion models (2024), section 3.2.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        log_likelihood: Callable[..., Tensor],
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
        told: Sequence[str] = (),
        first_order: bool = False,
        chunk: int = 4096,
    ) -> None:
        super().__init__(denoiser, strength, sigma_min, sigma_max)
        if isinstance(told, str) or chunk < 1:
            raise InputError(f"told holds names and chunk is 1 at least; seen {told!r} and {chunk}")
        self.log_likelihood, self.told, self.first_order, self.chunk = log_likelihood, tuple(told), first_order, chunk

    @classmethod
    def examples(cls) -> Mapping[str, type["ClassifierGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The steered belief."""
        told = {name: condition.pop(name) for name in self.told if name in condition}
        belief = self.denoiser(xt, t, drop, **condition)
        if told and len(told) < len(self.told):
            raise InputError(f"the classifier is told {list(self.told)} together; seen only {sorted(told)}")
        strengths = self.strengths(t, drop)
        if idle(strengths) or (self.told and not told):
            return belief
        times_at = float64(t)

        def likelihood(state: Any, rows: Tensor) -> Tensor:
            own = {name: values[rows] for name, values in told.items()}
            at = map_state(lambda time: time[rows] if time.ndim else time, times_at)
            return self.log_likelihood(state, at, **own)

        mask = condition.get("mask", self.mask)
        return self._steered(self.process, belief, xt, times_at, strengths, likelihood, mask)

    def _steered(
        self,
        process: Any,
        belief: Any,
        xt: Any,
        t: Any,
        strength: Any,
        likelihood: Callable[..., Tensor],
        mask: Tensor | None,
    ) -> Posterior:
        if idle(strength):
            return belief
        if hasattr(process, "parts"):
            found = {}
            for name, part in process.parts.items():

                def within(state: Any, rows: Tensor, name: str = name) -> Tensor:
                    return likelihood({**take(xt, rows), name: state}, rows)

                at = time_of(t, name)
                found[name] = self._steered(part, belief.part(name), xt[name], at, strength[name], within, mask)
            return JointPosterior(found)
        if process.space == "tokens":
            logs = log_marginals(belief, process.classes)
            gains = self._linear_gains(process, xt, likelihood) if self.first_order else None
            gains = self._gains(process, xt, likelihood, mask) if gains is None else gains
            return steered_tokens(process, logs, xt, t, beside(strength, gains) * gains)
        if not isinstance(process, GaussianProcess):
            raise refuse("classifier guidance", process, "Gaussian processes, tokens and what is made of these")
        slopes = _slopes(likelihood, xt)
        shift = times(strength, per_signal(process, slopes.double(), t, mask))
        return with_mean(belief, belief.mean + shift.to(belief.mean.dtype))

    def _gains(self, process: Any, xt: Tensor, likelihood: Callable[..., Tensor], mask: Tensor | None) -> Tensor:
        """log p(y|x')/p(y|x) of every change of one token, float64 (batch, ..., states); zero where there is none."""
        classes, places = torch.arange(process.classes, device=xt.device), xt.flatten(1)
        changed = places[..., None] != classes
        if process.absorbing:  # what is shown stays
            changed = changed & (places == process.mask_class)[..., None]
        if mask is not None:
            changed = changed & apply_mask(torch.ones_like(xt), mask).bool().flatten(1)[..., None]
        gains = torch.zeros(*places.shape, process.states, dtype=torch.float64, device=xt.device)
        with torch.no_grad():
            here = likelihood(xt, torch.arange(len(xt), device=xt.device)).double()
            for part in changed.nonzero().split(self.chunk):
                rows, place, to = part.T
                states = places[rows].scatter(1, place[:, None], to[:, None]).reshape(-1, *xt.shape[1:])
                gains[rows, place, to] = likelihood(states, rows).double() - here[rows]
        return gains.reshape(*xt.shape, process.states)

    def _linear_gains(self, process: Any, xt: Tensor, likelihood: Callable[..., Tensor]) -> Tensor:
        """The same to first order, from the gradient in the one-hot code."""
        slopes = _slopes(likelihood, torch.nn.functional.one_hot(xt, process.states).double())
        return slopes - slopes.gather(-1, xt[..., None])


def steered_tokens(process: Any, logs: Tensor, xt: Tensor, t: Tensor, gains: Tensor) -> CategoricalPosterior:
    """The belief whose reversed chain has its rates multiplied by exp(``gains``)."""
    if process.absorbing:
        hidden = (xt == process.mask_class)[..., None]
        return CategoricalPosterior(normalised(torch.where(hidden, logs + gains[..., : process.classes], logs)))
    seeing = (process.clock(t) < _BLIND).expand(len(xt))
    if not bool(seeing.any()):
        return CategoricalPosterior(logs)
    rows = seeing.nonzero()[:, 0]
    at = t[rows] if t.ndim else t
    ratios = log_ratios(logs[rows], xt[rows], process, at) + gains[rows]
    found = logs.clone()
    found[rows] = belief_of_ratios(ratios, xt[rows], process, at).log_probabilities
    return CategoricalPosterior(found)


def _slopes(likelihood: Callable[..., Tensor], x: Tensor) -> Tensor:
    rows = torch.arange(len(x), device=x.device)
    return gradient(lambda state: likelihood(state, rows), x, "the log-likelihood")
