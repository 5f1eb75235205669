"""Bad input, single members, what is missing, and broken copies that the claims must catch."""

import math

import numpy as np
import pytest
import torch
from mutants import is_caught

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.scores.bootstrap import block_bootstrap, skill_score
from unstir.scores.brier import brier, brier_decomposition, brier_fair
from unstir.scores.crps import crps, quantile_score, threshold_weighted_crps
from unstir.scores.energy import energy_score
from unstir.scores.extremes import block_maxima, decluster, peaks_over_threshold, return_levels
from unstir.scores.ranks import interval_coverage, rank_test, ranks
from unstir.scores.reliability import reliability_curve
from unstir.scores.roc import roc
from unstir.scores.spectrum import power_spectrum
from unstir.scores.spread import spread_skill
from unstir.scores.variogram import variogram_score
from unstir.verification.checks import scores as claims
from unstir.verification.checks import scores_resampled as more

ONE = Seeds.range(0, 1)
ENSEMBLE, OBSERVED = torch.zeros(3, 4, 2), torch.zeros(3, 2)
LONG = np.arange(20.0)

REFUSED = [
    (lambda: crps(ENSEMBLE, torch.zeros(3, 4)), r"needs observations \(3, 2\)"),
    (lambda: crps(torch.zeros(3, 0), torch.zeros(3)), "and a member"),
    (lambda: threshold_weighted_crps(ENSEMBLE, OBSERVED, 1.0, 0.0), "lower bound"),
    (lambda: threshold_weighted_crps(ENSEMBLE, OBSERVED, torch.zeros(5)), "broadcast"),
    (lambda: quantile_score(OBSERVED, OBSERVED, 1.0), "between 0 and 1"),
    (lambda: quantile_score(OBSERVED, torch.zeros(3), 0.5), "a quantile for each"),
    (lambda: energy_score(torch.zeros(3, 4, 2, 2), torch.zeros(3, 2, 2)), "flatten the others"),
    (lambda: energy_score(ENSEMBLE, OBSERVED, weights=[1.0, -1.0]), "zero or more"),
    (lambda: variogram_score(ENSEMBLE, OBSERVED, order=0.0), "positive"),
    (lambda: variogram_score(ENSEMBLE, OBSERVED, weights=torch.ones(3, 3)), r"\(2, 2\) numbers"),
    (lambda: brier(torch.tensor([1.2]), torch.tensor([1.0])), "from 0 to 1; seen 1.2"),
    (lambda: brier(torch.tensor([0.2]), torch.tensor([0.5])), "came true"),
    (lambda: brier(torch.zeros(2), torch.zeros(3)), "probability for each event"),
    (lambda: brier_fair(torch.full((3, 4), 0.5), torch.zeros(3)), "seen other numbers"),
    (lambda: brier_decomposition(torch.zeros(2), torch.zeros(2), bins=0), "one bin"),
    (lambda: brier_decomposition(torch.zeros(2), torch.full((2,), torch.nan)), "nothing to verify"),
    (lambda: reliability_curve(torch.zeros(2), torch.zeros(2), ONE, level=1.0), "level"),
    (lambda: roc(torch.zeros(2), torch.full((2,), torch.nan)), "one at least is known"),
    (lambda: roc(torch.zeros(2), torch.zeros(3)), "a forecast for each"),
    (lambda: spread_skill(torch.zeros(3, 1), torch.zeros(3)), "no spread"),
    (lambda: ranks(ENSEMBLE, OBSERVED, ONE), "1 seeds for 3 cases"),
    (lambda: rank_test(torch.tensor([5]), 4, ONE), "from 0 to 4"),
    (lambda: rank_test(torch.tensor([-1]), 4, ONE), "nothing to test"),
    (lambda: rank_test(torch.tensor([1, 2]), 4, ONE), "1 seeds for 2 cases"),
    (lambda: interval_coverage([-1, -1], 9, 0.5), "nothing to verify"),
    (lambda: interval_coverage([1], 1, 0.01), "no interval"),
    (lambda: block_bootstrap(10, 11, 5, ONE), "1 to all cases"),
    (lambda: skill_score(torch.zeros(3), torch.zeros(4), torch.zeros(2, 3)), "same cases"),
    (lambda: skill_score(torch.zeros(3), torch.zeros(3), torch.zeros(2, 4)), r"weights \(replicates, 3\)"),
    (lambda: power_spectrum(torch.zeros(4), 2), "last axis or the last two"),
    (lambda: power_spectrum(torch.zeros(4), 1, 0.0), "positive number"),
    (lambda: return_levels([1.0, 2.0]), "10 finite values"),
    (lambda: return_levels(np.ones(20)), "not all equal"),
    (lambda: peaks_over_threshold(LONG, 15.0, 2.0), "lower threshold"),
    (lambda: peaks_over_threshold(LONG, 1.0, 0.0), "positive number of periods"),
    (lambda: return_levels(LONG).level(1.0), "longer than 1"),
    (lambda: peaks_over_threshold(LONG, 1.0, 10.0).period(0.0), "without being peaks"),
    (lambda: return_levels(LONG).interval([10.0], ONE, 1), "two replicates"),
    (lambda: block_maxima(LONG, 21), "a block holds 1 to 20"),
    (lambda: block_maxima(LONG, [1, 2]), "as many blocks"),
    (lambda: decluster(LONG, 3.0, 0), "one value at least"),
]


def normal(purpose, count, *shape):
    return Seeds.range(0, count).at(purpose).normal(shape, torch.float64)


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_single_member_is_scored_by_its_distance():
    ensemble, observed = torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 2)
    assert crps(ensemble, observed).tolist() == [[3.0, 4.0]]
    assert energy_score(ensemble, observed).tolist() == [5.0]
    assert variogram_score(ensemble, observed, order=1.0).tolist() == [2.0]
    assert brier_fair(torch.ones(1, 1), torch.zeros(1)).tolist() == [1.0]


def test_bounds_by_place_are_those_places_own():
    ensemble, observed = normal("places", 3, 4, 2), normal("truths", 3, 2)
    both = threshold_weighted_crps(ensemble, observed, low=torch.tensor([-0.5, 0.5]))
    for place, low in enumerate((-0.5, 0.5)):
        alone = threshold_weighted_crps(ensemble[..., place], observed[:, place], low=low)
        assert torch.equal(both[:, place], alone)


def test_plain_numbers_keep_their_digits():
    assert float(brier([0.1], [0.0])[0]) == 0.1**2


def test_missing_observations_count_for_nothing():
    ensemble, observed = normal("members", 50, 4), normal("truth", 50)
    seeds = Seeds.range(0, 50)
    holed = observed.clone()
    holed[10:] = torch.nan
    found = ranks(ensemble, holed, seeds)
    assert (found[10:] == -1).all() and torch.equal(found[:10], ranks(ensemble, observed, seeds)[:10])
    wanted = spread_skill(ensemble[:10], observed[:10]).ratio
    assert spread_skill(ensemble, holed).ratio == pytest.approx(wanted, rel=1e-12)
    p, event = Seeds.range(0, 50).uniform(), (observed > 0).double()
    unknown = torch.where(torch.arange(50) < 10, event, torch.nan)
    assert brier_decomposition(p, unknown) == brier_decomposition(p[:10], event[:10])
    assert roc(p, unknown).area == roc(p[:10], event[:10]).area
    weights = block_bootstrap(50, 1, 100, ONE)
    skill = skill_score(holed.square(), observed.square() + 1, weights)
    wanted = 1 - float(observed[:10].square().mean() / (observed[:10].square() + 1).mean())
    assert skill.value == pytest.approx(wanted, abs=1e-12)
    assert math.isnan(skill_score(holed * torch.nan, observed, weights).value)


def test_events_without_exception_have_no_area():
    assert math.isnan(roc(torch.arange(5.0), torch.ones(5)).area)


def test_a_bounded_tail_ends():
    fit = peaks_over_threshold(np.linspace(0.001, 1.0, 200), 0.0, 10.0)  # uniform: shape -1 at most
    end = fit.location - fit.scale / fit.shape
    assert fit.shape < -0.5 and fit.period(end + 0.1) == np.inf and fit.level(1e9) <= end + 1e-9


def test_intervals_of_levels_hold_them_and_are_the_same_again():
    fit = return_levels(10 + 3 * np.random.default_rng(3).gumbel(size=80))
    low, high = fit.interval([2.0, 50.0], ONE, 40)
    assert (low < fit.level([2.0, 50.0])).all() and (fit.level([2.0, 50.0]) < high).all()
    assert np.array_equal(low, fit.interval([2.0, 50.0], ONE, 40)[0])


def unfair(score):
    def crps(ensemble, observed, fair=True):
        return score(ensemble, observed, fair=False)

    return crps


def test_claims_catch_broken_copies():
    def without_factor(ensemble, observed):
        found = spread_skill(ensemble, observed)
        members = ensemble.shape[1]
        return type(found)(found.ratio, 0.0, 0.0, found.variance * members / (members + 1), found.squared_error)

    def first_of_ties(ensemble, observed, seeds):
        return (ensemble < observed[:, None]).sum(1)

    def area_without_ties(forecast, event):
        found = roc(forecast, event)
        yes, no = forecast[event == 1], forecast[event == 0]
        return type(found)(found.false_alarms, found.hits, found.thresholds, float((yes[:, None] > no).double().mean()))

    def uncorrected(probability, event, bins=10, corrected=True):
        return brier_decomposition(probability, event, bins, False)

    def one_sided(values, dimensions=1, spacing=1.0):
        found = power_spectrum(values, dimensions, spacing)
        return type(found)(found.wave_numbers, found.power / 2)

    def ordinary(cases, block, replicates, seeds):
        return block_bootstrap(cases, 1, replicates, seeds)

    def by_moments(maxima):
        found = return_levels(maxima)
        return type(found)("maxima", found.location, found.scale, found.shape + 0.03, 1.0, found.values)

    def per_value(values, threshold, run):
        return decluster(values, threshold, 1)

    assert is_caught(claims.scores_fair_crps, crps, unfair(crps))
    assert is_caught(
        claims.scores_fair_energy,
        energy_score,
        lambda x, y, fair=True, weights=None: energy_score(x, y, False, weights),
    )
    assert is_caught(
        claims.scores_fair_variogram, variogram_score, lambda x, y, order: variogram_score(x, y, order, fair=False)
    )
    assert is_caught(claims.scores_brier_fair, brier_fair, lambda hits, event: (hits.mean(1) - event).square())
    assert is_caught(claims.scores_spread, spread_skill, without_factor)
    assert is_caught(claims.scores_roc, roc, area_without_ties)
    assert is_caught(claims.scores_brier_parts, brier_decomposition, uncorrected)
    assert is_caught(more.scores_ranks, ranks, first_of_ties)
    assert is_caught(more.scores_spectrum, power_spectrum, one_sided)
    assert is_caught(more.scores_blocks, block_bootstrap, ordinary)
    by_moments.__name__ = "return_levels"
    assert is_caught(more.scores_extreme_laws, return_levels, by_moments)
    assert is_caught(more.scores_clusters, decluster, per_value)
