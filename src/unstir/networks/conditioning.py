"""How the noise level and the conditions reach a network; shared by all architectures."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unstir.core.errors import InputError, unknown
from unstir.core.state import Condition
from unstir.networks.options import require_positive

Conditions = Mapping[str, Mapping[str, int]]
AUGMENT = "augment"
_KINDS = ("classes", "size", "channels")
_RESERVED = ("x", "noise", "drop", "mask")
_LOWEST, _HIGHEST = 0.25, 32.0


class NoiseFeatures(nn.Module):
    r"""Sine and cosine of the noise level at geometrically spaced frequencies.

    .. math:: c \mapsto (\cos f_k c, \sin f_k c)_k, \qquad f_k = 1/4, ..., 32

    The slowest wave is monotone over the levels met in training, -3 to 3; the fastest tells apart
    levels that differ by a few percent. Fixed, so that the network stays smooth in the level.

    Reference: Vaswani et al., Attention is all you need (2017), section 3.5; of the logarithm of the
    noise level as in Karras et al., Elucidating the design space (2022), table 1.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        half = require_positive("noise features", size // 2)
        exponents = torch.linspace(math.log(_LOWEST), math.log(_HIGHEST), half, dtype=torch.float64)
        self.register_buffer("frequencies", exponents.exp().float(), persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Features of shape (batch, size) of levels of shape (batch,)."""
        angle = noise[:, None] * self.frequencies.to(noise.dtype)
        return torch.cat((angle.cos(), angle.sin()), dim=1)


class Conditioner(nn.Module):
    """Turns the noise level and the conditions into one embedding, and spatial maps into channels.

    ``conditions`` names what the network may be told, each by one key:

    - ``{"classes": 10}``: an integer label, (batch,); a learned embedding.
    - ``{"size": 9}``: a vector, (batch, 9), best of about unit scale; a linear map.
    - ``{"channels": 1}``: a map of the size of x, (batch, 1, *size); joined to the channels of x,
      together with one channel of ones that says it is there.

    An absent condition is replaced by a null (a learned label, no vector, a map of zeros), and so
    is each sample's that ``drop`` marks: dropping equals absence. The vector named ``augment`` tells
    how a sample was altered and follows another rule: zeros equal absence, and ``drop`` leaves it
    alone, since a network that is not told of an alteration would learn to produce it.

    Reference: Ho, Salimans, Classifier-free diffusion guidance (2022), for the nulls; Karras et al.,
    Elucidating the design space (2022), appendix F.2, for ``augment``.
    """

    def __init__(self, conditions: Conditions | None, embedding: int, axis: int = 1) -> None:
        super().__init__()
        require_positive("embedding", embedding)
        self.axis = axis
        self.sizes = {name: _read(name, given) for name, given in (conditions or {}).items()}
        self.labels = [name for name, (kind, _) in self.sizes.items() if kind == "classes"]
        self.vectors = [name for name, (kind, _) in self.sizes.items() if kind == "size"]
        self.maps = [name for name, (kind, _) in self.sizes.items() if kind == "channels"]
        self.channels = sum(self.sizes[name][1] + 1 for name in self.maps)
        self.features = NoiseFeatures(max(embedding // 2, 2))
        self.first = nn.Linear(2 * (max(embedding // 2, 2) // 2), embedding)
        self.label_tables = nn.ModuleList(nn.Embedding(self.sizes[name][1], embedding) for name in self.labels)
        self.label_nulls = nn.ParameterList(nn.Parameter(torch.zeros(embedding)) for _ in self.labels)
        self.vector_maps = nn.ModuleList(
            nn.Linear(self.sizes[name][1], embedding, bias=name != AUGMENT) for name in self.vectors
        )
        self.second = nn.Linear(embedding, embedding)

    def forward(self, x: Tensor, noise: Tensor, drop: Tensor | None, condition: Condition) -> tuple[Tensor, Tensor]:
        """``x`` with the maps joined to its channels, and the embedding, (batch, embedding)."""
        for name in condition:
            if name not in self.sizes:
                raise unknown("condition", name, self.sizes)
        dtype, batch = self.first.weight.dtype, len(x)
        noise = noise.to(dtype).expand(batch) if noise.ndim == 0 else noise.to(dtype)
        if noise.shape != (batch,):
            raise InputError(
                f"noise levels of shape {tuple(noise.shape)} for a batch of {batch}; give () or ({batch},)"
            )
        if drop is not None and (drop.shape != (batch,) or drop.dtype != torch.bool):
            raise InputError(f"drop must be boolean of shape ({batch},), seen {drop.dtype} of {tuple(drop.shape)}")
        total = self.first(self.features(noise))
        for name, table, null in zip(self.labels, self.label_tables, self.label_nulls, strict=True):
            total = total + (
                self._label(name, table, null, condition[name], drop, batch) if name in condition else null
            )
        for name, linear in zip(self.vectors, self.vector_maps, strict=True):
            if name in condition:
                total = total + self._vector(name, linear, condition[name], drop, batch)
        embedding = nn.functional.silu(self.second(nn.functional.silu(total)))
        x = x.to(dtype)
        if self.maps:
            x = torch.cat((x, *(self._map(name, condition.get(name), drop, x) for name in self.maps)), dim=self.axis)
        return x, embedding

    def _label(
        self, name: str, table: nn.Module, null: Tensor, label: Tensor, drop: Tensor | None, batch: int
    ) -> Tensor:
        if label.shape != (batch,) or label.is_floating_point():
            raise InputError(
                f"condition {name!r} must be integers of shape ({batch},), seen {label.dtype} of {tuple(label.shape)}"
            )
        try:
            told = table(label)
        except IndexError:
            highest = self.sizes[name][1] - 1
            raise InputError(
                f"condition {name!r} must be from 0 to {highest}, seen {int(label.min())} to {int(label.max())}"
            ) from None
        return told if drop is None else torch.where(drop[:, None], null, told)

    def _vector(self, name: str, linear: nn.Module, vector: Tensor, drop: Tensor | None, batch: int) -> Tensor:
        size = self.sizes[name][1]
        if vector.shape != (batch, size):
            raise InputError(f"condition {name!r} must be of shape ({batch}, {size}), seen {tuple(vector.shape)}")
        told = linear(vector.to(self.first.weight.dtype))
        return told if drop is None or name == AUGMENT else torch.where(drop[:, None], torch.zeros_like(told), told)

    def _map(self, name: str, image: Tensor | None, drop: Tensor | None, x: Tensor) -> Tensor:
        axis, channels = self.axis, self.sizes[name][1]
        shape = list(x.shape)
        shape[axis] = channels
        if image is None:
            shape[axis] += 1
            return x.new_zeros(shape)
        if list(image.shape) != shape:
            raise InputError(f"condition {name!r} must be of shape {tuple(shape)}, seen {tuple(image.shape)}")
        image = image.to(x.dtype)
        told = torch.cat((image, torch.ones_like(image.narrow(axis, 0, 1))), dim=axis)
        return (
            told if drop is None else torch.where(drop.reshape(-1, *(1,) * (x.ndim - 1)), torch.zeros_like(told), told)
        )


def _read(name: str, given: Mapping[str, int]) -> tuple[str, int]:
    """The kind of a condition and its number of classes, components or channels."""
    if name in _RESERVED:
        raise InputError(f"a condition cannot be called {name!r}, which means something else to a network")
    kinds = [kind for kind in _KINDS if kind in given]
    if len(kinds) != 1 or len(given) != 1:
        raise InputError(
            f"condition {name!r} must have exactly one of the keys {', '.join(_KINDS)}, seen {dict(given)}"
        )
    return kinds[0], require_positive(f"condition {name!r}: {kinds[0]}", given[kinds[0]])
