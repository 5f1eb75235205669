"""Generated pictures as files: PNG where the data's levels are those of PNG, else arrays in the data's range."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.files import write_whole
from unstir.domains.images.encoding import ImageEncoding
from unstir.formats.png import png_bytes

_KINDS = ("png", "npz", "npy")
_TABLE = "labels.csv"


def write_images(
    encoding: ImageEncoding,
    state: Tensor,
    folder: str | Path,
    labels: Tensor | np.ndarray | None = None,
    first: int = 0,
    kind: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the samples numbered ``first``, ``first + 1``, ... into ``folder``; returns the files.

    state: encoded pictures (batch, channels, height, width).
    kind: ``"png"``: a file for each, ``000017.png``, 8 or 16 bits as the data had, levels scaled to black and white
        where the data's range is not theirs; ``"npz"``: one ``samples-000000.npz`` of ``values`` and ``labels`` in the
        data's own range; ``"npy"``: the values alone. Else PNG for pictures of the full 8 or 16 bits in one, three
        or four channels, and npz for the rest.
    labels: class numbers; kept in ``labels.csv`` too (file, sample, label, name), where further calls add theirs.

    Each file comes into being whole or not at all. A file of other content is never replaced unless ``overwrite``:
    InputError. Writers that work at the same time need a folder each.
    """
    kind = kind or ("png" if _is_png(encoding) else "npz")
    if kind not in _KINDS:
        raise unknown("kind of picture file", kind, _KINDS)
    numbers = None if labels is None else np.asarray(labels, np.int64)
    if numbers is not None and numbers.shape != (len(state),):
        raise InputError(f"{len(state)} samples, but labels of shape {numbers.shape}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "png":
        files = {
            folder / f"{first + row:06d}.png": png_bytes(picture)
            for row, picture in enumerate(_levels(encoding, state))
        }
    else:
        values = encoding.decode(state)
        buffer = io.BytesIO()
        if kind == "npy":
            np.save(buffer, values, allow_pickle=False)
        else:
            named: dict[str, Any] = {"values": values} if numbers is None else {"values": values, "labels": numbers}
            np.savez_compressed(buffer, **named)
        files = {folder / f"samples-{first:06d}.{kind}": buffer.getvalue()}
    taken = (
        [] if overwrite else [path for path, content in files.items() if path.exists() and path.read_bytes() != content]
    )
    if taken:
        raise InputError(
            f"{taken[0]}{f' and {len(taken) - 1} more' if len(taken) > 1 else ''}: there are other samples here "
            "already; choose another folder, other sample numbers, or say that they may be overwritten"
        )
    for path, content in files.items():
        write_whole(path, content)
    if numbers is None:
        return list(files)
    names = [path.name for path in files]
    _add_labels(folder / _TABLE, encoding, names if kind == "png" else names * len(numbers), numbers, first)
    return [*files, folder / _TABLE]


def _is_png(encoding: ImageEncoding) -> bool:
    return (
        encoding.dtype in ("uint8", "uint16")
        and (encoding.low, encoding.high) == (0, np.iinfo(encoding.dtype).max)
        and encoding.shape[0] in (1, 3, 4)
    )


def _levels(encoding: ImageEncoding, state: Tensor) -> np.ndarray:
    """uint8 or uint16 (batch, height, width, channels), black to white."""
    if encoding.shape[0] not in (1, 3, 4):
        raise InputError(f"PNG holds 1, 3 or 4 channels, these pictures have {encoding.shape[0]}; write them as npz")
    dtype = "uint8" if encoding.dtype in ("uint8", "bool") else "uint16"
    layout = "hw" if encoding.shape[0] == 1 else "hwc"
    greatest = float(np.iinfo(dtype).max)
    return ImageEncoding(0.0, greatest, dtype, layout, encoding.shape).decode(state)


def _add_labels(path: Path, encoding: ImageEncoding, names: list[str], labels: np.ndarray, first: int) -> None:
    rows: dict[int, list[str]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as table:
            rows = {int(row["sample"]): list(row.values()) for row in csv.DictReader(table)}
    for row, (name, label) in enumerate(zip(names, labels.tolist(), strict=True)):
        known = encoding.label_names[label] if 0 <= label < len(encoding.label_names) else str(label)
        rows[first + row] = [name, str(first + row), str(label), known]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "sample", "label", "name"])
    writer.writerows(rows[number] for number in sorted(rows))
    write_whole(path, text.getvalue().encode())
