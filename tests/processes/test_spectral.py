"""Heat dissipation: what it refuses, its limits, its noise against other ways of writing it, and broken copies."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from mutants import is_caught, misses
from scipy import fft

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.learned.spectral import SpectralDenoiser, band_deviations
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.mixture import MixtureDenoiser
from unstir.exact.spectral import SpectralMixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.base import alpha_at
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.spectral import SpectralProcess
from unstir.verification.checks import processes as general
from unstir.verification.checks import spectral as checks

HEAT = SpectralProcess(blur=2.0)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def grids(count=4, shape=(2, 5, 3), seed=0):
    return Seeds.range(seed, count).normal(shape, torch.float64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blur": -1.0}, "a deviation in cells, is at least 0 and finite; seen -1.0"),
        ({"blur": math.inf}, "at least 0 and finite"),
        ({"space_order": 2.5}, r"lies in \(0, 2\].*seen 2.5 and 1"),
        ({"time_order": 0}, "2 and 1 is heat; seen 2.0 and 0"),
        ({"least": 1.0}, "at least 0 and below 1; seen 1.0"),
        ({"boundary": "open"}, "unknown boundary 'open'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SpectralProcess(**options)


def test_what_is_no_grid_is_refused():
    with pytest.raises(InputError, match=r"heat flows on a grid.*seen the shape \(4, 2\).*x\[:, None\]"):
        HEAT.noise(torch.zeros(4, 2), scalar(0.5), Seeds.range(0, 4))
    with pytest.raises(InputError, match="one boundary, or one for each of the 2 axes"):
        SpectralProcess(boundary=("neumann",)).noise(grids(), scalar(0.5), Seeds.range(0, 4))
    with pytest.raises(InputError, match="whole grids: a padded set"):
        HEAT.noise(grids(), scalar(0.5), Seeds.range(0, 4), torch.ones(4, 2, dtype=torch.bool))


def test_time_is_not_turned_round_and_coefficients_differ():
    x = grids()
    with pytest.raises(InputError, match="s must not exceed t"):
        HEAT.bridge(x, PointPosterior(x), scalar(0.3), scalar(0.4), Seeds.range(0, 4))
    with pytest.raises(InputError, match="s must not exceed t"):
        HEAT.transition(x, scalar(0.4), scalar(0.3), Seeds.range(0, 4))
    with pytest.raises(InputError, match="differ from mode to mode: use mode_bridge"):
        HEAT.bridge_coefficients(0.4, 0.3)
    with pytest.raises(InputError, match="has no scale"):
        alpha_at(HEAT.bands((4,))[0][0].scale, scalar(0.0))


def test_without_blur_it_is_the_gaussian_process():
    plain, own = GaussianProcess(), SpectralProcess(blur=0.0)
    x, seeds, t, s = grids(), Seeds.range(3, 4), torch.tensor([0.2, 0.5, 0.8, 1.0], dtype=torch.float64), scalar(0.1)
    belief = PointPosterior(grids(seed=1))
    for name in ("noise", "transition", "bridge", "score_of", "noise_of", "velocity_of", "log_density"):
        arguments = {
            "noise": (x, t, seeds), "transition": (x, s, t, seeds), "bridge": (x, belief, t, s, seeds),
            "log_density": (x, belief.mean, t),
        }.get(name, (x, belief.mean, t.clamp(max=0.9)))  # fmt: skip
        a, b = getattr(plain, name)(*arguments), getattr(own, name)(*arguments)
        assert (a - b).abs().max() < 1e-12 * (1 + a.abs().max()), name


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
def test_modes_are_scipys(boundary):
    x = grids()
    found = SpectralProcess(boundary=boundary).modes(x).to_modes(x)
    if boundary == "neumann":
        assert np.allclose(found, fft.dctn(x.numpy(), axes=(2, 3), norm="ortho"), atol=1e-13)
        return
    # pairs of sines and cosines hold the power of a plane wave, whatever their phase
    power = np.abs(fft.fft(x[:, :, :, 0].numpy(), axis=2, norm="ortho")) ** 2
    own = SpectralProcess(boundary=boundary).modes((5,)).to_modes(x[:, :, :, 0]).square().numpy()
    assert np.allclose(own[..., 1] + own[..., 2], power[..., 1] + power[..., 4], atol=1e-13)


def test_heat_keeps_the_sum_and_blurs_a_point():
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[0, 0, 20, 20] = 1
    process = SpectralProcess(blur=3.0, least=0.0)
    t = scalar(0.8)
    spread = process.dissipated(point, t)[0, 0]
    assert spread.sum().item() == pytest.approx(1.0, abs=1e-12)
    places = torch.arange(41, dtype=torch.float64) - 20
    # a variance of 2 tau along each axis, tau = (b sin^2(pi t/2))^2/2
    assert (spread.sum(0) @ places**2).item() == pytest.approx(9 * math.sin(0.4 * math.pi) ** 4, rel=1e-4)
    assert process.dissipation_time(1.0).item() == pytest.approx(4.5)


def test_noise_has_the_covariance_of_its_modes():
    process, count = SpectralProcess(RectifiedFlowSchedule(), 1.0), 20_000
    x0 = grids(1, (1, 3, 2)).expand(count, 1, 3, 2)
    xt = process.noise(x0, scalar(0.6), Seeds.range(5, count))
    xs = process.transition(process.noise(x0, scalar(0.3), Seeds.range(6, count)), scalar(0.3), scalar(0.6),
                            Seeds.range(7, count))  # fmt: skip
    for drawn in (xt, xs):
        away = process.modes(x0).to_modes(drawn - drawn.mean(0)).flatten(1) / 0.6
        found = away.T @ away / count
        assert (found - torch.eye(6)).abs().max() < 5 * math.sqrt(2 / count)


def test_faded_modes_without_least_are_still_drawn_and_samplers_say_so():
    process = SpectralProcess(blur=200.0, least=0.0)
    x = grids(3, (1, 8, 8))
    back = process.bridge(x, PointPosterior(x), scalar(0.9), scalar(0.8), Seeds.range(0, 3))
    assert bool(back.isfinite().all())


def test_a_network_sees_unit_variance_in_every_mode():
    process, count = SpectralProcess(blur=2.0), 4000
    grid = process.modes((4, 4))
    widths = 1 / (1 + grid.spread(grid.eigenvalues, torch.zeros(1, 1, 4, 4, dtype=torch.float64)))
    x0 = grid.to_grid(widths * grids(count, (1, 4, 4)))
    spectrum = band_deviations(process, x0)
    assert spectrum == pytest.approx((1 / (1 + grid.eigenvalues)).tolist(), rel=0.1)
    denoiser = SpectralDenoiser(torch.nn.Identity(), process, spectrum=spectrum)
    for t in (0.1, 0.5, 0.9):
        times = torch.full((count,), t, dtype=torch.float64)
        told = grid.to_modes(denoiser.inputs(process.noise(x0, times, Seeds.range(9, count)), times))
        assert (told.var(0) - 1).abs().max() < 6 * math.sqrt(2 / count)


def test_the_learned_belief_without_blur_is_the_networks():
    class Silent(torch.nn.Module):
        def forward(self, x, level, drop=None, **condition):
            return torch.tanh(x) + level.reshape(-1, 1, 1, 1)

    x0, t = grids(), torch.tensor([0.1, 0.4, 0.7, 0.9], dtype=torch.float64)
    for name in ("edm", "v", "noise"):
        plain = NetworkDenoiser(Silent(), GaussianProcess(), name, 0.5)(x0, t)
        own = SpectralDenoiser(Silent(), SpectralProcess(blur=0.0), name, 0.5)(x0, t)
        assert (plain.mean - own.mean).abs().max() < 1e-12 * plain.mean.abs().max()
        assert torch.allclose(plain.loss(x0), own.loss(x0))
    with pytest.raises(InputError, match="whole grids: train without a mask"):
        own.loss(x0, torch.ones(4, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="the positive deviation of each band"):
        SpectralDenoiser(Silent(), HEAT, spectrum=(1.0, 0.0))
    with pytest.raises(InputError, match="has 15 bands; seen a spectrum of 2"):
        SpectralDenoiser(Silent(), HEAT, spectrum=(1.0, 0.5))(x0, t)


def test_the_exact_law_without_blur_is_the_mixtures():
    means, matrix = grids(2, (1, 2, 2)), torch.diag_embed(torch.tensor([0.3, 0.2, 0.5, 0.1], dtype=torch.float64))
    covariances = torch.stack((matrix, matrix + 0.05))
    plain = MixtureDenoiser([0.4, 0.6], means, covariances, GaussianProcess())
    own = SpectralMixtureDenoiser([0.4, 0.6], means, covariances, SpectralProcess(blur=0.0))
    xt = plain.draw(Seeds.range(0, 20), 0.5)
    for t in (1e-6, 0.5, 1.0):
        assert (plain(xt, t).mean - own(xt, t).mean).abs().max() < 1e-10
        assert (plain(xt, t).variance - own(xt, t).variance).abs().max() < 1e-10
        assert (plain.log_density(xt, t) - own.log_density(xt, t)).abs().max() < 1e-9 * plain.log_density(
            xt, t
        ).abs().max()
    operator, seen = torch.tensor([[1.0, -1.0, 0.5, 0.0]]), torch.tensor([0.4])
    first, second = (law.given_observation(operator, seen, 0.1) for law in (plain, own))
    assert first.log_evidence.item() == pytest.approx(second.log_evidence.item(), abs=1e-12)
    assert (first(xt, 0.5).mean - second(xt, 0.5).mean).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], torch.zeros(1, 3), [0.1]), r"\(components, channels, \*size\); seen the shape \(1, 3\)"),
        (([1.0], torch.zeros(1, 1, 2), None), "one of the two"),
        (([1.0], torch.zeros(1, 1, 2), torch.ones(1, 2, 2)), "must be positive definite"),
    ],
)
def test_laws_that_are_none_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        SpectralMixtureDenoiser(*arguments, SpectralProcess())


@dataclass(frozen=True)
class HalfTheHeat(SpectralProcess):
    """The bridge forgets that modes fade between s and t."""

    def _moved(self, bands, s, t):
        kept, fresh = super()._moved(bands, s, t)
        return self.schedule.alpha(t) / self.schedule.alpha(s) + 0 * kept, fresh


@dataclass(frozen=True)
class WrongClock(SpectralProcess):
    """Heat flows for half of the time."""

    def dissipated(self, x0, t):
        return super().dissipated(x0, float(t) / 2)


def test_broken_copies_are_caught():
    assert is_caught(general.noise_composes, None, HalfTheHeat(CosineSchedule(), 2.0))
    assert is_caught(checks.spectral_bridge_is_conditioning, HEAT, HalfTheHeat(CosineSchedule(), 2.0))
    assert misses(checks.spectral_without_noise_is_heat_flow, WrongClock(CosineSchedule(), 2.0))
