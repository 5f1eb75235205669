"""The throughput benchmark in miniature, with unstir alone."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from benchmarks import throughput, throughput_quality
from benchmarks.throughput_quality import pictures
from benchmarks.throughput_worker import Setting, Stepper, matmul_peak, step_flops
from benchmarks.training_cases import CASES, edm_objective

from unstir.networks.unet import UNet

ROOT = Path(__file__).parents[2]
SETTING = Setting("unstir", channels=1, size=8, bfloat16=True, channels_last=True, compiled=False)


def test_the_operations_of_a_step_are_those_of_its_matrix_products() -> None:
    """One hand count: three products (forward, two backward) of each layer, the first without its input's gradient."""
    network = UNet((1, 8, 8), widths=[8], blocks=1, embedding=16)
    shapes = [(9 * 1 * 8, 64), (9 * 8 * 8, 64), (9 * 8 * 8, 64), (9 * 8 * 1, 64)]  # stem, block, block, head
    linear = [(8 * 16, 1), *3 * [(16 * 16, 1)]]  # the embedding's two, a modulation in block and head
    inside = sum(weights * places for weights, places in [*shapes, *linear])
    expected = 2 * (3 * inside - shapes[0][0] * 64 - linear[0][0])

    class Tiny:
        def build(self, channels: int, size: int) -> UNet:
            return network

        objective = CASES["unstir"]().objective

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CASES, "unstir", Tiny)
        assert step_flops(SETTING) == 64 * expected


def test_a_step_moves_the_weights_and_takes_time() -> None:
    stepper = Stepper(SETTING)
    before = [parameter.clone() for parameter in stepper.optimizer.param_groups[0]["params"]]
    taken = stepper.step()
    after = stepper.optimizer.param_groups[0]["params"]
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert taken["processor"] > 0
    assert matmul_peak(False, size=64, repeats=2) > 0


def test_a_worker_answers_line_by_line() -> None:
    command = [sys.executable, "-m", "benchmarks.throughput_worker", json.dumps(asdict(SETTING))]
    ended = subprocess.run(command, input="step\nstep\nend\n", capture_output=True, text=True, cwd=ROOT, check=True)
    start, first, second, end = map(json.loads, ended.stdout.splitlines())
    assert start["parameters"] == sum(p.numel() for p in CASES["unstir"]().build(1, 8).parameters())
    assert min(first["processor"], second["processor"]) > 0
    assert end["peak"] > end["growth"] > 0


def test_the_summary_sets_ours_against_the_best_peer_in_its_best_setting() -> None:
    def row(library: str, setting: str, images: float) -> dict:
        return {
            "images": "1x32x32",
            "library": library,
            "setting": setting,
            "images per processor second": images,
            "peak memory (MB)": 10,
        }

    rows = [row("unstir", "a", 30), row("unstir", "b", 60), row("p", "a", 20), row("p", "b", 10), row("q", "b", 15)]
    assert "unstir (b) trains 60 images a second, **3.00 times** the best peer, p (a), at 20" in throughput.summary(
        rows
    )


def test_the_pictures_are_the_same_for_all_and_held_out_ones_are_others() -> None:
    first = pictures(3, 8, seed=1)
    assert first.shape == (8, 3, 32, 32)
    assert first.min() >= -1
    assert first.max() <= 1
    assert torch.equal(first, pictures(3, 8, seed=1))
    assert not torch.equal(first, pictures(3, 8, seed=1, held_out=True))


def test_the_comparison_of_quality_trains_and_validates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput_quality, "BATCH", 4)
    monkeypatch.setattr(throughput_quality, "HELD_OUT", 8)
    section = throughput_quality.compare(["unstir"], images=40, channels=[1], rates=(1e-3,))
    values = [float(cell) for cell in section.splitlines()[-1].split("|")[4:-1]]
    assert len(values) == len(throughput_quality.LEVELS) + 1
    # an untrained network costs about 1 at every level; ten steps bring the mean below
    assert values[-1] < 1


def test_the_objective_is_one_for_a_network_that_knows_nothing() -> None:
    """Data of variance sigma_data^2, an output of zero: EDM's weighting makes the expected loss exactly one."""

    class Silent(torch.nn.Module):
        def forward(self, x: torch.Tensor, noise: torch.Tensor, drop: object = None) -> torch.Tensor:
            return torch.zeros_like(x)

    images = 0.7 * torch.randn(256, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = float(edm_objective(Silent(), sigma_data=0.7)(images))
    # the mean of 256 * 64 squares of unit normals; their variance is 2
    assert abs(loss - 1) < 5 * (2 / images.numel()) ** 0.5
