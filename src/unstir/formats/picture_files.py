"""Picture files one by one: what they are, from their first bytes; and their pixels, in one mode and size."""

import io
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from unstir.core.errors import NotInstalledError
from unstir.formats.base import UnreadableError, some_of
from unstir.formats.png import deep_colour, read_deep_png

CHANNELS = {"grey": 1, "rgb": 3, "rgba": 4}  # in order: each goes into the next without loss
_DAMAGE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
_BITS = 258  # TIFF tag BitsPerSample


@dataclass(frozen=True)
class Kind:
    """What one file holds: its size, ``grey``, ``rgb`` or ``rgba``, and the dtype of its pixels."""

    height: int
    width: int
    mode: str
    dtype: str


def inspect_files(files: Sequence[Path]) -> tuple[list[Kind], dict[int, str]]:
    """The kind of every file, from its header alone; and what is wrong, by row, with those that have none."""
    kinds, problems = [], {}
    quiet = len(files) < 10_000 or not sys.stderr.isatty()
    for row, file in enumerate(tqdm(files, desc="looking at pictures", unit="file", disable=quiet, leave=False)):
        try:
            kinds.append(_kind(file))
        except _DAMAGE as error:
            problems[row] = _reason(file, error)
    return kinds, problems


def _kind(file: Path) -> Kind:
    with Image.open(file) as image:
        if getattr(image, "is_animated", False) and image.format != "MPO":
            count = getattr(image, "n_frames", "several")
            raise ValueError(f"{count} pictures in one file; save each in a file of its own")
        width, height = image.size
        if image.format in ("JPEG", "MPO", "WEBP") and image.getexif().get(ExifTags.Base.Orientation) in _TURNED:
            width, height = height, width
        mode, dtype = _mode(image)
        return Kind(height, width, mode, "uint16" if _is_deep(file, image) else dtype)


def _mode(image: Image.Image) -> tuple[str, str]:
    if image.mode in ("1", "L"):
        return ("rgba" if "transparency" in image.info else "grey"), "uint8"
    if image.mode.startswith("I;16"):
        return "grey", "uint16"
    if image.mode in ("I", "F"):
        return "grey", "int32" if image.mode == "I" else "float32"
    clear = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return ("rgba" if clear else "rgb"), "uint8"


def _is_deep(file: Path, image: Image.Image) -> bool:
    """Whether it holds colour of 16 bits, which Pillow would round to 8."""
    if image.format == "PNG":
        with file.open("rb") as start:
            return deep_colour(start.read(26))
    bits = getattr(image, "tag_v2", {}).get(_BITS, (8,))
    return len(bits) > 1 and max(bits) == 16


def _reason(file: Path, error: Exception) -> str:
    if not file.stat().st_size:
        return "the file is empty"
    return "not a picture" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())[:200]


class PictureRows:
    """The pixels of picture files as rows, decoded when asked for, several at once.

    mode, dtype, size: what all rows are brought to; shape (n, height, width), with 3 or 4 channels unless grey.
    """

    def __init__(
        self, files: Sequence[Path], names: Sequence[str], source: str, mode: str, dtype: str, size: tuple[int, int]
    ) -> None:
        self._files, self._names, self._source, self._mode, self._size = files, names, source, mode, size
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shape: tuple[int, ...] = (len(files), *size, *(() if mode == "grey" else (CHANNELS[mode],)))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        result = np.empty((len(rows), *self.shape[1:]), self.dtype)
        problems: dict[int, str] = {}

        def fill(place: int) -> None:
            row = int(rows[place])
            try:
                result[place] = self._picture(self._files[row])
            except _DAMAGE as error:
                problems[row] = _reason(self._files[row], error)

        workers = min(len(rows), os.cpu_count() or 1)
        if workers > 1:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(fill, range(len(rows))))
        elif workers:
            fill(0)
        if problems:
            damaged = sorted(problems)
            listed = some_of([self._names[row] for row in damaged[:5]], len(damaged))
            raise UnreadableError(damaged, problems[damaged[0]], f"{self._source}: {listed}")
        return result

    def _picture(self, file: Path) -> np.ndarray:
        pixels = picture_pixels(file)
        if pixels.dtype != self.dtype:
            raise ValueError(f"{pixels.dtype} pixels, where {self.dtype} were found before")
        pixels = _in_mode(pixels, self._mode)
        if pixels.shape[:2] != self._size:
            pixels = _resized(pixels, *self._size)
        return pixels[..., 0] if self._mode == "grey" else pixels


def picture_pixels(file: Path) -> np.ndarray:
    """Pixels as they are, (height, width, channels) of 1, 2, 3 or 4 channels."""
    content = file.read_bytes()
    if deep_colour(content[:26]):
        return read_deep_png(content)
    with Image.open(io.BytesIO(content)) as image:
        if image.format == "TIFF" and _is_deep(file, image):
            return _deep_tiff(content)
        if image.format in ("JPEG", "MPO", "WEBP"):
            image = ImageOps.exif_transpose(image)
        mode, dtype = _mode(image)
        if dtype == "uint8":
            image = image.convert({"grey": "L", "rgb": "RGB", "rgba": "RGBA"}[mode])
        pixels = np.asarray(image).astype(dtype, copy=False)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _deep_tiff(content: bytes) -> np.ndarray:
    try:
        import tifffile
    except ImportError:
        raise NotInstalledError("tifffile", "arrays", "reading colour TIFF of 16 bits") from None
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            page = tiff.pages[0]
            pixels = page.asarray()
            return np.moveaxis(pixels, 0, -1) if getattr(page, "planarconfig", 1) == 2 else pixels
    except (tifffile.TiffFileError, RuntimeError, IndexError) as error:
        raise ValueError(str(error)) from None


def _in_mode(pixels: np.ndarray, mode: str) -> np.ndarray:
    """Opacity is laid on white where the mode has none; colour becomes its luma where the mode is grey."""
    channels, dtype = pixels.shape[-1], pixels.dtype
    if channels == CHANNELS[mode]:
        return pixels
    opaque = np.iinfo(dtype).max if dtype.kind in "ui" else 1
    colour, alpha = (pixels[..., :-1], pixels[..., -1:]) if channels in (2, 4) else (pixels, None)
    if mode == "rgba":
        alpha = np.full_like(pixels[..., :1], opaque) if alpha is None else alpha
        return np.concatenate([np.broadcast_to(colour, (*colour.shape[:2], 3)), alpha], -1)
    if alpha is not None:
        share = alpha / opaque
        colour = colour * share + opaque * (1 - share)
    if mode == "grey" and colour.shape[-1] == 3:
        colour = colour @ _LUMA[:, None]
    if mode == "rgb":
        colour = np.broadcast_to(colour, (*colour.shape[:2], 3))
    return _as_dtype(colour, dtype)


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resized to cover (height, width), antialiased, from the centred box of the same aspect."""
    tall, wide, channels = pixels.shape
    scale = min(tall / height, wide / width)
    left, top = (wide - width * scale) / 2, (tall - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        small = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, box))
        return small[..., None] if channels == 1 else small
    planes = [Image.fromarray(pixels[..., channel].astype(np.float32)) for channel in range(channels)]
    small = [np.asarray(plane.resize((width, height), Image.Resampling.LANCZOS, box)) for plane in planes]
    return _as_dtype(np.stack(small, -1), pixels.dtype)


def _as_dtype(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    if dtype.kind not in "ui":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.rint(values).clip(limits.min, limits.max).astype(dtype)
