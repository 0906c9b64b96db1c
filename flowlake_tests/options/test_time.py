"""Time to expiration: settlement, early closes, the last minute, and trading minutes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.options import time_to_expiration
from flowlake.options.time import MINUTES_PER_YEAR, SHORTEST_YEARS


def measure(expiration: date, root: str, now: datetime) -> dict:
    frame = time_to_expiration(pl.Series([expiration], dtype=pl.Date), pl.Series([root], dtype=pl.String), now)
    return frame.row(0, named=True)


def new_york(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=calendar.NEW_YORK).astimezone(UTC)


def test_index_monthlies_settle_at_the_open_and_weeklies_at_the_close():
    now = new_york(2026, 8, 14, 15, 45)
    assert measure(date(2026, 8, 21), "SPX", now)["settles_at"] == new_york(2026, 8, 21, 9, 30)
    assert measure(date(2026, 8, 21), "SPXW", now)["settles_at"] == new_york(2026, 8, 21, 16, 0)
    assert measure(date(2026, 8, 21), "AAPL", now)["settles_at"] == new_york(2026, 8, 21, 16, 0)


def test_options_expiring_on_an_early_close_die_at_one_o_clock():
    after_thanksgiving = date(2026, 11, 27)
    row = measure(after_thanksgiving, "SPY", new_york(2026, 11, 27, 12, 0))
    assert row["settles_at"] == new_york(2026, 11, 27, 13, 0)
    assert row["years"] == pytest.approx(60 / MINUTES_PER_YEAR)
    assert row["trading_minutes"] == 60


def test_an_expiration_on_a_saturday_settles_on_the_friday_before():
    row = measure(date(2014, 6, 21), "AAPL", new_york(2014, 6, 9, 16, 0))
    assert row["settles_at"] == new_york(2014, 6, 20, 16, 0)


def test_the_last_hour_is_an_hour_not_a_day():
    row = measure(date(2026, 8, 14), "SPXW", new_york(2026, 8, 14, 15, 0))
    assert row["years"] == pytest.approx(60 / MINUTES_PER_YEAR)
    assert row["trading_minutes"] == 60
    assert row["dte"] == 0


def test_living_contracts_have_at_least_a_minute_and_dead_ones_no_time():
    expiration = date(2026, 8, 14)
    assert measure(expiration, "SPXW", new_york(2026, 8, 14, 15, 59, 50))["years"] == SHORTEST_YEARS
    assert measure(expiration, "SPXW", new_york(2026, 8, 14, 16, 0))["years"] <= 0
    assert measure(expiration, "SPX", new_york(2026, 8, 14, 15, 0))["years"] < 0
    assert measure(expiration, "SPX", new_york(2026, 8, 14, 15, 0))["trading_minutes"] == 0


def test_a_weekend_has_no_trading_minutes():
    friday = new_york(2026, 8, 14, 15, 0)
    row = measure(date(2026, 8, 17), "SPY", friday)
    assert row["trading_minutes"] == 60 + 390
    assert row["years"] == pytest.approx((3 * 1440 + 60) / MINUTES_PER_YEAR)


def test_daylight_saving_changes_move_utc_not_the_hours_of_trading():
    row = measure(date(2026, 11, 2), "SPY", new_york(2026, 10, 30, 16, 0))  # the clocks go back on 1 November
    assert row["trading_minutes"] == 390
    assert row["years"] == pytest.approx((3 * 1440 + 60) / MINUTES_PER_YEAR)


def test_times_may_differ_by_row_and_order_and_nulls_are_kept():
    now = pl.Series([new_york(2026, 8, 14, 15, 0), new_york(2026, 8, 14, 12, 0), None], dtype=pl.Datetime("us", "UTC"))
    expirations = pl.Series([date(2026, 8, 21), date(2026, 8, 14), date(2026, 8, 21)])
    frame = time_to_expiration(expirations, pl.Series(["SPX", "SPXW", "SPY"]), now)
    assert frame["dte"].to_list() == [7, 0, None]
    assert frame["trading_minutes"].to_list()[1:] == [240, None]


@given(st.dates(date(2020, 1, 2), date(2027, 12, 31)), st.integers(0, 700), st.integers(0, 24 * 60 - 1))
def test_trading_minutes_are_the_minutes_of_the_sessions_in_between(start, days, minute):
    now = datetime(start.year, start.month, start.day, tzinfo=UTC) + timedelta(minutes=minute)
    expiration = start + timedelta(days=days)
    row = measure(expiration, "SPY", now)
    expected = 0.0
    for session in calendar.sessions(start - timedelta(days=2), expiration):
        opened, closed = calendar.session_open(session), calendar.session_close(session)
        expected += max((closed - max(opened, now)).total_seconds(), 0.0) / 60
    assert row["trading_minutes"] == pytest.approx(expected, abs=0.5)
