"""One pass over all rows, before anything is trained: finite? in what range? which content?"""

import hashlib
import sys
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from unstir.core.errors import InputError
from unstir.formats.base import Rows, Samples, UnreadableError

_CHUNK_BYTES = 2**24
_BAR_BYTES = 2**28  # a bar for what takes more than a second or so


@dataclass(frozen=True)
class Survey:
    """What the pass found: the least and the greatest value, the SHA-256 of the content, and the rows.

    ``values`` are the rows in memory if they were to be kept, and otherwise as the samples hold them.
    """

    low: float
    high: float
    digest: str
    values: Rows


def survey(samples: Samples, keep_bytes: int = 0) -> Survey:
    """Reads every row once and refuses what is not finite.

    keep_bytes: rows are kept in memory if all of them together take no more than this.
    The digest is over shape, dtype, rows in order (little-endian, C order), labels and label names: it depends on
    the content alone, not on the format or the place of the file.

    Raises InputError that names the file and the first rows that cannot be read, or that hold NaN or infinity, and
    how many of them there are.
    """
    dtype = np.dtype(samples.values.dtype).newbyteorder("<")
    row_bytes = int(np.prod(samples.shape, dtype=np.int64)) * dtype.itemsize
    total, chunk = len(samples) * row_bytes, max(1, _CHUNK_BYTES // max(row_bytes, 1))
    held = type(samples.values) is np.ndarray  # a memory map is a subclass
    kept = np.empty((len(samples), *samples.shape), dtype) if total <= keep_bytes and not held else None
    content = hashlib.sha256(f"{(len(samples), *samples.shape)} {dtype.str}".encode())
    low, high = np.inf, -np.inf
    wrong: list[int] = []
    damaged: list[int] = []
    reason = ""
    quiet = (total < _BAR_BYTES and samples.row_names is None) or not sys.stderr.isatty()
    with tqdm(total=len(samples), desc="checking data", unit="sample", disable=quiet, leave=False) as bar:
        for start in range(0, len(samples), chunk):
            rows = np.arange(start, min(start + chunk, len(samples)))
            bar.update(len(rows))
            try:
                values = np.ascontiguousarray(samples.values[rows], dtype)
            except UnreadableError as error:
                damaged, reason = damaged + error.rows, reason or error.reason
                continue
            finite = np.isfinite(values).reshape(len(rows), -1).all(1) if dtype.kind == "f" else np.True_
            if not np.all(finite):
                wrong.extend(rows[~finite].tolist())
            else:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
            content.update(values.data)
            if kept is not None:
                kept[rows] = values
    if damaged:
        raise UnreadableError(damaged, reason, f"{samples.source}: {samples.rows_text(damaged)}")
    if wrong:
        raise InputError(
            f"{samples.source}: {samples.rows_text(wrong)} of {len(samples)}: hold NaN or infinity; "
            "remove these samples or fill the gaps before training"
        )
    if samples.labels is not None:
        content.update(samples.labels.astype("<i8").tobytes() + "\x1f".join(samples.label_names).encode())
    return Survey(low, high, content.hexdigest(), samples.values if kept is None else kept)
