"""What the lake holds about one alert: the event, its chain, what was usual, insiders, and the morning after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.insiders.signals import event_insiders
from flowlake.lake import Snapshot
from flowlake.schemas import table

HISTORY_SESSIONS = 20
INSIDER_DAYS = 90

Row = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """One alert's row of the ledger and what stands behind it.

    `event` is its row of scored events, None where that is no longer kept; `chain` the underlying's contracts then;
    `history` the volume of the event's side by session (session, volume), the oldest first; `insiders` its rows of
    `event_insiders`, None where filings were not looked up; `known` what is in the calendar for it (KNOWN_EVENTS), None
    where there is no calendar; `verdict` what next-morning open interest said.
    """

    alert: Mapping[str, Any]
    event: Row | None = None
    chain: pl.DataFrame = field(default_factory=lambda: table("option_chains").empty())
    history: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"session": pl.Date, "volume": pl.Int64}))
    insiders: pl.DataFrame | None = None
    known: pl.DataFrame | None = None
    verdict: Row | None = None


def gather(snapshot: Snapshot, alert: Mapping[str, Any]) -> Evidence:
    """Everything about `alert` that `snapshot` has; what is missing is left out."""
    session: date = alert["session"]
    intraday = alert["snapshot"] is not None
    moment = calendar.snapshot_key(alert["snapshot"]) if intraday else session.isoformat()
    chains = "intraday_chains" if intraday else "option_chains"
    event = _event(snapshot, alert, moment)
    return Evidence(
        alert=alert,
        event=event,
        chain=snapshot.scan(chains, moment).filter(pl.col("underlying") == alert["underlying"]).collect(),
        history=_history(snapshot, alert),
        insiders=_insiders(snapshot, alert, event),
        known=_known(snapshot, alert),
        verdict=_verdict(snapshot, alert),
    )


def _event(snapshot: Snapshot, alert: Mapping[str, Any], partition: str) -> Row | None:
    rows = snapshot.scan(alert["source"], partition).filter(pl.col("event_id") == alert["event_id"]).collect()
    return rows.row(0, named=True) if rows.height else None


def _history(snapshot: Snapshot, alert: Mapping[str, Any]) -> pl.DataFrame:
    keys = [day.isoformat() for day in calendar.trailing_sessions(alert["session"], HISTORY_SESSIONS)]
    side = (pl.col("underlying") == alert["underlying"]) & (pl.col("right") == alert["right"])
    rows = snapshot.scan("ticker_statistics", keys, ["session", "underlying", "right", "volume"]).filter(side)
    return rows.select("session", "volume").sort("session").collect()


def _insiders(snapshot: Snapshot, alert: Mapping[str, Any], event: Row | None) -> pl.DataFrame | None:
    """Rows of `event_insiders` of the event; within the session, before that table is made, computed as it will be."""
    key = alert["session"].isoformat()
    if snapshot.has("event_insiders", key):
        return snapshot.read("event_insiders", key).filter(pl.col("event_id") == alert["event_id"])
    if event is None:
        return None
    first, last = alert["session"] - timedelta(days=INSIDER_DAYS), alert["session"]
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    if not snapshot.files("insider_filings", days):
        return None
    of_ticker = snapshot.scan("insider_filings", days).filter(pl.col("ticker") == alert["underlying"]).collect()
    listed = pl.col("accession").is_in(of_ticker["accession"].to_list())
    transactions, trades = (
        snapshot.scan(name, days).filter(listed).collect() for name in ("insider_transactions", "insider_trades")
    )
    one = pl.DataFrame([event]).select("session", "event_id", "available_at", "origin", ticker=pl.col("underlying"))
    return event_insiders(one, transactions, of_ticker, trades, days=INSIDER_DAYS)


def _known(snapshot: Snapshot, alert: Mapping[str, Any]) -> pl.DataFrame | None:
    """What lies ahead in the calendar of the newest session that has one, this one or the one before."""
    days = (alert["session"], calendar.previous_session(alert["session"]))
    key = next((day.isoformat() for day in days if snapshot.has("known_events", day.isoformat())), None)
    if key is None:
        return None
    concerned = pl.col("underlying").is_in([alert["underlying"], "*"]) & (pl.col("event_on") >= alert["session"])
    return snapshot.read("known_events", key).filter(concerned, pl.col("available_at") <= alert["last_updated"])


def _verdict(snapshot: Snapshot, alert: Mapping[str, Any]) -> Row | None:
    key = calendar.next_session(alert["session"]).isoformat()
    rows = snapshot.scan("event_status", key).filter(pl.col("event_id") == alert["event_id"]).collect()
    return rows.row(0, named=True) if rows.height else None
