"""What operators know of shapes: channels first, then the axes of space."""

from collections.abc import Sequence
from typing import Any

from unstir.core.errors import InputError


def sample_shape(shape: Any, what: str, space: Sequence[int] | None = None) -> tuple[int, ...]:
    """The shape of one sample as whole numbers; ``space`` says how many axes of space are allowed.

    A sample of one axis is all space; with more, the first axis holds channels: of pictures, volumes, sequences.
    """
    try:
        sides = tuple(int(side) for side in shape)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the shape of a sample is whole numbers, (channels, height, width) say; seen {shape}"
        ) from error
    if not sides or min(sides) < 1 or sides != tuple(shape):
        raise InputError(f"the shape of a sample is one positive whole number or more; seen {tuple(shape)}")
    if space is not None and len(space_of(sides)) not in space:
        raise InputError(
            f"{what} has {' or '.join(str(number) for number in space)} axes of space, behind one of channels; "
            f"seen the shape {sides}"
        )
    return sides


def space_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sides in space."""
    return shape if len(shape) == 1 else shape[1:]


def channels_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The number of channels, or nothing where there is no such axis."""
    return shape[: len(shape) - len(space_of(shape))]


def at_least(value: Any, least: int, what: str) -> int:
    """A whole number that is large enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{what} is a whole number of at least {least}; seen {value!r}")
    return value
