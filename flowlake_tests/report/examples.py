"""Example pages of any size, with any text in them, for the tests of this folder."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import polars as pl

from flowlake.quality.outcome import Outcome, Severity
from flowlake.report.archive import ArchivePage, Entry
from flowlake.report.daily import DailyReport, QualityNote
from flowlake.report.data_docs import DataDocs
from flowlake.report.history import HistoryPage
from flowlake.report.market import MarketPage
from flowlake.report.monitor import MonitorPage
from flowlake.report.ticker import TickerPage
from flowlake.schemas import table
from flowlake.settings import MonitorSettings
from flowlake_tests.factories import SESSION, frame

HOSTILE = "<script>alert(1)</script>\"'&</script><!--\u202eABC" + "W" * 200
BEFORE = date(2026, 5, 29)
LEVELS = ("LOW", "MEDIUM", "HIGH", "EXTREME")


class Tags(HTMLParser):
    """Counts elements and fails on nothing: enough to see what a browser would build."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def count(self, tag: str, kind: str | None = None) -> int:
        return sum(
            1 for name, attrs in self.seen if name == tag and (kind is None or kind in (attrs.get("class") or ""))
        )


def event(rank: int, underlying: str = "ABC", **more: object) -> dict:
    contract = f"O:{underlying}260619C00100000"
    return {
        "rank": rank,
        "underlying": f"{underlying}{rank}" if rank > 1 else underlying,
        "event_id": f"e{rank}",
        "score": 8.5,
        "conviction": "HIGH",
        "direction": "bullish",
        "right": "C",
        "llr_total": 3.5,
        "p_value": 1e-4,
        "q_value": 0.01,
        "universe": 6000,
        "expected_false_alarms_per_day": 0.6,
        "status": "provisional",
        "algorithms": ["volume", "multi_strike"],
        "factors": [
            {"factor": "volume_surprise", "value": 9.0, "contribution": 3.0, "text": "traded 40 times its usual"},
            {"factor": "quietness", "value": -0.2, "contribution": 0.5, "text": "the stock hardly moved"},
        ],
        "contracts": [
            {
                "contract_id": 1,
                "contract": contract,
                "expiration": date(2026, 6, 19),
                "strike": 100.0,
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
        ],
        "annotations": [],
        "volume": 4200,
        "explanation": "One call line traded far above its history.",
        **more,
    }


def chain_row(underlying: str, strike: float, right: str, volume: int, open_interest: int | None) -> dict:
    return {
        "underlying": underlying,
        "contract": f"O:{underlying}260619{right}{round(strike * 1000):08d}",
        "expiration": date(2026, 6, 19),
        "strike": strike,
        "right": right,
        "multiplier": 100.0,
        "volume": volume,
        "open_interest": open_interest,
        "price": 1.0,
        "origin": "simulated",
    }


def surface_row(underlying: str, days: int) -> dict:
    skew = {"risk_reversal_25": -0.03, "butterfly_25": 0.01}
    return {"underlying": underlying, "tenor_days": days, "atm_volatility": 0.6 - days / 300, **skew}


def report(events: list[dict], underlying: str = "ABC", **more: Any) -> DailyReport:
    chain = [
        chain_row(underlying, 95.0, "P", 10, 500),
        chain_row(underlying, 100.0, "C", 4000, 250),
        chain_row(underlying, 105.0, "C", 0, None),
    ]
    chain = [row | {"contract_id": number} for number, row in enumerate(chain)]
    fields: dict[str, Any] = {
        "session": SESSION,
        "events": frame(table("scored_events"), events),
        "chains": frame(table("option_chains"), chain),
        "outcomes": table("event_outcomes").empty(),
        "surface": frame(table("iv_surface"), [surface_row(underlying, days) for days in (7, 30, 60, 90)]),
        "coverage": frame(table("snapshot_coverage"), [{"underlying": underlying, "status": "complete"}]),
        "quality": [QualityNote("option_chains", "bid_not_above_ask", True, "ERROR", "bid <= ask", 0)],
        "quarantined": 0,
    }
    return DailyReport(**(fields | more))


def ticker(events: int = 1, name: str = "ABC", **more: Any) -> TickerPage:
    """The page of `name` with `events` events, this session's first, and a chain of 3 expirations x 9 strikes x 2."""
    days = [SESSION - timedelta(days=at) for at in range(max(events, 1))]
    lines = [
        chain_row(name, 80.0 + 5 * at, right, 100 * at, 50 * at)
        | {
            "expiration": SESSION + timedelta(days=ahead),
            "dte": ahead,
            "contract_id": 100 * ahead + 2 * at + (right == "C"),
            "contract": f"O:{name}{ahead}{right}{at}",
            "implied_volatility": 0.3 + 0.01 * at,
            "moneyness": 0.8 + 0.05 * at,
            "spot": 100.0,
            "bid": 0.9,
            "ask": 1.1,
            "delta": 0.3,
        }
        for ahead in (18, 46, 109)
        for at in range(9)
        for right in "CP"
    ]
    chain = frame(table("option_chains"), lines)
    shift = {"session": pl.lit(BEFORE), "implied_volatility": pl.col("implied_volatility") - 0.02}
    history = pl.DataFrame(
        {
            "session": [BEFORE, SESSION],
            "spot": [98.0, 100.0],
            "call_volume": [1000, 7000],
            "put_volume": [500, 900],
            "open_interest": [40_000, 42_000],
            "usual_volume": [None, 1500.0],
            "atm_volatility": [0.30, 0.35],
        }
    )
    surface = [surface_row(name, d) | {"session": day} for day in (BEFORE, SESSION) for d in (7, 30, 60, 90)]
    trade = {
        "ticker": name,
        "role": name,
        "transaction_class": "open_market_purchase",
        "filed_on": SESSION,
        "value_usd": 1e6,
    }
    fields: dict[str, Any] = {
        "underlying": name,
        "session": SESSION,
        "chain": chain,
        "previous_chain": chain.with_columns(**shift),
        "history": history,
        "surface": frame(table("iv_surface"), surface),
        "events": frame(
            table("scored_events"),
            [
                event(1) | {"underlying": name, "session": day, "event_id": f"e{at}"}
                for at, day in enumerate(days[:events])
            ],
        ),
        "statuses": frame(table("event_status"), [{"event_id": "e0", "status": "confirmed", "explanation": name}]),
        "outcomes": frame(
            table("event_outcomes"), [{"event_id": "e0", "horizon_sessions": 1, "signed_return": 0.031, "z": 1.2}]
        ),
        "insiders": frame(table("insider_trades"), [trade] * min(events, 1)),
        "congress": frame(table("congress_trades"), [{"ticker": name, "member": name}] * min(events, 1)),
    }
    return TickerPage(**(fields | more))


def market(events: int = 1, name: str = "ABC", **more: Any) -> MarketPage:
    """The market page with `events` events at the close and as many within the session."""
    rows = [
        event(rank, name, explanation=name)
        | {"conviction": LEVELS[rank % 4], "score": 10 - rank / 60, "p_value": rank / 1e4, "premium_usd": 1e3 * rank}
        | {"expected_volume": 100.0, "direction": ("bullish", "bearish", "neutral")[rank % 3]}
        for rank in range(1, events + 1)
    ]
    moment = datetime(2026, 6, 1, 18, tzinfo=UTC)
    closing = frame(table("scored_events"), rows)
    told = {"event_id": "e1", "alert_id": "a1", "status": "new", "reason": name, "underlying": name}
    fields: dict[str, Any] = {
        "session": SESSION,
        "events": closing,
        "recent": closing.select("session", "underlying", "score", "conviction", "expected_false_alarms_per_day"),
        "intraday": frame(table("intraday_scored_events"), [row | {"snapshot": moment} for row in rows]),
        "statuses": frame(table("event_status"), [{"event_id": "e1", "status": "withdrawn", "explanation": name}]),
        "alerts": frame(table("alerts"), [told]),
    }
    return MarketPage(**(fields | more))


def flagged(number: int, name: str = "SPX", **more: Any) -> dict[str, Any]:
    """A row of the day-over-day monitor."""
    return {
        "underlying": name,
        "contract_id": number,
        "contract": f"O:{name}{number}",
        "strike": 5000.0 + 5 * number,
        "right": "CP"[number % 2],
        "volume": 500 + number,
        "previous_volume": number,
        "volume_change": 500,
        "multiple": 1 + 500 / number if number else None,
        "premium_usd": 1e6 + number,
        "flags": ["delta", "multiplier"] if number % 2 else ["delta", "dormancy", "oi_surge", "max_breach"],
        "composite": 50.0,
        "explanation": name,
    } | more


def monitor(rows: int = 1, name: str = "SPX", **more: Any) -> MonitorPage:
    """The monitor page with `rows` flags in each of two polls and at the close."""
    moments = [datetime(2026, 6, 1, hour, tzinfo=UTC) for hour in (15, 16)]
    polls = [
        {"snapshot": at, "underlying": name, "status": "compared", "watched": 700, "flagged": rows, "explanation": name}
        for at in moments[: 2 if rows else 0]
    ]
    fields: dict[str, Any] = {
        "underlying": name,
        "thresholds": MonitorSettings(),
        "flagged": frame(
            table("intraday_day_over_day"),
            [flagged(at, name, snapshot=moment) for moment in moments for at in range(rows)],
        ),
        "polls": frame(table("monitor_polls"), polls),
        "daily": frame(table("anomalies_day_over_day"), [flagged(at, name) for at in range(rows)]),
        "sessions": [BEFORE, SESSION] if rows else [SESSION],
        "chain": frame(table("option_chains"), [chain_row(name, 5000.0, "C", 10, 20)]),
        "lake_bytes": 123_456,
    }
    return MonitorPage(**(fields | more))


def history(events: int = 1, name: str = "ABC", **more: Any) -> HistoryPage:
    """The history page over `events` events, each with an outcome at two horizons."""
    rows = [
        event(rank, name)
        | {"conviction": LEVELS[rank % 4], "score": 1 + 9 * rank / max(events, 1), "origin": "simulated"}
        for rank in range(1, events + 1)
    ]
    outcomes = [
        {"event_id": row["event_id"], "horizon_sessions": at, "signed_return": (row["rank"] % 7 - 3) / 100,
         "z": (row["rank"] % 7 - 3) / 2}
        for row in rows
        for at in (1, 5)
    ]  # fmt: skip
    promise = [
        {"level": level, "activity": "all", "nominal": 5.0, "observed": 6, "ratio": 1.2, "ratio_low": 0.4,
         "ratio_high": 2.6, "verdict": "holds", "sessions": 30}
        for level in LEVELS
    ]  # fmt: skip
    fields: dict[str, Any] = {
        "events": frame(table("scored_events"), rows),
        "outcomes": frame(table("event_outcomes"), outcomes),
        "statuses": frame(
            table("event_status"),
            [{"event_id": row["event_id"], "conviction": row["conviction"], "status": "confirmed"} for row in rows],
        ),
        "calibration": frame(table("calibration"), promise if events else []),
        "rules": frame(
            table("rule_alarms"), [{"rule": "z_score", "kind": "threshold", "description": name}] * min(events, 1)
        ),
    }
    return HistoryPage(**(fields | more))


def archive(pages: int = 1, name: str = "ABC") -> ArchivePage:
    """The index over `pages` daily reports, each about another name."""
    days = [SESSION - timedelta(days=at) for at in range(pages)]
    return ArchivePage(
        [
            Entry(
                f"daily-{day}.html", "daily", f"Daily report {day}", "simulated", str(day), [f"{name}{at}"], name, 12.0
            )
            for at, day in enumerate(days)
        ]
    )


def data_docs(rows: int = 1, name: str = "ABC") -> DataDocs:
    """The data docs of a session with `rows` incidents and as many broken and kept rules of one table."""
    incidents = [
        {"incident_id": f"i{at}", "table": "option_chains", "rule": name, "underlying": name, "severity": "ERROR"}
        | {"expected": name, "observed": name, "origin": "simulated"}
        for at in range(rows)
    ]
    outcomes = [
        Outcome(f"rule_{at}", at % 3 == 0, Severity.ERROR if at % 2 else Severity.WARN, at % 3, 1000, name)
        for at in range(rows)
    ]
    return DataDocs(SESSION, frame(table("data_incidents"), incidents), {"option_chains": outcomes}, {})
