"""Tokens of molecules' strings as classes, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.domains.molecules.encoding import Property
from unstir.domains.molecules.strings.alphabets import smiles_of_tokens, tokens_of


@dataclass(frozen=True)
class StringEncoding:
    """Each token of ``tokens`` is a class from 1 on, in their order; class 0 is none, which fills strings up.

    ``alphabet`` is selfies or smiles, ``length`` the number of places of a sample, ``properties`` the numbers that a
    molecule may be asked for by.
    """

    alphabet: str
    tokens: tuple[str, ...]
    length: int
    properties: tuple[Property, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.tokens) + 1

    def property_of(self, name: str) -> Property:
        """The property of that name; InputError with the nearest one."""
        for known in self.properties:
            if name in (known.name, known.key):
                return known
        raise unknown("property of these molecules", name, [known.name for known in self.properties])

    def encode(self, smiles: Sequence[str]) -> Tensor:
        """The classes of molecules, int64 (rows, length); InputError for unknown tokens and for what is too long."""
        return self.numbered([tokens_of(one, self.alphabet) for one in smiles])

    def numbered(self, strings: Sequence[Sequence[str]]) -> Tensor:
        """The same of strings that have been cut into tokens."""
        table = {token: place for place, token in enumerate(self.tokens, 1)}
        state = torch.zeros(len(strings), self.length, dtype=torch.int64)
        for row, tokens in enumerate(strings):
            if astray := [token for token in tokens if token not in table]:
                known = ", ".join(self.tokens)
                raise InputError(f"{''.join(tokens)}: the token {astray[0]!r} is not among those known, {known}")
            if len(tokens) > self.length:
                raise InputError(f"{''.join(tokens)}: it has {len(tokens)} tokens, and {self.length} have place")
            state[row, : len(tokens)] = torch.tensor([table[token] for token in tokens])
        return state

    def shown(self, state: Tensor, hidden: str = "") -> list[list[str]]:
        """The tokens of each sample, clean or noisy, without the empty ones; ``hidden`` stands for a masked one."""
        codes = state.detach().cpu().numpy()
        if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
            raise InputError(f"strings are int64 of shape (samples, places); seen {state.dtype} {tuple(state.shape)}")
        named = ["", *self.tokens, hidden]
        found = [[named[min(code, self.classes)] for code in row] for row in codes.clip(min=0).tolist()]
        return [[token for token in row if token] for row in found]

    def decode(self, state: Tensor) -> list[str]:
        """The canonical SMILES of each sample; empty for a string that is no molecule."""
        return [smiles_of_tokens(row, self.alphabet) for row in self.shown(state)]

    def record(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "alphabet": self.alphabet,
            "tokens": list(self.tokens),
            "length": self.length,
            "properties": [vars(known) for known in self.properties],
        }


def restore(record: Mapping[str, Any]) -> StringEncoding:
    """The encoding that ``record`` was made of."""
    known = tuple(Property(**one) for one in record["properties"])
    return StringEncoding(str(record["alphabet"]), tuple(record["tokens"]), int(record["length"]), known)
