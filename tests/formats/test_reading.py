"""Samples, labels, and the choice of a format."""

import numpy as np
import pytest

from unstir.core.catalogue import entries
from unstir.core.errors import InputError
from unstir.formats.base import Format, Samples, read
from unstir.formats.labels import class_numbers, read_labels
from unstir.formats.survey import survey


def test_every_format_is_documented_and_whole():
    for entry in entries("formats").values():
        assert isinstance(entry.load(), Format) and entry.summary.endswith(".") and entry.source, entry.name


@pytest.mark.parametrize(
    ("raw", "numbers", "names"),
    [
        ([0, 2, 1], [0, 2, 1], ("0", "1", "2")),
        ([26, 1, 1], [1, 0, 0], ("1", "26")),
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        ([b"b", b"a"], [1, 0], ("a", "b")),
        ([1.0, 0.0], [1, 0], ("0", "1")),
        ([True, False], [1, 0], ("0", "1")),
    ],
)
def test_labels_become_class_numbers(raw, numbers, names):
    found, found_names = class_numbers(np.array(raw), "here")
    assert found.tolist() == numbers and found.dtype == np.int64 and found_names == names


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([0, -1, 1], "row 1: label -1"),
        ([0.5, 1.0], r"row 0: label 0\.5"),
        ([0.0, np.nan], "row 1: label nan"),
        ([["a"], ["b"]], r"labels of shape \(2, 1\)"),
        (["a", " "], "row 1: the label is empty"),
        ([1j], "labels are of type complex128"),
    ],
)
def test_wrong_labels(raw, message):
    with pytest.raises(InputError, match=message):
        class_numbers(np.array(raw), "here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"kind\n", "a line of column names and a line for each sample"),
        (b"a,b\n1,2\n3\n", "line 3 has 1 entries, the first has 2"),
        (b"kind\n\xff\xfe\n", "cannot be read as a table"),
        (b"kind\n1\n2\n3\n", "3 labels for 2 samples"),
        (b"kind\n1\n-2\n", "label -2"),
    ],
)
def test_wrong_tables(tmp_path, content, message):
    (tmp_path / "y.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / "y.csv", None, 2)


def test_labels_cut_off_or_missing(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(50))
    (tmp_path / "y.npy").write_bytes((tmp_path / "y.npy").read_bytes()[:-3])
    with pytest.raises(InputError, match="cannot be read as an array of labels"):
        read_labels(tmp_path / "y.npy", None, 50)
    with pytest.raises(InputError, match="no such file of labels"):
        read_labels(tmp_path / "z.csv", None, 50)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (np.zeros(2, int), (), "3 samples, but labels of shape"),
        (np.array([0, -3, -3]), (), r"rows 1, 2 \(2 in all\): label -3"),
        (np.array([0, 1, 2]), ("a", "b"), "row 2: label 2, but class numbers are 0 to 1"),
        (np.zeros(3), (), "class numbers must be integers"),
    ],
)
def test_samples_refuse_labels_that_do_not_fit(labels, names, message):
    with pytest.raises(InputError, match=message):
        Samples(np.zeros((3, 2)), "here", labels, names)


def test_a_missing_path_and_its_nearest_neighbour(tmp_path):
    np.save(tmp_path / "weather.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"no such file or folder; did you mean 'weather\.npy'"):
        read(tmp_path / "wether.npy")
    with pytest.raises(InputError, match=r"nor is it a public set .*digits"):
        read("no/such/place")
    with pytest.raises(InputError, match="no data given"):
        read()
    with pytest.raises(InputError, match="unknown format 'ixd'; did you mean 'idx'"):
        read(tmp_path, "ixd")
    with pytest.raises(InputError, match="the format 'idx' needs a path"):
        read(format="idx")


def test_a_name_that_is_both_a_path_and_a_set_is_refused(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="a path here and the name of a public set too"):
        read("digits")
    assert len(read(format="digits")) == 1797


def test_the_survey_is_the_same_in_chunks_of_any_size(monkeypatch):
    values = np.random.default_rng(0).normal(size=(100, 3, 3))
    samples = Samples(values, "here", np.arange(100) % 5)
    whole = survey(samples)
    monkeypatch.setattr("unstir.formats.survey._CHUNK_BYTES", 1000)
    assert survey(samples) == whole or survey(samples).digest == whole.digest
    other = Samples(values, "here", np.arange(100) % 4)
    assert survey(other).digest != whole.digest
    assert survey(Samples(values[::-1].copy(), "here", samples.labels)).digest != whole.digest
