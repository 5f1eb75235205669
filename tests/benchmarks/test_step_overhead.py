"""The benchmark of a step's cost: what is compared is the same method, and what is timed is told apart."""

import pytest
import torch
from benchmarks.sampler_cases import SIGMA_MAX, PointDenoiser
from benchmarks.sampler_targets import ring
from benchmarks.step_overhead import BY_HAND, METHODS, least_times, loops, our_loop, table

from unstir.core.catalogue import build
from unstir.core.seeds import Seeds


@pytest.mark.parametrize("method", METHODS)
def test_the_loop_by_hand_is_the_same_method(method, monkeypatch):
    name, hand, _ = METHODS[method]
    # the two draw their noise from different generators: ones in the place of both show its size as well

    def ones(self, shape=(), dtype=torch.float32):
        return torch.ones(len(self), *shape, dtype=dtype)

    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    monkeypatch.setattr(Seeds, "normal", ones)
    target = ring()
    noise = torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = our_loop(PointDenoiser(target.denoise), build("samplers", name), SIGMA_MAX * noise, 30)
    by_hand = BY_HAND[hand](target.denoise, SIGMA_MAX * noise, 30)
    assert (ours - by_hand).abs().max() < 1e-9


def test_every_loop_is_timed_and_told():
    timed = loops(peers=())
    assert {method for method, _ in timed} == set(METHODS)
    least = {batch: least_times(timed, batch, rounds=1) for batch in (1, 2)}
    assert all(0 < value < 1e6 for measured in least.values() for value in measured.values())
    text = table(least)
    ratio = least[1]["DDIM", "unstir"] / least[1]["DDIM", "by hand"]
    assert f"| {ratio:.2f} |" in text.splitlines()[2]


def test_a_peer_that_is_absent_is_left_out(monkeypatch, capsys):
    def absent(library):
        raise ImportError("no such package")

    monkeypatch.setattr("benchmarks.step_overhead.peer_loops", absent)
    assert {library for _, library in loops(["azula"])} == {"unstir", "by hand"}
    assert "azula is left out: no such package" in capsys.readouterr().out
