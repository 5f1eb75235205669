"""Scores beside other people's: scoringrules, scikit-learn, SciPy."""

import numpy as np
import pytest
import scoringrules
import torch
from scipy import stats
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from unstir.core.seeds import Seeds
from unstir.scores.brier import brier
from unstir.scores.crps import crps, quantile_score, threshold_weighted_crps
from unstir.scores.energy import energy_score
from unstir.scores.extremes import peaks_over_threshold, return_levels
from unstir.scores.ranks import ranks
from unstir.scores.roc import roc
from unstir.scores.variogram import variogram_score

RNG = np.random.default_rng(0)
ENSEMBLE, OBSERVED = RNG.normal(size=(40, 8, 5)), RNG.normal(size=(40, 5))
TIED = np.maximum(ENSEMBLE.round(), 0), np.maximum(OBSERVED.round(), 0)
CASES = {"distinct": (ENSEMBLE, OBSERVED), "tied": TIED}
ESTIMATORS = {True: "fair", False: "nrg"}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fair", [True, False])
def test_crps(case, fair):
    ensemble, observed = CASES[case]
    theirs = scoringrules.crps_ensemble(observed, ensemble, m_axis=1, estimator=ESTIMATORS[fair])
    np.testing.assert_allclose(crps(ensemble, observed, fair).numpy(), theirs, atol=1e-13)


@pytest.mark.parametrize("fair", [True, False])
@pytest.mark.parametrize(("low", "high"), [(0.3, np.inf), (-0.5, 0.8)])
def test_threshold_weighted_crps(low, high, fair):
    told = threshold_weighted_crps(ENSEMBLE, OBSERVED, low, high, fair).numpy()
    theirs = scoringrules.twcrps_ensemble(OBSERVED, ENSEMBLE, low, high, m_axis=1, estimator=ESTIMATORS[fair])
    np.testing.assert_allclose(told, theirs, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fair", [True, False])
def test_energy_score(case, fair):
    ensemble, observed = CASES[case]
    theirs = scoringrules.es_ensemble(observed, ensemble, m_axis=1, v_axis=2, estimator=ESTIMATORS[fair])
    np.testing.assert_allclose(energy_score(ensemble, observed, fair).numpy(), theirs, atol=1e-13)


@pytest.mark.parametrize("fair", [True, False])
@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
def test_variogram_score(order, fair):
    theirs = scoringrules.vs_ensemble(OBSERVED, ENSEMBLE, m_axis=1, v_axis=2, p=order, estimator=ESTIMATORS[fair])
    np.testing.assert_allclose(variogram_score(ENSEMBLE, OBSERVED, order, fair=fair).numpy(), theirs, rtol=1e-12)


def test_variogram_score_with_weights():
    weights = RNG.uniform(size=(5, 5))
    theirs = scoringrules.vs_ensemble(OBSERVED, ENSEMBLE, weights[None], m_axis=1, v_axis=2, p=0.5, estimator="nrg")
    told = variogram_score(ENSEMBLE, OBSERVED, 0.5, weights, fair=False).numpy()
    np.testing.assert_allclose(told, theirs, rtol=1e-12)


def test_quantile_score_is_twice_the_pinball_loss():
    told = quantile_score(ENSEMBLE[:, 0], OBSERVED, 0.3).numpy()
    np.testing.assert_allclose(told, 2 * scoringrules.quantile_score(OBSERVED, ENSEMBLE[:, 0], 0.3), atol=1e-14)


def test_brier_and_roc():
    probability = RNG.uniform(size=300).round(1)
    event = (RNG.uniform(size=300) < probability).astype(float)
    assert float(brier(probability, event).mean()) == pytest.approx(brier_score_loss(event, probability), abs=1e-14)
    curve = roc(probability, event)
    assert curve.area == pytest.approx(roc_auc_score(event, probability), abs=1e-14)
    alarms, hits, thresholds = roc_curve(event, probability, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_alarms, alarms, atol=1e-14)
    np.testing.assert_allclose(curve.hits, hits, atol=1e-14)
    np.testing.assert_array_equal(curve.thresholds, thresholds)


def test_ranks_without_ties_are_scipys():
    both = np.concatenate((OBSERVED[:, None], ENSEMBLE), 1)
    expected = stats.rankdata(both, axis=1)[:, 0] - 1
    np.testing.assert_array_equal(ranks(ENSEMBLE, OBSERVED, Seeds.range(0, 40)), expected)


@pytest.mark.parametrize("shape", [-0.25, 0.0, 0.3])
def test_laws_of_extremes_are_scipys_maximum_likelihood(shape):
    maxima = stats.genextreme.rvs(-shape, 300.0, 25.0, size=200, random_state=1)
    fit = return_levels(maxima)
    c, location, scale = stats.genextreme.fit(maxima, 0.0, loc=np.median(maxima), scale=np.std(maxima))
    np.testing.assert_allclose([fit.location, fit.scale, fit.shape], [location, scale, -c], rtol=2e-3, atol=1e-3)
    peaks = stats.genpareto.rvs(shape, 10.0, 3.0, size=200, random_state=2)
    fit = peaks_over_threshold(peaks, 10.0, 50.0)
    c, _, scale = stats.genpareto.fit(peaks, 0.0, floc=10.0, scale=np.std(peaks))
    np.testing.assert_allclose([fit.scale, fit.shape, fit.rate], [scale, c, 4.0], rtol=2e-3, atol=1e-3)


def test_far_from_zero_no_digits_are_lost():
    ensemble, observed = torch.from_numpy(ENSEMBLE), torch.from_numpy(OBSERVED)
    for score in (crps, energy_score, variogram_score):
        assert (score(ensemble + 1e6, observed + 1e6) - score(ensemble, observed)).abs().max() < 1e-8
