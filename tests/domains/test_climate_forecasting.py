"""Forecasts by steps: their regression, cases, rollout, rivals, and what a user's file is answered with."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tests.support.mutants import QUICK, is_caught, misses

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import Asked, Judged
from unstir.domains.climate.encoding import restore
from unstir.domains.climate.made.moving_field import MovingField, field_of, moving_field_dataset
from unstir.domains.climate.scaling import Scaling, multiplied
from unstir.domains.climate.task import task_of
from unstir.domains.climate.tasks.forecasting import judging
from unstir.domains.climate.tasks.forecasting.lorenz_rivals import OneScale, fit_one_scale
from unstir.domains.climate.tasks.forecasting.rollout import Stepper, rollout, step_seed
from unstir.domains.climate.tasks.forecasting.stencil import StencilForecast, fit_stencil
from unstir.domains.climate.tasks.forecasting.task import network, predict, process, read_forecast
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.linear_chain import LinearChainDenoiser
from unstir.physics.lorenz import Lorenz96
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.checks import climate_forecasts as checks

xarray = pytest.importorskip("xarray")
SMALL = {"latitudes": 4, "longitudes": 8}
UNASKED = GaussianDenoiser(torch.zeros(1), 1.0, GaussianProcess())


def own_law(data):
    """A draw that adds the regression's error as white noise: no forecast to be proud of, and a quick one."""

    def draw(count, seed=None, condition=None):
        return condition["centre"] + Seeds.range(seed, count).normal(data.shape)

    return draw


def judged(data):
    return Judged(UNASKED, data, None, None, {}, own_law(data), 0, {})


@pytest.fixture(scope="module")
def field():
    return read_forecast({"name": "moving-field", "options": {"count": 900, **SMALL}, "radius": 1, "gap": 3})


# ---- the regression


def test_a_regression_is_least_squares():
    """Against NumPy's, on features put together by hand: two states back, a ring of five places, degree two."""
    drawn = torch.randn(300, 2, 1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target = drawn[:, -1] + 0.3 * drawn[:, 0].roll(1, -1) * drawn[:, -1] + 0.1
    found = fit_stencil([(drawn, target)], np.ones(1), np.full(1, 9.0), (1,), (True,), degree=2, ridge=1e-10)
    single = [np.roll(drawn[:, h, 0].numpy(), -o, 1).ravel() for h in range(2) for o in (-1, 0, 1)]
    pairs = [single[i] * single[j] for i in range(6) for j in range(i, 6)]
    features = np.stack([*single, *pairs, np.ones(1500)], 1)
    wanted = np.linalg.lstsq(features, (target - drawn[:, -1]).numpy().ravel(), rcond=None)[0]
    np.testing.assert_allclose(np.r_[found.weights[0], found.intercept], wanted, atol=1e-6)
    np.testing.assert_allclose(found(drawn).numpy(), target.numpy(), atol=1e-6)
    again = StencilForecast.restored(json.loads(json.dumps(found.record())))
    assert torch.equal(again(drawn), found(drawn))


def test_a_forecast_is_the_same_alone_and_does_not_run_away():
    past = torch.randn(7, 2, 2, 6, generator=torch.Generator().manual_seed(2))
    target = past[:, -1] ** 2
    made = fit_stencil([(past, target)], np.ones(2), np.full(2, 2.0), (1,), (False,), degree=2)
    assert torch.equal(made(past)[3:4], made(past[3:4]))
    far = made(1e3 * past) - 1e3 * past[:, -1]
    assert far.abs().max() < 1e3, "powers of what was never seen stay within what was"


def test_multiplied_states_have_the_multiplied_forecast():
    past = torch.randn(50, 1, 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    made = fit_stencil([(past, past[:, -1].flip(1) ** 2)], np.array([1.0, 2.0]), np.full(2, 9.0), (1,), (True,), 2)
    factors = np.array([3.0, 0.2])
    column = torch.from_numpy(factors)[:, None]
    torch.testing.assert_close(made.multiplied(factors)(past * column), made(past) * column)
    scaling = Scaling(({"method": "sqrt", "exponent": 0.5, "mean": 1.0, "deviation": 2.0}, {"method": "none"}))
    values = torch.rand(4, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(multiplied(scaling, factors).encode(values), scaling.encode(values) * column)
    torch.testing.assert_close(multiplied(scaling, factors).decode(scaling.encode(values) * column), values)


# ---- the field of a known law


def matrix_of(function, law):
    shape = (law.latitudes, law.longitudes)
    size = int(np.prod(shape))
    return np.stack([function(each.reshape(shape)).ravel() for each in np.eye(size)], 1)


def test_the_moving_field_keeps_its_law():
    """With matrices made column by column: the stationary covariance is that of a step on, A S A' + Q, at any lead."""
    law = MovingField(**SMALL, turn=17.0)
    step, root = matrix_of(law.carried, law), matrix_of(lambda x: law.stirred(x, None), law)
    whole = root @ root.T
    for steps in (1, 3):
        carried = np.linalg.matrix_power(step, steps)
        fresh = matrix_of(partial(law.stirred, steps=steps), law)
        np.testing.assert_allclose(carried @ whole @ carried.T + fresh @ fresh.T, whole, atol=1e-9)
        np.testing.assert_allclose(matrix_of(partial(law.carried, steps=steps), law), carried, atol=1e-12)
    assert np.diag(whole).mean() == pytest.approx(25.0)
    # a turn by one place of eight is a shift
    turned = MovingField(**SMALL, turn=45.0, fading=1e-12, spreading=0.0, reach=1.0)
    smooth = law.stirred(np.random.default_rng(0).normal(size=(4, 8)), None)
    smooth = smooth - turned._filtered(smooth, (np.arange(5) == 4)[None])  # all but the shortest wave
    np.testing.assert_allclose(turned.carried(smooth), np.roll(smooth, 1, -1), atol=1e-9)


def test_a_path_of_the_moving_field_has_its_one_step_covariance():
    law = MovingField(latitudes=3, longitudes=4, fading=0.5)
    path = law.run(20_000, seed=3).reshape(20_000, -1)
    step = matrix_of(law.carried, law)
    left = path[1:] - path[:-1] @ step.T
    root = matrix_of(law.stirred, law)
    white = left @ np.linalg.inv(root).T
    # standard errors 1/sqrt(n): six of them, for 12 * 13 / 2 numbers and 12 * 12 with the state before
    assert np.abs(white.T @ white / len(white) - np.eye(12)).max() < 6 * np.sqrt(2 / len(white))
    assert np.abs(white.T @ path[:-1] / len(white)).max() < 6 * 5.5 / np.sqrt(len(white))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"latitude": 5}, "did you mean 'latitudes'"),
        ({"latitudes": 1}, "at least 2"),
        ({"longitudes": True}, "whole number"),
        ({"fading": 0.0}, "positive"),
        ({"spreading": -1.0}, "at least 0"),
    ],
)
def test_a_moving_field_that_is_none(options, said):
    with pytest.raises(InputError, match=said):
        field_of(options)
    with pytest.raises(InputError, match="at least 2"):
        moving_field_dataset(count=1)


# ---- cases


def test_cases_hold_what_was_before(field):
    dataset = moving_field_dataset(count=200, **SMALL)
    data = read_forecast({"name": "moving-field", "options": {"count": 200, **SMALL}, "radius": 1, "step": 3})
    values = dataset["temperature"].values
    rows = np.array([4, 0])
    np.testing.assert_allclose(data.cases.target(rows)[:, 0], values[rows + 6])
    past = data.encoding.decode(data.cases.past(rows).flatten(0, 1)).reshape(2, 2, 4, 8)
    np.testing.assert_allclose(past, np.stack((values[rows], values[rows + 3]), 1), atol=1e-4)
    assert (data.cases.times[rows] == dataset["time"].values[rows + 6]).all()
    assert len(data.test) and data.test.cases.times[0] > data.cases.times[-1]
    state, condition = field.batch(np.arange(len(field)))
    assert (state - condition["centre"]).square().mean().sqrt() == pytest.approx(1.0, abs=0.01)
    assert condition["given"].shape[1] == field.conditions["given"]["channels"] == 3  # two states and the latitude
    # the season is the target's: harmonics of the day of the year
    day = (field.cases.times - field.cases.times.astype("datetime64[Y]")) / np.timedelta64(1, "D")
    np.testing.assert_allclose(condition["clock"][:, 0], np.cos(2 * np.pi * day / 365.2425), atol=1e-5)


def test_a_kept_run_knows_its_steps_again(field):
    kept = restore(json.loads(json.dumps(field.encoding.record())))
    stepper = Stepper.restored(kept.memory["stepper"])
    past = field.cases.past(np.arange(3))
    told = stepper.condition(past, field.cases.times[:3])
    for name, values in field.cases.stepper.condition(past, field.cases.times[:3]).items():
        assert torch.equal(told[name], values), name


def test_what_is_proposed(field):
    assert network(field) == {"name": "unet", "widths": [32], "periodic": [1]}
    # sampling starts about zero: at the end of time nothing may be left of the centre
    assert process(field)["schedule"] == {"name": "cosine"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"histroy": 2}, "did you mean 'history'"),
        ({"history": 0}, "at least 1"),
        ({"step": 1.5}, "whole number"),
        ({"centre": "mean"}, "centre of the belief"),
        ({"degree": 5}, "one of 1, 2, 3"),
        ({"degree": 3, "history": 9}, "lower data.degree"),
        ({"clock": ["week"]}, "season"),
        ({"history": 400}, "shorter length"),
    ],
)
def test_options_that_are_none(options, said):
    with pytest.raises(InputError, match=said):
        read_forecast({"name": "moving-field", "options": {"count": 300, **SMALL}, **options})


def test_plain_numbers_know_no_season():
    with pytest.raises(InputError, match="without a calendar"):
        read_forecast({"name": "lorenz-96", "options": {"count": 60, "variables": 5}, "clock": ["season"]})


# ---- steps


def test_members_are_the_same_whichever_leads_and_cases_stand_beside_them(field):
    stepper, draw = field.cases.stepper, own_law(field)
    past = field.cases.past(np.array([5, 90, 200]))
    times = field.cases.times[[5, 90, 200]]

    def when(rows):
        return lambda steps: times[rows] + steps * np.timedelta64(1, "D")

    whole = rollout(draw, stepper, past, when(slice(None)), [1, 2, 4], 3, 7)
    few = rollout(draw, stepper, past[:1], when(slice(1)), [2], 3, 7)
    assert whole.shape == (3, 3, 3, 1, 4, 8) and torch.equal(few[0, :, 0], whole[0, :, 1])
    more = rollout(draw, stepper, past[:1], when(slice(1)), [4], 5, 7)
    assert torch.equal(more[0, :3, 0], whole[0, :, 2])
    assert len({step_seed(seed, step) for seed in range(20) for step in range(20)}) == 400
    for leads in ([], [0, 1], [2, 2]):
        with pytest.raises(InputError, match="rising numbers"):
            rollout(draw, stepper, past, when(slice(None)), leads, 3, 7)
    with pytest.raises(InputError, match="last 2 states"):
        stepper.condition(past[:, :1], times)


def test_what_is_never_there_stays_away(field):
    missing = torch.zeros(1, 4, 8, dtype=torch.bool)
    missing[0, 1, 2] = True
    stepper, seen = replace(field.cases.stepper, missing=missing), []

    def draw(count, seed, condition):
        seen.append(condition)
        return own_law(field)(count, seed, condition)

    past = field.cases.past(np.arange(2)).masked_fill(missing, torch.nan)
    found = rollout(draw, stepper, past, lambda steps: field.cases.times[:2], [1, 3], 2, 0)
    assert torch.equal(found.isnan(), missing.expand(2, 2, 2, 1, 4, 8))
    assert all(torch.equal(each["mask"][0], ~missing) and each["given"].isfinite().all() for each in seen)


class Forgetful(Stepper):
    """A stepper that believes every step to be the first one's, with half of what the last state told."""

    def condition(self, past, when):
        return super().condition(past * 0.9, when)


def test_a_step_that_forgets_is_caught(monkeypatch):
    check = checks.forecasts_by_steps_have_the_chains_law
    subject = LinearChainDenoiser.examples()["a turn, encoded"]
    assert not misses(check, subject)
    right = checks.stepper_of
    monkeypatch.setattr(checks, "stepper_of", lambda chain: Forgetful(**vars(right(chain))))
    assert is_caught(check, None, subject)
    monkeypatch.setattr(checks, "stepper_of", right)
    # members that share their draws over the leads have the right law at each lead and the wrong one together
    made = checks.drawn_by
    one = lambda *given: lambda count, seed, condition: made(*given)(count, 5, condition)  # noqa: E731
    monkeypatch.setattr(checks, "drawn_by", one)
    assert is_caught(check, None, subject)
    assert QUICK.quick


# ---- rivals


def test_a_one_scale_model_is_found_again():
    """From data of its own kind: the polynomial's values, the noise's memory and deviation."""
    ring, truth = Lorenz96(8, 10.0), np.array([0.5, 4.0, -1.0, 0.5, 0.2])
    model = OneScale(ring, 0.05, truth, 0.6, 1.0)
    start = ring.simulate(ring.start(Seeds.range(0, 40)), [0.0, 5.0])[:, -1].numpy()
    path = model.forecast(np.stack((start, model.step(start)), 1), 60, 1, seed=1)[:, 0]
    triples = np.concatenate([path[:, place : place + 3] for place in range(20, 57)])
    found = fit_one_scale(triples, ring, 0.05)
    x = np.linspace(-3, 8, 30) / 10
    values = np.polynomial.polynomial.polyval
    np.testing.assert_allclose(values(x, found.polynomial), values(x, truth), atol=0.15)
    # 1480 steps of eight numbers: standard errors of about 0.01
    assert found.memory == pytest.approx(0.6, abs=0.05) and found.deviation == pytest.approx(1.0, abs=0.05)
    alike = model.forecast(path[:3, :2], 4, 5, seed=0)
    assert alike.shape == (3, 5, 4, 8) and alike.std(1)[:, 0].min() > 0
    assert model.forecast(path[:3, :2], 4, 2, seed=0, stochastic=False).std(1).max() == 0


def test_the_regression_reaches_the_exact_law_of_a_linear_field(field):
    """On the moving field a vector autoregression knows all but its weights' errors; nothing beats the exact draws."""
    told = {**judging.OPTIONS, "cases": 60, "members": 12, "leads": [1, 4]}
    made = judging.forecasts_of(judged(field), told)
    assert list(made.ensembles) == ["model", "persistence", "climatology", "linear", "exact"]
    assert made.exact == "exact" and made.lead_unit == "days" and made.leads.tolist() == [1.0, 4.0]
    dataset = moving_field_dataset(count=900, **SMALL)
    for case in (0, 31):
        place = int(np.flatnonzero(dataset["time"].values == made.starts[case])[0])
        for lead, ahead in enumerate((1, 4)):
            np.testing.assert_allclose(made.observed[case, lead, 0], dataset["temperature"].values[place + ahead])
    error = {name: (each.mean(1) - made.observed).square().mean((0, 2, 3, 4)) for name, each in made.ensembles.items()}
    spread = {name: each.var(1).mean((0, 2, 3, 4)) for name, each in made.ensembles.items() if each.shape[1] > 1}
    for name in ("linear", "exact"):
        ratio = (13 / 12 * spread[name] / error[name]).sqrt()
        assert (ratio - 1).abs().max() < 0.12, (name, ratio)
    assert (error["linear"] / error["exact"]).max() < 1.15
    assert (error["exact"] < error["climatology"]).all() and (error["exact"] < error["persistence"]).all()
    assert made.ensembles["persistence"].shape[1] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cases": 0}, "cases is a whole number"),
        ({"members": 1.5}, "members is a whole number"),
        ({"leads": [3, 2]}, "rising numbers"),
        ({"leads": [500]}, "shorter length"),
        ({"rivals": ["persistance"]}, "did you mean 'persistence'"),
    ],
)
def test_judging_that_cannot_be(field, options, said):
    told = {**judging.OPTIONS, "cases": 5, "members": 2, "leads": [1], **options}
    with pytest.raises(InputError, match=said):
        judging.forecasts_of(judged(field), told)
    with pytest.raises(InputError, match="held_out"):
        judging.starts_of(None, told, 0)


# ---- a file of one's own


def asked(data, path, **options):
    return Asked(UNASKED, data.encoding, path, own_law(data), members=4, seed=3, options=options)


def test_a_file_is_answered_with_an_ensemble(field, tmp_path):
    dataset = moving_field_dataset(count=12, seed=5, **SMALL)
    dataset.to_netcdf(tmp_path / "now.nc", engine="h5netcdf")
    found = predict(asked(field, tmp_path / "now.nc", leads=3))
    temperature = found["temperature"]
    assert dict(temperature.sizes) == {"time": 1, "member": 4, "lead": 3, "latitude": 4, "longitude": 8}
    assert temperature.attrs["units"] == "K" and temperature.attrs["long_name"] == "temperature"
    assert found["time"].values[0] == dataset["time"].values[-1]
    assert found["lead"].values.tolist() == [1, 2, 3] and found["lead"].attrs["units"] == "days"
    np.testing.assert_array_equal(found["longitude"], dataset["longitude"])
    # by hand: encoded, stepped, decoded
    stepper, values = field.cases.stepper, dataset["temperature"].values[-2:, None].astype(np.float64)
    past = field.encoding.encode(values)[None]
    after = dataset["time"].values[-1:]
    ahead = rollout(own_law(field), stepper, past, lambda k: after + k * np.timedelta64(1, "D"), [1, 2, 3], 4, 3)
    wanted = field.encoding.decode(ahead.flatten(0, 2)).reshape(4, 3, 4, 8)
    np.testing.assert_allclose(temperature.transpose("time", "member", "lead", ...).values[0], wanted, rtol=1e-6)


def test_files_that_are_of_another_kind(field, tmp_path):
    good = moving_field_dataset(count=12, **SMALL)
    hourly = good["time"].values[0] + np.arange(12) * np.timedelta64(6, "h")
    files = {
        "did you mean 'temprature'": good.rename(temperature="temprature"),
        "bring the file to that grid": moving_field_dataset(count=12, latitudes=4, longitudes=12),
        "coordinate 'latitude' is another": good.assign_coords(latitude=good["latitude"] * 0.5),
        "give states as far apart": good.assign_coords(time=hourly),
        "starts from 2 time": good.isel(time=[3]),
    }  # fmt: skip
    for number, (said, dataset) in enumerate(files.items()):
        dataset.to_netcdf(tmp_path / f"{number}.nc", engine="h5netcdf")
        with pytest.raises(InputError, match=said):
            predict(asked(field, tmp_path / f"{number}.nc"))
    good.to_netcdf(tmp_path / "good.nc", engine="h5netcdf")
    for options, said in (({"lead": 3}, "did you mean 'leads'"), ({"leads": 0}, "at least 1")):
        with pytest.raises(InputError, match=said):
            predict(asked(field, tmp_path / "good.nc", **options))
    assert task_of("forecast").predict is predict
