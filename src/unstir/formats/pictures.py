"""A folder of pictures (PNG, JPEG, TIFF, WebP, BMP), grey, RGB or RGBA, of 8 or 16 bits; read when asked for.

Reference: the formats' decoders are Pillow's (and tifffile's for colour TIFF of 16 bits).
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.formats.base import Format, Samples, some_of
from unstir.formats.labels import class_numbers, read_labels
from unstir.formats.picture_files import CHANNELS, Kind, PictureRows, inspect_files

__all__ = ["pictures"]

_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")


def _matches(path: Path) -> bool:
    return path.is_dir() and any(_is_picture(name) for _, _, names in os.walk(path) for name in names)


def _is_picture(name: str) -> bool:
    # hidden files are other programs' (._name.png) or unfinished
    return name.lower().endswith(_ENDINGS) and not name.startswith(".")


def _read(
    path: Path,
    *,
    labels: str | None = None,
    column: str | None = None,
    size: Any = None,
    mode: str | None = None,
) -> Samples:
    """labels: ``folders`` (each sub-folder is a class), or a table with the ``column``; else folders, if there are any.

    size: one number, or [height, width]: resized (antialiased) to cover that, and cropped about the centre.
    mode: ``grey``, ``rgb`` or ``rgba``; else the richest that occurs, into which the others go without loss.

    Raises InputError that names the files that cannot be read, or whose sizes or depths differ.
    """
    if not path.is_dir():
        raise InputError(f"{path}: a folder of pictures is needed")
    if mode is not None and mode not in CHANNELS:
        raise unknown("mode of pictures", mode, CHANNELS)
    files = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names if _is_picture(name))
    if not files:
        raise InputError(f"{path}: holds no pictures ({', '.join(_ENDINGS)})")
    names = [file.relative_to(path).as_posix() for file in files]
    kinds, problems = inspect_files(files)
    if problems:
        first = next(iter(problems))
        listed = some_of([names[row] for row in list(problems)[:5]], len(problems))
        raise InputError(f"{path}: {listed}: cannot be read as pictures ({problems[first]})")
    depth = _one_depth(path, names, kinds)
    shape = _wanted_size(size) or _one_size(path, names, kinds)
    mode = mode or max((kind.mode for kind in kinds), key=list(CHANNELS).index)
    rows = PictureRows(files, names, str(path), mode, depth, shape)
    numbers, label_names = _labels(path, names, labels, column)
    layout = "hw" if mode == "grey" else "hwc"
    return Samples(rows, str(path), numbers, label_names, names, {"layout": layout})


def _wanted_size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    wanted = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, Sequence) else ()
    if len(wanted) != 2 or not all(isinstance(side, int) and side > 0 for side in wanted):
        raise InputError(f"size {size!r}: one number of pixels, or [height, width]")
    return wanted[0], wanted[1]


def _one_size(path: Path, names: list[str], kinds: list[Kind]) -> tuple[int, int]:
    seen = Counter((kind.height, kind.width) for kind in kinds)
    usual = seen.most_common(1)[0][0]
    if len(seen) > 1:
        sizes = [f"{count} of {height}x{width}" for (height, width), count in seen.most_common(5)]
        odd = [name for name, kind in zip(names, kinds, strict=True) if (kind.height, kind.width) != usual]
        side = min(min(size) for size in seen)
        raise InputError(
            f"{path}: pictures of {len(seen)} sizes (height x width): {', '.join(sizes)}"
            f"{', ...' if len(seen) > 5 else ''}; unlike most: {some_of(odd[:5], len(odd))}. Say `data.size={side}` "
            "or `data.size=[height, width]`, to have all resized (antialiased) and cropped about the centre"
        )
    return usual


def _one_depth(path: Path, names: list[str], kinds: list[Kind]) -> str:
    seen = Counter(kind.dtype for kind in kinds)
    usual = seen.most_common(1)[0][0]
    if len(seen) > 1:
        odd = [name for name, kind in zip(names, kinds, strict=True) if kind.dtype != usual]
        listed = ", ".join(f"{count} of {dtype}" for dtype, count in seen.most_common())
        raise InputError(
            f"{path}: pictures of different depths: {listed}; unlike most: {some_of(odd[:5], len(odd))}. "
            "Convert them to one depth first: their grey values do not mean the same"
        )
    return usual


def _labels(
    path: Path, names: list[str], labels: str | None, column: str | None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if labels not in (None, "folders"):
        beside = path / str(labels)
        return read_labels(beside if beside.is_file() else str(labels), column, len(names), names)
    if column is not None:
        raise InputError(f"{path}: the column {column!r} of which table? Say `data.labels=table.csv`")
    folders = [name.rsplit("/", 1)[0] if "/" in name else "" for name in names]
    outside = [name for name, folder in zip(names, folders, strict=True) if not folder]
    if len(outside) == len(names) and labels is None:
        return None, ()
    if outside:
        raise InputError(
            f"{path}: sub-folders are classes, but these pictures lie in none: {some_of(outside[:5], len(outside))}; "
            "move them, or say `data.labels=false` to do without labels"
        )
    return class_numbers(folders, str(path))


pictures = Format(looks_for=f"a folder with pictures ({', '.join(_ENDINGS)})", matches=_matches, read=_read)
