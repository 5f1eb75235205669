"""Data that bridges learn from: true pairs in memory, or two sets of data that do not know each other."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.training.data import Data


@dataclass(frozen=True)
class Pairs:
    """Pairs of data and source in memory, (count, *shape) each, with conditions of one row a pair.

    ``batch`` gives the condition ``source``, which a bridge's training takes for itself: a network does not see it. One
    that is to see it is given it once more under a name that it knows (``{"image": source}``, ``kinds`` says what).
    """

    x0: Tensor
    source: Tensor
    given: Mapping[str, Tensor] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    name: str = "pairs"

    def __post_init__(self) -> None:
        if self.x0.shape != self.source.shape:
            shapes = f"{tuple(self.x0.shape)} and {tuple(self.source.shape)}"
            raise InputError(f"pairs are as many data as sources, of one shape; seen {shapes}")
        for name, values in self.given.items():
            if len(values) != len(self.x0):
                raise InputError(f"the condition {name!r} has {len(values)} rows for {len(self.x0)} pairs")
        if set(self.given) != set(self.kinds) or "source" in self.given:
            raise InputError(
                "each condition needs its kind, e.g. kinds={'label': {'classes': 2}}, and none is called source; seen "
                f"{sorted(self.given)} and {sorted(self.kinds)}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.x0.shape[1:])

    @property
    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        """Those that a network sees."""
        return self.kinds

    @property
    def digest(self) -> str:
        """SHA-256 of data, sources and conditions."""
        digest = hashlib.sha256()
        for tensor in (self.x0, self.source, *(self.given[name] for name in sorted(self.given))):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.x0)

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The pairs at these rows."""
        chosen = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        condition = {name: values[chosen] for name, values in self.given.items()}
        return self.x0[chosen], {**condition, "source": self.source[chosen]}


class Unpaired:
    """Data with sources of another set, one drawn for each sample: translation without pairs.

    ``data`` and ``sources`` are any Data of one shape; the source's conditions are not used.
    """

    def __init__(self, data: Data, sources: Data) -> None:
        if tuple(data.shape) != tuple(sources.shape):
            raise InputError(
                f"data and sources must have one shape; seen {tuple(data.shape)} of {data.name} and "
                f"{tuple(sources.shape)} of {sources.name}"
            )
        self.data, self.sources = data, sources
        self.name, self.shape, self.conditions = f"{data.name} from {sources.name}", data.shape, data.conditions

    @property
    def digest(self) -> str:
        """SHA-256 of both digests."""
        return hashlib.sha256(f"{self.data.digest} {self.sources.digest}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Any, dict[str, Any]]:
        """The samples at these rows, and sources drawn by the addresses; without those, the source of the same row."""
        x0, condition = self.data.batch(rows, seeds)
        count = len(self.sources)
        places = np.asarray(rows) % count if seeds is None else seeds.at("source").integers(0, count).cpu().numpy()
        source, _ = self.sources.batch(places, None if seeds is None else seeds.at("source", "augment"))
        return x0, {**condition, "source": source}
