"""Angles as dials to look at, and as tables on disk."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.domains.angles.encoding import AngleEncoding
from unstir.domains.angles.statistics import as_columns
from unstir.domains.delimited import csv_text, npy_bytes, write_whole

_KINDS = ("csv", "npy")


def draw_angles(
    encoding: AngleEncoding, state: Tensor, columns: int | None = None, scale: int | None = None, padding: int = 6
) -> np.ndarray:
    """Each row of angles as dials side by side, zero to the right and counted anticlockwise; uint8 (height, width, 3).

    columns: rows of angles beside each other; scale: a dial's diameter in pixels.
    """
    from PIL import Image, ImageDraw

    turns = encoding.encode(encoding.decode(state)).double().numpy()
    count, angles = turns.shape
    columns = min(columns or max(1, math.isqrt(max(1, count // angles))), count)
    size = scale or 40
    if columns < 1 or size < 8 or padding < 0:
        raise InputError(f"columns {columns}, scale {size}, padding {padding}: 1, 8 and 0 are the least")
    wide, tall = angles * size + 2 * padding, size + 2 * padding
    picture = Image.new("RGB", (columns * wide, -(-count // columns) * tall), "white")
    pen = ImageDraw.Draw(picture)
    for row in range(count):
        left, top = (row % columns) * wide + padding, (row // columns) * tall + padding
        for angle in range(angles):
            x, y, radius = left + angle * size + size / 2, top + size / 2, size / 2 - 2
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(200, 196, 190))
            turn = 2 * math.pi * turns[row, angle]
            end = (x + radius * math.cos(turn), y - radius * math.sin(turn))
            pen.line((x, y, *end), fill=(181, 64, 28), width=2)
    return np.asarray(picture)


def write_angles(
    encoding: AngleEncoding,
    state: Tensor,
    folder: str | Path,
    labels: Any = None,
    first: int = 0,
    kind: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the samples ``first``, ``first + 1``, ... in the data's own unit, one row a sample; returns the file.

    kind: ``csv`` with the names of the angles (else), or ``npy``, float64 (rows, angles). A file of other content is
    never replaced unless ``overwrite``: InputError.
    """
    kind = kind or "csv"
    if kind not in _KINDS:
        raise unknown("kind of file of angles", kind, _KINDS)
    values = encoding.decode(state)
    path = Path(folder) / f"samples-{first:06d}.{kind}"
    csv = kind == "csv"
    content = csv_text(as_columns(values, encoding.names)).encode() if csv else npy_bytes(values)
    return [write_whole(path, content, overwrite)]
