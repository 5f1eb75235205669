"""Rows of a table as text to look at, and as a table on disk with the columns that the data had."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.delimited import csv_text, write_whole
from unstir.domains.tables.encoding import TableEncoding

_MOST_ROWS = 200
_LINE, _SIGN = 14, 7  # pixels


def draw_tables(
    encoding: TableEncoding,
    state: Mapping[str, Tensor],
    columns: int | None = None,
    scale: int | None = None,
    padding: int = 6,
) -> np.ndarray:
    """The rows as a table of text, the first 200 of them; uint8 (height, width, 3).

    columns: how many columns of the table are shown at most, else all; scale: enlargement.
    """
    from PIL import Image, ImageDraw, ImageFont

    if padding < 0 or (scale is not None and scale < 1):
        raise InputError(f"padding {padding}, scale {scale}: 0 and 1 are the least")
    table = encoding.decode({name: part[:_MOST_ROWS] for name, part in state.items()})
    texts = [[name[:18], *(value[:18] for value in values)] for name, values in table.items()]
    widths = [max(map(len, column)) * _SIGN + _SIGN for column in texts]
    height = len(texts[0]) * _LINE + 2 * padding
    picture = Image.new("RGB", (sum(widths) + 2 * padding, height), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    left = padding
    for column, width in zip(texts, widths, strict=True):
        for row, text in enumerate(column):
            colour = (113, 106, 98) if row == 0 else (33, 30, 27)
            pen.text((left + width - _SIGN, padding + row * _LINE), text, fill=colour, font=font, anchor="ra")
        left += width
    if scale and scale > 1:
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    return np.asarray(picture)


def write_tables(
    encoding: TableEncoding,
    state: Mapping[str, Tensor],
    folder: str | Path,
    labels: Any = None,
    first: int = 0,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the samples ``first``, ``first + 1``, ... as CSV with the data's columns, levels and digits.

    A file of other content is never replaced unless ``overwrite``: InputError.
    """
    path = Path(folder) / f"samples-{first:06d}.csv"
    return [write_whole(path, csv_text(encoding.decode(state)).encode(), overwrite)]
