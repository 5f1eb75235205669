"""Editing: what is exactly true of it, and what is refused."""

import numpy as np
import pytest
import torch
from networks import small_unet

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.categorical import TokenProductDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.processes.bridge import BridgeProcess
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample, time_grid
from unstir.samplers.editing import (
    denoise_from,
    edit,
    edit_by_inversion,
    time_of_level,
    times_below,
    times_from,
    variations,
)
from unstir.samplers.exponential import ddim, multistep
from unstir.samplers.inversion import encode
from unstir.samplers.noise_estimation import likeliest_noise, noise_from_details
from unstir.verification.statistics import mean_is, same_law

MEAN, COVARIANCE = [0.5, -1.0], [[0.5, 0.2], [0.2, 0.3]]
SCHEDULES = {"variance preserving": GaussianProcess(), "variance exploding": GaussianProcess(EDMSchedule())}


def plane(process=None):
    return GaussianDenoiser(MEAN, COVARIANCE, process or GaussianProcess())


def holds(figure):
    assert figure.passed, (figure.quantity, figure.value, figure.note)


class TestStrength:
    def test_one_is_plain_sampling_to_the_bit(self):
        denoiser, x0 = small_unet(), torch.rand(5, 1, 8, 8)
        made = edit(denoiser, x0, 1.0, steps=6, seed=3, batch=4)
        plain = sample(denoiser, multistep(2, stochasticity=1.0), (1, 8, 8), 5, steps=6, seed=3, batch=4)
        assert torch.equal(made, plain)

    def test_zero_is_the_data_and_a_copy(self):
        x0 = torch.rand(3, 2)
        made = edit(plane(), x0, 0)
        assert torch.equal(made, x0) and made.data_ptr() != x0.data_ptr()

    def test_more_strength_goes_further(self):
        x0 = torch.tensor([[4.0, 3.0]]).expand(300, 2)
        away = [(edit(plane(), x0, share, steps=20) - x0).norm(dim=1).mean().item() for share in (0.2, 0.5, 0.8)]
        assert away[0] < away[1] < away[2]

    @pytest.mark.parametrize("name", SCHEDULES)
    def test_the_law_of_an_edit_is_the_averaged_posterior(self, name):
        r"""x_t = alpha x_0 + sigma eps, then N(m + K(x_t - alpha m), sigma^2 C V^{-1}), K = alpha C V^{-1}."""
        law, count = plane(SCHEDULES[name]), 8000
        x0 = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
        times = time_grid(law.process, law.process.grid, 10)
        # the sampler with the exact belief draws exactly, in any number of steps
        for strength in (0.3, 0.5):
            made = edit(
                law, x0.expand(count, 2), strength, sampler=AncestralSampler(), steps=10, batch=1000,
                dtype=torch.float64, grid=times, seed=5,
            )  # fmt: skip
            t = times_from(times, strength)[0]
            alpha, sigma = law.process.schedule.alpha(t), law.process.schedule.sigma(t)
            covariance = torch.tensor(COVARIANCE, dtype=torch.float64)
            inverse = (alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64)).inverse()
            gain = alpha * covariance @ inverse
            mean = law.mean + gain @ (alpha * (x0[0] - law.mean))
            spread = sigma**2 * covariance @ inverse + sigma**2 * gain @ gain.T
            holds(mean_is(f"mean, {strength}", made, mean, spread.diag().sqrt()))
            drawn = (
                mean
                + torch.from_numpy(np.random.default_rng(1).normal(size=(count, 2))) @ torch.linalg.cholesky(spread).T
            )
            holds(same_law(f"law, {strength}", made, drawn))
            # and a spread that is off by a fifth is told from it
            assert same_law("wider", made, mean + 1.2 * (drawn - mean)).value < 1e-3

    def test_an_edit_is_the_same_alone_and_among_others(self):
        denoiser, x0 = small_unet(), torch.rand(6, 1, 8, 8)
        keep = torch.zeros(8, 8, dtype=torch.bool)
        keep[:3] = True
        for kept in (None, keep):
            many = edit(denoiser, x0, 0.6, steps=5, batch=4, keep=kept)
            alone = edit(denoiser, x0[5:], 0.6, steps=5, batch=4, keep=kept, seeds=Seeds.range(0, 1, start=5))
            assert torch.equal(many[5:], alone)

    def test_tokens_are_edited_too(self):
        law = TokenProductDenoiser(torch.tensor([[0.7, 0.2, 0.1]] * 6), CategoricalProcess(3))
        x0 = torch.zeros(50, 6, dtype=torch.int64)
        keep = torch.tensor([True, False, False, True, False, False])
        made = edit(law, x0, 1.0, sampler=AncestralSampler(), steps=8, keep=keep)
        assert (made[:, keep] == 0).all() and (made[:, ~keep] != 0).any() and made.dtype == torch.int64


class TestMaskedEdits:
    def test_what_is_kept_comes_out_as_it_went_in(self):
        keep = torch.rand(8, 8) < 0.5
        x0 = torch.rand(3, 1, 8, 8)
        made = edit(small_unet(), x0, 0.7, steps=5, keep=keep)
        where = keep.expand(3, 1, 8, 8)
        assert torch.equal(made[where], x0[where]) and not torch.equal(made[~where], x0[~where])

    def test_what_is_kept_tells_of_the_rest(self):
        """Two coordinates of correlation 0.95: where one is kept, the other follows it."""
        law = GaussianDenoiser([0.0, 0.0], [[1.0, 0.95], [0.95, 1.0]], GaussianProcess())
        keep = torch.tensor([True, False])
        for value in (-2.0, 2.0):
            made = edit(law, torch.tensor([[value, 0.0]]).expand(64, 2), 1.0, steps=25, keep=keep)
            assert made[:, 1].mean().item() * value > 1.0

    def test_any_strength_keeps(self):
        keep = torch.tensor([True, False])
        for strength in (0.0, 0.1, 1.0):
            assert torch.equal(edit(plane(), torch.ones(4, 2), strength, keep=keep)[:, 0], torch.ones(4))


def test_variations_differ_by_their_noise_alone():
    denoiser, x0 = small_unet(), torch.rand(1, 1, 8, 8)
    made = variations(denoiser, x0, 3, 0.5, steps=4)
    assert not torch.equal(made[0], made[1])
    assert torch.equal(made, edit(denoiser, x0.expand(3, 1, 8, 8), 0.5, steps=4))
    with pytest.raises(InputError, match="of one sample"):
        variations(denoiser, x0.expand(2, 1, 8, 8), 3)
    with pytest.raises(InputError, match="at least 1 variation"):
        variations(denoiser, x0, 0)


class TestInversion:
    def labelled(self):
        return small_unet({"label": {"classes": 3}})

    def test_with_one_condition_it_comes_back_to_the_round_trip(self):
        denoiser, x0 = self.labelled(), torch.rand(2, 1, 8, 8)
        label = {"label": torch.tensor([1, 2])}
        made = edit_by_inversion(denoiser, x0, source=label, target=label, steps=8)
        told = encode(denoiser, x0, steps=8, condition=label)
        away = (made - x0).double().square().mean((1, 2, 3)).sqrt()
        torch.testing.assert_close(away, told.round_trip, rtol=1e-3, atol=1e-9)
        assert away.max() < 1e-4

    def test_another_condition_edits_and_kept_places_stay(self):
        denoiser, x0 = self.labelled(), torch.rand(2, 1, 8, 8)
        keep = torch.zeros(8, 8, dtype=torch.bool)
        keep[:, :4] = True
        labels = [{"label": torch.tensor(value)} for value in ([0, 0], [2, 2])]
        made = edit_by_inversion(denoiser, x0, source=labels[0], target=labels[1], steps=8, keep=keep)
        assert torch.equal(made[..., :4], x0[..., :4])
        assert (made[..., 4:] - x0[..., 4:]).abs().max() > 1e-2
        less = edit_by_inversion(denoiser, x0, source=labels[0], target=labels[1], steps=8, strength=0.4)
        full = edit_by_inversion(denoiser, x0, source=labels[0], target=labels[1], steps=8)
        assert (less - x0).norm() < (full - x0).norm()

    def test_of_no_strength_it_is_the_data(self):
        x0 = torch.rand(2, 2)
        assert torch.equal(edit_by_inversion(plane(), x0, strength=0), x0)


class TestExactStart:
    @pytest.mark.parametrize("name", SCHEDULES)
    def test_denoising_draws_from_the_posterior(self, name):
        law, sigma, count = plane(SCHEDULES[name]), 0.4, 6000
        y = torch.tensor([[1.5, 0.5]], dtype=torch.float64)
        made = denoise_from(
            law, y.expand(count, 2), sigma, sampler=AncestralSampler(), steps=5, batch=1000, dtype=torch.float64
        )
        exact = law.given_observation(torch.eye(2, dtype=torch.float64), y[0], sigma)
        holds(same_law("draws", made, exact.draw(Seeds.range(9, count))))

    def test_the_time_has_the_level(self):
        for process in SCHEDULES.values():
            for sigma in (0.01, 0.5, 30.0):
                t = time_of_level(process, sigma)
                found = (process.schedule.sigma(t) / process.schedule.alpha(t)).item()
                assert found == pytest.approx(sigma, rel=1e-9)

    def test_the_likeliest_noise_of_white_data_is_known(self):
        """N(0, v) in 256 places with noise s^2: the likelihood is largest where v + s^2 is the mean square."""
        law = GaussianDenoiser(torch.zeros(1, 16, 16), 0.3, GaussianProcess())
        y = (0.3 + torch.tensor([0.04, 0.09, 0.25])).sqrt()[:, None, None, None] * Seeds.range(4, 3).normal((1, 16, 16))
        known = (y.double().square().mean((1, 2, 3)) - 0.3).sqrt()
        found = likeliest_noise(law, y, 0.02, 1.5, levels=40, probes=1)
        torch.testing.assert_close(found, known, rtol=0.01, atol=0)
        quiet = likeliest_noise(law, 0.3 * y, 0.02, 1.5, probes=1)  # less varied than the data: no noise at all
        torch.testing.assert_close(quiet, torch.full((3,), 0.02, dtype=torch.float64), rtol=1e-6, atol=0)

    def test_details_tell_the_noise_of_smooth_pictures(self):
        smooth = torch.linspace(-1, 1, 64)[None, None, :, None].expand(1, 1, 64, 64)
        noisy = smooth + 0.2 * Seeds.range(1, 1).normal((1, 64, 64))
        # 1,024 coefficients: the median's standard error is 3.7 % of the deviation; five of them
        assert noise_from_details(noisy).item() == pytest.approx(0.2, rel=0.19)
        assert noise_from_details(smooth).item() < 1e-6


class TestRefusals:
    @pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
    def test_strengths_out_of_range(self, strength):
        with pytest.raises(InputError, match="strength of an edit is a number from 0"):
            edit(plane(), torch.zeros(1, 2), strength)

    def test_data_and_masks_that_do_not_fit(self):
        with pytest.raises(InputError, match="be finite; rows \\[1\\]"):
            edit(plane(), torch.tensor([[0.0, 0.0], [0.0, float("nan")]]), 0.5)
        with pytest.raises(InputError, match="boolean, of one sample's shape"):
            edit(plane(), torch.zeros(1, 2), 0.5, keep=torch.ones(3, dtype=torch.bool))
        with pytest.raises(InputError, match="boolean, of one sample's shape"):
            edit(plane(), torch.zeros(1, 2), 0.5, keep=torch.ones(2))
        with pytest.raises(InputError, match="parts of the data"):
            edit(plane(), torch.zeros(1, 2), 0.5, keep={"x": torch.ones(2, dtype=torch.bool)})
        with pytest.raises(InputError, match="2 seeds for 1 samples"):
            edit(plane(), torch.zeros(1, 2), 0.5, seeds=Seeds.range(0, 2))

    def test_bridges_and_levels_that_are_not_there(self):
        bridged = plane()
        bridged.process = BridgeProcess()
        with pytest.raises(InputError, match="a bridge carries data to its source"):
            edit(bridged, torch.zeros(1, 2))
        with pytest.raises(InputError, match="the noise of this process has deviations"):
            denoise_from(plane(GaussianProcess(EDMSchedule(sigma_max=20.0))), torch.zeros(1, 2), 25.0)
        with pytest.raises(InputError, match="starts at a time above 0"):
            times_below(torch.tensor([1.0, 0.0]), 0.0)
        with pytest.raises(InputError, match="0 < low < high"):
            likeliest_noise(plane(), torch.zeros(1, 2), 0.5, 0.1)
        with pytest.raises(InputError, match="2 pixels a side"):
            noise_from_details(torch.zeros(1, 2))

    def test_samplers_of_other_spaces(self):
        law = TokenProductDenoiser(torch.tensor([[0.5, 0.5]] * 2), CategoricalProcess(2))
        with pytest.raises(InputError, match="serves"):
            edit(law, torch.zeros(1, 2, dtype=torch.int64), 0.5, sampler=ddim())
