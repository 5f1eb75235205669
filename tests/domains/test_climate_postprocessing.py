"""Post-processing: what is paired with what, what is told, and what comes back."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.domains.base import Asked, Judged
from unstir.domains.climate.encoding import restore
from unstir.domains.climate.forecasts import MODEL
from unstir.domains.climate.tasks.post_processing.judging import JUDGING, forecasts_of
from unstir.domains.climate.tasks.post_processing.task import predict_post_process, read_post_process
from unstir.processes.gaussian import GaussianProcess

_STILL = NetworkDenoiser(None, GaussianProcess())  # what is drawn here needs no network
STATION = {"name": "station-rain", "options": {"count": 800}, "transform": "sqrt", "gap": 5}


@pytest.fixture(scope="module")
def station():
    return read_post_process(STATION)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Forecasts of six leads every five days, with the observations in another file."""
    folder = tmp_path_factory.mktemp("leads")
    generator = np.random.default_rng(0)
    days = np.datetime64("2000-01-01", "ns") + np.arange(1200) * np.timedelta64(1, "D")
    index = np.cumsum(generator.normal(size=1200)) * 0.1
    xarray.Dataset({"index": ("time", index), "other": ("time", -index)}, {"time": days}).to_netcdf(
        folder / "observed.nc", engine="h5netcdf"
    )
    rows = np.arange(20, 1150, 5)
    members = index[rows[:, None] + np.arange(6)][:, None] + generator.normal(size=(len(rows), 3, 6)) * 0.2
    leads = ("lead", np.arange(6) + 0.5, {"units": "days"})
    xarray.Dataset(
        {"index": (("time", "member", "lead"), members)}, {"time": days[rows], "member": [1, 2, 3], "lead": leads}
    ).to_netcdf(folder / "raw.nc", engine="h5netcdf")
    options = {"path": str(folder / "raw.nc"), "observations": str(folder / "observed.nc"), "observed": "index"}
    return options, index, rows


def test_parts_follow_each_other_and_the_zeros_of_rain_become_latent(station):
    assert len(station.validation) > 30
    assert station.validation.cases.times.max() < station.test.cases.times.min()
    cases, rows = station.cases, np.arange(len(station))
    values, seen = cases.target(rows), cases.observed(rows)
    dry = seen == 0
    assert 0.1 < dry.mean() < 0.7
    assert (values[dry] <= 0).all()
    assert np.allclose(values[~dry], seen[~dry])
    count = len(cases.rows)
    first, second = values[:count][dry[:count]], values[count : 2 * count][dry[:count]]
    assert (first != second).mean() > 0.9, "every copy of a dry day draws anew"
    assert np.array_equal(cases.target(rows[7:9]), values[7:9]), "and the same alone"
    state, _ = station.batch(rows[:count])
    assert np.allclose(station.encoding.decode(state), seen[:count], atol=1e-4), "decoded, dry is dry again"
    assert len(station.test) == len(station.test.cases.rows)


def test_what_is_told_has_the_size_that_is_said_and_about_unit_scale(station):
    _, condition = station.batch(np.arange(300))
    assert condition["given"].shape == (300, station.conditions["given"]["size"])
    assert condition["centre"].shape == (300, 1)
    assert condition["given"].abs().mean() < 3
    assert condition["given"].isfinite().all()


def test_leads_are_paired_with_the_days_that_they_are_valid_on(files):
    options, index, rows = files
    data = read_post_process({**options, "history": 2, "gap": "10 days"})
    assert data.shape == (1, 6)
    assert data.encoding.layout.names == ("lead",)
    target = data.cases.target(np.arange(4))
    assert np.allclose(target[:, 0], index[rows[:4, None] + np.arange(6)], atol=1e-6)
    before = data.cases.pairs.before(data.cases.rows[:4])
    assert np.allclose(before, index[rows[:4, None] - [1, 2]], atol=1e-6)
    assert data.conditions["given"] == {"channels": data.batch(np.arange(1))[1]["given"].shape[1]}
    both = read_post_process({**options, "history": {"index": 1, "other": 1}})
    assert np.allclose(both.cases.pairs.before(np.arange(3))[:, 1], -index[rows[:3] - 1], atol=1e-6)


def test_folds_test_every_case_once_and_keep_their_distance(files):
    options, _, _ = files
    tested = []
    for number in (1, 2, 3, 4):
        data = read_post_process({**options, "fold": [number, 4], "gap": "20 days"})
        tested += data.test.cases.rows.tolist()
        for one, other in ((data, data.test), (data, data.validation), (data.validation, data.test)):
            away = np.abs(one.cases.starts[:, None] - other.cases.starts).min()
            assert away >= np.timedelta64(20, "D")
    assert sorted(tested) == list(range(len(files[2])))


def test_forecasts_stand_beside_their_baselines_in_the_shapes_agreed(files):
    options, _, _ = files
    data = read_post_process({**options, "history": 1})
    forecasts = forecasts_of(judged(data), {**JUDGING, "members": 7, "most": 9})
    assert next(iter(forecasts.ensembles)) == MODEL
    assert forecasts.observed.shape == (9, 6, 1)
    for name, each in forecasts.ensembles.items():
        members = {"raw ensemble": 3, "persistence": 1}.get(name, 7)
        assert each.shape == (9, members, 6, 1), name
        assert not each.isnan().any(), name
    assert forecasts.layout.names == ()
    assert forecasts.lead_unit == "days"
    errors = {name: (each.mean(1) - forecasts.observed).abs().mean() for name, each in forecasts.ensembles.items()}
    assert errors["EMOS"] < errors["climatology"]
    assert errors["last value"] < errors["climatology"]


def test_the_law_that_made_the_rain_is_not_beaten(station):
    forecasts = forecasts_of(judged(station), {**JUDGING, "members": 60})
    assert forecasts.exact in forecasts.ensembles
    # on the scale of square roots, where a few wet days do not drown the others
    score = {name: crps(each.sqrt(), forecasts.observed.sqrt()) for name, each in forecasts.ensembles.items()}
    for name in ("raw ensemble", "climatology"):
        lost = score[name] - score[forecasts.exact]
        assert lost.mean() > 2 * lost.std() / len(lost) ** 0.5, name


def test_grids_become_maps_and_a_mask_of_missing_places(tmp_path):
    generator = np.random.default_rng(1)
    times = np.datetime64("2001-01-01", "ns") + np.arange(120) * np.timedelta64(1, "D")
    truth = generator.normal(size=(120, 3, 4)) + 280
    members = truth[:, None] + generator.normal(size=(120, 5, 3, 4))
    truth[::7, 1, 2] = np.nan
    places = {"latitude": [10.0, 20.0, 30.0], "longitude": [0.0, 10.0, 20.0, 30.0]}
    unit = {"units": "K"}
    xarray.Dataset(
        {
            "t": (("time", "latitude", "longitude"), truth, unit),
            "fc": (("time", "member", "latitude", "longitude"), members, unit),
        },
        {"time": times, **places},
    ).to_netcdf(tmp_path / "grid.nc", engine="h5netcdf")
    data = read_post_process({"path": str(tmp_path / "grid.nc"), "missing": "mask"})
    state, condition = data.batch(np.arange(10))
    assert state.shape == (10, 1, 3, 4)
    assert condition["given"].shape[2:] == (3, 4)
    assert not condition["mask"][0, 0, 1, 2]
    forecasts = forecasts_of(judged(data), {**JUDGING, "members": 4, "most": 5})
    assert forecasts.ensembles["EMOS"].shape == (5, 4, 1, 1, 3, 4)
    assert forecasts.layout.names == ("latitude", "longitude")


def test_prediction_needs_no_outcome_and_keeps_to_the_run(files, tmp_path):
    options, _, _ = files
    data = read_post_process(options)
    encoding = restore(json.loads(json.dumps(data.encoding.record(), allow_nan=False)))
    asked = Asked(_STILL, encoding, Path(options["path"]), normal_draw(data.shape), 5, 0, {})
    found = predict_post_process(asked)
    assert dict(found.sizes)["member"] == 5
    assert found.sizes["lead"] == 6
    assert "index" in found
    with xarray.open_dataset(options["path"], engine="h5netcdf") as raw:
        raw.isel(member=slice(2)).to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="have 2 members"):
        predict_post_process(Asked(_STILL, encoding, tmp_path / "two.nc", normal_draw(data.shape), 5, 0, {}))
    with pytest.raises(InputError, match="observation"):
        predict_post_process(
            Asked(_STILL, encoding, Path(options["path"]), normal_draw(data.shape), 5, 0, {"observation": "x"})
        )
    remembering = read_post_process({**options, "history": 1}).encoding
    alone = dataclasses.replace(remembering, options={**remembering.options, "observations": None})
    with pytest.raises(InputError, match="last values observed"):
        predict_post_process(Asked(_STILL, alone, Path(options["path"]), normal_draw(data.shape), 5, 0, {}))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"observed": "indx"}, "did you mean 'index'"),
        ({"ensemble": "nothing"}, "unknown variable"),
        ({"observed": None}, "which variable holds what was observed"),
        ({"histroy": 1}, "did you mean 'history'"),
        ({"history": -1}, "0 or more"),
        ({"history": {"nobody": 1}}, "nobody"),
        ({"season": "summer"}, "a number of harmonics"),
        ({"fold": [5, 4]}, "at least 3 blocks"),
        ({"predictors": "wind"}, "unknown predictor"),
    ],
)
def test_bad_options_are_refused_in_words(files, change, match):
    with pytest.raises(InputError, match=match):
        read_post_process({**files[0], **change})


def test_data_without_members_or_of_another_unit_is_refused(tmp_path):
    times = np.datetime64("2001-01-01", "ns") + np.arange(60) * np.timedelta64(1, "D")
    values = np.random.default_rng(0).normal(size=(60, 3))
    both = {"t": ("time", values[:, 0], {"units": "K"}), "fc": (("time", "member"), values, {"units": "degC"})}
    xarray.Dataset(both, {"time": times}).to_netcdf(tmp_path / "units.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"bring both to one unit with `data.units"):
        read_post_process({"path": str(tmp_path / "units.nc")})
    xarray.Dataset({"t": both["t"]}, {"time": times}).to_netcdf(tmp_path / "alone.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="no variable has several members"):
        read_post_process({"path": str(tmp_path / "alone.nc")})


def judged(data):
    return Judged(_STILL, data, None, None, {}, normal_draw(data.shape), 0, {})


def normal_draw(shape):
    def draw(count, seed=None, condition=None, **how):
        return condition["centre"] + 0.3 * Seeds.range(seed or 0, count).normal(shape)

    return draw


def crps(ensemble, observed):
    members = ensemble.shape[1]
    apart = (ensemble[:, :, None] - ensemble[:, None]).abs().sum((1, 2)) / (members * (members - 1))
    return ((ensemble - observed[:, None]).abs().mean(1) - apart / 2).flatten(1).mean(1)


def test_the_seed_tells_which_latent_values_are_drawn():
    other = read_post_process({**STATION, "seed": 1})
    own = read_post_process(STATION)
    rows = np.arange(100)
    first, second = own.cases.target(rows), other.cases.target(rows)
    dry = own.cases.observed(rows) == 0
    assert not np.array_equal(first[dry], second[dry])
    assert np.array_equal(first[~dry], second[~dry])
    assert own.digest != other.digest
    assert torch.equal(own.batch(rows)[0], own.batch(rows)[0])
