"""A network made into a denoiser: right if the network is, finite at both ends of time, and true to conditions."""

import pytest
import torch
from schedules import PLAIN, SCHEDULES
from torch import nn

from unstir.core.catalogue import entries, find
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule

PARAMETERISATIONS = list(entries("parameterisations"))
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


class Recorder(nn.Module):
    """Returns what it is made with, and keeps what it was called with."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x, noise, drop=None, **condition):
        self.x, self.noise, self.drop, self.condition = x, noise, drop, condition
        return self.output if isinstance(self.output, torch.Tensor) else self.output(x)


def batch_of_levels(schedule, count=41):
    """Times spread over noise levels from 1/50 to 50, or to where the schedule ends."""
    levels = torch.logspace(-1.7, 1.7, count, dtype=torch.float64)
    return schedule.time_at_sigma(levels).clamp(max=0.999)


@pytest.mark.parametrize("name", PARAMETERISATIONS)
@every_schedule
def test_a_perfect_network_gives_the_clean_data(name, schedule):
    """Told the exact target, from a x_t + b F = x_0 solved for F with the numbers of each sample."""
    t = batch_of_levels(schedule)
    seeds, process = Seeds.range(1, len(t)), GaussianProcess(schedule)
    x0 = 0.5 * seeds.at("data").normal((2, 3), torch.float64)
    xt = process.noise(x0, t, seeds)
    eps = process.noise_of(xt, x0, t)
    alpha, sigma = process.coefficients(t, xt)
    spread = ((alpha * 0.5).square() + sigma.square()).sqrt()
    target = {
        "clean": x0,
        "noise": eps,
        "score": -eps / sigma,
        "v": alpha * eps - sigma * x0,
        "flow": eps - x0,
        "edm": (sigma * x0 - alpha * 0.25 * eps) / (0.5 * spread),
    }[name]
    mean = NetworkDenoiser(Recorder(target), process, name, sigma_data=0.5)(xt, t).mean
    torch.testing.assert_close(mean, x0, rtol=0, atol=1e-8)


@every_schedule
def test_the_network_sees_unit_variance_and_the_noise_level(schedule):
    t = batch_of_levels(schedule)
    seeds, process = Seeds.range(2, len(t)), GaussianProcess(schedule)
    xt = seeds.normal((1,), torch.float64)
    network = Recorder(lambda x: x)
    NetworkDenoiser(network, process, sigma_data=0.5)(xt, t)
    alpha, sigma = process.coefficients(t, xt)
    torch.testing.assert_close(network.x, xt / ((0.5 * alpha) ** 2 + sigma**2).sqrt())
    torch.testing.assert_close(network.noise, ((sigma / alpha).log() / 4).flatten().clamp(-3, 3))


@every_schedule
def test_input_variance_is_one_for_data_of_the_stated_deviation(schedule):
    t = torch.full((20_000,), 0.4, dtype=torch.float64)
    seeds, process = Seeds.range(3, len(t)), GaussianProcess(schedule)
    network = Recorder(lambda x: x)
    xt = process.noise(0.3 * seeds.at("data").normal((1,), torch.float64), t, seeds)
    NetworkDenoiser(network, process, sigma_data=0.3)(xt, t)
    # the variance of a normal's square is 2
    assert abs(network.x.square().mean().item() - 1) < 5 * (2 / 20_000) ** 0.5


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_at_both_ends_of_time(schedule, dtype):
    """In the precision of training; infinite noise is no state, so a schedule that ends in it is asked just before."""
    last = 1.0 if schedule.sigma(1.0).isfinite() else 0.999
    for t in (0.0, 1e-12, 1e-6, last):
        time = torch.tensor(t, dtype=torch.float64)
        xt = (0.5 * schedule.alpha(time) + schedule.sigma(time)).to(dtype) * Seeds.range(4, 8).normal((3,), dtype)
        for name in ("clean", "v", "flow", "edm"):
            network = Recorder(torch.ones(8, 3, dtype=dtype))
            mean = NetworkDenoiser(network, GaussianProcess(schedule), name, 0.5)(xt, time).mean
            assert mean.dtype == dtype
            assert mean.isfinite().all(), f"{name} at {t}"
            assert network.x.isfinite().all()
            assert network.noise.abs().max() <= 3


@pytest.mark.parametrize("name", ["noise", "score", "v", "flow", "edm"])
def test_at_the_clean_end_the_state_is_the_belief(name):
    xt = Seeds.range(4, 8).normal((3,))
    denoiser = NetworkDenoiser(Recorder(torch.full((8, 3), 7.0)), GaussianProcess(), name)
    torch.testing.assert_close(denoiser(xt, torch.tensor(0.0)).mean, xt)


def test_one_time_for_all_is_the_same_as_one_each():
    xt, denoiser = Seeds.range(0, 4).normal((3,)), NetworkDenoiser(Recorder(lambda x: x.cos()), GaussianProcess())
    one = denoiser(xt, torch.tensor(0.3, dtype=torch.float64)).mean
    assert torch.equal(one, denoiser(xt, torch.full((4,), 0.3, dtype=torch.float64)).mean)


def test_a_network_of_less_precision_gives_the_states_dtype():
    xt = Seeds.range(0, 4).normal((3,))
    denoiser = NetworkDenoiser(Recorder(lambda x: x.to(torch.bfloat16)), GaussianProcess())
    assert denoiser(xt, torch.tensor(0.5)).mean.dtype == torch.float32


def test_conditions_and_drop_reach_the_network():
    network = Recorder(lambda x: x)
    denoiser = NetworkDenoiser(network, GaussianProcess())
    xt, t = torch.zeros(2, 3), torch.tensor(0.5)
    drop, label, vector = torch.tensor([True, False]), torch.tensor([1, 2]), torch.ones(2, 4)
    denoiser(xt, t, drop, label=label, vector=vector)
    assert network.drop is drop
    assert set(network.condition) == {"label", "vector"}
    bound = denoiser.given({"label": label})
    assert bound.process is denoiser.process
    bound(xt, t, drop, vector=vector)
    assert torch.equal(network.condition["label"], label)
    assert torch.equal(network.condition["vector"], vector)
    assert network.drop is drop
    bound.given({"vector": vector})(xt, t)
    assert set(network.condition) == {"label", "vector"}
    assert denoiser.given({}) is denoiser


def test_a_bound_condition_cannot_be_given_again():
    bound = NetworkDenoiser(Recorder(lambda x: x), GaussianProcess()).given({"label": torch.tensor([1])})
    with pytest.raises(InputError, match="the condition 'label' is already bound"):
        bound(torch.zeros(1, 3), torch.tensor(0.5), label=torch.tensor([2]))


def test_a_bound_denoiser_shares_the_parameters():
    denoiser = NetworkDenoiser(nn.Linear(3, 3), GaussianProcess())
    assert [id(p) for p in denoiser.given({"label": torch.tensor([1])}).parameters()] == [
        id(p) for p in denoiser.parameters()
    ]


def test_padded_places_of_the_belief_are_zero():
    mask = torch.tensor([[True, False], [True, True]])
    denoiser = NetworkDenoiser(Recorder(lambda x: x * 0 + torch.nan_to_num(1 / x)), GaussianProcess())
    mean = denoiser(Seeds.range(0, 2).normal((2, 3)), torch.tensor(0.5), mask=mask).mean
    assert (mean[~mask] == 0).all()
    assert (mean[mask] != 0).all()
    assert denoiser.network.condition["mask"] is mask


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, float("nan")])
def test_sigma_data_must_be_positive(sigma_data):
    with pytest.raises(InputError, match=f"must be positive; seen {sigma_data}"):
        NetworkDenoiser(Recorder(lambda x: x), GaussianProcess(), sigma_data=sigma_data)


def test_an_unknown_parameterisation_is_answered():
    with pytest.raises(InputError, match="unknown parameterisation 'eps'"):
        NetworkDenoiser(Recorder(lambda x: x), GaussianProcess(), "eps")


def test_edms_own_formula():
    """Karras et al., eq. 7 and table 1, in their variables: D(y; s) = c_skip y + c_out F(c_in y; ln(s)/4)."""
    network = Recorder(lambda x: x.sin())
    denoiser = NetworkDenoiser(network, GaussianProcess(EDMSchedule()), sigma_data=0.5)
    y = Seeds.range(0, 6).normal((2,), torch.float64)
    for s in (0.01, 0.5, 20.0):
        t = denoiser.process.schedule.time_at_sigma(s)
        skip, out, scale = 0.25 / (s**2 + 0.25), s * 0.5 / (0.25 + s**2) ** 0.5, 1 / (0.25 + s**2) ** 0.5
        torch.testing.assert_close(denoiser(y, t).mean, skip * y + out * (scale * y).sin(), rtol=1e-9, atol=1e-12)


def test_every_schedule_is_met():
    assert set(PLAIN) == set(entries("schedules"))
    assert find("schedules", "cosine").load() is CosineSchedule
