"""A sampler for each part of a joint state."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError, suggest
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior
from unstir.processes.joint import time_of
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import Sampler, SamplerState, projection

__all__ = ["JointSampler"]

_ANCESTRAL = AncestralSampler()


@dataclass(frozen=True)
class JointSampler(Sampler):
    """Each part of a joint state steps by a sampler of its own: a multistep method for numbers, another for tokens.

    ``parts`` names them, objects or specifications; parts that it does not name take ancestral steps. A step calls the
    denoiser once, at the state of all parts; so each must be a sampler of one call a step. What the belief knows of how
    the parts hang together reaches those that draw the clean data, which is then drawn for all of them at once.

    Raises InputError for samplers of several calls a step, for parts that are not there, and where a part's sampler
    does not serve its space.

    Reference: Campbell et al., Generative flows on discrete state-spaces (2024), section 4.3.
    """

    parts: Mapping[str, Any] = field(default_factory=dict)
    order = 1
    spaces = frozenset({"joint"})

    def __post_init__(self) -> None:
        made = {
            name: part if isinstance(part, Sampler) else build("samplers", part) for name, part in self.parts.items()
        }
        for name, sampler in made.items():
            if sampler.calls_per_step != 1:
                raise InputError(
                    f"the part {name!r}: {type(sampler).__name__} calls the denoiser more than once a step; the parts "
                    "of a joint state share one call, so take a method of one (ddim, multistep, ancestral, ...)"
                )
        object.__setattr__(self, "parts", made)

    def check(self, denoiser: Denoiser) -> None:
        """Refuses a part that is not there, and a sampler that does not serve its part's space."""
        super().check(denoiser)
        processes = getattr(denoiser.process, "parts", {})
        for name, sampler in self.parts.items():
            if name not in processes:
                raise InputError(f"this joint process has no part {name!r}; {suggest(name, processes)}")
            sampler.check(_Part(denoiser, name))

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        seeds = state.step_seeds()
        belief: Any = denoiser(state.x, t)
        together = _Together(belief, seeds.at("clean"))
        kept = dict(state.history)
        x: dict[str, Any] = {}
        history: list[tuple[str, SamplerState]] = []
        masks = denoiser.process.mask_of(state.mask)
        for name in denoiser.process.parts:
            own, part = state.x[name], _Told(denoiser, name, together)  # type: ignore[index]
            before = kept.get(name) or SamplerState(own, state.seeds.at(name), state.step, path=state.path)
            before = replace(before, x=own, mask=masks[name], project=projection(part))
            after = self.parts.get(name, _ANCESTRAL).step(part, before, time_of(t, name), time_of(s, name))
            x[name] = after.x
            history.append((name, after))
        return state.advance(x, belief.mean, tuple(history))


class _Together:
    """A joint belief and, once it is asked for, one draw of all parts from it."""

    def __init__(self, belief: Any, seeds: Seeds) -> None:
        self.belief, self._seeds, self._drawn = belief, seeds, None

    def drawn(self, name: str) -> Any:
        """A part of the draw."""
        if self._drawn is None:
            self._drawn = self.belief.sample(self._seeds)
        return self._drawn[name]


class _Part(Denoiser):
    """A joint denoiser seen from one part: its process."""

    def __init__(self, denoiser: Denoiser, name: str) -> None:
        super().__init__()
        self.process = denoiser.process.parts[name]

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """Refuses: a part has no belief of its own."""
        raise InputError("a part of a joint denoiser has no belief of its own")


class _Told(_Part):
    """What the joint denoiser has just said of one part, whatever it is asked."""

    def __init__(self, denoiser: Denoiser, name: str, together: _Together) -> None:
        super().__init__(denoiser, name)
        self._name, self._together = name, together

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Any:
        """The belief about the part, whose draws are that part of one joint draw."""
        return _Shared(self._together.belief.part(self._name), self._name, self._together)


class _Shared:
    """A part's belief that is drawn together with the others'."""

    def __init__(self, belief: Posterior, name: str, together: _Together) -> None:
        self._own, self._name, self._together = belief, name, together

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def sample(self, seeds: Seeds) -> Any:
        """The part of the joint draw."""
        return self._together.drawn(self._name)
