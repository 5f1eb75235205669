"""Many samples, block by block: interrupted and taken up, by one process and by two."""

import os
import signal
import subprocess
import sys
import time

import pytest

from unstir.core.errors import InputError
from unstir.run.folder import RunFolder
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun, sample_run
from unstir.run.training import train_run

SMALL = (
    "data={residues: 2, count: 200}",
    "network={name: mlp, width: 8, depth: 1, embedding: 8}",
    "training.steps=4",
    "training.batch=16",
    "sampling.steps=3",
    "sampling.batch=8",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "angles"
    train_run(load("angles", SMALL), place, progress=False)
    return RunFolder.open(place)


def drawn(folder, out, **how):
    files = sample_run(TrainedRun(folder), 37, first=5, out=out, progress=False, **how)
    return {file.name: file.read_bytes() for file in files}


def counted(run, after=None):
    """A run that counts its draws, and is interrupted after so many of them."""
    calls, own = [], run.draw

    def draw(denoiser, seeds, *rest, **how):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(seeds.samples.tolist())
        return own(denoiser, seeds, *rest, **how)

    run.draw = draw
    return calls


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    return drawn(folder, tmp_path_factory.mktemp("whole"))


def test_two_workers_draw_what_one_does(folder, whole, tmp_path):
    assert drawn(folder, tmp_path, workers=2) == whole
    assert not list(folder.samples.glob(".unfinished*"))


def test_an_interrupted_drawing_goes_on_where_it_stopped(folder, whole, tmp_path):
    run = TrainedRun(folder)
    first = counted(run, after=3)
    with pytest.raises(KeyboardInterrupt):
        sample_run(run, 37, first=5, out=tmp_path, progress=False)
    # 5 to 41 in blocks of eight: 5-7, 8-15, 16-23, and so on
    assert [numbers[0] for numbers in first] == [5, 8, 16]
    run = TrainedRun(folder)
    second = counted(run)
    files = sample_run(run, 37, first=5, out=tmp_path, progress=False)
    assert [numbers[0] for numbers in second] == [24, 32, 40]
    assert {file.name: file.read_bytes() for file in files} == whole


@pytest.fixture
def begun(folder):
    """A command that draws 14 blocks with two workers, of which some are drawn already, in a group of its own."""
    command = [sys.executable, "-m", "unstir.cli", "sample", str(folder.path), "--count", "112", "--steps", "80"]
    with subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.PIPE, start_new_session=True) as process:
        while process.poll() is None and len(blocks(folder)) < 4:
            time.sleep(0.02)
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for block in blocks(folder):
        block.unlink()


def blocks(folder):
    return list(folder.samples.glob(".unfinished/*/*.safetensors"))


def test_two_workers_are_interrupted_like_one(folder, begun, tmp_path):
    os.killpg(begun.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, told = begun.communicate(timeout=120)
    assert begun.returncode == 130
    assert b"interrupted; the same command goes on" in told
    assert b"Traceback" not in told
    kept = len(blocks(folder))
    assert 4 <= kept < 13
    run = TrainedRun(folder)
    calls = counted(run)
    files = sample_run(run, 112, steps=80, out=tmp_path / "taken up", progress=False)
    assert len(calls) == 14 - kept
    again = sample_run(TrainedRun(folder), 112, steps=80, out=tmp_path / "at once", progress=False)
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]


def test_workers_whose_caller_was_killed_end(folder, begun):
    os.kill(begun.pid, signal.SIGKILL)
    begun.wait(timeout=60)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            os.killpg(begun.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker lives on")
    assert len(blocks(folder)) < 13


def test_another_order_does_not_take_up_the_blocks_of_the_first(folder, tmp_path):
    run = TrainedRun(folder)
    counted(run, after=1)
    with pytest.raises(KeyboardInterrupt):
        sample_run(run, 16, out=tmp_path, progress=False)
    for how in ({"seed": 3}, {"steps": 2}, {"sampler": "ancestral"}):
        run = TrainedRun(folder)
        calls = counted(run)
        sample_run(run, 16, out=tmp_path / str(how), progress=False, **how)
        assert len(calls) == 2


def test_a_block_that_was_broken_is_drawn_anew(folder, whole, tmp_path):
    run = TrainedRun(folder)
    counted(run, after=3)
    with pytest.raises(KeyboardInterrupt):
        sample_run(run, 37, first=5, out=tmp_path, progress=False)
    for broken in folder.samples.glob(".unfinished/*/000000001.safetensors"):
        broken.write_bytes(b"torn")
    run = TrainedRun(folder)
    calls = counted(run)
    files = sample_run(run, 37, first=5, out=tmp_path, progress=False)
    assert {file.name: file.read_bytes() for file in files} == whole
    assert [numbers[0] for numbers in calls] == [8, 24, 32, 40]


def test_less_than_one_worker_is_refused(folder):
    with pytest.raises(InputError, match="at least 1 worker"):
        sample_run(TrainedRun(folder), 3, workers=0, progress=False)
