"""Session partitions: one per trading session, weekends and exchange holidays left out."""

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
