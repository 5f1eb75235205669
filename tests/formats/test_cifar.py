"""The binary version of CIFAR-10 in its three forms."""

import io
import tarfile

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.formats.base import read

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (6, 4, 3, 32, 32)).astype(np.uint8)
LABELS = GENERATOR.integers(0, 10, (6, 4)).astype(np.uint8)
FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def contents():
    return {
        name: np.concatenate([LABELS[place][:, None], PIXELS[place].reshape(4, -1)], 1).tobytes()
        for place, name in enumerate(FILES)
    }


def write_folder(path):
    folder = path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    return folder


def write_archive(path):
    archive = path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in reversed(contents().items()):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_folder_and_archive(tmp_path, write):
    path = write(tmp_path)
    for split, places in (("train", range(5)), ("test", [5]), ("all", range(6))):
        samples = read(path, split=split)
        np.testing.assert_array_equal(samples.values, PIXELS[list(places)].reshape(-1, 3, 32, 32))
        assert samples.labels.tolist() == LABELS[list(places)].ravel().tolist()
    names = ("a", "b") if write is write_folder else ("airplane", "automobile")
    assert samples.label_names[:2] == names and len(samples.label_names) == 10


def test_a_single_file(tmp_path):
    samples = read(write_folder(tmp_path) / "data_batch_2.bin")
    np.testing.assert_array_equal(samples.values, PIXELS[1])


def test_damage(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "data_batch_3.bin").write_bytes(contents()["data_batch_3.bin"][:-7])
    with pytest.raises(InputError, match=r"data_batch_3\.bin has 12,285 bytes, not a whole number of records of 3,073"):
        read(folder)
    (folder / "data_batch_3.bin").write_bytes(b"\x0b" + contents()["data_batch_3.bin"][1:])
    with pytest.raises(InputError, match="row 8: label 11, but class numbers are 0 to 9"):
        read(folder)
    archive = write_archive(tmp_path)
    archive.write_bytes(archive.read_bytes()[:-5000])
    with pytest.raises(InputError, match="damaged or cut off"):
        read(archive)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(InputError, match="none of the files of the split 'test'"):
        read(folder, split="test")
