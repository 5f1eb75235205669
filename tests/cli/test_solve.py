"""`unstir solve` as a user meets it."""

import json
import subprocess
import sys

import pytest

from unstir.run.recipe import load
from unstir.run.training import train_run

SMALL = (
    "network={name: unet, widths: [8, 16], blocks: 1, attention: [1], head_width: 16}",
    "training.steps=4",
    "training.batch=16",
    "sampling.steps=2",
    "sampling.batch=16",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("solve")
    train_run(load("digits", SMALL), place / "digits", progress=False)
    return place


def unstir(*arguments, cwd, check=True):
    command = [sys.executable, "-m", "unstir.cli", "solve", "digits", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done


def test_it_writes_a_page_and_says_where(place):
    options = ("--operator", "box,hidden=0.25", "--method", "ddrm,eta=0.5", "--steps", "2", "--count", "4")
    done = unstir(
        *options, "--noise", "gaussian,deviation=2e-1", "--condition", "label=3", "--calibrate", "2", cwd=place
    )
    page = place / done.stdout.strip().removeprefix("solution: ")
    folder = place / "digits" / "solutions" / "box_ddrm_row-0_seed-0_label-3"
    assert page == folder / "solution.html" and page.stat().st_size > 10_000
    told = json.loads((folder / "solution.json").read_text())
    assert told["operator"] == {"name": "box", "hidden": 0.25} and told["method"]["eta"] == 0.5
    assert told["noise"]["deviation"] == 0.2 and told["condition"] == {"label": 3}
    assert told["calibration"]["problems"] == 2 and "calibrating" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--operator", "boxx"], "did you mean 'box'"),
        (["--operator", "box", "--data", "nowhere.png"], "there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line_and_exit_code_2(arguments, said, place):
    done = unstir(*arguments, "--method", "ddrm", cwd=place, check=False)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
