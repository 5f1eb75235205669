"""The driver: which samples, in which batches, under which conditions, and what it refuses."""

from dataclasses import dataclass

import pytest
import torch
from networks import small_mlp, small_unet
from torch import nn

from unstir.core.catalogue import build
from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.core.state import map_state
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.posteriors import PointPosterior, Posterior
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample, samplers_for, time_grid
from unstir.samplers.exponential import ddim, ddpm
from unstir.samplers.runge_kutta import heun
from unstir.verification.references import PointDenoiser, suited


class Told(Denoiser):
    """Believes what the condition ``target`` says; counts its calls and keeps their batch sizes."""

    def __init__(self):
        super().__init__()
        self.process = GaussianProcess()
        self.batches = []

    def forward(self, xt, t, drop=None, target=None, **condition):
        self.batches.append(len(xt))
        return PointPosterior(torch.zeros_like(xt) if target is None else target.to(xt.dtype).expand_as(xt))


@dataclass(frozen=True)
class Ring:
    """Angles with added uniform noise, modulo one turn: enough of a process to be sampled, and not Euclidean."""

    space = "torus"

    class schedule:  # noqa: N801
        pass

    def prior(self, shape, seeds, t=1.0, dtype=torch.float32, mask=None):
        return map_parts(lambda part, name: seeds.at(name).uniform(part, dtype), shape)

    def bridge(self, xt, posterior, t, s, seeds, mask=None):
        x0 = posterior.sample(seeds.at("clean"))
        shake = map_state(lambda x: float(s) * (seeds.at("shake").uniform(x.shape[1:], x.dtype) - 0.5), xt)
        return map_state(lambda clean, moved: (clean + moved) % 1, x0, shake)


def map_parts(function, shape):
    if isinstance(shape, dict):
        return {name: function(tuple(part), name) for name, part in shape.items()}
    return function(tuple(shape), "x")


class Contraction(Denoiser):
    """Belief: half of the state. Works on one tensor or several."""

    def __init__(self, process):
        super().__init__()
        self.process = process

    def forward(self, xt, t, drop=None, **condition):
        return Halves(map_state(lambda x: x / 2, xt))


@dataclass(frozen=True)
class Halves(Posterior):
    mean: object

    def sample(self, seeds):
        return self.mean

    def log_prob(self, x0):
        raise NotImplementedError


RING_TIMES = torch.tensor([1.0, 0.6, 0.2, 0.0])


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_each_sample_gets_its_own_condition(batch):
    """In any order of sample numbers, with gaps, over many batches."""
    numbers = torch.tensor([41, 2, 17, 3, 40, 0, 96])
    drawn = sample(
        Told(), ddim(), (2,), seeds=Seeds(0, numbers), condition={"target": numbers[:, None]}, batch=batch, steps=2
    )
    assert torch.equal(drawn, numbers[:, None].float().expand(7, 2))


def test_batches_are_whole_and_as_few_as_can_be():
    denoiser = Told()
    sample(denoiser, ddim(), (2,), seeds=Seeds(0, torch.tensor([70, 1, 3, 71])), batch=10, steps=3)
    assert denoiser.batches == [10] * 6, "two blocks of sample numbers, three steps each"


def test_the_batch_is_part_of_what_a_sample_is_but_only_to_rounding():
    denoiser = small_mlp()
    small, large = (sample(denoiser, ddim(), (5,), 20, batch=batch, steps=3, dtype=torch.float32) for batch in (4, 64))
    torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-4)


def test_a_range_of_seeds_continues_the_count():
    denoiser = small_mlp()
    whole = sample(denoiser, ddpm(), (5,), 30, steps=3, seed=4, batch=8)
    parts = [
        sample(denoiser, ddpm(), (5,), seeds=Seeds.range(4, n, start), steps=3, batch=8)
        for n, start in ((11, 0), (19, 11))
    ]
    assert torch.equal(torch.cat(parts), whole)
    other = sample(denoiser, ddpm(), (5,), seeds=Seeds.range(4, 30).at("elsewhere"), steps=3, batch=8)
    assert not (other == whole).any()


def test_the_same_number_twice():
    """Without conditions it is the same sample; with them it would be two, of which one batch has one."""
    denoiser = small_mlp()
    twice = sample(denoiser, ddpm(), (5,), seeds=Seeds(0, torch.tensor([7, 3, 7])), steps=3, batch=4)
    assert torch.equal(twice[0], twice[2])
    assert not torch.equal(twice[0], twice[1])
    with pytest.raises(InputError, match="each sample number may be asked for once a call"):
        sample(Told(), ddim(), (1,), seeds=Seeds(0, torch.tensor([7, 7])), condition={"target": torch.ones(2, 1)})


def test_no_samples():
    for shape in ((5,), [5]):
        drawn = sample(small_mlp(), ddim(), shape, 0, dtype=torch.float64)
        assert drawn.shape == (0, 5)
        assert drawn.dtype == torch.float64


def test_state_dtype_and_no_graph():
    drawn = sample(small_mlp(), ddim(), (5,), 3, steps=2, batch=4, dtype=torch.float64)
    assert drawn.dtype == torch.float64
    assert not drawn.requires_grad


def test_callback_sees_every_batch_after_every_step_in_order():
    seen = []
    times = torch.tensor([0.9, 0.4, 0.1, 0.0], dtype=torch.float64)
    sample(
        Told(), ddpm(), (2,), 6, grid=times, batch=4,
        callback=lambda state, t, s: seen.append((state.seeds.samples.tolist(), state.step, t.item(), s.item())),
    )  # fmt: skip
    steps = [(1, 0.9, 0.4), (2, 0.4, 0.1), (3, 0.1, 0.0)]
    assert seen == [(list(range(4 * block, 4 * block + 4)), *step) for block in (0, 1) for step in steps]


def test_every_step_draws_its_own_noise():
    """The same noise at two steps would leave a correlation of one between them."""
    states = []
    denoiser = Told()
    times = torch.linspace(0.9, 0, 7, dtype=torch.float64)
    sample(
        denoiser, ddpm(), (50,), 8, grid=times, batch=8, callback=lambda state, t, s: states.append(state.x.flatten())
    )
    schedule, noises = denoiser.process.schedule, []
    for before, after, t, s in zip(states, states[1:-1], times[1:], times[2:], strict=False):
        kept, _, deviation = denoiser.process.bridge_coefficients(t, s)
        noises.append((after - kept * before) / deviation)
    correlations = torch.corrcoef(torch.stack(noises)) - torch.eye(len(noises))
    assert correlations.abs().max() < 5 / 400**0.5
    assert schedule.sigma(times[1]) > 0


def test_dropout_is_off_and_on_again():
    """A network fresh from training is sampled without dropout, whose draws have no address."""
    quiet, noisy = (small_mlp(dropout=p) for p in (0.0, 0.5))
    noisy.train()
    frozen = noisy.network.blocks[0].eval()
    state = torch.get_rng_state()
    assert torch.equal(*(sample(denoiser, heun(), (5,), 4, steps=3, batch=4) for denoiser in (quiet, noisy)))
    assert torch.equal(torch.get_rng_state(), state)
    assert noisy.training
    assert noisy.network.blocks[1].training
    assert not frozen.training


@pytest.mark.parametrize("name", samplers_for("euclidean"))
def test_padded_places_are_zero_at_every_step(name):
    """And the network is told of them, but in the pilot run of a calibration, which knows no conditions."""
    told = []

    class Counts(nn.Module):
        def forward(self, x, noise, drop=None, mask=None):
            told.append(mask is not None)
            assert mask is None or (x[~mask] == 0).all()
            return x.cos()

    mask = torch.arange(4) < torch.tensor([4, 1, 0, 3, 2])[:, None]
    denoiser, seen = NetworkDenoiser(Counts(), GaussianProcess()), []
    light = {"samples": 8, "search": 1} if name == "calibrated" else {}
    sampler = build("samplers", {"name": name, **light})
    drawn = sample(
        suited(sampler, denoiser), sampler, (4, 2), 5, condition={"mask": mask}, steps=4, batch=5,
        callback=lambda state, t, s: seen.append(state.x),
    )  # fmt: skip
    assert told[-1] and (name == "calibrated" or all(told))
    for x in (*seen, drawn):
        assert (x[~mask] == 0).all()
        assert (x[mask] != 0).all()


class TestOtherSpaces:
    def test_a_sampler_that_does_not_serve_a_space_names_those_that_do(self):
        with pytest.raises(InputError, match=r"not the space 'torus' of Ring; samplers that do: ") as caught:
            sample(Contraction(Ring()), ddim(), (2,), 3)
        named = str(caught.value).rsplit(": ", 1)[1].split(", ")
        assert named == samplers_for("torus")
        assert "ancestral" in named
        assert not {"ddim", "heun", "euler", "ddpm"} & set(named)
        assert set(samplers_for("euclidean")) >= {"ancestral", "ddim", "heun", "euler", "ddpm"}

    def test_ancestral_sampling_serves_any_process(self):
        whole = sample(Contraction(Ring()), AncestralSampler(), (2,), 20, grid=RING_TIMES, batch=8)
        assert whole.shape == (20, 2)
        assert ((whole >= 0) & (whole < 1)).all()
        one = sample(
            Contraction(Ring()), AncestralSampler(), (2,), seeds=Seeds(0, torch.tensor([13])), grid=RING_TIMES, batch=8
        )
        assert torch.equal(one[0], whole[13])

    def test_a_state_of_several_parts(self):
        shape = {"angles": (2,), "phase": (1,)}
        whole = sample(Contraction(Ring()), AncestralSampler(), shape, 20, grid=RING_TIMES, batch=8)
        assert {name: tuple(part.shape) for name, part in whole.items()} == {"angles": (20, 2), "phase": (20, 1)}
        numbers = torch.tensor([13, 2])
        some = sample(Contraction(Ring()), AncestralSampler(), shape, seeds=Seeds(0, numbers), grid=RING_TIMES, batch=8)
        assert all(torch.equal(some[name], whole[name][numbers]) for name in shape)
        none = sample(Contraction(Ring()), AncestralSampler(), shape, 0, grid=RING_TIMES)
        assert {name: tuple(part.shape) for name, part in none.items()} == {"angles": (0, 2), "phase": (0, 1)}


class Spoilt(Told):
    """Loses sample number 5, wherever it is."""

    def forward(self, xt, t, drop=None, target=None, **condition):
        return PointPosterior(torch.where(target == 5, torch.nan, 0.0).to(xt.dtype).expand_as(xt))


def test_samples_that_left_the_finite_numbers_are_named():
    numbers = torch.tensor([8, 5, 1])
    with pytest.raises(
        NonFiniteError, match=r"1 of 3 samples are not finite, the first number 5 of seed 9; .*sigma_max"
    ):
        sample(
            Spoilt(), ddim(), (2,), seeds=Seeds(9, numbers), condition={"target": numbers[:, None]}, batch=4, steps=2
        )


def test_a_neighbour_that_was_not_asked_for_does_no_harm():
    numbers = torch.tensor([8, 1])
    drawn = sample(
        Spoilt(), ddim(), (2,), seeds=Seeds(9, numbers), condition={"target": numbers[:, None]}, batch=16, steps=2
    )
    assert drawn.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "say how many samples: count=..., or which: seeds=..."),
        ({"count": 3, "batch": 0}, "the batch must hold at least 1 sample; seen 0"),
        ({"count": -1}, "seen count -1"),
        ({"count": 3, "condition": {"target": torch.ones(2, 1)}}, "the condition 'target' has 2 rows for 3 samples"),
        (
            {"count": 3, "condition": {"target": torch.tensor(1.0)}},
            "'target' has no rows for 3 samples; give one row a sample",
        ),
        ({"count": 3, "steps": 0}, "at least 1 step; seen 0"),
        ({"count": 3, "grid": "karas"}, "unknown grid 'karas'; did you mean 'karras'"),
        ({"count": 3, "grid": {"name": "karras", "sgima_max": 3.0}}, "no option 'sgima_max'; did you mean 'sigma_max'"),
    ],
)
def test_wrong_requests_are_answered(options, message):
    with pytest.raises(InputError, match=message.replace("...", r"\.\.\.")):
        sample(Told(), ddim(), (2,), **options)


@pytest.mark.parametrize(
    "times",
    [
        [0.0],
        [],
        [1.0, 0.5],
        [1.0, 1.0, 0.0],
        [0.5, 0.6, 0.0],
        [1.1, 0.0],
        [1.0, float("nan"), 0.0],
        [float("nan"), 0.0],
        [[1.0, 0.0]],
    ],
    ids=str,
)
def test_wrong_grids_are_answered(times):
    with pytest.raises(InputError, match="a time grid falls from at most 1 to exactly 0 in at least one step; seen"):
        time_grid(GaussianProcess(), torch.tensor(times), 3)


def test_own_grids_are_taken_in_double_precision():
    assert time_grid(GaussianProcess(), torch.tensor([1, 0]), 7).tolist() == [1.0, 0.0]
    assert time_grid(GaussianProcess(), {"name": "uniform"}, 2).tolist() == [1.0, 0.5, 0.0]


def test_network_parameters_say_where_samples_are():
    """On the device of the denoiser's parameters, here the only one there is."""
    assert sample(small_unet(), ddim(), (1, 8, 8), 2, steps=1, batch=2).device == torch.device("cpu")
    assert sample(PointDenoiser(small_unet()), ddim(), (1, 8, 8), 2, steps=1, batch=2).shape == (2, 1, 8, 8)
