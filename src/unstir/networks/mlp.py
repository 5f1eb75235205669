"""Multilayer perceptron, for vectors, tables and small pictures."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError
from unstir.core.state import apply_mask
from unstir.networks.conditioning import Conditioner, Conditions
from unstir.networks.layers import masked, modulate, normalise_last, require_normalisation, zero_
from unstir.networks.options import require_dropout, require_mask, require_positive, require_shape

__all__ = ["MLP"]


class MLP(nn.Module):
    """Residual perceptron whose normalisation is scaled and shifted by noise level and condition.

    A sample of any shape is flattened, mapped to ``width``, passed through ``depth`` residual blocks
    (normalise, modulate, widen ``expansion``-fold, SiLU, dropout, narrow, gate) and mapped back.

    ``normalisation``: layer, rms, group or none; ``embedding``: components of the embedding of noise
    level and conditions; ``outputs``: how often the output has the channels of ``x``. Places where ``mask``,
    boolean of the shape of ``x``, is False come in and go out as zero. Raises InputError for an option out of
    range, and for ``x`` of another shape than ``shape``.

    Reference: He et al., Deep residual learning (2016); the modulation and its start at zero as in
    Peebles, Xie, Scalable diffusion models with transformers (2023), section 3.2.
    """

    def __init__(
        self,
        shape: Sequence[int],
        conditions: Conditions | None = None,
        *,
        width: int = 256,
        depth: int = 4,
        expansion: int = 2,
        dropout: float = 0.0,
        normalisation: str = "layer",
        embedding: int = 128,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.shape = require_shape(shape, 1, 8, "(features,) or longer")
        require_positive("width", width)
        hidden = width * require_positive("expansion", expansion)
        self.normalisation = require_normalisation(normalisation)
        self.conditioner = Conditioner(conditions, embedding)
        places = math.prod(self.shape[1:])
        self.stem = nn.Linear(math.prod(self.shape) + self.conditioner.channels * places, width)
        self.blocks = nn.ModuleList(
            _Block(width, hidden, embedding, require_dropout(dropout), normalisation)
            for _ in range(require_positive("depth", depth))
        )
        self.modulation = zero_(nn.Linear(embedding, 2 * width))
        self.output_shape = (self.shape[0] * require_positive("outputs", outputs), *self.shape[1:])
        self.head = zero_(nn.Linear(width, math.prod(self.output_shape)))

    def forward(
        self, x: Tensor, noise: Tensor, drop: Tensor | None = None, mask: Tensor | None = None, **condition: Tensor
    ) -> Tensor:
        if x.shape[1:] != self.shape:
            raise InputError(f"this network takes samples of shape {self.shape}, seen {tuple(x.shape[1:])}")
        mask = require_mask(mask, x)
        joined, embedding = self.conditioner(apply_mask(x, mask), noise, drop, condition)
        h = self.stem(joined.flatten(1))
        for block in self.blocks:
            h = block(h, embedding)
        shift, scale = self.modulation(embedding).chunk(2, dim=1)
        h = self.head(modulate(normalise_last(h, self.normalisation), shift, scale))
        return masked(h.reshape(len(x), *self.output_shape), mask).to(x.dtype)


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, embedding: int, dropout: float, normalisation: str) -> None:
        super().__init__()
        self.normalisation, self.dropout = normalisation, dropout
        self.modulation = zero_(nn.Linear(embedding, 3 * width))
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(embedding).chunk(3, dim=1)
        h = F.silu(self.widen(modulate(normalise_last(x, self.normalisation), shift, scale)))
        return x + gate.to(h.dtype) * self.narrow(F.dropout(h, self.dropout, self.training))
