"""Fewer elements than there were: what super-resolution knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from unstir.core.errors import InputError, suggest
from unstir.inverse.operators.resampling import average, bicubic, filtered, lanczos, subsample
from unstir.inverse.operators.separable import SeparableOperator
from unstir.inverse.operators.shapes import at_least, channels_of, sample_shape, space_of

__all__ = ["DownsampleOperator"]

_FILTERS = {
    "average": average,
    "bicubic": lambda size, factor: filtered(size, factor, bicubic),
    "lanczos": lambda size, factor: filtered(size, factor, lanczos),
    "subsample": subsample,
}


@dataclass(frozen=True, eq=False)
class DownsampleOperator(SeparableOperator):
    """Every side in space shorter by ``factor``: a coarse picture, volume or series.

    ``filter`` is "average" (means of blocks, a detector with larger pixels), "bicubic" or "lanczos" (their kernels
    stretched by the factor, as picture programs shrink), or "subsample" (the first element of each block).
    Raises InputError where the factor does not divide a side.

    Reference: Keys, Cubic convolution interpolation for digital image processing (1981); Duchon, Lanczos filtering in
    one and two dimensions (1979).
    """

    shape: tuple[int, ...]
    factor: int = 2
    filter: str = "average"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "what is down-sampled"))
        at_least(self.factor, 1, "the factor of down-sampling")
        if self.filter not in _FILTERS:
            raise InputError(f"unknown filter {self.filter!r}; {suggest(str(self.filter), _FILTERS)}")
        if any(side % self.factor for side in space_of(self.shape)):
            raise InputError(
                f"the factor {self.factor} does not divide the sides {space_of(self.shape)}; "
                "crop, or take another factor"
            )

    @cached_property
    def factors(self) -> Mapping[int, Tensor]:
        """One matrix for each axis of space."""
        channels = len(channels_of(self.shape))
        sides = enumerate(space_of(self.shape))
        return {channels + axis: _FILTERS[self.filter](side, self.factor) for axis, side in sides}

    @classmethod
    def examples(cls) -> Mapping[str, "DownsampleOperator"]:
        """Each filter, on pictures, a volume and a series."""
        return {
            "average": cls((2, 6, 4)),
            "average of a volume": cls((1, 4, 4, 2), 2),
            "bicubic": cls((1, 8, 6), 2, "bicubic"),
            "lanczos by 3": cls((1, 9, 6), 3, "lanczos"),
            "subsample of a series": cls((12,), 3, "subsample"),
        }
