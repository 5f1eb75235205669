"""Split Gibbs sampling: by turns the measurement and the prior, coupled by noise that the diffusion removes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.state import expand
from unstir.denoisers.base import Denoiser
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import NO_LAW, Method
from unstir.inverse.methods.guided import check_deviation, check_whole
from unstir.inverse.methods.proximal import check_likelihood, decomposable, drawn, largest_value, positive
from unstir.inverse.methods.stepping import MeasuredSampler, level_of, refuse_padding
from unstir.processes.grids import log_snr_uniform
from unstir.samplers.base import Sampler, SamplerState, follow

__all__ = ["SplitGibbsMethod"]


@dataclass(frozen=True)
class SplitGibbsMethod(Method):
    r"""Plug-and-play Monte Carlo: z near x that fits the reading, x near z that fits the prior, and so on.

    With the coupling :math:`\rho`, z is drawn from :math:`N(z;x,\rho^2)\,p(y|z)`, exactly for linear maps with normal
    noise, else by ``langevin`` steps with Metropolis' test; and x from :math:`p(x)\,N(z;x,\rho^2)`, which is the belief
    of the diffusion at the level :math:`\sigma/\alpha=\rho`: the reverse process from there, in ``inner`` steps of the
    stochastic ``sampler``. The coupling falls over the steps from ``highest`` deviations of the data to ``coupling``,
    in the data's unit; a grid that the caller names is gone along instead.

    The chain keeps the law of data read with the noise :math:`\tau^2+\rho^2AA^T`. With ``spared``, where the operator's
    singular values s are at hand, z is drawn with the variance :math:`\tau^2-\rho^2s^2` in the place of :math:`\tau^2`:
    the wider noise is then the reading's own, and **the chain keeps the posterior itself**, as long as
    :math:`\rho\le\tau/s_{max}`. The coupling is that, or a twentieth of the data's ``deviation`` if it is less, where
    none is said. Draws are exact as steps and inner steps grow, or, where the denoiser tells a law that can be drawn
    from, with the sampler ``ancestral`` for any number of inner ones. How long the chain takes to forget where it began
    is another matter: it moves by about the coupling a step, and from mode to mode only while that is large.

    Raises InputError for options out of range, and couplings beyond the schedule's noise.

    Reference: Vono, Dobigeon, Chainais, Split-and-augmented Gibbs sampler (2019), section III; Wu et al., Principled
    probabilistic imaging using diffusion models as plug-and-play priors (2024), algorithm 1; Xu, Chi, Provably robust
    score-based diffusion posterior sampling for plug-and-play image reconstruction (2024).
    """

    coupling: float | int | None = None
    highest: float | int = 3.0
    inner: int = 2
    sampler: Any = "dpm-solver-pp-sde"
    spared: bool = True
    deviation: float | int | None = None
    langevin: int = 40

    exact_for = NO_LAW  # in the steps that one takes; what it keeps, and reaches in the end, is a claim of its own
    spaces = frozenset({"euclidean"})
    needs = frozenset({"differentiable"})
    steps = 50

    def __post_init__(self) -> None:
        check_whole("the number of inner steps", self.inner)
        check_whole("the number of Langevin steps", self.langevin)
        check_deviation(self.deviation)
        positive("the highest coupling", self.highest)
        if self.coupling is not None:
            positive("the coupling", self.coupling)

    @classmethod
    def examples(cls) -> Mapping[str, "SplitGibbsMethod"]:
        """Itself, and as published."""
        return {"default": cls(), "as published": cls(coupling=0.1, spared=False)}

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        check_likelihood(measurement, "split-gibbs")
        sampler: Sampler = build("samplers", self.sampler)
        sampler.check(denoiser)
        return denoiser, SplitGibbsSampler(measurement, self, prior=sampler)


_COUPLING = 0.05  # of the data's deviation: from here two inner steps lead well to the clean end
_FINEST = 0.02  # the inner run's last level but zero, in units of the coupling


@dataclass(frozen=True, eq=False)
class SplitGibbsSampler(MeasuredSampler):
    """A step is a draw of x given z by the reverse process, and one of z given x; the last one ends with x."""

    prior: Sampler = field(kw_only=True)

    @property
    def calls_per_step(self) -> int | None:  # type: ignore[override]
        """Those of the inner run."""
        return self.prior.calls(self.options.inner)

    def calls(self, steps: int) -> int | None:
        """The last step takes as many as the others."""
        return None if self.calls_per_step is None else steps * self.calls_per_step

    def steps_within(self, calls: int) -> int:
        """The most steps that so many calls are enough for."""
        return 1 if self.calls_per_step is None else max(1, calls // self.calls_per_step)

    def own_times(self, schedule: Any) -> Tensor | None:
        """The levels of its couplings, evenly on the clock of a straight flow, and 0 at the end."""
        if not self.count:
            return None
        last, half = float(level_of(schedule, torch.tensor(1.0, dtype=torch.float64))), self.deviation / 2
        low = self.target(self.deviation)
        if low > last:
            raise InputError(f"a coupling of {low:.3g} is beyond the noise of the schedule, {last:.3g}; name a smaller")
        high = max(low, min(self.options.highest * self.deviation, last))
        clock = torch.linspace(high / (high + half), low / (low + half), self.count, dtype=torch.float64)
        times = schedule.time_at_sigma(half * clock / (1 - clock))
        return torch.cat((times, times.new_zeros(1)))

    def target(self, deviation: float) -> float:
        """The last coupling, for data of this deviation."""
        if self.options.coupling is not None:
            return float(self.options.coupling)
        noise = float(self.measurement.noise.deviation) if self.measurement.linear_gaussian else 0.0  # type: ignore[attr-defined]
        operator: Any = self.measurement.operator
        return min(noise / largest_value(operator) if noise > 0 else math.inf, _COUPLING * deviation)

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        refuse_padding(state, "split-gibbs")
        process, seeds = denoiser.process, state.step_seeds()
        x = self._prior_draw(denoiser, state, t)
        if s == 0:
            return state.advance(x, x)
        operator: Any = self.measurement.operator
        spared = self.options.spared and self.measurement.linear_gaussian and decomposable(operator)
        z = drawn(
            self.measurement, x, level_of(process.schedule, s), seeds.at("reading"), self.options.langevin, spared
        )
        return state.advance(expand(process.schedule.alpha(s), z) * z, x)

    def _prior_draw(self, denoiser: Denoiser, state: SamplerState, t: Tensor) -> Tensor:
        schedule = denoiser.process.schedule
        level = float(level_of(schedule, t))
        times = log_snr_uniform(schedule, self.options.inner, _FINEST * level, level)
        begin = SamplerState(state.tensor, state.step_seeds().at("prior"))
        return follow(denoiser, self.prior, begin, times.to(t.device)).tensor
