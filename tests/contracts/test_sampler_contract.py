"""What every sampler of the catalogue keeps: its order, its marginals, its cost, and that it remembers nothing."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mixture import MixtureDenoiser, one_dimensional, two_dimensional
from networks import small_mlp, small_unet
from scipy import stats
from thresholds import assert_distribution
from trajectories import PointDenoiser, exact_moments, solve_flow, walk

from unstir.core.catalogue import build, entries
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras, log_snr_uniform
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule
from unstir.samplers.base import ANY_SPACE, SamplerState, sample

START = 10.0  # noise level that trajectories start from
SAMPLERS = {name: build("samplers", name) for name in entries("samplers")}
every = pytest.mark.parametrize("name", SAMPLERS)


def is_deterministic(sampler):
    denoiser = PointDenoiser(two_dimensional(GaussianProcess()))
    x = torch.ones(3, 2, dtype=torch.float64)
    times = karras(denoiser.process.schedule, 4, sigma_max=START)
    return torch.equal(*(walk(sampler, denoiser, x, times, Seeds.range(seed, 3))[-1].x for seed in (0, 1)))


DETERMINISTIC = [name for name, sampler in SAMPLERS.items() if is_deterministic(sampler)]


def test_both_kinds_are_met():
    assert {"ddim", "heun", "euler"} <= set(DETERMINISTIC)
    assert {"ancestral", "ddpm"}.isdisjoint(DETERMINISTIC)


def powers(exponent):
    """Times whose roots are even, down to 0."""

    def grid(schedule, steps):
        ramp = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        return ramp**exponent * schedule.time_at_sigma(START)

    return grid


# The error of the last step, into no noise at all, is of the size of its noise level squared. In the grids
# here the noise level falls at least with the square of the steps left, k^2/N^2, so that it cannot spoil an
# order of two. (With k/N only, as for even times of the cosine schedule, it would not either, but the steps
# in log-SNR, some 1/k, are then too wide near the end, and order two is met as log N / N^2.) On a linear
# beta sigma/alpha goes with the root of time, hence the fourth powers.
TO_THE_END = {
    "cosine, squares": (CosineSchedule(), powers(2)),
    "edm, even": (EDMSchedule(sigma_max=START), powers(1)),
    "linear-vp, fourth powers": (LinearVPSchedule(), powers(4)),
}
# These grids end at a fixed level before the last step, which nothing refines; the error is taken there.
TO_A_LEVEL = {
    "sub-vp, karras": (SubVPSchedule(), lambda schedule, steps: karras(schedule, steps + 1, 0.05, START)),
    "flow, log-snr": (
        RectifiedFlowSchedule(),
        lambda schedule, steps: log_snr_uniform(schedule, steps + 1, 0.05, START),
    ),
}


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("case", [*TO_THE_END, *TO_A_LEVEL])
def test_order_of_convergence(name, case):
    """The slope of the error over the number of steps, doubled four times, against the ODE solved to 1e-11."""
    schedule, grid = {**TO_THE_END, **TO_A_LEVEL}[case]
    sampler, denoiser = SAMPLERS[name], two_dimensional(GaussianProcess(schedule))
    y = (START**2 + 1) ** 0.5 * Seeds.range(8, 12).normal((2,), torch.float64)
    end = 0.0 if case in TO_THE_END else 0.05
    expected = solve_flow(denoiser, y.numpy(), START, end)
    counts, errors = [24, 48, 96, 192, 384], []
    for steps in counts:
        times = grid(schedule, steps)
        kept = times if end == 0 else times[:-1]
        x = walk(sampler, denoiser, schedule.alpha(times[0]) * y, kept)[-1].x
        errors.append(np.sqrt(np.mean(((x / schedule.alpha(kept[-1])).numpy() - expected) ** 2)))
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(slope - sampler.order) < 0.2, f"order {slope:.2f}, declared {sampler.order}; errors {errors}"


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - set(DETERMINISTIC)))
@pytest.mark.parametrize("case", TO_THE_END)
def test_weak_order_with_a_point_belief(name, case):
    """Mean and variance for Gaussian data, exactly (see ``exact_moments``), started from the exact marginal."""
    schedule, grid = TO_THE_END[case]
    mean, deviation = 0.6, 0.8
    denoiser = PointDenoiser(MixtureDenoiser([1.0], [[mean]], [deviation], GaussianProcess(schedule)))
    counts, errors = [16, 32, 64, 128], []
    for steps in counts:
        times = grid(schedule, steps)
        alpha, sigma = schedule.alpha(times[0]).item(), schedule.sigma(times[0]).item()
        told = exact_moments(SAMPLERS[name], denoiser, times, alpha * mean, (alpha * deviation) ** 2 + sigma**2)
        errors.append(abs(told[0] - mean) + abs(told[1] - deviation**2))
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope > SAMPLERS[name].order - 0.2, (
        f"weak order {slope:.2f}, declared {SAMPLERS[name].order}; errors {errors}"
    )
    assert errors[-1] < 0.1


@every
def test_samples_have_the_law_of_the_data(name):
    """A hundred steps; 4,000 samples resolve a distance of 0.04, the steps' bias is well below."""
    denoiser = one_dimensional(GaussianProcess())
    drawn = sample(denoiser, SAMPLERS[name], (1,), 4000, steps=100, seed=3, batch=4000, dtype=torch.float64)
    assert_distribution(drawn, lambda x: 0.7 * stats.norm(-1, 0.2).cdf(x) + 0.3 * stats.norm(1.5, 0.5).cdf(x))


@every
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_network_calls_and_the_last_step(name, steps):
    """As many as declared, one for the last step, which lands on the mean of the belief."""
    sampler, denoiser, times, means = SAMPLERS[name], PointDenoiser(one_dimensional(GaussianProcess())), [], []

    def record(module, arguments, output):
        times.append(float(arguments[1]))
        means.append(output.mean)

    denoiser.register_forward_hook(record)
    grid = karras(denoiser.process.schedule, steps)
    drawn = sample(denoiser, sampler, (1,), 4, grid=grid, batch=4, dtype=torch.float64)
    assert len(times) == sampler.calls_per_step * (steps - 1) + 1
    assert times[-1] == grid[-2], "no call is spent where nothing of the noise is left"
    torch.testing.assert_close(drawn, means[-1], rtol=1e-12, atol=1e-12)


@every
@pytest.mark.parametrize("make", [small_unet, small_mlp])
def test_a_sample_is_the_same_to_the_bit_in_any_company(name, make):
    """Alone, in any selection and order, in one batch or many."""
    denoiser = make({"label": {"classes": 4}})
    shape = denoiser.network.shape
    labels = torch.arange(70) % 4
    options = {"steps": 3, "batch": 32}
    whole = sample(denoiser, SAMPLERS[name], shape, 70, seed=5, condition={"label": labels}, **options)
    assert whole.isfinite().all()
    assert len(whole.flatten(1).unique(dim=0)) == 70
    for chosen in ([17], [69, 3, 17, 40], list(range(33, 64)), list(range(69, -1, -1))):
        numbers = torch.tensor(chosen)
        some = sample(
            denoiser, SAMPLERS[name], shape, seeds=Seeds(5, numbers), condition={"label": labels[numbers]}, **options
        )
        assert torch.equal(some, whole[numbers]), f"samples {chosen} differ"


@every
def test_the_same_seed_gives_the_same_samples_and_another_gives_others(name):
    denoiser = small_mlp()
    draw = [sample(denoiser, SAMPLERS[name], (5,), 6, steps=3, seed=seed, batch=8) for seed in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1])
    assert not (draw[0] == draw[2]).any()


@every
def test_interleaved_trajectories_do_not_meet(name):
    """All memory is in the state: two runs through one sampler, step about, are as two apart."""
    sampler, denoiser = SAMPLERS[name], small_mlp()
    times = karras(denoiser.process.schedule, 6)
    starts = [50 * Seeds.range(seed, 3).normal((5,)) for seed in (1, 2)]
    with torch.no_grad():
        apart = [walk(sampler, denoiser, x, times, Seeds.range(9 + k, 3))[-1].x for k, x in enumerate(starts)]
        states = [SamplerState(x, Seeds.range(9 + k, 3)) for k, x in enumerate(starts)]
        for t, s in itertools.pairwise(times):
            states = [sampler.step(denoiser, state, t, s) for state in states]
    for state, expected in zip(states, apart, strict=True):
        assert torch.equal(state.x, expected)


@every
def test_threads_do_not_meet(name):
    denoiser = small_mlp()

    def draw(seed):
        return sample(denoiser, SAMPLERS[name], (5,), 24, steps=5, seed=seed, batch=16)

    alone = [draw(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(draw, range(3)))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


@every
def test_a_step_leaves_the_state_it_came_from_alone(name):
    sampler, denoiser = SAMPLERS[name], small_mlp()
    before = SamplerState(Seeds.range(0, 3).normal((5,)), Seeds.range(0, 3))
    x = before.x.clone()
    t, s = torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    with torch.no_grad():
        after = sampler.step(denoiser, before, t, s)
    assert torch.equal(before.x, x)
    assert (before.step, after.step) == (0, 1)
    assert after.x.dtype == torch.float32
    torch.testing.assert_close(after.mean, denoiser(x, t).mean.detach())


@every
def test_declarations(name):
    sampler = SAMPLERS[name]
    assert sampler.order > 0
    assert sampler.calls_per_step >= 1
    assert sampler.spaces == ANY_SPACE or "any" not in sampler.spaces
    assert build("samplers", name) == sampler
