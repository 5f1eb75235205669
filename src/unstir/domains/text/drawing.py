"""Text as a picture, for whatever can only show pictures."""

import math

import numpy as np
from torch import Tensor

from unstir.domains.text.encoding import TextEncoding

_WIDE = 40  # characters of a line
_CELL = (8, 15)  # pixels of a character, across and down
_MARGIN = 6
_LINE_END = "¶"


def draw_text(
    encoding: TextEncoding, state: Tensor, columns: int | None = None, wide: int = _WIDE, hidden: str = "·"
) -> np.ndarray:
    """Samples, clean or noisy, in panels of ``wide`` characters a line; uint8 (height, width, 3), black on white.

    Each character has a cell of its own, in Pillow's default font. What is still masked is drawn as ``hidden``.
    """
    from PIL import Image, ImageDraw, ImageFont

    texts = [wrapped(text, wide, _LINE_END) for text in encoding.show(state, hidden)]
    count = len(texts)
    columns = min(columns or max(1, math.isqrt(count)), max(count, 1))
    high = max((len(lines) for lines in texts), default=1)
    panel = (wide * _CELL[0] + 2 * _MARGIN, high * _CELL[1] + 2 * _MARGIN)
    rows = max(1, -(-count // columns))
    picture = Image.new("RGB", (columns * panel[0], rows * panel[1]), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for number, lines in enumerate(texts):
        left, top = number % columns * panel[0], number // columns * panel[1]
        pen.rectangle((left, top, left + panel[0] - 1, top + panel[1] - 1), outline="#c8c2b8")
        for down, line in enumerate(lines):
            for across, character in enumerate(line):
                place = (left + _MARGIN + across * _CELL[0], top + _MARGIN + down * _CELL[1])
                # the default font may be Pillow's old one, which knows Latin-1 alone
                shown = character if character.isprintable() else "?"
                try:
                    pen.text(place, shown, fill="#211e1b", font=font)
                except UnicodeEncodeError:
                    pen.text(place, "?", fill="#211e1b", font=font)
    return np.asarray(picture)


def wrapped(text: str, wide: int, line_end: str = "⏎") -> list[str]:
    """A text in lines of ``wide`` characters, whose own line ends are shown as ``line_end``; nothing is left out."""
    shown = text.replace("\n", line_end)
    return [shown[start : start + wide] for start in range(0, len(shown), wide)] or [""]
