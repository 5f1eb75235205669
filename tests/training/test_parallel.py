"""One and two processes end with the same weights, up to rounding.

Not to the bit: two processes add their halves of a gradient in another order than one adds the whole, and a
matrix product over half a batch may round differently from the same rows of the whole one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train_in_parallel
from toy_problem import make_denoiser

from unstir.core.errors import InputError
from unstir.training.checkpoints import latest
from unstir.training.parallel import Group
from unstir.training.progress import read_progress

SCRIPT = Path(train_in_parallel.__file__)
STEPS = 30


def run_two(folder, *jobs):
    """Trains with two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, SCRIPT, folder, *jobs],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def noted(folder):
    """What each of the two processes noted at the end."""
    return [json.loads((folder / f"process-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    run_two(folder, f"ddp={STEPS}", f"fsdp={STEPS - 12}")
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train_in_parallel.run(folder, "ddp", STEPS)
    return folder


def check_agrees(folder, alone):
    for name in ("weights", "average-0.100", "levels"):
        mine, theirs = latest(folder).read(name), latest(alone).read(name)
        assert set(mine) == set(theirs)
        for key, tensor in theirs.items():
            scale = tensor.abs().max().clamp(min=1e-3)
            assert (mine[key] - tensor).abs().max() <= 1e-5 * scale, (name, key)
    losses = [[line["loss"] for line in read_progress(place / "progress.jsonl")] for place in (folder, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_replicas_agree_with_one_process(together, alone):
    first, second = noted(together / "ddp")
    assert first == second and first["kinds"] == ["Parameter"]
    assert len(set(first["levels"])) > 10  # the adaptive levels have learned, the same on both
    check_agrees(together / "ddp", alone)


def test_shards_agree_with_one_process_and_one_may_go_on_alone(together, alone):
    folder = together / "fsdp"
    first, second = noted(folder)
    assert first == second and first["kinds"] == ["DTensor"]
    assert latest(folder).state["processes"] == 2
    result = train_in_parallel.run(folder, "ddp", STEPS)
    assert result.resumed_from == STEPS - 12
    check_agrees(folder, alone)


@pytest.mark.slow
def test_two_may_go_on_with_what_one_began(tmp_path, alone):
    train_in_parallel.run(tmp_path / "fsdp", "ddp", 12)
    run_two(tmp_path, f"fsdp={STEPS}")
    check_agrees(tmp_path / "fsdp", alone)


def test_a_weight_of_the_denoiser_itself_cannot_be_sharded(monkeypatch):
    denoiser = make_denoiser()
    denoiser.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
    monkeypatch.setattr(torch.distributed, "init_device_mesh", lambda *given: None)
    group = Group("cpu")
    group.size, group.sharded = 2, True
    with pytest.raises(InputError, match="'scale' is its own weight; use parallel: ddp"):
        group.wrap(denoiser)
