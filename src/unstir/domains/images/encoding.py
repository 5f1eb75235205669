"""Pictures in their own range and layout, to float32 (channels, height, width) in [-1, 1] and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError

LAYOUTS = ("hw", "hwc", "chw")
_CHANNELS = (1, 2, 3, 4)


@dataclass(frozen=True)
class ImageEncoding:
    r"""The invertible map :math:`x = 2 (v - low) / (high - low) - 1` of values :math:`v`, and the layout's change.

    low, high: the data's range; they go to -1 and 1.
    dtype: the data's own, as NumPy writes it (``"uint8"``).
    layout: of one sample: ``"hw"``, ``"hwc"`` or ``"chw"``.
    shape: (channels, height, width) of one encoded sample.
    bounded: whether values beyond the range mean nothing, so that ``decode`` clips them: for integers, and for
        real numbers whose range was stated rather than observed.
    label_names: the names of the classes, if there are any.
    """

    low: float | int
    high: float | int
    dtype: str
    layout: str
    shape: tuple[int, int, int]
    bounded: bool = True
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise InputError(
                f"pictures of range {self.low} to {self.high}: a least and a greater value are needed "
                "(are all pixels equal?); state it with `data.range=[low, high]`"
            )

    def encode(self, values: np.ndarray) -> Tensor:
        """Values (batch, \\*sample) in the data's own layout to float32 (batch, channels, height, width)."""
        if self.layout == "hw":
            values = values[:, None]
        elif self.layout == "hwc":
            values = np.moveaxis(values, -1, 1)
        scale = 2 / (self.high - self.low)
        # up to 16 bits float32 holds every level; wider numbers may have a large offset, to be taken off first
        exact = np.float32 if values.dtype.itemsize <= 2 else np.float64
        centred = np.multiply(values.astype(exact) - exact(self.low), exact(scale)) - exact(1)
        return torch.from_numpy(np.ascontiguousarray(centred, dtype=np.float32))

    def decode(self, state: Tensor) -> np.ndarray:
        """Encoded pictures (batch, channels, height, width) to the data's own range, dtype and layout.

        Integers are rounded to the nearest level.
        """
        if tuple(state.shape[1:]) != self.shape:
            raise InputError(f"pictures of shape {tuple(state.shape[1:])}, but this data has {self.shape}")
        values = state.detach().to("cpu", torch.float64).numpy()
        values = (values + 1) * ((self.high - self.low) / 2) + self.low
        if self.bounded:
            values = values.clip(self.low, self.high)
        if self.layout == "hw":
            values = values[:, 0]
        elif self.layout == "hwc":
            values = np.moveaxis(values, 1, -1)
        dtype = np.dtype(self.dtype)
        return np.ascontiguousarray(np.rint(values) if dtype.kind in "bui" else values).astype(dtype)

    def record(self) -> dict[str, Any]:
        """The encoding as plain values."""
        return {**asdict(self), "shape": list(self.shape), "label_names": list(self.label_names)}


def restore(record: Mapping[str, Any]) -> ImageEncoding:
    """The encoding that ``record()`` came from."""
    options: dict[str, Any] = {**record, "shape": tuple(record["shape"]), "label_names": tuple(record["label_names"])}
    return ImageEncoding(**options)


def find_layout(shape: Sequence[int], stated: Any, source: str) -> tuple[str, tuple[int, int, int]]:
    """The layout of one sample of this shape, and its (channels, height, width).

    Unless it is stated, the axis of one to four entries holds the channels.
    """
    if stated is not None and stated not in LAYOUTS:
        raise InputError(f"layout {stated!r}: allowed are {', '.join(LAYOUTS)}")
    if len(shape) not in (2, 3) or (stated and len(stated) != len(shape)):
        raise InputError(
            f"{source}: samples of shape {tuple(shape)}{f' with layout {stated!r}' if stated else ''} are not "
            "pictures; those are (height, width), (height, width, channels) or (channels, height, width)"
        )
    layout = stated or "hw"
    if len(shape) == 3 and not stated:
        first, last = shape[0] in _CHANNELS, shape[-1] in _CHANNELS
        if first == last:
            raise InputError(
                f"{source}: samples of shape {tuple(shape)}: which axis holds the channels? "
                "Say `data.layout=chw` or `data.layout=hwc`"
            )
        layout = "chw" if first else "hwc"
    height, width = (shape[layout.index(axis)] for axis in "hw")
    return layout, (shape[layout.index("c")] if "c" in layout else 1, height, width)


def find_range(dtype: np.dtype[Any], low: float | int, high: float | int) -> tuple[float, float, bool]:
    """The range to encode values of this dtype with, from the observed ``low`` and ``high``; and whether it binds.

    Booleans are 0 to 1. Unsigned integers of 8 and 16 bits are from 0 to their greatest value, unless no pixel
    comes to half of that (12 bits kept in 16, masks of 0 and 1): then from 0 to what was observed, as a picture
    that fills a sliver of [-1, 1] is hard to learn. All else is as observed, which binds integers only.
    """
    if dtype.kind == "b":
        return 0.0, 1.0, True
    if dtype.kind == "u" and dtype.itemsize <= 2:
        greatest = float(np.iinfo(dtype).max)
        return 0.0, greatest if high >= greatest / 2 else float(high), True
    return float(low), float(high), dtype.kind in "iu"
