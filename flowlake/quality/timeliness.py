"""Whether the lake is as far as it should be: the newest session there in time, and none missing between."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from typing import Final

from flowlake import calendar
from flowlake.quality.outcome import Outcome, Severity

DUE: Final = time(10, 0)
"""New York time on the morning after by which a session is published: the 08:00 run and two hours of grace."""


def due_session(now: datetime) -> date:
    """The newest session that must be published at `now` (aware): that of the newest passed deadline.

    Deadlines fall on trading sessions only: before a long weekend's Tuesday morning nothing is late.
    """
    local = now.astimezone(calendar.NEW_YORK)
    day = local.date() if local.time() >= DUE else local.date() - timedelta(days=1)
    while not calendar.is_session(day):
        day -= timedelta(days=1)
    return calendar.previous_session(day)


def on_time(published: Collection[date], now: datetime) -> Outcome:
    """Whether the newest session that is due at `now` is published (WARN)."""
    due, newest = due_session(now), max(published, default=None)
    late = newest is None or newest < due
    behind = len(calendar.sessions(newest, due)) - 1 if newest and late else int(late)
    return Outcome(
        "published_on_time",
        passed=not late,
        severity=Severity.WARN,
        violations=behind,
        rows=len(published),
        description=f"sessions are published by {DUE:%H:%M} New York on the next one; due is {due}, newest is {newest}",
    )


def without_gaps(published: Collection[date]) -> Outcome:
    """Whether every session between the oldest and the newest published one is there too (WARN)."""
    wanted = calendar.sessions(min(published), max(published)) if published else []
    missing = sorted(set(wanted) - set(published))
    fill = f"; fill them with: flowlake backfill --from {missing[0]} --to {missing[-1]}" if missing else ""
    return Outcome(
        "no_session_missing",
        passed=not missing,
        severity=Severity.WARN,
        violations=len(missing),
        rows=len(wanted),
        description=f"every session of the range is published; {len(missing)} of {len(wanted)} are not{fill}",
        sample=tuple({"session": day} for day in missing[:5]),
    )
