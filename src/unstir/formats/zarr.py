"""Zarr arrays and groups: one array holds the samples, one may hold labels; read row by row when asked.

Reference: Zarr core specification, versions 2 and 3.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError
from unstir.formats.arrays import choose
from unstir.formats.base import Format, Samples
from unstir.formats.labels import class_numbers
from unstir.formats.stored import StoredRows

__all__ = ["zarr"]

_MARKS = ("zarr.json", ".zarray", ".zgroup")


def _matches(path: Path) -> bool:
    return path.is_dir() and (path.suffix == ".zarr" or any((path / mark).exists() for mark in _MARKS))


def _read(path: Path, *, values: str | None = None, labels: str | None = None) -> Samples:
    """values, labels: the arrays' names (``group/name``), where they are not plain."""
    try:
        import zarr as library
    except ImportError:
        raise NotInstalledError("zarr", "arrays", "reading Zarr") from None
    try:
        root = library.open(str(path), mode="r")
        arrays = {"": root} if isinstance(root, library.Array) else dict(_arrays(root))
        chosen, by = choose({name: array.shape for name, array in arrays.items()}, values, labels, str(path))
        raw = None if by is None else np.asarray(arrays[by][:])
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as Zarr ({error}); is the folder whole?") from None
    numbers, names = (None, ()) if raw is None else class_numbers(raw, f"{path}, array {by!r}")
    source = f"{path}, array {chosen!r}" if chosen else str(path)
    return Samples(StoredRows(functools.partial(_open, str(path), chosen), source), source, numbers, names)


def _arrays(group: Any, prefix: str = "") -> list[tuple[str, Any]]:
    found = [(prefix + name, array) for name, array in group.arrays()]
    return found + [entry for name, inner in group.groups() for entry in _arrays(inner, f"{prefix}{name}/")]


def _open(path: str, name: str) -> Any:
    import zarr as library

    return library.open_array(str(Path(path) / name) if name else path, mode="r")


zarr = Format(looks_for="a folder with Zarr's metadata", matches=_matches, read=_read)
