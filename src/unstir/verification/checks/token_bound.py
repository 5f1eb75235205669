"""What bounds on the log-probability of tokens keep: they hold, are tight where told, and are the sums of their terms.

Against exact laws of chains, and against sums over all states of two tokens, written anew with SciPy's exponential.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import integrate, stats
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior
from unstir.exact.categorical import TokenChainDenoiser
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.spaces import token_matrix
from unstir.verification.statistics import FALSE_ALARM, at_most, mean_is, order_of

__all__ = [
    "token_bound_is_the_entropy",
    "token_bound_loses_as_one_over_steps",
    "token_bound_of_any_belief",
    "token_bound_tells_its_error",
    "token_bound_term_by_term",
    "token_bound_tight_for_whole_beliefs",
]

MASKED = CategoricalProcess(3, rates="absorbing")
UNIFORM = CategoricalProcess(3)
LENGTH = 6
ENDED = LinearVPSchedule()


def chain(process: CategoricalProcess, length: int = LENGTH) -> TokenChainDenoiser:
    """A chain that prefers some successors to others."""
    place = torch.arange(process.classes, dtype=torch.float64)
    steps = 0.05 + ((place[:, None] + 1) % process.classes == place) + 0.4 * (place[:, None] == place)
    initial = 1 + place
    return TokenChainDenoiser(initial / initial.sum(), steps / steps.sum(1, keepdim=True), process, length)


@claim("likelihood", "token-bound")
def token_bound_is_the_entropy(bound: Any, effort: Effort) -> Iterator[Measured]:
    """With an exact denoiser it is the entropy, in nats per token: from single tokens' beliefs nothing is lost.

    Taken less -log p of the very data, which has the entropy for a mean.
    """
    for name, process, count in (
        ("masked", MASKED, effort.of(1_000, 60_000)),
        ("uniform", UNIFORM, effort.of(1_000, 130_000)),
    ):
        away = _excess(bound, chain(process), count, effort, name)
        error = float(away.std()) / math.sqrt(count)
        chance = 2 * float(stats.norm.sf(1e-3 / error))
        note = f"entropy {_entropy(chain(process)) / LENGTH:.4f} nats per token, {count} sequences"
        if not effort.quick:
            mean = float(away.mean())
            yield Measured(f"bound less entropy, nats per token, {name}", mean, -1e-3, 1e-3, error, chance, note=note)
        yield mean_is(f"bound less -log p, nats per token, {name}", away, 0.0)
    for name, process in CategoricalProcess.examples().items():
        if not isinstance(process.rates, str) and (name == "neighbours in order" or not effort.quick):
            away = _excess(bound, chain(process), effort.of(200, 4_000), effort, name, levels=effort.of(8, 32))
            yield mean_is(f"bound less -log p, nats per token, {name}", away, 0.0)
    for name, rates in (("masked", "absorbing"), ("uniform", "uniform")):
        ended = CategoricalProcess(3, ENDED, rates)
        away = _excess(bound, chain(ended), effort.of(1_000, 10_000), effort, "ended", name)
        # what the noise has left at its end is worth less than its share, of any token's nats
        left = 3 * math.exp(ENDED.log_snr(1.0).item())
        far = max(abs(float(away.mean())) - left, 0.0) / (float(away.std()) / math.sqrt(len(away)))
        quantity = f"standard errors from -log p, noise that ends early, {name}"
        yield Measured(quantity, far, high=float(stats.norm.isf(FALSE_ALARM / 2)), false_alarm=FALSE_ALARM)


@claim("likelihood", "discrete-token-bound")
def token_bound_tight_for_whole_beliefs(bound: Any, effort: Effort) -> Iterator[Measured]:
    """With the whole belief of an exact denoiser it is -log p in any number of steps, sample by sample."""
    for name, process in CategoricalProcess.examples().items():
        law = chain(process, 4)
        data = law.draw(effort.seeds(effort.of(50, 500), "data"))
        exact = -law.log_density(data, 0.0)
        for steps in effort.of((1, 5), (1, 5, 40)):
            told = bound(law, data, effort.seeds(len(data), "noise", steps), steps)
            yield at_most(f"distance from -log p, nats, {name}, {steps} steps", (told.total - exact).abs(), 1e-9)


@claim("likelihood", "discrete-token-bound")
def token_bound_loses_as_one_over_steps(bound: Any, effort: Effort) -> Iterator[Measured]:
    """With single tokens' beliefs it lies above the entropy, by what drawing tokens apart loses: as 1/steps."""
    counts = (4, 8, 16, 32, 64)
    for name, process in {"masked": MASKED, "uniform": UNIFORM}.items():
        means, steps_taken = [], effort.of(counts[:2], counts)
        for steps in steps_taken:
            count = effort.of(800, 600 * steps)
            away = _excess(bound, chain(process), count, effort, name, steps, times=steps, mean_only=True)
            means.append(float(away.mean()))
            error = float(away.std()) / math.sqrt(count)
            low = float(stats.norm.ppf(FALSE_ALARM)) * error
            quantity = f"excess in {steps} steps, nats per token, {name}"
            yield Measured(quantity, means[-1], low, uncertainty=error, false_alarm=FALSE_ALARM)
        if not effort.quick:
            widths = [1 / steps for steps in steps_taken[1:]]
            yield order_of(f"order of the excess, {name}", widths, means[1:], 1.0, 0.2, step_name="1/steps")


@claim("likelihood", "discrete-token-bound")
def token_bound_term_by_term(bound: Any, effort: Effort) -> Iterator[Measured]:
    """Each term is the divergence summed over all states of two tokens, for beliefs that are wrong as well."""
    count, times = effort.of(2_000, 20_000), (1 - 1e-9, 0.6, 0.2)  # SciPy's exponential knows no infinity
    for name, process in CategoricalProcess.examples().items():
        for denoiser in (Blunt(process, 0.0), Blunt(process, 0.3)):
            x0 = torch.tensor([[0, process.classes - 1]]).expand(count, 2)
            seeds = effort.seeds(count, "terms", name, str(denoiser.share))
            told = bound(denoiser, x0, seeds, torch.tensor(times, dtype=torch.float64), draws=1, mean_only=True)
            terms = torch.cat((told.transitions, told.reconstruction[:, None]), 1).numpy()
            wanted = _terms(denoiser, x0[0].tolist(), (*times, 0.0))
            kind = "exact" if denoiser.share == 0 else "wrong"
            sure = int(process.absorbing)  # from where all is masked, the first step leaves nothing to chance
            yield mean_is(f"steps and reconstruction, nats, {name}, {kind} belief", terms[:, sure:], wanted[sure:])
            known = np.abs(terms[:, :sure] - wanted[:sure]).max(initial=0.0) + told.prior.abs().max().item()
            yield at_most(f"prior and what chance has no part in, nats, {name}, {kind} belief", known, 1e-9)


@claim("likelihood", "token-bound")
def token_bound_of_any_belief(bound: Any, effort: Effort) -> Iterator[Measured]:
    """It is the integral of the rates' divergence over the clock, by quadrature, for beliefs that are wrong as well."""
    count = effort.of(2_000, 40_000)
    for name, process in CategoricalProcess.examples().items():
        if effort.quick and name.startswith(("neighbours", "steps")):
            continue
        denoiser = Blunt(process, 0.3)
        x0 = torch.tensor([[0, process.classes - 1]]).expand(count, 2)
        told = bound(denoiser, x0, effort.seeds(count, "any", name), 8, draws=1, log_snr=(-6.0, 3.0))
        wanted = _integral(denoiser, x0[0].tolist(), -6.0, 3.0)
        if process.absorbing:  # on the condition that all is masked at the noisier end: the same in shares of it
            wanted = _masked_integral(denoiser, x0[0].tolist(), -6.0, 3.0)
        yield mean_is(f"integral over the clock, nats, {name}", told.transitions.sum(1).numpy(), wanted)


@claim("likelihood", "token-bound", "discrete-token-bound")
def token_bound_tells_its_error(bound: Any, effort: Effort) -> Iterator[Measured]:
    """The standard error is that of repeated estimates."""
    count = effort.of(2_000, 20_000)
    law = chain(UNIFORM, 3)
    data = torch.tensor([[0, 1, 1]]).expand(count, 3)
    options: dict[str, Any] = {} if bound.__name__ == "token_bound" else {"mean_only": True}
    for draws in (2, 5):
        told = bound(law, data, effort.seeds(count, "noise", draws), 4, draws=draws, **options)
        total = told.total.numpy()
        squares = (total - total.mean()) ** 2 * count / (count - 1)
        ratio = (told.standard_error.square().numpy() - squares) / squares.mean()
        yield mean_is(f"excess of the squared standard error, relative, {draws} draws", ratio, 0.0)


class Blunt(Denoiser):
    """Single tokens' exact beliefs about a pair that hangs together, of which a share is replaced by evenness.

    Under masking a token that is seen stays known. Everything is summed anew, over all pairs.
    """

    def __init__(self, process: CategoricalProcess, share: float) -> None:
        super().__init__()
        self.process, self.share = process, share
        weights = 1.0 + np.arange(process.classes**2).reshape(process.classes, process.classes) % 3
        self.prior = weights / weights.sum()

    def probabilities(self, xt: tuple[int, int], law: np.ndarray) -> np.ndarray:
        """The belief about each token, (2, classes), where q(x_t|x_0) is ``law`` (states, states)."""
        return self._given(np.array([xt]), law[None, : self.process.classes])[0]

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> CategoricalPosterior:
        """The same for a batch."""
        every = torch.arange(self.process.classes).expand(len(xt), -1)
        laws = self.process.log_forward(every, torch.zeros_like(t), t).exp().numpy()
        return CategoricalPosterior(torch.from_numpy(self._given(xt.numpy(), laws)).log())

    def _given(self, xt: np.ndarray, laws: np.ndarray) -> np.ndarray:
        """Of states (batch, 2) and laws q(x_t|x_0) (batch, classes, states), the beliefs (batch, 2, classes)."""
        first, second = (np.take_along_axis(laws, xt[:, None, place, None], 2)[..., 0] for place in range(2))
        joint = self.prior * first[:, :, None] * second[:, None]
        joint /= joint.sum((1, 2), keepdims=True)
        told = np.stack((joint.sum(2), joint.sum(1)), 1)
        blunted = (1 - self.share) * told + self.share / self.process.classes
        return np.where((xt < self.process.classes)[..., None], told, blunted) if self.process.absorbing else blunted


def _entropy(law: TokenChainDenoiser) -> float:
    """Of a whole sequence, in nats: the first token's, and the successors' under the law of each place."""
    here, steps = law.log_initial[0].exp(), law.log_transition[0].exp()
    total = -(here * here.log()).sum()
    for _ in range(law.shape[0] - 1):
        total = total - (here[:, None] * steps * steps.log()).sum()
        here = here @ steps
    return float(total)


def _excess(
    bound: Any, law: TokenChainDenoiser, count: int, effort: Effort, *purpose: str | int, **options: Any
) -> np.ndarray:
    """The bound less -log p of each of ``count`` sequences, in nats per token."""
    found = []
    for start in range(0, count, 10_000):
        seeds = effort.seeds(count, "excess", *purpose)[start : start + 10_000]
        data = law.draw(seeds.at("data"))
        told = bound(law, data, seeds.at("noise"), draws=1, **options)
        found.append((told.total + law.log_density(data, 0.0)) / told.elements)
    return torch.cat(found).numpy()


def _pairs(states: int) -> Iterator[tuple[int, int]]:
    return ((first, second) for first in range(states) for second in range(states))


def _terms(denoiser: Blunt, x0: list[int], times: tuple[float, ...]) -> np.ndarray:
    """Each step's divergence, the last one to the data itself: sums over all pairs of x_t and of x_s."""
    process = denoiser.process
    found = []
    for t, s in pairwise(times):
        to_t, to_s, between = token_matrix(process, t), token_matrix(process, s), token_matrix(process, t, s)
        total = 0.0
        for xt in _pairs(process.states):
            chance = np.prod([to_t[clean, noisy] for clean, noisy in zip(x0, xt, strict=True)])
            if chance < 1e-14:
                continue
            belief = denoiser.probabilities(xt, to_t)
            for place in range(2):
                bridge = to_s[: process.classes] * between[:, xt[place]]
                rows = bridge.sum(1, keepdims=True)
                bridge = np.divide(bridge, rows, out=np.zeros_like(bridge), where=rows > 0)
                true, told = bridge[x0[place]], belief[place] @ bridge
                met = true > 0
                total += chance * float((true[met] * np.log(true[met] / told[met])).sum())
        found.append(total)
    return np.array(found)


def _rate(denoiser: Blunt, x0: list[int], log_snr: float, law_of: Callable[[np.ndarray], np.ndarray]) -> float:
    """The divergence of the reversed chain's rates, per unit of the clock, with the noisy law that ``law_of`` makes."""
    process = denoiser.process
    t = process.schedule.time(torch.tensor(log_snr, dtype=torch.float64)).item()
    law, rates = token_matrix(process, t), process.generator.numpy()
    drawn = law_of(law)
    total = 0.0
    for xt in _pairs(process.states):
        chance = np.prod([drawn[clean, noisy] for clean, noisy in zip(x0, xt, strict=True)])
        if chance < 1e-15:
            continue
        belief = denoiser.probabilities(xt, law)
        for place, here in enumerate(xt):
            for other in range(process.states):
                if other == here or rates[other, here] <= 0:
                    continue
                mixed = sum(
                    belief[place][clean] * law[clean, other] / law[clean, here]
                    for clean in range(process.classes)
                    if belief[place][clean] > 0
                )
                true = law[x0[place], other] / law[x0[place], here]
                gained = true * math.log(true / mixed) if true > 0 else 0.0
                total += chance * rates[other, here] * (mixed - true + gained)
    return total


def _integral(denoiser: Blunt, x0: list[int], low: float, high: float) -> float:
    def per_log_snr(log_snr: float) -> float:
        return _rate(denoiser, x0, log_snr, lambda law: law) / (1 + math.exp(log_snr))

    return float(integrate.fixed_quad(np.vectorize(per_log_snr), low, high, n=24)[0])


def _masked_integral(denoiser: Blunt, x0: list[int], low: float, high: float) -> float:
    first = 1 / (1 + math.exp(low))

    def per_log_snr(log_snr: float) -> float:
        share = 1 / (1 + math.exp(log_snr)) / first

        def conditioned(law: np.ndarray) -> np.ndarray:
            classes = denoiser.process.classes
            found = np.zeros_like(law)
            found[np.arange(classes), np.arange(classes)], found[:, classes] = 1 - share, share
            return found

        return _rate(denoiser, x0, log_snr, conditioned) / (1 + math.exp(log_snr))

    return float(integrate.fixed_quad(np.vectorize(per_log_snr), low, high, n=24)[0])
