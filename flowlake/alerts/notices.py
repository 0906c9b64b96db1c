"""Operations: which faults become messages. One message per broken thing, one when it is whole again, few between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.alerts import identity
from flowlake.alerts.message import clean
from flowlake.settings import AlertSettings

Row = dict[str, Any]

SEVERITIES = ("WARN", "ERROR")
LONGEST = 300
"""Occurrences kept in one notification; the oldest recovered ones go first."""
_TEXT = 500


@dataclass(frozen=True)
class Fault:
    """Something that went wrong once.

    `topic` names the feed it belongs to: faults of one topic make one message. `key` names what can recover (a check,
    a job, the snapshots), `where` the partition or run it was seen in.
    """

    topic: str
    key: str
    where: str
    at: datetime
    severity: str
    what: str
    expected: str = ""
    seen: str = ""
    link: str = ""


@dataclass(frozen=True)
class Recovery:
    """Proof at `at` that what `key` names works again: its open faults up to then are over."""

    topic: str
    key: str
    at: datetime


@dataclass(frozen=True)
class Notices:
    """Rows of NOTIFICATIONS that changed, and those of which a message goes out."""

    changed: list[Row]
    raised: list[Row]


def group(
    held: Iterable[Mapping[str, Any]],
    faults: Iterable[Fault],
    recoveries: Iterable[Recovery],
    rules: AlertSettings,
    now: datetime,
    origin: str = "vendor",
) -> Notices:
    """What the notifications should be, given those `held`. The same facts told twice change nothing.

    A message goes out when a topic breaks, when it gets worse, when it recovers, and when more of it breaks, the
    last at most once per cool-down.
    """
    before = {row["notification_id"]: dict(row) for row in held}
    rows = {key: dict(row) for key, row in before.items()}
    loud = [f for f in faults if SEVERITIES.index(f.severity) >= SEVERITIES.index(rules.notify_severity)]
    for fault in sorted(loud, key=lambda each: (each.at, each.key, each.where)):
        _add(rows, fault, now, origin)
    for recovery in sorted(recoveries, key=lambda each: each.at):
        _recover(rows, recovery)
    raised: list[Row] = []
    for key, row in rows.items():
        open_faults = [fault for fault in row["occurrences"] if fault["recovered_at"] is None]
        row["status"] = "open" if open_faults else "recovered"
        row["severity"] = max(
            (fault["severity"] for fault in open_faults or row["occurrences"]), key=SEVERITIES.index, default="ERROR"
        )
        row["title"] = _title(row, open_faults)
        if _tells(row, before.get(key), rules, now):
            row |= {"revision": row["revision"] + 1, "raised_at": now}
            raised.append(row)
    changed = [row for key, row in rows.items() if row != before.get(key)]
    for row in changed:
        row["available_at"] = now
    return Notices(changed, raised)


def late_snapshots(
    log: pl.DataFrame, now: datetime, rules: AlertSettings, link: str
) -> tuple[list[Fault], list[Recovery]]:
    """Faults and recoveries that the rows of SNAPSHOT_LOG show at `now`.

    A snapshot is late where it has not been scored `snapshot_grace_minutes` after it could first be taken; one that
    is scored proves that the feed works again. What is older than a day is history, not news.
    """
    grace = timedelta(minutes=rules.snapshot_grace_minutes)
    late = log.filter(
        pl.col("scored_at").is_null(), pl.col("due_at") + grace <= now, pl.col("due_at") > now - timedelta(days=1)
    )
    faults = [
        Fault(
            topic="market data",
            key="snapshots",
            where=f"snapshot {row['partition']}",
            at=row["due_at"] + grace,
            severity="ERROR",
            what=f"is late ({row['status']})",
            expected=f"scored by {row['due_at'] + grace:%H:%M} UTC",
            seen=clean(row["reason"] or f"{row['answered']:,} of {row['asked']:,} underlyings answered", _TEXT),
            link=link,
        )
        for row in late.sort("snapshot").iter_rows(named=True)
    ]
    scored = log.drop_nulls("scored_at")
    newest = scored.select(pl.col("scored_at").max()).item() if scored.height else None
    return faults, [Recovery("market data", "snapshots", newest)] if newest else []


def missing_snapshots(
    log: pl.DataFrame, every_minutes: int, delay_minutes: int, now: datetime
) -> list[Mapping[str, Any]]:
    """Snapshots of today that were due, of which the log has no row although it has others of today: nobody looked."""
    today = now.astimezone(calendar.NEW_YORK).date()
    of_today = log.filter(pl.col("session") == today)
    if of_today.is_empty() or not calendar.is_session(today):
        return []
    first, logged = of_today["snapshot"].min(), set(of_today["snapshot"])
    return [
        {
            "session": today,
            "snapshot": at,
            "partition": calendar.snapshot_key(at),
            "status": "never begun",
            "reason": "no pass was begun: is the intraday sensor on, and the Dagster daemon alive?",
            "due_at": at + timedelta(minutes=delay_minutes),
            "scored_at": None,
            "asked": 0,
            "answered": 0,
        }
        for at in calendar.snapshot_times(today, every_minutes)
        if at >= first and at not in logged and at + timedelta(minutes=delay_minutes) <= now  # pyright: ignore[reportOperatorIssue]
    ]


def _add(rows: dict[str, Row], fault: Fault, now: datetime, origin: str) -> None:
    row = _open_row(rows, fault.topic)
    for other in _of_topic(rows, fault.topic):
        for known in other["occurrences"]:
            same = (known["key"], known["where"]) == (fault.key, fault.where)
            if same and (known["recovered_at"] is None or known["at"] >= fault.at):
                return
    if row is None:
        key = identity.notification_id(fault.topic, fault.at.isoformat())
        row = rows[key] = {
            "notification_id": key,
            "topic": fault.topic,
            "status": "open",
            "severity": fault.severity,
            "title": "",
            "occurrences": [],
            "revision": 0,
            "raised_at": now,
            "first_seen": fault.at,
            "last_seen": fault.at,
            "thread_id": identity.thread_id(key),
            "available_at": now,
            "origin": origin,
        }
    shortened = replace(
        fault, what=clean(fault.what, _TEXT), expected=clean(fault.expected, _TEXT), seen=clean(fault.seen, _TEXT)
    )
    occurrence = {
        name: getattr(shortened, name)
        for name in ("key", "at", "severity", "what", "where", "expected", "seen", "link")
    }
    row["occurrences"] = _shortened([*row["occurrences"], occurrence | {"recovered_at": None}])
    row["last_seen"] = max(row["last_seen"], fault.at)


def _recover(rows: dict[str, Row], recovery: Recovery) -> None:
    for row in _of_topic(rows, recovery.topic):
        over = [
            fault | {"recovered_at": recovery.at}
            if fault["recovered_at"] is None and fault["key"] == recovery.key and fault["at"] <= recovery.at
            else fault
            for fault in row["occurrences"]
        ]
        if over != row["occurrences"]:
            row |= {"occurrences": over, "last_seen": max(row["last_seen"], recovery.at)}


def _tells(row: Row, before: Row | None, rules: AlertSettings, now: datetime) -> bool:
    if before is None or before["revision"] == 0:
        return row["status"] == "open"
    if row["status"] == "recovered":
        return before["status"] == "open"
    if SEVERITIES.index(row["severity"]) > SEVERITIES.index(before["severity"]):
        return True
    ready = row["raised_at"] + timedelta(minutes=rules.notify_cool_down_minutes)
    return now >= ready and any(fault["at"] > row["raised_at"] for fault in row["occurrences"])


def _title(row: Row, open_faults: Sequence[Row]) -> str:
    if not open_faults:
        return f"{row['topic']} works again"
    first = open_faults[0]
    more = f" and {len(open_faults) - 1} more" if len(open_faults) > 1 else ""
    return clean(f"{row['topic']}: {first['where']} {first['what']}", 100) + more


def _open_row(rows: dict[str, Row], topic: str) -> Row | None:
    return next((row for row in _of_topic(rows, topic) if row["status"] == "open"), None)


def _of_topic(rows: dict[str, Row], topic: str) -> list[Row]:
    return [row for row in rows.values() if row["topic"] == topic]


def _shortened(occurrences: list[Row]) -> list[Row]:
    surplus = len(occurrences) - LONGEST
    if surplus <= 0:
        return occurrences
    recovered = [fault for fault in occurrences if fault["recovered_at"] is not None][:surplus]
    kept = [fault for fault in occurrences if fault not in recovered]
    return kept[-LONGEST:]
