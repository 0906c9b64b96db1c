"""Which events become messages, and when: pure rules over what the lake holds.

The rules are asked anew at every look and give the same answer for the same facts, so nothing depends on how often or
in how many processes they are asked: the ledger knows what has been raised; only a change worth telling raises more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.alerts import identity
from flowlake.settings import AlertSettings

Row = dict[str, Any]

LEVELS = ("NONE", "LOW", "MEDIUM", "HIGH", "EXTREME")
"""Convictions, the smallest first."""

VERDICTS = ("confirmed", "withdrawn")
"""What next-morning open interest can say that is worth a message of its own."""

FACTS = (
    "session", "event_id", "underlying", "snapshot", "source", "rank", "score", "conviction",
    "expected_false_alarms_per_day", "direction", "right", "event_status", "premium_usd", "explanation",
)  # fmt: skip
"""Columns of an alert that come from its newest evidence."""


@dataclass(frozen=True)
class Standing:
    """What people said about alerts, as of one moment."""

    acknowledged: frozenset[str] = frozenset()
    snoozed: Mapping[str, datetime] = field(default_factory=dict)
    """End of the snooze by alert id or underlying."""

    def snoozed_until(self, alert: Mapping[str, Any]) -> datetime | None:
        """When nothing keeps this alert silent any more; None where nothing does."""
        ends = [self.snoozed.get(alert["alert_id"]), self.snoozed.get(alert["underlying"])]
        return max((end for end in ends if end is not None), default=None)


@dataclass(frozen=True)
class Decisions:
    """What the ledger should hold now: alerts that changed, and messages to raise."""

    alerts: list[Row]
    raised: list[Row]
    """The alerts of which a new revision goes out, the best first."""


def standing(actions: pl.DataFrame, now: datetime) -> Standing:
    """What holds at `now`, from ALERT_ACTIONS: the newest word about each subject counts."""
    acknowledged: set[str] = set()
    snoozed: dict[str, datetime] = {}
    for action in actions.filter(pl.col("available_at") <= now).sort("available_at", "action_id").iter_rows(named=True):
        subject = action["alert_id"] or action["underlying"]
        if action["action"] == "acknowledge":
            acknowledged.add(subject)
        elif action["action"] == "snooze":
            snoozed[subject] = action["until"]
        else:
            snoozed.pop(subject, None)
    return Standing(frozenset(acknowledged), {name: end for name, end in snoozed.items() if end > now})


def candidates(events: pl.DataFrame, source: str, min_score: float, known: Iterable[str]) -> pl.DataFrame:
    """Events (SCORED_EVENTS or its intraday twin) that are alerts: the score is enough, or their id is in `known`.

    One row per event, its newest evidence; `first_seen` is when the oldest of the rows given became available.
    """
    snapshot = pl.col("snapshot") if "snapshot" in events.columns else pl.lit(None, pl.Datetime("us", "UTC"))
    rows = events.with_columns(snapshot=snapshot, source=pl.lit(source), event_status=pl.col("status"))
    loud = rows.filter(pl.col("score") >= min_score).group_by("event_id").agg(first_seen=pl.col("available_at").min())
    newest = rows.sort("available_at", "snapshot", nulls_last=True).unique("event_id", keep="last", maintain_order=True)
    reached = newest.join(loud, on="event_id", how="left").filter(
        pl.col("first_seen").is_not_null() | pl.col("event_id").is_in(list(known))
    )
    return reached.select(*FACTS, pl.col("first_seen").fill_null(pl.col("available_at")), "available_at", "origin")


def update(alerts: Mapping[str, Row], found: pl.DataFrame, now: datetime) -> dict[str, Row]:
    """Alerts by id with the newest evidence of `found` (from `candidates`) in them; the older of two facts loses."""
    merged = {key: dict(row) for key, row in alerts.items()}
    for event in found.iter_rows(named=True):
        key = identity.alert_id(event["event_id"], event["origin"])
        held = merged.get(key)
        if held is None:
            merged[key] = _new(key, event, now)
        elif event["available_at"] >= held["last_updated"]:
            verdict = held["event_status"] if event["event_status"] == "provisional" else event["event_status"]
            merged[key] = held | {name: event[name] for name in FACTS}
            merged[key] |= {"event_status": verdict, "last_updated": event["available_at"]}
    return merged


def settle_status(alerts: Mapping[str, Row], verdicts: pl.DataFrame) -> dict[str, Row]:
    """Alerts by id with what next-morning open interest said (EVENT_STATUS: event_id, status, explanation, origin)."""
    merged = {key: dict(row) for key, row in alerts.items()}
    for verdict in verdicts.iter_rows(named=True):
        row = merged.get(identity.alert_id(verdict["event_id"], verdict["origin"]))
        if row is not None and row["event_status"] != verdict["status"]:
            row |= {
                "event_status": verdict["status"],
                "last_updated": max(row["last_updated"], verdict["available_at"]),
            }
    return merged


def decide(
    alerts: Iterable[Mapping[str, Any]], people: Standing, rules: AlertSettings, now: datetime, held: Sequence[Row] = ()
) -> Decisions:
    """What to do at `now` about the alerts of one or several sessions; `held` is how the ledger has them.

    The best come first, so that the cap keeps them. Nothing already raised is taken back.
    """
    before = {row["alert_id"]: row for row in held}
    rows = [dict(row) for row in sorted(alerts, key=priority)]
    raised_in: dict[date, int] = {}
    for row in rows:
        raised_in[row["session"]] = raised_in.get(row["session"], 0) + (row["revision"] > 0)
    changed: list[Row] = []
    raised: list[Row] = []
    for row in rows:
        decision, reason, raises = _decide(row, people, rules, now, raised_in[row["session"]])
        row |= {"decision": decision, "reason": reason}
        if raises:
            raised_in[row["session"]] += row["revision"] == 0
            row |= {
                "revision": row["revision"] + 1,
                "raised_at": now,
                "raised_score": row["score"],
                "raised_conviction": row["conviction"],
                "raised_status": row["event_status"],
            }
            raised.append(row)
        row["status"] = status_of(row, people, rules, now)
        if not _same(row, before.get(row["alert_id"])):
            row["available_at"] = now
            changed.append(row)
    return Decisions(changed, raised)


def priority(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key: the most convincing first, ties by premium, then by name."""
    return (
        -row["score"],
        row["expected_false_alarms_per_day"],
        -(row["premium_usd"] or 0.0),
        row["underlying"],
        row["alert_id"],
    )


def status_of(row: Mapping[str, Any], people: Standing, rules: AlertSettings, now: datetime) -> str:
    """Where an alert stands at `now`."""
    if row["alert_id"] in people.acknowledged:
        return "acknowledged"
    if row["session"] <= calendar.previous_session(market_day(now), rules.expire_sessions):
        return "expired"
    if people.snoozed_until(row):
        return "snoozed"
    return "updated" if row["revision"] > 1 else "new"


def _decide(row: Row, people: Standing, rules: AlertSettings, now: datetime, raised: int) -> tuple[str, str, bool]:
    """(decision, reason, whether a revision is raised)."""
    silence = _silence(row, people, rules, now)
    if silence is not None:
        # What has been sent stays sent; the reason tells why nothing follows.
        return ("hold" if row["revision"] == 0 else row["decision"], silence, False)
    if row["revision"] == 0:
        over = _over_cap(row, rules, raised)
        if over is not None:
            return "hold", over, False
        why = f"score {row['score']:.1f}, {row['conviction']}: number {raised + 1} of at most {rules.daily_cap} alerts"
    else:
        why, waits = _worth_telling(row, rules, now)
        if why is None or waits is not None:
            return row["decision"], waits or row["reason"], False
    quiet = quiet_until(row, rules, now)
    if quiet is not None:
        return "defer", f"{why}; quiet hours until {_local(quiet)}", True
    return "send", why, True


def _silence(row: Row, people: Standing, rules: AlertSettings, now: datetime) -> str | None:
    """Why nothing is said about this alert, whatever its evidence; None where something may be."""
    if row["alert_id"] in people.acknowledged:
        return "acknowledged"
    until = people.snoozed_until(row)
    if until is not None:
        return f"snoozed until {_local(until)}"
    if row["underlying"] in names(rules.ignore):
        return "underlying is on the ignore list"
    if rules.watch.strip() and row["underlying"] not in names(rules.watch):
        return "underlying is not on the watch list"
    if row["session"] < _oldest_worth(row, rules, now):
        # Why it was held while it was news says more than that it is no longer.
        return row["reason"] or f"session {row['session']} is no longer news"
    if row["revision"] > 0:
        return None
    if row["event_status"] == "withdrawn":
        return "withdrawn by next-morning open interest before it was sent"
    if row["score"] < rules.min_score:
        return f"score fell to {row['score']:.1f}, below {rules.min_score:g}"
    if LEVELS.index(row["conviction"]) < LEVELS.index(rules.min_conviction):
        return f"conviction {row['conviction']} is below {rules.min_conviction}"
    return None


def _oldest_worth(row: Row, rules: AlertSettings, now: datetime) -> date:
    """The oldest session worth a message; what open interest says of an alert sent comes a session later."""
    oldest = oldest_news(rules, now)
    follows_up = row["revision"] > 0 and row["event_status"] != row["raised_status"]
    return calendar.previous_session(oldest) if follows_up else oldest


def _over_cap(row: Row, rules: AlertSettings, raised: int) -> str | None:
    reserve = min(rules.reserve, rules.daily_cap)
    places = rules.daily_cap if row["conviction"] == "EXTREME" else rules.daily_cap - reserve
    if raised < places:
        return None
    kept = f" ({reserve} of them kept for EXTREME)" if places < rules.daily_cap else ""
    return f"the session's {rules.daily_cap} alerts{kept} are used up by better or earlier ones"


def _worth_telling(row: Row, rules: AlertSettings, now: datetime) -> tuple[str | None, str | None]:
    """(why an alert already sent deserves an update, what it waits for)."""
    if row["event_status"] in VERDICTS and row["event_status"] != row["raised_status"]:
        return f"next-morning open interest: {row['event_status']}", None
    if LEVELS.index(row["conviction"]) > LEVELS.index(row["raised_conviction"]):
        why = f"conviction rose from {row['raised_conviction']} to {row['conviction']}"
    elif row["score"] >= row["raised_score"] + rules.update_step:
        why = f"score rose from {row['raised_score']:.1f} to {row['score']:.1f}"
    else:
        return None, None
    if row["revision"] > rules.max_updates:
        return why, f"{why}; its {rules.max_updates} updates are used up"
    ready = row["raised_at"] + timedelta(minutes=rules.cool_down_minutes)
    return why, None if now >= ready else f"{why}; cools down until {_local(ready)}"


def oldest_news(rules: AlertSettings, now: datetime) -> date:
    """The oldest session whose events are still worth a message at `now`.

    That is the newest closed session, with a maximum age of one, so that a backfill of last month sends nothing.
    """
    newest = calendar.latest_closed_session(now)
    return newest if rules.max_age_sessions == 1 else calendar.previous_session(newest, rules.max_age_sessions - 1)


def quiet_until(row: Mapping[str, Any], rules: AlertSettings, now: datetime) -> datetime | None:
    """The end of the quiet hours that `now` falls into; None outside them, or where the alert may break them."""
    if not rules.quiet_hours or (rules.quiet_except_extreme and row["conviction"] == "EXTREME"):
        return None
    start, end = quiet_span(rules.quiet_hours)
    local = now.astimezone(calendar.NEW_YORK)
    clock = local.time().replace(tzinfo=None)
    inside = start <= clock < end if start <= end else clock >= start or clock < end
    if not inside:
        return None
    day = local.date() if clock < end else local.date() + timedelta(days=1)
    return datetime.combine(day, end, calendar.NEW_YORK).astimezone(now.tzinfo)


def quiet_span(text: str) -> tuple[time, time]:
    """Start and end of '22:00-07:00'; raises `ValueError` naming the text."""
    first, dash, last = text.partition("-")
    try:
        if not dash:
            raise ValueError
        return clock_time(first), clock_time(last)
    except ValueError as error:
        raise ValueError(f"quiet hours {text!r} are not two New York times like '22:00-07:00'") from error


def clock_time(text: str) -> time:
    """'16:45' as a time of day; raises `ValueError`."""
    return datetime.strptime(text.strip(), "%H:%M").time()


def digest_due(rules: AlertSettings, now: datetime) -> date | None:
    """The session whose digest is due at `now`: today's, from the configured New York time on."""
    local = now.astimezone(calendar.NEW_YORK)
    if not rules.digest_at or not calendar.is_session(local.date()):
        return None
    return local.date() if local.time() >= clock_time(rules.digest_at) else None


def backoff(attempts: int, rules: AlertSettings) -> timedelta:
    """Pause after the `attempts`-th failure in a row."""
    return timedelta(seconds=min(rules.retry_seconds * 2.0 ** max(attempts - 1, 0), rules.retry_cap_seconds))


def names(text: str) -> frozenset[str]:
    """The entries of a comma-separated list."""
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def market_day(now: datetime) -> date:
    """Today in New York."""
    return now.astimezone(calendar.NEW_YORK).date()


def _new(key: str, event: Mapping[str, Any], now: datetime) -> Row:
    return {name: event[name] for name in FACTS} | {
        "alert_id": key,
        "status": "new",
        "decision": "hold",
        "reason": "",
        "revision": 0,
        "raised_at": None,
        "raised_score": None,
        "raised_conviction": None,
        "raised_status": None,
        "thread_id": identity.thread_id(key),
        "first_seen": event["first_seen"],
        "last_updated": event["available_at"],
        "detected_at": now,
        "available_at": now,
        "origin": event["origin"],
    }


def _same(row: Row, other: Row | None) -> bool:
    return other is not None and {**row, "available_at": None} == {**other, "available_at": None}


def _local(moment: datetime) -> str:
    return f"{moment.astimezone(calendar.NEW_YORK):%a %H:%M} New York"
