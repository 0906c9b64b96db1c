"""The one calendar: equal to its source, and kind to whoever asks for a day that is no session."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake import calendar

DAYS = st.dates(date(2005, 1, 1), date(2039, 12, 31))


def test_sessions_and_early_closes_equal_the_exchange_calendar_library():
    import exchange_calendars

    nyse = exchange_calendars.get_calendar("XNYS", start="2004-01-01", end="2040-12-31")
    assert calendar.sessions(date(2004, 1, 1), date(2040, 12, 31)) == [stamp.date() for stamp in nyse.sessions]
    assert calendar.early_closes() == frozenset(stamp.date() for stamp in nyse.early_closes)


@given(DAYS)
def test_a_session_is_the_next_of_its_previous_one(day: date):
    if calendar.is_session(day):
        assert calendar.next_session(calendar.previous_session(day)) == day
    else:
        assert calendar.next_session(day) == calendar.next_session(calendar.previous_session(day))


@given(DAYS, st.integers(1, 80))
def test_trailing_sessions_are_strictly_before_and_end_at_the_previous(day: date, n: int):
    trailing = calendar.trailing_sessions(day, n)
    assert len(trailing) == n
    assert trailing[-1] == calendar.previous_session(day)
    assert trailing[0] == calendar.previous_session(day, n)


def test_a_holiday_is_refused_with_its_name_and_its_neighbours():
    with pytest.raises(calendar.NotASession, match=r"2026-07-03 .*July 4th.*2026-07-02 and 2026-07-06"):
        calendar.require_session(date(2026, 7, 3))


def test_the_close_follows_daylight_saving_and_early_closes():
    assert calendar.session_close(date(2026, 7, 1)) == datetime(2026, 7, 1, 20, tzinfo=UTC)
    assert calendar.session_close(date(2026, 12, 1)) == datetime(2026, 12, 1, 21, tzinfo=UTC)
    assert calendar.session_close(date(2026, 11, 27)) == datetime(2026, 11, 27, 18, tzinfo=UTC)


@given(DAYS.filter(calendar.is_session), st.sampled_from(calendar.SNAPSHOT_MINUTES))
def test_snapshots_run_from_after_the_open_to_the_close(day: date, minutes: int):
    times = calendar.snapshot_times(day, minutes)
    step = timedelta(minutes=minutes)
    assert calendar.session_open(day) < times[0] <= calendar.session_open(day) + step
    assert times[-1] == calendar.session_close(day)
    assert {later - earlier for earlier, later in pairwise(times)} == {step}


def test_a_full_session_has_26_snapshots_and_a_short_one_14():
    assert len(calendar.snapshot_times(date(2026, 11, 25))) == 26
    assert len(calendar.snapshot_times(date(2026, 11, 27))) == 14


@given(DAYS.filter(calendar.is_session), st.sampled_from(calendar.SNAPSHOT_MINUTES))
def test_a_snapshot_is_known_by_its_new_york_time(day: date, minutes: int):
    times = calendar.snapshot_times(day, minutes)
    assert [calendar.snapshot_of_key(calendar.snapshot_key(at)) for at in times] == times
    assert {calendar.snapshot_key(at)[:10] for at in times} == {day.isoformat()}


@pytest.mark.parametrize("key", ["2026-11-27-13:15", "2026-11-25-09:30", "2026-11-26-10:00", "2026-11-25"])
def test_what_is_no_moment_of_a_session_is_no_snapshot(key: str):
    with pytest.raises(ValueError, match=key[:10]):
        calendar.snapshot_of_key(key)


def test_a_session_counts_as_closed_from_its_closing_bell_on():
    close = calendar.session_close(date(2026, 7, 6))
    assert calendar.latest_closed_session(close) == date(2026, 7, 6)
    assert calendar.latest_closed_session(close - timedelta(seconds=1)) == date(2026, 7, 2)
