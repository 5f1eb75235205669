"""What every file format keeps: it reads back what was written, and answers what it cannot read."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError
from unstir.formats.base import Format
from unstir.formats.survey import survey
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most

__all__ = ["format_damage", "format_embedded", "format_recognition", "format_refusal", "format_round_trip"]

WRITTEN = ("cifar", "hdf5", "idx", "npy", "npz", "pictures", "zarr")
# the first bytes of other people's formats, with nothing behind them that belongs there
STARTS = {
    "npy": b"\x93NUMPY",
    "zip": b"PK\x03\x04",
    "hdf5": b"\x89HDF\r\n\x1a\n",
    "gzip": b"\x1f\x8b",
    "idx": b"\0\0\x08\x03",
}
ORDER = np.array([5, 0, 5, 11, 2])


@claim("formats")
def format_refusal(format: Format, effort: Effort) -> Iterator[Measured]:
    """Bytes that are none of it are answered with an error of the input, and none from inside a library."""
    _needs_file(format)
    noise = effort.seeds(1, "bytes").words(400)[0].numpy().astype(np.uint8).tobytes()
    traps = {"empty": b"", "noise": noise, "text": b"nothing of the kind\n" * 30, "zeros": bytes(4000)}
    traps |= {f"{name} cut off": start + noise[:50] for name, start in STARTS.items()}
    wrong = []
    with TemporaryDirectory() as folder:
        for name, content in traps.items():
            path = Path(folder) / f"{name.replace(' ', '-')}.data"
            path.write_bytes(content)
            wrong += _unanswered(format, path)
        empty = Path(folder) / "empty-folder"
        empty.mkdir()
        wrong += _unanswered(format, empty)
        mixed = Path(folder) / "folder"
        mixed.mkdir()
        (mixed / "noise.png").write_bytes(noise)
        wrong += _unanswered(format, mixed)
    count = len(traps) + 2
    yield at_most(f"of {count} files and folders, those not refused", len(wrong), 0.0, note="; ".join(wrong))


@claim("formats")
def format_recognition(format: Format, effort: Effort) -> Iterator[Measured]:
    """Files without sign of it are not claimed, whatever is in them."""
    _needs_file(format)
    noise = effort.seeds(1, "bytes").words(400)[0].numpy().astype(np.uint8).tobytes()
    claimed = []
    with TemporaryDirectory() as folder:
        for name, content in {"empty": b"", "noise": noise, "text": b"nothing of the kind\n"}.items():
            (Path(folder) / name).write_bytes(content)
        claimed = [name for name in ("empty", "noise", "text", "") if format.matches(Path(folder) / name)]
    yield at_most("files claimed, of four", len(claimed), 0.0, note=", ".join(claimed))


@claim("formats", *WRITTEN)
def format_round_trip(format: Format, effort: Effort) -> Iterator[Measured]:
    """What its own library has written is recognised and read to the bit, rows in any order, with the labels."""
    values, labels, write = _written(format)
    with TemporaryDirectory() as folder:
        path = write(Path(folder), values, labels)
        yield at_most("files not recognised", int(not format.matches(path)), 0.0)
        samples = format.read(path)
        rows = samples.values[ORDER]
        shape = int(samples.shape != values.shape[1:]) + int(rows.dtype != values.dtype)
        yield at_most("shapes and types that differ", shape, 0.0)
        yield at_most("numbers that differ", int(np.sum(rows != values[ORDER])), 0.0)
        if labels is not None:
            unread = samples.labels is None or not np.array_equal(samples.labels, labels)
            yield at_most("labels that were lost or differ", int(unread), 0.0)


@claim("formats", *WRITTEN)
def format_damage(format: Format, effort: Effort) -> Iterator[Measured]:
    """A file that is cut off is answered with an error of the input, unless nothing of its values is missing."""
    values, labels, write = _written(format)
    unanswered = []
    with TemporaryDirectory() as folder:
        path = write(Path(folder), values, labels)
        largest = max((file for file in path.rglob("*") if file.is_file()), key=_size) if path.is_dir() else path
        content = largest.read_bytes()
        for share in effort.of((0.3, 0.9), (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)):
            kept = int(len(content) * share)
            if _is_cifar(format):
                # no header says how many records there are; what can be seen is a part of one
                kept += kept % 3073 == 0
            largest.write_bytes(content[:kept])
            unanswered += _unanswered(format, path, values)
    yield at_most("cuts that are not answered", len(unanswered), 0.0, note="; ".join(unanswered))


@claim("formats", "digits")
def format_embedded(format: Format, effort: Effort) -> Iterator[Measured]:
    """The set that ships with a dependency is read as that dependency gives it."""
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    samples = format.read(None)
    values = np.asarray(samples.values)
    yield at_most("numbers that differ", int(np.sum(values.reshape(len(values), -1) != pixels)), 0.0)
    yield at_most("labels that differ", int(np.sum(samples.labels != target)), 0.0)
    low, high = samples.attributes["range"]
    yield at_most("values beyond the range stated", int(np.sum((values < low) | (values > high))), 0.0)


def _needs_file(format: Format) -> None:
    if not format.needs_path:
        raise NotMeasured("it is a set called by name, and reads no file of the user's", silent=True)


def _unanswered(format: Format, path: Path, values: np.ndarray | None = None) -> list[str]:
    """The path's name if reading all of it gives anything but an error of the input, or these values."""
    try:
        samples = format.read(path)
        survey(samples)
        if values is not None and np.array_equal(samples.values[np.arange(len(samples))], values):
            return []
    except NotInstalledError as error:
        raise NotMeasured(str(error)) from error
    except InputError:
        return []
    except Exception as error:
        return [f"{path.name}: {type(error).__name__}"]
    return [f"{path.name}: was read"]


Writer = Callable[[Path, np.ndarray, np.ndarray | None], Path]


def _written(format: Format) -> tuple[np.ndarray, np.ndarray | None, Writer]:
    """Values and labels that a format can hold, and how its own library writes them."""
    generator = np.random.default_rng(0)
    labels = np.arange(12) % 3
    kinds: dict[str, tuple[np.ndarray, np.ndarray | None, Writer]] = {
        "npy": (generator.normal(size=(12, 4, 5)).astype(np.float32), None, _write_npy),
        "npz": (generator.normal(size=(12, 4, 5)), labels, _write_npz),
        "hdf5": (generator.normal(size=(12, 4, 5)).astype(np.float32), labels, _write_hdf5),
        "zarr": (generator.normal(size=(12, 4, 5)).astype(np.float32), labels, _write_zarr),
        "idx": (generator.integers(0, 256, (12, 4, 5), np.uint8), labels, _write_idx),
        "cifar": (generator.integers(0, 256, (12, 3, 32, 32), np.uint8), labels, _write_cifar),
        "pictures": (generator.integers(0, 256, (12, 6, 5, 3), np.uint8), labels, _write_pictures),
    }
    names = [name for name, made in _formats().items() if made is format]
    if not names or names[0] not in kinds:
        raise NotMeasured("no other library's writer is known for it here")
    return kinds[names[0]]


def _formats() -> dict[str, Format]:
    from unstir.core.catalogue import entries

    return {name: entry.load() for name, entry in entries("formats").items() if name in WRITTEN}


def _is_cifar(format: Format) -> bool:
    return _formats()["cifar"] is format


def _size(path: Path) -> int:
    return path.stat().st_size


def _write_npy(folder: Path, values: np.ndarray, labels: np.ndarray | None) -> Path:
    np.save(folder / "a.npy", values)
    return folder / "a.npy"


def _write_npz(folder: Path, values: np.ndarray, labels: np.ndarray | None) -> Path:
    assert labels is not None
    np.savez(folder / "a.npz", images=values, labels=labels)
    return folder / "a.npz"


def _write_hdf5(folder: Path, values: np.ndarray, labels: np.ndarray | None) -> Path:
    h5py = _library("h5py")
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("images", data=values, chunks=True)
        file.create_dataset("labels", data=labels)
    return folder / "a.h5"


def _write_zarr(folder: Path, values: np.ndarray, labels: np.ndarray | None) -> Path:
    zarr = _library("zarr")
    group = zarr.open_group(str(folder / "a.zarr"), mode="w")
    group.create_array("images", data=values, chunks=(12, *values.shape[1:]))
    group.create_array("labels", data=labels, chunks=(12,))
    return folder / "a.zarr"


def _write_idx(folder: Path, values: np.ndarray, labels: np.ndarray | None) -> Path:
    assert labels is not None
    for name, array in (("images-idx3", values), ("labels-idx1", labels.astype(np.uint8))):
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (folder / f"train-{name}-ubyte").write_bytes(header + array.tobytes())
    return folder / "train-images-idx3-ubyte"


def _write_cifar(folder: Path, values: np.ndarray, labels: np.ndarray | None) -> Path:
    assert labels is not None
    records = np.concatenate((labels[:, None].astype(np.uint8), values.reshape(12, -1)), axis=1)
    (folder / "a.bin").write_bytes(records.tobytes())
    return folder / "a.bin"


def _write_pictures(folder: Path, values: np.ndarray, labels: np.ndarray | None) -> Path:
    from PIL import Image

    assert labels is not None
    # in the order in which the files of class folders are read: the labels rise
    labels.sort()
    for number, (picture, label) in enumerate(zip(values, labels, strict=True)):
        place = folder / "pictures" / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{number:03d}.png")
    return folder / "pictures"


def _library(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise NotMeasured(f"the package {package!r} is not installed; `pip install 'unstir[arrays]'`") from error
