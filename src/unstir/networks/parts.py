"""What a network sees of a joint state whose parts reach it each by itself."""

from typing import NamedTuple

from unstir.core.errors import unknown

KINDS = ("points", "sites", "nodes", "pairs", "whole")


class Part(NamedTuple):
    """One part of a joint state: its ``kind``, the numbers seen, and those to be told, along the last axis.

    - ``points`` (batch, n, d): places in space, about unit variance, their centre at zero; the answer turns with them
      and does not change when all are moved. ``outputs`` is d for each vector that is told.
    - ``sites`` (batch, n, d): fractional coordinates in [0, 1) of a periodic cell; the answer depends on their
      differences modulo one alone.
    - ``nodes`` (batch, n, a): numbers of each element of the set; ``pairs`` (batch, n, n, a): of each two, symmetric;
      ``whole`` (batch, a): of the set as a whole. All of them are invariant, and so are the answers.

    A part without ``outputs`` is only seen. A network that takes parts has the class attribute ``takes = "parts"``, is
    built with a mapping of names to these, and called with a mapping of names to tensors, which it answers likewise.
    """

    kind: str
    inputs: int
    outputs: int


def checked_parts(parts: dict[str, Part], allowed: tuple[str, ...] = KINDS) -> dict[str, Part]:
    """The parts as they are; InputError for a kind that is not ``allowed``."""
    for name, part in parts.items():
        if part.kind not in allowed:
            raise unknown(f"kind of part for this network ({name!r}):", part.kind, allowed)
    return parts
