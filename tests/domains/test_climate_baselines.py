"""Climatology, persistence and the season."""

import cftime
import numpy as np
import pytest
import torch
from scipy import stats

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.climate.baselines import climatology_ensemble, persistence, season_of

DAYS = np.datetime64("2000-01-01") + np.arange(3 * 365)


def test_the_season_runs_from_new_year_to_new_year_in_every_calendar():
    found = season_of(np.array(["2001-01-01", "2001-07-02T12", "2004-12-31"], dtype="datetime64[h]"))
    assert np.allclose(found, [0, 0.5, 365 / 366])
    assert np.allclose(season_of(np.array([cftime.Datetime360Day(1999, 7, 1)])), [0.5])
    with pytest.raises(InputError, match="no season"):
        season_of(np.arange(3.0))


def test_members_are_past_values_of_the_season_none_twice():
    at = np.array(["2010-01-02", "2010-07-01"], dtype="datetime64[D]")
    values = torch.arange(len(DAYS), dtype=torch.float64)
    found = climatology_ensemble(values, DAYS, at, 40, Seeds.range(0, 2), window_days=10)
    assert found.shape == (2, 40)
    for case, when in enumerate((1 / 365, 181 / 365)):
        seasons = season_of(DAYS[found[case].long().numpy()])
        away = np.abs(seasons - when)
        assert (np.minimum(away, 1 - away) * 365.25 < 10.6).all()
        assert len(found[case].unique()) == 40
    years = DAYS[found[0].long().numpy()].astype("datetime64[Y]")
    assert len(np.unique(years)) == 3, "around the turn of the year as well"


def test_every_value_is_as_likely_as_any_other():
    values = torch.arange(17, dtype=torch.float64)
    times, at = np.arange(17), np.zeros(6000)
    found = climatology_ensemble(values, times, at, 5, Seeds.range(3, 6000))
    assert stats.chisquare(np.bincount(found.flatten().long())).pvalue > 1e-6
    # and any two members of a case are a pair of different values
    pairs = found[:, :2].long().numpy()
    assert (pairs[:, 0] != pairs[:, 1]).all()
    counts = np.bincount(pairs[:, 0] * 17 + pairs[:, 1], minlength=289).reshape(17, 17)
    assert stats.chisquare(counts[~np.eye(17, dtype=bool)]).pvalue > 1e-6


def test_a_case_is_the_same_alone_and_among_others_and_unknown_values_are_not_drawn():
    values = torch.arange(60.0).reshape(30, 2)
    values[5] = torch.nan
    together = climatology_ensemble(values, np.arange(30), np.zeros(8), 29, Seeds.range(1, 8))
    alone = climatology_ensemble(values, np.arange(30), np.zeros(1), 29, Seeds(1, torch.tensor([6])))
    assert torch.equal(together[6:7], alone)
    assert not together.isnan().any()


def test_persistence_keeps_the_last_value():
    values, times = torch.tensor([1.0, 2.0, 4.0]), np.array([0, 1, 2])
    found = persistence(values, times, np.array([-1, 1, 9]), 3)
    assert found.shape == (3, 1, 3)
    assert found[0].isnan().all()
    assert found[1:, 0].tolist() == [[2.0] * 3, [4.0] * 3]
    assert persistence(values, times, np.array([1]), 1, strictly=True).item() == 1.0


def test_bad_input_is_refused_in_words():
    values = torch.zeros(len(DAYS))
    with pytest.raises(InputError, match="at least 1 member"):
        climatology_ensemble(values, DAYS, DAYS[:1], 0, Seeds.range(0, 1))
    with pytest.raises(InputError, match="2 seeds for 1 cases"):
        climatology_ensemble(values, DAYS, DAYS[:1], 3, Seeds.range(0, 2))
    with pytest.raises(InputError, match="widen the window"):
        climatology_ensemble(values[:5], DAYS[:5], DAYS[200:201], 3, Seeds.range(0, 1), window_days=5)
