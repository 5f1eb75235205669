"""Beliefs about the sites of a cell whose origin does not count, and their process."""

import math

import pytest
import torch

from unstir.core.catalogue import find
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.joint import JointDenoiser
from unstir.denoisers.learned.sites import SitesDenoiser, nearest
from unstir.networks.periodic_transformer import PeriodicTransformer
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.sites import SitesProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample

PROCESS = SitesProcess(ExponentialVESchedule(0.01, 0.5))


def test_the_process_asks_for_this_belief() -> None:
    assert find("learned", SitesProcess.learned).load() is SitesDenoiser


def test_fractional_coordinates_have_no_other_period() -> None:
    with pytest.raises(InputError, match="period 1; seen 360"):
        SitesProcess(period=360.0)


def test_a_mixture_has_a_component() -> None:
    with pytest.raises(InputError, match="at least 1 component; seen 0"):
        SitesDenoiser(None, PROCESS, components=0)


def test_sites_are_moved_together_to_the_noisy_ones_and_padding_does_not_pull() -> None:
    seeds = Seeds.range(3, 20)
    xt = seeds.at("noisy").uniform((4, 3))
    mask = torch.tensor([True, True, True, False]).expand(20, -1)
    move = seeds.at("move").uniform((1, 3))
    found = nearest((xt + move) % 1, xt, mask)
    away = (found - xt)[:, :3]
    assert (away - away.round()).abs().max() < 1e-12
    assert not found[:, 3:].any()


def test_numbers_of_zero_say_that_a_site_is_about_where_it_is_seen_within_the_noise() -> None:
    own = SitesDenoiser(None, PROCESS, layout="parts", components=3)
    xt = Seeds.range(0, 2).uniform((4, 3))
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    belief = own.read(torch.zeros(2, 4, 3, own.numbers, dtype=torch.float64), xt, t, None)
    sigma = PROCESS.schedule.sigma(t)
    away = belief.mean - xt
    assert (away - away.round()).abs().max() < 1e-9
    scale = (sigma / (1 + 4 * sigma)).clamp(min=1e-12)
    wanted = scale * (0.1 + math.log(2))
    torch.testing.assert_close(belief.deviations[:, 0, 0, 0, 0], wanted)


def test_a_network_taught_by_it_draws_the_one_crystal_it_has_seen() -> None:
    """Two sites half a cell apart along one axis: the origin is free, the difference is not."""
    process = JointProcess({"sites": PROCESS, "lattice": GaussianProcess()}, whole=["lattice"])
    denoiser = JointDenoiser(None, process, layout="parts")
    parts, _ = denoiser.network_size({"sites": (2, 3), "lattice": (1,)})
    torch.manual_seed(0)
    denoiser.network = PeriodicTransformer(parts, width=32, depth=2, head_width=16, embedding=32)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    for step in range(150):
        seeds = Seeds.range(1, 64, 64 * step)
        origin = seeds.at("origin").uniform((1, 3))
        sites = torch.cat((origin, (origin + torch.tensor([0.5, 0.25, 0.0])) % 1), 1).float()
        x0 = {"sites": sites, "lattice": torch.ones(64, 1)}
        t = seeds.at("t").uniform()
        loss = denoiser(process.noise(x0, t, seeds.at("noise")), t).loss(x0).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    shape = {"sites": (2, 3), "lattice": (1,)}
    drawn = sample(denoiser, AncestralSampler(), shape, 64, steps=30, grid="uniform", seed=5)["sites"]
    away = drawn[:, 1] - drawn[:, 0] - torch.tensor([0.5, 0.25, 0.0])
    # sites carry no name here, so that either may be the first
    error = torch.minimum(
        *((turn - turn.round()).abs().amax(1) for turn in (away, away + torch.tensor([0.0, 0.5, 0.0])))
    )
    assert error.median() < 0.03
