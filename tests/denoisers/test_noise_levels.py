"""Distributions of noise levels: quantile and density agree, strata are covered, importance stays unbiased."""

import math

import pytest
import torch
from scipy import stats
from thresholds import assert_distribution

from unstir.core.catalogue import build, entries
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.noise_levels import (
    ImportanceLevels,
    LogitNormalLevels,
    LogNormalLevels,
    UniformLevels,
    UniformLogSNRLevels,
    stratified,
)
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule

MIDDLES = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
every = pytest.mark.parametrize("name", entries("noise_levels"))


def made(name, schedule=None):
    levels = build("noise_levels", name, schedule=schedule or CosineSchedule())
    if isinstance(levels, ImportanceLevels):
        levels.squares.copy_(torch.linspace(0.1, 9, len(levels.squares), dtype=torch.float64).square())
    return levels


@every
def test_highest_signal_first_and_in_double_precision(name):
    told = made(name)(MIDDLES)
    assert (told.log_snr.diff() < 0).all()
    for values in told:
        assert values.dtype == torch.float64
        assert values.shape == MIDDLES.shape
        assert values.isfinite().all()
        assert (values > 0).all() or values is told.log_snr


@every
@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearVPSchedule()], ids=["cosine", "linear-vp"])
def test_density_is_that_of_the_levels_drawn(name, schedule):
    """Between u and u' lies a share u' - u of the levels: density over correction is -du/dlambda."""
    levels = made(name, schedule)
    told = levels(MIDDLES)
    between = (levels((MIDDLES + 1e-7).clone()).log_snr - levels(MIDDLES - 1e-7).log_snr) / 2e-7
    drawn = told.density / told.correction
    # at the edges of the importance bins the slope is that of either side
    agree = ((-1 / between / drawn - 1).abs() < 1e-4).double().mean()
    assert agree > 0.99


@every
def test_density_adds_up(name):
    """The trapezoid rule over the levels drawn; what is left out lies beyond the first and the last."""
    told = made(name)(MIDDLES)
    total = torch.trapezoid((told.density / told.correction).flip(0), told.log_snr.flip(0))
    assert total.item() == pytest.approx(1, abs=5e-3)


def test_log_normal_levels_have_their_law():
    sigma = (-LogNormalLevels(-0.4, 0.9)(MIDDLES).log_snr / 2).exp()
    expected = stats.lognorm(0.9, scale=math.exp(-0.4)).ppf(MIDDLES.numpy())
    torch.testing.assert_close(sigma, torch.from_numpy(expected), rtol=1e-9, atol=0)


def test_logit_normal_levels_are_logit_normal_times_of_the_straight_flow():
    time = (-LogitNormalLevels(0.3, 1.2)(MIDDLES).log_snr / 2).sigmoid()
    assert_distribution((torch.logit(time) - 0.3) / 1.2, stats.norm.cdf)


def test_uniform_levels_are_even_in_time_and_in_log_snr():
    schedule = CosineSchedule()
    times = schedule.time(UniformLevels(schedule, 0.1, 0.9)(MIDDLES).log_snr)
    torch.testing.assert_close(times, 0.1 + 0.8 * MIDDLES)
    torch.testing.assert_close(UniformLogSNRLevels(-3.0, 5.0)(MIDDLES).log_snr, 5 - 8 * MIDDLES)


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_stratified_numbers_meet_every_stratum_once(batch):
    for number in range(20):
        u = stratified(Seeds.range(0, 1, number).at("levels"), batch, torch.arange(batch))
        assert ((u > 0) & (u < 1)).all()
        assert (u * batch).floor().long().sort().values.tolist() == list(range(batch))


def test_stratified_numbers_are_uniform_and_split_over_processes():
    whole = [stratified(Seeds.range(1, 1, n), 4, torch.arange(4)) for n in range(1000)]
    for place in range(4):
        assert_distribution(torch.stack(whole)[:, place] * 4 - place, lambda x: x)
    halves = [stratified(Seeds.range(1, 1, 3), 4, torch.tensor(part)) for part in ([0, 1], [2, 3])]
    assert torch.equal(torch.cat(halves), whole[3])


class TestImportance:
    @staticmethod
    def loss(log_snr):
        """A loss that varies over four orders of magnitude, as DDPM's bound does."""
        return (-((log_snr - 6) / 2).square() / 2).exp() * 100 + 0.01

    def trained(self):
        levels = ImportanceLevels(CosineSchedule())
        for step in range(400):
            u = stratified(Seeds.range(0, 1, step), 256, torch.arange(256))
            levels.update(u, self.loss(levels(u).log_snr))
        return levels

    def test_starts_uniform(self):
        base, levels = UniformLevels(CosineSchedule()), ImportanceLevels(CosineSchedule())
        torch.testing.assert_close(levels(MIDDLES).log_snr, base(MIDDLES).log_snr)
        torch.testing.assert_close(levels(MIDDLES).correction, torch.ones_like(MIDDLES))

    def test_learns_the_root_mean_square_of_the_loss(self):
        levels = self.trained()
        u = (torch.arange(64 * 500, dtype=torch.float64) + 0.5) / (64 * 500)
        root = self.loss(levels.base(u).log_snr).reshape(64, 500).square().mean(1).sqrt()
        expected = 0.9 * root / root.sum() + 0.1 / 64
        assert levels.probabilities.sum().item() == pytest.approx(1, rel=1e-12)
        torch.testing.assert_close(levels.probabilities, expected, rtol=0.05, atol=0)

    def test_the_corrected_loss_has_the_expectation_of_the_uniform_one(self):
        """Exactly, by fine midpoints in each; and by draws, within their standard error."""
        levels = self.trained()
        told = levels(MIDDLES)
        corrected = self.loss(told.log_snr) * told.correction
        plain = self.loss(levels.base(MIDDLES).log_snr)
        assert corrected.mean().item() == pytest.approx(plain.mean().item(), rel=1e-3)

        drawn = levels(Seeds.range(5, 20_000).uniform())
        values = self.loss(drawn.log_snr) * drawn.correction
        error = values.std().item() / math.sqrt(len(values))
        assert abs(values.mean().item() - plain.mean().item()) < 5 * error
        assert error < 0.2 * plain.mean().item(), "the comparison means something"

    def test_the_variance_is_lower_than_uniform_and_near_the_least(self):
        """With q in proportion to the loss the variance vanishes but for the floor and the bins' widths."""
        levels = self.trained()
        told = levels(MIDDLES)
        corrected = self.loss(told.log_snr) * told.correction
        plain = self.loss(levels.base(MIDDLES).log_snr)
        assert corrected.var() < plain.var() / 5

    def test_state_is_kept(self):
        levels, fresh = self.trained(), ImportanceLevels(CosineSchedule())
        fresh.load_state_dict(levels.state_dict())
        assert torch.equal(fresh(MIDDLES).log_snr, levels(MIDDLES).log_snr)

    def test_bins_that_were_not_met_are_left_alone(self):
        levels = ImportanceLevels(CosineSchedule(), bins=4, memory=0.5)
        levels.update(torch.tensor([0.1, 0.2, 0.9], dtype=torch.float64), torch.tensor([2.0, 4.0, 3.0]))
        assert levels.squares.tolist() == [0.5 + 0.5 * 10, 1, 1, 0.5 + 0.5 * 9]

    def test_other_distributions_have_nothing_to_learn(self):
        levels = LogNormalLevels()
        before = levels(MIDDLES).log_snr
        levels.update(MIDDLES, torch.ones_like(MIDDLES))
        assert torch.equal(levels(MIDDLES).log_snr, before)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("uniform", {"first": 0.0}, "0 < first < last <= 1; seen 0.0"),
        ("uniform", {"first": 0.5, "last": 0.4}, "seen 0.5 and 0.4"),
        ("uniform", {"last": 1.1}, "seen 0.001 and 1.1"),
        ("log-normal", {"deviation": 0.0}, "the deviation .* must be positive; seen 0.0"),
        ("logit-normal", {"deviation": -1.0}, "must be positive; seen -1.0"),
        ("uniform-log-snr", {"lowest": 3.0, "highest": 3.0}, "lowest < highest log-SNR is needed; seen 3.0 and 3.0"),
        ("importance", {"bins": 1}, "bins >= 2.*seen 1,"),
        ("importance", {"memory": 1.0}, "memory < 1"),
        ("importance", {"floor": 0.0}, "0 < floor <= 1"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        build("noise_levels", {"name": name, **options}, schedule=CosineSchedule())
