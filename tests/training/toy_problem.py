"""A small training problem: labelled points in the plane, and a small network for them."""

import hashlib

import numpy as np
import torch
from torch import nn

from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.processes.gaussian import GaussianProcess


class Points:
    """Two clusters of deviation 0.3 at (-1, -1) and (1, 1), told apart by their label."""

    name = "points"
    shape = (2,)
    conditions = {"label": {"classes": 2}}  # noqa: RUF012

    def __init__(self, count=200, dtype=torch.float32, jitter=0.0):
        seeds = Seeds.range(99, count)
        self.labels = seeds.at("label").integers(0, 2)
        centres = 2.0 * self.labels[:, None] - 1
        self.values = (centres + 0.3 * seeds.at("value").normal((2,), torch.float64)).to(dtype)
        self.jitter = jitter
        self.seen = []

    @property
    def digest(self):
        return hashlib.sha256(self.values.numpy().tobytes()).hexdigest()

    def __len__(self):
        return len(self.values)

    def batch(self, rows, seeds=None):
        self.seen.append(np.array(rows))
        values = self.values[torch.from_numpy(rows)]
        if self.jitter and seeds is not None:
            values = values + self.jitter * seeds.normal_like(values)
        return values, {"label": self.labels[torch.from_numpy(rows)]}


class Network(nn.Module):
    """Two layers; reads x, the noise level, and the label's embedding unless it is dropped."""

    def __init__(self, width=16, dropout=0.0):
        super().__init__()
        self.first = nn.Linear(3, width)
        self.labels = nn.Embedding(2, width)
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
        self.last = nn.Linear(width, 2)
        self.dropout = nn.Dropout(dropout)
        self.dropped = []

    def forward(self, x, noise, drop=None, label=None):
        h = self.first(torch.cat((x, noise[:, None]), dim=1))
        if label is not None:
            told = self.labels(label)
            h = h + (told if drop is None else torch.where(drop[:, None], torch.zeros_like(told), told))
        if drop is not None:
            self.dropped.append(drop.detach().clone())
        for layer in self.layers:
            h = h + layer(self.dropout(nn.functional.silu(h)))
        return self.last(nn.functional.silu(h))


def make_denoiser(seed=0, dtype=torch.float32, width=16, dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NetworkDenoiser(Network(width, dropout).to(dtype), GaussianProcess())


def same_bits(first, second):
    """Whether two sets of named tensors are equal in every bit."""
    return set(first) == set(second) and all(
        first[name].dtype == second[name].dtype
        and first[name].contiguous().numpy().tobytes() == second[name].contiguous().numpy().tobytes()
        for name in first
    )
