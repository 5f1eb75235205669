"""Saved states go on to the bit, refuse what does not belong to them, and film strips keep what was asked for."""

import json
import math
from dataclasses import replace

import pytest
import torch
from networks import small_mlp
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from unstir.core.catalogue import entries
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import map_state, tensors_of
from unstir.denoisers.base import Denoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras, uniform
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import ANY_SPACE, EUCLIDEAN, SamplerState, follow, sample
from unstir.samplers.exponential import ddim, ddpm, multistep
from unstir.samplers.stopping import EarlyStopping
from unstir.samplers.trajectory import FilmStrip, load_state, save_state
from unstir.verification.base import NotMeasured
from unstir.verification.spaces import law_of
from unstir.verification.subjects import subjects


def catalogue():
    found = {}
    for name, entry in entries("samplers").items():
        try:
            for member, sampler in subjects("samplers", entry).items():
                if sampler.spaces == ANY_SPACE or EUCLIDEAN & sampler.spaces:
                    found[f"{name}, {member}"] = sampler
        except NotMeasured:
            continue
    return found


def halved(denoiser, sampler, state, times, after):
    """The state after so many steps."""
    kept = []
    follow(denoiser, sampler, state, times, lambda state, t, s: kept.append(state))
    return kept[after - 1], kept[-1]


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, tuple | list):
        same = type(one) is type(other) and len(one) == len(other)
        return same and all(equal(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return set(one) == set(other) and all(equal(one[name], other[name]) for name in one)
    return type(one) is type(other) and (one == other or (one != one and other != other))


SAMPLERS = {**catalogue(), "early stopping": EarlyStopping(multistep(), 1e-2)}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_goes_on_to_the_bit(name, tmp_path):
    from unstir.exact.mixture import MixtureDenoiser

    sampler = SAMPLERS[name]
    denoiser = MixtureDenoiser([0.4, 0.6], [[1.0, 0.0], [-1.0, 0.5]], [0.2, 0.1], GaussianProcess())
    own = sampler.own_times(denoiser.process.schedule)
    times = karras(denoiser.process.schedule, 7) if own is None else own
    seeds = Seeds.range(4, 5)
    x = denoiser.process.prior((2,), seeds.at("prior"), times[0], torch.float32)
    after = len(times) // 2
    middle, last = halved(denoiser, sampler, SamplerState(x, seeds), times, after)
    path = save_state(tmp_path / "state.safetensors", middle, times, sampler)
    loaded, followed = load_state(path, sampler)
    assert torch.equal(followed, times)
    assert loaded.step == after
    assert equal(loaded.history, middle.history)
    again = follow(denoiser, sampler, loaded, followed)
    assert torch.equal(again.tensor, last.tensor)
    assert torch.equal(again.mean, last.mean)


@pytest.mark.parametrize("space", ["tokens", "torus", "joint"])
def test_other_spaces(space, tmp_path):
    from unstir.processes.categorical import CategoricalProcess
    from unstir.processes.joint import JointProcess
    from unstir.processes.wrapped import WrappedProcess

    process = {
        "tokens": lambda: CategoricalProcess(3),
        "torus": lambda: WrappedProcess(),
        "joint": lambda: next(iter(JointProcess.examples().values())),
    }[space]()
    law = law_of(process)
    times = torch.linspace(0.95, 0, 7, dtype=torch.float64)
    x = law.draw(Seeds.range(1, 6), times[0])
    middle, last = halved(law, AncestralSampler(), SamplerState(x, Seeds.range(8, 6)), times, 3)
    save_state(tmp_path / "state", middle, times, AncestralSampler())
    again = follow(law, AncestralSampler(), *load_state(tmp_path / "state", AncestralSampler(), times))
    assert all(torch.equal(one, other) for one, other in zip(tensors_of(again.x), tensors_of(last.x), strict=True))


def test_noise_paths_are_handed_in_again(tmp_path):
    from unstir.samplers.brownian import BrownianPath

    denoiser, path = small_mlp(), BrownianPath()
    times = karras(denoiser.process.schedule, 6)
    start = SamplerState(Seeds.range(0, 3).normal((5,)), Seeds.range(0, 3), path=path)
    middle, last = halved(denoiser, ddpm(), start, times, 3)
    save_state(tmp_path / "state", middle, times, ddpm())
    loaded, _ = load_state(tmp_path / "state", ddpm(), noise_path=BrownianPath())
    assert torch.equal(follow(denoiser, ddpm(), loaded, times).tensor, last.tensor)
    with pytest.raises(InputError, match=r"saved with the noise path .*BrownianPath.*; seen None"):
        load_state(tmp_path / "state", ddpm())


def test_everything_that_a_history_may_hold(tmp_path):
    shared = torch.arange(3.0)
    history = (
        (1.5, shared, None, True, 3, "text", [shared, (torch.tensor(2), ())]),
        {"a": torch.ones(2, 3).T, "b": (math.inf, -math.inf, math.nan, 1e-320, 0.1 + 0.2)},
        torch.ones(2, dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.zeros(0, 4),
    )
    seeds = Seeds(-7, torch.tensor([3, 1]), ("draw", 4, "x"))
    state = SamplerState({"x": torch.randn(2, 3), "y": torch.ones(2).long()}, seeds, 2, None, history)
    loaded, times = load_state(save_state(tmp_path / "s", state, torch.tensor([0.5, 0.0]), ddim()), ddim())
    assert equal(loaded.history, history)
    assert equal(loaded.x, state.x)
    assert loaded.mean is None
    assert (loaded.seeds.seed, loaded.seeds.purpose) == (-7, ("draw", 4, "x"))
    assert torch.equal(loaded.seeds.normal((2,)), seeds.normal((2,)))
    assert times.tolist() == [0.5, 0.0]


@pytest.fixture
def saved(tmp_path):
    state = SamplerState(torch.ones(2, 3), Seeds.range(0, 2), 1, torch.zeros(2, 3), ((0.5, torch.zeros(2, 3)),))
    return save_state(tmp_path / "state", state, torch.tensor([1.0, 0.5, 0.0]), multistep())


class TestRefusals:
    def test_another_sampler(self, saved):
        with pytest.raises(InputError, match=r"saved with the sampler .*; seen .*: go on with the same one"):
            load_state(saved, multistep(stochasticity=1.0))

    def test_other_times(self, saved):
        with pytest.raises(InputError, match=r"follows other times \(3 from 1\) than those given \(3 from 0.9\)"):
            load_state(saved, multistep(), torch.tensor([0.9, 0.5, 0.0]))

    def test_another_file(self, tmp_path):
        save_file({"x": torch.ones(2)}, tmp_path / "other")
        (tmp_path / "text").write_text("not a state")
        for name in ("other", "text", "missing"):
            with pytest.raises(InputError, match="is no trajectory as save_state writes it"):
                load_state(tmp_path / name, ddim())

    def test_a_changed_number(self, saved):
        content = bytearray(saved.read_bytes())
        content[-1] ^= 1
        saved.write_bytes(content)
        with pytest.raises(InputError, match="is damaged: its SHA-256"):
            load_state(saved, multistep())

    def test_a_file_cut_short(self, saved):
        saved.write_bytes(saved.read_bytes()[:-4])
        with pytest.raises(InputError, match="is no trajectory"):
            load_state(saved, multistep())

    def test_another_format(self, saved):
        with safe_open(saved, "pt") as file:
            told = json.loads(file.metadata()["unstir_trajectory"])
        save_file(load_file(saved), saved, {"unstir_trajectory": json.dumps({**told, "version": 99})})
        with pytest.raises(InputError, match="written in format 99, this version reads format 1"):
            load_state(saved, multistep())

    def test_what_cannot_be_saved(self, tmp_path):
        state = SamplerState(torch.ones(1, 1), Seeds.range(0, 1), history=((object(),),))
        with pytest.raises(InputError, match=r"history.0.0: tensors, numbers, text and their tuples .*; seen object"):
            save_state(tmp_path / "state", state, torch.tensor([1.0, 0.0]), ddim())
        assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_an_old_file_is_replaced_whole(saved):
    state, times = load_state(saved, multistep())
    save_state(saved, replace(state, step=2), times, multistep())
    assert load_state(saved, multistep())[0].step == 2
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


class TestFilmStrip:
    def test_frames_are_the_states_nearest_to_the_levels(self):
        denoiser = small_mlp()
        schedule = denoiser.process.schedule
        times = karras(schedule, 12)
        strip = FilmStrip(schedule, (5.0, 0.3, 0.0), (2, 9, 4))
        every = []

        def both(state, t, s):
            strip(state, t, s)
            every.append((state.seeds.samples.tolist(), s, state.x, state.mean))

        drawn = sample(denoiser, ddpm(), (5,), 12, grid=times, batch=5, callback=both)
        levels = (-schedule.log_snr(times[1:-1]) / 2).exp()
        for place, wanted in enumerate((5.0, 0.3)):
            nearest = (levels / wanted).log().abs().argmin()
            assert strip.noise_levels[place] == levels[nearest]
            for column, number in enumerate((2, 9, 4)):
                (found,) = [
                    (x[samples.index(number)], mean[samples.index(number)])
                    for samples, s, x, mean in every
                    if number in samples and s == times[1 + nearest]
                ]
                assert torch.equal(strip.states[place, column], found[0])
                assert torch.equal(strip.beliefs[place, column], found[1])
        assert strip.noise_levels[2] == 0
        assert torch.equal(strip.states[2], drawn[[2, 9, 4]])
        assert strip.states.shape == strip.beliefs.shape == (3, 3, 5)

    @pytest.mark.parametrize(("frames", "expected"), [(1, 1), (4, 4), (7, 7), (30, 7)])
    def test_even_strips(self, frames, expected):
        denoiser = small_mlp()
        schedule = denoiser.process.schedule
        times = uniform(schedule, 7)
        strip = FilmStrip.evenly(schedule, times, frames, (0, 1))
        drawn = sample(denoiser, ddim(), (5,), 2, grid=times, batch=2, callback=strip)
        assert strip.states.shape == (expected, 2, 5)
        assert torch.equal(strip.states[-1], drawn)
        assert (strip.noise_levels.diff() < 0).all()

    def test_it_holds_no_more_than_its_frames(self):
        denoiser = small_mlp()
        strip = FilmStrip(denoiser.process.schedule, (1.0, 0.0), (1,))
        sample(denoiser, ddim(), (5,), 16, steps=30, batch=16, callback=strip)
        kept = [part for frame in strip._frames.values() for part in frame[2:]]
        assert len(kept) == 4
        assert {part.untyped_storage().nbytes() for part in kept} == {20}, "five numbers, not a view of the batch"

    def test_states_of_several_parts(self):
        class Halves(Denoiser):
            process = GaussianProcess()

        strip = FilmStrip(Halves.process.schedule, (0.0,), (1, 0))
        x = {"a": torch.arange(2.0)[:, None], "b": torch.arange(4).reshape(2, 2)}
        zero = torch.tensor(0.0, dtype=torch.float64)
        strip(SamplerState(x, Seeds.range(0, 2), 1, map_state(lambda part: -part, x)), zero + 0.1, zero)
        assert strip.states["b"].tolist() == [[[2, 3], [0, 1]]]
        assert strip.beliefs["a"].tolist() == [[[-1.0], [0.0]]]

    def test_what_is_missing_is_told(self):
        strip = FilmStrip(GaussianProcess().schedule, (1.0, 0.0), (0, 70))
        sample(small_mlp(), ddim(), (5,), 4, steps=3, batch=4, callback=strip)
        with pytest.raises(InputError, match="lacks 2 frames, the first of sample 70 at level 1"):
            _ = strip.states

    @pytest.mark.parametrize(
        ("levels", "samples", "message"),
        [
            ((), (0,), "noise levels"),
            ((-1.0,), (0,), "not negative"),
            ((1.0,), (), "each once"),
            ((1.0,), (3, 3), "each once"),
        ],
    )
    def test_wrong_requests_are_answered(self, levels, samples, message):
        with pytest.raises(InputError, match=message):
            FilmStrip(GaussianProcess().schedule, levels, samples)
        with pytest.raises(InputError, match="at least 1 frame; seen 0"):
            FilmStrip.evenly(GaussianProcess().schedule, torch.tensor([1.0, 0.0]), 0)
