"""Windows of a dataset: which there are, what they hold, and what is told of them."""

import numpy as np
import pytest
import xarray

from unstir.core.errors import InputError
from unstir.domains.climate.windows import WindowCases, day_of_year, harmonics, window_data, window_layout


def _dataset(times, **more):
    count = len(times)
    numbers = np.arange(count * 6, dtype=np.float64).reshape(count, 2, 3)
    return xarray.Dataset(
        {
            "t": (("time", "level", "x"), numbers, {"units": "K"}),
            "q": (("time", "x"), numbers[:, 0] + 0.5, {"units": "g/kg"}),
        },
        coords={"time": times, "level": [500.0, 850.0], **more},
    )


def _days(count, start="2001-01-01"):
    return np.datetime64(start, "ns") + np.arange(count) * np.timedelta64(1, "D")


def test_windows_hold_so_many_times_in_a_row_of_all_variables_and_levels():
    data = _dataset(_days(10))
    cases = WindowCases(data, ["t", "q"], 4, stride=2)
    assert cases.starts.tolist() == [0, 2, 4, 6]
    found = cases.target(np.array([3, 1]))
    assert found.shape == (2, 3, 4, 3) == (2, *cases.layout.shape)
    assert [each.name for each in cases.layout.quantities] == ["t 500", "t 850", "q"]
    for row, start in ((0, 6), (1, 2)):
        for lead in range(4):
            np.testing.assert_array_equal(found[row, :2, lead], data.t.values[start + lead])
            np.testing.assert_array_equal(found[row, 2, lead], data.q.values[start + lead])
    lead = cases.layout.axis("lead")
    assert lead is not None and lead.values == (0.0, 1.0, 2.0, 3.0) and lead.unit == "days"
    assert cases.times[1] == data.time.values[2]


def test_a_window_of_one_time_has_no_lead():
    cases = WindowCases(_dataset(_days(5)), ["q"], 1)
    assert len(cases) == 5 and cases.layout.names == ("x",)
    assert cases.target(np.arange(2)).shape == (2, 1, 3)


def test_no_window_spans_a_gap_nor_leaves_its_rows():
    times = np.delete(_days(20), [8, 9])
    cases = WindowCases(_dataset(times), ["q"], 3, rows=np.r_[0:12, 14:18])
    spans = times[cases.starts + 2] - times[cases.starts]
    assert (spans == np.timedelta64(2, "D")).all()
    assert cases.starts.tolist() == [*range(6), 8, 9, 14, 15]


def test_months_of_different_length_are_no_gaps():
    times = np.arange("2001-01", "2003-01", dtype="datetime64[M]").astype("datetime64[ns]")
    assert len(WindowCases(_dataset(times), ["q"], 12)) == 13


def test_lazy_data_gives_the_same_windows():
    data = _dataset(_days(50))
    chosen = np.array([40, 3, 3, 17])
    lazy = WindowCases(data.chunk({"time": 7}), ["t", "q"], 5)
    np.testing.assert_array_equal(lazy.target(chosen), WindowCases(data, ["t", "q"], 5).target(chosen))
    assert lazy.locality is not None


def test_chunks_go_once_through_what_does_not_overlap():
    cases = WindowCases(_dataset(_days(11)), ["q"], 3)
    found = np.concatenate(list(cases.chunks()))
    np.testing.assert_array_equal(found[:, 0].reshape(-1, 3), cases.dataset.q.values[:9])


def test_the_digest_knows_values_places_and_length():
    data = _dataset(_days(10))
    other = data.copy(deep=True)
    other.q.values[4, 1] += 1
    digests = {WindowCases(each, ["q"], n).digest for each in (data, other) for n in (2, 3)}
    assert len(digests) == 4
    assert WindowCases(data, ["q"], 2).digest == WindowCases(_dataset(_days(10)), ["q"], 2).digest


def test_the_season_goes_round_once_a_year():
    times = _days(731)
    told = harmonics(times, 2)
    assert told.shape == (731, 4) and told.dtype == np.float32
    np.testing.assert_allclose(told[0], [1, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(told[365], told[0], atol=0.02)
    assert day_of_year(times)[31] == 31
    import cftime

    other = np.array([cftime.Datetime360Day(2001, 2, 1), cftime.Datetime360Day(2001, 12, 30)])
    assert day_of_year(other).tolist() == [30.0, 359.0]
    cases = WindowCases(_dataset(times), ["q"], 2, season=2)
    np.testing.assert_array_equal(cases.given(np.array([5]))["given"], told[5:6])


@pytest.mark.parametrize("length", [0, -1, True])
def test_lengths_are_whole_numbers(length):
    with pytest.raises(InputError, match="length, of a window, is a whole number"):
        WindowCases(_dataset(_days(5)), ["q"], length)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(InputError, match="no window of 9 times"):
        WindowCases(_dataset(_days(5)), ["q"], 9)
    members = _dataset(_days(5)).q.expand_dims(member=2).to_dataset()
    with pytest.raises(InputError, match="take one of them"):
        window_layout(members, ["q"], 2)
    with pytest.raises(InputError, match="cut in time"):
        window_layout(_dataset(_days(5)).isel(time=0), ["q"], 2)
    with pytest.raises(InputError, match="different axes"):
        window_layout(_dataset(_days(5)).assign(p=("time", np.zeros(5))), ["q", "p"], 2)
    with pytest.raises(InputError, match="without a calendar"):
        WindowCases(_dataset(np.arange(5.0)), ["q"], 2, season=1).given(np.array([0]))


def test_parts_follow_each_other_and_share_no_time(tmp_path):
    data = _dataset(_days(100))
    path = tmp_path / "data.nc"
    data.to_netcdf(path, engine="h5netcdf")
    found = window_data({"path": str(path), "variables": "q", "gap": 3}, 4, task="generate")
    assert found.validation is not None and found.test is not None
    reach = [(each.cases.starts.min(), each.cases.starts.max() + 3) for each in (found, found.validation, found.test)]
    assert reach[0][1] + 3 < reach[1][0] and reach[1][1] + 3 < reach[2][0]
    state, condition = found.batch(np.arange(5))
    assert state.shape == (5, 1, 4, 3) and not condition
    np.testing.assert_allclose(found.encoding.decode(state), found.cases.target(np.arange(5)), rtol=1e-5)
