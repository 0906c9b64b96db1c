"""From scored events to messages that people have: decide, write the intent, send, write the result.

The order makes a crash harmless. An intent that was written is tried until it is settled; a process that dies after the
channel took a message and before the ledger knows leads to one repeat, with the same Message-ID. One dispatcher works
at a time: a lock that the kernel frees with the process keeps others waiting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.alerts import identity, ledger, notices, policy
from flowlake.alerts.channels.base import Channel, ChannelDown, ChannelError, Rejected
from flowlake.alerts.message import Message, clean
from flowlake.lake import Lake, LakeBusy, Snapshot, Transaction
from flowlake.lake.locking import exclusive_lock
from flowlake.schemas.alerts import ALERT_DELIVERIES, ALERTS, NOTIFICATIONS
from flowlake.settings import AlertSettings, Settings

Row = dict[str, Any]
Clock = Callable[[], datetime]
Compose = Callable[[Snapshot, Mapping[str, Any], Settings, datetime], Message]

EVENT_TABLES = ("scored_events", "intraday_scored_events")
VERDICT_TABLE = "event_status"

_LOCK = ".alerts.lock"
_RECENT = timedelta(days=31)
"""How far back messages are looked for that still have to be sent; older ones are dead letters long since."""
_ERROR_LENGTH = 400

log = logging.getLogger(__name__)


@dataclass
class Report:
    """What a dispatch did: alerts whose row changed, messages raised, and what became of deliveries."""

    seen: dict[str, str] = field(default_factory=dict)
    alerts: int = 0
    raised: int = 0
    sent: int = 0
    failed: int = 0
    dead: int = 0
    waiting: int = 0
    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.raised} raised, {self.sent} sent, {self.failed} to be tried again, {self.dead} dead"
        return f"{text}: {self.errors[-1]}" if self.errors else text


def dispatch(
    lake: Lake,
    settings: Settings,
    channels: Mapping[str, Channel],
    clock: Clock,
    *,
    seen: Mapping[str, str] | None = None,
    budget_seconds: float = 45.0,
) -> Report:
    """Decide about new evidence, then send what is due, for at most `budget_seconds` of real time.

    `seen` is `Report.seen` of the look before: partitions that have not changed since are not read again (without it,
    all recent ones are; that changes nothing but the time it takes). `clock` tells the market's time. Where another
    dispatcher is at work for longer than the budget, nothing is done and the report says so.
    """
    report = Report(seen=dict(seen or {}))
    if not settings.alerts.enabled:
        report.errors.append("alerts are switched off (FLOWLAKE_ALERTS__ENABLED)")
        return report
    deadline = time.monotonic() + budget_seconds
    with _only_one(lake, budget_seconds, report) as alone:
        if alone:
            decide(_hasty(lake, deadline), settings.alerts, list(channels), clock(), report)
            deliver(lake, settings, channels, clock, report, deadline=deadline)
    return report


def redeliver(
    lake: Lake, settings: Settings, channels: Mapping[str, Channel], clock: Clock, *, budget_seconds: float = 45.0
) -> Report:
    """Only send what is due: messages that wait for a channel, for the end of quiet hours, or were interrupted."""
    report = Report()
    deadline = time.monotonic() + budget_seconds
    if ledger.due(_recent(lake, clock()), clock()).is_empty():
        return report
    with _only_one(lake, budget_seconds, report) as alone:
        if alone:
            deliver(lake, settings, channels, clock, report, deadline=deadline)
    return report


@contextmanager
def _only_one(lake: Lake, budget_seconds: float, report: Report) -> Iterator[bool]:
    """Whether this is the only dispatcher; where the lake itself is busy for too long, the report says so."""
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(lake.paths.root / _LOCK, budget_seconds))
        except LakeBusy:
            report.errors.append("another dispatcher is at work")
            yield False
            return
        try:
            yield True
        except LakeBusy:
            report.errors.append("the lake is busy; the next look goes on")


def _hasty(lake: Lake, deadline: float) -> Lake:
    """The same lake, whose lock is waited for only until `deadline`: nothing is lost if a look comes too late.

    Results of sending are written with the lake's own patience: a message sent and not recorded would go out twice.
    """
    hasty = copy(lake)
    hasty.lock_timeout_seconds = max(deadline - time.monotonic(), 0.1)
    return hasty


# --- deciding ---------------------------------------------------------------------------------------------------------


def decide(lake: Lake, rules: AlertSettings, channels: Sequence[str], now: datetime, report: Report) -> None:
    """Bring the ledger level with the evidence known at `now`, and write the intent of every message that follows."""
    fresh = _fresh(lake.snapshot(), rules, now, report.seen)
    sessions = _open_sessions(rules, now)
    with ledger.changes(lake) as transaction:
        held = {row["alert_id"]: row for row in ledger.alerts(transaction, sessions).iter_rows(named=True)}
        people = policy.standing(ledger.actions(transaction), now)
        rows, early = _with_evidence(transaction, held, fresh, rules, now)
        decisions = policy.decide(rows.values(), people, rules, now, list(held.values()))
        if not channels:
            for row in decisions.raised:
                row["reason"] = f"{row['reason']}; no channel is configured"
        ledger.put(transaction, ALERTS.name, decisions.alerts)
        _intend(transaction, decisions.raised, channels, rules, now)
        digests = _digest(transaction, channels, rules, now)
    report.alerts += len(decisions.alerts)
    report.raised += len(decisions.raised) + digests
    report.seen = _remembered(report.seen, [part for part in fresh if part.key not in early], rules, now)


@dataclass(frozen=True)
class _Partition:
    """A partition of evidence: its table, name and content hash."""

    table: str
    name: str
    digest: str

    @property
    def key(self) -> str:
        return f"{self.table}/{self.name}"


def _fresh(snapshot: Snapshot, rules: AlertSettings, now: datetime, seen: Mapping[str, str]) -> list[_Partition]:
    """Partitions of evidence recent enough to matter that `seen` does not have as they are."""
    oldest = calendar.previous_session(policy.oldest_news(rules, now)).isoformat()
    found = [
        _Partition(name, key, snapshot.entry(name, key).sha256)
        for name in (*EVENT_TABLES, VERDICT_TABLE)
        for key in snapshot.partitions(name)
        if key >= oldest
    ]
    return [part for part in found if seen.get(part.key) != part.digest]


def _remembered(
    seen: Mapping[str, str], fresh: Sequence[_Partition], rules: AlertSettings, now: datetime
) -> dict[str, str]:
    oldest = calendar.previous_session(policy.oldest_news(rules, now)).isoformat()
    kept = {key: digest for key, digest in seen.items() if key.partition("/")[2] >= oldest}
    return kept | {part.key: part.digest for part in fresh}


def _open_sessions(rules: AlertSettings, now: datetime) -> list[date]:
    """Sessions whose alerts may still change: from the one that expires now to today's."""
    today = policy.market_day(now)
    return calendar.sessions(calendar.previous_session(today, rules.expire_sessions + 1), today)


def _with_evidence(
    transaction: Transaction, held: Mapping[str, Row], fresh: Sequence[_Partition], rules: AlertSettings, now: datetime
) -> tuple[dict[str, Row], set[str]]:
    """Alerts by id with what `fresh` says of them, and the keys of partitions with rows that are not known yet."""
    rows = {key: dict(row) for key, row in held.items()}
    known = sorted(row["event_id"] for row in rows.values())
    read = {part: transaction.read(part.table, part.name) for part in fresh}
    early = {part.key for part, frame in read.items() if frame.filter(pl.col("available_at") > now).height}
    news = (pl.col("session") >= policy.oldest_news(rules, now)) | pl.col("event_id").is_in(known)
    found = [
        policy.candidates(pl.concat(frames).filter(pl.col("available_at") <= now, news), name, rules.min_score, known)
        for name in EVENT_TABLES
        if (frames := [frame for part, frame in read.items() if part.table == name])
    ]
    if found:
        rows = policy.update(rows, pl.concat(found).sort("available_at", "event_id"), now)
    for part, frame in read.items():
        if part.table == VERDICT_TABLE:
            rows = policy.settle_status(rows, frame.filter(pl.col("available_at") <= now))
    return rows, early


def _intend(
    transaction: Transaction, raised: Sequence[Row], channels: Sequence[str], rules: AlertSettings, now: datetime
) -> None:
    """A pending delivery per raised alert and channel; older revisions not yet sent are superseded by it."""
    if not raised or not channels:
        return
    revisions = {row["alert_id"]: row["revision"] for row in raised}
    old = ledger.deliveries(transaction, sorted({row["session"] for row in raised})).filter(
        pl.col("status").is_in(ledger.OPEN), pl.col("alert_id").is_in(list(revisions))
    )
    superseded = [
        row | {"status": "superseded", "next_attempt_at": None, "available_at": now}
        for row in old.iter_rows(named=True)
        if row["revision"] < revisions[row["alert_id"]]
    ]
    new = [
        intent(
            row["session"], row["alert_id"], "alert", row["revision"], channel, row["last_updated"], row["origin"], now,
            not_before=policy.quiet_until(row, rules, now),
        )
        for row in raised
        for channel in channels
    ]  # fmt: skip
    ledger.put(transaction, ALERT_DELIVERIES.name, [*superseded, *new])


def _digest(transaction: Transaction, channels: Sequence[str], rules: AlertSettings, now: datetime) -> int:
    session = policy.digest_due(rules, now)
    if session is None or not channels:
        return 0
    key = identity.digest_id(session)
    if ledger.deliveries(transaction, [session]).filter(pl.col("alert_id") == key).height:
        return 0
    alerts = ledger.alerts(transaction, [session])
    origin = alerts["origin"][0] if alerts.height else "vendor"
    rows = [intent(session, key, "digest", 1, channel, now, origin, now) for channel in channels]
    ledger.put(transaction, ALERT_DELIVERIES.name, rows)
    return 1


def intent(
    session: date,
    subject: str,
    kind: str,
    revision: int,
    channel: str,
    known_at: datetime,
    origin: str,
    now: datetime,
    not_before: datetime | None = None,
) -> Row:
    """A pending row of ALERT_DELIVERIES."""
    return {
        "session": session,
        "alert_id": subject,
        "kind": kind,
        "revision": revision,
        "channel": channel,
        "status": "pending",
        "attempts": 0,
        "next_attempt_at": not_before or now,
        "last_error": None,
        "message_id": identity.message_id(subject, revision, channel),
        "known_at": known_at,
        "created_at": now,
        "sent_at": None,
        "latency_seconds": None,
        "available_at": now,
        "origin": origin,
    }


# --- delivering -------------------------------------------------------------------------------------------------------


def deliver(
    lake: Lake,
    settings: Settings,
    channels: Mapping[str, Channel],
    clock: Clock,
    report: Report,
    *,
    deadline: float,
    compose: Compose | None = None,
) -> None:
    """Send what is due, one message at a time; a channel that is down is left alone until its next attempt."""
    from flowlake.alerts.compose import compose_delivery

    make = compose or compose_delivery
    before = report.sent + report.dead
    down: set[str] = set()
    while time.monotonic() < deadline:
        now = clock()
        waiting = ledger.due(_recent(lake, now), now)
        usable = waiting.filter(pl.col("channel").is_in([name for name in channels if name not in down]))
        report.waiting = waiting.height - usable.height
        if usable.is_empty():
            break
        row = usable.row(0, named=True)
        _begin(_hasty(lake, deadline), row, now)
        settled = _attempt(lake, settings, channels[row["channel"]], row, clock, make)
        _count(report, settled)
        if settled["channel_down"]:
            down.add(row["channel"])
        _settle(lake, settled, usable, clock())
    if report.alerts or report.raised or report.sent + report.dead > before:
        # Once a look: a new catalog takes longer than the messages.
        with ledger.changes(lake, publish=True):
            pass


def _recent(lake: Lake, now: datetime) -> pl.DataFrame:
    today = policy.market_day(now)
    return ledger.deliveries(lake, calendar.sessions(today - _RECENT, today))


def _begin(lake: Lake, row: Row, now: datetime) -> None:
    """Write an attempt down before it is made, so that a process that dies in it leaves a trace."""
    begun = row | {"attempts": row["attempts"] + 1, "status": "pending", "available_at": now}
    with ledger.changes(lake) as transaction:
        ledger.put(transaction, ALERT_DELIVERIES.name, [begun])


def _attempt(lake: Lake, settings: Settings, channel: Channel, row: Row, clock: Clock, make: Compose) -> Row:
    """`row` after one attempt, with `channel_down` beside it."""
    rules = settings.alerts
    begun = row | {"attempts": row["attempts"] + 1}
    try:
        remark = channel.send(make(lake.snapshot(), row, settings, clock()))
    except Rejected as error:
        return _dead(begun, error, clock())
    except ChannelError as error:
        return _later(begun, error, rules, clock(), down=isinstance(error, ChannelDown))
    except Exception as error:
        # One message that cannot be made or handed over must not keep the others from going out.
        log.exception("message %s could not be made or handed over", row["message_id"])
        return _later(begun, error, rules, clock(), down=False)
    now = clock()
    return begun | {
        "status": "sent",
        "sent_at": now,
        "next_attempt_at": None,
        "last_error": remark,
        "latency_seconds": (now - row["known_at"]).total_seconds(),
        "available_at": now,
        "channel_down": False,
    }


def _later(row: Row, error: Exception, rules: AlertSettings, now: datetime, *, down: bool) -> Row:
    if now - row["created_at"] >= timedelta(hours=rules.give_up_hours):
        return _dead(row, error, now)
    return row | {
        "status": "failed",
        "next_attempt_at": now + policy.backoff(row["attempts"], rules),
        "last_error": _said(error),
        "available_at": now,
        "channel_down": down,
    }


def _dead(row: Row, error: Exception, now: datetime) -> Row:
    return row | {
        "status": "dead",
        "next_attempt_at": None,
        "last_error": _said(error),
        "available_at": now,
        "channel_down": isinstance(error, ChannelDown),
    }


def _said(error: Exception) -> str:
    text = str(error) if isinstance(error, ChannelError) else f"{type(error).__name__}: {error}"
    return clean(text, _ERROR_LENGTH)


def _settle(lake: Lake, settled: Row, due: pl.DataFrame, now: datetime) -> None:
    """Write the result; where the channel is down, its other messages wait as long as this one."""
    rows = [{name: value for name, value in settled.items() if name != "channel_down"}]
    if settled["channel_down"] and settled["next_attempt_at"] is not None:
        others = due.filter(pl.col("channel") == settled["channel"], pl.col("message_id") != settled["message_id"])
        waits = {"next_attempt_at": settled["next_attempt_at"], "last_error": settled["last_error"]}
        rows += [row | waits | {"available_at": now} for row in others.iter_rows(named=True)]
    with ledger.changes(lake) as transaction:
        ledger.put(transaction, ALERT_DELIVERIES.name, rows)


def _count(report: Report, settled: Row) -> None:
    if settled["status"] == "sent":
        report.sent += 1
        report.latencies.append(settled["latency_seconds"])
        return
    report.dead += settled["status"] == "dead"
    report.failed += settled["status"] == "failed"
    report.errors.append(settled["last_error"])


def retry(lake: Lake, now: datetime, alert_id: str | None = None) -> int:
    """Make dead letters (of one alert, or all) due again now; returns how many. Raises `UnknownAlert`."""
    with ledger.changes(lake, publish=True) as transaction:
        rows = ledger.deliveries(transaction).filter(pl.col("status").is_in(["dead", "failed"]))
        if alert_id is not None:
            rows = rows.filter(pl.col("alert_id").str.starts_with(alert_id))
            if rows.is_empty():
                raise ledger.UnknownAlert(f"no undelivered message belongs to {alert_id!r}; see `alerts dead-letters`")
        again = {"status": "pending", "next_attempt_at": now, "created_at": now, "available_at": now}
        ledger.put(transaction, ALERT_DELIVERIES.name, [row | again for row in rows.iter_rows(named=True)])
    return rows.height


# --- operations -------------------------------------------------------------------------------------------------------


def notify(
    lake: Lake,
    settings: Settings,
    channels: Mapping[str, Channel],
    clock: Clock,
    faults: Sequence[notices.Fault],
    recoveries: Sequence[notices.Recovery],
    *,
    budget_seconds: float = 45.0,
) -> Report:
    """Put faults and recoveries into the ledger, raise what is worth telling, and send what is due."""
    report = Report()
    if not (settings.alerts.enabled and settings.alerts.notify):
        report.errors.append("notifications are switched off (FLOWLAKE_ALERTS__NOTIFY)")
        return report
    deadline = time.monotonic() + budget_seconds
    with _only_one(lake, budget_seconds, report) as alone:
        if alone:
            if faults or recoveries:
                report.raised += _raise_notices(
                    _hasty(lake, deadline), settings.alerts, list(channels), clock(), faults, recoveries
                )
            deliver(lake, settings, channels, clock, report, deadline=deadline)
    return report


def _raise_notices(
    lake: Lake,
    rules: AlertSettings,
    channels: Sequence[str],
    now: datetime,
    faults: Sequence[notices.Fault],
    recoveries: Sequence[notices.Recovery],
) -> int:
    today = policy.market_day(now)
    session = today if calendar.is_session(today) else calendar.previous_session(today)
    with ledger.changes(lake) as transaction:
        held = ledger.notifications(transaction)
        found = notices.group(held.iter_rows(named=True), faults, recoveries, rules, now)
        ledger.put(transaction, NOTIFICATIONS.name, found.changed)
        raised = {row["notification_id"]: row for row in found.raised}
        open_rows = ledger.deliveries(transaction).filter(
            pl.col("status").is_in(ledger.OPEN), pl.col("alert_id").is_in(list(raised))
        )
        superseded = [
            row | {"status": "superseded", "next_attempt_at": None, "available_at": now}
            for row in open_rows.iter_rows(named=True)
        ]
        new = [
            intent(session, key, "notification", row["revision"], channel, now, row["origin"], now)
            for key, row in raised.items()
            for channel in channels
        ]
        ledger.put(transaction, ALERT_DELIVERIES.name, [*superseded, *new])
    return len(raised)
