"""Sessions are published in time and without holes, counted in trading sessions."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from flowlake.calendar import NEW_YORK, snapshot_key, snapshot_times
from flowlake.quality.timeliness import due_session, none_left_behind, on_time, snapshots_on_time, without_gaps


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (datetime(2026, 6, 10, 9, 59), date(2026, 6, 8)),
        (datetime(2026, 6, 10, 10, 0), date(2026, 6, 9)),
        (datetime(2026, 6, 14, 12, 0), date(2026, 6, 11)),
        # 3 July is a holiday: Thursday's session is due on Monday.
        (datetime(2026, 7, 3, 12, 0), date(2026, 7, 1)),
        (datetime(2026, 7, 6, 10, 0), date(2026, 7, 2)),
    ],
)
def test_a_session_is_due_at_ten_on_the_next_session(now: datetime, due: date):
    assert due_session(now.replace(tzinfo=NEW_YORK)) == due


def test_late_sessions_are_counted():
    now = datetime(2026, 6, 10, 10, tzinfo=NEW_YORK)
    assert on_time([date(2026, 6, 9)], now).passed
    assert (on_time([date(2026, 6, 5)], now).passed, on_time([date(2026, 6, 5)], now).violations) == (False, 2)
    assert not on_time([], now).passed


def test_a_hole_is_named_and_a_holiday_is_none():
    assert without_gaps([date(2026, 7, 2), date(2026, 7, 6)]).passed
    holed = without_gaps([date(2026, 6, 8), date(2026, 6, 10)])
    assert (holed.passed, holed.sample) == (False, ({"session": date(2026, 6, 9)},))
    assert "--from 2026-06-09 --to 2026-06-09" in holed.description
    assert without_gaps([]).passed


def test_what_a_correction_left_behind_is_named_with_where_it_began_and_the_command():
    left = {date(2026, 6, 9): ["scored_events"], date(2026, 6, 8): ["ticker_baselines", "scored_events"]}
    outcome = none_left_behind(left, [("option_chains", "2026-06-05")], sessions=9)
    assert (outcome.passed, outcome.violations, outcome.rows) == (False, 2, 9)
    for words in ("2026-06-08 to 2026-06-09", "(scored_events, ticker_baselines)", "option_chains of 2026-06-05"):
        assert words in outcome.description
    assert "flowlake backfill superseded" in outcome.description
    assert outcome.sample[0] == {"session": date(2026, 6, 8), "tables": "scored_events, ticker_baselines"}
    assert none_left_behind({}, [], sessions=9).passed


def _due(day: date) -> list[tuple[str, datetime]]:
    """Every snapshot of `day`, to be taken before the next is due: data are 15 minutes old."""
    return [(snapshot_key(at), at + timedelta(minutes=30)) for at in snapshot_times(day)]


@pytest.mark.parametrize(
    ("now", "behind"),
    [
        # The day before Thanksgiving was taken to its end; the holiday and the early close are the exchange's.
        (datetime(2026, 11, 25, 22, 0), 0),
        (datetime(2026, 11, 26, 12, 0), 0),
        (datetime(2026, 11, 27, 10, 14), 0),
        (datetime(2026, 11, 27, 10, 15), 1),
        (datetime(2026, 11, 27, 13, 29), 13),
        (datetime(2026, 11, 27, 18, 0), 14),
    ],
)
def test_snapshots_are_late_in_the_exchanges_hours_only(now: datetime, behind: int):
    days = date(2026, 11, 25), date(2026, 11, 27)
    due = [each for day in days for each in _due(day)]
    taken = [partition for partition, _ in _due(days[0])]
    outcome = snapshots_on_time(due, taken, now.replace(tzinfo=NEW_YORK), used=True)
    assert (outcome.passed, outcome.violations) == (behind == 0, behind)


def test_one_taken_snapshot_ends_the_lateness_and_nothing_is_late_where_intraday_is_not_used():
    due, now = _due(date(2026, 11, 27)), datetime(2026, 11, 27, 12, 0, tzinfo=NEW_YORK)
    assert snapshots_on_time(due, ["2026-11-27-11:30"], now, used=True).passed
    assert not snapshots_on_time(due, ["2026-11-27-11:15"], now, used=True).passed
    assert snapshots_on_time(due, [], now, used=False).passed
