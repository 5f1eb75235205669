"""Datasets: every kind of file, names of dimensions, laziness, rows by number, and an error for each bad file."""

import numpy as np
import pytest

from unstir.core.errors import InputError, NotInstalledError
from unstir.core.seeds import Seeds
from unstir.domains.climate.files.datasets import SHARED, Rows, calendar_of, digest_of, layout_of, opened
from unstir.training.addresses import Addresses

xr = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")

DAYS = np.datetime64("2000-01-01", "ns") + np.arange(40) * np.timedelta64(1, "D")


def grid(times=DAYS, levels=(500.0, 850.0), latitudes=(10.0, 0.0, -10.0), longitudes=(0.0, 90.0, 180.0, 270.0)):
    """Temperature at levels and rain, as ERA5 names their dimensions."""
    draws = Seeds.range(0, 1).at("grid").generator()
    shape = (len(times), len(levels), len(latitudes), len(longitudes))
    return xr.Dataset(
        {
            "t": (
                ("valid_time", "pressure_level", "lat", "lon"),
                (280 + 5 * draws.standard_normal(shape)).astype(np.float32),
                {"units": "K", "long_name": "Temperature", "standard_name": "air_temperature"},
            ),
            "tp": (("valid_time", "lat", "lon"), draws.gamma(0.5, 2, (shape[0], *shape[2:])), {"units": "mm"}),
        },
        {
            "valid_time": ("valid_time", times, {"standard_name": "time"}),
            "pressure_level": ("pressure_level", list(levels), {"units": "hPa"}),
            "lat": ("lat", list(latitudes), {"units": "degrees_north"}),
            "lon": ("lon", list(longitudes), {"units": "degrees_east"}),
        },
    )


def written(dataset, path):
    if path.suffix == ".zarr":
        dataset.to_zarr(path, consolidated=False)
    else:
        dataset.to_netcdf(path, engine="scipy" if path.suffix == ".nc3" else "h5netcdf")
    return str(path)


def series(values, times=DAYS, name="x"):
    return xr.Dataset({name: ("time", np.asarray(values))}, {"time": times[: len(values)]})


def opened_series(tmp_path, values, times=DAYS, **options):
    return opened({"path": written(series(values, times), tmp_path / "x.nc"), **options})


@pytest.mark.parametrize("suffix", [".nc", ".nc3", ".zarr"])
def test_files_of_every_kind_hold_the_same(tmp_path, suffix):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    found = opened({"path": written(grid(), tmp_path / f"data{suffix}")})
    assert dict(found.sizes) == {"time": 40, "level": 2, "latitude": 3, "longitude": 4}
    assert found["t"].dims == ("time", "level", "latitude", "longitude")
    assert found["latitude"].values.tolist() == [-10, 0, 10]
    np.testing.assert_array_equal(found["t"].values, grid()["t"].values[:, :, ::-1])
    assert found["t"].attrs["units"] == "K"
    assert (found["time"].values == DAYS).all()
    layout = layout_of(found)
    assert sorted((each.name, each.unit) for each in layout.quantities) == [
        ("t 500", "K"),
        ("t 850", "K"),
        ("tp", "mm"),
    ]
    assert layout.axis("longitude").periodic
    assert not layout.axis("latitude").periodic
    assert layout.calendar == "standard"
    assert layout.shape == (3, 3, 4)
    assert digest_of(found) == digest_of(opened({"path": str(tmp_path / f"data{suffix}")}))
    assert digest_of(found) != digest_of(found.isel(time=slice(1, None)))


def test_what_is_chosen(tmp_path):
    path = written(grid(), tmp_path / "data.nc")
    found = opened({"path": path, "variables": "t", "select": {"level": 850, "latitude": {"from": 0}}})
    assert list(found.data_vars) == ["t"]
    assert dict(found.sizes) == {"time": 40, "level": 1, "latitude": 2, "longitude": 4}
    found = opened({"path": path, "variables": ["tp"], "select": {"time": {"from": "2000-01-05", "to": "2000-01-09"}}})
    assert found.sizes["time"] == 5
    assert "level" not in found.dims
    assert opened({"path": path, "units": {"t": "degC"}})["t"].attrs["units"] == "degC"


def test_forecasts_of_the_iri_library_and_of_ecmwf(tmp_path):
    values = Seeds.range(1, 1).generator().standard_normal((5, 3, 4))
    iri = xr.Dataset(
        {"RMM1": (("S", "M", "L"), values)},
        {
            "S": (
                "S",
                np.arange(5.0) * 10,
                {"units": "days since 1999-01-01", "standard_name": "forecast_reference_time"},
            ),
            "M": ("M", [1.0, 2.0, 3.0], {"standard_name": "realization"}),
            "L": ("L", [0.5, 1.5, 2.5, 3.5], {"units": "days", "standard_name": "forecast_period"}),
        },
    )
    found = opened({"path": written(iri, tmp_path / "iri.nc")})
    assert found["RMM1"].dims == ("time", "lead", "member")
    assert found["lead"].attrs["units"] == "days"
    assert found["lead"].values.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert str(found["time"].values[1])[:10] == "1999-01-11"
    ecmwf = xr.Dataset(
        {"t2m": (("number", "time", "step"), 280 + values.transpose(1, 0, 2))},
        {
            "time": DAYS[:5],
            "step": np.array([0, 6, 12, 18], dtype="timedelta64[h]").astype("timedelta64[ns]"),
            "number": [0, 1, 2],
            "valid_time": (("time", "step"), DAYS[:5, None] + np.arange(4) * np.timedelta64(6, "h")),
        },
    )
    found = opened({"path": written(ecmwf, tmp_path / "ecmwf.nc")})
    assert found["t2m"].dims == ("time", "lead", "member")
    assert found["lead"].values.tolist() == [0, 6, 12, 18]
    assert found["lead"].attrs["units"] == "hours"
    assert layout_of(found, ("time", "member")).axis("lead").unit == "hours"


def test_months_of_a_year_of_360_days_and_other_calendars(tmp_path):
    pytest.importorskip("cftime")
    months = series(np.arange(24.0), np.arange(24) + 0.5)
    months["time"].attrs.update(units="months since 1960-01-01", calendar="360")
    path = written(months, tmp_path / "months.nc")
    found = opened({"path": path})
    assert calendar_of(found) == "360_day"
    assert layout_of(found).calendar == "360_day"
    assert str(found["time"].values[13])[:10] == "1961-02-16"
    noleap = series(np.arange(40.0)).convert_calendar("noleap")
    found = opened({"path": written(noleap, tmp_path / "noleap.nc")})
    assert calendar_of(found) == "noleap"
    assert calendar_of(opened({"path": str(tmp_path / "noleap.nc"), "calendar": "standard"})) == "standard"
    with pytest.raises(InputError, match=r"cannot be brought to it.*allowed are standard"):
        opened({"path": path, "calendar": "lunar"})
    months["time"].attrs["calendar"] = "standard"
    with pytest.raises(InputError, match=r"times cannot be understood.*months since 1960-01-01"):
        opened({"path": written(months, tmp_path / "wrong.nc")})


def test_files_one_after_the_other_and_side_by_side(tmp_path):
    whole = grid()
    for number, part in enumerate((whole.isel(valid_time=slice(25, None)), whole.isel(valid_time=slice(25)))):
        written(part, tmp_path / f"part{number}.nc")
    found = opened({"path": str(tmp_path / "part*.nc")})
    np.testing.assert_array_equal(found["t"].values, whole["t"].values[:, :, ::-1])
    paths = [written(whole[[name]], tmp_path / f"{name}.nc") for name in ("t", "tp")]
    assert set(opened({"path": paths}).data_vars) == {"t", "tp"}
    assert opened({"path": paths})["tp"].identical(opened({"path": paths[1]})["tp"])


def test_files_that_do_not_go_together(tmp_path):
    pytest.importorskip("cftime")
    first = written(grid(DAYS[:20]), tmp_path / "a.nc")
    other = written(grid(DAYS[20:], latitudes=(10.0, 5.0, 0.0)), tmp_path / "b.nc")
    with pytest.raises(InputError, match=r"different grids: their coordinates 'latitude' differ"):
        opened({"path": [first, other]})
    calendar = written(grid(DAYS[20:]).convert_calendar("noleap", dim="valid_time"), tmp_path / "c.nc")
    with pytest.raises(InputError, match=r"'standard', .*c.nc in 'noleap'; bring them to one calendar"):
        opened({"path": [first, calendar]})
    with pytest.raises(InputError, match="more than once"):
        opened({"path": [first, first], "sort": True})
    later = written(grid(DAYS[20:])[["tp"]], tmp_path / "d.nc")
    with pytest.raises(InputError, match="either all have the same variables, or the same times"):
        opened({"path": [written(grid(DAYS[:20])[["t"]], tmp_path / "e.nc"), later]})


def test_longitudes_of_either_kind_and_the_meridian_that_is_there_twice(tmp_path):
    east = grid(longitudes=(180.0, 270.0, 0.0, 90.0))  # as after a roll
    found = opened({"path": written(east, tmp_path / "east.nc")})
    assert found["longitude"].values.tolist() == [0, 90, 180, 270]
    np.testing.assert_array_equal(found["tp"].values[..., 0], east["tp"].values[:, ::-1, 2])
    west = opened({"path": written(grid(longitudes=(-180.0, -90.0, 0.0, 90.0)), tmp_path / "west.nc")})
    assert layout_of(west).axis("longitude").periodic
    closed = opened({"path": written(grid(longitudes=(0.0, 90.0, 180.0, 270.0, 360.0)), tmp_path / "closed.nc")})
    assert closed.sizes["longitude"] == 4
    part = opened({"path": written(grid(longitudes=(0.0, 1.0, 2.0, 3.0)), tmp_path / "part.nc")})
    assert not layout_of(part).axis("longitude").periodic


def test_curvilinear_grids_keep_their_plain_axes(tmp_path):
    places = np.arange(12.0).reshape(3, 4)
    ocean = xr.Dataset(
        {"sst": (("time_counter", "y", "x"), np.full((40, 3, 4), 290.0) + np.arange(40)[:, None, None] / 10)},
        {"time_counter": DAYS, "nav_lat": (("y", "x"), places), "nav_lon": (("y", "x"), places)},
    )
    found = opened({"path": written(ocean, tmp_path / "ocean.nc")})
    assert found["sst"].dims == ("time", "y", "x")
    assert layout_of(found).names == ("y", "x")


def test_the_users_names_come_first(tmp_path):
    data = grid().rename({"valid_time": "when"}).drop_attrs()
    with pytest.raises(InputError, match=r"no dimension 'time'; seen .*when 40.*data.rename"):
        opened({"path": written(data, tmp_path / "data.nc")})
    path = str(tmp_path / "data.nc")
    assert opened({"path": path, "rename": {"when": "time", "tp": "rain"}})["rain"].sizes["time"] == 40
    with pytest.raises(InputError, match="did you mean 'when'"):
        opened({"path": path, "rename": {"whem": "time"}})
    with pytest.raises(InputError, match=r"both look like 'latitude'; tell them apart"):
        opened({"path": path, "rename": {"when": "time", "lon": "latitude"}})


def test_a_single_time_without_a_dimension(tmp_path):
    one = grid(DAYS[:1]).isel(valid_time=0)
    assert opened({"path": written(one, tmp_path / "one.nc")}).sizes["time"] == 1


def test_tables_of_stations(tmp_path):
    path = tmp_path / "rain.csv"
    rows = [f"{str(day)[:10]},{n}.5,{n},{n + 1},{n + 2},dry" for n, day in enumerate(DAYS)]
    path.write_text("\n".join(["rownames,rain,rainfc.1,rainfc.2,rainfc.10,remark", *rows]).replace("fc.10", "fc.3"))
    found = opened({"path": str(path), "units": {"rain": "mm"}})
    assert found["rain"].dims == ("time",)
    assert found["rainfc"].dims == ("time", "member")
    assert found["rainfc"].values[5].tolist() == [5, 6, 7]
    assert found["rain"].attrs["units"] == "mm"
    assert set(found.data_vars) == {"rain", "rainfc"}
    assert (found["time"].values == DAYS).all()
    # two quantities with numbers are no ensemble
    path.write_text("time;rmm1;rmm2\n20000101;1;2\n20000102;3;\n")
    found = opened({"path": str(path), "missing": "mask"})
    assert list(found.data_vars) == ["rmm1", "rmm2"]
    assert np.isnan(found["rmm2"].values[1])


def test_tables_of_several_stations_and_leads_one_below_the_other(tmp_path):
    lines = ["date,station,lead,t_1,t_2"]
    for day in ("2000-01-01", "2000-01-02"):
        for station in ("Innsbruck", "Bregenz"):
            lines += [f"{day},{station},{lead},{len(lines)},{-len(lines)}" for lead in (24, 48)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines))
    found = opened({"path": str(path)})
    assert found["t"].dims == ("time", "lead", "member", "station")
    chosen = found["t"].sel(time="2000-01-02", station="Innsbruck", lead=48)
    assert chosen.values.ravel().tolist() == [5, -5]
    path.write_text("\n".join([*lines, lines[-1]]))
    with pytest.raises(InputError, match="several rows for time 2000-01-02"):
        opened({"path": str(path)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rain,snow\n1,2\n3,4\n", "no column holds the times"),
        ("time,rain\n", "no rows"),
        ("time,rain\nyesterday,1\n", "'yesterday' is no date"),
        ("time,rain\n2001-02-29,1\n", "'2001-02-29' is no date"),
        ("time,rain\n2001-02-28,wet\n", "no column but 'time' holds numbers"),
        ("time,rain\n2001-02-28,1,2\n2001-03-01,1\n", "time|read as a table"),
    ],
)
def test_tables_that_are_none(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        opened({"path": str(path)})


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0, np.nan, 3.0], {}, r"'x' has 1 missing value\(s\).*data.missing=mask.*data.missing=drop"),
        ([np.nan] * 4, {"missing": "mask"}, "no value at all"),
        ([1.0, np.inf, 3.0], {"missing": "mask"}, "infinite"),
        ([1.0, 2.0, 3.0, -9999.0, 2.5], {}, r"the value -9999, far from all others.*data.fill=-9999"),
        ([1.0, np.nan], {"missing": "ignore"}, "allowed are error, mask, drop"),
        ([np.nan, np.nan], {"missing": "drop"}, "leaves nothing"),
        (["wet", "dry"], {"variables": "x"}, "holds no numbers"),
        (["wet", "dry"], {}, "no variable that holds numbers"),
        ([1.0, 2.0], {"variables": "y"}, "unknown variable"),
        ([1.0, 2.0], {"variables": ["x", "x"]}, "different names"),
        ([1.0, 2.0], {"select": {"time": "2020-01-01"}}, "not among the data's, which go from 2000-01-01"),
        ([1.0, 2.0], {"select": {"level": 500}}, "dimension in `data.select`"),
        ([1.0, 2.0], {"select": {"time": {"after": 2000}}}, "allowed are from and to"),
        ([1.0, 2.0], {"fill": "none"}, "the number that stands for missing"),
        ([1.0, 2.0], {"duplicates": "mean"}, "allowed are error, first, last"),
        ([1.0, 2.0], {"rename": "time"}, "a mapping is needed"),
        ([1.0, 2.0], {"name": "lorenz-96"}, r"either `data.path`"),
    ],
)
def test_bad_values_and_options_say_what_to_do(tmp_path, values, options, message):
    with pytest.raises(InputError, match=message):
        opened_series(tmp_path, values, **options)


def test_missing_values_kept_or_left_out(tmp_path):
    values = [1.0, np.nan, 3.0, -9999.0, 5.0]
    kept = opened_series(tmp_path, values, missing="mask", fill=-9999)
    np.testing.assert_array_equal(kept["x"].values, [1, np.nan, 3, np.nan, 5])
    dropped = opened_series(tmp_path, values, missing="drop", fill=-9999)
    assert dropped["x"].values.tolist() == [1, 3, 5]
    assert (dropped["time"].values == DAYS[[0, 2, 4]]).all()


def test_times_out_of_order_twice_or_unknown(tmp_path):
    mixed = DAYS[[0, 2, 1, 3]]
    with pytest.raises(InputError, match=r"not sorted: 2000-01-03.* is followed by 2000-01-02.*data.sort=true"):
        opened_series(tmp_path, [0.0, 2.0, 1.0, 3.0], mixed)
    assert opened_series(tmp_path, [0.0, 2.0, 1.0, 3.0], mixed, sort=True)["x"].values.tolist() == [0, 1, 2, 3]
    twice = DAYS[[0, 1, 1, 2]]
    with pytest.raises(InputError, match=r"1 time\(s\) are there more than once.*2000-01-02.*data.duplicates=first"):
        opened_series(tmp_path, [0.0, 1.0, 2.0, 3.0], twice)
    for which, values in (("first", [0, 1, 3]), ("last", [0, 2, 3])):
        assert opened_series(tmp_path, [0.0, 1.0, 2.0, 3.0], twice, duplicates=which)["x"].values.tolist() == values
    unknown = DAYS[:4].copy()
    unknown[2] = np.datetime64("NaT")
    with pytest.raises(InputError, match=r"1 time\(s\) are unknown \(NaT\), the first at position 2"):
        opened_series(tmp_path, [0.0, 1.0, 2.0, 3.0], unknown)
    assert opened_series(tmp_path, [0.0, 1.0, 2.0, 3.0], unknown, missing="drop")["x"].values.tolist() == [0, 1, 3]
    nowhere = xr.Dataset({"x": ("time", [1.0, 2.0])})
    with pytest.raises(InputError, match="no coordinate"):
        opened({"path": written(nowhere, tmp_path / "nowhere.nc")})


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        opened({"path": str(tmp_path / "none*.nc")})
    broken = tmp_path / "broken.nc"
    broken.write_bytes(b"\x89HDF\r\n\x1a\nnot much more")
    with pytest.raises(InputError, match=r"broken.nc: cannot be read as NetCDF-4"):
        opened({"path": str(broken)})
    broken.write_bytes(b"PK\x03\x04 a picture perhaps")
    with pytest.raises(InputError, match="neither NetCDF, HDF5, GRIB nor a Zarr store"):
        opened({"path": str(broken)})
    with pytest.raises(InputError, match=r"a folder, but no Zarr store; name a file"):
        opened({"path": str(tmp_path)})
    with pytest.raises(InputError, match=r"either `data\.path`"):
        opened({})
    with pytest.raises(InputError, match=r"embedded data \(data.name\)"):
        opened({"name": "lorentz-96"})


def test_grib_names_the_package_it_needs(tmp_path):
    from importlib.util import find_spec

    path = tmp_path / "x.grib"
    path.write_bytes(b"GRIB and so on")
    expected = InputError if find_spec("cfgrib") else NotInstalledError
    with pytest.raises(expected, match="GRIB"):
        opened({"path": str(path)})


def test_variables_along_different_axes_have_no_layout(tmp_path):
    data = xr.Dataset({"a": (("time", "x"), np.ones((40, 3))), "b": ("time", np.arange(40.0))}, {"time": DAYS})
    found = opened({"path": written(data, tmp_path / "x.nc")})
    with pytest.raises(InputError, match=r"along different axes.*data.variables"):
        layout_of(found)


@pytest.fixture
def store(tmp_path):
    """A Zarr store in chunks of eight times, that is not held in memory."""
    pytest.importorskip("zarr")
    data = grid(np.datetime64("2000-01-01", "ns") + np.arange(203) * np.timedelta64(1, "D"))
    data.chunk({"valid_time": 8}).to_zarr(tmp_path / "store.zarr", consolidated=False)
    return data, {"path": str(tmp_path / "store.zarr"), "memory": 0}


def lazily(options, monkeypatch):
    monkeypatch.setattr("unstir.domains.climate.files.datasets._PIECE", 1)
    return opened(options)


def test_a_store_that_lists_its_members_otherwise_has_the_same_channels(store, monkeypatch):
    import xarray

    _, options = store
    plain, reading = opened(options), xarray.open_dataset

    def reversed_(*arguments, **told):
        found = reading(*arguments, **told)
        return found[list(found.data_vars)[::-1]]

    monkeypatch.setattr(xarray, "open_dataset", reversed_)
    assert list(opened(options).data_vars) == list(plain.data_vars) == ["t", "tp"]


def test_rows_of_a_store_are_those_in_memory(store, monkeypatch):
    data, options = store
    lazy, whole = lazily(options, monkeypatch), opened({**options, "memory": 100})
    assert lazy["t"].chunks is not None
    assert whole["t"].chunks is None
    near, far = Rows(lazy, budget=3000), Rows(whole)
    assert near.block == 8
    assert near.locality[0] == 8
    assert far.locality is None
    assert far.values(np.arange(203)).shape == (203, *layout_of(whole).shape)
    np.testing.assert_array_equal(far.values([4])[0, :2], data["t"].values[4, :, ::-1])
    mixed = Seeds.range(5, 1).generator().permutation(203)
    np.testing.assert_array_equal(near.values(mixed), far.values(mixed))
    pairs = mixed[:60].reshape(30, 2)
    np.testing.assert_array_equal(near.values(pairs), far.values(pairs))
    assert near.values([]).shape == far.values([]).shape
    with pytest.raises(IndexError):
        near.values([203])


def test_a_training_reads_each_block_once_and_holds_no_more_than_its_budget(store, monkeypatch):
    _, options = store
    dataset = lazily(options, monkeypatch)
    each = Rows(dataset, budget=10**9).values([0]).nbytes
    rows = Rows(dataset, budget=each * 8 * 6)
    read = []
    original = rows._read
    monkeypatch.setattr(rows, "_read", lambda first, last: read.append(first) or original(first, last))
    addresses = Addresses(0, len(rows), 16, locality=rows.locality)
    for step in range(len(rows) // 16):
        rows.values(addresses.rows(step, range(16)))
        assert rows._held <= rows.budget
    assert len(read) == len(set(read))
    read.clear()
    rows._blocks.clear()
    plain = Addresses(0, len(rows), 16)
    for step in range(len(rows) // 16):
        rows.values(plain.rows(step, range(16)))
    assert len(read) > 3 * len(set(read))  # which is what the order is for


def test_cases_that_reach_over_blocks_hold_twice_as_many(store, monkeypatch):
    _, options = store
    rows = Rows(lazily(options, monkeypatch), budget=10**5)
    block, held = rows.locality
    assert rows.near(np.arange(160)) == (block, held // block * block)
    assert rows.near(np.arange(160), reach=3) == (block, held // block // 2 * block)
    assert rows.near(np.arange(0, 160, 2), reach=3)[0] == block // 2


def test_missing_values_deep_in_a_store_are_found_when_they_are_read(store, monkeypatch):
    _, options = store
    dataset = lazily(options, monkeypatch)
    hole = dataset.assign(tp=dataset["tp"].where(dataset["time"] != dataset["time"][100]))
    rows = Rows(hole, missing="error")
    rows.values([3])
    with pytest.raises(InputError, match=r"missing value\(s\).* from time 96 on"):
        rows.values([98])


def test_embedded_data_is_opened_by_name():
    found = opened({**SHARED, "name": "lorenz-63", "options": {"count": 50}})
    assert "time" in found.dims
    assert found.sizes["time"] == 50
