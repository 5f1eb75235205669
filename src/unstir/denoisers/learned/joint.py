"""A network's belief about several parts at once."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.catalogue import find
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size, tensors_of
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.learned.base import LearnedDenoiser, noise_level
from unstir.denoisers.posteriors import Posterior
from unstir.networks.parts import Part
from unstir.processes.joint import JointProcess, Times, time_of

__all__ = ["JointDenoiser"]

TIMES = ("together", "apart")
LEVELS = "levels"
"""The part that tells a network each part's noise level, where they go apart and parts are seen by themselves."""
_SHARES = (0.5, 0.75)  # of the samples: a common time below the first, a part that is known below the second


class JointDenoiser(LearnedDenoiser):
    """One network that sees all parts and tells a belief about each; given what it sees, the parts are independent.

    Parts are laid side by side: as one ``vector``, or along the features of one ``sequence`` that all of them share. Or
    each of the ``parts`` reaches the network by itself, as the points, sites, nodes or pairs that it is, and is
    answered by itself (``networks.parts``): how symmetric networks take them. ``parts`` holds options of single parts'
    beliefs, by their names. The loss is the sum of the parts' losses, each brought to the scale of one
    (``loss_weight``) and multiplied with its ``weights`` if some are given.

    With ``times`` = ``apart`` it is taught pairs of noise levels too, and told each part's own beside the features, so
    that any parts may be known while the others are drawn (``guidance.given_parts``): half of the samples have one
    common time, a quarter one part that is known, a quarter a time for each part.

    Reference: Campbell et al., Generative flows on discrete state-spaces (2024), section 4; Bao et al., One transformer
    fits all distributions in multi-modal diffusion at scale (2023), for times of one's own.
    """

    process: JointProcess

    def __init__(
        self,
        network: nn.Module | None,
        process: JointProcess,
        layout: str = "vector",
        parts: Mapping[str, Mapping[str, Any]] | None = None,
        weights: Mapping[str, float] | None = None,
        times: str = "together",
    ) -> None:
        super().__init__(network, process, layout)
        if times not in TIMES:
            raise unknown("way of a joint belief's times", times, TIMES)
        for what, given in (("options", parts or {}), ("weights", weights or {})):
            if astray := sorted(set(given) - set(process.parts)):
                raise InputError(f"{what} for {astray}; the parts are {sorted(process.parts)}")
        self.times = times
        self.weights = dict(weights or {})
        self.parts = nn.ModuleDict(
            {
                name: find("learned", part.learned).load()(
                    None, part, **{"layout": layout, **dict((parts or {}).get(name, {}))}
                )
                for name, part in process.parts.items()
            }
        )

    @classmethod
    def options_for(
        cls, process: Any, given: Mapping[str, Any], state: Any, condition: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        options = super().options_for(process, given, state, condition)
        own = options["parts"] or {}
        if astray := [name for name in own if name not in process.parts]:
            raise unknown("part of the joint process", astray[0], process.parts)
        masks = process.mask_of((condition or {}).get("mask"))
        options["parts"] = {
            name: find("learned", part.learned)
            .load()
            .options_for(
                part,
                {"layout": options["layout"], **own.get(name, {})},
                state[name],
                None if masks[name] is None else {"mask": masks[name]},
            )
            for name, part in process.parts.items()
        }
        return options

    @property
    def numbers(self) -> int:
        """Has no meaning here: each part has its own."""
        raise InputError("a joint belief has numbers for each part")

    def training_times(self, t: Tensor, seeds: Seeds) -> Times:
        """The common time, or for some samples times of the parts' own."""
        if self.times == "together":
            return t
        names = list(self.process.parts)
        clock = self.process.clock or names[0]
        way = seeds.at("way").uniform().to(t)
        known = seeds.at("known").integers(0, len(names), ()).to(t.device)
        found = {}
        for number, name in enumerate(names):
            own = t if name == clock else seeds.at("time", name).uniform().to(t)
            at_once = torch.where(known == number, 0.0, t)
            found[name] = torch.where(way < _SHARES[0], t, torch.where(way < _SHARES[1], at_once, own))
        return found

    def network_size(self, shape: Any) -> tuple[Any, int]:
        if self.layout != "parts":
            return super().network_size(shape)
        sizes = {name: part.part(shape[name], name in self.process.whole) for name, part in self._parts()}
        if self.times == "apart":
            sizes[LEVELS] = Part("whole", len(sizes), 0)
        return sizes, 1

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        if self.layout != "parts":
            return super().forward(xt, t, drop, **condition)
        if self.network is None:
            raise InputError("this JointDenoiser is a part of a joint one; it has no network of its own")
        times = self._times(xt, t)
        seen = {name: part.seen(xt[name], times[name]) for name, part in self._parts()}
        dtype = next((part.dtype for part in seen.values() if part.dtype != torch.float32), torch.float32)
        if self.times == "apart":
            seen[LEVELS] = torch.stack([noise_level(part.process, times[name]) for name, part in self._parts()], -1)
        seen = {name: part.to(dtype) for name, part in seen.items()}
        clock = self.process.clock or next(iter(times))
        output = self.network(seen, noise_level(self.process, times[clock]).to(dtype), drop, **condition)
        return self.believe(output, xt, times, condition.get("mask"))

    def told(self, xt: Any, t: Times) -> tuple[Tensor, Tensor, Any]:
        """Features, the clock's noise level, and the times, float64 (batch,) for each part."""
        times = self._times(xt, t)
        told = self.inputs(xt, times)
        clock = self.process.clock or next(iter(times))
        return told, noise_level(self.process, times[clock]).to(told.dtype), times

    def inputs(self, xt: Any, t: Times) -> Tensor:
        """All parts' features side by side, and their noise levels where these go apart."""
        told = [part.inputs(xt[name], time_of(t, name)) for name, part in self._parts()]
        dtype = next((part.dtype for part in told if part.dtype != torch.float32), torch.float32)
        if self.times == "apart":
            like = told[0]
            levels = [
                noise_level(part.process, torch.as_tensor(time_of(t, name)).to(like.device))
                for name, part in self._parts()
            ]
            stacked = torch.stack([level.expand(len(like)) for level in levels], -1)
            told.append(stacked if like.ndim == 2 else stacked[:, None].expand(-1, like.shape[1], -1))
        return torch.cat([part.to(dtype) for part in told], -1)

    def width_out(self, xt: Any) -> int:
        """The sum of what all parts read."""
        return sum(part.width_out(xt[name]) for name, part in self._parts())

    def believe(self, output: Any, xt: Any, t: Times, mask: Tensor | None) -> JointPosterior:
        """The beliefs of all parts, each from its own stretch of the output, or its own answer."""
        if self.layout == "parts":
            told = {name: part.elementwise(output[name]) for name, part in self._parts()}
        else:
            widths = [part.width_out(xt[name]) for name, part in self._parts()]
            told = dict(zip(self.parts, output.split(widths, -1), strict=True))
        masks, beliefs, weights = self.process.mask_of(mask), {}, {}
        for name, part in self._parts():
            beliefs[name] = part.believe(told[name], xt[name], time_of(t, name), masks[name])
            weights[name] = self.weights.get(name, 1.0) * part.loss_weight(time_of(t, name))
        return JointPosterior(beliefs, weights, self.process.mask_of)

    def read(self, numbers: Tensor, xt: Any, t: Times, mask: Tensor | None) -> JointPosterior:
        """The same as ``believe``: there are no elements of a kind to read one by one."""
        return self.believe(numbers, xt, t, mask)

    def _times(self, xt: Any, t: Times) -> dict[str, Tensor]:
        """The time of each part, float64 (batch,)."""
        if self.times == "together" and isinstance(t, Mapping):
            raise InputError("this belief was taught one common time; train with denoiser.times=apart for others")
        count, device = batch_size(xt), tensors_of(xt)[0].device
        return {
            name: torch.as_tensor(time_of(t, name), dtype=torch.float64, device=device).expand(count)
            for name in self.process.parts
        }

    def _parts(self) -> list[tuple[str, Any]]:
        return list(self.parts.items())
