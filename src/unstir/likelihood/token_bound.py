r"""Upper bounds on -log p of tokens under any categorical process, in discrete and in continuous time.

A step of ancestral sampling draws every token's x_s from the bridge, mixed over the belief p(.|x_t). Its divergence
from q(x_s|x_t,x_0) is summed over states; what is left to chance is x_t. Infinitely many steps make it an integral over
the clock of the score entropy (see ``denoisers.discrete``): under masking, with a share u masked, of the cross-entropy
of masked tokens over du/u. Single tokens' beliefs are all that the integral asks for, since then no two jump at once.

Late and early times are told apart by importance: of the rare states with a jump near the data, which cost most, one
token is made to jump with a known chance and the weight corrected, so that no term is much larger than its mean.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.core.state import State, apply_mask
from unstir.denoisers.base import Denoiser, evaluating
from unstir.denoisers.discrete import (
    CategoricalPosterior,
    behind,
    clean_log_ratios,
    log_marginals,
    log_ratios,
    score_entropy,
)
from unstir.exact.base import ExactDenoiser
from unstir.likelihood.bits import Bound, sum_per_sample
from unstir.likelihood.token_clock import Clock, falling_times
from unstir.processes.categorical import CategoricalProcess

__all__ = ["discrete_token_bound", "token_bound"]

_TILTED = 0.8  # how often a token is made to jump, where states without a jump cost something as well


def discrete_token_bound(
    denoiser: Denoiser,
    x0: State,
    seeds: Seeds,
    times: Tensor | int = 64,
    *,
    draws: int = 2,
    condition: Mapping[str, Tensor] | None = None,
    mean_only: bool = False,
    differentiable: bool = False,
) -> Bound:
    r"""The bound of ancestral sampling of tokens on given time steps: prior, each step's divergence, reconstruction.

    ``x0`` int64 (batch, *shape) is clean data, ``seeds`` one address a row. ``times`` fall from the noisiest to the
    last noisy one (a final 0, as grids have it, is left out: there the reconstruction ends), or are a number of steps,
    even in time from 1 to 0. The model draws each token by itself from the belief, as ancestral sampling does; of an
    ``ExactDenoiser`` the tokens are drawn jointly, with which the bound is tight in any steps, unless ``mean_only``
    takes no more than single tokens' beliefs. All tokens count that the condition ``mask`` leaves.

    ``total / elements`` of the result is in nats per token, ``bits_per_dimension`` in bits per token. Under masking the
    process is taken on the condition that all is masked at the first time, which is where sampling starts: the prior
    costs nothing, and the bound is finite whatever the schedule has left.

    Raises InputError for another process or state, for a belief that is not of single tokens (or no exact denoiser's);
    NonFiniteError for a bound that is not finite.

    Reference: Austin et al., Structured denoising diffusion models in discrete state-spaces (2021), eq. 1 and 4.
    """
    sweep = _Sweep(denoiser, x0, seeds, condition, draws)
    times = falling_times(times)
    sweep.start = times[0]
    whole = isinstance(denoiser, ExactDenoiser) and not mean_only

    def steps(draw: Seeds) -> tuple[Tensor, Tensor]:
        if whole:  # one noise for all times: neighbouring terms are then alike, and all but the ends cancel
            beliefs = [sweep.denoiser(sweep.noise(t, draw), t) for t in times]
            told = torch.stack([belief.log_prob(sweep.x0).double() for belief in beliefs], 1)
            return told.diff(dim=1), -told[:, -1]
        ends = [*times[1:], torch.zeros_like(times[0])]
        costs = [
            sweep.step(sweep.see(t, draw.at("step", number), single=not mean_only), s)
            for number, (t, s) in enumerate(zip(times, ends, strict=True))
        ]
        stacked = torch.stack(costs, 1)
        return stacked[:, :-1], stacked[:, -1]

    with evaluating(denoiser), torch.set_grad_enabled(differentiable):
        return sweep.collect(sweep.log_snr(times), [steps(seeds.at("bound", draw)) for draw in range(draws)])


def token_bound(
    denoiser: Denoiser,
    x0: State,
    seeds: Seeds,
    levels: int = 32,
    *,
    draws: int = 2,
    condition: Mapping[str, Tensor] | None = None,
    log_snr: tuple[float | int, float | int] = (-math.inf, 16.0),
    differentiable: bool = False,
) -> Bound:
    r"""The bound of infinitely many steps on tokens: prior, an integral over the clock in strata, and reconstruction.

    Between the two ``log_snr``, kept within the schedule's reach: the same for every schedule that reaches as far. Each
    of the ``draws`` takes one call in each of ``levels`` strata, each sample at its own even place in it; the strata
    are even in the share of tokens touched (uniform noise, masking), or so placed that fast and slow rates are both
    met.
    With an exact denoiser the bound is -log p(x_0), sample by sample, but for what the two ends leave out. All else,
    errors too, is as in ``discrete_token_bound``, but that any belief serves that knows single tokens.

    Reference: Sahoo et al., Simple and effective masked diffusion language models (2024), eq. 10; Campbell et al., A
    continuous time framework for discrete denoising models (2022), prop. 2; Lou, Meng, Ermon (2024), theorem 3.6.
    """
    if levels < 1 or not log_snr[0] < log_snr[1]:
        raise InputError(f"the bound needs 1 level at least and log-SNR that rises; seen {levels} and {log_snr}")
    sweep = _Sweep(denoiser, x0, seeds, condition, draws)
    clock = Clock(sweep.process, *log_snr)
    sweep.start = clock.first
    edges = clock.log_snr(torch.arange(levels + 1, dtype=torch.float64) / levels)

    def strata(draw: Seeds) -> tuple[Tensor, Tensor]:
        terms = []
        for number in range(levels):
            t, weight = clock.at((number + draw.at("level", number).uniform().cpu()) / levels)
            seen = sweep.see(t, draw.at("noise", number))
            terms.append(weight.to(sweep.x0.device) * sweep.rate(seen) / levels)
        last = sweep.see(clock.last, draw.at("reconstruction"))
        return torch.stack(terms, 1), sweep.step(last, torch.zeros_like(clock.last))

    with evaluating(denoiser), torch.set_grad_enabled(differentiable):
        return sweep.collect(edges, [strata(seeds.at("bound", draw)) for draw in range(draws)])


@dataclass(frozen=True)
class _Seen:
    """A noisy state, single tokens' beliefs at it, and by how much it was drawn too often, (batch,)."""

    xt: Tensor
    t: Tensor
    logs: Tensor
    weight: Tensor


class _Sweep:
    """What both bounds need of a denoiser and its data; ``start`` is the time at which sampling starts."""

    start: Tensor

    def __init__(
        self, denoiser: Denoiser, x0: State, seeds: Seeds, condition: Mapping[str, Tensor] | None, draws: int
    ) -> None:
        process = denoiser.process
        if not isinstance(process, CategoricalProcess) or not isinstance(x0, Tensor):
            raise InputError(
                f"this bound is of tokens in one tensor; seen {type(process).__name__} and a state of the type "
                f"{type(x0).__name__}"
            )
        if x0.ndim < 2 or len(x0) != len(seeds) or draws < 1:
            raise InputError(
                "clean tokens have the shape (batch, *shape) with one seed a row, and 1 draw at least is needed; seen "
                f"{tuple(x0.shape)}, {len(seeds)} seeds and {draws} draws"
            )
        process.check_state(x0)
        condition = dict(condition or {})
        for name, rows in condition.items():
            if not rows.ndim or len(rows) != len(x0):
                raise InputError(f"the condition {name!r} needs one row for each of {len(x0)} samples")
        self.mask = condition.get("mask")
        self.process, self.denoiser, self.draws = process, denoiser.given(condition), draws
        self.x0 = apply_mask(x0, self.mask)
        if x0.numel() and self.x0.max().item() >= process.classes:
            raise InputError(
                f"clean tokens are the classes 0 to {process.classes - 1}; seen {self.x0.max().item()}, the mask"
            )
        self.seeds = seeds
        self.elements = sum_per_sample(torch.ones_like(self.x0), self.mask)
        if not bool((self.elements > 0).all()):
            raise InputError("each sample needs one token at least; the mask leaves some none")

    def log_snr(self, t: Tensor) -> Tensor:
        return self.process.schedule.log_snr(t)

    def noise(self, t: Tensor, seeds: Seeds) -> Tensor:
        """The data in noise, on the condition that masking has masked all by ``start``."""
        if not self.process.absorbing:
            return self.process.noise(self.x0, t, seeds, self.mask)
        drawn = seeds.to(self.x0.device).uniform(tuple(self.x0.shape[1:]))
        hidden = drawn < self._beside(self._share(t))
        return apply_mask(torch.where(hidden, self.process.mask_class, self.x0), self.mask)

    def see(self, t: Tensor, seeds: Seeds, single: bool = False) -> _Seen:
        """The data in noise, in which one token at least has been made to jump in a share of the samples."""
        process, x0 = self.process, self.x0
        xt = self.noise(t, seeds.at("noise"))
        if process.absorbing:
            jumped, chance, tilted = torch.full_like(x0, process.mask_class), self._beside(self._share(t)), 1.0
            chance = chance.expand(x0.shape)
        else:
            logs = process.log_forward(x0, torch.zeros_like(t), t).scatter(-1, x0[..., None], -torch.inf)
            jumped, chance, tilted = choose(logs, seeds.at("jump")), logs.logsumexp(-1).exp(), _TILTED
        kept = apply_mask(torch.ones_like(x0, dtype=torch.float64), self.mask).flatten(1)
        place = choose(kept.log(), seeds.at("place"))
        chosen = torch.nn.functional.one_hot(place, kept.shape[1]).bool()
        made = seeds.at("whether").to(x0.device).uniform() < tilted
        xt = torch.where((chosen & made[:, None]).reshape(x0.shape), jumped, xt)
        share = sum_per_sample((xt != x0) / chance, self.mask) / self.elements
        belief = self.denoiser(xt, t)
        if single and not isinstance(belief, CategoricalPosterior):
            raise InputError(
                f"steps are known of beliefs about single tokens and of exact denoisers; seen {type(belief).__name__} "
                f"of {type(self.denoiser).__name__}: take single tokens' beliefs alone with mean_only=True"
            )
        return _Seen(xt, t, log_marginals(belief, process.classes), 1 - tilted + tilted * share)

    def step(self, seen: _Seen, s: Tensor) -> Tensor:
        """The divergence of the step from the noisy state to the time s, (batch,)."""
        process, x0, t = self.process, self.x0, seen.t
        start = torch.zeros_like(t)
        if process.absorbing:
            freed = -torch.expm1(self._log_touched(s) - self._log_touched(t))
            return self._total(self._beside(freed) * self._missed(seen), seen)
        if bool((s == 0).all()):
            return self._total(-seen.logs.gather(-1, x0[..., None])[..., 0], seen)
        own = process.log_forward(x0, start, s)
        evidence = process.log_forward(x0, start, t).gather(-1, seen.xt[..., None])
        true = own + process.log_backward(seen.xt, s, t) - evidence
        told = process.log_mixture(behind(seen.logs, seen.xt, process, t), start, s)
        reached = true > -torch.inf
        gained = torch.where(reached, own, 0.0) - evidence - torch.where(reached, told, 0.0)
        return self._total((true.exp() * torch.where(reached, gained, 0.0)).sum(-1), seen)

    def rate(self, seen: _Seen) -> Tensor:
        """The divergence per unit of the clock, (batch,)."""
        process, t = self.process, seen.t
        if process.absorbing:
            gap = process.clock(t)
            return self._total(self._beside(1 / torch.expm1(gap)) * self._missed(seen), seen)
        told = log_ratios(seen.logs, seen.xt, process, t)
        return self._total(score_entropy(told, clean_log_ratios(self.x0, seen.xt, process, t), process, seen.xt), seen)

    def prior(self) -> Tensor:
        """The divergence of the noisiest state from the one that sampling starts from, (batch,)."""
        if self.process.absorbing:
            return torch.zeros_like(self.elements)
        logs = self.process.log_forward(self.x0, torch.zeros_like(self.start), self.start)
        stationary = self.process.stationary.log().to(logs.device)
        met = logs > -torch.inf
        each = (logs.exp() * torch.where(met, logs - stationary, 0.0)).sum(-1)
        return sum_per_sample(each, self.mask)

    def collect(self, log_snr: Tensor, terms: list[tuple[Tensor, Tensor]]) -> Bound:
        """The bound out of every draw's transitions and reconstruction."""
        transitions = torch.stack([transition for transition, _ in terms])
        reconstruction = torch.stack([last for _, last in terms])
        totals, prior = transitions.sum(2) + reconstruction, self.prior()
        if len(bad := (~(prior + totals).isfinite().all(0)).nonzero().flatten().tolist()):
            raise NonFiniteError(
                f"the bound of {len(bad)} of {len(prior)} samples is not finite, the first in row {bad[0]}: the belief "
                "holds impossible what is true, or the noise at the first time has classes that sampling never starts "
                "from (take a schedule that ends in more noise)"
            )
        spread = totals.std(0) if len(terms) > 1 else torch.full_like(prior, math.nan)
        error = spread / math.sqrt(len(terms))
        return Bound(prior, transitions.mean(0), reconstruction.mean(0), error, log_snr, self.elements, len(terms))

    def _missed(self, seen: _Seen) -> Tensor:
        """-log p of each masked token's class; zero where the token is seen."""
        logs = seen.logs.gather(-1, self.x0[..., None])[..., 0]
        return torch.where(seen.xt == self.process.mask_class, -logs, 0.0)

    def _total(self, each: Tensor, seen: _Seen) -> Tensor:
        return sum_per_sample(each, self.mask) / seen.weight

    def _log_touched(self, t: Tensor) -> Tensor:
        return torch.nn.functional.logsigmoid(-self.log_snr(t))

    def _share(self, t: Tensor) -> Tensor:
        """The chance that a token is masked at t, if it is at ``start``."""
        return (self._log_touched(t) - self._log_touched(self.start)).exp()

    def _beside(self, values: Tensor) -> Tensor:
        values = values.to(self.x0.device)
        return values.reshape(values.shape + (1,) * (self.x0.ndim - 1)) if values.ndim else values
