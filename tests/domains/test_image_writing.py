"""Samples written in the field's own format, and read back with the formats."""

import csv
import os

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.domains.images import images
from unstir.domains.images.encoding import ImageEncoding
from unstir.formats.base import read

LAYOUTS = {1: "hw", 3: "hwc", 4: "chw"}


def encoding(dtype="uint8", channels=1, low=0.0, high=None, names=("cat", "dog")):
    high = float(np.iinfo(dtype).max) if high is None else high
    return ImageEncoding(low, high, dtype, LAYOUTS.get(channels, "chw"), (channels, 5, 4), True, names)


def state(count, channels=1, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (count, channels, 5, 4)).astype(np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_files_hold_the_decoded_levels(tmp_path, dtype, channels):
    made = state(3, channels)
    files = images.write(encoding(dtype, channels), made, tmp_path / "samples", first=17)
    assert [file.name for file in files] == ["000017.png", "000018.png", "000019.png"]
    samples = read(tmp_path / "samples")
    expected = encoding(dtype, channels).decode(made)
    expected = np.moveaxis(expected, 1, -1) if channels == 4 else expected
    assert samples.values.dtype == dtype
    np.testing.assert_array_equal(samples.values[np.arange(3)], expected)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_hold_the_data_in_its_own_range(tmp_path, kind):
    coded = ImageEncoding(-3.0, 5.0, "float64", "chw", (2, 5, 4), False)
    made = state(6, 2)
    files = images.write(coded, made, tmp_path, labels=torch.tensor([1, 0, 1, 0, 0, 1]), kind=kind)
    assert [file.name for file in files] == [f"samples-000000.{kind}", "labels.csv"]
    samples = read(files[0])
    np.testing.assert_array_equal(samples.values[np.arange(6)], coded.decode(made))
    if kind == "npz":
        assert samples.labels.tolist() == [1, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("coded", "ending"),
    [
        (encoding(), "png"),
        (encoding("uint16", 3), "png"),
        (encoding(high=16.0), "npz"),
        (encoding(channels=2), "npz"),
        (ImageEncoding(0.0, 1.0, "float32", "hw", (1, 5, 4)), "npz"),
    ],
)
def test_the_kind_of_file_follows_from_the_data(tmp_path, coded, ending):
    files = images.write(coded, state(1, coded.shape[0]), tmp_path)
    assert files[0].suffix == f".{ending}"


def test_labels_are_kept_in_a_table_that_grows_and_reads_back(tmp_path):
    images.write(encoding(), state(2), tmp_path, labels=np.array([1, 0]), first=2)
    images.write(encoding(), state(2, seed=1), tmp_path, labels=np.array([1, 1]))
    with (tmp_path / "labels.csv").open(newline="") as table:
        assert list(csv.reader(table)) == [
            ["file", "sample", "label", "name"],
            ["000000.png", "0", "1", "dog"],
            ["000001.png", "1", "1", "dog"],
            ["000002.png", "2", "1", "dog"],
            ["000003.png", "3", "0", "cat"],
        ]
    samples = read(tmp_path, labels="labels.csv", column="name")
    assert samples.labels.tolist() == [1, 1, 1, 0] and samples.label_names == ("cat", "dog")


def test_other_content_is_never_replaced_unasked(tmp_path):
    first = images.write(encoding(), state(2), tmp_path)
    kept = [file.read_bytes() for file in first]
    assert images.write(encoding(), state(2), tmp_path) == first  # the same content: nothing to refuse
    with pytest.raises(InputError, match=r"000000\.png and 1 more: there are other samples here already"):
        images.write(encoding(), state(2, seed=1), tmp_path)
    assert [file.read_bytes() for file in first] == kept
    images.write(encoding(), state(2, seed=1), tmp_path, overwrite=True)
    assert [file.read_bytes() for file in first] != kept


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    images.write(encoding(), state(1), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        images.write(encoding(), state(1, seed=1), tmp_path, overwrite=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="unknown kind of picture file 'pgn'; did you mean 'png'"):
        images.write(encoding(), state(1), tmp_path, kind="pgn")
    with pytest.raises(InputError, match="2 samples, but labels of shape"):
        images.write(encoding(), state(2), tmp_path, labels=np.array([1]))
    with pytest.raises(InputError, match="PNG holds 1, 3 or 4 channels, these pictures have 2"):
        images.write(encoding(channels=2), state(2, 2), tmp_path, kind="png")
    assert not list(tmp_path.iterdir())
