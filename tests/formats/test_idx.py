"""IDX files: gzipped or not, their labels, their splits, and damage."""

import gzip
import struct

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.formats.base import read

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 4, 5)).astype(np.uint8)
LABELS = np.array([3, 0, 1, 2, 3, 1, 0], np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(">HBB", 0, CODES[array.dtype.str[1:]], array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path, array):
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte"])
def test_images_and_the_labels_beside_them(tmp_path, end, name):
    write(tmp_path / (name + end), PIXELS)
    write(tmp_path / (name.replace("images", "labels").replace("idx3", "idx1") + end), LABELS)
    for path in (tmp_path / (name + end), tmp_path):
        samples = read(path)
        np.testing.assert_array_equal(samples.values[np.arange(7)], PIXELS)
        assert samples.labels.tolist() == LABELS.tolist() and samples.label_names == ("0", "1", "2", "3")
    assert isinstance(samples.values, np.memmap) == (end == "")


@pytest.mark.parametrize("dtype", CODES)
def test_every_type_of_number(tmp_path, dtype):
    array = (np.random.default_rng(1).normal(size=(3, 2, 2)) * 50).astype(dtype)
    write(tmp_path / "a.idx", array)
    np.testing.assert_array_equal(read(tmp_path / "a.idx").values[np.arange(3)], array)


def test_labels_from_elsewhere(tmp_path):
    write(tmp_path / "a.idx", PIXELS)
    assert read(tmp_path / "a.idx").labels is None
    write(tmp_path / "y.idx", LABELS)
    assert read(tmp_path / "a.idx", labels=str(tmp_path / "y.idx")).labels.tolist() == LABELS.tolist()
    (tmp_path / "y.csv").write_text("\n".join(["kind", *map(str, LABELS)]))
    assert read(tmp_path / "a.idx", labels=str(tmp_path / "y.csv")).labels.tolist() == LABELS.tolist()
    write(tmp_path / "y.idx", LABELS[:3])
    with pytest.raises(InputError, match="3 labels for the 7 samples"):
        read(tmp_path / "a.idx", labels=str(tmp_path / "y.idx"))
    with pytest.raises(InputError, match="no such file of labels"):
        read(tmp_path / "a.idx", labels=str(tmp_path / "none.idx"))
    with pytest.raises(InputError, match="these are labels"):
        read(tmp_path / "y.idx")


def test_splits_of_a_folder(tmp_path):
    write(tmp_path / "train-images-idx3-ubyte", PIXELS)
    write(tmp_path / "train-labels-idx1-ubyte", LABELS)
    write(tmp_path / "t10k-images-idx3-ubyte.gz", PIXELS[:4] // 2)
    write(tmp_path / "t10k-labels-idx1-ubyte.gz", LABELS[:4])
    assert [len(read(tmp_path, split=split)) for split in ("train", "test", "all")] == [7, 4, 11]
    assert read(tmp_path, split="all").labels.tolist() == [*LABELS, *LABELS[:4]]
    with pytest.raises(InputError, match="unknown split 'trian'; did you mean 'train'"):
        read(tmp_path, split="trian")


@pytest.mark.parametrize("keep", [2, 6, 20, -1])
def test_cut_off(tmp_path, keep):
    for name, content in (("a-idx3-ubyte", idx_bytes(PIXELS)), ("a-idx3-ubyte.gz", gzip.compress(idx_bytes(PIXELS)))):
        (tmp_path / name).write_bytes(content[:keep])
        with pytest.raises(InputError, match=r"ubyte(\.gz)?: (damaged or cut off|cut off|.* takes .* there are)"):
            read(tmp_path / name, "idx")
    assert len(content) > 20


def test_gzip_with_a_flipped_bit_and_files_that_are_not_idx(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(PIXELS)))
    content[-6] ^= 255  # in the checksum
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut off"):
        read(tmp_path / "a.gz", "idx")
    (tmp_path / "a.txt").write_text("not idx at all")
    with pytest.raises(InputError, match="not an IDX file"):
        read(tmp_path / "a.txt", "idx")
    with pytest.raises(InputError, match="no format recognises it"):
        read(tmp_path / "a.txt")


def test_no_samples(tmp_path):
    write(tmp_path / "a.idx", PIXELS[:0])
    with pytest.raises(InputError, match="holds no samples"):
        read(tmp_path / "a.idx")
