"""Small lakes with alerts in them: one event with its chain, made of plain numbers that a person can check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.alerts.message import Message
from flowlake.detect import findings
from flowlake.lake import Lake
from flowlake.schemas import TABLES, table
from flowlake.settings import Settings
from flowlake_tests.factories import frame

USED = (
    "alerts", "alert_deliveries", "alert_actions", "notifications", "scored_events", "intraday_scored_events",
    "event_status", "known_events", "event_insiders", "option_chains", "intraday_chains",
    "ticker_statistics", "snapshot_log", "insider_filings", "insider_transactions", "insider_trades",
)  # fmt: skip
"""Tables of these scenes: a catalog of a few views is made faster than one of all."""

SESSION = date(2026, 6, 1)
CLOSE = calendar.session_close(SESSION)
NOW = CLOSE + timedelta(minutes=30)
"""After the session, when it is news."""

LINE = {
    "contract_id": 1,
    "contract": "O:ABC260619C00105000",
    "expiration": date(2026, 6, 19),
    "strike": 105.0,
    "right": "C",
    "volume": 4000,
    "open_interest": 250,
    "expected": 12.5,
    "p_value": 1e-5,
    "price": 0.85,
    "delta": 0.22,
    "implied_volatility": 0.41,
    "dte": 18,
    "premium_usd": 340_000.0,
}

FACTORS = [
    ("volume_surprise", 3.0, "lines like the leading one trade this much 1 time in 25,000"),
    ("dominance", 1.9, "leading line's excess is 6.10 times the chain's usual day"),
    ("short_otm_share", 1.1, "96% of the excess volume is short-dated and out of the money"),
    ("quietness", -0.2, "the stock's own move is 1.4 (0 is none) in usual daily moves"),
]


def event_id(underlying: str, session: date = SESSION) -> str:
    """The id the pipeline would give."""
    ids = pl.DataFrame({"underlying": [underlying]}).select(findings.event_id(pl.col("underlying"), session))
    return ids.item()


def event(underlying: str = "ABC", score: float = 8.2, session: date = SESSION, **more: Any) -> dict[str, Any]:
    """A row of scored events."""
    convinced = "EXTREME" if score >= 7.8 else "HIGH" if score >= 6.6 else "MEDIUM"
    return {
        "session": session,
        "event_id": event_id(underlying, session),
        "underlying": underlying,
        "rank": 1,
        "score": score,
        "conviction": convinced,
        "direction": "bullish",
        "right": "C",
        "llr_total": 5.8,
        "p_value": 10 ** (-(score - 1) * 5 / 9),
        "q_value": 0.01,
        "universe": 6000,
        "expected_false_alarms_per_day": 6000 * 10 ** (-(score - 1) * 5 / 9),
        "status": "provisional",
        "algorithms": ["multi_strike", "volume"],
        "factors": [{"factor": n, "value": 1.0, "contribution": c, "text": t} for n, c, t in FACTORS],
        "contracts": [LINE, LINE | {"contract_id": 2, "contract": "O:ABC260619C00110000", "strike": 110.0}],
        "annotations": ["spread look-alike"],
        "volume": 9000,
        "expected_volume": 310.0,
        "premium_usd": 500_000.0,
        "spot": 100.0,
        "explanation": f"{underlying} calls are statistically unusual.",
        "event_time": calendar.session_close(session),
        "available_at": calendar.session_close(session) + timedelta(minutes=20),
        "origin": "simulated",
        **more,
    }


def chain(underlying: str = "ABC", session: date = SESSION) -> list[dict[str, Any]]:
    """Calls and puts of one expiration around a stock at 100."""
    rows = []
    for number, (strike, right) in enumerate((k, r) for k in range(80, 125, 5) for r in "CP"):
        price = max(0.3, 3.2 - abs(strike - 100) * 0.25)
        rows.append(
            {
                "session": session,
                "contract_id": number,
                "underlying": underlying,
                "contract": f"O:{underlying}260619{right}{strike * 1000:08d}",
                "expiration": date(2026, 6, 19),
                "strike": float(strike),
                "right": right,
                "multiplier": 100.0,
                "volume": 4000 if (strike, right) == (105, "C") else 3000 if (strike, right) == (110, "C") else strike,
                "open_interest": 250 + 10 * number,
                "price": price,
                "bid": price - 0.05,
                "ask": price + 0.05,
                "mid": price,
                "spread": 0.1,
                "spot": 100.0,
                "forward": 100.2,
                "delta": 0.22,
                "gamma": 0.031,
                "theta": -0.04,
                "vega": 0.06,
                "implied_volatility": 0.41,
                "dte": 18,
                "available_at": calendar.session_close(session) + timedelta(minutes=20),
                "origin": "simulated",
            }
        )
    return rows


def history(underlying: str = "ABC", session: date = SESSION) -> dict[date, list[dict[str, Any]]]:
    """Twenty quiet sessions before."""
    return {
        day: [{"session": day, "underlying": underlying, "right": "C", "volume": 250 + 13 * (number % 7)}]
        for number, day in enumerate(calendar.trailing_sessions(session, 20))
    }


def fill(lake: Lake, rows: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> None:
    """Replace whole partitions, by (table, partition)."""
    with lake.commit("test") as transaction:
        for (name, partition), part in rows.items():
            transaction.replace(name, partition, frame(table(name), list(part)))


def put_events(lake: Lake, *events: Mapping[str, Any], session: date = SESSION) -> None:
    """The end-of-day events of a session."""
    fill(lake, {("scored_events", session.isoformat()): events})


def put_snapshot(lake: Lake, at: datetime, *events: Mapping[str, Any]) -> None:
    """The events of a snapshot of the market at `at`, known 16 minutes later."""
    known = {"snapshot": at, "event_time": at, "available_at": at + timedelta(minutes=16)}
    fill(lake, {("intraday_scored_events", calendar.snapshot_key(at)): [dict(row) | known for row in events]})


def full_scene(lake: Lake, underlying: str = "ABC", **more: Any) -> None:
    """One event with chain and history."""
    key = SESSION.isoformat()
    past = {("ticker_statistics", day.isoformat()): rows for day, rows in history(underlying).items()}
    fill(
        lake,
        {
            ("scored_events", key): [event(underlying, **more)],
            ("option_chains", key): chain(underlying),
            **past,
        },
    )


def settings(tmp_path: Any, **alerts: Any) -> Settings:
    """Settings with these alert settings and nothing from the environment."""
    return Settings(_env_file=None, data_dir=tmp_path, alerts=alerts)  # pyright: ignore[reportCallIssue, reportArgumentType]


def open_lake(folder: Path) -> Lake:
    """A lake of the tables alerts use."""
    return Lake.open(folder, tables={name: TABLES[name] for name in USED if name in TABLES})


class Recorder:
    """A channel that keeps what it is given; `fails` is raised instead while it is set."""

    def __init__(self, name: str = "email") -> None:
        self.name = name
        self.sent: list[Message] = []
        self.fails: Exception | None = None

    def send(self, message: Message) -> str | None:
        if self.fails is not None:
            raise self.fails
        self.sent.append(message)
        return None

    def check(self) -> str:
        return "fine"


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)


def at(hour: int, minute: int = 0, day: date = SESSION) -> datetime:
    """A New York time as UTC."""
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=calendar.NEW_YORK).astimezone(UTC)
