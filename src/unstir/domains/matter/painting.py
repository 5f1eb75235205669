"""Structures as pixels: balls and sticks painted far to near, and pictures beside each other."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.domains.matter.scene import Piece
from unstir.domains.matter.viewer import bounds

_FINER = 3  # drawn larger and brought down, for smooth edges


def painted(pieces: Sequence[Piece], size: int) -> np.ndarray:
    """A scene filling a square, uint8 (size, size, 3), on white."""
    from PIL import Image, ImageDraw

    low, high = bounds(pieces)
    wide = size * _FINER
    per = (wide - 4 * _FINER) / max(float((high - low).max()), 1.0)
    middle = (low + high) / 2
    image = Image.new("RGB", (wide, wide), "white")
    pen = ImageDraw.Draw(image)
    for piece in pieces:
        _paint(pen, piece, per, middle, wide)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def tiled(
    count: int, picture: Callable[[int], np.ndarray], size: int, columns: int | None = None, padding: int = 6
) -> np.ndarray:
    """``count`` pictures (size, size, 3) beside each other, row by row, uint8 (height, width, 3).

    Raises InputError for no pictures, and for sizes too small to see anything.
    """
    columns = min(columns or max(1, round(count**0.5)), max(count, 1))
    if not count or columns < 1 or size < 16 or padding < 0:
        raise InputError(
            f"{count} structures, columns {columns}, scale {size}, padding {padding}: 1, 1, 16 and 0 are the least"
        )
    step = size + 2 * padding
    found = np.full((-(-count // columns) * step, columns * step, 3), 255, dtype=np.uint8)
    for place in range(count):
        top, left = place // columns * step + padding, place % columns * step + padding
        found[top : top + size, left : left + size] = picture(place)
    return found


def _paint(pen: Any, piece: Piece, per: float, middle: np.ndarray, wide: int) -> None:
    (x, y), (u, v) = (
        (wide / 2 + (end[0] - middle[0]) * per, wide / 2 - (end[1] - middle[1]) * per)
        for end in (piece.start, piece.end)
    )
    tint = tuple(round(255 * min(max(part, 0.0), 1.0)) for part in piece.colour)
    width = piece.width * per
    if piece.kind == "ball":
        dark = tuple(round(0.72 * part) for part in tint)
        pen.ellipse((x - width, y - width, x + width, y + width), fill=tint, outline=dark, width=_FINER)
        # a glint, so that discs are seen as balls
        glint = tuple(round(part + 0.45 * (255 - part)) for part in tint)
        a, b, r = x - 0.3 * width, y - 0.34 * width, 0.3 * width
        pen.ellipse((a - r, b - r, a + r, b + r), fill=glint)
    else:
        pen.line((x, y, u, v), fill=tint, width=max(round(2 * width), _FINER))
