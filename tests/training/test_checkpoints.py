import json

import pytest
import torch
from toy_problem import make_denoiser, same_bits

from unstir.core.errors import InputError
from unstir.training.checkpoints import (
    clean,
    latest,
    load_average,
    load_weights,
    open_checkpoint,
    save_checkpoint,
    save_snapshot,
)
from unstir.training.options import TrainingOptions

POWER = {"name": "power", "lengths": [0.05, 0.10], "snapshots": 4}


def state_at(step, ema=None):
    return {"step": step, "options": TrainingOptions(ema=ema).record()}


def tensors(value=0.0):
    return {"weights": {"w": torch.full((3,), value), "n": torch.tensor(2)}, "optimizer": {}}


def averages(value):
    return {f"average-{length}": {"w": torch.full((3,), value)} for length in ("0.050", "0.100")}


def test_what_is_written_is_read_to_the_bit(tmp_path):
    odd = {
        "half": torch.randn(4, 3).to(torch.bfloat16),
        "double": torch.randn(2, dtype=torch.float64),
        "spread": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "nothing": torch.zeros(0, 3),
    }
    path = save_checkpoint(tmp_path, {"weights": odd}, state_at(12))
    assert path == tmp_path / "checkpoints" / "step-00000012"
    assert same_bits({k: v for k, v in latest(tmp_path).read("weights").items() if k != "half"},
                     {k: v for k, v in odd.items() if k != "half"})  # fmt: skip
    assert torch.equal(latest(tmp_path).read("weights")["half"], odd["half"])
    assert sorted(item.name for item in path.iterdir()) == ["state.json", "weights.safetensors"]


def test_only_the_last_ones_are_kept(tmp_path):
    for step in (1, 2, 3, 100_000_000):
        save_checkpoint(tmp_path, tensors(), state_at(step), keep=2)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000003", "step-100000000"]
    assert latest(tmp_path).step == 100_000_000


@pytest.mark.parametrize("damage", ["flip", "cut", "lose", "no-state", "half-state"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage):
    save_checkpoint(tmp_path, tensors(1.0), state_at(1))
    path = save_checkpoint(tmp_path, tensors(2.0), state_at(2))
    weights, state = path / "weights.safetensors", path / "state.json"
    content = weights.read_bytes()
    match damage:
        case "flip":
            weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            weights.write_bytes(content[: len(content) // 2])
        case "lose":
            weights.unlink()
        case "no-state":
            state.unlink()
        case "half-state":
            state.write_text(state.read_text()[:40])
    with pytest.warns(UserWarning, match="step-00000002 is damaged or incomplete"):
        assert latest(tmp_path).step == 1
    with pytest.raises(InputError, match="step-00000002"):
        open_checkpoint(path)


def test_a_write_that_fails_leaves_no_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, tensors(1.0), state_at(1))
    with pytest.raises(TypeError):  # what JSON cannot hold
        save_checkpoint(tmp_path, tensors(2.0), {**state_at(2), "odd": object()})
    assert latest(tmp_path).step == 1
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    clean(tmp_path, after=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_snapshots_beyond_the_resumed_step_are_removed(tmp_path):
    for step in (1, 2, 3):
        save_snapshot(tmp_path, averages(0.0), state_at(step, POWER))
    clean(tmp_path, after=2)
    assert sorted(path.name for path in (tmp_path / "averages").iterdir()) == ["step-00000001", "step-00000002"]


def test_sampling_takes_the_first_average_or_else_the_weights(tmp_path):
    save_checkpoint(tmp_path, {**tensors(1.0), "average-0.050": {"w": torch.full((3,), 2.0)}, "average-0.100":
                               {"w": torch.full((3,), 3.0)}}, state_at(4, POWER))  # fmt: skip
    assert load_average(tmp_path)["w"].tolist() == [2.0] * 3
    assert load_average(tmp_path, 0.10)["w"].tolist() == [3.0] * 3
    save_checkpoint(tmp_path, tensors(5.0), state_at(5, None))
    assert load_average(tmp_path)["w"].tolist() == [5.0] * 3
    with pytest.raises(InputError, match="without power-function averages"):
        load_average(tmp_path, 0.10)


def test_any_length_comes_from_the_snapshots(tmp_path):
    for step in (10, 20, 30, 40):
        save_snapshot(tmp_path, averages(4.0), state_at(step, POWER))
    save_checkpoint(tmp_path, {**tensors(4.0), **averages(4.0)}, state_at(40, POWER))
    assert load_average(tmp_path, 0.08)["w"].tolist() == pytest.approx([4.0] * 3)
    with pytest.warns(UserWarning, match="a training with more snapshots"):
        load_average(tmp_path, 0.02)
    with pytest.raises(InputError, match="above 0 and at most"):
        load_average(tmp_path, 0.5)


def test_a_folder_without_a_run_is_named(tmp_path):
    assert latest(tmp_path) is None
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_average(tmp_path / "nowhere")


def test_weights_of_another_model_are_refused():
    denoiser = make_denoiser(width=16)
    with pytest.raises(InputError, match=r"another model: 'network\.first\.weight' has the shape \(8, 3\)"):
        load_weights(denoiser, make_denoiser(width=8).state_dict())
    given = dict(make_denoiser(seed=1).state_dict())
    load_weights(denoiser, given)
    assert same_bits(denoiser.state_dict(), given)
    with pytest.raises(InputError, match="'more' has the shape"):
        load_weights(denoiser, given | {"more": torch.zeros(1)})


def test_the_state_is_plain_json_with_hashes(tmp_path):
    path = save_checkpoint(tmp_path, tensors(), state_at(1))
    state = json.loads((path / "state.json").read_text())
    assert set(state["files"]) == {"weights.safetensors", "optimizer.safetensors"}
    assert all(len(value) == 64 for value in state["files"].values())
