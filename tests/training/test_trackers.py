import sys
import types

import pytest
from toy_problem import Points, make_denoiser

from unstir.core.catalogue import entries
from unstir.core.errors import NotInstalledError
from unstir.training.loop import train
from unstir.training.progress import read_progress
from unstir.training.trackers.base import flatten
from unstir.training.trackers.wandb import WandbTracker

OPTIONS = {"steps": 6, "batch": 16, "log_every": 2, "precision": "float32", "ema": None}


def test_a_line_becomes_flat_numbers():
    line = {"step": 4, "loss": 0.5, "by_log_snr": [[-1.0, 0.25, 7]], "evaluation": {"frechet": 2, "name": "x"}}
    assert flatten(line) == {"loss": 0.5, "loss_by_log_snr/-1": 0.25, "evaluation/frechet": 2.0}


def test_the_catalogue_holds_both():
    assert set(entries("trackers")) == {"tensorboard", "wandb"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own imports
def test_tensorboard_reads_back_what_was_logged(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = {**OPTIONS, "trackers": ["tensorboard"]}
    train(make_denoiser(), Points(), options, tmp_path, progress=False, evaluate=lambda denoiser, step: {"far": 3.0})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    lines = read_progress(tmp_path / "progress.jsonl")
    assert [event.step for event in events.Scalars("loss")] == [line["step"] for line in lines] == [2, 4, 6]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([line["loss"] for line in lines])
    assert [event.value for event in events.Scalars("evaluation/far")] == [3.0]
    assert "recipe/text_summary" in events.Tags()["tensors"]


@pytest.fixture
def fake_wandb(monkeypatch):
    """A module that notes what is asked of it, in the place of the real one."""
    noted = {"init": [], "log": [], "finished": 0}

    class Run:
        id = "abc123"

        def log(self, values, step):
            noted["log"].append((step, values))

        def finish(self):
            noted["finished"] += 1

    def init(**given):
        noted["init"].append(given)
        return Run()

    module = types.ModuleType("wandb")
    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return noted


def test_wandb_is_told_every_line_and_resumes_its_run(tmp_path, fake_wandb):
    tracker = {"name": "wandb", "project": "digits", "mode": "offline"}
    for steps in (4, 6):
        options = {**OPTIONS, "steps": steps, "trackers": [tracker]}
        train(make_denoiser(), Points(), options, tmp_path, progress=False, recipe={"seed": 0})
    first, second = fake_wandb["init"]
    assert (first["project"], first["mode"], first["name"], first["id"]) == ("digits", "offline", tmp_path.name, None)
    assert first["config"] == {"seed": 0} and second["id"] == "abc123"
    assert [step for step, _ in fake_wandb["log"]] == [2, 4, 6] and fake_wandb["finished"] == 2
    losses = [line["loss"] for line in read_progress(tmp_path / "progress.jsonl")]
    assert [values["loss"] for _, values in fake_wandb["log"]] == losses


@pytest.mark.parametrize(("name", "module"), [("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotInstalledError, match=rf"'{name}', which is not installed; .*unstir\[tracking\]"):
        train(make_denoiser(), Points(), {**OPTIONS, "trackers": [name]}, tmp_path, progress=False)


def test_a_tracker_that_never_started_finishes_quietly():
    WandbTracker().finish()
