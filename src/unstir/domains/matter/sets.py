"""Encoded structures, padded to one size, with their masks and conditions."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.core.state import map_state, take, tensors_of
from unstir.domains.base import Encoding


@dataclass(frozen=True, eq=False)
class SetData:
    """Sets of atoms as states for training; a row a structure.

    ``state`` holds all parts, padded to the largest set; ``mask`` (rows, n) says which places have an atom. ``told``
    are the conditions, a row each, and ``kinds`` what a network is told of each: ``{"size": 1}``, ``{"channels": 9}``.
    ``structures`` are those that the rows were made of, in the data's own units. ``held_out`` are further rows of the
    same source that the model does not see, ``remarks`` what a reader of the report must know of the reading.
    """

    name: str
    encoding: Encoding
    state: Any
    mask: Tensor
    structures: Sequence[Any]
    told: Mapping[str, Tensor] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    held_out: "SetData | None" = None
    remarks: Sequence[str] = ()

    @property
    def shape(self) -> Any:
        """The shape of one row's parts."""
        return map_state(lambda part: tuple(part.shape[1:]), self.state)

    @property
    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        """The mask and whatever else is told."""
        return {"mask": {"places": self.mask.shape[1]}, **self.kinds}

    @property
    def digest(self) -> str:
        """SHA-256 of the encoded rows, their masks and conditions, and of the encoding."""
        found = hashlib.sha256(json.dumps(self.encoding.record(), sort_keys=True).encode())
        for part in (*tensors_of(self.state), self.mask, *(self.told[name] for name in sorted(self.told))):
            found.update(part.contiguous().numpy().tobytes())
        return found.hexdigest()

    def __len__(self) -> int:
        return len(self.mask)

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Any, dict[str, Tensor]]:
        """The rows of those numbers, with their masks and conditions; nothing is augmented."""
        chosen = torch.from_numpy(np.asarray(rows))
        told = {name: values[chosen] for name, values in self.told.items()}
        return take(self.state, chosen), {"mask": self.mask[chosen], **told}


def padded(rows: Sequence[np.ndarray], size: int, dtype: torch.dtype) -> Tensor:
    """Arrays (n_i, ...) of different lengths as one tensor (rows, size, ...), zero where there is nothing."""
    found = torch.zeros(len(rows), size, *np.asarray(rows[0]).shape[1:], dtype=dtype)
    for place, row in enumerate(rows):
        found[place, : len(row)] = torch.from_numpy(np.asarray(row)).to(dtype)
    return found


def mask_of(lengths: Sequence[int], size: int) -> Tensor:
    """Which places of sets of those lengths have an element, boolean (rows, size)."""
    return torch.arange(size) < torch.as_tensor(lengths)[:, None]
