"""The field's names in the exponential family."""

import math

import pytest
import torch

from unstir.core.catalogue import build, entries
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras, log_snr_uniform, uniform
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers import presets
from unstir.samplers.base import SamplerState
from unstir.samplers.exponential import ExponentialSampler, ddim
from unstir.samplers.single_step import SingleStepSampler, Stage
from unstir.verification.references import IN_THE_PLANE, NormalDenoiser, PointDenoiser, exact_moments, walk


def members():
    for name in presets.__all__:
        preset = getattr(presets, name)
        for option, sampler in getattr(preset, "examples", lambda preset=preset: {"plain": preset()})().items():
            yield pytest.param(sampler, id=f"{name}, {option}")


every_member = pytest.mark.parametrize("sampler", list(members()))


@pytest.mark.parametrize("name", presets.__all__)
def test_each_is_listed_with_its_source_and_made_by_name(name):
    entry = entries("samplers")[name.replace("_", "-")]
    assert entry.source.endswith(".") and "(20" in entry.source
    assert build("samplers", entry.name) == getattr(presets, name)()


@every_member
@pytest.mark.parametrize("schedule", [CosineSchedule(), RectifiedFlowSchedule()], ids=["cosine", "flow"])
def test_a_start_without_any_data_is_no_difficulty(sampler, schedule):
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    x = Seeds.range(0, 5).normal((2,), torch.float64)
    states = walk(sampler, denoiser, x, uniform(schedule, 7))
    assert all(state.tensor.isfinite().all() and state.tensor.abs().max() < 10 for state in states)
    assert torch.equal(states[-1].tensor, states[-1].mean)


@every_member
def test_the_order_is_that_of_normal_datas_flow(sampler):
    """A second law beside that of the checks; the flow keeps (x - alpha m)/sqrt(alpha^2 s^2 + sigma^2)."""
    if sampler.noisy:
        pytest.skip("it draws noise")
    schedule = EDMSchedule()
    denoiser, errors = NormalDenoiser(0.4, 0.7, GaussianProcess(schedule)), []
    start = torch.tensor([[1.0], [-0.5]], dtype=torch.float64)
    for steps in (180, 360):
        times = log_snr_uniform(schedule, steps + 1, 0.1, 10.0)[:-1]
        deviation = (0.49 + schedule.sigma(times).square()).sqrt()
        told = walk(sampler, denoiser, 0.4 + deviation[0] * start, times)[-1].tensor
        errors.append((told - 0.4 - deviation[-1] * start).abs().max())
    assert math.log2(errors[0] / errors[1]) > sampler.order - 0.25


@every_member
def test_samples_of_normal_data_have_its_moments(sampler):
    """Exactly known by impulses, for the noisy ones; the deterministic ones scale the first state only."""
    schedule = CosineSchedule()
    denoiser = NormalDenoiser(0.4, 0.7, GaussianProcess(schedule))
    errors = []
    for steps in (40, 160):
        times = karras(schedule, steps, sigma_max=20.0)
        alpha, sigma = schedule.alpha(times[0]).item(), schedule.sigma(times[0]).item()
        mean, variance = exact_moments(sampler, denoiser, times, 0.4 * alpha, (0.7 * alpha) ** 2 + sigma**2)
        errors.append(abs(mean - 0.4) + abs(variance - 0.49))
    # sigma_min 0.002 of the grid, from which the last step goes, leaves 2e-6 / 0.7
    assert errors[1] < max(errors[0] / 2.5, 1e-5)
    assert errors[1] < 0.02


def test_dpm_solver_1_is_ddim():
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    x = Seeds.range(0, 5).normal((2,), torch.float64)
    ends = [walk(s, denoiser, x, karras(CosineSchedule(), 8))[-1].tensor for s in (ddim(), presets.dpm_solver_1())]
    torch.testing.assert_close(*ends, rtol=1e-9, atol=1e-9)


def test_sa_solver_adds_noise_in_its_range_alone():
    schedule = CosineSchedule()
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    x = Seeds.range(0, 5).normal((2,), torch.float64)
    limited = presets.sa_solver(2, 0, 1.0, 0.5, 2.0)

    def moved(sampler, levels, seed):
        t, s = schedule.time_at_sigma(torch.tensor(levels, dtype=torch.float64))
        return sampler.step(denoiser, SamplerState(x, Seeds.range(seed, 5)), t, s).tensor

    still = presets.sa_solver(2, 0, 0.0)
    for levels in ([5.0, 2.0], [0.5, 0.1]):
        torch.testing.assert_close(moved(limited, levels, 0), moved(still, levels, 1), rtol=1e-9, atol=1e-12)
    inside = [moved(sampler, [1.5, 0.8], 0) for sampler in (limited, presets.sa_solver(2, 0))]
    assert torch.equal(*inside)
    # across both edges: as in three steps of order one, with the noise where it belongs
    crossing = exact_moments(limited, NormalDenoiser(0.6, 0.0, GaussianProcess(schedule)), _at(4.0, 0.2), 0.1, 1.0)
    alpha, sigma = (f(_at(4.0, 0.2)).tolist() for f in (schedule.alpha, schedule.sigma))
    kept = sigma[1] / sigma[0] * 0.5 / 2.0  # e^(-tau^2 h) of the stretch from 2 to 0.5
    assert crossing[0] == pytest.approx(kept * (0.1 - alpha[0] * 0.6) + alpha[1] * 0.6)
    assert crossing[1] == pytest.approx(kept**2 + sigma[1] ** 2 * (1 - (0.5 / 2.0) ** 2))


def _at(*levels):
    return CosineSchedule().time_at_sigma(torch.tensor(levels, dtype=torch.float64))


def test_inner_states_share_one_path_of_noise():
    """For data of one point the law is exact, which it would not be with fresh noise for each state."""
    for schedule in (CosineSchedule(), EDMSchedule()):
        times = schedule.time_at_sigma(torch.tensor([6.0, 2.0, 0.9], dtype=torch.float64))
        alpha, sigma = (f(times).tolist() for f in (schedule.alpha, schedule.sigma))
        denoiser = NormalDenoiser(0.6, 0.0, GaussianProcess(schedule))
        for sampler in (presets.dpm_solver_pp_sde_2s(), presets.dpm_solver_pp_sde_2s(0.3, 1.6)):
            mean, variance = exact_moments(sampler, denoiser, times, alpha[0] * 0.6, sigma[0] ** 2)
            assert mean == pytest.approx(alpha[-1] * 0.6, rel=1e-11)
            assert variance == pytest.approx(sigma[-1] ** 2, rel=1e-11)


def test_stages_of_any_share():
    assert presets.dpm_solver_3(0.4, 0.8).order == 2.0
    assert presets.dpm_solver_3(0.2, 2 / 3).order == 3.0
    assert presets.dpm_solver_3().calls(10) == 28
    assert presets.dpm_solver_2().steps_within(10) == 5


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: presets.plms(5), "the order is 1 to 4; seen 5"),
        (lambda: presets.unipc(4), "UniPC's predictor is 1 to 3; seen 4"),
        (lambda: presets.deis(2, "angle"), "unknown variable of DEIS 'angle'"),
        (lambda: presets.exponential_ab(2, "flow"), "unknown prediction of exponential Adams-Bashforth 'flow'"),
        (lambda: presets.velocity_ab(2, "spiral"), "unknown path 'spiral'"),
        (lambda: presets.sa_solver(sigma_min=-1.0), "0 <= low < high"),
        (lambda: presets.sa_solver(corrector=1), "a corrector takes 2 to 5 values, 0 for none; seen 1"),
        (lambda: presets.dpm_solver_2(1.0), r"rising order between 0 and 1 of the step; seen \[1\.0\]"),
        (lambda: presets.dpm_solver_3(0.6, 0.3), r"rising order between 0 and 1 of the step; seen \[0\.6, 0\.3\]"),
        (lambda: SingleStepSampler(stages=(Stage(0.5, (0,)),)), "rising order"),
        (lambda: ExponentialSampler(corrector=6), "a corrector takes 2 to 5 values"),
    ],
)
def test_impossible_options_are_refused(made, message):
    with pytest.raises(InputError, match=message):
        made()
