"""Forecasts judged: what each measure is of, who stands beside it, and what bad input is told."""

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.domains.climate import forecast_figures
from unstir.domains.climate.forecasts import Forecasts
from unstir.domains.climate.judging import judge_forecasts
from unstir.domains.climate.layout import Axis, Layout, Quantity
from unstir.scores.crps import crps

CASES, LEADS = 300, 2


def forecasts(channels=1, places=(), missing=False, factor=1.0, block=3):
    """A truth that is known but for noise of deviation 0.5; the model draws of that law, one rival too sure of it."""
    generator = torch.Generator().manual_seed(7)
    axes = tuple(Axis("latitude", tuple(np.linspace(-60.0, 60.0, size))) for size in places)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = (LEADS, channels, *places)
    known = normal(CASES, *shape)
    observed = known + 0.5 * normal(CASES, *shape)
    ensembles = {
        "model": known[:, None] + 0.5 * normal(CASES, 20, *shape),
        "too sure": known[:, None] + 0.2 * normal(CASES, 10, *shape),
        "single": known[:, None].clone(),
        "law": known[:, None] + 0.5 * normal(CASES, 50, *shape),
    }
    climate = (1.25**0.5) * normal(2000, channels, *places)
    if missing:
        observed[::4] = torch.nan
    scale = torch.tensor([factor] + [1.0] * (channels - 1), dtype=torch.float64)
    by_channel = scale.reshape(-1, *(1,) * len(places))
    return Forecasts(
        {name: each * by_channel for name, each in ensembles.items()},
        observed * by_channel,
        np.arange(CASES),
        np.array([1.0, 2.0]),
        "days",
        Layout(tuple(Quantity(f"v{number}", "K") for number in range(channels)), axes),
        climate * by_channel,
        block=block,
        exact="law",
    )


def judged(told, **options):
    """The measures by name, without the figures, which take longer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecast_figures, "figures_of", lambda *_: ())
        return _judged(told, **options)


def _judged(told, **options):
    return {result.metric: result for result in judge_forecasts(told, seed=0, options=options).results}


def test_the_measures_are_those_of_the_law():
    told = forecasts()
    found = judged(told)
    # CRPS of a normal law for its own draws: deviation over the root of pi; fair scores have that mean
    error = crps(told.ensembles["model"], told.observed).mean((1, 2)).std() / CASES**0.5
    assert abs(found["crps"].value - 0.5 / np.pi**0.5) < 5.5 * error
    assert abs(found["crps"].floor["value"] - 0.5 / np.pi**0.5) < 5.5 * error
    assert found["crps"].floor["of"] == "the exact law" and "law" not in found["crps"].baselines
    assert abs(found["spread-skill"].value - 1) < 5.5 * (1 / (2 * CASES * LEADS)) ** 0.5
    assert abs(found["spread-skill"].baselines["too sure"] - 0.4 * (11 / 10) ** 0.5 / 1.004**0.5) < 0.05
    assert "single" not in found["spread-skill"].baselines and "single" in found["crps"].baselines
    assert found["rmse"].value == pytest.approx(0.5 * (21 / 20) ** 0.5, abs=5.5 * 0.5 / (2 * CASES * LEADS) ** 0.5)
    low, high = found["ranks"].floor["interval"]
    assert found["ranks"].value < 1.5 * high and found["ranks"].baselines["too sure"] > 3 * high
    assert found["roc"].value > 0.9 and low >= 0
    assert all(result.interval[0] <= result.value <= result.interval[1] for result in found.values())


def test_several_channels_are_judged_in_deviations_of_their_climate():
    plain, scaled = judged(forecasts(2)), judged(forecasts(2, factor=1000.0))
    assert plain["crps"].unit == "climatological deviations"
    for name in plain:
        assert scaled[name].value == pytest.approx(plain[name].value, rel=1e-9), name


def test_what_was_not_observed_counts_for_nothing():
    told = forecasts(missing=True)
    kept = np.arange(CASES) % 4 != 0
    less = Forecasts(
        {name: each[kept] for name, each in told.ensembles.items()},
        told.observed[kept],
        told.starts[kept],
        told.leads,
        told.lead_unit,
        told.layout,
        told.climatology,
        exact="law",
    )
    whole, part = judged(told), judged(less)
    for name in ("crps", "spread-skill", "rmse", "brier"):
        assert whole[name].value == pytest.approx(part[name].value, rel=1e-9), name


def test_places_count_by_their_area():
    told = forecasts(places=(5,))
    found = judged(told)
    weights = torch.from_numpy(told.layout.weights())
    by_hand = (crps(told.ensembles["model"], told.observed) * weights).mean()
    assert found["crps"].value == pytest.approx(float(by_hand), rel=1e-9)
    assert {"energy-score", "variogram-score"} <= set(found)


def test_figures_and_remarks_tell_what_was_compared():
    judgement = judge_forecasts(forecasts(), seed=0)
    assert "model (20), too sure (10), single (1)" in judgement.remarks[0]
    names = [figure.name for figure in judgement.figures]
    assert len(set(names)) == len(names) and all(figure.svg.startswith("<?xml") for figure in judgement.figures)
    assert {"rank-histogram", "reliability", "scorecard"} <= set(names)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"quantil": 0.9}, "did you mean 'quantile'"), ({"quantile": 1.5}, "between 0 and 1")],
)
def test_bad_options_are_told(options, said):
    with pytest.raises(InputError, match=said):
        judge_forecasts(forecasts(), seed=0, options=options)


def test_nothing_observed_is_told():
    told = forecasts()
    told.observed[:] = torch.nan
    with pytest.raises(InputError, match="no observation"):
        judge_forecasts(told, seed=0)
