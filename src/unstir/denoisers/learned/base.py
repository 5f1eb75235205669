"""What all denoisers share that are made of a network."""

import inspect
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size, tensors_of
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior
from unstir.networks.parts import Part
from unstir.processes.base import Process

LAYOUTS = ("vector", "sequence", "parts")
_FLATTEST = 3.0


class LearnedDenoiser(Denoiser):
    """A network that sees a state's features and the noise level, and whose output is read as a belief.

    The process's features of every element, ``m`` numbers, are laid out for the network: as one ``vector`` (batch, a),
    or as a ``sequence`` (batch, n, a) along the state's first axis. The network returns as many places; of what it
    returns, the first ``numbers`` per element are read. A network from the catalogue is built for the ``network_size``.
    In the layout ``parts``, of joint beliefs, each part reaches the network by itself (``networks.parts``).

    The noise level is told as a quarter of log(sigma/alpha), kept within [-3, 3], of the process's own schedule.
    """

    instead_of: ClassVar[tuple[str, ...]] = ()
    """The kinds of belief in whose place a recipe may name this one (``denoiser.name``)."""

    at_noise_only: ClassVar[bool] = False
    """Whether it is asked at time 1 alone: it is then trained there, all samples weighing alike, and sampled from in
    one ancestral step."""

    members: int = 1
    """How many noisy states of each sample training shows at once, whose beliefs the loss scores together."""

    kind: ClassVar[str] = "nodes"
    """What a network that takes parts by themselves sees in this one (``networks.parts.Part``)."""

    around: str | None = None
    """The condition on which the belief is centred; the network is not shown it."""

    specification: Mapping[str, Any] | None = None
    """The network's, as a recipe has it; None where it was made by hand."""

    def __init__(self, network: nn.Module | None, process: Process, layout: str = "vector") -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise unknown("layout of a network's input", layout, LAYOUTS)
        self.network = network
        self.process = process
        self.layout = layout

    @classmethod
    def options_for(
        cls, process: Any, given: Mapping[str, Any], state: Any, condition: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        """The ``given`` options with all defaults written out, and with what clean data has to tell.

        ``state`` are samples of it, ``condition`` their conditions.

        Raises InputError for an option that is not known.
        """
        parameters = inspect.signature(cls).parameters
        defaults = {name: each.default for name, each in parameters.items() if name not in ("network", "process")}
        if wrong := [name for name in given if name not in defaults]:
            raise unknown("option of the denoiser", wrong[0], defaults)
        return {**defaults, **given}

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many numbers tell the belief about one element."""

    @abstractmethod
    def read(self, numbers: Tensor, xt: Any, t: Tensor, mask: Tensor | None) -> Posterior:
        """The belief that ``numbers`` (batch, *elements, self.numbers) tell; ``t`` float64 (batch,)."""

    def features(self, xt: Any, t: Tensor) -> Tensor:
        """What the network sees of the state, (batch, *elements, m); ``t`` float64 (batch,)."""
        return self.process.features(xt)

    def loss_weight(self, t: Tensor) -> Tensor:
        """What brings the loss of this belief to the scale of one at every noise level, float64 (batch,).

        In a joint belief the parts' losses are added up after that.
        """
        return torch.ones_like(t)

    def training_times(self, t: Tensor, seeds: Seeds) -> Any:
        """The times that training meets where the levels drawn are those at ``t``: these, unless parts go apart."""
        return t

    def training_state(self, x0: Any, t: Any, seeds: Seeds, mask: Tensor | None = None, **told: Tensor) -> Any:
        """What training shows of clean data ``x0`` at the times ``t``: a draw of x_t (``told`` a bridge's source)."""
        return self.process.noise(x0, t, seeds, mask, **told)

    def shown(self, conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Those of the data's ``conditions`` that the network is built for."""
        return {name: kind for name, kind in conditions.items() if name not in (self.around, "mask")}

    def network_size(self, shape: Any) -> tuple[tuple[int, ...], int]:
        """For samples of this shape: the network's ``shape``, and its ``outputs`` for each number that goes in."""
        state = self.process.prior(shape, Seeds.range(0, 1))
        told = self.inputs(state, torch.zeros(1, dtype=torch.float64))
        return tuple(told.shape[1:]), math.ceil(self.width_out(state) / told.shape[-1])

    def inputs(self, xt: Any, t: Tensor) -> Tensor:
        """The features as they are laid out for the network, (batch, a) or (batch, n, a)."""
        return self._laid(self.features(xt, t))

    def seen(self, xt: Any, t: Tensor) -> Tensor:
        """The state as a network sees it that takes parts by themselves, in the form of its ``kind``."""
        return self.features(xt, t)

    def elementwise(self, output: Tensor) -> Tensor:
        """What such a network tells of this part, as a row for each of the state's elements."""
        return output

    def part(self, shape: Any, whole: bool = False) -> Part:
        """What such a network is built for, for samples of this shape."""
        state = self.process.prior(shape, Seeds.range(0, 1))
        seen = self.seen(state, torch.zeros(1, dtype=torch.float64))
        kind = "whole" if whole else self.kind
        axes = {"whole": 2, "pairs": 4}.get(kind, 3)
        if seen.ndim != axes:
            raise InputError(
                f"a network that takes parts sees {kind!r} as a tensor of {axes} axes, the batch first; samples of the "
                f"shape {shape} give {tuple(seen.shape)}"
            )
        elements = self.features(state, torch.zeros(1, dtype=torch.float64)).shape[1:-1]
        return Part(kind, seen.shape[-1], math.prod(elements if whole else elements[1:]) * self.numbers)

    def width_out(self, xt: Any) -> int:
        """How many of the network's outputs, along its last axis, are read."""
        elements = self.features(xt, torch.zeros(batch_size(xt), dtype=torch.float64)).shape[1:-1]
        return math.prod(elements if self.layout == "vector" else elements[1:]) * self.numbers

    def believe(self, output: Tensor, xt: Any, t: Tensor, mask: Tensor | None) -> Posterior:
        """The belief that a network's output tells, from which ``width_out`` numbers are taken."""
        elements = self.features(xt, t).shape[:-1]
        return self.read(output.reshape(*elements, self.numbers), xt, t, mask)

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief at this state and time."""
        if self.network is None:
            raise InputError(f"this {type(self).__name__} is a part of a joint one; it has no network of its own")
        told, level, t = self.told(xt, t)
        output = self.network(told, level, drop, **condition)
        width = self.width_out(xt)
        if output.shape[:-1] != told.shape[:-1] or output.shape[-1] < width:
            raise InputError(
                f"this belief needs a network that returns {(*told.shape[:-1], width)}, or more along the last axis; "
                f"seen {tuple(output.shape)}: build it with the shape and outputs of `network_size`"
            )
        return self.believe(output[..., :width], xt, t, condition.get("mask"))

    def told(self, xt: Any, t: Any) -> tuple[Tensor, Tensor, Any]:
        """What the network is called with, features and noise level; and the times, float64 (batch,)."""
        count, device = batch_size(xt), tensors_of(xt)[0].device
        t = torch.as_tensor(t, dtype=torch.float64, device=device).expand(count)
        told = self.inputs(xt, t)
        return told, noise_level(self.process, t).to(told.dtype), t

    def _laid(self, features: Tensor) -> Tensor:
        if self.layout == "vector":
            return features.flatten(1)
        if self.layout == "parts":
            raise InputError("the layout 'parts' is for joint states; take 'vector' or 'sequence'")
        if features.ndim < 3:
            raise InputError("a sequence needs elements along an axis; take the layout 'vector'")
        return features.flatten(2)


def noise_level(process: Process, t: Tensor) -> Tensor:
    """A quarter of log(sigma/alpha), kept within [-3, 3]: how networks are told the noise."""
    return (-process.schedule.log_snr(t) / 8).clamp(-_FLATTEST, _FLATTEST)
