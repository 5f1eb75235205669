"""PNG files of 16 bits a channel, read and written whole: Pillow rounds colour of this depth to 8 bits."""

import io
import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels
_CHANNELS = {colour: channels for channels, colour in _COLOUR_TYPES.items()}


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture (height, width[, channels]) of uint8 or uint16 and 1, 3 or 4 channels as the bytes of a PNG file."""
    picture = picture[..., None] if picture.ndim == 2 else picture
    height, width, channels = picture.shape
    if picture.dtype == np.uint8:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(picture[..., 0] if channels == 1 else picture).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    lines = picture.astype(">u2").reshape(height, -1).view(np.uint8).reshape(height, -1)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), lines], 1).tobytes()
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(unfiltered, 6)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in parts)


def deep_colour(header: bytes) -> bool:
    """Whether a file that starts with these (at least 26) bytes is a PNG of 16 bits and more than one channel."""
    return header.startswith(_SIGNATURE) and len(header) > 25 and header[24] == 16 and header[25] in (2, 4, 6)


def read_deep_png(content: bytes) -> np.ndarray:
    """The pixels of a PNG file of 16 bits a channel, uint16 (height, width, channels).

    Raises ValueError for a file that is damaged, or interlaced.

    Reference: PNG specification, third edition (W3C 2025), sections 5 (chunks) and 9 (filtering).
    """
    chunks, place = [], len(_SIGNATURE)
    while place < len(content):
        if place + 12 > len(content):
            raise ValueError("the file ends within a chunk")
        (size,), name = struct.unpack(">I", content[place : place + 4]), content[place + 4 : place + 8]
        if content[place : place + size + 12] != _chunk(name, content[place + 8 : place + 8 + size]):
            raise ValueError(f"chunk {name!r} is damaged")
        chunks.append((name, content[place + 8 : place + 8 + size]))
        place += size + 12
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 16 or interlaced:
        raise ValueError("interlaced" if interlaced else f"{depth} bits a channel")
    channels = _CHANNELS[colour]
    try:
        lines = zlib.decompress(b"".join(part for name, part in chunks if name == b"IDAT"))
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(lines) != height * (1 + 2 * width * channels):
        raise ValueError(f"{len(lines)} bytes of pixels")
    table = np.frombuffer(lines, np.uint8).reshape(height, -1)
    pixels = _unfilter(table[:, 1:].reshape(height, width, 2 * channels), table[:, 0])
    return pixels.reshape(height, -1).view(">u2").astype(np.uint16).reshape(height, width, channels)


def _unfilter(stored: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Undoes the filter of each line, uint8 (height, width, bytes of a pixel).

    A pixel depends on those to its left, above, and above left, so all pixels of one anti-diagonal are
    independent of each other: height + width steps instead of height · width.
    """
    if kinds.max() > 4:
        raise ValueError(f"filter {kinds.max()}")
    height, width, size = stored.shape
    pixels = np.zeros((height + 1, width + 1, size), np.int16)  # one line and column of zeros before the first
    for diagonal in range(height + width - 1):
        rows = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        columns = diagonal - rows
        left, above, corner = pixels[rows + 1, columns], pixels[rows, columns + 1], pixels[rows, columns]
        to_left, to_above, to_corner = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
        nearest = np.where(
            (to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, corner)
        )
        guesses = np.stack([np.zeros_like(left), left, above, (left + above) // 2, nearest])
        guess = guesses[kinds[rows], np.arange(len(rows))]
        pixels[rows + 1, columns + 1] = (stored[rows, columns] + guess) & 255
    return np.ascontiguousarray(pixels[1:, 1:].astype(np.uint8))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
