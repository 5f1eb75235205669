"""What every task makes of a data set: numbered cases, each of which has a target and what is known beforehand."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.domains.climate.encoding import ClimateEncoding


@runtime_checkable
class Cases(Protocol):
    """A task's cases, read when they are asked for: nothing of them needs to be in memory."""

    def __len__(self) -> int: ...

    @property
    def times(self) -> np.ndarray:
        """When each case's target is valid (its first time, where it has several), datetime64 or cftime, (cases,)."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of what the cases are made of."""
        ...

    def target(self, rows: np.ndarray) -> np.ndarray:
        """The targets of the cases ``rows``, float (n, channels, *axes) in the data's units, NaN where missing."""
        ...

    def given(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What is known beforehand, by the names of ``ClimateData.conditions``: scaled, and ready for a network."""
        ...


@dataclass(frozen=True, eq=False)
class ClimateData:
    """The cases to train on, encoded; with those of the same kind, later in time, to choose and to judge by.

    ``conditions`` are as networks take them (``{"given": {"size": 22}}``, ``{"given": {"channels": 3}}``); a condition
    that the network does not see but the denoiser centres its belief on (``denoiser.around``) is named there too, as
    ``{"centre": {"channels": C}}``. ``validation`` and ``test`` have the same encoding. ``law`` is the exact law of the
    states, where it is known.
    """

    name: str
    encoding: ClimateEncoding
    cases: Cases
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    validation: "ClimateData | None" = None
    test: "ClimateData | None" = None
    law: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one state, (channels, *axes)."""
        return self.encoding.layout.shape

    @property
    def digest(self) -> str:
        """SHA-256 of the cases and of the encoding."""
        # what the task remembers follows from the cases, to rounding that differs from machine to machine
        record = {name: each for name, each in self.encoding.record().items() if name != "memory"}
        told = json.dumps(record, sort_keys=True, default=str)
        return hashlib.sha256(f"{self.cases.digest} {told}".encode()).hexdigest()

    @property
    def locality(self) -> tuple[int, int] | None:
        """(cases that are read together, cases that may be held at once), where they lie on disk; else None."""
        return getattr(self.cases, "locality", None)

    def __len__(self) -> int:
        return len(self.cases)

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The encoded targets of these cases, and what is known beforehand; nothing is augmented."""
        rows = np.asarray(rows, dtype=np.int64)
        state = self.encoding.encode(self.cases.target(rows))
        condition = {name: torch.from_numpy(np.asarray(values)) for name, values in self.cases.given(rows).items()}
        missing = state.isnan()
        if bool(missing.any()):
            # a missing value is no part of the loss, and the network sees zero in its place
            condition["mask"] = ~missing
            state = torch.where(missing, 0.0, state)
        return state, {
            name: values.float() if values.is_floating_point() else values for name, values in condition.items()
        }
