"""Rows of an array that lies in a file of chunks, read when asked for (HDF5, Zarr)."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from unstir.formats.base import UnreadableError


class StoredRows:
    """Rows of the array that ``open_array()`` gives; it is opened once in every process, on first use.

    A handle must not cross a fork, and cannot cross a spawn, so it is kept by process number.
    """

    def __init__(self, open_array: Callable[[], Any], source: str) -> None:
        self._open, self._source = open_array, source
        self._handle: tuple[int, Any] | None = None
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype)

    @property
    def _array(self) -> Any:
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = (os.getpid(), self._open())
        return self._handle[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        # both libraries want rows in order and without repeats, and read a slice much faster than single rows
        wanted, places = np.unique(rows, return_inverse=True)
        together = len(wanted) and wanted[-1] - wanted[0] + 1 == len(wanted)
        try:
            read = self._array[wanted[0] : wanted[-1] + 1] if together else self._single_rows(wanted)
        except (OSError, RuntimeError, ValueError) as error:
            raise UnreadableError(wanted.tolist(), str(error), f"{self._source}: row {wanted[0]} or after") from None
        return np.asarray(read)[places]

    def _single_rows(self, rows: np.ndarray) -> np.ndarray:
        return (
            np.stack([np.asarray(self._array[int(row)]) for row in rows])
            if len(rows)
            else np.empty((0, *self.shape[1:]))
        )
