"""Pictures of pictures: a grid to look at, and PNG bytes to put into a page."""

import io
import math

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.images.encoding import ImageEncoding

_TARGET = 64  # pixels on the page for the side of one small picture
_GAP = 255


def displayed(encoding: ImageEncoding, state: Tensor) -> np.ndarray:
    """Encoded pictures as uint8 (batch, height, width, 3 or 4), the data's range from black to white.

    One channel is grey, three are red, green and blue, four have opacity too; any other number is drawn as grey
    panels beside each other.
    """
    if tuple(state.shape[1:]) != encoding.shape:
        raise InputError(f"pictures of shape {tuple(state.shape[1:])}, but this data has {encoding.shape}")
    levels = (state.detach().to("cpu", torch.float32).clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8)
    if levels.shape[1] not in (1, 3, 4):
        levels = levels.movedim(1, 2).flatten(2)[:, None]
    levels = levels.expand(-1, max(3, levels.shape[1]), -1, -1)
    return np.ascontiguousarray(levels.movedim(1, -1).numpy())


def picture_grid(
    images: np.ndarray, columns: int | None = None, scale: int | None = None, padding: int = 2
) -> np.ndarray:
    """Pictures in rows and columns on white, each pixel enlarged to a square without smoothing.

    images: uint8 (n, height, width) or (n, height, width, 1, 3 or 4).
    columns: else as many as make the grid about square.
    scale: whole enlargement; else so that a picture's side comes to about 64 pixels.
    padding: white pixels around each picture.

    Returns uint8 (rows, columns, 3), or 4 channels with opacity.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not len(images) or images.dtype != np.uint8 or images.shape[-1] not in (1, 3, 4):
        raise InputError(
            f"a grid is drawn from uint8 (n, height, width[, 1, 3 or 4]), seen {images.dtype} {images.shape}"
        )
    if images.shape[-1] == 1:
        images = images.repeat(3, -1)
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    scale = scale or max(1, round(_TARGET / max(height, width)))
    if columns < 1 or scale < 1 or padding < 0:
        raise InputError(f"columns {columns}, scale {scale}, padding {padding}: 1, 1 and 0 are the least")
    rows = -(-count // columns)
    tall, wide = height * scale + padding, width * scale + padding
    grid = np.full((rows * tall + padding, columns * wide + padding, channels), _GAP, np.uint8)
    for number, picture in enumerate(images.repeat(scale, 1).repeat(scale, 2)):
        top, left = (number // columns) * tall + padding, (number % columns) * wide + padding
        grid[top : top + height * scale, left : left + width * scale] = picture
    return grid


def draw_images(
    encoding: ImageEncoding, state: Tensor, columns: int | None = None, scale: int | None = None, padding: int = 2
) -> np.ndarray:
    """Encoded pictures (batch, channels, height, width) as one grid, uint8 (rows, columns, 3 or 4)."""
    return picture_grid(displayed(encoding, state), columns, scale, padding)


def to_png_bytes(picture: np.ndarray) -> bytes:
    """A uint8 picture (height, width[, 3 or 4]) as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
