"""Inpainting by replacement: what is known is noised and put in at every level; RePaint goes back and repeats."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import NO_LAW, Method
from unstir.inverse.methods.proximal import positive
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.mask import MaskOperator
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.base import Sampler, SamplerState

__all__ = ["RePaintMethod", "ReplacementMethod"]

_SINGLE = frozenset({"euclidean", "tokens", "lattice", "interval", "torus"})
_GROUPED = {"rotations": 2, "sphere": 1, "simplex": 1}  # the axes of one element, which are noised together
_ROUNDING = 1e-6  # of a level that is meant to be the reading's own


@dataclass(frozen=True)
class ReplacementMethod(Method):
    """Known places are noised with the process, and put into every state; what they tell reaches the others late.

    For masks, on any process that noises elements independently: Gaussian noise, tokens, counts, angles, intervals,
    points and rotations whose coordinates are seen together. An exact reading is met at the end, and independent
    elements have their exact law. **It is no posterior otherwise, whatever the number of steps**: the unknown places
    step as if the known ones were drawn along with them. ``sampler`` takes the steps, by default the process's bridge.

    A reading with normal noise, on a Gaussian process, is put in only where the level's own noise is not less than it;
    below, the sampler goes on alone. Nothing is lost where the two agree at one level of the grid.

    Raises InputError for other measurements and spaces.

    Reference: Song et al., Score-based generative modeling through stochastic differential equations (2021), appendix
    I.2; Trippe et al., Diffusion probabilistic modeling of protein backbones in 3D (2023), proposition 3.1, on its
    error.
    """

    sampler: Any = "ancestral"

    exact_for = NO_LAW
    spaces = _SINGLE | frozenset(_GROUPED)
    needs = frozenset({"mask"})

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        return denoiser, known_places(denoiser, measurement, build("samplers", self.sampler), 1)


@dataclass(frozen=True)
class RePaintMethod(Method):
    """RePaint: every step of replacement is taken ``jumps`` times, with a step back into the noise between them.

    Known and unknown places are noised together on the way back, and so come to fit each other. With ever more jumps
    and ever smaller steps the law tends to the posterior of an exact reading; with few of either it remains away. A
    step of the grid is the length of a jump: more jumps cost as many more calls. All else is as in ``replacement``.

    Reference: Lugmayr et al., RePaint: inpainting using denoising diffusion probabilistic models (2022), algorithm 1.
    """

    jumps: int = 10
    sampler: Any = "ancestral"

    exact_for = NO_LAW
    spaces = _SINGLE | frozenset(_GROUPED)
    needs = frozenset({"mask"})
    steps = 50

    def __post_init__(self) -> None:
        positive("the number of jumps", self.jumps, whole=True)

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        return denoiser, known_places(denoiser, measurement, build("samplers", self.sampler), self.jumps)


def known_places(denoiser: Denoiser, measurement: Measurement, sampler: Sampler, jumps: int) -> "KnownPlacesSampler":
    """The sampler of both methods; refuses what cannot be noised place by place."""
    process, operator, noise = denoiser.process, measurement.operator, measurement.noise
    sampler.check(denoiser)
    if not isinstance(operator, MaskOperator):
        raise InputError(f"replacement knows masks alone; seen {type(operator).__name__}")
    seen = operator.seen
    axes = _GROUPED.get(process.space, 0)
    if axes and bool((seen.flatten(-axes) != seen.flatten(-axes)[..., :1]).any()):
        raise InputError(
            f"on the space {process.space!r} the last {axes} axes are one element, seen whole or not at all; "
            "take another mask, or twisted"
        )
    deviation = noise.deviation if isinstance(noise, GaussianNoise) else None
    if deviation is None or (deviation > 0 and not isinstance(process, GaussianProcess)):
        raise InputError(
            f"replacement puts readings in as they are on {type(process).__name__}: they must be exact (the noise "
            f"'gaussian' of deviation 0; on Gaussian processes of any); seen {noise}; take twisted"
        )
    whole = operator.adjoint(measurement.reading[None])[0]
    return KnownPlacesSampler(sampler, whole, seen, float(deviation), jumps)


@dataclass(frozen=True, eq=False)
class KnownPlacesSampler(Sampler):
    """A sampler whose every state is given the known places, noised anew.

    ``known`` and ``seen`` have the shape of one sample; ``deviation`` is that of the reading's noise.
    """

    stepper: Sampler
    known: Tensor
    seen: Tensor
    deviation: float
    jumps: int

    @property
    def order(self) -> float:  # type: ignore[override]
        """One at most: what is put in is drawn anew at each level."""
        return min(1.0, float(self.stepper.order))

    @property
    def spaces(self) -> frozenset[str]:  # type: ignore[override]
        """Those of the sampler that takes the steps."""
        return self.stepper.spaces

    @property
    def needs_variance(self) -> str | None:  # type: ignore[override]
        """Whether that one asks the belief for a variance."""
        return self.stepper.needs_variance

    @property
    def calls_per_step(self) -> int | None:  # type: ignore[override]
        """The sampler's, for each time that a step is taken; fewer where a noisy reading leaves it alone."""
        calls = self.stepper.calls_per_step
        return None if calls is None else calls * self.jumps

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        seeds = state.step_seeds()
        if state.step == 0:
            self._check(denoiser, state.tensor)
            state = replace(state, x=self._put(denoiser, state.tensor, t, seeds.at("first"), state.mask))
        # where the sampler goes alone, a way back would forget what was read
        jumps = 1 if s == 0 or self._left(denoiser, s, state.tensor) is None else self.jumps
        moved = state
        for number in range(jumps):
            # each time that the step is taken has draws of its own
            begun = moved if number == 0 else replace(moved, seeds=state.seeds.at("jump", number), step=state.step)
            moved = self.stepper.step(denoiser, begun, t, s)
            address = seeds.at("known", number)
            moved = replace(moved, x=self._put(denoiser, moved.tensor, s, address, state.mask))
            if number + 1 < jumps:
                back = denoiser.process.transition(moved.tensor, s, t, address.at("back"), state.mask)
                moved = replace(moved, x=back, history=())
        return replace(moved, seeds=state.seeds)

    def _check(self, denoiser: Denoiser, x: Tensor) -> None:
        """Refuses a reading that is no state: an angle beyond its period, a token that there is not."""
        if self.deviation == 0 and not bool(
            denoiser.process.contains(torch.where(self.seen.to(x.device), self.known.to(x), x)).all()
        ):
            raise InputError(f"the reading does not lie in the space of {type(denoiser.process).__name__}; check it")

    def _put(self, denoiser: Denoiser, x: Tensor, time: Tensor, seeds: Seeds, mask: Tensor | None) -> Tensor:
        """The state with the known places as they are at this time; elsewhere as it is."""
        process = denoiser.process
        seen, known = self.seen.to(x.device), self.known.to(x)
        if mask is not None:
            seen = seen & mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
        if self.deviation > 0:
            left = self._left(denoiser, time, x)
            if left is None:
                return x
            alpha, _ = process.coefficients(time, x)
            return torch.where(seen, alpha * known + left * seeds.normal_like(x), x)
        whole = torch.where(seen, known, x)  # in the space, whatever is not known
        return whole if time == 0 else torch.where(seen, process.noise(whole, time, seeds, mask), x)

    def _left(self, denoiser: Denoiser, time: Tensor, like: Tensor) -> Tensor | None:
        """The deviation of the level's noise beyond that of the reading; None where it has less."""
        if self.deviation == 0:
            return torch.ones(())
        alpha, sigma = denoiser.process.coefficients(time, like.double())
        left = sigma.square() - (alpha * self.deviation).square()
        return None if left < -_ROUNDING * sigma.square() else left.clamp(min=0).sqrt().to(like)
