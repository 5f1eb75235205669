"""Beliefs that are centred on a condition."""

import numpy as np
import pytest
import torch
from torch import nn

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.posteriors import LearnedGaussianPosterior
from unstir.exact.gaussian import GaussianDenoiser
from unstir.networks.mlp import MLP
from unstir.processes.bridge import BridgeProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.run import parts
from unstir.run.recipe import load
from unstir.samplers.base import sample

SEEDS = Seeds.range(4, 6)
CENTRE = 5 + SEEDS.at("centre").normal((2, 3), torch.float64)
T = torch.full((6,), 0.4, dtype=torch.float64)


class Odd(nn.Module):
    """Something that depends on all that it is told, and keeps what that was."""

    def forward(self, x, noise, drop=None, mask=None, **condition):
        self.seen = (x, drop, set(condition))
        shift = sum(value.flatten(1).mean(1) for value in condition.values()) if condition else torch.zeros(len(x))
        shift = shift if drop is None else torch.where(drop, 0.0, shift)
        return (x + noise.reshape(-1, 1, 1)).sin() + shift.reshape(-1, 1, 1)


def states(process):
    return process.noise(CENTRE + 0.3 * SEEDS.at("x0").normal((2, 3), torch.float64), T, SEEDS.at("noise"))


@pytest.mark.parametrize("schedule", [EDMSchedule(), RectifiedFlowSchedule()], ids=lambda made: type(made).__name__)
def test_it_is_the_belief_about_the_residual_moved(schedule):
    process = GaussianProcess(schedule)
    network = Odd()
    xt, told = states(process), {"given": SEEDS.at("given").normal((4,), torch.float64)}
    centred = NetworkDenoiser(network, process, sigma_data=0.3, around="centre")
    belief = centred(xt, T, centre=CENTRE, **told)
    assert network.seen[2] == {"given"}
    plain = NetworkDenoiser(network, process, sigma_data=0.3)
    alpha = schedule.alpha(T).reshape(-1, 1, 1)
    torch.testing.assert_close(belief.mean, CENTRE + plain(xt - alpha * CENTRE, T, **told).mean, rtol=0, atol=0)
    zero = centred(xt, T, centre=torch.zeros_like(CENTRE), **told).mean
    assert torch.equal(centred(xt, T, **told).mean, zero)


def test_of_a_gaussian_residual_a_network_that_says_nothing_tells_the_exact_belief():
    process = GaussianProcess(EDMSchedule())
    silent = MLP((2, 3), {}, width=8, depth=1, embedding=8).double()
    xt = states(process)
    belief = NetworkDenoiser(silent, process, sigma_data=0.3, around="centre")(xt, T, centre=CENTRE)
    covariance = 0.09 * torch.eye(1, dtype=torch.float64)
    for place in np.ndindex(6, 2, 3):
        law = GaussianDenoiser(CENTRE[place].reshape(1), covariance, process)
        exact = law(xt[place].reshape(1, 1), T[:1]).mean
        torch.testing.assert_close(belief.mean[place], exact.reshape(()), rtol=1e-9, atol=1e-9)


def test_dropping_forgets_the_other_conditions_and_leaves_the_centre():
    process, network = GaussianProcess(EDMSchedule()), Odd()
    denoiser = NetworkDenoiser(network, process, sigma_data=0.3, around="centre")
    xt, given = states(process), SEEDS.at("given").normal((4,), torch.float64)
    drop = torch.tensor([True, False] * 3)
    dropped = denoiser(xt, T, drop, centre=CENTRE, given=given).mean
    assert network.seen[1] is drop
    without = denoiser(xt, T, centre=CENTRE).mean
    full = denoiser(xt, T, centre=CENTRE, given=given).mean
    assert torch.equal(dropped, torch.where(drop.reshape(-1, 1, 1), without, full))


def test_missing_places_may_hold_anything_in_the_centre():
    process = GaussianProcess(EDMSchedule())
    denoiser = NetworkDenoiser(MLP((2, 3), {}, width=8, depth=1, embedding=8).double(), process, around="centre")
    mask = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(1)) > 0.3
    xt = process.noise(CENTRE, T, SEEDS.at("noise"), mask)
    belief = denoiser(xt, T, mask=mask, centre=torch.where(mask, CENTRE, torch.nan))
    assert torch.equal(belief.mean, denoiser(xt, T, mask=mask, centre=torch.where(mask, CENTRE, 9.0)).mean)
    assert not belief.mean[~mask].any() and belief.mean.isfinite().all()


def test_a_learned_variance_is_that_of_the_residual():
    process = GaussianProcess(EDMSchedule())
    network = MLP((2, 3), {}, width=8, depth=1, embedding=8, outputs=2).double()
    denoiser = NetworkDenoiser(network, process, sigma_data=0.3, variance="learned", around="centre")
    belief = denoiser(states(process), T, centre=CENTRE)
    assert isinstance(belief, LearnedGaussianPosterior)
    sigma = process.schedule.sigma(T).square()
    expected = (0.09 * sigma / (0.09 + sigma)).reshape(-1, 1, 1).expand(6, 2, 3)
    torch.testing.assert_close(belief.variance, expected)
    assert (belief.mean - CENTRE).abs().max() < 3


def test_the_deviation_is_that_of_the_residual_where_there_are_values():
    rows = Seeds.range(1, 400)
    centre = 10 * rows.at("centre").normal((2, 3))
    residual = 0.5 * rows.at("residual").normal((2, 3))
    condition, process = {"centre": centre}, GaussianProcess()
    options = NetworkDenoiser.options_for(process, {"around": "centre"}, centre + residual, condition)
    assert options["sigma_data"] == pytest.approx(float(residual.double().std(correction=0)), rel=1e-3)
    assert NetworkDenoiser.options_for(process, {}, centre + residual, condition)["sigma_data"] > 9
    mask = rows.at("mask").uniform((2, 3)) > 0.5
    holed = torch.where(mask, centre + residual, 0.0)
    options = NetworkDenoiser.options_for(process, {"around": "centre"}, holed, {**condition, "mask": mask})
    assert options["sigma_data"] == pytest.approx(float(residual[mask].double().std(correction=0)), rel=1e-3)


def test_what_does_not_fit_is_answered():
    process = GaussianProcess(EDMSchedule())
    with pytest.raises(InputError, match="layout as-it-is"):
        NetworkDenoiser(None, process, layout="vector", around="centre")
    with pytest.raises(InputError, match="not under a bridge"):
        NetworkDenoiser(None, BridgeProcess(source="normal"), around="centre")
    with pytest.raises(InputError, match=r"'centre', on which the belief is centred.*\(6, 2, 3\); seen \(6, 2, 1\)"):
        NetworkDenoiser(Odd(), process, around="centre")(states(process), T, centre=CENTRE[..., :1])
    with pytest.raises(InputError, match=r"'center'.*did you mean 'centre'"):
        NetworkDenoiser.options_for(process, {"around": "center"}, CENTRE, {"centre": CENTRE})


def test_a_recipe_builds_the_network_without_the_centre():
    recipe = load({"name": "r", "data": {"format": "digits"}, "denoiser": {"around": "centre"}, "network": "mlp"})
    conditions = {"centre": {"channels": 2}, "given": {"size": 4}}
    denoiser = parts.make_denoiser(recipe, (2, 3), conditions)
    assert denoiser.specification == recipe.network
    belief = denoiser(torch.zeros(3, 2, 3), torch.tensor(0.5), centre=torch.ones(3, 2, 3), given=torch.zeros(3, 4))
    assert belief.mean.shape == (3, 2, 3)
    with pytest.raises(InputError, match="condition"):
        denoiser.network(torch.zeros(3, 2, 3), torch.zeros(3), centre=torch.ones(3, 2, 3))


@pytest.mark.parametrize("bound", [False, True])
def test_sampling_begins_about_the_centre(bound):
    """Zeros are the exact belief of a normal residual; a centre 100 deviations off must not draw it away."""
    process = GaussianProcess(EDMSchedule(sigma_max=20.0))
    denoiser = NetworkDenoiser(MLP((2, 3), {}, width=8, depth=1, embedding=8), process, sigma_data=0.3, around="centre")
    centre = torch.tensor([30.0, -30.0, 0.0]).expand(3000, 2, 3)
    told = denoiser.given({"centre": centre}) if bound else denoiser
    condition = {} if bound else {"centre": centre}
    grid = {"name": "karras", "sigma_max": 20.0}
    drawn = sample(
        told, build("samplers", "heun"), (2, 3), 3000, steps=40, seed=0, grid=grid, condition=condition, batch=3000
    )
    gaps = (drawn - centre).double().mean((0, 1)) / (0.3 / (2 * 3000) ** 0.5)
    assert gaps.abs().max() < 5.5, gaps
    assert ((drawn - centre).double().std(0) / 0.3 - 1).abs().max() < 0.1
