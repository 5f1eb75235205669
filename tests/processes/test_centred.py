"""Sets of points about their centre: what is refused, masks, samplers with them, networks, and broken copies."""

import pytest
import torch
from mutants import is_caught, misses
from torch import nn

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.centred import CentredDenoiser
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.exact.centred import CentredMixtureDenoiser
from unstir.processes.centred import CentredProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers import base as samplers_base
from unstir.samplers.base import SamplerState, sample, samplers_for
from unstir.samplers.brownian import BrownianPath
from unstir.verification.checks import centred as checks
from unstir.verification.checks import processes as general

PLAIN = CentredProcess()
MASK = torch.arange(5) < torch.tensor([5, 1, 0, 3, 2])[:, None]
CHAIN = CentredMixtureDenoiser.examples()["chain"]


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


class Crooked(nn.Module):
    """A network that respects nothing: its output has a centre of its own, in padded places too."""

    def forward(self, x, noise, drop=None, mask=None):
        return (3 * x).cos() + 0.3 * torch.arange(x.shape[1], dtype=x.dtype)[:, None]


def test_states_are_sets_of_points():
    with pytest.raises(InputError, match=r"shape \(batch, n, d\); seen \(4, 3\)"):
        PLAIN.noise(torch.zeros(4, 3), scalar(0.5), Seeds.range(0, 4))
    assert PLAIN.contains(torch.tensor([[[1.0, 2.0], [-1.0, -2.0]], [[1.0, 2.0], [-1.0, 0.0]]])).tolist() == [
        True,
        False,
    ]


def test_centre_is_that_of_the_points_that_are_there():
    points = Seeds.range(0, 5).normal((5, 3), torch.float64)
    points[~MASK] = torch.nan  # whatever padded places may hold
    centred = PLAIN.centred(points, MASK)
    assert (centred[~MASK] == 0).all()
    assert centred.sum(1).abs().max() < 1e-14
    torch.testing.assert_close(centred[3, :3], points[3, :3] - points[3, :3].mean(0))
    assert PLAIN.dimensions(points, MASK).tolist() == [12.0, 0.0, 0.0, 6.0, 3.0]


@pytest.mark.parametrize("schedule", [None, EDMSchedule()])
def test_process_keeps_masked_sets_centred(schedule):
    process = CentredProcess(schedule) if schedule else PLAIN
    x0 = process.centred(Seeds.range(0, 5).normal((5, 3), torch.float64), MASK)
    seeds = Seeds.range(1, 5)
    xt = process.noise(x0, scalar(0.7), seeds, MASK)
    on = process.transition(xt, scalar(0.7), scalar(0.8), seeds.at("on"), MASK)

    class Known:
        def sample(self, seeds):
            return x0

    back = process.bridge(on, Known(), scalar(0.8), scalar(0.2), seeds.at("back"), MASK)
    start = process.prior((5, 3), seeds.at("prior"), dtype=torch.float64, mask=MASK)
    for state in (xt, on, back, start):
        assert (state[~MASK] == 0).all()
        assert state.sum(1).abs().max() < 1e-12 * max(1.0, state.abs().max().item())
        assert state[0].abs().max() > 1e-3


STOCHASTIC = ("ancestral", "ddpm", "ddim", "edm", "dpm-solver-pp-sde", "sa-solver", "langevin", "predictor-corrector")


@pytest.mark.parametrize("name", [*STOCHASTIC, "restart", "heun", "dpm-solver-pp-2m", "adaptive"])
def test_samplers_keep_padded_sets_of_a_crooked_network_centred(name):
    """At every step, to rounding."""
    denoiser, seen = CentredDenoiser(Crooked(), PLAIN), []
    options = {"stochasticity": 0.5} if name == "ddim" else {}
    try:
        sampler = build("samplers", {"name": name, **options})
    except InputError:
        sampler = build("samplers", name)

    def look(state, t, s):
        seen.append(state.x)

    told = {"condition": {"mask": MASK}, "steps": 5, "batch": 5, "dtype": torch.float64}
    drawn = sample(denoiser, sampler, (5, 3), 5, callback=look, **told)
    largest = max(state.abs().max().item() for state in seen)
    for state in (*seen, drawn):
        assert (state[~MASK] == 0).all()
        assert state.sum(1).abs().max() < 1e-12 * largest
    assert drawn[0].std() > 0.05


def test_noise_along_a_brownian_path_is_centred():
    denoiser = CentredDenoiser(Crooked(), PLAIN)
    drawn = sample(denoiser, build("samplers", "dpm-solver-pp-sde"), (4, 3), 6, steps=5, batch=6, path=BrownianPath())
    assert drawn.mean(1).abs().max() < 1e-5 * drawn.abs().max()


def test_rotated_noise_gives_rotated_samples_of_an_equivariant_law():
    """Equivariance of the whole way, sample by sample: a deterministic sampler from turned starts."""
    turn = torch.linalg.qr(torch.tensor([[1.0, 2.0, 0.5], [0.3, -1.0, 1.0], [0.0, 0.4, 2.0]]).double())[0]
    start = PLAIN.prior((4, 3), Seeds.range(4, 8), dtype=torch.float64)
    times = torch.linspace(1, 0, 9, dtype=torch.float64)
    sampler = build("samplers", "dpm-solver-pp-2m")
    first, second = (
        samplers_base.follow(CHAIN, sampler, SamplerState(x, Seeds.range(4, 8)), times).tensor
        for x in (start, start @ turn)
    )
    torch.testing.assert_close(first @ turn, second, rtol=1e-10, atol=1e-12)


def test_learned_estimate_loses_its_centre_and_nothing_else():
    told, plain = CentredDenoiser(Crooked(), PLAIN), NetworkDenoiser(Crooked(), GaussianProcess(PLAIN.schedule))
    xt = PLAIN.prior((5, 3), Seeds.range(0, 5), mask=MASK)
    mean, other = (denoiser(xt, scalar(0.4), mask=MASK).mean for denoiser in (told, plain))
    torch.testing.assert_close(mean, PLAIN.project(other, MASK))
    assert (other - mean).abs().max() > 0.01
    with pytest.raises(InputError, match="take variance: none; seen 'learned'"):
        CentredDenoiser(Crooked(), PLAIN, variance="learned")


def test_samplers_with_a_variance_of_each_coordinate_are_refused():
    with pytest.raises(InputError, match=r"not the space .centred."):
        sample(CHAIN, build("samplers", "analytic-dpm"), CHAIN.shape, 4, steps=2)
    assert {"ancestral", "heun", "ddim", "restart"} <= set(samplers_for("centred"))


@pytest.mark.parametrize(
    ("means", "covariances", "message"),
    [
        (torch.zeros(1, 3), torch.eye(3)[None], r"\(components, n, d\); seen \(1, 3\)"),
        (torch.zeros(1, 3, 2), torch.eye(2)[None], r"have the shape \(1, 3, 3\); seen \(1, 2, 2\)"),
    ],
)
def test_laws_of_other_shapes_are_refused(means, covariances, message):
    with pytest.raises(InputError, match=message):
        CentredMixtureDenoiser([1.0], means, covariances, PLAIN)


class NotProjected(CentredProcess):
    """Noise in all directions under the density of the subspace."""

    def project(self, noise, mask=None):
        return noise


class AllDimensions(CentredProcess):
    """Counts the centre among the degrees of freedom."""

    def dimensions(self, x, mask=None):
        return super().dimensions(x, mask) + x.shape[2]


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (checks.centred_noise_knows_no_place_and_no_direction, NotProjected),
        (checks.centred_noise_has_its_degrees_of_freedom, AllDimensions),
        (general.state_stays_in_its_space, NotProjected),
    ],
)
def test_broken_processes_are_caught(check, mutant):
    assert is_caught(check, None, mutant())


@pytest.mark.parametrize("name", ["ddpm", "dpm-solver-pp-sde"])
def test_a_sampler_that_forgets_the_projection_is_caught(name, monkeypatch):
    sampler = build("samplers", name)
    assert not misses(checks.sampler_keeps_the_centre, sampler)
    monkeypatch.setattr(samplers_base, "projection", lambda denoiser: samplers_base.apply_mask)
    assert misses(checks.sampler_keeps_the_centre, sampler)
