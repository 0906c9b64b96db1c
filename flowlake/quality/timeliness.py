"""Whether the lake is as far as it should be: the newest session there in time, none missing, none left behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


def snapshots_on_time(
    due: Sequence[tuple[str, datetime]], taken: Collection[str], now: datetime, *, used: bool
) -> Outcome:
    """Whether the newest snapshot that must be there at `now` (aware) is there (WARN).

    `due` are the partitions of the newest sessions, ascending, each with the moment by which it must have been taken;
    `taken` are those that were. They are the exchange's: on holidays, at night and after an early close nothing is
    late, and the newest snapshot stays the closing one. Where intraday is not `used` nothing is late either.
    """
    over = [partition for partition, by in due if by <= now]
    behind = 0
    for partition in reversed(over):
        if partition in taken:
            break
        behind += 1
    newest = max(taken, default="none")
    says = f"due is {over[-1] if over else 'none yet'}, newest is {newest}"
    return Outcome(
        "snapshots_on_time",
        passed=not (used and behind),
        severity=Severity.WARN,
        violations=behind if used else 0,
        rows=len(over),
        description=f"snapshots are taken before the next one is due; {says}"
        if used
        else "no snapshot has been taken in the last sessions: intraday is not in use",
    )


REBUILD: Final = "flowlake backfill superseded"
"""The command that builds again what was left behind."""


def none_left_behind(
    left: Mapping[date, Collection[str]], changed: Sequence[tuple[str, str]], sessions: int
) -> Outcome:
    """Whether every table of `sessions` sessions was made from the inputs that are in the lake now (WARN).

    `left` says by session which tables were not, `changed` which (table, session) they go back to.
    """
    tables = sorted({table for of in left.values() for table in of})
    begins = ", ".join(f"{table} of {session}" for table, session in changed[:3])
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    says = "every table was made from what its inputs are now"
    if left:
        says = (
            f"{len(left)} sessions from {min(left)} to {max(left)} have tables made before their inputs changed "
            f"({', '.join(tables)}); it began with {begins}{more}; build them again with: {REBUILD}"
        )
    return Outcome(
        "none_left_behind",
        passed=not left,
        severity=Severity.WARN,
        violations=len(left),
        rows=sessions,
        description=says,
        sample=tuple({"session": day, "tables": ", ".join(sorted(left[day]))} for day in sorted(left)[:5]),
    )
