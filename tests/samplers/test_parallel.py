"""Solving in rounds: the sampler's own way, whatever the window; and who cannot be served."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from networks import small_mlp
from torch import nn

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras, uniform
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import EUCLIDEAN, Sampler, SamplerState, follow
from unstir.samplers.exponential import ddim, ddpm, multistep
from unstir.samplers.parallel import follow_parallel
from unstir.samplers.runge_kutta import euler, heun
from unstir.samplers.step_coefficients import coefficients_of
from unstir.verification.references import IN_THE_PLANE, PointDenoiser

SAMPLERS = {
    "ddim": ddim(),
    "ddpm": ddpm(),
    "ancestral": AncestralSampler(),
    "euler": euler(),
    "order 2": multistep(2),
    "order 2, noise": multistep(2, 1.0),
}


def plane():
    return PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))


def start(denoiser, times, count=6, width=2, dtype=torch.float64):
    seeds = Seeds.range(3, count)
    return SamplerState(denoiser.process.prior((width,), seeds.at("prior"), times[0], dtype), seeds)


@pytest.mark.parametrize("window", [1, 3, 7, 12, 50, None])
@pytest.mark.parametrize("name", SAMPLERS)
def test_without_tolerance_it_is_the_sampler_to_rounding(name, window):
    denoiser, sampler = plane(), SAMPLERS[name]
    times = karras(denoiser.process.schedule, 12)
    state = start(denoiser, times)
    found = follow_parallel(denoiser, sampler, state, times, window, 0.0)
    expected = follow(denoiser, sampler, state, times)
    torch.testing.assert_close(found.state.x, expected.x, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.state.mean, expected.mean, rtol=0, atol=1e-12)
    assert found.state.step == expected.step == 12
    assert found.rounds.max() <= 12
    if window == 1:
        assert found.rounds.tolist() == found.calls.tolist() == [12] * 6


@pytest.mark.parametrize("grid", [karras, uniform])
def test_rounds_are_fewer_than_steps_and_errors_follow_the_tolerance(grid):
    denoiser = plane()
    times = grid(denoiser.process.schedule, 50)
    state = start(denoiser, times)
    expected = follow(denoiser, ddim(), state, times).tensor
    rounds, errors = [], []
    for tolerance in (1e-1, 1e-3, 1e-5):
        found = follow_parallel(denoiser, ddim(), state, times, None, tolerance)
        rounds.append(found.rounds.max().item())
        errors.append((found.state.tensor - expected).square().mean().sqrt().item())
        assert errors[-1] <= tolerance
        assert (found.calls >= found.rounds).all()
    assert sorted(rounds) == rounds
    assert rounds[-1] < 35
    assert errors[0] > errors[1] > errors[2]


def test_a_constant_belief_takes_two_rounds():
    class Constant(Denoiser):
        process = GaussianProcess()

        def forward(self, xt, t, drop=None, **condition):
            return PointPosterior(torch.full_like(xt, 0.3))

    times = karras(GaussianProcess().schedule, 40)
    found = follow_parallel(Constant(), ddpm(), start(Constant(), times), times, None, 0.0)
    assert found.rounds.tolist() == [2] * 6
    assert (found.state.tensor == 0.3).all()


def test_the_window_is_what_is_asked_about_at_once():
    class Sizes(Denoiser):
        process = GaussianProcess()

        def __init__(self):
            super().__init__()
            self.sizes, self.times = [], []

        def forward(self, xt, t, drop=None, **condition):
            self.sizes.append(len(xt))
            assert t.shape == (len(xt),)
            return PointPosterior(xt.tanh())

    denoiser = Sizes()
    times = karras(denoiser.process.schedule, 20)
    found = follow_parallel(denoiser, ddim(), start(denoiser, times), times, 5, 1e-3)
    assert denoiser.sizes[0] == 6
    assert set(denoiser.sizes[1:]) == {30}
    assert len(denoiser.sizes) == found.rounds.max()


def test_a_sample_does_not_depend_on_its_company():
    """Each has its own window, so that slow neighbours change nothing but rounding in the network."""
    denoiser = plane()
    times = karras(denoiser.process.schedule, 30)
    state = start(denoiser, times, 9)
    whole = follow_parallel(denoiser, multistep(2, 1.0), state, times, 10, 1e-2)
    assert len(whole.rounds.unique()) > 1
    for row in (0, 4, 8):
        one = SamplerState(state.tensor[row : row + 1], state.seeds[row : row + 1])
        alone = follow_parallel(denoiser, multistep(2, 1.0), one, times, 10, 1e-2)
        torch.testing.assert_close(alone.state.x[0], whole.state.x[row], rtol=0, atol=1e-12)
        assert alone.rounds[0] == whole.rounds[row]
        assert alone.calls[0] == whole.calls[row]


def test_conditions_and_masks():
    labels = torch.tensor([0, 1, 2, 3, 1, 0])
    denoiser = small_mlp({"label": {"classes": 4}}).double().given({"label": labels})
    times = karras(denoiser.process.schedule, 8)
    state = start(denoiser, times, width=5)
    found = follow_parallel(denoiser, ddpm(), state, times, 4, 0.0)
    torch.testing.assert_close(found.state.x, follow(denoiser, ddpm(), state, times).x, rtol=0, atol=1e-10)

    class Counts(nn.Module):
        def forward(self, x, noise, drop=None, mask=None):
            assert (x[~mask] == 0).all()
            return x.cos()

    mask = torch.arange(4) < torch.tensor([4, 1, 3])[:, None]
    masked = NetworkDenoiser(Counts(), GaussianProcess()).given({"mask": mask})
    seeds = Seeds.range(0, 3)
    begun = SamplerState(masked.process.prior((4, 2), seeds, times[0], torch.float64, mask), seeds)
    found = follow_parallel(masked, ddpm(), begun, times, None, 0.0)
    torch.testing.assert_close(found.state.x, follow(masked, ddpm(), begun, times).x, rtol=0, atol=1e-12)
    assert (found.state.x[~mask] == 0).all()


def test_noise_paths():
    from unstir.samplers.brownian import BrownianPath

    denoiser = plane()
    times = karras(denoiser.process.schedule, 10)
    state = start(denoiser, times)
    state = SamplerState(state.x, state.seeds, path=BrownianPath())
    found = follow_parallel(denoiser, ddpm(), state, times, 4, 0.0)
    torch.testing.assert_close(found.state.x, follow(denoiser, ddpm(), state, times).x, rtol=0, atol=1e-12)


def test_single_precision_and_training_mode():
    denoiser = small_mlp(dropout=0.5).train()
    times = karras(denoiser.process.schedule, 10)
    state = start(denoiser, times, width=5, dtype=torch.float32)
    found = follow_parallel(denoiser, ddim(), state, times, None, 0.0)
    assert found.state.tensor.dtype == torch.float32
    torch.testing.assert_close(found.state.x, follow(denoiser, ddim(), state, times).x, rtol=1e-4, atol=1e-4)
    assert denoiser.training


def test_taken_up_in_the_middle():
    denoiser = plane()
    times = karras(denoiser.process.schedule, 12)
    state = start(denoiser, times)
    half = follow(denoiser, ddpm(), state, torch.cat((times[:6], times[6:7])))
    half = SamplerState(half.x, half.seeds, half.step)
    found = follow_parallel(denoiser, ddpm(), half, times, 4, 0.0)
    torch.testing.assert_close(found.state.x, follow(denoiser, ddpm(), state, times).x, rtol=0, atol=1e-12)
    ended = follow_parallel(denoiser, ddpm(), found.state, times)
    assert ended.rounds.tolist() == [0] * 6
    assert torch.equal(ended.state.tensor, found.state.tensor)
    if (remembering := follow(denoiser, multistep(2), state, times[:7])).history:
        with pytest.raises(InputError, match="with a history cannot be taken up in parallel"):
            follow_parallel(denoiser, multistep(2), remembering, times)


def test_coefficients_of_ddim_are_the_formula():
    schedule = GaussianProcess().schedule
    times = karras(schedule, 6)
    rules = coefficients_of(ddim(), GaussianProcess(), times, 0, False)
    for step, (t, s) in enumerate(pairwise(times)):
        kept = (schedule.sigma(s) / schedule.sigma(t)).item()
        pulled = (schedule.alpha(s) - schedule.sigma(s) / schedule.sigma(t) * schedule.alpha(t)).item()
        if s > 0:
            assert rules.states[step] == {step: pytest.approx(kept, rel=1e-12)}
        assert rules.means[step] == {step: pytest.approx(pulled, rel=1e-12)}
    assert rules.draws == ()
    assert rules.reach == 0


def test_draws_keep_their_addresses():
    rules = coefficients_of(ddpm(), GaussianProcess(), karras(GaussianProcess().schedule, 4), 2, False)
    assert [draw.purpose for draw in rules.draws] == [("step", 2), ("step", 3), ("step", 4)]


@dataclass(frozen=True)
class Squaring(Sampler):
    """Not linear."""

    order = 1
    spaces = EUCLIDEAN

    def step(self, denoiser, state, t, s):
        mean = denoiser(state.x, t).mean
        return state.advance(mean + 1e-3 * state.tensor.square(), mean)


class TestRefusals:
    @pytest.mark.parametrize(
        ("sampler", "message"),
        [
            (heun(), "RungeKuttaSampler cannot be run in parallel: it asks the denoiser at other times"),
            (Squaring(), "Squaring cannot be run in parallel: its steps are not sums"),
        ],
    )
    def test_samplers(self, sampler, message):
        denoiser = plane()
        times = karras(denoiser.process.schedule, 5)
        with pytest.raises(InputError, match=message):
            follow_parallel(denoiser, sampler, start(denoiser, times), times)

    def test_a_belief_that_would_be_drawn_from(self):
        denoiser = IN_THE_PLANE.denoiser(GaussianProcess())
        times = karras(denoiser.process.schedule, 5)
        with pytest.raises(InputError, match="draws from beliefs, and a MixturePosterior is no point"):
            follow_parallel(denoiser, AncestralSampler(), start(denoiser, times), times)

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"window": 0}, "at least 1 step; seen 0"), ({"tolerance": -1.0}, "must not be negative; seen -1.0")],
    )
    def test_options(self, options, message):
        denoiser = plane()
        times = karras(denoiser.process.schedule, 5)
        with pytest.raises(InputError, match=message):
            follow_parallel(denoiser, ddim(), start(denoiser, times), times, **options)
