"""The one-pass generator that a run of the field is compared with."""

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.domains.base import Judged
from unstir.domains.climate.rivals import one_pass_draw
from unstir.networks.mlp import MLP
from unstir.processes.gaussian import GaussianProcess

SMALL = {"steps": 250, "batch": 64, "learning_rate": 3e-3, "members": 3}


class Stations:
    """A value is its regression, plus 0.2 g, plus noise of deviation 0.3."""

    name, digest, shape, encoding = "stations", "0", (1,), None
    conditions = {"given": {"size": 1}, "centre": {"channels": 1}}  # noqa: RUF012

    def __init__(self, count=2000):
        seeds = Seeds.range(6, count)
        self.given = seeds.at("given").normal((1,))
        self.centre = 3 * seeds.at("centre").normal((1,))
        self.x = self.centre + 0.2 * self.given + 0.3 * seeds.at("noise").normal((1,))

    def __len__(self):
        return len(self.x)

    def batch(self, rows, seeds=None):
        rows = torch.from_numpy(np.asarray(rows))
        return self.x[rows], {"given": self.given[rows], "centre": self.centre[rows]}


@pytest.fixture(scope="module")
def judged():
    network = MLP((1,), {"given": {"size": 1}}, width=8)
    denoiser = NetworkDenoiser(network, GaussianProcess(), sigma_data=0.36, around="centre")
    denoiser.specification = {"name": "mlp", "width": 24, "depth": 1, "embedding": 16}
    return Judged(denoiser, Stations(), None, None, {}, lambda *given, **told: None, 3, {})


def told(count, given, centre):
    return {"given": torch.full((count, 1), given), "centre": torch.full((count, 1), centre)}


def test_it_learns_the_law_of_the_cases_and_draws_like_the_run(judged):
    built = []
    draw = one_pass_draw(judged, SMALL)
    for given, centre in ((-1.0, 4.0), (1.5, -2.0)):
        x = draw(3000, seed=1, condition=told(3000, given, centre), sampler="heun", steps=9)
        assert x.shape == (3000, 1) and x.dtype == torch.float32
        # what so short a training leaves open
        assert float(x.mean()) == pytest.approx(centre + 0.2 * given, abs=0.1)
        assert float(x.std()) == pytest.approx(0.3, abs=0.08)
        built.append(x)
    assert torch.equal(draw(3000, seed=1, condition=told(3000, -1.0, 4.0)), built[0])
    assert not torch.equal(draw(3000, seed=2, condition=told(3000, -1.0, 4.0)), built[0])
    assert torch.equal(draw(300, condition=told(300, 0.0, 0.0)), draw(300, seed=3, condition=told(300, 0.0, 0.0)))
    with pytest.raises(InputError, match=r"need the conditions \['centre', 'given'\]"):
        draw(5)


def test_its_network_is_the_runs_own_unless_told(judged, monkeypatch):
    seen = []
    forward = MLP.forward

    def listening(self, *given, **known):
        seen.append((self.stem.out_features, set(known)))
        return forward(self, *given, **known)

    monkeypatch.setattr(MLP, "forward", listening)
    one_pass_draw(judged, {**SMALL, "steps": 1})
    one_pass_draw(judged, {**SMALL, "steps": 1, "network": {"name": "mlp", "width": 10}})
    assert seen == [(24, {"given"}), (10, {"given"})]


def test_options_that_it_does_not_know_are_answered(judged):
    for wrong, message in (
        ({"step": 3}, "did you mean 'steps'"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"members": 1}, "at least 2 members"),
        ({"score": "energie"}, "did you mean 'energy'"),
    ):
        with pytest.raises(InputError, match=message):
            one_pass_draw(judged, wrong)
