"""The one calendar: New York Stock Exchange sessions, opening hours, early closes and snapshot times.

The facts live in `nyse_calendar.json`, generated from `exchange_calendars` (calendar XNYS) by
`python -m flowlake.calendar`. That library imports pandas, which every Dagster step process would pay for;
a test holds the file equal to the library.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
"""The exchange's time zone; storage is UTC, people read this one."""

OPEN = time(9, 30)
CLOSE = time(16, 0)
EARLY_CLOSE = time(13, 0)

CLOSING_WAIT = timedelta(minutes=20)
"""How long after the close the session's last trades are in: index options trade to 16:15, late prints follow."""

SNAPSHOT_MINUTES = (5, 6, 10, 12, 15, 20, 30, 60)
"""Distances between snapshots that fit the hour, and so every open and close."""

_FILE = Path(__file__).with_name("nyse_calendar.json")
_FIRST, _LAST = date(2004, 1, 1), date(2040, 12, 31)


class NotASession(ValueError):
    """A date on which the exchange does not open was used as a session."""


@cache
def _facts() -> tuple[dict[date, str], frozenset[date]]:
    facts = json.loads(_FILE.read_text())
    holidays = {date.fromisoformat(day): name for day, name in facts["holidays"].items()}
    return holidays, frozenset(date.fromisoformat(day) for day in facts["early_closes"])


@cache
def _sessions() -> list[date]:
    holidays, _ = _facts()
    days = (_FIRST + timedelta(days=n) for n in range((_LAST - _FIRST).days + 1))
    return [day for day in days if day.weekday() < 5 and day not in holidays]


def holidays() -> dict[date, str]:
    """Weekdays on which the exchange is closed, with the reason."""
    return dict(_facts()[0])


def early_closes() -> frozenset[date]:
    """Sessions that close at 13:00 New York."""
    return _facts()[1]


def is_session(day: date) -> bool:
    """Whether the exchange opens on `day`."""
    return day.weekday() < 5 and day not in _facts()[0] and _FIRST <= day <= _LAST


def require_session(day: date) -> date:
    """`day` itself; raises `NotASession` naming the reason and the neighbouring sessions where it is none."""
    if is_session(day):
        return day
    if not _FIRST <= day <= _LAST:
        raise NotASession(f"{day} is outside the calendar ({_FIRST} to {_LAST})")
    reason = _facts()[0].get(day, f"a {day:%A}")
    raise NotASession(
        f"{day} is not a trading session ({reason}); "
        f"the sessions around it are {previous_session(day)} and {next_session(day)}"
    )


def sessions(start: date, end: date) -> list[date]:
    """Sessions from `start` to `end`, both included, ascending."""
    days = _sessions()
    return days[bisect_left(days, start) : bisect_right(days, end)]


def previous_session(day: date, n: int = 1) -> date:
    """The `n`-th session strictly before `day`."""
    days = _sessions()
    at = bisect_left(days, day) - n
    if at < 0:
        raise NotASession(f"there are fewer than {n} sessions before {day} in the calendar (it starts {_FIRST})")
    return days[at]


def next_session(day: date, n: int = 1) -> date:
    """The `n`-th session strictly after `day`."""
    days = _sessions()
    at = bisect_right(days, day) + n - 1
    if at >= len(days):
        raise NotASession(f"there are fewer than {n} sessions after {day} in the calendar (it ends {_LAST})")
    return days[at]


def trailing_sessions(day: date, n: int) -> list[date]:
    """The `n` sessions strictly before `day`, ascending (fewer at the start of the calendar)."""
    days = _sessions()
    at = bisect_left(days, day)
    return days[max(0, at - n) : at]


def session_open(day: date) -> datetime:
    """When regular trading of session `day` begins, UTC."""
    return datetime.combine(require_session(day), OPEN, NEW_YORK).astimezone(UTC)


def session_close(day: date) -> datetime:
    """When regular trading of session `day` ends (13:00 New York on early closes), UTC."""
    close = EARLY_CLOSE if require_session(day) in early_closes() else CLOSE
    return datetime.combine(day, close, NEW_YORK).astimezone(UTC)


def latest_closed_session(now: datetime) -> date:
    """The newest session whose regular trading has ended at `now` (an aware datetime)."""
    day = now.astimezone(NEW_YORK).date()
    if is_session(day) and session_close(day) <= now:
        return day
    return previous_session(day)


def snapshot_times(day: date, every_minutes: int = 15) -> list[datetime]:
    """Snapshot times of session `day` in UTC: the clock's multiples of `every_minutes` after the open, to the close.

    `every_minutes` divides the hour, so that open and closes of every kind fall on the same grid: 26 snapshots of 15
    minutes in a full session, 14 in one that ends at 13:00.
    """
    if every_minutes not in SNAPSHOT_MINUTES:
        raise ValueError(f"every_minutes must be one of {', '.join(map(str, SNAPSHOT_MINUTES))}, got {every_minutes}")
    opened, closed = session_open(day), session_close(day)
    step = timedelta(minutes=every_minutes)
    count = -(-(closed - opened) // step)
    return [closed - step * k for k in reversed(range(count))]


def snapshot_key(at: datetime) -> str:
    """Partition key of the snapshot at `at`: 'YYYY-MM-DD-HH:MM' in New York."""
    return f"{at.astimezone(NEW_YORK):%Y-%m-%d-%H:%M}"


def snapshot_of_key(key: str) -> datetime:
    """The moment (UTC) that a snapshot's partition key names; raises `ValueError` where it names none in a session."""
    at = datetime.strptime(key, "%Y-%m-%d-%H:%M").replace(tzinfo=NEW_YORK).astimezone(UTC)
    day = date.fromisoformat(key[:10])
    if not session_open(day) < at <= session_close(day):
        hours = " to ".join(f"{at.astimezone(NEW_YORK):%H:%M}" for at in (session_open(day), session_close(day)))
        raise ValueError(f"snapshot {key} is outside the hours of session {day}, {hours} New York")
    return at


def write_calendar_file() -> None:
    """Regenerate `nyse_calendar.json` from exchange_calendars."""
    import exchange_calendars
    import pandas as pd

    nyse = exchange_calendars.get_calendar("XNYS", start=_FIRST.isoformat(), end=_LAST.isoformat())
    opened = {stamp.date() for stamp in nyse.sessions}
    weekdays = (stamp.date() for stamp in pd.bdate_range(_FIRST, _LAST))
    rules = nyse.regular_holidays
    assert rules is not None, "XNYS has holiday rules"
    named = pd.Series(rules.holidays(pd.Timestamp(_FIRST), pd.Timestamp(_LAST), return_name=True))
    names = {pd.Timestamp(str(stamp)).date(): str(name) for stamp, name in named.items()}
    facts = {
        "source": f"exchange_calendars {exchange_calendars.__version__}, XNYS, {_FIRST} to {_LAST}",
        "holidays": {day.isoformat(): names.get(day, "special closure") for day in weekdays if day not in opened},
        "early_closes": sorted(stamp.date().isoformat() for stamp in nyse.early_closes),
    }
    _FILE.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    write_calendar_file()
