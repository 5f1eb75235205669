r"""Noise on tokens: every token jumps among classes in continuous time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError, suggest
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, beside
from unstir.processes.base import Process, even_pairs
from unstir.processes.generators import transition_matrix
from unstir.processes.schedules.base import Schedule, float64
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.token_matrices import NAMED, rates_of, slowest_rate

__all__ = ["CategoricalProcess"]

_IN_CLOSED_FORM = ("absorbing", "uniform")


@dataclass(frozen=True)
class CategoricalProcess(Process):
    r"""A continuous-time Markov chain on each token: uniform, absorbing (masked) or with any matrix of rates.

    States are int64 of shape (batch, ...), with the classes 0 to ``classes - 1``. The chain's clock is
    :math:`\tau_t = -\log\,\mathrm{sigmoid}(\lambda_t)`, so that every schedule and grid serves: after it a share
    ``kept`` :math:`e^{-\tau_t}`, which is alpha^2 of the variance-preserving scale, has not been touched.

    ``rates`` says what a touch does: ``"uniform"`` draws the class anew among all; ``"absorbing"`` masks it for
    good, the mask being one more class of the number ``classes``. Ordered classes move to their ``"neighbours"``, those
    on a circle along the ``"ring"``, or further by jumps of ``"gaussian"`` size (``{name: gaussian, deviation: 3.0}``);
    these are scaled to forget as fast as uniform noise. A matrix (classes, classes) of rates, rows that sum to zero, is
    a generator Q by itself, with :math:`q(x_t|x_s) = e^{Q(\tau_t-\tau_s)}`; one of probabilities, rows that sum to one,
    is a step P a unit of the clock, :math:`P^{\tau_t-\tau_s}`. Afterwards ``rates`` holds what generates the chain.

    Raises InputError for what is no chain, never forgets, or, of a P, has no continuous time between its steps.

    Reference: Austin et al., Structured denoising diffusion models in discrete state-spaces (2021), section 3;
    Campbell et al., A continuous time framework for discrete denoising models (2022), section 3.
    """

    classes: int
    schedule: Schedule = field(default_factory=CosineSchedule)
    rates: Any = field(default="uniform")
    space = "tokens"
    learned = "tokens"
    grid = "uniform"

    def __post_init__(self) -> None:
        if self.classes < 1 or (self.classes == 1 and not self.absorbing):
            raise InputError(f"tokens need at least two classes; seen {self.classes}")
        if isinstance(self.rates, str) and self.rates not in (*_IN_CLOSED_FORM, *NAMED):
            names = (*_IN_CLOSED_FORM, *NAMED)
            raise InputError(f"unknown rates {self.rates!r}; {suggest(self.rates, names)} Or give a matrix of rates.")
        if not isinstance(self.rates, str) or self.rates in NAMED:
            generator = rates_of(self.rates, self.classes)
            object.__setattr__(self, "rates", tuple(map(tuple, generator.tolist())))

    @classmethod
    def examples(cls) -> Mapping[str, "CategoricalProcess"]:
        """Members whose claims are measured."""
        lopsided = [[-2.0, 2.0, 0.0], [0.5, -1.5, 1.0], [0.0, 3.0, -3.0]]
        steps = [[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]]
        return {
            "uniform": cls(5),
            "absorbing": cls(4, rates="absorbing"),
            "neighbours in order": cls(5, rates="neighbours"),
            "neighbours on a ring": cls(4, rates="ring"),
            "rates of one's own": cls(3, rates=lopsided),
            "steps of one's own": cls(3, rates=steps),
        }

    @property
    def absorbing(self) -> bool:
        """Whether a touch masks."""
        return isinstance(self.rates, str) and self.rates == "absorbing"

    @property
    def states(self) -> int:
        """The number of classes that a noisy token may have: one more than the data's where there is a mask."""
        return self.classes + self.absorbing

    @property
    def mask_class(self) -> int:
        """The class that stands for a masked token."""
        if not self.absorbing:
            raise InputError("only the absorbing process has a mask")
        return self.classes

    @cached_property
    def generator(self) -> Tensor:
        """The rates Q, float64 (states, states)."""
        if not isinstance(self.rates, str):
            return torch.tensor(self.rates, dtype=torch.float64)
        target = torch.full((self.states, self.states), 1 / self.states, dtype=torch.float64)
        if self.absorbing:
            target = torch.zeros_like(target)
            target[:, self.mask_class] = 1
        return target - torch.eye(self.states, dtype=torch.float64)

    @cached_property
    def stationary(self) -> Tensor:
        """The law that everything tends to, float64 (states,)."""
        return transition_matrix(self.generator, float64(torch.inf)).mean(0)

    @cached_property
    def slowest(self) -> float:
        """How fast the last memory of the clean class fades, in units of the clock: as exp(-slowest tau)."""
        return slowest_rate(self.generator)

    def clock(self, t: Tensor | float) -> Tensor:
        """tau, the expected number of touches until t."""
        return -torch.nn.functional.logsigmoid(self.schedule.log_snr(t))

    def kept(self, t: Tensor | float) -> Tensor:
        """The share of the tokens that have not been touched by the time t."""
        return self.schedule.log_snr(t).sigmoid()

    def example_data(self, count: int) -> Tensor:
        return (even_pairs(count) * self.classes).long()

    def features(self, x: Tensor) -> Tensor:
        """The one-hot code of every token, float32 (..., n, states)."""
        return torch.nn.functional.one_hot(x, self.states).float()

    def contains(self, x: Tensor) -> Tensor:
        return ((x >= 0) & (x < self.states)).flatten(1).all(1)

    def log_density(self, xt: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        logs = self.log_forward(x0, torch.zeros_like(float64(t)), t)
        return logs.gather(-1, xt[..., None])[..., 0].flatten(1).sum(1)

    def transition(self, xs: Tensor, s: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Tensor:
        self.check_state(xs)
        elapsed = self._elapsed(s, t, xs)
        if not isinstance(self.rates, str):
            return apply_mask(choose(self.log_forward(xs, s, t), seeds), mask)
        seeds = seeds.to(xs.device)
        touched = seeds.at("touched").uniform(tuple(xs.shape[1:])) < -torch.expm1(-elapsed)
        fresh = self.mask_class if self.absorbing else seeds.at("class").integers(0, self.classes, tuple(xs.shape[1:]))
        return apply_mask(torch.where(touched, fresh, xs), mask)

    def prior(
        self,
        shape: Sequence[int],
        seeds: Seeds,
        t: Tensor | float = 1.0,
        dtype: torch.dtype | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Draws of the stationary law, int64 whatever the ``dtype``: sampling starts there at any time ``t``."""
        if self.absorbing:
            drawn = torch.full((len(seeds), *shape), self.mask_class, device=seeds.samples.device)
        elif isinstance(self.rates, str):
            drawn = seeds.integers(0, self.classes, shape)
        else:
            logs = self.stationary.log().to(seeds.samples.device)
            drawn = choose(logs.expand(len(seeds), *shape, -1), seeds)
        return apply_mask(drawn, mask)

    def bridge(
        self, xt: Tensor, posterior: Any, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None = None
    ) -> Tensor:
        r"""A draw of x_s given x_t and the belief about x_0, for s <= t.

        With x_0 drawn from the belief, every token's :math:`q(x_s|x_t,x_0) \propto q(x_s|x_0)\,q(x_t|x_s)`, summed over
        classes in the logarithm. Exact for any s < t if the belief is the true posterior, and the tokens of
        one sample are then jointly right.
        """
        self.check_state(xt)
        elapsed = self._elapsed(s, t, xt)
        x0 = posterior.sample(seeds.at("clean")).to(xt.device)
        self.check_state(x0)
        if self.absorbing:
            # a token that is not masked is the clean one; a masked one was masked in (s, t] with this chance
            freed = 1 - self._touched(s) / self._touched(t)
            freed = beside(torch.nan_to_num(freed, nan=0.0).to(xt.device), xt)
            shown = (xt == self.mask_class) & (seeds.at("bridge").to(xt.device).uniform(tuple(xt.shape[1:])) < freed)
            return apply_mask(torch.where(shown, x0, xt), mask)
        logs = self.log_forward(x0, torch.zeros_like(float64(s)), s) + self.log_backward(xt, s, t)
        still = elapsed == 0
        logs = torch.where(still[..., None], torch.zeros_like(logs), logs)
        return apply_mask(torch.where(still, xt, choose(logs, seeds.at("bridge"))), mask)

    def log_forward(self, xs: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        """log q(x_t = j | x_s) for every token and class j, float64 of shape (*xs.shape, states)."""
        return self._log_law(xs, s, t, forward=True)

    def log_backward(self, xt: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        """log q(x_t | x_s = i) for every token and class i, float64 of shape (*xt.shape, states)."""
        return self._log_law(xt, s, t, forward=False)

    def log_mixture(self, log_weights: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        r"""log :math:`\sum_i w_i\,q(x_t=j|x_s=i)` for every class j, float64 (batch, ..., states).

        ``log_weights`` (batch, ..., classes), or (batch, ..., states) where a mask has a weight too, need not be
        normalised; what a belief about every token says of its law at another time.
        """
        gap = beside(self._gap(s, t).to(log_weights.device), log_weights)
        weights = log_weights.double()
        if not isinstance(self.rates, str):
            largest = weights.amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).min)
            different, which = gap.flatten().unique(return_inverse=True)
            matrix = transition_matrix(self.generator.to(weights.device), different)[which]
            flat = (weights - largest).exp().reshape(len(weights), -1, self.states)
            return (flat @ matrix).log().reshape(weights.shape) + largest
        touched = (-torch.expm1(-gap)).log()
        if not self.absorbing:
            anew = touched - math.log(self.states) + torch.logsumexp(weights, -1, keepdim=True)
            return torch.logaddexp(weights - gap, anew.expand(weights.shape))
        shown = weights[..., : self.classes]
        hidden = touched + torch.logsumexp(shown, -1, keepdim=True)
        if weights.shape[-1] == self.states:
            hidden = torch.logaddexp(hidden, weights[..., self.classes :])
        return torch.cat((shown - gap, hidden), -1)

    def _log_law(self, x: Tensor, s: Tensor | float, t: Tensor | float, forward: bool) -> Tensor:
        gap = self._gap(s, t).to(x.device)
        if not isinstance(self.rates, str):
            different, which = gap.unique(return_inverse=True)  # a batch may share one time
            matrix = transition_matrix(self.generator.to(x.device), different)
            matrix = matrix.log() if forward else matrix.log().transpose(-1, -2)
            return matrix[beside(which, x), x]
        gap = beside(gap, x)[..., None]
        other, x = torch.arange(self.states, device=x.device), x[..., None]
        touched = -torch.expm1(-gap)
        if not self.absorbing:
            return torch.where(
                other == x, torch.log1p(-touched * (1 - 1 / self.classes)), (touched / self.classes).log()
            )
        start, end = (x, other) if forward else (other, x)
        moved = torch.where(end == self.mask_class, touched.log(), -torch.inf)
        return torch.where(start == end, torch.where(end == self.mask_class, 0.0, -gap), moved)

    def check_state(self, x: Tensor) -> None:
        """Refuses what is no state of this process."""
        if x.dtype != torch.int64:
            raise InputError(f"tokens are int64; seen {x.dtype}")
        if x.numel() and not 0 <= x.min().item() <= x.max().item() < self.states:
            raise InputError(
                f"the tokens of this process are the classes 0 to {self.states - 1}; "
                f"seen values from {x.min().item()} to {x.max().item()}"
            )

    def _touched(self, t: Tensor | float) -> Tensor:
        return (-self.schedule.log_snr(t)).sigmoid()

    def _gap(self, s: Tensor | float, t: Tensor | float) -> Tensor:
        s, t = float64(s), float64(t)
        if bool((s > t).any()):
            raise InputError(f"times must not be turned round: s must not exceed t; seen s = {s} and t = {t}")
        return torch.nan_to_num(self.clock(t) - self.clock(s), nan=0.0, posinf=torch.inf)

    def _elapsed(self, s: Tensor, t: Tensor, like: Tensor) -> Tensor:
        return beside(self._gap(s, t).to(like.device), like)
