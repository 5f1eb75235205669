"""Data that is one row a sample, encoded as a whole and held in memory: what fields of tables and angles share."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size, concatenate, map_state, take, tensors_of
from unstir.domains.base import Encoding


@dataclass(frozen=True, eq=False)
class RowData:
    """Encoded rows, with those that were kept apart from the training.

    ``state`` holds all rows, a tensor or a dict of them; ``held_out`` further rows of the same source that the model
    does not see, or None; ``law`` the exact law that the rows were drawn from, where it is known.
    """

    name: str
    encoding: Encoding
    state: Any
    held_out: "RowData | None" = None
    law: Any = None
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def shape(self) -> Any:
        """The shape of one row; a mapping of them where a row has several parts."""
        return map_state(lambda part: tuple(part.shape[1:]), self.state)

    @property
    def digest(self) -> str:
        """SHA-256 of the encoded rows and of the encoding."""
        found = hashlib.sha256(json.dumps(self.encoding.record(), sort_keys=True).encode())
        for part in tensors_of(self.state):
            found.update(part.contiguous().numpy().tobytes())
        return found.hexdigest()

    def __len__(self) -> int:
        return len(tensors_of(self.state)[0])

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Any, dict[str, Tensor]]:
        """The rows of those numbers; there are no conditions, and nothing is augmented."""
        return take(self.state, torch.from_numpy(np.asarray(rows))), {}


def kept_apart(count: int, share: Any, seed: Any) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the rows to train on and of those to keep apart, each in their own order, by a draw of the seed.

    Raises InputError unless the share is from 0 to below 1 and leaves two rows on either side (or none apart).
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise InputError(f"`data.held_out: {share!r}`: the share of rows to keep apart is needed, from 0 to below 1")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"`data.seed: {seed!r}`: a whole number is needed")
    apart = round(count * share)
    if count - apart < 2 or 0 < apart < 2:
        raise InputError(
            f"{count} rows, of which {apart} are to be kept apart (`data.held_out={share}`): at least two on either "
            "side are needed; give more rows or another share"
        )
    order = Seeds.range(seed, 1).at("held out").generator().permutation(count)
    return np.sort(order[apart:]), np.sort(order[:apart])


def divided(state: Any, train: np.ndarray, apart: np.ndarray) -> tuple[Any, Any]:
    """The rows to train on and those kept apart."""
    return take(state, torch.from_numpy(train)), take(state, torch.from_numpy(apart))


def checked_options(options: Mapping[str, Any], allowed: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The options over their defaults; InputError, with the nearest right name, for one that is not known."""
    for option in options:
        if option not in allowed:
            raise unknown(what, option, allowed)
    return {**allowed, **options}


def matched(state: Any, count: int) -> Any:
    """At most ``count`` rows, evenly spread."""
    return take(state, torch.from_numpy(evenly(batch_size(state), count)))


def evenly(length: int, count: int) -> np.ndarray:
    """At most ``count`` places of 0 to ``length - 1``, evenly spread, the first and the last among them; int64."""
    return np.unique(np.linspace(0, length - 1, min(length, count)).round().astype(np.int64))


def film(draw: Any, count: int, seed: int, frames: int = 6) -> tuple[list[Any], list[float]]:
    """States of ``count`` samples at evenly spaced steps of their drawing, and the times reached, first to last."""
    seen: dict[float, list[Any]] = {}
    reached: dict[float, float] = {}

    def look(state: Any, t: Tensor, s: Tensor) -> None:
        seen.setdefault(float(t), []).append(state.x)
        reached[float(t)] = float(s)

    draw(count, seed=seed, callback=look)
    times = sorted(seen, reverse=True)
    chosen = [times[place] for place in evenly(len(times), frames)]
    return [take(concatenate(seen[time]), slice(count)) for time in chosen], [reached[time] for time in chosen]
