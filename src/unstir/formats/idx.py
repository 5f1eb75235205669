"""IDX files, gzipped or not, as MNIST and its relatives come; labels are found beside the images.

Reference: LeCun, Cortes, Burges, The MNIST database of handwritten digits (1998), section "file formats".
"""

import gzip
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.formats.base import Format, Samples
from unstir.formats.labels import class_numbers, read_labels
from unstir.formats.public import PublicFiles

__all__ = ["idx"]

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_SPLITS = {"train": ("train",), "test": ("t10k", "test"), "all": ("train", "t10k", "test")}
_DAMAGE = (EOFError, OSError, zlib.error)


def _matches(path: Path) -> bool:
    if path.is_dir():
        return bool(_image_files(path))
    try:
        with _open(path) as file:
            start = file.read(4)
    except _DAMAGE:
        return "idx" in path.name
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in _DTYPES and 1 <= start[3] <= 4


def _read(path: Path, *, labels: str | None = None, column: str | None = None, split: str = "train") -> Samples:
    """labels: a file of labels (IDX, .csv with the ``column``, .npy), if it does not lie beside the images.

    split: which files of a folder: train, test, or all.
    """
    if split not in _SPLITS:
        raise unknown("split", split, _SPLITS)
    if path.is_dir():
        files = [file for start in _SPLITS[split] for file in _image_files(path) if file.name.startswith(start)]
        if not files:
            seen = ", ".join(file.name for file in _image_files(path))
            raise InputError(f"{path}: no images for the split {split!r} among {seen}")
        if split != "all" or len(files) == 1:
            path = files[0]
        else:
            return _joined(path, [_read_file(file, labels, column) for file in files])
    return _read_file(path, labels, column)


def _read_file(path: Path, labels: str | None, column: str | None) -> Samples:
    values = read_idx(path)
    if values.ndim == 1:
        raise InputError(f"{path}: holds one number a row, so these are labels; give the file of images")
    beside = Path(labels) if labels else _labels_beside(path)
    if beside is None:
        return Samples(values, str(path))
    if labels and beside.suffix in (".csv", ".tsv", ".npy"):
        return Samples(values, str(path), *read_labels(beside, column, len(values)))
    if not beside.exists():
        raise InputError(f"{beside}: there is no such file of labels")
    raw = read_idx(beside)
    if len(raw) != len(values):
        raise InputError(f"{beside}: {len(raw)} labels for the {len(values)} samples of {path.name}")
    return Samples(values, str(path), *class_numbers(raw, str(beside)))


def read_public(public: PublicFiles, folder: Path | None, split: str, names: tuple[str, ...] = ()) -> Samples:
    """A public set of the four usual files, fetched if need be."""
    if split not in _SPLITS:
        raise unknown("split", split, _SPLITS)
    wanted = tuple(file for file in public.hashes if file.startswith(_SPLITS[split]))
    images = [file for file in public.fetch(folder, wanted) if "images" in file.name]
    parts = [_read_file(file, None, None) for file in images]
    samples = parts[0] if len(parts) == 1 else _joined(images[0].parent, parts)
    return replace(samples, source=public.name, label_names=names or samples.label_names)


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file; memory-mapped where it is not gzipped.

    Raises InputError for a file that is cut off, too long, or not IDX.
    """
    try:
        with _open(path) as file:
            zero, code, dimensions = struct.unpack(">HBB", file.read(4))
            if zero or code not in _DTYPES or not 1 <= dimensions <= 8:
                raise InputError(f"{path}: not an IDX file (it starts with {zero:04x} {code:02x} {dimensions:02x})")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            dtype, start = np.dtype(_DTYPES[code]), 4 + 4 * dimensions
            wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            content = file.read() if isinstance(file, gzip.GzipFile) else None
    except struct.error:
        raise InputError(f"{path}: cut off within its first bytes; copy the file again") from None
    except _DAMAGE as error:
        raise InputError(f"{path}: damaged or cut off ({error}); copy the file again") from None
    there = path.stat().st_size - start if content is None else len(content)
    if there != wanted:
        raise InputError(
            f"{path}: {shape} of {dtype.name} takes {wanted:,} bytes, there are {there:,}; copy the file again"
        )
    if content is not None:
        return np.frombuffer(content, dtype).reshape(shape)
    return np.memmap(path, dtype, "r", start, shape) if wanted else np.empty(shape, dtype)


def _open(path: Path) -> gzip.GzipFile | IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")


def _image_files(folder: Path) -> list[Path]:
    """The files of images; of a file that lies there both gzipped and not, the latter."""
    found = {path.name.removesuffix(".gz"): path for path in sorted(folder.glob("*images*idx3*"), reverse=True)}
    return [found[name] for name in sorted(found)]


def _labels_beside(path: Path) -> Path | None:
    name = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    return next(
        (
            path.with_name(name + end)
            for end in ("", ".gz")
            if name + end != path.name and path.with_name(name + end).exists()
        ),
        None,
    )


def _joined(folder: Path, parts: list[Samples]) -> Samples:
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        raise InputError(f"{folder}: the splits have samples of different shapes: {sorted(shapes)}")
    values = np.concatenate([np.asarray(part.values) for part in parts])
    labels = [part.labels for part in parts if part.labels is not None]
    if len(labels) < len(parts):
        return Samples(values, str(folder))
    if len({part.label_names for part in parts}) > 1:
        raise InputError(f"{folder}: the splits have different classes: {[part.label_names for part in parts]}")
    return Samples(values, str(folder), np.concatenate(labels), parts[0].label_names)


idx = Format(looks_for="a file that starts as IDX files do, or a folder of *images*idx3*", matches=_matches, read=_read)
