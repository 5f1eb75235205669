"""Against the schedulers of diffusers, where it is installed: the development environment leaves it out.

The other tests hold the same steps against the papers' formulas, so nothing is unchecked where these are skipped.
"""

import pytest
import torch

from unstir.core.seeds import Seeds
from unstir.denoisers.parameterisations import convert, noise, v
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.discrete import DiscreteSchedule
from unstir.samplers.exponential import ExponentialSampler, ddim
from unstir.samplers.presets import dpm_solver_pp_2m, dpm_solver_pp_2s, unipc
from unstir.verification.references import IN_THE_PLANE, PointDenoiser, walk

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of theirs, with newer NumPy


@pytest.fixture
def process():
    return GaussianProcess(DiscreteSchedule.linear())


def test_cumulative_products_and_noising(process):
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000)
    steps = torch.tensor([0, 9, 500, 999])
    alpha = process.schedule.alpha((steps + 1) / 1000.0)
    torch.testing.assert_close(alpha.square(), scheduler.alphas_cumprod[steps].double(), rtol=2e-5, atol=0)
    x0, eps = (Seeds.range(seed, 4).normal((3,)) for seed in (0, 1))
    told = scheduler.add_noise(x0, eps, steps)
    ours = alpha[:, None] * x0 + process.schedule.sigma((steps + 1) / 1000.0)[:, None] * eps
    torch.testing.assert_close(told.double(), ours, rtol=1e-4, atol=1e-4)
    velocity = scheduler.get_velocity(x0, eps, steps)
    a, s = process.coefficients((steps + 1) / 1000.0, x0)
    torch.testing.assert_close(convert(eps, told, a, s, noise, v), velocity, rtol=1e-3, atol=1e-3)


def test_improved_ddpms_cosine_betas():
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2")
    ours = torch.tensor(DiscreteSchedule.cosine(100).betas)
    torch.testing.assert_close(ours, scheduler.betas, rtol=1e-5, atol=0)


def test_ddim_trajectory(process):
    """Fifty steps from the same noise with the same exact denoiser; their arithmetic is single precision."""
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(process))
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=1000, clip_sample=False, timestep_spacing="trailing", set_alpha_to_one=True
    )
    scheduler.set_timesteps(50)
    x = Seeds.range(0, 8).normal((2,), torch.float64)
    times = torch.cat(((scheduler.timesteps + 1) / 1000.0, torch.zeros(1))).double()
    ours = walk(ddim(), denoiser, x, times)[-1].x
    for k, t in zip(scheduler.timesteps, times, strict=False):
        eps = process.noise_of(x, denoiser(x, t).mean, t)
        x = scheduler.step(eps, int(k), x).prev_sample
    torch.testing.assert_close(x, ours, rtol=2e-3, atol=2e-3)


COMMON = {"num_train_timesteps": 1000, "prediction_type": "sample", "timestep_spacing": "trailing"}


@pytest.mark.parametrize(
    ("name", "options", "sampler"),
    [
        ("DPMSolverMultistepScheduler", {"solver_order": 2, "algorithm_type": "dpmsolver++"}, dpm_solver_pp_2m()),
        (
            "DPMSolverMultistepScheduler",
            {"solver_order": 2, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
            ExponentialSampler(2, prediction="noise", averaged=2),
        ),
        ("UniPCMultistepScheduler", {"solver_order": 1, "solver_type": "bh2"}, unipc(1)),
        ("UniPCMultistepScheduler", {"solver_order": 2, "solver_type": "bh2"}, unipc()),
        ("UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh2"}, unipc(3)),
        ("UniPCMultistepScheduler", {"solver_order": 2, "predict_x0": False}, unipc(2, "noise")),
        ("DEISMultistepScheduler", {"solver_order": 2}, ExponentialSampler(2, prediction="noise")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_multistep_trajectories(process, name, options, sampler):
    """All steps but the last of twenty, which the schedulers take in ways of their own."""
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(process))
    scheduler = getattr(diffusers, name)(**COMMON, **options, lower_order_final=False)
    scheduler.set_timesteps(20)
    x = Seeds.range(0, 8).normal((2,), torch.float64)
    times = (scheduler.timesteps + 1).double() / 1000.0
    ours = walk(sampler, denoiser, x, times)[-1].x
    for k, t in zip(scheduler.timesteps[:-1], times, strict=False):
        x = scheduler.step(denoiser(x, t).mean, int(k), x).prev_sample
    torch.testing.assert_close(x, ours, rtol=2e-3, atol=2e-3)


def test_singlestep_trajectory(process):
    """DPM-Solver++(2S) on the scheduler's own inner times: every second of its steps ends one of ours."""
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(process))
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        num_train_timesteps=1000, prediction_type="sample", solver_order=2, lower_order_final=False
    )
    scheduler.set_timesteps(20)
    times = (scheduler.timesteps + 1).double() / 1000.0
    x = Seeds.range(0, 8).normal((2,), torch.float64)
    half = process.schedule.log_snr(times)
    theirs, ours = x, x
    for place in range(0, 10, 2):
        share = ((half[place + 1] - half[place]) / (half[place + 2] - half[place])).item()
        ours = walk(dpm_solver_pp_2s(share), denoiser, ours, times[[place, place + 2]])[-1].x
        for step in (place, place + 1):
            belief = denoiser(theirs, times[step]).mean
            theirs = scheduler.step(belief, int(scheduler.timesteps[step]), theirs).prev_sample
    torch.testing.assert_close(theirs, ours, rtol=2e-3, atol=2e-3)
