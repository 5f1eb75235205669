r"""Sampling in parallel over time: all steps of a stretch at once, repeated until they agree.

A trajectory is one long sum of what the denoiser says along it. Guess the trajectory, ask the denoiser about all of
its states in one batch, do the sum, and repeat: each round makes at least one more step exact, and usually many,
since most of a trajectory hardly depends on the details before it. A window of steps is worked on at a time and
slides on as its first steps settle; every sample has its own.

It takes fewer rounds than there are steps, and more calls. It pays where one call on ``window`` times the batch costs
hardly more than on the batch: on an accelerator that few samples leave idle, and with many steps. On a device that is
busy anyway it does not.

Reference: Shih et al., Parallel sampling of diffusion models (2023), algorithm 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import apply_mask, expand
from unstir.denoisers.base import ConditionedDenoiser, Denoiser, evaluating
from unstir.denoisers.posteriors import PointPosterior
from unstir.samplers.base import Sampler, SamplerState, projection
from unstir.samplers.step_coefficients import StepCoefficients, coefficients_of, with_purpose


@dataclass(frozen=True)
class FollowedInParallel:
    """The last ``state``, and what each sample took, int64 (batch,): ``rounds`` one after the other, and ``calls``."""

    state: SamplerState
    rounds: Tensor
    calls: Tensor


@torch.no_grad()
def follow_parallel(
    denoiser: Denoiser,
    sampler: Sampler,
    state: SamplerState,
    times: Tensor,
    window: int | None = None,
    tolerance: float = 1e-3,
) -> FollowedInParallel:
    r"""The trajectory of ``samplers.base.follow``, solved in rounds instead of steps.

    Serves every sampler whose steps take one call and are linear in the beliefs and the noise; draws are those that
    the sampler would make. ``window`` is the number of steps worked on at a time (all, without one): the denoiser is
    called with so many times the batch. A state counts as settled once a round changes it by at most ``tolerance``
    times its noise level sigma, root-mean-square over its elements. At tolerance 0 the result is the sampler's own, to
    rounding.

    A condition must be bound to the denoiser as ``given`` does it, outermost. A state that has taken some steps goes on
    from there if its history is empty.

    Raises InputError for a sampler that it cannot serve, or a denoiser whose belief a sampler draws from.
    """
    sampler.check(denoiser)
    if not tolerance >= 0:
        raise InputError(f"the tolerance must not be negative; seen {tolerance}")
    if window is not None and window < 1:
        raise InputError(f"the window must hold at least 1 step; seen {window}")
    if state.history:
        raise InputError("a trajectory with a history cannot be taken up in parallel; start from its first state")
    times = times[state.step :]
    steps = len(times) - 1
    if steps < 1:
        nothing = torch.zeros(len(state.tensor), dtype=torch.int64)
        return FollowedInParallel(state, nothing, nothing.clone())
    rules = coefficients_of(sampler, denoiser.process, times, state.step, state.path is not None)
    with evaluating(denoiser):
        return _Rounds(denoiser, state, times, rules, min(window or steps, steps), tolerance).run()


class _Rounds:
    """One run: states and beliefs of the steps that are still needed, by step, each for the whole batch."""

    def __init__(
        self,
        denoiser: Denoiser,
        state: SamplerState,
        times: Tensor,
        rules: StepCoefficients,
        window: int,
        tolerance: float,
    ) -> None:
        self.denoiser, self.start, self.times, self.rules = denoiser, state, times, rules
        self.window, self.steps = window, len(times) - 1
        x = state.tensor
        self.device, self.batch = x.device, len(x)
        self.bounds = tolerance * denoiser.process.schedule.sigma(times)
        self.mask, self.project = denoiser.mask, projection(denoiser)
        self.states: dict[int, Tensor] = {0: x}
        self.means: dict[int, Tensor] = {}
        self.noises: dict[int, Tensor] = {}
        # of each sample: the first step whose belief is not settled, and the first that was never asked about
        self.settled = torch.zeros(self.batch, dtype=torch.int64, device=self.device)
        self.asked = self.settled.clone()

    def run(self) -> FollowedInParallel:
        rounds, calls = self.settled.clone(), self.settled.clone()
        width = 1  # at first there is but one state to ask about; its belief is the first guess of all others
        while bool((self.settled < self.steps).any()):
            active = (self.settled < self.steps).long()
            rounds += active
            calls += active * (self.steps - self.settled).clamp(max=width)
            self._ask(width)
            self._sum()
            self._forget()
            width = self.window
        last = SamplerState(
            self.states[self.steps],
            self.start.seeds,
            self.start.step + self.steps,
            self.means[self.steps - 1],
            (),
            self.start.path,
        )
        return FollowedInParallel(last, rounds, calls)

    def _ask(self, width: int) -> None:
        """The beliefs at the states of every sample's window of this width, in one call."""
        wanted = self.settled + torch.arange(width, device=self.device)[:, None]
        places = wanted.clamp(max=self.steps - 1)
        low, top = int(places.min()), int(places.max()) + 1
        rows = torch.arange(self.batch, device=self.device).expand_as(places)
        asked = torch.stack([self.states[step] for step in range(low, top)])[places - low, rows]
        belief = self._repeated(width)(asked.flatten(0, 1), self.times.to(self.device)[places.flatten()])
        if self.rules.draws_beliefs and not isinstance(belief, PointPosterior):
            raise InputError(
                f"this sampler draws from beliefs, and a {type(belief).__name__} is no point: such draws cannot be "
                "done in parallel; take a sampler that uses their mean only, such as ddpm"
            )
        inside = wanted < self.steps
        told = asked.new_zeros(top - low, *asked.shape[1:])
        told[places[inside] - low, rows[inside]] = belief.mean.reshape(asked.shape)[inside]
        fresh = torch.zeros(top - low, self.batch, dtype=torch.bool, device=self.device)
        fresh[places[inside] - low, rows[inside]] = True
        for step in range(low, top):
            new = told[step - low]
            self.means[step] = torch.where(expand(fresh[step - low], new).bool(), new, self.means.get(step, new))
        self.asked = torch.maximum(self.asked, (self.settled + width).clamp(max=self.steps))

    def _repeated(self, width: int) -> Denoiser:
        """The denoiser for all of the window's states at once: conditions are repeated."""
        if not isinstance(self.denoiser, ConditionedDenoiser):
            return self.denoiser
        told = self.denoiser.condition
        repeated = {name: values.repeat(width, *(1,) * (values.ndim - 1)) for name, values in told.items()}
        return self.denoiser.denoiser.given(repeated)

    def _sum(self) -> None:
        """All states anew, from every sample's first unsettled one to the end of its next window."""
        low, top = int(self.settled.min()), min(int(self.settled.max()) + 2 * self.window, self.steps)
        settled, still = self.settled.clone(), self.settled < self.steps
        latest = self.means[low]
        x = self.states[low]
        for step in range(low, top):
            # a belief that nobody has asked for yet is taken to be the last one known
            if step in self.means:
                latest = torch.where(expand(step < self.asked, x).bool(), self.means[step], latest)
            self.means[step] = latest
            moved = torch.zeros_like(x)
            for other, share in self.rules.states[step].items():
                moved = torch.add(moved, self.states[other], alpha=share)
            for other, share in self.rules.means[step].items():
                moved = torch.add(moved, self.means[other], alpha=share)
            for draw, share in self.rules.noises[step].items():
                moved = torch.add(moved, self._noise(draw), alpha=share)
            moved = apply_mask(moved, self.mask)
            before = self.states.get(step + 1)
            old = moved if before is None else before
            x = torch.where(expand(step >= self.settled, x).bool(), moved, old)
            self.states[step + 1] = x
            change = (x - old).double().flatten(1).square().mean(1).sqrt()
            # settled goes on as long as the state that a belief was asked about is still the state
            within = (step + 1 < self.asked) & (change <= self.bounds[step + 1].item())
            still = still & ((step < self.settled) | within)
            settled = torch.where(still & (step >= self.settled), step + 1, settled)
        # the state after the last settled belief is known, and with it one more step
        self.settled = (settled + (self.settled < self.steps).long()).clamp(max=self.steps)

    def _noise(self, place: int) -> Tensor:
        if place not in self.noises:
            draw, like, seeds = self.rules.draws[place], self.states[max(self.states)], self.start.seeds
            if draw.stretch is not None and self.start.path is not None:
                drawn = self.start.path.normal_like(like, seeds, *draw.stretch)
            else:
                drawn = with_purpose(seeds, seeds.purpose + draw.purpose).normal_like(like)
            self.noises[place] = self.project(drawn, self.mask)
        return self.noises[place]

    def _forget(self) -> None:
        """Lets go of what no sample needs any more, but for the last state."""
        low = int(self.settled.min())
        oldest = low - self.rules.reach
        for step in [step for step in self.states if step < oldest]:
            del self.states[step]
        for step in [step for step in self.means if step < oldest and step < self.steps - 1]:
            del self.means[step]
        used = {draw for step in range(low, self.steps) for draw in self.rules.noises[step]}
        for place in [place for place in self.noises if place not in used]:
            del self.noises[place]
