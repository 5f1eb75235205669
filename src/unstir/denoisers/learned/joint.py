"""A network's belief about several parts at once."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.catalogue import find
from unstir.core.errors import InputError
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.learned.base import LAYOUTS, LearnedDenoiser
from unstir.processes.joint import JointProcess

__all__ = ["JointDenoiser"]


class JointDenoiser(LearnedDenoiser):
    """One network that sees all parts and tells a belief about each; given what it sees, the parts are independent.

    Parts are laid side by side: as one ``vector``, or along the features of one ``sequence`` that all of them share.
    ``parts`` holds options of single parts' beliefs, by their names. The loss is the sum of the parts' losses, each
    brought to the scale of one (``loss_weight``) and multiplied with its ``weights`` if some are given.

    Reference: Campbell et al., Generative flows on discrete state-spaces (2024), section 4.
    """

    process: JointProcess

    def __init__(
        self,
        network: nn.Module | None,
        process: JointProcess,
        layout: str = "vector",
        parts: Mapping[str, Mapping[str, Any]] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(network, process, layout)
        for what, given in (("options", parts or {}), ("weights", weights or {})):
            if astray := sorted(set(given) - set(process.parts)):
                raise InputError(f"{what} for {astray}; the parts are {sorted(process.parts)}")
        self.weights = dict(weights or {})
        self.parts = nn.ModuleDict(
            {
                name: find("learned", part.learned).load()(
                    None, part, **{"layout": layout, **dict((parts or {}).get(name, {}))}
                )
                for name, part in process.parts.items()
            }
        )
        assert layout in LAYOUTS

    @property
    def numbers(self) -> int:
        """Has no meaning here: each part has its own."""
        raise InputError("a joint belief has numbers for each part")

    def inputs(self, xt: Any, t: Tensor) -> Tensor:
        """All parts' features side by side, in the precision of the first part that is not made of tokens."""
        told = [part.inputs(xt[name], t) for name, part in self._parts()]
        dtype = next((part.dtype for part in told if part.dtype != torch.float32), torch.float32)
        return torch.cat([part.to(dtype) for part in told], -1)

    def width_out(self, xt: Any) -> int:
        """The sum of what all parts read."""
        return sum(part.width_out(xt[name]) for name, part in self._parts())

    def believe(self, output: Tensor, xt: Any, t: Tensor, mask: Tensor | None) -> JointPosterior:
        """The beliefs of all parts, each from its own stretch of the output."""
        widths = [part.width_out(xt[name]) for name, part in self._parts()]
        beliefs = {
            name: part.believe(numbers, xt[name], t, mask)
            for (name, part), numbers in zip(self._parts(), output.split(widths, -1), strict=True)
        }
        return JointPosterior(
            beliefs, {name: self.weights.get(name, 1.0) * part.loss_weight(t) for name, part in self._parts()}
        )

    def read(self, numbers: Tensor, xt: Any, t: Tensor, mask: Tensor | None) -> JointPosterior:
        """The same as ``believe``: there are no elements of a kind to read one by one."""
        return self.believe(numbers, xt, t, mask)

    def _parts(self) -> list[tuple[str, Any]]:
        return list(self.parts.items())
