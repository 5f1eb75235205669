"""Twisted sequential Monte Carlo: draws from the posterior that are right in the limit of many particles."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.state import batch_size, take
from unstir.denoisers.base import ConditionedDenoiser, Denoiser
from unstir.denoisers.variances import VarianceTable
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import ANY_LAW, Method
from unstir.inverse.methods.candidate_twist import CandidateTwist
from unstir.inverse.methods.gradient_twist import GradientTwist
from unstir.inverse.methods.particles import Particles
from unstir.inverse.methods.resampling import SCHEMES
from unstir.inverse.methods.twists import Potential, Twist
from unstir.processes.bridge import BridgeProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.base import ANY_SPACE, EUCLIDEAN, Sampler, SamplerState

__all__ = ["TwistedMethod"]

PROPOSALS = ("auto", "gradient", "candidates")
VARIANCES = ("auto", "own", "table", "tweedie", "linear")


@dataclass(frozen=True)
class TwistedMethod(Method):
    r"""Twisted sequential Monte Carlo: populations of particles, exact as they grow; with evidence, in any space.

    Each of ``particles`` walks from noise to data by a proposal that the measurement pulls, is weighed by how much more
    probable its path is under the model, and by how well it fits; where the effective sample size falls below
    ``threshold`` of the particles they are resampled (``resampling``: systematic, stratified, multinomial). The last
    weighing is with the true likelihood, and after the last resampling all draws have one weight. Of the diagnostics,
    ``log_evidence`` is the logarithm of an unbiased estimate of p(y).

    ``proposal``: ``gradient`` on Gaussian processes, ``candidates`` (so many draws from the belief, of which one is
    chosen) on any; ``auto`` takes the first where it can. ``rows`` measured values at most have a backward pass each.
    ``variance`` of the belief: its ``own``, by the ``table`` (see ``denoisers.variances``), by ``tweedie``, a probe of
    its mean's slope, or ``linear``; ``auto`` takes the table or else its own, and the probe where it has none.
    ``deviation`` is the data's standard deviation. More is said in ``twists.py``.

    Draws of one population hang together: their error is that of so many particles, and does not fall with the number
    of draws from the same population.

    Raises InputError for options out of range. NonFiniteError where no particle fits the measurement.

    Reference: Wu, Trippe, Naesseth, Blei, Cunningham, Practical and asymptotically exact conditional sampling in
    diffusion models (2023), algorithm 1; Naesseth, Lindsten, Schön, Elements of sequential Monte Carlo (2019).
    """

    particles: int = 128
    threshold: float = 0.5
    resampling: str = "systematic"
    proposal: str = "auto"
    candidates: int = 16
    rows: int = 8
    variance: str = "auto"
    deviation: float = 1.0
    table: Any = None
    exact_for = ANY_LAW
    spaces = ANY_SPACE
    needs = frozenset({"positive"})
    steps = 200

    def __post_init__(self) -> None:
        if not isinstance(self.particles, int) or self.particles < 2:
            raise InputError(f"a population has 2 particles at least; seen {self.particles}")
        if not 0 <= self.threshold <= 1:
            raise InputError(
                "the threshold of resampling is a share of the particles, from 0 (only at the end) to 1; "
                f"seen {self.threshold}"
            )
        if self.resampling not in SCHEMES:
            raise unknown("scheme of resampling", self.resampling, SCHEMES)
        if self.proposal not in PROPOSALS:
            raise unknown("proposal", self.proposal, PROPOSALS)
        if self.variance not in VARIANCES:
            raise unknown("variance of a twisted sampler", self.variance, VARIANCES)
        if self.candidates < 1 or self.rows < 0:
            raise InputError(f"candidates are 1 at least, rows 0; seen {self.candidates} and {self.rows}")
        if not 0 < self.deviation < math.inf:
            raise InputError(f"the data's standard deviation must be positive; seen {self.deviation}")
        if isinstance(self.table, Mapping):
            object.__setattr__(self, "table", VarianceTable.from_dict(self.table))
        if not isinstance(self.table, VarianceTable | None):
            raise InputError(f"the table is a VarianceTable, or what its as_dict told; seen {self.table!r}")
        if self.variance == "table" and self.table is None:
            raise InputError("the variance 'table' needs a table")

    @classmethod
    def examples(cls) -> Mapping[str, "TwistedMethod"]:
        """Both proposals."""
        return {"gradient": cls(), "candidates": cls(proposal="candidates")}

    def batch(self, wanted: int) -> int:
        return max(1, wanted // self.particles) * self.particles

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, "TwistedSampler"]:
        return denoiser, self.sampler(denoiser, Potential.of(measurement))

    def sampler(self, denoiser: Denoiser, potential: Potential) -> "TwistedSampler":
        """The sampler of the denoiser's law times any potential."""
        process = denoiser.process
        if isinstance(process, BridgeProcess):
            raise InputError("twisted sampling starts from noise; a bridge between data starts from its source")
        pulled = isinstance(process, GaussianProcess) and process.space in EUCLIDEAN
        if self.proposal == "gradient" and not pulled:
            raise InputError(
                f"the proposal 'gradient' serves {sorted(EUCLIDEAN)}, not the space {process.space!r}; "
                "take 'candidates', or 'auto'"
            )
        if pulled and self.proposal != "candidates":
            twist: Twist = GradientTwist(potential, self.deviation, self.variance, self.table, self.rows)
        else:
            twist = CandidateTwist(potential, self.deviation, self.candidates)
        return TwistedSampler(twist, self.particles, self.threshold, self.resampling)

    def diagnostics(self, state: SamplerState) -> Mapping[str, Tensor]:
        """Of P populations: see ``TwistedSampler.told``."""
        return TwistedSampler.told(state)


@dataclass(frozen=True)
class TwistedSampler(Sampler):
    """Steps populations of ``particles``, consecutive rows of the batch, by a twist and its proposal.

    The batch must be whole populations. ``history`` holds their ``Particles``. Conditions must be the same for all
    particles of a population: it is one problem that they solve.
    """

    twist: Twist
    particles: int
    threshold: float = 0.5
    resampling: str = "systematic"
    order = 1
    spaces = ANY_SPACE

    def prepared(self, denoiser: Denoiser, shape: Any, steps: int, **how: Any) -> "TwistedSampler":
        """Itself, if the batch holds whole populations."""
        self._check(how.get("batch", self.particles))
        return self

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        seeds, process, x = state.step_seeds(), denoiser.process, state.x
        if state.history:
            (particles,) = state.history
        else:
            self._check(batch_size(x))
            self._check_conditions(denoiser)
            seen = self.twist.look(denoiser, x, t, seeds.at("first"), state.mask)
            begun = Particles.begin(seen.log_twist, self.particles, seen)
            particles, rows = begun.settled(seeds.at("first", "resampling"), self.threshold, self.resampling)
            x = x if rows is None else take(x, rows)
        before = particles.seen.log_twist
        x, ratio = self.twist.propose(process, x, particles.seen, t, s, seeds.at("proposal"), state.mask)
        mean, last = particles.seen.mean, bool(s == 0)
        if last:
            seen, after = None, self.twist.potential(x).detach()
        else:
            seen = self.twist.look(denoiser, x, s, seeds.at("look"), state.mask)
            mean, after = seen.mean, seen.log_twist
        moved = particles.weighed(ratio + (after - before), seen)
        threshold = math.inf if last else self.threshold
        particles, rows = moved.settled(seeds.at("resampling"), threshold, self.resampling)
        if rows is not None:
            x, mean = take(x, rows), take(mean, rows)
        return state.advance(x, mean, (particles,))

    @staticmethod
    def told(state: SamplerState) -> Mapping[str, Tensor]:
        """What P populations tell after the last step, or on their way.

        ``log_evidence`` (P,); ``effective_sample_size`` (P, steps + 1), first of the prior's draws; ``resampled``,
        boolean of the same shape; ``survivors`` (P,), how many of the first particles have descendants.
        """
        (particles,) = state.history
        weights = particles.log_weights
        return {
            "log_evidence": particles.log_evidence + weights.logsumexp(1) - math.log(weights.shape[1]),
            "effective_sample_size": torch.stack(particles.sizes, 1),
            "resampled": torch.stack(particles.resampled, 1),
            "survivors": particles.survivors(),
        }

    def _check(self, batch: int) -> None:
        if batch % self.particles:
            raise InputError(
                f"a batch holds whole populations of {self.particles} particles; seen a batch of {batch}: "
                f"take {max(1, batch // self.particles) * self.particles}"
            )

    def _check_conditions(self, denoiser: Denoiser) -> None:
        if not isinstance(denoiser, ConditionedDenoiser):
            return
        for name, values in denoiser.condition.items():
            rows = values.reshape(-1, self.particles, *values.shape[1:])
            if not bool((rows == rows[:, :1]).all()):
                raise InputError(
                    f"all {self.particles} particles of a population need the same condition {name!r}: "
                    "repeat it so many times, or draw the samples of each condition by themselves"
                )
