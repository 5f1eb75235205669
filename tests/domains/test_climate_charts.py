"""Charts of forecasts: they draw what they are given, whatever is missing, and refuse what does not fit."""

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.climate import charts_ensembles, charts_maps, charts_scores
from unstir.scores.bootstrap import block_bootstrap, skill_score
from unstir.scores.extremes import return_levels
from unstir.scores.reliability import reliability_curve
from unstir.scores.roc import roc

RNG = np.random.default_rng(0)
LEADS = np.arange(1, 5)
ENSEMBLES, OBSERVED = RNG.normal(size=(3, 6, 4)), RNG.normal(size=(3, 4))
PLACE = {"quantity": "temperature", "unit": "K"}
FIELD, MEMBERS = RNG.normal(size=(6, 8)), RNG.normal(size=(3, 6, 8))
ROWS, COLUMNS = np.linspace(50, 30, 6), np.linspace(350, 364, 8)


def holed(values):
    values = values.copy()
    values[0, 1] = np.nan
    return values


def some_skills(count):
    weights = block_bootstrap(30, 3, 50, Seeds.range(0, 1))
    better, worse = RNG.uniform(size=(2, 30, count))
    return [skill_score(better[:, lead], worse[:, lead] + 0.5, weights) for lead in range(count)]


def chances():
    p = RNG.uniform(size=200)
    return torch.from_numpy(p), torch.from_numpy((RNG.uniform(size=200) < p).astype(float))


DRAWN = {
    "meteogram": lambda: charts_ensembles.meteogram(ENSEMBLES, holed(OBSERVED), LEADS, lead_name="days", **PLACE),
    "meteogram of one member": lambda: charts_ensembles.meteogram(
        ENSEMBLES[:, :1], OBSERVED, LEADS, lead_name="days", **PLACE
    ),
    "rank histogram": lambda: charts_ensembles.rank_histogram({"model": (RNG.integers(-1, 7, 300), 6)}),
    "reliability": lambda: charts_ensembles.reliability_diagram(
        {name: reliability_curve(*chances(), Seeds.range(0, 1)) for name in "abcd"}, "rain"
    ),
    "roc": lambda: charts_ensembles.roc_chart({"model": roc(*chances())}, "rain"),
    "score by lead": lambda: charts_scores.score_by_lead(
        {"model": (LEADS, LEADS - 0.1, LEADS + 0.1), "other": (LEADS, None, None)},
        LEADS,
        score="CRPS",
        unit="K",
        lead_name="days",
    ),
    "score of one lead": lambda: charts_scores.score_by_lead(
        {"model": ([1.0], [0.9], [1.2])}, [0], score="CRPS", unit="K", lead_name=""
    ),
    "spread and skill": lambda: charts_scores.spread_skill_by_lead(
        {"model": (LEADS, LEADS + 0.1)}, LEADS, unit="K", lead_name="days"
    ),
    "scorecard": lambda: charts_scores.scorecard(
        {"a": {"CRPS": some_skills(4), "Brier": some_skills(4)}, "b": {"CRPS": some_skills(4)}}, LEADS, lead_name="days"
    ),
    "maps": lambda: charts_maps.maps(holed(FIELD), MEMBERS, ROWS, COLUMNS, **PLACE),
    "maps of one member": lambda: charts_maps.maps(FIELD, MEMBERS[:1], ROWS, COLUMNS, names=("y", "x"), **PLACE),
    "spectrum": lambda: charts_maps.spectrum_chart(LEADS, {"model": LEADS**-2.0}, LEADS**-2.0, unit="K"),
    "return levels": lambda: charts_maps.return_level_chart(
        {"observed": return_levels(RNG.gumbel(size=40)), "generated": return_levels(RNG.gumbel(size=90))},
        Seeds.range(0, 1),
        replicates=5,
        **PLACE,
    ),
    "events": lambda: charts_maps.event_histogram({"observed": holed(FIELD), "generated": MEMBERS}, 1.0, **PLACE),
}


@pytest.mark.parametrize("name", DRAWN)
def test_charts_are_whole_documents(name):
    figure = DRAWN[name]()
    assert figure.svg.lstrip().startswith("<?xml") and figure.svg.rstrip().endswith("</svg>")
    assert "nan" not in figure.svg.lower().split("<path", 1)[1]
    assert figure.title and figure.seen.endswith(".") and figure.judged.endswith(".")


REFUSED = {
    "a plume needs": lambda: charts_ensembles.meteogram(ENSEMBLES, OBSERVED[:2], LEADS, lead_name="", **PLACE),
    "no rank of 'model'": lambda: charts_ensembles.rank_histogram({"model": (np.full(5, -1), 6)}),
    "for 4 leads": lambda: charts_scores.score_by_lead(
        {"a": ([1.0], None, None)}, LEADS, score="", unit="", lead_name=""
    ),
    "has 3 skills for 4 leads": lambda: charts_scores.scorecard({"a": {"CRPS": some_skills(3)}}, LEADS, lead_name=""),
    "maps need": lambda: charts_maps.maps(FIELD.T, MEMBERS, ROWS, COLUMNS, **PLACE),
    "wave numbers": lambda: charts_maps.spectrum_chart(LEADS, {"a": LEADS[:2]}, LEADS, unit="K"),
    "a finite value of each": lambda: charts_maps.event_histogram({"a": [np.nan]}, 1.0, **PLACE),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused(message):
    with pytest.raises(InputError, match=message):
        REFUSED[message]()


def test_coastlines_are_drawn_the_way_longitudes_are_counted(monkeypatch):
    coast = np.array([[-9.0, 31.0], [-5.0, 40.0], [0.5, 49.0]])  # on a map from 350 to 364 degrees
    plain = charts_maps.maps(FIELD, MEMBERS, ROWS, COLUMNS, **PLACE).svg
    monkeypatch.setattr(charts_maps, "coastlines", lambda: (coast,))
    assert len(charts_maps.maps(FIELD, MEMBERS, ROWS, COLUMNS, **PLACE).svg) > len(plain)
    assert len(charts_maps.maps(FIELD, MEMBERS, ROWS, COLUMNS - 180, **PLACE).svg) == pytest.approx(
        len(plain), rel=0.02
    )
