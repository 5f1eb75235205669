"""Early stopping: nothing at tolerance 0, errors within the tolerance, savings, and independence."""

import pytest
import torch
from networks import small_mlp

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras, uniform
from unstir.samplers.base import SamplerState, follow, sample
from unstir.samplers.exponential import ddim, ddpm, multistep
from unstir.samplers.runge_kutta import heun
from unstir.samplers.stopping import EarlyStopping, calls_taken
from unstir.verification.references import IN_THE_PLANE, NormalDenoiser, PointDenoiser


def run(denoiser, sampler, steps=40, count=40, grid=karras):
    times, seeds = grid(denoiser.process.schedule, steps), Seeds.range(2, count)
    x = denoiser.process.prior((2,), seeds.at("prior"), times[0], torch.float64)
    return follow(denoiser, sampler, SamplerState(x, seeds), times)


def plane():
    return PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))


@pytest.mark.parametrize("sampler", [ddim(), ddpm(), multistep(), heun()], ids=["ddim", "ddpm", "multistep", "heun"])
@pytest.mark.parametrize("edges", [(), (1.0, 0.1)], ids=["one class", "three"])
def test_at_tolerance_nought_nothing_changes(sampler, edges):
    stopped = run(plane(), EarlyStopping(sampler, 0.0, edges), 12)
    whole = run(plane(), sampler, 12)
    assert torch.equal(stopped.tensor, whole.tensor)
    assert torch.equal(stopped.mean, whole.mean)
    assert calls_taken(stopped)[0].tolist() == [calls_taken(stopped)[1]] * 40
    assert calls_taken(stopped)[1] == sampler.calls(12)


@pytest.mark.parametrize("sampler", [ddim(), multistep(), heun()], ids=["ddim", "multistep", "heun"])
def test_what_is_missed_is_within_the_tolerance(sampler):
    whole = run(plane(), sampler).tensor
    taken = []
    for tolerance in (1e-2, 1e-3, 1e-4):
        stopped = run(plane(), EarlyStopping(sampler, tolerance))
        assert (stopped.tensor - whole).square().mean().sqrt() <= tolerance
        assert (stopped.tensor - whole).abs().max() > 0
        taken.append(calls_taken(stopped)[0].double().mean().item())
    assert taken[0] < taken[1] < taken[2] < sampler.calls(40)


def test_the_forecast_of_normal_data_is_right():
    """Below the data's deviation the belief moves by what is left: the stop comes where the tolerance says, not late.

    The belief is m = y C/(C + r^2), and along the flow y goes with sqrt(C + r^2): from r to 0 it moves by
    |y0| (1 - 1/sqrt(1 + r^2/C)), about |y0| r^2/2C.
    """
    tolerance = 1e-3
    denoiser = NormalDenoiser(0.0, 1.0, GaussianProcess())
    times, seeds = karras(denoiser.process.schedule, 200), Seeds.range(2, 30)
    x = denoiser.process.prior((2,), seeds.at("prior"), times[0], torch.float64)
    asked = []
    state = follow(
        denoiser, EarlyStopping(ddim(), tolerance, ()), SamplerState(x, seeds), times,
        lambda state, t, s: asked.append((calls_taken(state)[0], (-denoiser.process.schedule.log_snr(t) / 2).exp())),
    )  # fmt: skip
    size = state.tensor.square().mean(1).sqrt()
    last = torch.stack([calls for calls, _ in asked]).argmax(0)
    levels = torch.stack([level for _, level in asked])[last]
    left = size * (1 - 1 / (1 + levels**2).sqrt())
    # the forecast takes the power 1 where it is 2, which doubles it; two steps of 200 make the rest
    assert (left < tolerance).all()
    assert (left > tolerance / 4).all()


def test_who_stops_together_costs_nothing():
    class Constant(Denoiser):
        process = GaussianProcess()
        calls = 0

        def forward(self, xt, t, drop=None, **condition):
            self.calls += 1
            return PointPosterior(torch.full_like(xt, 0.3))

    denoiser = Constant()
    state = run(denoiser, EarlyStopping(multistep(), 1e-6, ()), 30)
    assert denoiser.calls == calls_taken(state)[1] == 4, "three make a forecast, and the fourth agrees with it"
    assert (state.tensor == 0.3).all()
    denoiser.calls = 0
    run(denoiser, EarlyStopping(multistep(), 1e-6, (1.0,)), 30)
    assert denoiser.calls > 4, "a new class asks again"


def test_fresh_noise_goes_on_where_the_belief_rests():
    """A stopped sample of an SDE goes on being noisy: its states have the law that they should have."""

    class Constant(Denoiser):
        process = GaussianProcess()

        def forward(self, xt, t, drop=None, **condition):
            return PointPosterior(torch.zeros_like(xt))

    denoiser = Constant()
    schedule = denoiser.process.schedule
    times, seeds = karras(schedule, 30), Seeds.range(2, 2000)
    x = denoiser.process.prior((2,), seeds.at("prior"), times[0], torch.float64)
    state = follow(denoiser, EarlyStopping(ddpm(), 1e-3, ()), SamplerState(x, seeds), times[:20])
    assert calls_taken(state)[1] == 4
    ratio = state.tensor.square().mean() / schedule.sigma(times[19]) ** 2
    assert abs(ratio.item() - 1) < 5 * (2 / 4000) ** 0.5


def test_a_start_without_data():
    state = run(plane(), EarlyStopping(ddim(), 1e-3), 40, grid=uniform)
    assert state.tensor.isfinite().all()


def test_a_sample_does_not_depend_on_its_company():
    """To the bit through `sample`, to rounding alone."""
    network, sampler = small_mlp(), EarlyStopping(multistep(), 3e-2)
    whole = sample(network, sampler, (5,), 20, steps=20, batch=16, seed=1)
    some = sample(network, sampler, (5,), seeds=Seeds(1, torch.tensor([17, 3])), steps=20, batch=16)
    assert torch.equal(some, whole[[17, 3]])
    denoiser = plane()
    times, seeds = karras(denoiser.process.schedule, 40), Seeds.range(2, 40)
    x = denoiser.process.prior((2,), seeds.at("prior"), times[0], torch.float64)
    together = follow(denoiser, EarlyStopping(multistep(), 1e-2), SamplerState(x, seeds), times)
    alone = follow(denoiser, EarlyStopping(multistep(), 1e-2), SamplerState(x[7:8], seeds[7:8]), times)
    torch.testing.assert_close(alone.x[0], together.x[7], rtol=0, atol=1e-9)
    assert calls_taken(alone)[0][0] == calls_taken(together)[0][7]
    assert calls_taken(alone)[1] < calls_taken(together)[1]


def test_each_class_has_its_own_tolerance():
    coarse, fine = (
        calls_taken(run(plane(), EarlyStopping(ddim(), tolerances, (0.3,))))[0].sum()
        for tolerances in ((0.3, 0.0), (0.0, 1e-2))
    )
    neither = calls_taken(run(plane(), EarlyStopping(ddim(), (0.0, 0.0), (0.3,))))[0].sum()
    both = calls_taken(run(plane(), EarlyStopping(ddim(), (0.3, 1e-2), (0.3,))))[0].sum()
    assert neither == 40 * 40
    assert coarse < neither
    assert fine < neither
    assert both < min(coarse, fine)


def test_it_is_a_sampler_like_others():
    stopping = EarlyStopping(heun())
    assert stopping.order == 2
    assert stopping.calls_per_step is None
    assert stopping == EarlyStopping(heun())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edges": (0.1, 1.0)}, "positive noise levels that fall; seen"),
        ({"edges": (1.0, 0.0)}, "positive noise levels that fall; seen"),
        ({"tolerance": -1.0}, "one for each of the 3 classes, none negative; seen -1.0"),
        ({"tolerance": (1e-2, 1e-3)}, "one for each of the 3 classes"),
        ({"tolerance": float("nan")}, "none negative; seen nan"),
    ],
)
def test_wrong_options_are_answered(options, message):
    with pytest.raises(InputError, match=message):
        EarlyStopping(ddim(), **options)


def test_calls_of_another_sampler_are_not_known():
    with pytest.raises(InputError, match="stepped by another sampler"):
        calls_taken(run(plane(), ddim(), 4))
