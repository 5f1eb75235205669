"""Claims of samplers of tokens. Most are measured without drawing: all states are pushed through the steps."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.discrete import log_marginals
from unstir.processes.categorical import CategoricalProcess
from unstir.samplers.base import Sampler, sample, time_grid
from unstir.samplers.remasking import RemaskingSampler, remasking_law
from unstir.samplers.tau_leaping import TauLeapingSampler
from unstir.samplers.token_correction import TokenPredictorCorrectorSampler
from unstir.samplers.token_steps import TokenSampler, reading, reverse_rates
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.spaces import token_matrix
from unstir.verification.statistics import at_most, counts_are, order_of
from unstir.verification.token_laws import (
    MILD,
    STRONG,
    TokenwiseDenoiser,
    all_states,
    chain_law,
    distance,
    law_after,
    marginal,
    steps_for,
)

__all__ = [
    "every_unmasking_order_is_exact_by_single_tokens",
    "remasking_keeps_the_noise_law",
    "second_order_halves_the_steps",
    "single_masked_tokens_are_exact",
    "token_law_converges",
    "token_moves_are_of_the_order",
    "token_rates_reverse_the_chain",
    "token_samples_are_clean",
    "token_samples_follow_the_pushed_law",
    "token_samples_stand_alone",
]

LEAPS = ("tau-leaping", "theta-rk2", "theta-trapezoidal", "token-euler", "token-predictor-corrector")
EVERY = (*LEAPS, "confidence-unmasking", "remasking")
OWN_RATES = ((-2.0, 2.0, 0.0), (0.5, -1.5, 1.0), (0.0, 3.0, -3.0))


def _process(rates: Any, classes: int = 3) -> CategoricalProcess:
    return CategoricalProcess(classes, rates=rates)


def _serves(sampler: Any, process: CategoricalProcess) -> bool:
    return process.absorbing or (
        isinstance(sampler, TokenSampler | TokenPredictorCorrectorSampler) and not isinstance(sampler, RemaskingSampler)
    )


def _movings(sampler: Any) -> Sequence[Any]:
    """What a step's law is made of."""
    if isinstance(sampler, TokenPredictorCorrectorSampler):
        if not isinstance(sampler.predictor, TokenSampler):
            raise NotMeasured(
                "its predictor draws several tokens together, and has no law of single moves", silent=True
            )
        return (sampler.predictor, sampler.corrections)
    if isinstance(sampler, RemaskingSampler) and sampler.variant == "confidence":
        raise NotMeasured("what it does depends on what it did, so that states alone have no law", silent=True)
    return (sampler,)


@claim("samplers", *LEAPS)
def token_moves_are_of_the_order(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """Over a stretch of noise levels its law's total variation from the exact one falls at least with its order.

    Two tokens that tell a little of each other; all states are pushed through the steps, so that nothing is drawn.
    """
    counts = effort.of((8, 16, 32), (16, 32, 64, 128))
    start, end = 0.9, 0.5
    cases = {"masked": "absorbing", "uniform": "uniform", "rates of one's own": OWN_RATES}
    for name in effort.of(("masked", "uniform"), cases):
        rates = cases[name]
        law, errors = chain_law(MILD, _process(rates), 2), []
        for steps in counts:
            times = torch.linspace(start, end, steps + 1, dtype=torch.float64)
            states, chances = law_after(_movings(sampler), law, times)
            errors.append(distance(law, states, chances, times[-1]))
        widths = [1 / steps for steps in counts]
        tolerance = effort.of(0.15, 0.1)
        yield order_of(f"weak order, {name}", widths, errors, float(sampler.order), tolerance, at_least=True)


@claim("samplers", *LEAPS, "remasking")
def token_law_converges(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """From pure noise to clean tokens its law tends to that of the data, however much tokens tell of each other."""
    counts = effort.of((6, 12), (16, 32, 64))
    for name, rates in {"masked": "absorbing", "uniform": "uniform"}.items():
        process = _process(rates)
        if not _serves(sampler, process):
            continue
        for kind in effort.of(("much",), ("little", "much")):
            law, errors = chain_law(MILD if kind == "little" else STRONG, process, 2), []
            for steps in counts:
                states, chances = law_after(_movings(sampler), law, time_grid(process, "uniform", steps))
                errors.append(distance(law, states, chances, 0.0))
            # each doubling of the steps must take at least the share that half an order would, with a little leeway
            slope = np.log(errors[0] / errors[-1]) / np.log(counts[-1] / counts[0])
            yield Measured(f"total variation falls as steps to this power, {name}, tell {kind}", slope, low=0.4)
            yield at_most(f"total variation after {counts[-1]} steps, {name}, tell {kind}", errors[-1], 0.15)


@claim("samplers", *EVERY)
def token_samples_follow_the_pushed_law(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """Drawn samples have the very law that its moves add up to."""
    count, steps = effort.of((4_000, 4), (40_000, 5))
    for rates in ("absorbing", "uniform"):
        process = _process(rates)
        if not _serves(sampler, process) or not isinstance(sampler, TokenSampler | TokenPredictorCorrectorSampler):
            continue
        law = chain_law(STRONG, process, 2)
        grid = time_grid(process, "uniform", steps)
        states, chances = law_after(_movings(sampler), law, grid)
        drawn = sample(TokenwiseDenoiser(law), sampler, (2,), count, grid=grid, seed=effort.seed + 5, batch=count)
        place = (drawn * torch.tensor([process.states, 1])).sum(1)
        yield counts_are(f"sequences, {rates}", np.bincount(place, minlength=len(states)), chances.numpy())
    if not isinstance(sampler, TokenSampler | TokenPredictorCorrectorSampler):
        raise NotMeasured("which tokens it shows depends on all of them; it has a claim of its own", silent=True)


@claim("samplers", "tau-leaping", "theta-trapezoidal", "remasking", "token-predictor-corrector")
def single_masked_tokens_are_exact(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """A masked token by itself has the law of the data exactly, however few the steps."""
    process = _process("absorbing")
    law = chain_law(STRONG, process, 1)
    for steps in effort.of((1, 3), (1, 2, 3, 8)):
        grid = time_grid(process, "uniform", steps)
        wrong = []
        for last in range(2, steps + 2):  # on the way too: whatever was masked, the last step shows
            states, chances = law_after(_movings(sampler), law, grid[:last])
            wrong.append(distance(law, states, chances, grid[last - 1]))
        yield at_most(f"total variation at any time, {steps} steps", np.array(wrong), 1e-12)


@claim("samplers", "tau-leaping")
def token_rates_reverse_the_chain(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """The rates that leaps are made of carry the exact law of x_t to that of a moment before, for any rates.

    By a central difference of the exact law along the clock v, extrapolated once: to 1e-7 of the largest change.
    """
    for name, rates in {"masked": "absorbing", "uniform": "uniform", "rates of one's own": OWN_RATES}.items():
        process = _process(rates)
        law, states = chain_law(STRONG, process, 2), all_states(process, 2)
        for t in effort.of((0.4,), (0.1, 0.4, 0.7)):
            time = torch.tensor(t, dtype=torch.float64)
            belief = log_marginals(law(states, time), process.classes)
            chances = marginal(law, states, time)
            flow = _flow(reverse_rates(process, belief, states, time) * chances[:, None, None], states)
            estimates = []
            for width in (2e-3, 1e-3):
                ends = [reading(process, time) + way * width for way in (1, -1)]
                before, after = (marginal(law, states, _time_of(process, end)) for end in ends)
                estimates.append((after - before) / (2 * width))
            change = (4 * estimates[1] - estimates[0]) / 3
            yield at_most(f"{name}, t = {t:g}", (flow - change).abs().max() / change.abs().max(), 1e-7)


def _time_of(process: CategoricalProcess, v: Tensor) -> Tensor:
    """By bisection: the sampler's own inverse is not asked."""
    low, high = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if reading(process, middle) < v else (low, middle)
    return middle


def _flow(rates: Tensor, states: Tensor) -> Tensor:
    """What flows into every state less what flows out, for rates (states, n, classes) already weighted."""
    change = -rates.sum((1, 2))
    classes = rates.shape[-1]
    for place in range(states.shape[1]):
        weight = classes ** (states.shape[1] - 1 - place)
        for target in range(classes):
            to = torch.arange(len(states)) + (target - states[:, place]) * weight
            change = change.index_add(0, to, rates[:, place, target])
    return change


@claim("samplers", "theta-trapezoidal", slow=True)
def second_order_halves_the_steps(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """For a total variation of 0.05 and less it needs at most half of the steps of tau-leaping, on strong links too.

    Exact laws of three tokens, from pure noise to clean ones, even times on a cosine schedule.
    """
    if sampler.theta != 0.5:
        raise NotMeasured("what is cut off is least for theta 1/2, which is the default", silent=True)
    for rates in ("absorbing", "uniform"):
        law = chain_law(STRONG, _process(rates), 3)
        for wanted in (0.05, 0.02, 0.01):
            own, leaps = steps_for(wanted, (sampler,), law), steps_for(wanted, (TauLeapingSampler(),), law)
            if not own or not leaps:
                raise NotMeasured(f"a total variation of {wanted} is not reached in 128 steps")
            note = f"{own} steps of two calls, and {leaps} of one"
            yield at_most(f"share of tau-leaping's steps, total variation {wanted:g}, {rates}", own / leaps, 0.5, note)


@claim("samplers", "remasking")
def remasking_keeps_the_noise_law(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """A step given the clean token carries its noise at t to its noise at s, whatever the chance to be masked again."""
    process = _process("absorbing", 2)
    states, clean = torch.arange(3)[:, None], torch.tensor([0.0, -torch.inf], dtype=torch.float64)
    errors = []
    for t, s in ((1.0, 0.7), (0.8, 0.75), (0.5, 0.1), (0.3, 0.0), (1e-4, 1e-5)):
        time, end = (torch.tensor(value, dtype=torch.float64) for value in (t, s))
        noisy = torch.tensor(token_matrix(process, min(t, 1 - 1e-9))[0])
        wanted = torch.tensor(token_matrix(process, s)[0])
        left = 1 - wanted[0]
        for share in (0.0, 0.3, 1.0):
            chance = share * (left / noisy[0]).clamp(max=1.0)
            step = remasking_law(process, clean.expand(3, 1, 2), states, time, end, chance)[:, 0].exp()
            errors.append((noisy @ step - wanted).abs().max())
    yield at_most("largest error of a probability", torch.stack(errors).max(), 1e-9)


@claim("samplers", "confidence-unmasking")
def every_unmasking_order_is_exact_by_single_tokens(sampler: Any, effort: Effort) -> Iterator[Measured]:
    """One token a step, in an order that does not look at the draw, gives the law of the data."""
    if sampler.criterion == "probability" or sampler.temperature != 1:
        raise NotMeasured("its draws are sharper than the data by design", silent=True)
    process, count = _process("absorbing"), effort.of(4_000, 40_000)
    law = chain_law(STRONG, process, 3)
    grid = _even_shares(process, 3)
    drawn = sample(TokenwiseDenoiser(law), sampler, (3,), count, grid=grid, seed=effort.seed + 7, batch=count)
    states = all_states(process, 3)
    place = (drawn * torch.tensor([process.states**2, process.states, 1])).sum(1)
    counted = np.bincount(place, minlength=len(states))
    yield counts_are("sequences of three tokens", counted, marginal(law, states, 0.0).numpy())


@claim("samplers", *EVERY)
def token_samples_stand_alone(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """A sample is the same to the bit whichever others are drawn beside it, and another under another seed."""
    law = TokenwiseDenoiser(chain_law(STRONG, _process("absorbing", 3), 12))
    options: dict[str, Any] = {"steps": 4, "grid": "uniform"}
    whole = sample(law, sampler, (12,), 48, seed=3, batch=16, **options)
    rows = torch.tensor([40, 3, 17])
    some = sample(law, sampler, (12,), seeds=Seeds(3, rows), batch=16, **options)
    yield at_most("tokens that differ in other company", int((some != whole[rows]).sum()), 0.0)
    lone = sample(law, sampler, (12,), seeds=Seeds(3, rows), batch=1, **options)
    yield at_most("tokens that differ in a batch of one", int((lone != whole[rows]).sum()), 0.0)
    if getattr(sampler, "temperature", 1.0) == 0:
        return  # nothing is drawn
    other = sample(law, sampler, (12,), 48, seed=4, batch=16, **options)
    yield at_most("share of tokens that agree under another seed", (other == whole).double().mean(), 0.9)


@claim("samplers", *EVERY)
def token_samples_are_clean(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """It ends on clean classes, never on a mask, in any number of steps and calls, and leaves padded places at zero."""
    for rates in ("absorbing", "uniform"):
        process = _process(rates)
        if not _serves(sampler, process):
            continue
        law = TokenwiseDenoiser(chain_law(STRONG, process, 6))
        for steps in (1, 2, 7):
            for grid in ("uniform", "karras"):
                calls: list[int] = []
                hook = law.register_forward_hook(lambda *told, calls=calls: calls.append(1))
                drawn = sample(law, sampler, (6,), 32, steps=steps, grid=grid, seed=1, batch=32)
                hook.remove()
                astray = int((drawn >= process.classes).sum()) + int(drawn.dtype != torch.int64)
                yield at_most(f"masks left, {rates}, {steps} steps, {grid}", astray, 0.0)
                yield at_most(f"calls, {rates}, {steps} steps, {grid}", len(calls), float(sampler.calls(steps) or 0))
        padded = torch.arange(6) < torch.tensor([6, 2, 0, 4])[:, None]
        drawn = sample(_Blind(process), sampler, (6,), 4, condition={"mask": padded}, steps=3, grid="uniform", batch=4)
        yield at_most(f"padded places that are not zero, {rates}", int((drawn[~padded] != 0).sum()), 0.0)
        yield at_most(f"masks left beside padding, {rates}", int((drawn >= process.classes).sum()), 0.0)


class _Blind(TokenwiseDenoiser):
    """A belief in all but the class 0, evenly; of shown tokens under masking, in what they show. It knows padding."""

    def __init__(self, process: CategoricalProcess) -> None:
        super().__init__(chain_law(MILD, process, 1))

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Any:
        """Independent of the state, but for what is shown."""
        from unstir.denoisers.discrete import CategoricalPosterior

        chances = torch.full((*xt.shape, self.process.classes), 1.0, dtype=torch.float64)
        chances[..., 0] = 1e-9
        if self.process.absorbing:
            shown = torch.nn.functional.one_hot(xt, self.process.states)[..., : self.process.classes].double()
            chances = torch.where((xt != self.process.mask_class)[..., None], shown, chances)
        return CategoricalPosterior((chances / chances.sum(-1, keepdim=True)).log())


def _even_shares(process: CategoricalProcess, tokens: int) -> Tensor:
    """Times between which one token of so many is shown."""
    shares = torch.arange(tokens, 0, -1, dtype=torch.float64) / tokens
    times = process.schedule.time(torch.log1p(-shares) - shares.log())
    return torch.cat((times, torch.zeros(1, dtype=torch.float64)))
