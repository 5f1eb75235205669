"""NumPy arrays (.npy), one row a sample; memory-mapped, so that they may outgrow the memory.

Reference: NumPy Enhancement Proposal 1, a simple file format for NumPy arrays.
"""

from pathlib import Path

import numpy as np

from unstir.core.errors import InputError
from unstir.formats.base import Format, Samples
from unstir.formats.labels import read_labels

__all__ = ["npy"]

_MAGIC = b"\x93NUMPY"


def _matches(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix == ".npy" or file.read(len(_MAGIC)) == _MAGIC


def _read(path: Path, *, labels: str | None = None, column: str | None = None) -> Samples:
    """Labels: a file of labels (.csv with the ``column``, or .npy), in the order of the rows."""
    try:
        # not np.load, which takes a zip file for an archive of arrays, and leaves it open if it is none
        values = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: {_reason(path, error)}") from None
    numbers, names = read_labels(labels, column, len(values)) if labels and values.ndim else (None, ())
    return Samples(values, str(path), numbers, names)


def _reason(path: Path, error: Exception) -> str:
    """Why the array cannot be mapped, from its header if that can be read."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            start = file.tell()
    except (ValueError, EOFError, OSError):
        return f"not a NumPy array, or one cut off in its header ({error})"
    if dtype.hasobject:
        return "an array of Python objects, which could run code when read; save it as an array of numbers"
    if 0 in shape:
        return f"holds no samples (an array of shape {shape})"
    wanted, there = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, path.stat().st_size - start
    if there < wanted:
        return f"cut off: {shape} of {dtype} takes {wanted:,} bytes, there are {there:,}; copy the file again"
    return str(error)


npy = Format(looks_for="a file that starts as NumPy's .npy do", matches=_matches, read=_read)
