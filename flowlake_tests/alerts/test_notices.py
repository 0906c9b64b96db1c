"""Operations: one message per broken thing, one when it is whole again, and few between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from flowlake.alerts import notices
from flowlake.alerts.notices import Fault, Recovery, group, late_snapshots, missing_snapshots
from flowlake.schemas import table
from flowlake.settings import AlertSettings
from flowlake_tests.alerts.scenes import NOW, SESSION, at
from flowlake_tests.factories import frame

RULES = AlertSettings(notify_cool_down_minutes=60, snapshot_grace_minutes=5)


def fault(minute: float = 0, **more: Any) -> Fault:
    facts: dict[str, Any] = {
        "topic": "market data",
        "key": "run:end_of_day",
        "where": f"run {minute}",
        "what": "failed",
    }
    return Fault(**(facts | {"at": NOW + timedelta(minutes=minute), "severity": "ERROR"} | more))


def recovered(minute: float, key: str = "run:end_of_day", topic: str = "market data") -> Recovery:
    return Recovery(topic, key, NOW + timedelta(minutes=minute))


def after(held: list[notices.Row], found: notices.Notices) -> list[notices.Row]:
    merged = {row["notification_id"]: row for row in held} | {row["notification_id"]: row for row in found.changed}
    return list(merged.values())


def test_a_broken_feed_is_one_message_however_much_of_it_fails():
    failed = [fault(key=f"check:t:{name}", where=f"t {day}") for name in "abc" for day in range(20)]
    found = group([], [*failed, fault()], [], RULES, NOW)
    assert len(found.raised) == 1
    assert found.raised[0]["title"].endswith("and 60 more")
    assert found.raised[0]["severity"] == "ERROR"


def test_two_feeds_are_two_messages():
    found = group([], [fault(), fault(topic="insider filings")], [], RULES, NOW)
    assert sorted(row["topic"] for row in found.raised) == ["insider filings", "market data"]


def test_the_same_facts_twice_change_nothing():
    held = after([], group([], [fault()], [], RULES, NOW))
    again = group(held, [fault()], [], RULES, NOW + timedelta(minutes=30))
    assert (again.changed, again.raised) == ([], [])


def test_more_of_the_same_is_told_after_the_cool_down():
    held = after([], group([], [fault()], [], RULES, NOW))
    soon = group(held, [fault(10)], [], RULES, NOW + timedelta(minutes=10))
    assert soon.raised == []
    held = after(held, soon)
    late = group(held, [], [], RULES, NOW + timedelta(minutes=61))
    assert [row["revision"] for row in late.raised] == [2]
    held = after(held, late)
    assert group(held, [], [], RULES, NOW + timedelta(hours=9)).raised == []


def test_getting_worse_is_told_at_once():
    rules = AlertSettings(notify_severity="WARN")
    held = after([], group([], [fault(severity="WARN")], [], rules, NOW))
    worse = group(held, [fault(1, where="other")], [], rules, NOW + timedelta(minutes=1))
    assert [row["severity"] for row in worse.raised] == ["ERROR"]


def test_recovery_is_told_once_and_a_new_break_is_a_new_thread():
    held = after([], group([], [fault()], [], RULES, NOW))
    mended = group(held, [], [recovered(5)], RULES, NOW + timedelta(minutes=5))
    assert [row["title"] for row in mended.raised] == ["market data works again"]
    held = after(held, mended)
    assert group(held, [fault()], [recovered(5)], RULES, NOW + timedelta(minutes=6)).changed == []
    broken = group(held, [fault(10)], [], RULES, NOW + timedelta(minutes=10))
    assert len(broken.raised) == 1
    assert broken.raised[0]["thread_id"] != held[0]["thread_id"]


def test_one_of_two_faults_mended_is_not_a_recovery():
    held = after([], group([], [fault(), fault(key="check:t:a", where="t")], [], RULES, NOW))
    half = group(held, [], [recovered(5)], RULES, NOW + timedelta(minutes=5))
    assert half.raised == []
    assert half.changed[0]["status"] == "open"
    assert len(group(after(held, half), [], [recovered(6, "check:t:a")], RULES, NOW).raised) == 1


def test_a_success_before_the_failure_proves_nothing():
    assert group([], [fault(5)], [recovered(1)], RULES, NOW).raised[0]["status"] == "open"


def test_what_broke_and_was_mended_between_two_looks_is_recorded_but_not_told():
    found = group([], [fault()], [recovered(3)], RULES, NOW + timedelta(minutes=5))
    assert found.raised == []
    assert found.changed[0]["status"] == "recovered"


def test_warnings_are_not_told_unless_wanted():
    assert group([], [fault(severity="WARN")], [], RULES, NOW).changed == []
    assert group([], [fault(severity="WARN")], [], AlertSettings(notify_severity="WARN"), NOW).raised


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.integers(0, 300), st.booleans()), min_size=1, max_size=30
    )
)
def test_messages_about_one_topic_are_few_and_the_state_is_what_was_said_last(
    said: list[tuple[str, int, int, bool]],
):
    held: list[notices.Row] = []
    raised = 0
    for step, (key, where, minute, works) in enumerate(sorted(said, key=lambda each: each[2])):
        now = NOW + timedelta(minutes=minute, seconds=step)
        faults = [] if works else [fault(minute + step / 60, key=key, where=str(where))]
        found = group(held, faults, [recovered(minute + step / 60, key)] if works else [], RULES, now)
        raised += len(found.raised)
        held = after(held, found)
        assert sum(row["status"] == "open" for row in held) <= 1
    assert raised == sum(row["revision"] for row in held)
    failures = sum(not works for _, _, _, works in said)
    assert raised <= 2 * failures, "a thing that works is never a message of its own"
    assert table("notifications").conform(pl.DataFrame(held, schema=table("notifications").schema)).height == len(held)


def log_row(minute: int, **more: Any) -> dict[str, Any]:
    snapshot = at(10, 0) + timedelta(minutes=minute)
    return {
        "session": SESSION,
        "snapshot": snapshot,
        "partition": f"{SESSION}-{10 + minute // 60}:{minute % 60:02d}",
        "status": "taken",
        "due_at": snapshot + timedelta(minutes=15),
        "scored_at": snapshot + timedelta(minutes=17),
        **more,
    }


def log(*rows: dict[str, Any]) -> pl.DataFrame:
    return frame(table("snapshot_log"), list(rows))


def test_a_snapshot_that_is_not_scored_in_time_is_late_and_a_later_one_is_the_recovery():
    rows = log_row(0), log_row(15, status="failed", scored_at=None, reason="503 from the vendor")
    early, _ = late_snapshots(log(*rows), at(10, 34), RULES, "")
    assert early == []
    late, _ = late_snapshots(log(*rows), at(10, 35), RULES, "http://ui")
    assert [each.where for each in late] == [f"snapshot {SESSION}-10:15"]
    assert late[0].seen == "503 from the vendor"
    held = after([], group([], late, [], RULES, at(10, 35)))
    faults, works = late_snapshots(log(*rows, log_row(30)), at(10, 48), RULES, "")
    assert [row["status"] for row in group(held, faults, works, RULES, at(10, 48)).raised] == ["recovered"]


def test_what_was_late_days_ago_is_not_told_when_the_sensor_is_switched_on():
    rows = log(log_row(0, status="failed", scored_at=None))
    assert late_snapshots(rows, at(10, 20) + timedelta(days=1), RULES, "") == ([], [])


def test_a_snapshot_nobody_began_is_seen():
    rows = log(log_row(0), log_row(15))
    missing = missing_snapshots(rows, 15, 15, at(10, 50))
    assert [row["partition"] for row in missing] == [f"{SESSION}-10:30"]
    assert missing_snapshots(log(), 15, 15, at(10, 50)) == []
