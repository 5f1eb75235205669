"""Rows of mixed columns to a state of one continuous part and a part for each column of categories, and back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.tables.columns import Column, restored

CONTINUOUS = "continuous"


@dataclass(frozen=True)
class TableEncoding:
    """The columns of a table, in their order; ``target`` names the one that the others are to predict when judged."""

    columns: tuple[Column, ...]
    target: str

    @cached_property
    def numeric(self) -> list[Column]:
        """The columns of the continuous part, in its order."""
        return [column for column in self.columns if not column.categorical]

    @cached_property
    def parts(self) -> dict[str, Column]:
        """The columns of categories by the names of their parts."""
        found: dict[str, Column] = {}
        for column in self.columns:
            if column.categorical:
                name = "column_" + re.sub(r"\W", "_", column.name)
                while name in found:
                    name += "_"
                found[name] = column
        return found

    def encode(self, table: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
        """Columns of text to a state."""
        state: dict[str, Tensor] = {}
        if self.numeric:
            encoded = np.stack([column.encode(table[column.name]) for column in self.numeric], 1)
            state[CONTINUOUS] = torch.from_numpy(encoded).float()
        for name, column in self.parts.items():
            state[name] = torch.from_numpy(column.encode(table[column.name]))[:, None]
        return state

    def decode(self, state: Mapping[str, Tensor]) -> dict[str, list[str]]:
        """A state to columns of text, with the names, the order, the levels and the digits of the data."""
        encoded = self.by_column(state)
        return {column.name: column.decode(encoded[column.name]) for column in self.columns}

    def by_column(self, state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """The encoded values of every column, (n,)."""
        wanted = [*([CONTINUOUS] if self.numeric else []), *self.parts]
        if sorted(state) != sorted(wanted) or (self.numeric and state[CONTINUOUS].shape[1] != len(self.numeric)):
            seen = {name: tuple(part.shape) for name, part in state.items()}
            raise InputError(f"this table's state has the parts {wanted}, {len(self.numeric)} numbers; seen {seen}")
        found: dict[str, np.ndarray] = {}
        for place, column in enumerate(self.numeric):
            found[column.name] = state[CONTINUOUS][:, place].detach().cpu().double().numpy()
        for name, column in self.parts.items():
            found[column.name] = state[name][:, 0].detach().cpu().clamp(0, len(column.levels) - 1).numpy()
        return found

    def record(self) -> dict[str, Any]:
        """The encoding as plain values."""
        return {"columns": [column.record() for column in self.columns], "target": self.target}


def restore(record: Mapping[str, Any]) -> TableEncoding:
    """The encoding that ``record()`` came from."""
    return TableEncoding(tuple(restored(column) for column in record["columns"]), record["target"])
