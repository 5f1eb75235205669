"""Rotations as turned axes to look at, and as quaternions or matrices on disk."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.domains.delimited import csv_text, npy_bytes, write_whole
from unstir.domains.rotations.encoding import RotationEncoding
from unstir.processes import quaternions

_KINDS = ("csv", "npy")
_COLOURS = ((213, 94, 0), (0, 158, 115), (0, 114, 178))
# seen from above, to the front and the right: where x, y and z point in the picture
_VIEW = np.array([[0.78, -0.36], [0.62, 0.45], [0.0, 0.82]])


def draw_rotations(
    encoding: RotationEncoding, state: Tensor, columns: int | None = None, scale: int | None = None, padding: int = 4
) -> np.ndarray:
    """Each rotation as the axes x, y, z (red, green, blue) that it turns; uint8 (height, width, 3).

    columns: rows of rotations beside each other; scale: the side of one in pixels.
    """
    from PIL import Image, ImageDraw

    matrices = quaternions.to_matrix(quaternions.from_matrix(state.detach().cpu())).numpy()
    count, rotations = matrices.shape[:2]
    columns = min(columns or max(1, math.isqrt(max(1, count // rotations))), count)
    size = scale or 48
    if columns < 1 or size < 8 or padding < 0:
        raise InputError(f"columns {columns}, scale {size}, padding {padding}: 1, 8 and 0 are the least")
    wide, tall = rotations * size + 2 * padding, size + 2 * padding
    picture = Image.new("RGB", (columns * wide, -(-count // columns) * tall), "white")
    pen = ImageDraw.Draw(picture)
    for row in range(count):
        for place in range(rotations):
            x = (row % columns) * wide + padding + place * size + size / 2
            y = (row // columns) * tall + padding + size / 2
            ends = matrices[row, place].T @ _VIEW * (size / 2 - 2)
            # the axis that points away from the viewer first, so that nearer ones cover it
            for axis in np.argsort(matrices[row, place].T @ [0.55, -0.65, 0.5]):
                pen.line((x, y, x + ends[axis, 0], y - ends[axis, 1]), fill=_COLOURS[axis], width=2)
    return np.asarray(picture)


def write_rotations(
    encoding: RotationEncoding,
    state: Tensor,
    folder: str | Path,
    labels: Any = None,
    first: int = 0,
    kind: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the samples ``first``, ``first + 1``, ... as the data were written; returns the file.

    kind: ``csv``, one row a sample with four or nine columns a rotation (else), or ``npy``. A file of other content is
    never replaced unless ``overwrite``: InputError.
    """
    kind = kind or "csv"
    if kind not in _KINDS:
        raise unknown("kind of file of rotations", kind, _KINDS)
    values = encoding.decode(state)
    path = Path(folder) / f"samples-{first:06d}.{kind}"
    if kind == "npy":
        return [write_whole(path, npy_bytes(values), overwrite)]
    order = "xyzw" if encoding.scalar == "last" else "wxyz"
    own = [f"q{part}" for part in order]
    if encoding.form == "matrix":
        own = [f"r{row}{column}" for row in "123" for column in "123"]
    several = [f"{name}_{place}" for place in range(1, encoding.count + 1) for name in own]
    names = own if encoding.count == 1 else several
    flat = values.reshape(len(values), -1)
    columns = {name: [f"{number:.8f}" for number in column] for name, column in zip(names, flat.T, strict=True)}
    return [write_whole(path, csv_text(columns).encode(), overwrite)]
