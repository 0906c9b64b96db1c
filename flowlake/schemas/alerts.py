"""The ledger of what people were told: alerts, every delivery of them, what people did about them, and operations."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import UTC_TIME, Column, Table
from flowlake.schemas.detection import EVENT_ID, UNDERLYING
from flowlake.schemas.market import ORIGIN, SESSION

AVAILABLE_AT = Column("available_at", UTC_TIME, "When the row was last written.")
ALERT_ID = Column("alert_id", pl.String, "Stable id of the alert: hash of event and origin; also its mail thread.")

OCCURRENCE = pl.Struct(
    {
        "key": pl.String,
        "at": UTC_TIME,
        "severity": pl.String,
        "what": pl.String,
        "where": pl.String,
        "expected": pl.String,
        "seen": pl.String,
        "link": pl.String,
        "recovered_at": UTC_TIME,
    }
)
"""One fault of a notification: a failed check of one partition, a failed run, a late snapshot."""

ALERTS = Table(
    name="alerts",
    description="One row per event that reached the alert score: what was decided about it, why, and where it stands.",
    columns=(
        SESSION,
        ALERT_ID,
        EVENT_ID,
        UNDERLYING,
        Column("snapshot", UTC_TIME, "Snapshot of the newest evidence; null where it is end of day.", nullable=True),
        Column("source", pl.String, "Table of the newest evidence: 'scored_events' or 'intraday_scored_events'."),
        Column("rank", pl.Int32, "Rank in that table."),
        Column("score", pl.Float64, "1 to 10, of the newest evidence."),
        Column("conviction", pl.String, "'LOW', 'MEDIUM', 'HIGH', 'EXTREME' or 'NONE', of the newest evidence."),
        Column(
            "expected_false_alarms_per_day",
            pl.Float64,
            "How many events this unusual are expected a day without cause.",
            "events",
        ),
        Column("direction", pl.String, "'bullish', 'bearish' or 'neutral'."),
        Column("right", pl.String, "'C' or 'P': the side of the chain that carries the evidence."),
        Column("event_status", pl.String, "'provisional', 'confirmed', 'withdrawn' or 'unclear' (next-morning OI)."),
        Column("premium_usd", pl.Float64, "Premium of the leading lines.", "USD", nullable=True),
        Column("explanation", pl.String, "Plain sentences of the newest evidence."),
        Column("status", pl.String, "'new', 'updated', 'acknowledged', 'snoozed' or 'expired'."),
        Column(
            "decision",
            pl.String,
            "'send', 'defer' (quiet hours), or 'hold' (not sent by itself; listed in the digest where there is one).",
        ),
        Column("reason", pl.String, "Why it was sent, deferred or held, in words."),
        Column("revision", pl.Int16, "Messages raised so far: 1 is the alert, later ones its updates; 0 is none."),
        Column("raised_at", UTC_TIME, "When the newest revision was raised.", nullable=True),
        Column("raised_score", pl.Float64, "Score of the newest revision.", nullable=True),
        Column("raised_conviction", pl.String, "Conviction of the newest revision.", nullable=True),
        Column("raised_status", pl.String, "event_status of the newest revision.", nullable=True),
        Column("thread_id", pl.String, "Message-ID that starts the mail thread."),
        Column("first_seen", UTC_TIME, "When the first evidence was available."),
        Column("last_updated", UTC_TIME, "When the newest evidence was available."),
        Column("detected_at", UTC_TIME, "When the alert sensor first saw it."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("alert_id",),
    sort=("score", "alert_id"),
    known_at="available_at: when the row was last written; first_seen and last_updated say when the evidence was",
    retention="permanent",
)

ALERT_DELIVERIES = Table(
    name="alert_deliveries",
    description="Exactly one row per message (alert revision, digest or notification) and channel.",
    columns=(
        SESSION,
        Column("alert_id", pl.String, "The alert, notification or digest the message is about."),
        Column("kind", pl.String, "'alert', 'notification' or 'digest'."),
        Column("revision", pl.Int16, "Revision of the alert or notification."),
        Column("channel", pl.String, "Channel: 'email', 'pushover', 'telegram', 'apprise' or 'console'."),
        Column(
            "status",
            pl.String,
            "'pending' (intended, not tried or its outcome not yet recorded), 'failed' (to be tried again), 'sent', "
            "'superseded' (a newer revision went out instead) or 'dead' (given up; see last_error).",
        ),
        Column("attempts", pl.Int16, "Times it was tried.", "attempts"),
        Column("next_attempt_at", UTC_TIME, "Not tried before; null once settled.", nullable=True),
        Column("last_error", pl.String, "What the channel said last, secrets removed.", nullable=True),
        Column("message_id", pl.String, "Deterministic Message-ID: the same on every attempt."),
        Column("known_at", UTC_TIME, "When what the message tells became available."),
        Column("created_at", UTC_TIME, "When the intent was written."),
        Column("sent_at", UTC_TIME, "When the channel accepted it.", nullable=True),
        Column("latency_seconds", pl.Float64, "sent_at - known_at.", "s", nullable=True),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("alert_id", "revision", "channel"),
    sort=("created_at", "alert_id", "revision", "channel"),
    known_at="available_at: when the row was last written",
    retention="permanent",
)

ALERT_ACTIONS = Table(
    name="alert_actions",
    description="What people did about alerts: acknowledged, snoozed, woke again. Append-only.",
    columns=(
        Column("action_id", pl.String, "Random id; an action repeated with the same id is one action."),
        Column("action", pl.String, "'acknowledge', 'snooze' or 'unsnooze'."),
        Column("alert_id", pl.String, "The alert; null where the action is about an underlying.", nullable=True),
        Column("underlying", pl.String, "The underlying; null where the action is about one alert.", nullable=True),
        Column("until", UTC_TIME, "End of a snooze.", nullable=True),
        Column("by", pl.String, "Who did it, as they call themselves."),
        Column("note", pl.String, "What they wrote.", nullable=True),
        Column("via", pl.String, "Surface: 'cli', 'api', ..."),
        AVAILABLE_AT,
        Column("origin", pl.String, "'person'."),
    ),
    key=("action_id",),
    sort=("available_at", "action_id"),
    known_at="available_at: when it was done",
    partitioning="none",
    retention="permanent",
)

NOTIFICATIONS = Table(
    name="notifications",
    description="Operational faults people were told about, grouped: one row per broken thing from break to recovery.",
    columns=(
        Column("notification_id", pl.String, "Hash of topic and first occurrence; also its mail thread."),
        Column("topic", pl.String, "What is broken: 'check:option_chains', 'run:end_of_day', 'snapshots'."),
        Column("status", pl.String, "'open' or 'recovered'."),
        Column("severity", pl.String, "'ERROR' or 'WARN': the worst of its open occurrences."),
        Column("title", pl.String, "One line for people."),
        Column("occurrences", pl.List(OCCURRENCE), "Faults grouped here, the oldest first."),
        Column("revision", pl.Int16, "Messages raised so far."),
        Column("raised_at", UTC_TIME, "When the newest message was raised."),
        Column("first_seen", UTC_TIME, "When the first occurrence happened."),
        Column("last_seen", UTC_TIME, "When the newest occurrence or recovery happened."),
        Column("thread_id", pl.String, "Message-ID that starts the mail thread."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("notification_id",),
    sort=("first_seen", "notification_id"),
    known_at="available_at: when the row was last written",
    partitioning="none",
    retention="permanent",
)
