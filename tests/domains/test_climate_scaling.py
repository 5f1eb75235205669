"""Scalings: there and back, gradients, missing values, fits by chunks against NumPy's, bounds, bad values."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.climate.layout import Quantity
from unstir.domains.climate.scaling import METHODS, Scaling, fit_scaling, methods_for

ALL = [
    *METHODS,
    {"method": "power", "exponent": 0.3},
    {"method": "log", "scale": 2.0},
    {"method": "sqrt", "per": "place"},
]


def rain(count=2000, places=3):
    """Half zeros, half gamma; one value missing."""
    generator = Seeds.range(0, 1).at("rain").generator()
    values = np.maximum(generator.gamma(0.5, 8, (count, 2, places)) - 1.5, 0)
    values[3, 1, 0] = np.nan
    return values


@pytest.mark.parametrize("method", ALL, ids=str)
@given(
    st.lists(st.floats(0, 1e4), min_size=1, max_size=20),
    st.lists(st.floats(-4, 4), min_size=1, max_size=20),
)
@settings(max_examples=25)
def test_there_and_back(method, values, states):
    scaling = fit_scaling([rain(places=1)], method)
    state = torch.tensor(values, dtype=torch.float64)[:, None, None].expand(-1, 2, 1)
    torch.testing.assert_close(scaling.decode(scaling.encode(state)), state, rtol=1e-10, atol=1e-10)
    # without a bound the way back and there is the same too
    unbounded = Scaling(tuple({**each, "censored": None} for each in scaling.channels))
    state = torch.tensor(states, dtype=torch.float64)[:, None, None].expand(-1, 2, 1)
    torch.testing.assert_close(unbounded.encode(unbounded.decode(state)), state, rtol=1e-9, atol=1e-9)
    assert (scaling.decode(state) >= (0 if method not in ("standard", "none") else -np.inf)).all()


@pytest.mark.parametrize("method", ALL, ids=str)
def test_rises_keeps_missing_values_and_has_finite_gradients(method):
    scaling = fit_scaling([rain()], method)
    line = torch.linspace(-20, 200, 500, dtype=torch.float64)[:, None, None].expand(-1, 2, 3)
    assert (scaling.encode(line).diff(dim=0) > 0).all()
    values = torch.from_numpy(rain()[:20]).requires_grad_()
    encoded = scaling.encode(values)
    assert torch.equal(encoded.isnan(), values.isnan())
    encoded.nansum().backward()
    assert values.grad.isfinite().all()  # at zero, too, where roots are steep
    state = torch.linspace(-3, 3, 42, dtype=torch.float64).reshape(7, 2, 3).requires_grad_()
    scaling.decode(state).sum().backward()
    assert state.grad.isfinite().all()


@pytest.mark.parametrize("method", ALL, ids=str)
def test_restored_from_json_and_in_float32(method):
    scaling = fit_scaling([rain()], method)
    restored = Scaling(tuple(json.loads(json.dumps(scaling.record()))))
    values = torch.from_numpy(rain()[10:40])
    assert torch.equal(restored.encode(values), scaling.encode(values))
    single = scaling.encode(values.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), scaling.encode(values), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["standard", "sqrt", {"method": "log", "scale": 2.0}], ids=str)
def test_moments_of_chunks_are_those_of_the_whole(method):
    values = rain() + 0.0
    whole = fit_scaling([values], method)
    pieces = fit_scaling([values[:3], values[3:500], values[500:]], method)
    encoded = whole.encode(torch.from_numpy(values)).numpy()
    for place in range(2):
        assert np.nanmean(encoded[:, place]) == pytest.approx(0, abs=1e-12)
        assert np.nanstd(encoded[:, place]) == pytest.approx(1, rel=1e-12)
        assert pieces.channels[place]["mean"] == pytest.approx(whole.channels[place]["mean"], rel=1e-12)
        assert pieces.channels[place]["deviation"] == pytest.approx(whole.channels[place]["deviation"], rel=1e-12)


def test_a_large_mean_costs_no_digits():
    values = 1e6 + Seeds.range(1, 1000).normal((1,), torch.float64).numpy()
    found = fit_scaling([values[:10], values[10:]], "standard").channels[0]
    assert found["deviation"] == pytest.approx(values.std(), rel=1e-9)


def test_each_place_has_its_own_statistics_and_a_constant_one_those_of_the_others():
    values = Seeds.range(2, 500).normal((1, 4), torch.float64).numpy() * np.array([1.0, 5.0, 0.0, 2.0])
    values = values + np.array([0.0, 100.0, 7.0, -3.0])
    values[:, 0, 3] = np.nan
    found = fit_scaling([values[:100], values[100:]], {"method": "standard", "per": "place"})
    assert found.channels[0]["mean"][:3] == pytest.approx(values.mean(0)[0, :3], rel=1e-12)
    assert found.channels[0]["deviation"][:2] == pytest.approx(values.std(0)[0, :2], rel=1e-12)
    encoded = found.encode(torch.from_numpy(values))
    assert (encoded[:, 0, 2] == 0).all()
    assert encoded[:, 0, 3].isnan().all()


def test_quantiles_lead_to_the_normal_law_and_go_on_beyond_the_data():
    values = Seeds.range(3, 20_000).normal((1,), torch.float64).exp().numpy()
    scaling = fit_scaling([values], "quantile")
    encoded = scaling.encode(torch.from_numpy(values)).ravel()
    # normal scores of 20,000 draws: mean 0, deviation 1 but for 256 knots; the third moment of the draws was 6 or so
    assert abs(float(encoded.mean())) < 0.01
    assert float(encoded.std()) == pytest.approx(1, abs=0.01)
    assert abs(float((encoded**3).mean())) < 0.05
    far = torch.tensor([[1e4], [1e5]], dtype=torch.float64)
    assert scaling.decode(scaling.encode(far)) == pytest.approx(far)
    # beyond the last value the slope is that of a normal law of the data's deviation
    first, second = scaling.encode(far).ravel()
    assert float(second - first) == pytest.approx(9e4 / values.std(), rel=0.02)


def test_a_sample_stands_for_more_values_than_are_kept():
    generator = Seeds.range(4, 1).generator()
    chunks = [generator.exponential(2.0, (50_000, 1)) for _ in range(8)]
    scaling = fit_scaling(chunks, "quantile")
    median = scaling.decode(torch.zeros(1, 1, dtype=torch.float64))
    # of about 100,000 kept values the median has the error 2 / sqrt(100,000) = 0.0063
    assert float(median) == pytest.approx(2 * np.log(2), abs=6 * 0.0078)
    assert fit_scaling(chunks, "quantile").record() == scaling.record()


def test_what_is_dry_stays_dry():
    values = rain()
    for method in ("sqrt", "power", "log", "quantile"):
        scaling = fit_scaling([values], method)
        assert scaling.channels[0]["censored"] == 0
        assert (scaling.decode(torch.full((1, 2, 3), -5.0)) == 0).all()
        assert "censored" not in fit_scaling([values - 1], method).channels[0]
        assert fit_scaling([values], {"method": method, "censored": None}).decode(torch.full((1, 2, 3), -5.0)).max() < 0
    assert "censored" not in fit_scaling([values], "standard").channels[0]
    told = fit_scaling([values - 1], {"method": "standard", "censored": "low"})
    assert told.channels[0]["censored"] == -1


def test_methods_by_variable_and_level():
    quantities = [Quantity("rain"), Quantity("z", level=500.0), Quantity("z", level=850.0)]
    found = methods_for({"rain": "sqrt", "z 850": "none"}, quantities)
    assert [each["method"] for each in found] == ["sqrt", "standard", "none"]
    assert [each["method"] for each in methods_for({"method": "log"}, quantities)] == ["log"] * 3
    with pytest.raises(InputError, match="did you mean 'rain'"):
        methods_for({"rian": "sqrt"}, quantities)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("squareroot", "did you mean"),
        ({"method": "power", "exponent": -1}, "a positive number"),
        ({"method": "power", "exponents": 0.3}, "did you mean 'exponent'"),
        ({"method": "standard", "per": "month"}, "allowed is place"),
        ({"method": "quantile", "per": "place"}, "option of the transform"),
        ({"method": "sqrt", "censored": "zero"}, "a number, 'low' or null"),
        (["sqrt"], "1 transform"),
    ],
)
def test_methods_that_are_none(methods, message):
    with pytest.raises(InputError, match=message):
        fit_scaling([rain()], methods)


def test_values_that_cannot_be_scaled():
    for method in ("standard", "quantile", "log"):
        with pytest.raises(InputError, match="are the same"):
            fit_scaling([np.full((10, 1), 3.0)], method)
        with pytest.raises(InputError, match="no value of it"):
            fit_scaling([np.full((10, 1), np.nan)], method)
    with pytest.raises(InputError, match="infinite"):
        fit_scaling([np.array([[1.0], [np.inf]])], "standard")
    with pytest.raises(InputError, match="no values"):
        fit_scaling([], "standard")
    with pytest.raises(InputError, match="2 channels"):
        fit_scaling([rain()], "standard").encode(torch.zeros(4, 3, 3))
