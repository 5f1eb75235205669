"""npy, npz, HDF5 and Zarr: what is read, how lazily, and what is refused."""

import sys

import numpy as np
import pytest

from unstir.core.errors import InputError, NotInstalledError
from unstir.formats.base import read
from unstir.formats.survey import survey

VALUES = np.random.default_rng(0).normal(size=(12, 4, 5)).astype(np.float32)
LABELS = np.arange(12) % 3
ORDER = np.array([5, 0, 5, 11, 2])


def write_npz(path, **arrays):
    np.savez(path, **arrays)


def write_hdf5(path, **arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=True)


def write_zarr(path, **arrays):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w")
    for name, array in arrays.items():
        group.create_array(name, data=array, chunks=(5, *array.shape[1:]))


KINDS = {"npz": write_npz, "h5": write_hdf5, "zarr": write_zarr}
each_kind = pytest.mark.parametrize("kind", KINDS)


def test_npy_is_memory_mapped_and_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    samples = read(tmp_path / "a.npy")
    assert type(samples.values) is np.memmap and samples.labels is None
    np.testing.assert_array_equal(samples.values[ORDER], VALUES[ORDER])
    assert type(survey(samples, keep_bytes=VALUES.nbytes - 1).values) is np.memmap
    assert type(survey(samples, keep_bytes=VALUES.nbytes).values) is np.ndarray


def test_a_huge_npy_takes_no_memory(tmp_path):
    """A terabyte of zeros, sparse on disk: could not be read if it were loaded."""
    path = tmp_path / "huge.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**24, 256, 256)})
        try:
            file.truncate(file.tell() + 2**40)
        except OSError:
            pytest.skip("this file system has no sparse files of a terabyte")
    samples = read(path)
    assert samples.shape == (256, 256) and not samples.values[np.array([2**24 - 1, 17])].any()


def test_npy_in_fortran_order_and_big_endian(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(VALUES.astype(">f4")))
    np.testing.assert_array_equal(read(tmp_path / "a.npy").values[ORDER], VALUES[ORDER])


def test_npy_with_labels_beside(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    np.save(tmp_path / "y.npy", LABELS)
    (tmp_path / "y.csv").write_text("\n".join(["kind", *("abc"[label] for label in LABELS)]))
    assert read(tmp_path / "a.npy", labels=str(tmp_path / "y.npy")).labels.tolist() == LABELS.tolist()
    named = read(tmp_path / "a.npy", labels=str(tmp_path / "y.csv"))
    assert named.labels.tolist() == LABELS.tolist() and named.label_names == ("a", "b", "c")
    np.save(tmp_path / "y.npy", LABELS[:-1])
    with pytest.raises(InputError, match="11 labels for 12 samples"):
        read(tmp_path / "a.npy", labels=str(tmp_path / "y.npy"))


@pytest.mark.parametrize("keep", [0, 4, 40, 200, -1])
def test_npy_cut_off(tmp_path, keep):
    np.save(tmp_path / "a.npy", VALUES)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:keep])
    with pytest.raises(InputError, match=r"a\.npy: (cut off|not a NumPy array, or one cut off)"):
        read(tmp_path / "a.npy")


def test_npy_of_objects_is_not_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(tmp_path / "a.npy", np.array([Trap()]), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        read(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", values=np.array([Trap()]))
    with pytest.raises(InputError, match="Python objects"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4)])
def test_empty_arrays(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(InputError, match="holds no samples"):
        read(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", np.zeros(shape))
    with pytest.raises(InputError, match="holds no samples"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("array", [np.zeros(()), np.zeros((3, 2), complex), np.array(["a", "b"])])
def test_arrays_that_are_no_samples(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=r"a single number|values are of type"):
        read(tmp_path / "a.npy")


@each_kind
def test_named_arrays(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    KINDS[kind](path, images=VALUES, labels=LABELS)
    samples = read(path)
    assert samples.shape == (4, 5) and samples.values.dtype == np.float32
    np.testing.assert_array_equal(samples.values[ORDER], VALUES[ORDER])
    np.testing.assert_array_equal(samples.values[np.arange(3, 9)], VALUES[3:9])
    assert samples.values[np.array([], int)].shape == (0, 4, 5)
    assert samples.labels.tolist() == LABELS.tolist() and samples.labels.dtype == np.int64


@each_kind
def test_arrays_are_chosen_by_name_where_they_are_not_plain(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    KINDS[kind](path, day=VALUES, night=-VALUES, first=LABELS, second=2 - LABELS)
    with pytest.raises(InputError, match=r"which array holds the samples.*day \(12, 4, 5\)"):
        read(path)
    samples = read(path, values="night", labels="second")
    np.testing.assert_array_equal(samples.values[ORDER], -VALUES[ORDER])
    assert samples.labels.tolist() == (2 - LABELS).tolist()
    with pytest.raises(InputError, match=r"unknown array for data\.values 'nigth'; did you mean 'night'"):
        read(path, values="nigth")


@each_kind
def test_wrong_labels(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    KINDS[kind](path, values=VALUES, labels=LABELS - 1)
    with pytest.raises(InputError, match=r"row 0, 3, 6, 9 \(4 in all\): label -1"):
        read(path)
    KINDS[kind](path, values=VALUES, mine=LABELS[:5])
    with pytest.raises(InputError, match=r"12 samples, but labels of shape \(5,\)"):
        read(path, labels="mine")
    KINDS[kind](path, values=VALUES, labels=LABELS + 0.5)
    with pytest.raises(InputError, match=r"label 0\.5; class numbers are whole"):
        read(path)


@each_kind
def test_not_finite(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    broken = VALUES.copy()
    broken[3, 1, 2], broken[7, 0, 0] = np.nan, np.inf
    KINDS[kind](path, values=broken)
    with pytest.raises(InputError, match=r"rows 3, 7 \(2 in all\) of 12: hold NaN or infinity"):
        survey(read(path))


@each_kind
def test_content_has_one_digest_in_every_format(tmp_path, kind):
    np.save(tmp_path / "a.npy", VALUES)
    KINDS[kind](tmp_path / f"a.{kind}", values=VALUES)
    KINDS[kind](tmp_path / f"b.{kind}", values=VALUES + np.float32(1e-3))
    reference = survey(read(tmp_path / "a.npy"))
    assert survey(read(tmp_path / f"a.{kind}")).digest == reference.digest
    assert survey(read(tmp_path / f"b.{kind}")).digest != reference.digest
    assert (reference.low, reference.high) == (VALUES.min(), VALUES.max())


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_files_cut_off(tmp_path, kind, share):
    path = tmp_path / f"a.{kind}"
    KINDS[kind](path, values=VALUES)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"a\.\w+: cannot be read as"):
        read(path)


def test_zarr_with_a_damaged_chunk(tmp_path):
    write_zarr(tmp_path / "a.zarr", values=VALUES)
    chunk = next(file for file in sorted((tmp_path / "a.zarr" / "values" / "c").rglob("*")) if file.is_file())
    chunk.write_bytes(b"not a chunk")
    with pytest.raises(InputError, match="cannot be read"):
        survey(read(tmp_path / "a.zarr"))


def test_a_single_zarr_array_and_groups_within_groups(tmp_path):
    zarr = pytest.importorskip("zarr")
    h5py = pytest.importorskip("h5py")
    zarr.create_array(str(tmp_path / "single"), data=VALUES)
    np.testing.assert_array_equal(read(tmp_path / "single").values[ORDER], VALUES[ORDER])
    zarr.open_group(str(tmp_path / "deep.zarr"), mode="w").create_group("train").create_array("x", data=VALUES)
    np.testing.assert_array_equal(read(tmp_path / "deep.zarr").values[ORDER], VALUES[ORDER])
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["train/x"] = VALUES
        file["train/y"] = [f"class {label}" for label in LABELS]
    samples = read(tmp_path / "deep.h5")
    assert samples.label_names == ("class 0", "class 1", "class 2")
    np.testing.assert_array_equal(samples.values[ORDER], VALUES[ORDER])


@pytest.mark.parametrize(("kind", "package"), [("h5", "h5py"), ("zarr", "zarr")])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, kind, package):
    KINDS[kind](tmp_path / f"a.{kind}", values=VALUES)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotInstalledError, match=r"unstir\[arrays\]"):
        read(tmp_path / f"a.{kind}")


def test_stored_rows_survive_pickling(tmp_path):
    import pickle

    write_hdf5(tmp_path / "a.h5", values=VALUES)
    copied = pickle.loads(pickle.dumps(read(tmp_path / "a.h5").values))
    np.testing.assert_array_equal(copied[ORDER], VALUES[ORDER])
