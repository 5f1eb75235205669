"""Fetching: mirrors in turn, checksums, the cache; against a server in this process."""

import functools
import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np
import pytest

from unstir.core.catalogue import find
from unstir.core.errors import InputError
from unstir.formats.base import read
from unstir.formats.idx import read_public
from unstir.formats.public import PublicFiles

pytest.importorskip("pooch")
DEAD = "http://127.0.0.1:9/"


@pytest.fixture
def server(tmp_path):
    """A folder, and the address that serves it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{running.server_port}/"
    running.shutdown()
    running.server_close()


PIXELS = np.random.default_rng(0).integers(0, 256, (7, 4, 5)).astype(np.uint8)
LABELS = np.array([3, 0, 1, 2, 3, 1, 0], np.uint8)


def publish(folder):
    """The four usual files; their SHA-256 by name."""
    hashes = {}
    for name, array in (
        ("train-images-idx3-ubyte.gz", PIXELS),
        ("train-labels-idx1-ubyte.gz", LABELS),
        ("t10k-images-idx3-ubyte.gz", PIXELS[:4]),
        ("t10k-labels-idx1-ubyte.gz", LABELS[:4]),
    ):
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (folder / name).write_bytes(gzip.compress(header + array.tobytes()))
        hashes[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return hashes


def test_a_set_is_fetched_once_from_the_first_mirror_that_answers(server, tmp_path):
    served, address = server
    public = PublicFiles("tiny", publish(served), (DEAD, address))
    kept = tmp_path / "kept"
    samples = read_public(public, kept, "all", ("a", "b", "c", "d"))
    assert len(samples) == 11 and samples.source == "tiny" and samples.label_names == ("a", "b", "c", "d")
    for file in served.iterdir():
        file.unlink()
    again = read_public(public, kept, "train")
    np.testing.assert_array_equal(again.values, samples.values[:7])


def test_other_content_than_the_checksum_is_refused_and_not_kept(server, tmp_path):
    served, address = server
    public = PublicFiles("tiny", publish(served), (address,))
    (served / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz could not be fetched.*hash"):
        read_public(public, tmp_path / "kept", "train")
    assert not (tmp_path / "kept" / "train-images-idx3-ubyte.gz").exists()


def test_without_a_network_the_error_says_what_to_do(tmp_path):
    public = PublicFiles("tiny", {"train-images-idx3-ubyte.gz": "0" * 64}, (DEAD,))
    with pytest.raises(InputError, match="Without a network, put the file into"):
        read_public(public, tmp_path, "train")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar-10"])
def test_the_sets_are_in_the_catalogue_with_whole_checksums(name):
    entry = find("formats", name)
    assert entry.summary and entry.source
    hashes = __import__(entry.target.split(":")[0], fromlist=["_FILES"])._FILES.hashes
    assert len(hashes) in (1, 4) and all(len(bytes.fromhex(digest)) == 32 for digest in hashes.values())
    with pytest.raises(InputError, match="unknown split"):
        read(name, split="trian")


def test_digits_are_all_there():
    samples = read("digits")
    assert samples.values.shape == (1797, 8, 8) and samples.values.dtype == np.uint8
    assert samples.values.min() == 0 and samples.values.max() == 16
    counts = np.bincount(samples.labels)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as their authors state
