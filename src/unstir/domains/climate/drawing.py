"""Samples as one picture: maps in colour, lines along one axis, strips of histograms for single numbers."""

import math

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.rows import evenly

_SIDE = 96  # pixels of the longer side of a small map
_LINE = 16  # pixels of a line of text
_WIDTH, _HEIGHT = 180, 64  # of a panel of lines or bars
_INK, _MUTED, _RULE, _LINES = (
    (33, 30, 27),
    (113, 106, 98),
    (222, 216, 206),
    ((0, 114, 178), (213, 94, 0), (0, 158, 115)),
)
_ABSENT = 214  # the grey of missing values
_MOST = 64


def draw_climate(
    encoding: ClimateEncoding, state: Tensor, columns: int | None = None, scale: int | None = None, padding: int = 6
) -> np.ndarray:
    """Samples in their units as one picture, uint8 (height, width, 3), the first 64 of them.

    Of data along two axes or more, each sample is a row of maps, one for each channel and each place along the axes
    before the last two, north above; the colours of a channel go from its 1st to its 99th percentile, as is written
    above. Along one axis each sample is a panel of lines, without axes all are one histogram for each channel.

    columns: how many samples stand beside each other; scale: enlargement of maps by whole pixels.
    """
    if padding < 0 or (scale is not None and scale < 1) or (columns is not None and columns < 1):
        raise InputError(f"columns {columns}, scale {scale}, padding {padding}: 1, 1 and 0 are the least")
    if tuple(state.shape[1:]) != encoding.layout.shape:
        raise InputError(f"states of shape {tuple(state.shape[1:])}, but this data has {encoding.layout.shape}")
    values = encoding.decode(state)
    axes = len(encoding.layout.axes)
    if axes == 0:
        return _histograms(encoding, values, padding)
    values = values[:_MOST]
    if axes == 1:
        return _lines(encoding, values, columns, padding)
    return _maps(encoding, values, columns, scale, padding)


def _maps(
    encoding: ClimateEncoding, values: np.ndarray, columns: int | None, scale: int | None, padding: int
) -> np.ndarray:
    import matplotlib

    latitude = encoding.layout.names[-2] == "latitude"
    values = values[..., ::-1, :] if latitude else values
    ranges = [_range(values[:, place], 1.0, 99.0) for place in range(values.shape[1])]
    height, width = values.shape[-2:]
    # as many places along further axes as a row can show
    further = values.reshape(*values.shape[:2], -1, height, width)
    shown = evenly(further.shape[2], 8)
    further = further[:, :, shown]
    enlarged = scale or max(1, round(_SIDE / max(height, width)))
    colours = matplotlib.colormaps["viridis"]
    blocks = []
    for sample in further:
        row = []
        for (low, high), channel in zip(ranges, sample, strict=True):
            for field in channel:
                picture = (colours((field - low) / (high - low))[..., :3] * 255).round().astype(np.uint8)
                picture[np.isnan(field)] = _ABSENT
                row.append(_framed(picture.repeat(enlarged, 0).repeat(enlarged, 1), 1))
        blocks.append(np.concatenate(row, 1))
    grid = _grid(blocks, columns, padding)
    names = [
        f"{each.name} {low:.4g} to {high:.4g} {each.unit}"
        for each, (low, high) in zip(encoding.layout.quantities, ranges, strict=True)
    ]
    return _headed(grid, names, padding)


def _lines(encoding: ClimateEncoding, values: np.ndarray, columns: int | None, padding: int) -> np.ndarray:
    """A panel for each sample; its channels one above the other, each on the range that all samples share."""
    from PIL import Image, ImageDraw

    ranges = [_range(values[:, place], 0.0, 100.0) for place in range(values.shape[1])]
    blocks = []
    for sample in values:
        picture = Image.new("RGB", (_WIDTH, _HEIGHT * len(ranges)), "white")
        pen = ImageDraw.Draw(picture)
        for place, ((low, high), series) in enumerate(zip(ranges, sample, strict=True)):
            top = place * _HEIGHT
            pen.line([(0, top + _HEIGHT - 1), (_WIDTH, top + _HEIGHT - 1)], fill=_RULE)
            along = np.linspace(2, _WIDTH - 3, len(series)) if len(series) > 1 else np.array([_WIDTH / 2])
            up = top + 3 + (_HEIGHT - 7) * (1 - (series - low) / (high - low))
            for piece in np.split(np.arange(len(series)), np.flatnonzero(np.isnan(series))):
                points = [(float(along[each]), float(up[each])) for each in piece if not np.isnan(series[each])]
                if len(points) > 1:
                    pen.line(points, fill=_LINES[place % len(_LINES)], width=1)
                elif points:
                    pen.point(points, fill=_LINES[place % len(_LINES)])
        blocks.append(np.asarray(picture))
    axis = encoding.layout.axes[0]
    names = [
        f"{each.name} {low:.4g} to {high:.4g} {each.unit}"
        for each, (low, high) in zip(encoding.layout.quantities, ranges, strict=True)
    ]
    return _headed(_grid(blocks, columns, padding), [*names, f"along {axis.name} {axis.unit}".strip()], padding)


def _histograms(encoding: ClimateEncoding, values: np.ndarray, padding: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    blocks = []
    for place, quantity in enumerate(encoding.layout.quantities):
        low, high = _range(values[:, place], 0.0, 100.0)
        known = values[:, place][~np.isnan(values[:, place])]
        counts, _ = np.histogram(known, min(60, max(5, round(math.sqrt(max(1, len(known)))) * 2)), (low, high))
        picture = Image.new("RGB", (2 * _WIDTH, _HEIGHT), "white")
        pen = ImageDraw.Draw(picture)
        edges = np.linspace(2, 2 * _WIDTH - 3, len(counts) + 1)
        for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
            tall = (_HEIGHT - 4) * count / max(1, counts.max())
            if count:
                pen.rectangle([left, _HEIGHT - 2 - tall, right - 1, _HEIGHT - 2], fill=_LINES[place % len(_LINES)])
        pen.line([(0, _HEIGHT - 1), (2 * _WIDTH, _HEIGHT - 1)], fill=_MUTED)
        text = f"{quantity.name} {low:.4g} to {high:.4g} {quantity.unit}, {len(known)} samples"
        blocks.append(_headed(np.asarray(picture), [text], 0))
    return _grid(blocks, 1, padding)


def _range(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    first, last = (float(each) for each in np.percentile(known, (low, high)))
    return (first, last) if last > first else (first - 0.5, first + 0.5)


def _grid(blocks: list[np.ndarray], columns: int | None, padding: int) -> np.ndarray:
    height, width = blocks[0].shape[:2]
    beside = columns or max(1, round(math.sqrt(len(blocks) * height / width)))
    beside = min(beside, len(blocks))
    rows = -(-len(blocks) // beside)
    grid = np.full((rows * (height + padding) + padding, beside * (width + padding) + padding, 3), 255, np.uint8)
    for number, block in enumerate(blocks):
        top, left = padding + number // beside * (height + padding), padding + number % beside * (width + padding)
        grid[top : top + height, left : left + width] = block
    return grid


def _framed(picture: np.ndarray, edge: int) -> np.ndarray:
    return np.pad(picture, ((0, 0), (0, edge), (0, 0)), constant_values=255)


def _headed(picture: np.ndarray, texts: list[str], padding: int) -> np.ndarray:
    """The picture under lines of text."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(11)
    wide = max(picture.shape[1], *(math.ceil(font.getlength(text)) + 2 * padding + 2 for text in texts))
    head = Image.new("RGB", (wide, _LINE * len(texts) + padding), "white")
    pen = ImageDraw.Draw(head)
    for number, text in enumerate(texts):
        pen.text((padding + 1, padding + number * _LINE), text, fill=_INK if number == 0 else _MUTED, font=font)
    body = np.full((picture.shape[0], wide, 3), 255, np.uint8)
    body[:, : picture.shape[1]] = picture
    return np.concatenate((np.asarray(head), body))
