"""Cutting along time: parts in their order, the gap between them, dates of every calendar, what cannot be cut."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unstir.core.errors import InputError
from unstir.domains.climate.splits import duration, parts_of

DAYS = np.arange(np.datetime64("2000-01-01"), np.datetime64("2014-01-01")).astype("datetime64[ns]")


def ends(parts, times=DAYS):
    found = [getattr(parts, name) for name in ("train", "validation", "test")]
    return [(str(times[part[0]])[:10], str(times[part[-1]])[:10]) for part in found if len(part)]


@given(
    st.lists(st.floats(0.01, 5), min_size=30, max_size=120),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
    st.one_of(st.integers(0, 3), st.floats(0.0, 4)),
)
def test_parts_follow_each_other_with_the_gap_between_them_and_nothing_else_is_lost(steps, validation, held_out, gap):
    times = np.cumsum(steps)
    try:
        parts = parts_of(times, {"validation": validation, "held_out": held_out, "gap": gap})
    except InputError as error:
        assert "is empty" in str(error)  # the gap may leave nothing
        return
    joined = np.concatenate((parts.train, parts.validation, parts.test))
    assert (np.diff(joined) > 0).all()
    assert parts.train[0] == 0
    assert parts.test[-1] == len(times) - 1
    for earlier, later in ((parts.train, parts.validation), (parts.validation, parts.test)):
        if isinstance(gap, int):
            assert later[0] - earlier[-1] - 1 == gap
        else:
            lost = times[earlier[-1] + 1 : later[0]]
            assert gap == 0 or times[later[0]] - times[earlier[-1]] > gap
            assert (times[later[0]] - lost <= gap).all()


def test_the_published_split_of_a_station_and_its_gap():
    parts = parts_of(DAYS, {"train_to": "2009-12-31", "validation": 0})
    assert ends(parts) == [("2000-01-01", "2009-12-31"), ("2010-01-01", "2013-12-31")]
    assert not len(parts.validation)
    # the later part stays as it was asked for
    apart = parts_of(DAYS, {"train_to": "2009-12-31", "validation": 0, "gap": "10 days"})
    assert ends(apart) == [("2000-01-01", "2009-12-21"), ("2010-01-01", "2013-12-31")]
    assert ends(parts_of(DAYS, {"train_to": "2009-12-31", "validation": 0, "gap": 10})) == ends(apart)


@pytest.mark.parametrize("told", ["2009", 2009, "2009-12", "2009-12-31", datetime.date(2009, 12, 31)])
def test_a_year_a_month_and_a_day_mean_all_of_it_as_an_end(told):
    assert ends(parts_of(DAYS, {"train_to": told, "validation": 0})) == [
        ("2000-01-01", "2009-12-31"),
        ("2010-01-01", "2013-12-31"),
    ]


def test_a_moment_is_itself_the_last_one():
    hours = np.datetime64("2000-01-01T00") + np.arange(96) * np.timedelta64(1, "h")
    parts = parts_of(hours, {"train_to": "2000-01-02T05:00", "validation": 0})
    assert hours[parts.train[-1]] == np.datetime64("2000-01-02T05")
    parts = parts_of(hours, {"train_to": "2000-01-02", "validation": 0})
    assert hours[parts.train[-1]] == np.datetime64("2000-01-02T23")


def test_validation_by_date_and_what_is_between_training_and_test():
    parts = parts_of(DAYS, {"train_from": 2002, "train_to": 2009, "validation": 2008, "test_from": 2011})
    assert ends(parts) == [("2002-01-01", "2007-12-31"), ("2008-01-01", "2009-12-31"), ("2011-01-01", "2013-12-31")]


def test_other_calendars_and_plain_numbers():
    cftime = pytest.importorskip("cftime")
    times = np.array([cftime.DatetimeNoLeap(2000 + n // 12, n % 12 + 1, 15) for n in range(48)], dtype=object)
    parts = parts_of(times, {"train_to": "2002-12", "validation": 0.25, "gap": "45 days"})
    assert [str(times[part[-1]])[:7] for part in (parts.train, parts.validation, parts.test)] == [
        "2002-01",
        "2002-11",
        "2003-12",
    ]
    with pytest.raises(InputError, match="a date of the data's calendar"):
        parts_of(times, {"train_to": "2001-02-29"})  # no leap years here
    times = np.array([cftime.Datetime360Day(2000 + n // 12, n % 12 + 1, 30) for n in range(48)], dtype=object)
    assert len(parts_of(times, {"train_to": "2001-02-30", "validation": 0}).train) == 14
    parts = parts_of(np.arange(100) * 0.05, {"train_to": 3.0, "validation": 0})
    assert len(parts.train) == 61


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_to": "2012", "test_from": "2010"}, "overlap"),
        ({"train_to": "1999"}, "'train' is empty"),
        ({"train_to": "2013-12-31"}, "'test' is empty"),
        ({"test_from": 2020}, "'test' is empty"),
        ({"gap": "20 years"}, "a duration such as"),
        ({"gap": "10000 days"}, "is empty"),
        ({"gap": -1}, "a duration such as"),
        ({"gap": 1.5}, "a duration such as"),
        ({"held_out": 1.0}, "share of the times"),
        ({"validation": True}, "a date of the data's calendar"),
        ({"train_to": "31.12.2009"}, "a date of the data's calendar"),
        ({"train_to": "2009-13-01"}, "a date of the data's calendar"),
    ],
)
def test_what_cannot_be_cut_says_so(options, message):
    with pytest.raises(InputError, match=message):
        parts_of(DAYS, options)


def test_times_that_do_not_rise_or_are_none():
    with pytest.raises(InputError, match="do not rise"):
        parts_of(DAYS[::-1], {})
    with pytest.raises(InputError, match="do not rise"):
        parts_of(np.array([1.0, 2.0, 2.0]), {})
    with pytest.raises(InputError, match="needed"):
        parts_of(np.array([]), {})
    with pytest.raises(InputError, match="plain numbers"):
        parts_of(np.arange(50.0), {"gap": "2 days"})
    with pytest.raises(InputError, match="plain numbers"):
        parts_of(np.arange(50.0), {"train_to": "2009-12-31"})


def test_durations():
    assert duration("1.5 days", "x") == np.timedelta64(36, "h")
    assert duration("6h", "x") == np.timedelta64(6, "h")
    assert duration("2 weeks", "x") == np.timedelta64(14, "D")
    with pytest.raises(InputError, match="`x: '3 fortnights'`"):
        duration("3 fortnights", "x")
