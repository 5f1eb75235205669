"""Files appear whole or not at all."""

import os
import stat

import pytest

from unstir.core.files import write_whole


def test_bytes_and_writers_give_the_same_file(tmp_path):
    first = write_whole(tmp_path / "first.bin", b"all of it")
    second = write_whole(tmp_path / "second.bin", lambda file: file.write(b"all of it"))
    assert first.read_bytes() == second.read_bytes() == b"all of it"


def test_a_failed_writer_leaves_what_was_there_and_nothing_else(tmp_path):
    path = write_whole(tmp_path / "kept.bin", b"before")

    def fails(file):
        file.write(b"half")
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="power"):
        write_whole(path, fails)
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.bin"]


def test_files_have_the_usual_permissions(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert stat.S_IMODE(os.stat(write_whole(tmp_path / "whole", b"")).st_mode) == stat.S_IMODE(os.stat(plain).st_mode)
