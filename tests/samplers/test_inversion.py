"""Encoding and decoding: exact inverses, honest errors, conditions, masks, and what is refused."""

import numpy as np
import pytest
import torch
from networks import small_mlp, small_unet
from torch import nn

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import expand
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import log_snr_uniform, uniform
from unstir.samplers.base import SamplerState, follow
from unstir.samplers.exponential import ddim, ddpm, multistep
from unstir.samplers.fixed_point import solve_fixed_point
from unstir.samplers.inversion import decode, encode
from unstir.samplers.inversion_ways import AlongFlow, InverseSteps, ReversedSteps
from unstir.samplers.runge_kutta import euler, heun
from unstir.verification.references import IN_THE_PLANE, Mixture, NormalDenoiser

RING = Mixture(
    [0.05, 0.1, 0.15, 0.2, 0.05, 0.2, 0.15, 0.1],
    [[np.cos(angle), np.sin(angle)] for angle in 2 * np.pi * np.arange(8) / 8],
    [0.1] * 7 + [0.02],
)


def plane(law=IN_THE_PLANE):
    return law.denoiser(GaussianProcess())


def data(law, count=20):
    return law.draw(Seeds.range(1, count))


class TestExactInverse:
    @pytest.mark.parametrize("sampler", [ddim(), euler(), heun(), multistep(1)], ids=lambda sampler: str(sampler)[:40])
    @pytest.mark.parametrize("law", [IN_THE_PLANE, RING], ids=["plane", "ring"])
    @pytest.mark.parametrize("steps", [4, 12])
    def test_data_comes_back_to_rounding(self, sampler, law, steps):
        """On wide steps too, where the plain reversal is off by the data's own size."""
        if sampler == heun() and steps == 4:
            pytest.skip("so wide a step of Heun's is not one-to-one: see the test of steps without a solution")
        denoiser = plane(law)
        x0 = data(denoiser)
        options = {"steps": steps, "grid": {"name": "log-snr-uniform", "sigma_min": 0.02, "sigma_max": 20.0}}
        encoded = encode(denoiser, x0, way=InverseSteps(sampler), **options)
        again = decode(denoiser, encoded.noise, way=InverseSteps(sampler), **options)
        # modes that border on each other are drawn apart; rounding grows with them
        assert (again - x0).abs().max() < 1e-8
        assert torch.equal(encoded.round_trip, (again - x0).square().mean(1).sqrt())
        assert encode(denoiser, x0, way=ReversedSteps(), **options).round_trip.max() > 1e-2

    def test_what_it_finds_is_what_sampling_starts_from(self):
        """The sampler itself, from the noise found, passes through the data."""
        denoiser = plane()
        x0, times = data(denoiser), log_snr_uniform(denoiser.process.schedule, 10)
        encoded = encode(denoiser, x0, grid=times)
        seen = []
        start = SamplerState(encoded.noise, Seeds.range(0, len(x0)))
        last = follow(denoiser, ddim(), start, times, lambda state, t, s: seen.append(state.tensor))
        alpha = denoiser.process.schedule.alpha(times[-2])
        torch.testing.assert_close(seen[-2] / alpha, x0, rtol=0, atol=1e-9)
        landed = decode(denoiser, encoded.noise, grid=times, land=True)
        torch.testing.assert_close(landed, last.tensor, rtol=0, atol=1e-12)
        torch.testing.assert_close((landed - x0).square().mean(1).sqrt(), encoded.landing, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize(("make", "shape"), [(small_mlp, (5,)), (small_unet, (1, 8, 8))], ids=["mlp", "unet"])
    def test_a_network_in_single_precision(self, make, shape):
        denoiser = make()
        x0 = Seeds.range(0, 6).normal(shape)
        encoded = encode(denoiser, x0, steps=8)
        assert encoded.noise.dtype == torch.float32
        assert encoded.round_trip.max() < 1e-3
        assert encoded.round_trip.max() < encode(denoiser, x0, steps=8, way=ReversedSteps()).round_trip.min()

    def test_it_starts_where_nothing_of_the_data_is_left(self):
        """Even times of the cosine schedule begin at alpha = 0."""
        denoiser = plane()
        x0 = data(denoiser)
        encoded = encode(denoiser, x0, grid=uniform(denoiser.process.schedule, 12))
        assert encoded.noise.isfinite().all()
        assert encoded.round_trip.max() < 1e-8

    def test_a_sample_does_not_depend_on_its_company(self):
        denoiser = plane(RING)
        x0 = data(denoiser, 7)
        for way in (InverseSteps(), AlongFlow(1e-4), ReversedSteps()):
            whole = encode(denoiser, x0, way=way, batch=7, steps=6)
            parts = encode(denoiser, x0, way=way, batch=4, steps=6)
            torch.testing.assert_close(whole.noise, parts.noise, rtol=0, atol=1e-9)
            alone = encode(denoiser, x0[6:], way=way, steps=6)
            torch.testing.assert_close(whole.noise[6:], alone.noise, rtol=0, atol=1e-9)

    @pytest.mark.parametrize(
        ("sampler", "message"),
        [(ddpm(), "draws noise, so its steps have no inverse"), (multistep(2), "remembers past steps")],
        ids=["noise", "memory"],
    )
    def test_samplers_without_an_inverse_are_refused(self, sampler, message):
        with pytest.raises(InputError, match=message):
            encode(plane(), data(plane()), way=InverseSteps(sampler))

    def test_heuns_wide_steps_have_no_inverse_and_say_so(self):
        denoiser = plane(RING)
        grid = {"name": "log-snr-uniform", "sigma_min": 0.02, "sigma_max": 20.0}
        with pytest.raises(InputError, match="take more steps, a larger tolerance, or AlongFlow"):
            encode(denoiser, data(denoiser, 60), way=InverseSteps(heun(), limit=40), steps=3, grid=grid)

    def test_a_step_that_is_not_solved_names_the_sample(self):
        class Fold(Denoiser):
            """Believes in the state's size, so that two states come to one."""

            process = GaussianProcess()

            def forward(self, xt, t, drop=None, **condition):
                return PointPosterior(xt.abs())

        with pytest.raises(InputError, match=r"could not be undone for 1 of 2 samples \(rows \[1\]"):
            encode(Fold(), torch.tensor([[1.0], [-1.0]], dtype=torch.float64), way=InverseSteps(limit=30), steps=3)


class TestFixedPoint:
    def test_linear_maps_take_as_many_iterations_as_they_have_slopes(self):
        slopes = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
        target = Seeds.range(0, 4).normal((3,), torch.float64)
        bound = torch.full((4,), 1e-13, dtype=torch.float64)
        solved = solve_fixed_point(lambda x: slopes * x, target, torch.zeros_like(target), 1.0, bound, 50)
        torch.testing.assert_close(solved.x, target / slopes, rtol=1e-11, atol=1e-11)
        assert solved.iterations.max() <= 7

    def test_slopes_far_above_the_guess_are_met_by_shorter_steps(self):
        target = torch.tensor([[2.0], [-1.0]], dtype=torch.float64)
        bound = torch.full((2,), 1e-12, dtype=torch.float64)
        solved = solve_fixed_point(lambda x: 40 * x + x**3, target, torch.zeros_like(target), 1.0, bound, 100, memory=0)
        assert solved.converged.all()
        torch.testing.assert_close(40 * solved.x + solved.x**3, target, rtol=0, atol=1e-11)

    def test_no_solution_is_told(self):
        target = torch.tensor([[-1.0], [4.0]], dtype=torch.float64)
        bound = torch.full((2,), 1e-12, dtype=torch.float64)
        solved = solve_fixed_point(torch.square, target, torch.ones_like(target), 2.0, bound, 60)
        assert solved.converged.tolist() == [False, True]
        assert solved.residual[0] >= 1.0


class TestAlongFlow:
    def test_normal_data_is_scaled(self):
        """The flow of normal data keeps the number of deviations."""
        denoiser = NormalDenoiser(0.4, 0.7, GaussianProcess())
        schedule = denoiser.process.schedule
        x0 = Seeds.range(0, 5).normal((3,), torch.float64)
        times = log_snr_uniform(schedule, 2, 0.01, 30.0)
        encoded = encode(denoiser, x0, way=AlongFlow(1e-9), grid=times)
        alpha, sigma = schedule.alpha(times), schedule.sigma(times)
        spread = (0.49 * alpha**2 + sigma**2).sqrt()
        expected = alpha[0] * 0.4 + spread[0] / spread[-2] * alpha[-2] * (x0 - 0.4)
        torch.testing.assert_close(encoded.noise, expected, rtol=1e-7, atol=1e-7)
        assert encoded.round_trip.max() < 1e-7

    def test_encoded_data_has_the_law_of_noise(self):
        """Mean and variance of all elements, by five standard errors of what the forward law says."""
        denoiser = plane()
        x0 = denoiser.draw(Seeds.range(3, 1500))
        times = log_snr_uniform(denoiser.process.schedule, 2, 0.002, 30.0)
        noise = encode(denoiser, x0, way=AlongFlow(1e-4), grid=times, batch=1500).noise
        alpha, sigma = (f(times[0]).item() for f in (denoiser.process.schedule.alpha, denoiser.process.schedule.sigma))
        expected = alpha**2 * x0.var(0) + sigma**2
        error = expected * (2 / 1500) ** 0.5
        assert ((noise.var(0) - expected).abs() < 5 * error).all()
        assert ((noise.mean(0) - alpha * x0.mean(0)).abs() < 5 * (expected / 1500).sqrt()).all()


class Told(Denoiser):
    """Normal data about the condition ``centre``."""

    process = GaussianProcess()

    def forward(self, xt, t, drop=None, centre=None, **condition):
        alpha, sigma = self.process.coefficients(t, xt)
        gain = 0.25 * alpha / (0.25 * alpha**2 + sigma**2)
        return PointPosterior(centre + gain * (xt - alpha * centre))


@pytest.mark.parametrize("way", [InverseSteps(), AlongFlow(1e-8)], ids=["inverse", "flow"])
def test_another_condition_edits_the_data(way):
    """Decoded towards another centre, normal data moves with the centre and keeps its place about it."""
    centres = torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    x0 = centres + torch.tensor([[0.3], [-0.2], [0.0]], dtype=torch.float64)
    options = {"way": way, "grid": {"name": "log-snr-uniform", "sigma_min": 1e-3}, "steps": 20, "batch": 2}
    encoded = encode(Told(), x0, condition={"centre": centres}, **options)
    same = decode(Told(), encoded.noise, condition={"centre": centres}, **options)
    edited = decode(Told(), encoded.noise, condition={"centre": -centres}, **options)
    torch.testing.assert_close(same, x0, rtol=0, atol=1e-6)
    # what is left of the data in the noisiest state, alpha times the centre's move, remembers the old centre
    torch.testing.assert_close(edited, x0 - 2 * centres, rtol=0, atol=0.1)


def test_padded_places_stay_empty_and_do_not_count():
    class Counts(nn.Module):
        def forward(self, x, noise, drop=None, mask=None):
            assert (x[~mask] == 0).all()
            return x.cos()

    mask = torch.arange(4) < torch.tensor([4, 1, 3])[:, None]
    denoiser = NetworkDenoiser(Counts(), GaussianProcess())
    x0 = Seeds.range(0, 3).normal((4, 2), torch.float64)
    encoded = encode(denoiser, x0, condition={"mask": mask}, steps=6)
    again = decode(denoiser, encoded.noise, condition={"mask": mask}, steps=6)
    assert (encoded.noise[~mask] == 0).all()
    assert (again[~mask] == 0).all()
    assert (again - x0)[mask].abs().max() < 1e-9
    assert encoded.round_trip.max() < 1e-9
    assert (expand(mask[:, 0].double(), x0) == 1).all()


def test_training_mode_and_gradients_are_left_alone():
    denoiser = small_mlp(dropout=0.5).train()
    first, second = (encode(denoiser, Seeds.range(0, 2).normal((5,)), steps=3).noise for _ in range(2))
    assert torch.equal(first, second)
    assert denoiser.training
    assert not first.requires_grad


def test_calls_are_counted():
    encoded = encode(plane(), data(plane(), 3), way=ReversedSteps(), steps=9)
    assert encoded.calls.tolist() == [8, 8, 8]


def test_no_data():
    encoded = encode(plane(), torch.zeros(0, 2))
    assert encoded.noise.shape == (0, 2)
    assert encoded.round_trip.shape == encoded.calls.shape == (0,)
    assert decode(plane(), torch.zeros(0, 2)).shape == (0, 2)


@pytest.mark.parametrize(
    ("x0", "options", "message"),
    [
        (torch.zeros(3), {}, "one tensor of real numbers, batch first; seen \\(3,\\)"),
        (torch.zeros(3, 2, dtype=torch.int64), {}, "real numbers, batch first; seen .*int64"),
        (torch.full((3, 2), torch.nan), {}, "must be finite; it holds NaN or infinity"),
        (torch.zeros(3, 2), {"steps": 1}, "take a grid of 2 or more steps"),
        (torch.zeros(3, 2), {"batch": 0}, "at least 1 sample; seen 0"),
        (torch.zeros(3, 2), {"condition": {"label": torch.zeros(2)}}, "'label' must have one row for each of the 3"),
        (torch.zeros(3, 2), {"grid": "log-snr-unifrom"}, "did you mean 'log-snr-uniform'"),
    ],
)
def test_wrong_requests_are_answered(x0, options, message):
    with pytest.raises(InputError, match=message):
        encode(plane(), x0, **options)


def test_other_spaces_and_options_are_refused():
    from unstir.processes.wrapped import WrappedProcess

    denoiser = small_mlp()
    denoiser.process = WrappedProcess()
    with pytest.raises(
        InputError, match="Gaussian noise on a Euclidean space; seen WrappedProcess on the space 'torus'"
    ):
        encode(denoiser, torch.zeros(2, 5))
    with pytest.raises(InputError, match="tolerance must be positive and the limit at least 1"):
        InverseSteps(tolerance=0.0)
