"""Rows of a dataset by their numbers: from memory, or from a file by blocks of which the last are kept."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from unstir.domains.climate.files.soundness import check_values

_BLOCK = 16 << 20  # bytes


class Rows:
    """Times of a dataset, asked for by position: float32 or float64 (n, [member,] channels, *axes).

    The channels are the variables in their order, each one's levels one after the other; ``layout_of`` tells them.
    What is not in memory is read in blocks of the file's own pieces along time, and the last ``budget`` bytes of them
    are kept: rows that lie near each other cost one reading.

    missing: ``error`` for InputError where a block holds NaN (what was not looked at when the data was opened).
    """

    def __init__(self, dataset: Any, missing: str = "mask", budget: int = 512 << 20) -> None:
        self.dataset, self.missing, self.budget = dataset, missing, budget
        self.names = [str(name) for name in dataset.data_vars]
        self.length = int(dataset.sizes["time"])
        self._blocks: OrderedDict[int, np.ndarray] = OrderedDict()
        self._held, self._lock = 0, Lock()
        in_memory = all(isinstance(dataset[name].variable._data, np.ndarray) for name in self.names)
        self.block = self.length if in_memory else _block_length(dataset)
        """How many times in a row are read at once; all of them if the dataset is in memory."""
        self._whole = self._read(0, self.length) if in_memory else None

    def __len__(self) -> int:
        return self.length

    @property
    def times(self) -> np.ndarray:
        """Of all rows, (len,)."""
        return self.dataset["time"].values

    @property
    def locality(self) -> tuple[int, int] | None:
        """(rows that are read together, rows that may be held at once); None where all rows are equally near."""
        if self._whole is not None:
            return None
        # the variables of a block lie in one array, of the widest type
        kind = np.result_type(*(self.dataset[name].dtype for name in self.names))
        each = sum(self.dataset[name].size for name in self.names) * kind.itemsize / max(1, self.length)
        return self.block, max(self.block, int(self.budget // max(1.0, each)))

    def near(self, positions: np.ndarray, reach: int = 1) -> tuple[int, int] | None:
        """``locality`` of cases that begin at these rising positions and reach over so many rows each."""
        if self.locality is None or not len(positions):
            return None
        touched = np.unique(np.asarray(positions) // self.block)
        each = max(1, round(len(positions) / len(touched)))
        held = self.locality[1] // self.block
        # cases in a row that share no border with the blocks touch two of them
        aligned = reach == 1 and positions[0] % self.block == 0 and each == self.block
        return each, each * max(1, held if aligned else held // 2)

    def values(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The rows in the order asked for; ``rows`` may be of any shape, which then stands in front."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.length):
            raise IndexError(f"rows 0 to {self.length - 1} are there; seen {rows.min()} to {rows.max()}")
        if self._whole is not None:
            return self._whole[rows]
        flat = rows.ravel()
        found: np.ndarray | None = None
        # block by block, so that each is read once however the rows are mixed; those at hand before they make way
        for number in sorted(np.unique(flat // self.block).tolist(), key=lambda number: number not in self._blocks):
            block = self._block(int(number))
            here = flat // self.block == number
            if found is None:
                found = np.empty((len(flat), *block.shape[1:]), block.dtype)
            found[here] = block[flat[here] - number * self.block]
        if found is None:
            found = self._read(0, 1)[:0]
        return found.reshape(*rows.shape, *found.shape[1:])

    def _block(self, number: int) -> np.ndarray:
        with self._lock:
            if number in self._blocks:
                self._blocks.move_to_end(number)
                return self._blocks[number]
            first = number * self.block
            block = self._read(first, min(self.length, first + self.block))
            self._blocks[number] = block
            self._held += block.nbytes
            while self._held > self.budget and len(self._blocks) > 1:
                _, old = self._blocks.popitem(last=False)
                self._held -= old.nbytes
            return block

    def _read(self, first: int, last: int) -> np.ndarray:
        piece = self.dataset.isel(time=slice(first, last))
        parts = []
        members = any("member" in piece[name].dims for name in self.names)
        leading = ["time", "member"] if members else ["time"]
        for name in self.names:
            variable = piece[name]
            if members and "member" not in variable.dims:
                variable = variable.expand_dims(member=piece.sizes["member"])
            if "time" not in variable.dims:
                variable = variable.expand_dims(time=piece.sizes["time"])
            variable = variable if "level" in variable.dims else variable.expand_dims("level")
            axes = [each for each in piece[name].dims if each not in (*leading, "level")]
            values = variable.transpose(*leading, "level", *axes).values
            if self.missing == "error" and self._is_lazy(name):
                check_values(values, name, "error", f" from time {first} on")
            parts.append(values)
        return np.concatenate(parts, len(leading))

    def _is_lazy(self, name: str) -> bool:
        return not isinstance(self.dataset[name].variable._data, np.ndarray)


def _block_length(dataset: Any) -> int:
    """The longest piece along time of any variable, as the dataset is chunked; some MiB where it is not."""
    pieces = [
        max(variable.chunksizes["time"])
        for variable in dataset.data_vars.values()
        if variable.chunks is not None and "time" in variable.dims
    ]
    if pieces:
        return int(max(pieces))
    each = sum(variable.nbytes for variable in dataset.data_vars.values()) / max(1, dataset.sizes["time"])
    return max(1, int(_BLOCK // max(1.0, each)))
