"""HDF5 files (.h5, .hdf5): one dataset holds the samples, one may hold labels; read row by row when asked.

Reference: The HDF Group, Hierarchical Data Format, version 5.
"""

import functools
from pathlib import Path
from typing import Any

from unstir.core.errors import InputError, NotInstalledError
from unstir.formats.arrays import choose
from unstir.formats.base import Format, Samples
from unstir.formats.labels import class_numbers
from unstir.formats.stored import StoredRows

__all__ = ["hdf5"]

_MAGIC = b"\x89HDF\r\n\x1a\n"


def _matches(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix in (".h5", ".hdf5", ".hdf") or file.read(len(_MAGIC)) == _MAGIC


def _read(path: Path, *, values: str | None = None, labels: str | None = None) -> Samples:
    """values, labels: the datasets' names (``group/name``), where they are not plain."""
    try:
        import h5py
    except ImportError:
        raise NotInstalledError("h5py", "arrays", "reading HDF5") from None
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset) and found.shape:
            shapes[name] = found.shape

    try:
        with h5py.File(path, "r") as file:
            file.visititems(note)
            chosen, by = choose(shapes, values, labels, str(path))
            raw = None if by is None else file[by][()]
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({error}); is the file whole?") from None
    numbers, names = (None, ()) if raw is None else class_numbers(raw, f"{path}, dataset {by!r}")
    source = f"{path}, dataset {chosen!r}"
    return Samples(StoredRows(functools.partial(_open, str(path), chosen), source), source, numbers, names)


def _open(path: str, name: str) -> Any:
    import h5py

    return h5py.File(path, "r")[name]


hdf5 = Format(looks_for="a file that starts as HDF5 files do", matches=_matches, read=_read)
