"""Partitions: one per trading session, or one per snapshot within it; closed days and hours are left out."""

from __future__ import annotations

from datetime import date, datetime

import dagster as dg

from flowlake import calendar
from flowlake.settings import get_settings

WEEKENDS = ("0 0 * * 6", "0 0 * * 0")


def session_partitions(first_session: date) -> dg.DailyPartitionsDefinition:
    """Trading sessions from `first_session` to today's, which exists before midnight so that the close can be taken."""
    closed = [datetime(day.year, day.month, day.day) for day in calendar.holidays() if day >= first_session]
    return dg.DailyPartitionsDefinition(
        start_date=first_session.isoformat(),
        timezone=calendar.NEW_YORK.key,
        end_offset=1,
        exclusions=[*WEEKENDS, *closed],
    )


SESSIONS = session_partitions(date.fromisoformat(get_settings().market.first_session))
"""The partitions of every end-of-day asset."""


def snapshot_partitions(first_session: date, every_minutes: int, last_year: int) -> dg.TimeWindowPartitionsDefinition:
    """Snapshots of sessions from `first_session` on, keys 'YYYY-MM-DD-HH:MM' in New York, today's included.

    Before the open, after the close, on holidays (to the end of `last_year`) and after early closes there is none.
    """
    ticks = [divmod(minute, 60) for minute in range(9 * 60, 17 * 60, every_minutes)]
    opened, closed, early = calendar.OPEN, calendar.CLOSE, calendar.EARLY_CLOSE
    outside = [
        f"{minute} {hour} * * *"
        for hour, minute in ticks
        if not (opened.hour, opened.minute) < (hour, minute) <= (closed.hour, closed.minute)
    ]
    closed_days = [(day, (0, 0)) for day in calendar.holidays()]
    short_days = [(day, (early.hour, early.minute)) for day in calendar.early_closes()]
    exceptions = [
        datetime(day.year, day.month, day.day, *tick)
        for day, last in (*closed_days, *short_days)
        if day >= first_session and day.year <= last_year
        for tick in ticks
        if tick > last
    ]
    minutes = f"*/{every_minutes}" if every_minutes < 60 else "0"
    return dg.TimeWindowPartitionsDefinition(
        start=f"{first_session.isoformat()}-00:00",
        cron_schedule=f"{minutes} 9-16 * * 1-5",
        fmt="%Y-%m-%d-%H:%M",
        timezone=calendar.NEW_YORK.key,
        end_offset=1,
        exclusions=[*outside, *exceptions],
    )


SNAPSHOTS = snapshot_partitions(
    date.fromisoformat(get_settings().market.first_session),
    get_settings().intraday.every_minutes,
    # Each holiday is 32 exceptions of every intraday asset: those far ahead can wait for a later start.
    date.today().year + 1,
)
"""The partitions of every intraday asset."""


def trailing(sessions: int) -> dg.TimeWindowPartitionMapping:
    """The `sessions` partitions strictly before; at the start of the history, those there are."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-sessions, end_offset=-1, allow_nonexistent_upstream_partitions=True
    )


def through_today(sessions: int) -> dg.TimeWindowPartitionMapping:
    """The `sessions` partitions before, and the same one."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-sessions, end_offset=0, allow_nonexistent_upstream_partitions=True
    )
