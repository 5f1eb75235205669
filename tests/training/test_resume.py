"""Killed with SIGKILL and resumed, a run ends with the weights of one that was never touched, to the bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import train_and_wait
from toy_problem import same_bits

from unstir.training.checkpoints import latest, load_average
from unstir.training.progress import read_progress

SCRIPT = Path(train_and_wait.__file__)
TIMELESS = ("step", "samples", "loss", "learning_rate", "gradient_norm", "by_log_snr")


def kill_at(folder, *moment):
    """Starts the training as a process of its own and kills it at that moment."""
    (folder / "now").unlink(missing_ok=True)
    with subprocess.Popen(
        [sys.executable, SCRIPT, folder, *map(str, moment)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    ) as child:
        try:
            limit = time.monotonic() + 120
            while not (folder / "now").exists():
                assert child.poll() is None, child.stderr.read().decode()
                assert time.monotonic() < limit, "the training did not come to that moment"
                time.sleep(0.005)
        finally:
            child.kill()
    assert child.returncode == -signal.SIGKILL
    return latest(folder)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untouched")
    train_and_wait.run(folder)
    return folder


def check_equal(folder, untouched):
    first, second = latest(folder), latest(untouched)
    assert first.step == second.step == train_and_wait.OPTIONS["steps"]
    names = sorted(path.stem for path in second.path.glob("*.safetensors"))
    assert names == ["average-0.050", "average-0.100", "levels", "optimizer", "weights"]
    for name in names:
        assert same_bits(first.read(name), second.read(name)), name
    assert same_bits(load_average(folder, 0.07), load_average(untouched, 0.07))
    lines = [read_progress(place / "progress.jsonl") for place in (folder, untouched)]
    assert [[line[key] for key in TIMELESS] for line in lines[0]] == [
        [line[key] for key in TIMELESS] for line in lines[1]
    ]
    assert not list(folder.rglob(".unfinished-*"))


def test_killed_again_and_again_it_ends_the_same(tmp_path, untouched):
    """Between two steps' checkpoints, in the middle of writing one, and before one takes its name."""
    assert kill_at(tmp_path, "step", 6).step == 6
    assert kill_at(tmp_path, "write", "optimizer.safetensors", 2).step == 7
    assert list(tmp_path.rglob(".unfinished-*"))
    # renames after step 7 (one checkpoint each, a snapshot at 12): the sixth is the checkpoint of step 12
    assert kill_at(tmp_path, "rename", 6).step == 11
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"step": 20, "los')  # a line that a kill cut short
    train_and_wait.run(tmp_path)
    check_equal(tmp_path, untouched)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights", "levels", "average-0.100"])
def test_killed_before_the_first_checkpoint_it_begins_anew(tmp_path, untouched, name):
    assert kill_at(tmp_path, "write", f"{name}.safetensors", 1) is None
    train_and_wait.run(tmp_path)
    check_equal(tmp_path, untouched)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 6, 7, 20])
def test_killed_in_the_middle_of_a_state_it_ends_the_same(tmp_path, untouched, count):
    """Snapshots have one, too: the sixth is that of step 6's snapshot, the seventh that of its checkpoint."""
    assert kill_at(tmp_path, "write", "state.json", count).step == count - 1 - count // 7
    train_and_wait.run(tmp_path)
    check_equal(tmp_path, untouched)


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_killed_at_any_time_it_ends_the_same(tmp_path, untouched, fraction):
    """By the clock, wherever the process happens to be."""
    with subprocess.Popen([sys.executable, SCRIPT, tmp_path, "none"]) as child:
        while latest_step(tmp_path) < fraction * train_and_wait.OPTIONS["steps"]:
            time.sleep(0.001)
        time.sleep(0.02 * fraction)
        child.kill()
    train_and_wait.run(tmp_path)
    check_equal(tmp_path, untouched)


def latest_step(folder):
    return max((int(path.name[5:]) for path in folder.glob("checkpoints/step-*")), default=-1)
