"""Masks with a name: at random, by lines, and the middle alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.operators.shapes import at_least, sample_shape, space_of

__all__ = ["columns", "outside", "random_mask", "rows"]


def random_mask(shape: Sequence[int], share: float | int = 0.5, seed: int = 0, together: bool = True) -> MaskOperator:
    """A mask that shows a share of the places, chosen at random.

    The number seen is ``share`` of the places, rounded, and one at least; the same ``seed`` chooses the same places.
    ``together`` shows a place in all channels or in none.
    """
    shape = sample_shape(shape, "a random mask")
    if not 0 < share <= 1:
        raise InputError(f"a random mask shows a share of the places, above 0 and at most 1; seen {share}")
    sides = space_of(shape) if together else shape
    drawn = Seeds.range(seed, 1).at("random mask").uniform(sides)[0].flatten()
    seen = torch.zeros(len(drawn), dtype=torch.bool)
    seen[drawn.argsort()[: max(1, round(share * len(drawn)))]] = True
    return MaskOperator(shape, seen.reshape(sides))


def rows(shape: Sequence[int], every: int = 2, first: int = 0) -> MaskOperator:
    """A mask that shows some rows of a picture: interlaced lines, a slow scanner.

    One row in ``every`` is seen, from row ``first`` on.
    """
    return _lines(shape, -2, every, first)


def columns(shape: Sequence[int], every: int = 2, first: int = 0) -> MaskOperator:
    """A mask that shows some columns of a picture, or elements of a sequence.

    One column in ``every`` is seen, from column ``first`` on.
    """
    return _lines(shape, -1, every, first)


def outside(shape: Sequence[int], seen: float | int = 0.5) -> MaskOperator:
    """A mask that hides all but the middle: what outpainting continues.

    The middle has the share ``seen`` of each side. Raises InputError for a share that leaves nothing to see or to hide.
    """
    shape = sample_shape(shape, "outpainting")
    sides = space_of(shape)
    kept = [round(seen * side) for side in sides]
    if not all(0 < size < side for size, side in zip(kept, sides, strict=True)):
        raise InputError(f"the middle takes a share of each side between 0 and 1; seen {seen} of {sides}")
    middle = torch.zeros(sides, dtype=torch.bool)
    middle[
        tuple(slice((side - size) // 2, (side - size) // 2 + size) for size, side in zip(kept, sides, strict=True))
    ] = True
    return MaskOperator(shape, middle)


def _lines(shape: Sequence[int], axis: int, every: int, first: int) -> MaskOperator:
    shape = sample_shape(shape, "a mask of lines")
    sides = space_of(shape)
    if len(sides) < -axis:
        raise InputError(f"rows are those of a picture, (..., height, width); seen the shape {shape}")
    at_least(every, 1, "the distance of the lines")
    if not 0 <= first < sides[axis]:
        raise InputError(f"the first line seen is one of 0 to {sides[axis] - 1}; seen {first}")
    lines = torch.zeros(sides[axis], dtype=torch.bool)
    lines[first::every] = True
    return MaskOperator(shape, _across(lines, sides, axis))


def _across(lines: Tensor, sides: tuple[int, ...], axis: int) -> Tensor:
    return lines.reshape([len(lines) if place == len(sides) + axis else 1 for place in range(len(sides))]).expand(sides)


random_mask.examples = lambda: {  # type: ignore[attr-defined]
    "half": random_mask((2, 4, 5)),
    "few, channel by channel": random_mask((2, 7), 0.2, seed=3, together=False),
}
rows.examples = lambda: {"each second": rows((1, 5, 4)), "each third": rows((2, 6, 3), 3, 1)}  # type: ignore[attr-defined]
columns.examples = lambda: {"each second": columns((1, 4, 5)), "of a sequence": columns((2, 7), 3, 2)}  # type: ignore[attr-defined]
outside.examples = lambda: {"picture": outside((1, 6, 7)), "volume": outside((1, 4, 4, 4))}  # type: ignore[attr-defined]
