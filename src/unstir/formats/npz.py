"""NumPy archives (.npz): named arrays, of which one holds the samples and one may hold labels.

Reference: NumPy Enhancement Proposal 1, a simple file format for NumPy arrays.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from unstir.core.errors import InputError
from unstir.formats.arrays import choose
from unstir.formats.base import Format, Samples
from unstir.formats.labels import class_numbers

__all__ = ["npz"]


def _matches(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix == ".npz":
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return bool(archive.namelist()) and all(name.endswith(".npy") for name in archive.namelist())


def _read(path: Path, *, values: str | None = None, labels: str | None = None) -> Samples:
    """values, labels: the names of the arrays, where they are not plain."""
    try:
        # opened here, as NumPy leaves a file open that turns out to be no archive
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: not a NumPy archive")
            arrays = {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        objects = "; arrays of Python objects are not read" if "pickle" in str(error) or "Object" in str(error) else ""
        raise InputError(f"{path}: cannot be read as a NumPy archive ({error}){objects}") from None
    chosen, by = choose({name: array.shape for name, array in arrays.items()}, values, labels, str(path))
    numbers, names = class_numbers(arrays[by], f"{path}, array {by!r}") if by else (None, ())
    return Samples(arrays[chosen], f"{path}, array {chosen!r}", numbers, names)


npz = Format(looks_for="a zip file of .npy files", matches=_matches, read=_read)
