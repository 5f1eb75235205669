"""The adaptive sampler: the flow's own end, from any schedule and start, and what it refuses."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.adaptive import adaptive
from unstir.samplers.base import SamplerState, sample
from unstir.verification.references import IN_THE_PLANE, NormalDenoiser, PointDenoiser, arrive, small_network

SCHEDULES = [EDMSchedule(), CosineSchedule(), RectifiedFlowSchedule()]


def times(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.scale)
def test_it_arrives_where_the_flow_does(schedule):
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    y = 20 * Seeds.range(0, 6).normal((2,), torch.float64)
    start = schedule.time_at_sigma(20.0)
    expected = torch.tensor(IN_THE_PLANE.flow(y.numpy(), 20.0, 1e-6))
    for tolerance in (1e-2, 1e-5):
        away = arrive(adaptive(tolerance), denoiser, schedule.alpha(start) * y, torch.stack((start, 0 * start)))
        assert (away - expected).square().mean(1).sqrt().max() < 3 * tolerance
    level = schedule.time_at_sigma(0.3)
    half = arrive(adaptive(1e-6), denoiser, schedule.alpha(start) * y, torch.stack((start, level)))
    expected = schedule.alpha(level) * torch.tensor(IN_THE_PLANE.flow(y.numpy(), 20.0, 0.3))
    assert (half - expected).abs().max() < 1e-4


@pytest.mark.parametrize("schedule", [CosineSchedule(), RectifiedFlowSchedule()], ids=lambda schedule: schedule.scale)
def test_pure_noise_is_a_place_to_start_from(schedule):
    """For normal data the flow is x = mean alpha + z sqrt(alpha^2 s^2 + sigma^2), from alpha = 0 as well."""
    denoiser = NormalDenoiser(0.6, 0.8, GaussianProcess(schedule))
    noise = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    found = arrive(adaptive(1e-6), denoiser, noise, times(1.0, 0.0))
    torch.testing.assert_close(found, 0.6 + 0.8 * noise, rtol=0, atol=3e-6)


def test_stops_on_the_way_are_free_and_the_first_belief_is_told():
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    x = Seeds.range(0, 4).normal((2,), torch.float64)
    whole = arrive(adaptive(1e-5), denoiser, x, times(0.99, 0.0))
    stopping = arrive(adaptive(1e-5), denoiser, x, times(0.99, 0.8, 0.5, 0.1, 1e-7, 0.0))
    assert (whole - stopping).abs().max() < 6e-5
    state = SamplerState(x, Seeds.range(0, 4))
    after = adaptive(1e-3).step(denoiser, state, *times(0.9, 0.5))
    torch.testing.assert_close(after.mean, denoiser(x, times(0.9)[0]).mean, rtol=1e-12, atol=1e-12)
    assert after.step == 1 and len(after.history) == 2
    share, size = after.history
    assert share.shape == size.shape == (4,)


@pytest.mark.slow
def test_it_serves_sample_in_single_precision():
    network = small_network()
    drawn = sample(network, adaptive(1e-3), (5,), 6, steps=2, batch=6)
    assert drawn.dtype == torch.float32 and drawn.isfinite().all()
    x = Seeds.range(3, 6).normal((5,))
    single = arrive(adaptive(1e-3), network, x, times(1.0, 0.0))
    double = arrive(adaptive(1e-6), network.double(), x.double(), times(1.0, 0.0))
    assert single.dtype == torch.float32 and (single - double).square().mean().sqrt() < 3e-3


def test_local_control_costs_less():
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    counts = []
    for control in ("local", "global"):
        seen = []
        hook = denoiser.register_forward_hook(lambda *told, seen=seen: seen.append(len(told[1][0])))
        arrive(adaptive(1e-4, control), denoiser, torch.ones(3, 2, dtype=torch.float64), times(0.99, 0.0))
        hook.remove()
        assert set(seen) == {3}
        counts.append(len(seen))
    assert counts[0] < counts[1]


def test_what_makes_no_sense_is_refused():
    for options, message in (
        ({"tolerance": 0.0}, "tolerance lies between 0 and 1"),
        ({"scale": -1.0}, "scale is positive"),
        ({"control": "none"}, "unknown error control 'none'"),
        ({"method": "heun"}, "unknown method of solution 'heun'"),
    ):
        with pytest.raises(InputError, match=message):
            adaptive(**options)
    with pytest.raises(InputError, match=r"finer than numbers of torch.float32 can tell; take at least 1e-05"):
        sample(small_network(), adaptive(1e-7), (5,), 2, steps=1, batch=2)
    with pytest.raises(InputError, match="max_calls, now 20"):
        sample(small_network(), adaptive(1e-4, max_calls=20), (5,), 2, steps=1, batch=2)
