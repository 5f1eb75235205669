"""Langevin steps against the papers' formulas, their stationary law, and what they add to a predictor."""

import math

import pytest
import torch
from networks import small_mlp

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.base import SamplerState, sample
from unstir.samplers.exponential import ddim
from unstir.samplers.langevin import langevin, predictor_corrector
from unstir.verification.references import IN_THE_PLANE, ImpulseSeeds, NormalDenoiser, PointDenoiser, walk

SCHEDULES = [CosineSchedule(), EDMSchedule(), RectifiedFlowSchedule()]
T, S = torch.tensor([0.6, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.scale)
def test_the_step_is_the_papers(schedule):
    """Song et al. (2021), algorithms 4 and 5: x + eps g + sqrt(2 eps) z after the predictor, with the score g and
    eps = 2 (r |z| / |g|)^2, where |z|^2 has the expectation d, and |g|^2 that of the noise's own score, d/sigma^2."""
    process = GaussianProcess(schedule)
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(process))
    x, seeds, r = Seeds.range(0, 6).normal((2,), torch.float64), Seeds.range(4, 6), 0.16
    expected = ddim().step(denoiser, SamplerState(x, seeds), T, S).x
    eps = 2 * (r * schedule.sigma(S)) ** 2
    for number in range(2):
        g = IN_THE_PLANE.denoiser(process).score(expected, S)
        z = seeds.at("step", 0, "correction", number).normal((2,), torch.float64)
        expected = expected + eps * g + (2 * eps).sqrt() * z
    told = predictor_corrector("ddim", 2, r, math.inf).step(denoiser, SamplerState(x, seeds), T, S)
    torch.testing.assert_close(told.x, expected, rtol=1e-8, atol=1e-9)
    assert told.step == 1


@pytest.mark.parametrize("deviation", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("snr", [0.05, 0.5, 0.95])
def test_a_normal_law_of_the_told_deviation_stays(deviation, snr):
    """Exactly, by the step's slopes: variance and mean before and after are one."""
    process = GaussianProcess()
    denoiser, seeds = NormalDenoiser(0.6, deviation, process), ImpulseSeeds(0, torch.arange(3))
    alpha, sigma = process.schedule.alpha(S).item(), process.schedule.sigma(S).item()
    steps = predictor_corrector("ddim", 1, snr, deviation).corrections
    x, _ = steps.at(denoiser, torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64), S, seeds)
    offset, slope, noise = x[0].item(), (x[1] - x[0]).item(), (x[2] - x[0]).item()
    variance = (alpha * deviation) ** 2 + sigma**2
    assert offset + slope * alpha * 0.6 == pytest.approx(alpha * 0.6, abs=1e-12)
    assert slope**2 * variance + noise**2 == pytest.approx(variance, rel=1e-12)


def test_corrections_mend_a_coarse_predictor():
    """DDIM in 12 steps leaves the variance of normal data too small; each correction brings it nearer."""
    process = GaussianProcess()
    denoiser, times = NormalDenoiser(0.0, 0.8, process), karras(process.schedule, 12, sigma_max=10.0)
    short = []
    for sampler in (ddim(), *(predictor_corrector("ddim", count, 0.3) for count in (1, 3))):
        rows = 2 + 3 * len(times)
        x = torch.zeros(rows, 1, dtype=torch.float64)
        x[1] = math.hypot(float(process.schedule.alpha(times[0])) * 0.8, float(process.schedule.sigma(times[0])))
        last = walk(sampler, denoiser, x, times, ImpulseSeeds(0, torch.arange(rows)))[-1].tensor
        short.append(abs((last[1:] - last[0]).square().sum().item() - 0.64))
    assert short[2] < short[1] < short[0]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.scale)
def test_annealed_steps_stay_at_their_level(schedule):
    """Langevin steps at t, then the same point in the data's units; the step to 0 is the belief's mean."""
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess(schedule)))
    x, seeds = Seeds.range(0, 6).normal((2,), torch.float64), Seeds.range(4, 6)
    sampler = langevin(3, 0.4)
    told = sampler.step(denoiser, SamplerState(x, seeds), T, S)
    moved, means = sampler.corrections.at(denoiser, x, T, seeds.at("step", 0))
    torch.testing.assert_close(told.x / schedule.alpha(S), moved / schedule.alpha(T))
    assert torch.equal(told.mean, means[0])
    zero = torch.zeros((), dtype=torch.float64)
    last = sampler.step(denoiser, told, S, zero)
    assert torch.equal(last.x, denoiser(told.x, S).mean)


@pytest.mark.parametrize("sampler", [langevin(), predictor_corrector("ddim")], ids=["langevin", "predictor-corrector"])
def test_a_start_without_any_data_is_no_difficulty(sampler):
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    drawn = sample(denoiser, sampler, (2,), 5, grid="uniform", steps=6, batch=5)
    assert drawn.isfinite().all()


@pytest.mark.parametrize(("predictor", "calls"), [("ddim", 3), ("heun", 4), ({"name": "ddim", "eta": 0.5}, 3)])
def test_any_sampler_predicts(predictor, calls):
    sampler = predictor_corrector(predictor, 2)
    assert sampler.calls_per_step == calls
    assert sampler.order == 1
    drawn = sample(small_mlp(), sampler, (5,), 6, steps=4, batch=4)
    assert drawn.isfinite().all()
    assert len(drawn.unique(dim=0)) == 6


def test_the_catalogue_builds_them_from_a_recipe():
    made = build("samplers", {"name": "predictor-corrector", "predictor": "heun", "corrections": 3, "snr": 0.2})
    assert made == predictor_corrector("heun", 3, 0.2)
    assert build("samplers", {"name": "langevin", "snr": 0.4}) == langevin(snr=0.4)


@pytest.mark.parametrize("make", [langevin, lambda **options: predictor_corrector("ddim", **options)])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corrections": 0}, "at least 1 Langevin step at a level is needed; seen 0"),
        ({"snr": 0.0}, "between 0 and 1; seen 0.0"),
        ({"snr": 1.0}, "between 0 and 1; seen 1.0"),
        ({"snr": math.nan}, "between 0 and 1; seen nan"),
        ({"data_deviation": -1.0}, "must not be negative; seen -1.0"),
    ],
)
def test_impossible_options_are_refused(make, options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_an_unknown_predictor_is_named():
    with pytest.raises(InputError, match="unknown sampler 'dimm'; did you mean 'ddim'"):
        predictor_corrector("dimm")
