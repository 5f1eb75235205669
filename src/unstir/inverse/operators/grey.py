"""Colour seen as grey: what colourisation knows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, suggest
from unstir.inverse.operators.separable import SeparableOperator
from unstir.inverse.operators.shapes import sample_shape

__all__ = ["GreyOperator"]

_WEIGHTS = {
    "rec601": (0.299, 0.587, 0.114),
    "rec709": (0.2126, 0.7152, 0.0722),
}


@dataclass(frozen=True, eq=False)
class GreyOperator(SeparableOperator):
    """The weighted sum of the channels, (1, height, width): a picture's grey, an instrument's total.

    ``weights`` is "rec709" (today's screens), "rec601" (JPEG and older video), "mean", or one number a channel. The
    sum is taken of the values as they are stored, so of luma, not of light. Raises InputError for weights that do not
    fit the channels, or are all zero.

    Reference: ITU-R Recommendations BT.601-7 and BT.709-6, item 3 of the signal formats.
    """

    shape: tuple[int, ...]
    weights: Any = "rec709"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "a picture", (1, 2, 3)))
        if len(self.shape) < 2:
            raise InputError(f"grey is made of channels, (channels, ..., width); seen the shape {self.shape}")
        object.__setattr__(self, "_row", torch.tensor(self._numbers(), dtype=torch.float64)[None])

    def _numbers(self) -> list[float]:
        channels, weights = self.shape[0], self.weights
        if weights == "mean":
            return [1 / channels] * channels
        if isinstance(weights, str) and weights not in _WEIGHTS:
            raise InputError(f"unknown weights {weights!r}; {suggest(weights, (*_WEIGHTS, 'mean'))}")
        given = _WEIGHTS[weights] if isinstance(weights, str) else weights
        try:
            numbers = [float(value) for value in given]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"weights are numbers, or one of {', '.join((*_WEIGHTS, 'mean'))}; seen {given!r}"
            ) from error
        if len(numbers) != channels or not all(map(math.isfinite, numbers)) or not any(numbers):
            raise InputError(f"one finite weight a channel is needed, {channels} of them, not all zero; seen {numbers}")
        return numbers

    @cached_property
    def factors(self) -> Mapping[int, Tensor]:
        """The weights, along the channels."""
        return {0: self._row}  # type: ignore[attr-defined]

    @classmethod
    def examples(cls) -> Mapping[str, "GreyOperator"]:
        """The named weights, and others."""
        return {
            "Rec. 709": cls((3, 3, 4)),
            "Rec. 601": cls((3, 2, 2), "rec601"),
            "mean of two": cls((2, 5), "mean"),
            "others": cls((4, 2, 3), [0.5, -1.0, 2.0, 0.0]),
        }
