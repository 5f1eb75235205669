"""Samplers where every frequency has a schedule of its own: orders, limits, histories, and what is refused."""

import pytest
import torch
from mutants import is_caught

from unstir.core.catalogue import build, entries
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.exact.spectral import SpectralMixtureDenoiser
from unstir.likelihood.flow import flow_log_density
from unstir.processes.frequency_bands import DampedSchedule
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.heavy_tailed import HeavyTailedProcess
from unstir.processes.spectral import SpectralProcess
from unstir.samplers.base import SamplerState, follow, sample, samplers_for, time_grid
from unstir.samplers.exponential import ExponentialSampler
from unstir.samplers.linear import LinearSampler
from unstir.verification.checks import spectral as checks

MEANS = Seeds.range(0, 3).normal((1, 3, 4), torch.float64)
LINEAR = [name for name in entries("samplers") if isinstance(build("samplers", name), LinearSampler)]


class Borrowed(Denoiser):
    """Another's belief under a process that says the same."""

    def __init__(self, denoiser, process):
        super().__init__()
        self.denoiser, self.process = denoiser, process

    def forward(self, xt, t, drop=None, **condition):
        return self.denoiser(xt, t)


@pytest.mark.parametrize("name", LINEAR)
def test_without_blur_samples_are_those_of_the_gaussian_process(name):
    sampler = build("samplers", name)
    plain = MixtureDenoiser([0.5, 0.3, 0.2], MEANS, [0.1, 0.2, 0.3], GaussianProcess())
    own = Borrowed(plain, SpectralProcess(blur=0.0))
    told = {"steps": 6, "batch": 4, "dtype": torch.float64}
    first, second = (sample(law, sampler, (1, 3, 4), 4, **told) for law in (plain, own))
    assert (first - second).abs().max() < 1e-9


@pytest.mark.parametrize("spec", ["dpm-solver-3", "rk4"])
def test_orders_under_heat(spec):
    figures = list(checks.spectral_sampler_order(build("samplers", spec), checks.Effort(True)))
    assert all(figure.passed for figure in figures)


def test_weak_order_under_heat():
    figures = list(checks.spectral_sampler_weak_order(build("samplers", "ddpm"), checks.Effort(True)))
    assert all(figure.passed for figure in figures)


def test_a_sampler_blind_to_frequencies_is_caught():
    class Blind(ExponentialSampler):
        """It steps all bands by the clock's numbers."""

        def plan(self, schedule, t, s, past):
            return super().plan(schedule.clock if isinstance(schedule, DampedSchedule) else schedule, t, s, past)

    assert is_caught(checks.spectral_sampler_order, ExponentialSampler(2), Blind(2))


def test_a_trajectory_can_be_left_in_its_middle():
    law = SpectralMixtureDenoiser([0.5, 0.3, 0.2], MEANS, [0.1, 0.2, 0.3], SpectralProcess(blur=1.5))
    sampler, times = build("samplers", {"name": "multistep", "order": 3}), time_grid(law.process, "karras", 8)
    start = SamplerState(law.process.prior((1, 3, 4), Seeds.range(0, 3), times[0], torch.float64), Seeds.range(0, 3))
    whole = follow(law, sampler, start, times)
    half = follow(law, sampler, start, times[:5])
    assert torch.equal(follow(law, sampler, half, times).tensor, whole.tensor)


def test_samples_keep_their_precision_and_company():
    law = SpectralMixtureDenoiser([0.5, 0.3, 0.2], MEANS, [0.1, 0.2, 0.3], SpectralProcess(blur=1.5))
    sampler = build("samplers", "dpm-solver-pp-2m")
    whole = sample(law, sampler, (1, 3, 4), 20, steps=5, batch=8)
    few = sample(law, sampler, (1, 3, 4), seeds=Seeds(0, torch.tensor([17, 3])), steps=5, batch=8)
    assert whole.dtype == torch.float32
    assert torch.equal(few, whole[[17, 3]])


def test_others_are_refused_by_name():
    law = SpectralMixtureDenoiser([0.5, 0.3, 0.2], MEANS, [0.1, 0.2, 0.3], SpectralProcess())
    with pytest.raises(
        InputError, match="not the space 'spectral' of SpectralProcess; samplers that do: ancestral, ddim"
    ):
        sample(law, build("samplers", "langevin"), (1, 3, 4), 2)
    assert set(LINEAR) <= set(samplers_for("spectral"))


def test_a_mode_beyond_the_reach_of_numbers_is_told():
    law = SpectralMixtureDenoiser([0.5, 0.3, 0.2], MEANS, [0.1, 0.2, 0.3], SpectralProcess(blur=300.0, least=0.0))
    with pytest.raises(InputError, match="faded beyond the reach of numbers; give the process a larger `least`"):
        sample(law, build("samplers", {"name": "exponential-ab", "prediction": "noise"}), (1, 3, 4), 2, steps=4)


def test_students_noise_is_served_by_samplers_without_noise_of_their_own():
    named = samplers_for("heavy-tailed")
    assert {"ddim", "heun", "multistep", "ancestral"} <= set(named)
    assert not {"ddpm", "edm", "langevin", "sa-solver"} & set(named)
    with pytest.raises(InputError, match="not the space 'heavy-tailed'"):
        build("samplers", "ddpm").check(Borrowed(None, HeavyTailedProcess()))


def test_the_probability_flow_tells_the_log_density():
    law = SpectralMixtureDenoiser.examples()["stationary, waits"]
    x = law.draw(Seeds.range(0, 2))
    told, exact = flow_log_density(law, x), law.log_density(x, 0.0)
    assert (told.nats - exact).abs().max() < 1e-4
    # of a belief without a score of its own, at a noise level: that of A x in the modes, less the stretch by A
    t = law.process.schedule.time_at_sigma(0.1)
    grid, (alpha, _) = law.process.modes(x), law.process.coefficients(t, x)
    blurred = law.log_density(grid.to_grid(alpha * grid.to_modes(x)), t) + alpha.log().expand_as(x[:1]).sum()
    told = flow_log_density(Borrowed(law, law.process), x, level=0.1)
    assert (told.nats - blurred).abs().max() < 1e-4
