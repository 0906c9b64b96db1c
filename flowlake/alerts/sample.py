"""A sample alert about an invented underlying, to see that a channel works and how an alert looks."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.alerts import content, identity, pictures, render
from flowlake.alerts.evidence import HISTORY_SESSIONS, Evidence
from flowlake.alerts.message import Message
from flowlake.schemas import table
from flowlake.settings import Settings

UNDERLYING = "SAMPLE"
NOTICE = "TEST"

_SPOT, _STRIKES, _DAYS = 48.6, range(40, 62, 2), 24
_FACTORS = (
    ("volume_surprise", 3.0, "lines like the leading one trade this much 1 time in 18,000"),
    ("dominance", 2.1, "leading line's excess is 5.40 times the chain's usual day"),
    ("volume_oi_ratio", 1.6, "leading line traded 14.20 times its open interest"),
    ("short_otm_share", 1.2, "94% of the excess volume is short-dated and out of the money"),
    ("iv_change", 0.4, "implied volatility of the hit lines moved +3.1% against the chain"),
    ("quietness", -0.1, "the stock's own move is 0.8 (0 is none) in usual daily moves"),
)


def sample_message(settings: Settings, channel: str, now: datetime) -> Message:
    """A message about invented data, marked as a test in its subject, title and text."""
    evidence = sample_evidence(calendar.latest_closed_session(now), now)
    shown = content.build(evidence, settings.alerts)
    drawn = pictures.draw(shown, evidence) if channel == "email" else {}
    message = render.alert_message(shown, evidence.alert, channel, now, drawn)
    unique = identity.message_id(f"test-{now:%Y%m%d%H%M%S%f}", 1, channel)
    return replace(
        message,
        message_id=unique,
        subject=f"[{NOTICE}] {message.subject}",
        title=f"[{NOTICE}] {message.title}",
        text=f"THIS IS A TEST of the channel {channel}: everything below is invented.\n\n{message.text}",
        body=f"This is a test; all of it is invented.\n{message.body}",
    )


def sample_evidence(session: date, now: datetime) -> Evidence:
    """An invented event with its chain and history."""
    expiration = session + timedelta(days=_DAYS)
    chain = _chain(session, expiration, now)
    marked = chain.filter(pl.col("right") == "C", pl.col("strike").is_in([54.0, 56.0]))
    lines = [
        {
            **{name: row[name] for name in _LINE_COLUMNS},
            "expected": row["volume"] / 180,
            "p_value": 1e-5,
            "premium_usd": row["volume"] * row["price"] * 100,
        }
        for row in marked.iter_rows(named=True)
    ]
    rate = 0.4
    event: dict[str, Any] = {
        "universe": 5900,
        "volume": 7420,
        "expected_volume": 410.0,
        "spot": _SPOT,
        "llr_total": sum(value for _, value, _ in _FACTORS),
        "contracts": lines,
        "annotations": [],
        "algorithms": ["multi_strike", "volume"],
        "factors": [{"factor": name, "value": 1.0, "contribution": c, "text": text} for name, c, text in _FACTORS],
    }
    alert = {
        "session": session,
        "alert_id": "0" * 16,
        "event_id": "0" * 16,
        "underlying": UNDERLYING,
        "snapshot": None,
        "source": "scored_events",
        "rank": 1,
        "score": 8.5,
        "conviction": "EXTREME",
        "expected_false_alarms_per_day": rate,
        "direction": "bullish",
        "right": "C",
        "event_status": "provisional",
        "premium_usd": sum(line["premium_usd"] for line in lines),
        "explanation": "Invented, to show how an alert looks.",
        "reason": "a test",
        "revision": 1,
        "thread_id": identity.thread_id(f"test-{now:%Y%m%d%H%M%S%f}"),
        "origin": "simulated",
    }
    days = calendar.trailing_sessions(session, HISTORY_SESSIONS)
    usual = [330 + 61 * (number * 7 % 5) for number in range(len(days))]
    history = pl.DataFrame({"session": days, "volume": usual}, schema={"session": pl.Date, "volume": pl.Int64})
    return Evidence(alert=alert, event=event, chain=chain, history=history)


_LINE_COLUMNS = (
    "contract_id", "contract", "expiration", "strike", "right", "volume", "open_interest", "price", "delta",
    "implied_volatility", "dte",
)  # fmt: skip


def _chain(session: date, expiration: date, now: datetime) -> pl.DataFrame:
    """One expiration around the stock price, quiet but for two calls."""
    rows: list[dict[str, Any]] = []
    for strike in _STRIKES:
        for right in "CP":
            inside = max(_SPOT - strike, 0.0) if right == "C" else max(strike - _SPOT, 0.0)
            price = round(inside + 1.9 * 0.86 ** abs(strike - _SPOT), 2)
            volume = {(54, "C"): 4310, (56, "C"): 2620}.get((strike, right), 12 + 9 * (strike % 7))
            rows.append(
                {
                    "session": session,
                    "contract_id": len(rows),
                    "underlying": UNDERLYING,
                    "contract": f"O:{UNDERLYING}{expiration:%y%m%d}{right}{strike * 1000:08d}",
                    "expiration": expiration,
                    "strike": float(strike),
                    "right": right,
                    "multiplier": 100.0,
                    "is_adjusted": False,
                    "volume": volume,
                    "open_interest": 180 + 40 * (strike % 9),
                    "price": price,
                    "mid": price,
                    "spread": 0.1,
                    "spot": _SPOT,
                    "forward": _SPOT,
                    "dte": _DAYS,
                    "implied_volatility": 0.46,
                    "delta": round((1 if right == "C" else -1) * 0.5 * 0.9 ** abs(strike - _SPOT), 2),
                    "gamma": 0.05,
                    "theta": -0.03,
                    "vega": 0.04,
                    "available_at": now,
                    "origin": "simulated",
                }
            )
    declared = table("option_chains")
    return pl.DataFrame(rows, schema_overrides={n: t for n, t in declared.schema.items() if n in rows[0]})
