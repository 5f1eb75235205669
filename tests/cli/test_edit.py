"""The verb `edit` on the command line: options reach the work, mistakes end without a traceback."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unstir.cli import commands
from unstir.core.errors import InputError
from unstir.run import editing, sampling
from unstir.run.folder import RunFolder


@pytest.fixture
def told(monkeypatch, tmp_path):
    """What the verb hands on, without a run."""
    seen = {}

    def work(run, file, options, out):
        seen.update(file=file, options=options, out=out)
        return editing.Edited([tmp_path / "x-000000.png"], ("a remark",))

    monkeypatch.setattr(RunFolder, "open", classmethod(lambda cls, path: path))
    monkeypatch.setattr(sampling, "TrainedRun", lambda folder, device: folder)
    monkeypatch.setattr(editing, "edit_run", work)
    return seen


def test_every_option_reaches_the_work(told):
    words = (
        "edit runs/x in.png --strength 0.3 --mask alpha --outpaint 1,2,3,4 --condition label=3"
        " --source-condition label=8"
        " --style a.png --style b.png --style-strength 2 --tile --seamless --count 2 --seed 7 --steps 9 --method dps"
        " --noise 0.1 --factor 4 --blur 2.5 --out there"
    )
    done = CliRunner().invoke(commands.app, words.split())
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "a remark" and done.stdout.splitlines()[1].startswith("1 picture: ")
    assert told["file"] == "in.png" and str(told["out"]) == "there"
    assert told["options"] == editing.EditOptions(
        strength=0.3, mask="alpha", outpaint=(1, 2, 3, 4), condition={"label": 3}, source={"label": 8},
        style=("a.png", "b.png"), style_strength=2.0, tile=True, seamless=True, count=2, seed=7, steps=9, method="dps",
        noise=0.1, factor=4, blur=2.5,
    )  # fmt: skip


def test_left_to_themselves_they_are_the_defaults(told):
    assert CliRunner().invoke(commands.app, ["edit", "runs/x", "in.png"]).exit_code == 0
    assert told["options"] == editing.EditOptions() and told["out"] is None


def test_mistakes_are_input_errors(told, tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "in.png")
    for words, said in (
        (["--outpaint", "1,two,3,4"], "four whole numbers"),
        (["--restore", "inpait"], "did you mean 'inpaint'"),
        (["--condition", "label"], "name=value"),
    ):
        done = CliRunner().invoke(commands.app, ["edit", "runs/x", str(tmp_path / "in.png"), *words])
        assert isinstance(done.exception, InputError) and said in str(done.exception)
