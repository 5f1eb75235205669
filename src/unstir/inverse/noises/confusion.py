"""Tokens misread: sequencing errors, scribes, labels of a crowd."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.noises.base import MeasurementNoise

__all__ = ["ConfusionNoise"]


@dataclass(frozen=True, eq=False)
class ConfusionNoise(MeasurementNoise):
    """Each token is read as another with the probabilities of a table, independently.

    ``table`` (classes, readings) has a row for each true token, of the probabilities of what is read instead; without
    one, a token of ``classes`` is misread with the probability ``flip``, as any other alike. Readings are int64.
    Raises InputError for a table whose rows are no probabilities, and for tokens beyond it.
    """

    classes: int = 2
    flip: float | int = 0.1
    table: Any = None

    def __post_init__(self) -> None:
        if self.table is None:
            if not isinstance(self.classes, int) or self.classes < 2 or not 0 <= self.flip <= 1:
                raise InputError(
                    "misreading needs two classes at least and a probability from 0 to 1; "
                    f"seen {self.classes} and {self.flip}"
                )
            table = torch.full((self.classes, self.classes), self.flip / (self.classes - 1), dtype=torch.float64)
            object.__setattr__(self, "table", table.fill_diagonal_(1 - self.flip))
        try:
            table = torch.as_tensor(self.table, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"a table of misreadings holds probabilities; seen {self.table!r}") from error
        if table.ndim != 2 or not bool((table >= 0).all()) or bool(((table.sum(1) - 1).abs() > 1e-6).any()):
            raise InputError(
                "a table of misreadings has a row of probabilities for each true token, which sum to one; "
                f"seen the shape {tuple(table.shape)}, sums {table.sum(-1).tolist()}"
            )
        object.__setattr__(self, "table", table / table.sum(1, keepdim=True))
        object.__setattr__(self, "classes", len(table))

    def draw(self, clean: Tensor, seeds: Seeds) -> Tensor:
        return choose(self._rows(clean), seeds)

    def log_likelihood(self, reading: Tensor, clean: Tensor) -> Tensor:
        read = _whole(reading, self.table.shape[1], "read").expand(clean.shape).to(clean.device)
        return self._rows(clean).gather(-1, read[..., None])[..., 0].flatten(1).sum(1)

    def _rows(self, clean: Tensor) -> Tensor:
        return self.table.to(clean.device).log()[_whole(clean, len(self.table), "true")]

    @classmethod
    def examples(cls) -> Mapping[str, "ConfusionNoise"]:
        """Any other alike, and by a table with more readings than tokens (the last: illegible)."""
        return {
            "any other alike": cls(4, 0.2),
            "by a table": cls(table=[[0.8, 0.15, 0.05], [0.0, 0.7, 0.3]]),
        }


def _whole(tokens: Tensor, classes: int, what: str) -> Tensor:
    whole = tokens.long()
    if tokens.numel() and (
        not bool((whole == tokens).all()) or not 0 <= int(whole.min()) <= int(whole.max()) < classes
    ):
        raise InputError(
            f"the table of misreadings knows the {what} tokens 0 to {classes - 1}; "
            f"seen {tokens.min().item():g} to {tokens.max().item():g}"
        )
    return whole
