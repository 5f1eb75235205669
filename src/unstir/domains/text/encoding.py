"""Characters as classes, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError

FOLDED = "\ufffd"
"""Stands for all rare and unknown characters."""


@dataclass(frozen=True)
class TextEncoding:
    """Each character is a class: its place in ``characters``, which are sorted; the last class is for all others.

    ``length`` is the number of characters of a sample.
    """

    characters: str
    length: int

    @classmethod
    def of(cls, text: str, length: int, rare: int) -> "TextEncoding":
        """The characters that ``text`` has ``rare`` times or more, and one class for the rest."""
        points, counts = np.unique(_points(text), return_counts=True)
        kept = "".join(map(chr, points[counts >= rare])).replace(FOLDED, "")
        if not kept:
            raise InputError(
                f"no character occurs {rare} times in the {len(text)} of the training part; lower `data.rare` or give "
                "more text"
            )
        return cls(kept, length)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.characters) + 1

    @cached_property
    def _sorted(self) -> np.ndarray:
        return _points(self.characters)

    @cached_property
    def _alphabet(self) -> np.ndarray:
        return np.array([*self.characters, FOLDED], object)  # as text of NumPy a NUL would be nothing

    def encode(self, text: str) -> np.ndarray:
        """The classes of a text's characters, int64 (len(text),)."""
        points = _points(text)
        places = np.searchsorted(self._sorted, points).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[places] == points, places, len(self._sorted))

    def decode(self, state: Tensor) -> list[str]:
        """The texts of clean samples, int64 (batch, n)."""
        codes = _codes(state)
        if codes.size and not 0 <= codes.min() <= codes.max() < self.classes:
            raise InputError(
                f"this text has the classes 0 to {self.classes - 1}; seen {codes.min()} to {codes.max()} "
                "(is a part of it still masked?)"
            )
        return ["".join(row) for row in self._alphabet[codes]]

    def show(self, state: Tensor, hidden: str = "·") -> list[str]:
        """The texts of noisy samples as well: what is no character, the mask, is shown as ``hidden``."""
        alphabet = np.append(self._alphabet, hidden)
        codes = _codes(state)
        return ["".join(row) for row in alphabet[np.where((codes >= 0) & (codes < self.classes), codes, self.classes)]]

    def record(self) -> dict[str, Any]:
        """The encoding as plain values."""
        return {"characters": self.characters, "length": self.length}


def restore(record: Mapping[str, Any]) -> TextEncoding:
    """The encoding that ``record()`` came from."""
    return TextEncoding(str(record["characters"]), int(record["length"]))


def _codes(state: Tensor) -> np.ndarray:
    if state.ndim != 2 or state.is_floating_point():
        raise InputError(f"text is int64 of shape (samples, characters); seen {state.dtype} {tuple(state.shape)}")
    return state.detach().cpu().numpy()


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
