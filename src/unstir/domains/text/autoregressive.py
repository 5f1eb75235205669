"""The rival: a transformer of the same size that reads from left to right, trained on as many windows."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from unstir.domains.text.data import TextData
from unstir.training.addresses import Addresses
from unstir.training.optimizer import Optimizer
from unstir.training.options import TrainingOptions
from unstir.training.settings import Settings

_HEAD, _DEPTH, _MOST = 32, 4, 64  # channels of a head, blocks where none are stated, heads at most
_AT_ONCE = 64


class AutoregressiveTransformer(nn.Module):
    """The logits of every character given those before it in the window; int64 (batch, n) to (batch, n, classes).

    Blocks that normalise first, causal self-attention and learned positions.

    Reference: Radford et al., Language models are unsupervised multitask learners (2019), section 2.3.
    """

    def __init__(self, classes: int, length: int, width: int, depth: int) -> None:
        super().__init__()
        self.start = classes  # one more class: nothing comes before the first character
        self.embedding = nn.Embedding(classes + 1, width)
        self.position = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    @classmethod
    def of_size(cls, weights: int, classes: int, length: int, depth: int = _DEPTH) -> "AutoregressiveTransformer":
        """The one of this depth whose number of weights comes nearest, its width a whole number of heads."""

        def count(heads: int) -> int:
            width = _HEAD * heads
            return depth * (12 * width**2 + 13 * width) + width * (2 * classes + length + 3) + classes

        heads = min(range(1, _MOST + 1), key=lambda heads: abs(count(heads) - weights))
        return cls(classes, length, _HEAD * heads, depth)

    def forward(self, codes: Tensor) -> Tensor:
        shifted = F.pad(codes[:, :-1], (1, 0), value=self.start)
        h = self.embedding(shifted) + self.position[: codes.shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))

    @torch.no_grad()
    def log_probabilities(self, codes: Tensor) -> Tensor:
        """The natural logarithm of each character's probability, float64 of the shape of ``codes``."""
        parts = [
            self(part).double().log_softmax(-1).gather(-1, part[..., None])[..., 0] for part in codes.split(_AT_ONCE)
        ]
        return torch.cat(parts)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before_attention, self.before_widening = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.project(self.before_attention(x)).unflatten(-1, (3, -1, _HEAD)).transpose(1, 3)
        query, key, value = parts.unbind(2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(self.before_widening(x)), approximate="tanh"))


def train_autoregressive(
    data: TextData, weights: int, options: Mapping[str, Any], seed: int, device: torch.device | str = "cpu"
) -> AutoregressiveTransformer:
    """A left-to-right transformer of about so many weights, trained by a recipe's ``training`` options.

    It sees the windows that a denoiser with the same seed, steps and batch sees, in the same order, with the same
    optimiser; there is no average of its weights. ``depth`` among the options is the number of its blocks.

    Raises InputError for unknown options.
    """
    told = dict(options)
    depth = int(told.pop("depth", _DEPTH))
    settings = TrainingOptions.of(told)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoregressiveTransformer.of_size(weights, data.encoding.classes, data.shape[0], depth)
    model.to(device)
    optimizer = Optimizer(dict(model.named_parameters()), settings)
    addresses = Addresses(seed, len(data), settings.batch)
    within = Settings(settings, torch.device(device), 1)
    for step in tqdm(range(settings.steps), desc="training the autoregressive rival", unit="steps", disable=None):
        codes = data.batch(addresses.rows(step, range(settings.batch)))[0].to(device)
        with torch.enable_grad():
            with within.autocast():
                logits = model(codes)
            F.cross_entropy(logits.float().flatten(0, 1), codes.flatten()).backward()
        optimizer.step(step, optimizer.gradient_norm())
    return model.eval().requires_grad_(False)
