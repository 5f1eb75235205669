"""PNG files with what was beside the pixels of another picture file: its colour profile, EXIF and resolution."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.core.files import write_whole
from unstir.formats.png import png_bytes

_AFTER_HEADER = 8 + 25  # the signature and the chunk IHDR
_EXIF_PREFIX = b"Exif\x00\x00"
_ORIENTATION = 0x0112
_METRES_PER_INCH = 0.0254


@dataclass(frozen=True)
class Keepsakes:
    """What a picture file holds beside its pixels: colour profile (ICC) and EXIF as they lie there, dots per inch."""

    profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None

    @classmethod
    def of(cls, info: Mapping[Any, Any], turned: bool = False) -> "Keepsakes":
        """From Pillow's ``info``; ``turned``: the pixels were turned as the EXIF said, whose orientation becomes 1."""
        exif = info.get("exif")
        if exif:
            exif = exif.removeprefix(_EXIF_PREFIX)
            exif = upright(exif) if turned else exif
        dpi = info.get("dpi")
        pair = (float(dpi[0]), float(dpi[1])) if dpi and dpi[0] > 0 and dpi[1] > 0 else None
        return cls(info.get("icc_profile") or None, exif or None, pair)


def png_with(picture: np.ndarray, keepsakes: Keepsakes) -> bytes:
    """A picture (height, width[, 3 or 4]) of uint8 or uint16 as the bytes of a PNG file with its keepsakes.

    Reference: PNG specification, third edition (W3C 2025), sections 11.3.2.3 (iCCP), 11.3.4.6 (eXIf), 11.3.4.3 (pHYs).
    """
    whole = png_bytes(picture)
    chunks = []
    if keepsakes.profile:
        chunks.append((b"iCCP", b"ICC profile\x00\x00" + zlib.compress(keepsakes.profile, 9)))
    if keepsakes.dpi:
        across, down = (round(dots / _METRES_PER_INCH) for dots in keepsakes.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if keepsakes.exif:
        chunks.append((b"eXIf", keepsakes.exif))
    made = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return whole[:_AFTER_HEADER] + made + whole[_AFTER_HEADER:]


def write_png(path: str | Path, picture: np.ndarray, keepsakes: Keepsakes) -> Path:
    """Writes it, whole or not at all. Raises InputError for a name that is not a PNG's."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: edited pictures are written as PNG, which loses nothing; name it {path.stem}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, png_with(picture, keepsakes))
    return path


def upright(exif: bytes) -> bytes:
    """The EXIF (a TIFF header and its directories) with the orientation 1, all else byte for byte.

    Reference: Exif 2.32 (CIPA 2019), section 4.5.2 and table 4.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return exif
        (place,) = struct.unpack(order + "I", exif[4:8])
        (count,) = struct.unpack(order + "H", exif[place : place + 2])
        for entry in range(count):
            first = place + 2 + 12 * entry
            if struct.unpack(order + "H", exif[first : first + 2]) == (_ORIENTATION,):
                return exif[: first + 8] + struct.pack(order + "HH", 1, 0) + exif[first + 12 :]
    except struct.error:  # a damaged directory is kept as it is: it says nothing that could be corrected
        return exif
    return exif
