"""The binary version of CIFAR-10: a folder, a .tar.gz, or a single .bin of records.

A record is one byte of label and 3,072 of pixels: red, green and blue planes of 32×32.

Reference: Krizhevsky, Learning multiple layers of features from tiny images (technical report, Toronto 2009).
"""

import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.formats.base import Format, Samples

__all__ = ["cifar"]

_PIXELS = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
SPLITS = {"train": _TRAIN, "test": ("test_batch.bin",), "all": (*_TRAIN, "test_batch.bin")}
_NAMES = "batches.meta.txt"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _matches(path: Path) -> bool:
    if path.is_dir():
        return any(file.name in SPLITS["all"] for file in path.rglob("*.bin"))
    if path.name.endswith((".tar.gz", ".tgz", ".tar")):
        try:
            with tarfile.open(path) as archive:
                return any(PurePosixPath(member.name).name in SPLITS["all"] for member in archive)
        except (tarfile.TarError, EOFError, OSError, zlib.error):
            return "cifar" in path.name
    return path.suffix == ".bin"


def _read(path: Path, *, split: str = "train") -> Samples:
    """split: train, test, or all; for a single .bin it says nothing."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if path.is_file() and path.suffix == ".bin":
        files = {path.name: path.read_bytes()}
    elif path.is_dir():
        files = {
            file.name: file.read_bytes() for file in sorted(path.rglob("*")) if file.name in (*SPLITS[split], _NAMES)
        }
    else:
        files = _unpacked(path, split)
    names = tuple(files.pop(_NAMES, b"").decode(errors="replace").split()) or NAMES
    if not files:
        raise InputError(f"{path}: none of the files of the split {split!r} is here: {', '.join(SPLITS[split])}")
    for name, content in files.items():
        if not content or len(content) % _RECORD:
            raise InputError(
                f"{path}: {name} has {len(content):,} bytes, not a whole number of records of {_RECORD:,}; "
                "it is cut off, or not the binary version of CIFAR-10"
            )
    records = np.concatenate(
        [np.frombuffer(files[name], np.uint8).reshape(-1, _RECORD) for name in sorted(files, key=_order)]
    )
    pixels = np.ascontiguousarray(records[:, 1:]).reshape(-1, *_PIXELS)
    return Samples(pixels, str(path), records[:, 0], names, attributes={"layout": "chw"})


def _order(name: str) -> int:
    return SPLITS["all"].index(name) if name in SPLITS["all"] else 0


def _unpacked(path: Path, split: str) -> dict[str, bytes]:
    """The wanted files of an archive, read in memory: nothing is written to disk, whatever paths it names."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if name in (*SPLITS[split], _NAMES) and member.isfile() else None
                if content is not None:
                    files[name] = content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: damaged or cut off ({error}); copy the file again") from None
    return files


cifar = Format(
    looks_for="data_batch_1.bin and the like, in a folder or .tar.gz, or a .bin", matches=_matches, read=_read
)
