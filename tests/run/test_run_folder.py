"""The run folder: refused where it holds another run, written whole or not at all."""

import json
import os
import stat

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.run.folder import RunFolder, differences, write_arrays, write_text
from unstir.run.recipe import load


def recipe(**changes):
    return load({"name": "small", "data": {"format": "digits"}, **changes})


def test_a_folder_of_another_recipe_is_refused_by_the_keys_that_differ(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.start(recipe())
    run.start(recipe())
    with pytest.raises(InputError, match=r"seed: 0 -> 1.*--folder"):
        run.start(recipe(seed=1))
    with pytest.raises(InputError, match=r"training\.batch: 256 -> 8"):
        run.start(recipe(training={"batch": 8}))


def test_what_the_weights_do_not_depend_on_may_change(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.start(recipe())
    changed = recipe(training={"steps": 20_000, "device": "cpu"}, sampling={"steps": 5})
    run.start(changed)
    assert run.recipe() == changed


def test_what_is_no_run_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        RunFolder.open(tmp_path)


def test_differences_name_dotted_keys():
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": 4}) == [
        "a.c: 2 -> 5",
        "d: 3 -> None",
        "e: None -> 4",
    ]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "values.npz"
    write_arrays(file, {"x": np.arange(3)})
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(file, {"y": np.arange(2), "x": np.array([object()])})
    with np.load(file) as kept:
        assert kept["x"].tolist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["values.npz"]


def test_files_are_readable_by_others_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "a.txt", "text")
        write_arrays(tmp_path / "b.npz", {"x": np.zeros(2)})
    finally:
        os.umask(before)
    for name in ("a.txt", "b.npz"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644


def test_json_without_numbers_that_json_does_not_know(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        run.write_json("a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="not readable"):
        run.read_json("a.json")
    run.write_json("a.json", {"x": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
