"""Bridges: bad input, numbers against others' formulas and 50 digits, samplers that they take, broken copies."""

import math
from dataclasses import dataclass

import mpmath
import pytest
import torch
from mutants import is_caught

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.bridge import BridgeProcess
from unstir.processes.bridge_schedule import BridgeSchedule
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.checks import bridges

HALF = torch.tensor(0.5, dtype=torch.float64)
X = torch.tensor([[1.0, -0.5], [0.2, 0.3]], dtype=torch.float64)
SEEDS = Seeds.range(3, 2)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: BridgeProcess(sigma=-0.1), "sigma, the deviation of the bridge's motion, is not negative; seen -0.1"),
        (lambda: BridgeProcess(sigma=math.inf), "seen inf"),
        (lambda: BridgeProcess(source="norml"), "did you mean 'normal'"),
        (lambda: BridgeProcess(LinearVPSchedule()), "alpha must be 0 at time 1 .* of LinearVPSchedule"),
        (lambda: BridgeProcess(ExponentialVESchedule()), "rectified-flow, cosine"),
        (lambda: BridgeProcess().noise(X, HALF, SEEDS), "condition 'source'"),
        (lambda: BridgeProcess().transition(X, HALF, HALF, SEEDS), "must be told"),
        (lambda: BridgeProcess().prior((2,), SEEDS), "start="),
        (lambda: BridgeProcess().noise(X, HALF, SEEDS, source=X[:1]), r"\(2, 2\); seen \(1, 2\)"),
        (lambda: BridgeProcess(sigma=1.0).log_density(X, X, 0.5), "tell source"),
        (lambda: BridgeProcess().log_density(X, X, 0.5, source=X), "no density"),
        (lambda: BridgeProcess(sigma=1.0).velocity_of(X, X, HALF), "for a flow only"),
        (lambda: BridgeProcess(source="normal").transition(X, HALF, HALF / 2, SEEDS), "s must not exceed t"),
        (lambda: BridgeProcess().bridge_coefficients(0.2, 0.3), "s must not exceed t"),
        (lambda: JointProcess({"x": BridgeProcess()}).noise({"x": X}, HALF, SEEDS), "leads to data"),
    ],
)
def test_bad_input_is_named(made, message):
    with pytest.raises(InputError, match=message):
        made()


def test_the_bridges_of_denoising_diffusion_bridge_models_are_these_at_another_time_and_scale():
    """Zhou et al. 2023, eq. 8: q(x_t|x_0,x_T) of a diffusion with alpha_T > 0, tied to x_T, written as they do."""
    for schedule in (LinearVPSchedule(0.1, 3.0), ExponentialVESchedule(0.01, 2.0)):
        end_alpha, end_sigma = schedule.alpha(1.0), schedule.sigma(1.0)
        process = BridgeProcess(sigma=(end_sigma / end_alpha**0.5).item())
        for t in (0.05, 0.4, 0.9):
            alpha, sigma = schedule.alpha(t), schedule.sigma(t)
            share = (schedule.log_snr(1.0) - schedule.log_snr(t)).exp()
            of_end, of_data = share * alpha / end_alpha, alpha * (1 - share)
            deviation = sigma * (1 - share).sqrt()
            clock, scale = of_end / (of_end + of_data), of_end + of_data
            start, end = X, -2 * X + 1
            noisy = process.noise(start, clock, SEEDS, source=end)
            theirs = of_data * start + of_end * end + deviation * SEEDS.normal_like(X)
            torch.testing.assert_close(scale * noisy, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sigma", [1e-3, 0.7, 50.0])
@pytest.mark.parametrize("t", [1e-12, 1e-5, 0.3, 0.999999])
def test_the_noise_level_against_fifty_digits(sigma, t):
    schedule = BridgeProcess(sigma=sigma).schedule
    with mpmath.workdps(50):
        time, motion = mpmath.mpf(t), mpmath.mpf(sigma) ** 2
        variance = time**2 + motion * time * (1 - time)
        level = mpmath.log((1 - time) ** 2 / variance)
        slope = mpmath.diff(lambda u: mpmath.log((1 - u) ** 2 / (u**2 + motion * u * (1 - u))), time, h=time / 10**12)
        assert schedule.sigma(t).item() == pytest.approx(float(mpmath.sqrt(variance)), rel=1e-13)
        assert schedule.log_snr(t).item() == pytest.approx(float(level), rel=1e-13, abs=1e-12)
        assert schedule.log_snr_derivative(t).item() == pytest.approx(float(slope), rel=1e-9)
        assert schedule.time(float(level)).item() == pytest.approx(t, rel=1e-11)


def test_what_is_wrapped_once_stays_so():
    process = BridgeProcess(CosineSchedule(), sigma=0.5)
    again = BridgeProcess(process.schedule, sigma=0.25)
    assert again.path == CosineSchedule() and again.schedule == BridgeSchedule(CosineSchedule(), 0.25)
    assert BridgeProcess(process.schedule).schedule == CosineSchedule()
    built = build("processes", {"name": "bridge", "sigma": 0.5}, schedule=RectifiedFlowSchedule())
    assert built == BridgeProcess(sigma=0.5) and built.space == "bridge"


def test_padded_places_stay_empty():
    mask = torch.tensor([[True, False], [True, True]])
    process = BridgeProcess(sigma=1.0, source="normal")
    for state in (
        process.noise(X, HALF, SEEDS, mask),
        process.transition(X, HALF / 2, HALF, SEEDS, mask),
        process.prior((2,), SEEDS, mask=mask),
        process.bridge(X, PointPosterior(X), HALF, HALF / 2, SEEDS, mask),
    ):
        assert state[0, 1] == 0 and state[~torch.tensor([[False, True], [False, False]])].abs().min() > 0


class Straight(Denoiser):
    """Believes that the clean data is the state with its sign turned, shifted by a condition."""

    def __init__(self, process):
        super().__init__()
        self.process = process

    def forward(self, xt, t, drop=None, **condition):
        return PointPosterior(condition.get("vector", 0.0) - xt)


@pytest.mark.parametrize("name", ["ancestral", "ddim", "euler", "heun", "dpm-solver-pp-2m", "unipc"])
def test_deterministic_samplers_follow_a_flow(name):
    """With the belief -x_t the flow is dx/dt = 2x/t: to (1/12)^2 before the last step, but for its error."""
    flow, start = Straight(BridgeProcess()), X.repeat(4, 1)
    drawn = sample(flow, build("samplers", name), (2,), 8, start=start, steps=12, dtype=torch.float64, batch=8)
    assert drawn.abs().max() < 0.05


@pytest.mark.parametrize(
    "name", ["ddpm", "ddpm-upper", "langevin", "predictor-corrector", "restart", "dpm-solver-pp-sde", "edm"]
)
def test_samplers_that_add_noise_to_a_flow_are_refused(name):
    """A belief of paired data tells no score."""
    with pytest.raises(InputError, match=r"adds noise by a score|must be told"):
        sample(Straight(BridgeProcess()), build("samplers", name), (2,), 2, start=X, steps=12)


def test_a_motion_is_for_the_ancestral_sampler():
    with pytest.raises(InputError, match="samplers that do: ancestral"):
        sample(Straight(BridgeProcess(sigma=1.0)), build("samplers", "heun"), (2,), 8, start=X.repeat(4, 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": X, "grid": "karras"}, "starts at its source, at time 1; this grid starts at 0.98"),
        ({"start": X[:, :1]}, r"\(2, 2\)\]; seen \[\(2, 1\)\]"),
        ({"start": X[:1]}, r"seen \[\(1, 2\)\]"),
        ({"start": X * math.nan}, "finite"),
        ({"start": {"x": X}}, "shape names the same"),
        ({}, "sample with start"),
        (
            {"start": X, "count": None, "seeds": Seeds(0, torch.tensor([1, 1]))},
            "condition or start, each sample number",
        ),
    ],
)
def test_a_start_that_cannot_be_is_named(given, message):
    with pytest.raises(InputError, match=message):
        sample(Straight(BridgeProcess()), AncestralSampler(), (2,), **{"count": 2, **given})


def test_each_sample_goes_its_way_from_its_own_start():
    process = BridgeProcess(sigma=0.3)
    start = Seeds.range(8, 30).normal((2,))
    told = Seeds.range(9, 30).normal((2,))
    options = {"steps": 4, "batch": 7, "seed": 5}
    whole = sample(Straight(process), AncestralSampler(), (2,), 30, start=start, condition={"vector": told}, **options)
    rows = torch.tensor([23, 2, 11])
    few = sample(
        Straight(process),
        AncestralSampler(),
        (2,),
        seeds=Seeds(5, rows),
        start=start[rows],
        condition={"vector": told[rows]},
        steps=4,
        batch=7,
    )
    assert torch.equal(few, whole[rows]) and len(whole.unique(dim=0)) == 30
    nothing = sample(
        Straight(process),
        AncestralSampler(),
        (2,),
        seeds=Seeds(5, rows[:0]),
        start=start[:0],
    )
    assert nothing.shape == (0, 2)


def test_a_start_serves_other_processes_too():
    """The state at the first time, whatever the process: here a noisy datum, taken up at its own level."""
    process = GaussianProcess()
    grid = torch.tensor([0.4, 0.0], dtype=torch.float64)
    drawn = sample(Straight(process), AncestralSampler(), (2,), 2, start=X, grid=grid, dtype=torch.float64)
    torch.testing.assert_close(drawn, -X)


@dataclass(frozen=True)
class TooCalm(BridgeProcess):
    """The way back with the noise of half the way."""

    def bridge_coefficients(self, t, s, device=None):
        kept, pulled, deviation = super().bridge_coefficients(t, s, device)
        return kept, pulled, 0.7 * deviation


@dataclass(frozen=True)
class ForgetsItsSource(BridgeProcess):
    """A transition that is drawn to the source as if it began at time 0."""

    def transition(self, xs, s, t, seeds, mask=None, source=None):
        return self.noise(xs, (t - s) / (1 - s) * 0.9, seeds, mask, source)


@dataclass(frozen=True)
class WidensTooFast(BridgeProcess):
    """Noise with the variance of Brownian motion that is not tied down."""

    def noise(self, x0, t, seeds, mask=None, source=None):
        drawn = super().noise(x0, t, seeds, mask, source)
        return drawn + 0.3 * t * seeds.at("more").normal_like(x0)


@pytest.mark.parametrize("mutant", [TooCalm, ForgetsItsSource, WidensTooFast])
def test_broken_bridges_are_caught(mutant):
    broken = mutant(sigma=0.8, source="normal")
    assert is_caught(bridges.bridge_given_its_source_is_a_scaled_brownian_bridge, None, broken)


def test_a_wrong_noise_level_is_caught(monkeypatch):
    process = BridgeProcess(sigma=0.8)
    monkeypatch.setattr(BridgeSchedule, "sigma", lambda self, t: self.path.sigma(t))
    assert is_caught(bridges.bridge_noise_level_is_a_schedule, None, process)
