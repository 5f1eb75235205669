"""Text in windows of one length, ready for training; its end held out."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.text.encoding import TextEncoding
from unstir.domains.text.source import read_source

_PARTS = ("train", "held-out")
_OPTIONS = ("path", "length", "held_out", "gap", "rare", "part", "name")


class TextData:
    """Windows of ``length`` characters at every place of a text: int64 (batch, length), a row a place.

    text: the whole text. Its end, a share ``held_out``, is kept from training, and so are the ``gap`` characters before
    that (by default ``length``), so that nothing of the one part hangs on to the other. Nothing is shuffled first.
    part: ``"train"``, or ``"held-out"`` to have that part's windows.
    rare: characters that the training part has less often than that become one class, as do those it has not at all.

    ``codes`` are the part's classes, ``held_out`` those of the other part (empty for held-out data itself).

    Raises InputError for a text that is too short for one window in each part, and for options out of range.
    """

    conditions: Mapping[str, Mapping[str, Any]] = {}

    def __init__(
        self,
        text: str,
        name: str,
        *,
        length: Any = 128,
        held_out: Any = 0.1,
        gap: Any = None,
        rare: Any = 10,
        part: Any = "train",
    ) -> None:
        if part not in _PARTS:
            raise unknown("part of the text", str(part), _PARTS)
        length, rare = _whole("length", length, 2), _whole("rare", rare, 1)
        gap = length if gap is None else _whole("gap", gap, 0)
        if isinstance(held_out, bool) or not isinstance(held_out, int | float) or not 0 <= held_out < 1:
            raise InputError(f"`data.held_out: {held_out!r}`: a share of the text is needed, from 0 to below 1")
        kept_back = round(held_out * len(text))
        training = text[: max(len(text) - kept_back - (gap if kept_back else 0), 0)]
        for what, size in (("training", len(training)), ("held-out", kept_back or length)):
            if size < length:
                raise InputError(
                    f"{name}: the {what} part has {size} of the text's {len(text)} characters, fewer than one window "
                    f"of {length}; give more text, or lower `data.length`"
                )
        if part == "held-out" and not kept_back:
            raise InputError("nothing is held out; raise `data.held_out`")
        self.name = name
        self.encoding = TextEncoding.of(training, length, rare)
        codes = self.encoding.encode(training).astype(np.int32)
        beyond = self.encoding.encode(text[len(text) - kept_back :]).astype(np.int32)
        self.codes, self.held_out = (codes, beyond) if part == "train" else (beyond, beyond[:0])
        told = json.dumps(self.encoding.record(), sort_keys=True).encode()
        self.digest = hashlib.sha256(self.codes.astype("<i4").tobytes() + told).hexdigest()

    def __len__(self) -> int:
        return len(self.codes) - self.encoding.length + 1

    @property
    def shape(self) -> tuple[int]:
        """(length,)."""
        return (self.encoding.length,)

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The windows that begin at the places ``rows``; text has no conditions and no augmentation."""
        places = np.asarray(rows)[:, None] + np.arange(self.encoding.length)
        return torch.from_numpy(self.codes[places].astype(np.int64)), {}


def read_text(options: Mapping[str, Any]) -> TextData:
    """Text from the options of a recipe's ``data``: those of ``TextData``, ``path`` and ``name``.

    Without a path it is the English text that comes with Python (see ``source.built_in_text``).
    """
    for key in options:
        if key not in _OPTIONS:
            raise unknown("option of text data", str(key), _OPTIONS)
    own = dict(options)
    name, text = read_source(own.pop("path", None))
    stated = own.pop("name", None)
    return TextData(text, str(stated or name), **own)


def windows(codes: np.ndarray, length: int, most: int | None = None) -> Tensor:
    """A text cut into windows side by side, int64 (windows, length); at most so many, spread evenly."""
    count = len(codes) // length
    rows = np.arange(count) if most is None or most >= count else np.linspace(0, count - 1, most).round().astype(int)
    return torch.from_numpy(codes[: count * length].reshape(count, length)[rows].astype(np.int64))


def _whole(option: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"`data.{option}: {value!r}`: a whole number of at least {least} is needed")
    return value
