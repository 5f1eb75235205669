"""The encoding of climate data: layout and scaling of what is told, and what a task must remember."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.domains.climate.layout import Layout
from unstir.domains.climate.scaling import Scaling


@dataclass(frozen=True)
class ClimateEncoding:
    """The invertible way between quantities in their units and states (batch, channels, *axes) of about unit scale.

    ``task`` names the task that the data was read for, ``options`` are those of the recipe's ``data`` with all defaults
    written out, and ``memory`` holds what else the task needs to meet new input as it met the training data (scalings
    of predictors, coefficients of a regression): plain values.
    """

    task: str
    layout: Layout
    scaling: Scaling
    options: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)

    def encode(self, values: np.ndarray | Tensor) -> Tensor:
        """Values (batch, channels, *axes) in their units to a float32 state; NaN stays NaN."""
        return self.scaling.encode(torch.as_tensor(np.asarray(values, dtype=np.float64))).float()

    def decode(self, state: Tensor) -> np.ndarray:
        """A state to float64 values in their units, of the same shape."""
        return self.scaling.decode(state.detach().cpu().double()).numpy()

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "task": self.task,
            "layout": self.layout.record(),
            "scaling": self.scaling.record(),
            "options": dict(self.options),
            "memory": dict(self.memory),
        }


def restore(record: Mapping[str, Any]) -> ClimateEncoding:
    """The encoding that ``record()`` came from."""
    return ClimateEncoding(
        record["task"],
        Layout.restored(record["layout"]),
        Scaling(tuple(record["scaling"])),
        record["options"],
        record["memory"],
    )
