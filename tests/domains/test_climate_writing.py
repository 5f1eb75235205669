"""What is written: names, units, coordinates and calendars as the data had them, whole or not at all; pictures."""

import json

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.climate.drawing import draw_climate
from unstir.domains.climate.encoding import ClimateEncoding, restore
from unstir.domains.climate.files.datasets import Rows, layout_of, opened
from unstir.domains.climate.files.writing import as_dataset, check_target, save, write_climate
from unstir.domains.climate.layout import Axis, Layout, Quantity
from unstir.domains.climate.scaling import fit_scaling

xr = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")

DAYS = np.datetime64("2000-01-01", "ns") + np.arange(12) * np.timedelta64(1, "D")


def dataset(times=DAYS, latitudes=(10.0, 0.0, -10.0)):
    """Two levels of wind and one of pressure, latitudes from north to south, a scale factor among the attributes."""
    draws = Seeds.range(0, 1).at("written").generator()
    wind = draws.standard_normal((len(times), 2, 3, 4)).astype(np.float32)
    pressure = (1e5 + 500 * draws.standard_normal((len(times), 3, 4))).astype(np.float32)
    return xr.Dataset(
        {
            "u": (
                ("time", "level", "latitude", "longitude"),
                wind,
                {"units": "m s-1", "standard_name": "eastward_wind"},
            ),
            "msl": (("time", "latitude", "longitude"), pressure, {"units": "Pa", "long_name": "Pressure at sea level"}),
        },
        {
            "time": ("time", times, {"standard_name": "time"}),
            "level": ("level", [850.0, 500.0], {"units": "hPa", "positive": "down"}),
            "latitude": ("latitude", list(latitudes), {"units": "degrees_north"}),
            "longitude": ("longitude", [0.0, 90.0, 180.0, 270.0], {"units": "degrees_east"}),
        },
    )


def encoded(found):
    values = Rows(found).values(np.arange(found.sizes["time"]))
    encoding = ClimateEncoding("generate", layout_of(found), fit_scaling([values], "standard"))
    return restore(json.loads(json.dumps(encoding.record()))), values


def station(count=50):
    layout = Layout((Quantity("rain", "mm", "Rain of three days"), Quantity("t", "degC")))
    values = Seeds.range(1, count).normal((2,), torch.float64).abs().numpy()
    return ClimateEncoding("x", layout, fit_scaling([values], "sqrt")), values


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_a_file_comes_back_as_it_was(tmp_path, suffix, calendar):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    own = dataset()
    if calendar != "standard":
        pytest.importorskip("cftime")
        own = dataset(xr.date_range("2001-02-25", periods=12, calendar=calendar, use_cftime=True).values)
    source = tmp_path / "source.nc"
    own.to_netcdf(source, engine="h5netcdf")
    found = opened({"path": str(source)})
    encoding, values = encoded(found)
    assert encoding.layout.calendar == calendar
    # scaled and back is the same to rounding
    back = encoding.decode(encoding.encode(values)).astype(np.float32)
    np.testing.assert_allclose(back, values, rtol=1e-5, atol=1e-5)
    saved = save(as_dataset(encoding, values, found["time"].values), tmp_path / f"saved{suffix}")
    with xr.open_dataset(saved, engine="zarr" if suffix == ".zarr" else "h5netcdf") as raw:
        assert raw["latitude"].values.tolist() == [10, 0, -10]  # as the source has it
        assert raw["time"].dt.calendar in (calendar, "proleptic_gregorian" if calendar == "standard" else calendar)
        for name in own.variables:
            assert raw[name].dims == own[name].dims
            np.testing.assert_array_equal(raw[name].values, own[name].values)
            assert {**own[name].attrs}.items() <= raw[name].attrs.items()
        assert "stored_direction" not in raw["latitude"].attrs
    again = opened({"path": str(saved)})
    for name in found.variables:
        assert again[name].equals(found[name])
    assert layout_of(again).shape == encoding.layout.shape


def test_members_leads_and_samples(tmp_path):
    encoding, values = encoded(dataset())
    ensemble = np.stack([values, values + 1], 1)
    found = as_dataset(encoding, torch.from_numpy(ensemble), DAYS)
    assert found["u"].dims == ("time", "member", "level", "latitude", "longitude")
    np.testing.assert_array_equal(found["u"].values[:, 1, 1], values[:, 1] + 1)
    assert found["member"].values.tolist() == [1, 2]
    plume = as_dataset(encoding, ensemble[:, :, None], DAYS, leads=[6.0], lead_unit="hours")
    assert plume["msl"].dims == ("time", "lead", "member", "latitude", "longitude")
    assert plume["lead"].attrs["units"] == "hours"
    again = opened({"path": str(save(plume, tmp_path / "plume.nc"))})
    assert again["msl"].dims == plume["msl"].dims
    assert again["lead"].attrs["units"] == "hours"
    assert as_dataset(encoding, values)["u"].dims[0] == "sample"
    assert as_dataset(encoding, values, coords={"event": np.arange(12)})["u"].dims[0] == "event"
    with pytest.raises(InputError, match=r"\(time, 3, 3, 4\) are needed; seen the shape \(12, 2, 3, 4\)"):
        as_dataset(encoding, values[:, :2], DAYS)
    with pytest.raises(InputError, match="12 values of 'time' are needed"):
        as_dataset(encoding, values, DAYS[:5])


def test_a_table_of_a_station_comes_back(tmp_path):
    encoding, values = station(12)
    found = as_dataset(encoding, np.stack([values, values + 1], 1), DAYS)
    path = save(found, tmp_path / "rain.csv")
    assert path.read_text().splitlines()[0] == "time,rain.1,rain.2,t.1,t.2"
    again = opened({"path": str(path), "units": {"rain": "mm", "t": "degC"}})
    assert again["rain"].dims == ("time", "member")
    np.testing.assert_allclose(again["rain"].values, found["rain"].values)
    np.testing.assert_array_equal(again["time"].values, DAYS)
    plume = as_dataset(encoding, np.stack([values, values + 1], 1), DAYS, leads=[24, 48])
    again = opened({"path": str(save(plume, tmp_path / "plume.csv"))})
    assert again["t"].dims == ("time", "lead")
    np.testing.assert_allclose(again["t"].values, plume["t"].values)
    grid = save(as_dataset(*encoded(dataset()), DAYS), tmp_path / "grid.csv").read_text().splitlines()
    assert len(grid) == 1 + 12 * 2 * 3 * 4


def test_samples_of_a_run_are_never_lost(tmp_path):
    encoding, values = station()
    state = encoding.encode(values)
    paths = write_climate(encoding, state[:20], tmp_path, first=30)
    assert [path.name for path in paths] == ["samples-000030.nc", "samples-000030.csv"]
    assert write_climate(encoding, state[:20], tmp_path, first=30) == paths  # the same again
    with xr.open_dataset(paths[0], engine="h5netcdf") as found:
        assert found["sample"].values[0] == 30
        assert found["rain"].dtype == np.float32
        assert found["rain"].attrs == {"units": "mm", "long_name": "Rain of three days"}
        np.testing.assert_allclose(found["rain"].values, values[:20, 0], rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="other samples here already"):
        write_climate(encoding, state[20:40], tmp_path, first=30)
    write_climate(encoding, state[20:40], tmp_path, first=30, overwrite=True)
    with xr.open_dataset(paths[0], engine="h5netcdf") as found:
        np.testing.assert_allclose(found["rain"].values, values[20:40, 0], rtol=1e-5, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples-000030.csv", "samples-000030.nc"]


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".csv"])
def test_a_file_of_before_is_replaced_whole_or_stays(tmp_path, suffix, monkeypatch):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    encoding, values = station(12)
    path = save(as_dataset(encoding, values, DAYS), tmp_path / f"x{suffix}")
    save(as_dataset(encoding, values[:6], DAYS[:6]), path)
    assert opened({"path": str(path)}).sizes["time"] == 6
    broken = as_dataset(encoding, values, DAYS)
    broken["rain"].attrs["units"] = object()  # no file can hold it
    if suffix != ".csv":
        with pytest.raises((TypeError, ValueError)):
            save(broken, path)
    assert opened({"path": str(path)}).sizes["time"] == 6
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(InputError, match=r"one of .nc, .zarr, .csv"):
        check_target(tmp_path / "x.grib")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no folder can be made there"):
        check_target(tmp_path / "file" / "x.nc")
    (tmp_path / "x.nc").mkdir()
    with pytest.raises(InputError, match="a folder of this name"):
        check_target(tmp_path / "x.nc")
    (tmp_path / "x.zarr").mkdir()
    check_target(tmp_path / "x.zarr")
    (tmp_path / "x.zarr" / "letters").touch()
    with pytest.raises(InputError, match="something else than a Zarr store"):
        check_target(tmp_path / "x.zarr")
    check_target(tmp_path / "new" / "folder" / "x.csv")
    assert (tmp_path / "new" / "folder").is_dir()


def shape_of(axes):
    return Layout((Quantity("a", "K"), Quantity("b", "mm")), tuple(Axis(name, tuple(range(n))) for name, n in axes))


@pytest.mark.parametrize(
    "axes", [(), (("lead", 20),), (("latitude", 6), ("longitude", 8)), (("lead", 12), ("y", 5), ("x", 7))]
)
def test_pictures_of_every_kind_of_state(axes):
    layout = shape_of(axes)
    values = Seeds.range(2, 5).normal(layout.shape, torch.float64).numpy()
    encoding = ClimateEncoding("x", layout, fit_scaling([values], "standard"))
    state = encoding.encode(values)
    picture = draw_climate(encoding, state)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3
    other = draw_climate(encoding, state + 1.0 * torch.arange(5).reshape(5, *[1] * (state.ndim - 1)))
    assert other.shape != picture.shape or (other != picture).any()
    assert (draw_climate(encoding, state) == picture).all()
    with pytest.raises(InputError, match="states of shape"):
        draw_climate(encoding, state[:, :1])
    with pytest.raises(InputError, match="are the least"):
        draw_climate(encoding, state, padding=-1)


def test_north_is_above_and_what_is_missing_is_grey():
    layout = shape_of((("latitude", 2), ("longitude", 2)))
    values = np.zeros((1, 2, 2, 2))
    values[:, :, 1] = 1.0  # the northern row is the brighter one
    values[0, 1, 0, 0] = np.nan
    encoding = ClimateEncoding(
        "x", layout, fit_scaling([np.array([0.0, 1.0]).reshape(2, 1, 1, 1).repeat(2, 1)], "none")
    )
    picture = draw_climate(encoding, encoding.encode(values), scale=10, padding=0)[-20:, :41].astype(int)
    assert picture[2, 2].sum() > picture[17, 2].sum()  # viridis goes from dark violet to yellow
    assert picture[17, 23].tolist() == [214, 214, 214]
