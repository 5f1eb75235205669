import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from toy_problem import Points, make_denoiser, same_bits

import unstir.training.session
from unstir.core.errors import InputError, NonFiniteError
from unstir.training.checkpoints import latest, load_average
from unstir.training.interruption import TrainingInterrupted
from unstir.training.loop import train
from unstir.training.progress import read_progress

BASE = {"steps": 20, "batch": 64, "learning_rate": 1e-2, "precision": "float32", "log_every": 10, "ema": None}


def run(folder, denoiser=None, data=None, seed=0, evaluate=None, **options):
    denoiser = denoiser or make_denoiser()
    given = {**BASE, **options}
    return train(denoiser, data or Points(), given, folder, seed=seed, evaluate=evaluate, progress=False)


def weights(folder):
    return latest(folder).read("weights")


def test_training_learns_what_can_be_known(tmp_path):
    """The loss comes to that of the exact denoiser of two Gaussian clusters, within what a small network leaves."""
    rate = {"name": "cosine", "peak": 2e-2, "warm_up": 10}
    options = {"steps": 120, "batch": 512, "learning_rate": rate, "drop_condition": 0.0, "log_every": 30}
    result = run(tmp_path, make_denoiser(width=32), **options)
    # given the label, the posterior's variance is v/(1 + v SNR) with v = 0.09; the EDM weight is SNR + 1
    normal = np.random.default_rng(0).normal(size=100_000)
    snr = np.exp(-2 * (-1.2 + 1.2 * normal))
    best = ((snr + 1) * 0.09 / (1 + 0.09 * snr)).mean()
    losses = [line["loss"] for line in read_progress(tmp_path / "progress.jsonl")]
    assert result.step == 120 and result.samples == 120 * 512 and result.loss == losses[-1]
    assert min(losses) < losses[0]
    assert 0.75 * best < result.loss < 1.25 * best


def test_same_seed_same_bits_and_another_seed_differs(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(ord(name))  # what torch's own generator holds is of no concern
        run(tmp_path / name, make_denoiser(dropout=0.2), Points(jitter=0.1), seed)
    assert same_bits(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same_bits(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_torch_own_state_is_left_as_it_was(tmp_path):
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    run(tmp_path, make_denoiser(dropout=0.5), steps=2, threads=2)
    assert torch.equal(before, torch.get_rng_state()) and torch.get_num_threads() == threads


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path):
    for name, parts in (("whole", 1), ("parts", 4), ("uneven", 5)):
        denoiser = make_denoiser(dtype=torch.float64)
        run(
            tmp_path / name,
            denoiser,
            Points(dtype=torch.float64, jitter=0.1),
            accumulate=parts,
            noise_levels="importance",
        )
    whole = weights(tmp_path / "whole")
    for other in (weights(tmp_path / "parts"), weights(tmp_path / "uneven")):
        for name, tensor in whole.items():
            assert tensor.dtype == torch.float64
            assert torch.allclose(other[name], tensor, rtol=1e-10, atol=1e-10)


def test_conditions_are_dropped_as_often_as_said(tmp_path):
    denoiser = make_denoiser()
    run(tmp_path, denoiser, steps=50, batch=200, drop_condition=0.3)
    dropped = torch.cat(denoiser.network.dropped).double()
    assert len(dropped) == 10_000
    assert abs(dropped.mean().item() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 10_000)
    never = make_denoiser()
    run(tmp_path / "never", never, steps=2, drop_condition=0.0)
    assert never.network.dropped == []


def test_bfloat16_trains_finite_float32_weights_near_those_of_float32(tmp_path):
    half = run(tmp_path / "half", steps=60, precision="bfloat16")
    full = run(tmp_path / "full", steps=60)
    assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path / "half").values())
    assert not same_bits(weights(tmp_path / "half"), weights(tmp_path / "full"))
    assert half.loss == pytest.approx(full.loss, rel=0.1)  # bfloat16 has eight bits, the same data and draws


@pytest.mark.parametrize("count", [1, 3, 50])
def test_data_smaller_than_the_batch(tmp_path, count):
    data = Points(count)
    run(tmp_path, data=data, steps=6, batch=64)
    rows = np.concatenate(data.seen)
    seen = np.bincount(rows, minlength=count)
    assert len(rows) == 6 * 64 and seen.max() - seen.min() <= 1


def test_evaluation_sees_the_averages_and_leaves_no_trace(tmp_path):
    seen = []

    def evaluate(denoiser, step):
        assert not denoiser.training
        torch.rand(7)
        seen.append((step, {name: w.detach().clone() for name, w in denoiser.named_parameters()}))
        return {"distance": float(step)}

    ema = {"name": "power", "lengths": [0.05]}
    result = run(tmp_path / "with", make_denoiser(dropout=0.1), evaluate=evaluate, evaluate_every=8, ema=ema)
    run(tmp_path / "without", make_denoiser(dropout=0.1), ema=ema)
    assert [step for step, _ in seen] == [8, 16, 20]
    assert same_bits(weights(tmp_path / "with"), weights(tmp_path / "without"))
    assert same_bits(seen[-1][1], load_average(tmp_path / "with"))
    assert result.evaluation == {"distance": 20.0}
    lines = read_progress(tmp_path / "with" / "progress.jsonl")
    assert [line["step"] for line in lines if "evaluation" in line] == [8, 16, 20]


def test_the_denoiser_ends_with_the_average(tmp_path):
    denoiser = make_denoiser()
    run(tmp_path, denoiser, ema="power")
    assert same_bits(denoiser.state_dict(), load_average(tmp_path)) and not denoiser.training
    assert not same_bits(denoiser.state_dict(), weights(tmp_path))
    assert all(weight.grad is None for weight in denoiser.parameters())


def test_progress_lines_account_for_every_sample(tmp_path):
    run(tmp_path, steps=25)
    lines = read_progress(tmp_path / "progress.jsonl")
    assert [line["step"] for line in lines] == [10, 20, 25]
    for line, steps in zip(lines, (10, 10, 5), strict=True):
        bins = np.array(line["by_log_snr"])
        assert bins[:, 2].sum() == steps * 64 and line["samples"] == line["step"] * 64
        assert (bins[:, 1] * bins[:, 2]).sum() / bins[:, 2].sum() == pytest.approx(line["loss"], rel=1e-6)
        assert np.all(bins[:, 0] % 2 == 1)  # the centres of bins two wide with an edge at 0
        assert line["learning_rate"] == 1e-2 and line["gradient_norm"] > 0 and line["samples_per_second"] > 0


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(tmp_path):
    class Spoilt(Points):
        def batch(self, rows, seeds=None):
            values, condition = super().batch(rows, seeds)
            if len(self.seen) == 13:
                values[5] = math.nan
            return values, condition

    with pytest.raises(NonFiniteError, match=r"step 13: the loss of 1 of 64 .* log-SNR .*learning rate 0\.01"):
        run(tmp_path / "spoilt", data=Spoilt())
    run(tmp_path / "good", steps=12)
    assert latest(tmp_path / "spoilt").step == 12
    assert same_bits(weights(tmp_path / "spoilt"), weights(tmp_path / "good"))
    assert same_bits(latest(tmp_path / "spoilt").read("optimizer"), latest(tmp_path / "good").read("optimizer"))


def test_a_gradient_that_is_not_finite_keeps_the_last_good_state(tmp_path):
    class Exploding(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * math.inf

    denoiser = make_denoiser()
    kept = {name: tensor.clone() for name, tensor in denoiser.state_dict().items()}
    denoiser.network.last.register_forward_hook(lambda module, given, out: Exploding.apply(out))
    with pytest.raises(NonFiniteError, match="step 1: the gradient is not finite, though the loss is"):
        run(tmp_path, denoiser)
    assert same_bits(denoiser.state_dict(), kept) and same_bits(weights(tmp_path), kept)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_step_and_saves(tmp_path, name):
    class Signalling(Points):
        def batch(self, rows, seeds=None):
            if len(self.seen) == 7:
                os.kill(os.getpid(), getattr(signal, name))
            return super().batch(rows, seeds)

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingInterrupted, match=f"stopped by {name} .* of 20; the state is saved") as caught:
        run(tmp_path / "stopped", data=Signalling())
    assert signal.getsignal(signal.SIGTERM) is handler
    assert latest(tmp_path / "stopped").step == caught.value.step in (8, 9)
    result = run(tmp_path / "stopped")
    run(tmp_path / "whole")
    assert result.resumed_from == caught.value.step
    assert same_bits(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_a_finished_run_is_left_alone_and_may_go_on_for_longer(tmp_path):
    run(tmp_path / "twice", steps=12)
    before = latest(tmp_path / "twice").path.stat().st_mtime_ns
    again = run(tmp_path / "twice", steps=12)
    assert again.resumed_from == again.step == 12 and math.isfinite(again.loss)
    assert latest(tmp_path / "twice").path.stat().st_mtime_ns == before
    run(tmp_path / "twice", steps=20)
    run(tmp_path / "once", steps=20)
    assert same_bits(weights(tmp_path / "twice"), weights(tmp_path / "once"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 32}, r"training\.batch was 64, is now 32"),
        ({"seed": 1}, "seed was 0, is now 1"),
        ({"data": Points(30)}, "the data's SHA-256 was"),
        ({"steps": 2}, r"training\.steps was '4 done', is now 2"),
    ],
)
def test_a_folder_holds_one_run(tmp_path, change, message):
    run(tmp_path, steps=4)
    with pytest.raises(InputError, match=message):
        run(tmp_path, **{"steps": 4, **change})


def test_another_model_in_the_folder_is_refused(tmp_path):
    run(tmp_path, steps=2)
    with pytest.raises(InputError, match="the checkpoint is of another model"):
        run(tmp_path, make_denoiser(width=8), steps=3)


def test_importance_levels_are_part_of_the_state(tmp_path):
    options = {"noise_levels": "importance", "weighting": "min-snr"}
    run(tmp_path / "once", **options)
    run(tmp_path / "twice", steps=11, **options)
    run(tmp_path / "twice", **options)
    first, second = (latest(tmp_path / name).read("levels") for name in ("once", "twice"))
    assert same_bits(first, second) and first["squares"].std() > 0
    assert same_bits(weights(tmp_path / "once"), weights(tmp_path / "twice"))


def test_clipping_bounds_the_update_and_reports_the_norm_before(tmp_path):
    loose = run(tmp_path / "loose", steps=1, clip=None)
    run(tmp_path / "tight", steps=1, clip=1e-3)
    assert loose.step == 1
    norms = [read_progress(tmp_path / name / "progress.jsonl")[0]["gradient_norm"] for name in ("loose", "tight")]
    assert norms[0] == norms[1] > 1e-3
    moments = latest(tmp_path / "tight").read("optimizer")
    square = sum(value.double().square().sum() for name, value in moments.items() if name.endswith(":exp_avg"))
    assert square.sqrt().item() == pytest.approx(1e-3 * 0.1, rel=1e-4)  # a tenth of the gradient enters the mean


def test_weight_decay_leaves_biases_alone(tmp_path):
    start = make_denoiser().state_dict()
    for decay in (0.0, 0.5):
        run(tmp_path / str(decay), steps=1, weight_decay=decay)
    plain, decayed = weights(tmp_path / "0.0"), weights(tmp_path / "0.5")
    for name, tensor in plain.items():
        expected = tensor - (1e-2 * 0.5 * start[name] if tensor.ndim >= 2 else 0)
        assert torch.allclose(decayed[name], expected, rtol=1e-5, atol=1e-7)


def test_nothing_but_safetensors_and_json_is_written(tmp_path):
    run(tmp_path, ema="power")
    kinds = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json", ".jsonl"}
    state = json.loads((latest(tmp_path).path / "state.json").read_text())
    assert state["versions"]["torch"] == torch.__version__ and state["options"]["batch"] == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 4, "accumulate": 5}, "accumulate"),
        ({"device": "cuda"}, "no CUDA device"),
        ({"device": "abc"}, "auto, cpu"),
    ],
)
def test_bad_options_stop_before_anything_is_written(tmp_path, options, message):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(InputError, match=message):
        run(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_denoiser_without_weights_is_refused(tmp_path):
    denoiser = make_denoiser()
    denoiser.requires_grad_(False)
    with pytest.raises(InputError, match="no weights to train"):
        run(tmp_path, denoiser)


def test_reading_ahead_gives_the_same_parts_in_the_same_order():
    from concurrent.futures import ThreadPoolExecutor

    places = [(step, range(part, part + 3)) for step in range(5) for part in (0, 3)]
    with ThreadPoolExecutor(1) as reader:
        ahead = unstir.training.session._ahead(reader, lambda step, share: (step, share), iter(places))
        assert list(ahead) == places
        assert list(unstir.training.session._ahead(reader, lambda step, share: step, iter([]))) == []
