"""Small hand-made frames of the raw tables for tests of chains and their quality."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from flowlake.schemas.market import CORPORATE_ACTIONS, RAW_OPTION_SNAPSHOTS, RAW_STOCK_SNAPSHOTS

SESSION = date(2026, 6, 10)
CLOSE = datetime(2026, 6, 10, 20, 0, tzinfo=UTC)
YESTERDAY = datetime(2026, 6, 9, 20, 0, tzinfo=UTC)
LATER = datetime(2026, 6, 10, 20, 15, tzinfo=UTC)

_STAMPS = {"session": SESSION, "observed_at": CLOSE, "available_at": LATER, "origin": "simulated"}

AAPL_CALL: dict[str, Any] = {
    **_STAMPS,
    "underlying": "AAPL",
    "contract": "O:AAPL260717C00200000",
    "contract_type": "call",
    "exercise_style": "american",
    "expiration": date(2026, 7, 17),
    "strike": 200.0,
    "shares_per_contract": 100.0,
    "day_close": 9.9,
    "day_volume": 40.0,
    "day_vwap": 9.8,
    "day_updated_at": CLOSE,
    "open_interest": 1000.0,
    "implied_volatility": 0.3,
    "delta": 0.55,
    "bid": 9.8,
    "ask": 10.2,
    "quote_at": CLOSE,
    "underlying_price": 203.0,
    "underlying_at": CLOSE,
    "fetched_at": LATER,
}
"""A complete, unsuspicious row."""


def raw_options(*changes: dict[str, Any]) -> pl.DataFrame:
    """Table raw_option_snapshots: one row per dictionary of changes to `AAPL_CALL`."""
    rows = [{**AAPL_CALL, **change} for change in changes]
    return pl.DataFrame(rows, schema=RAW_OPTION_SNAPSHOTS.schema)


def market(underlyings: int, contracts: int, *, seed: int = 0, session: date = SESSION) -> pl.DataFrame:
    """Table raw_option_snapshots of a made-up market in which every contract traded; `seed` decides the figures."""
    import numpy as np

    rng = np.random.default_rng(seed)
    at = datetime(session.year, session.month, session.day, 20, 0, tzinfo=UTC)
    rows = [
        {
            "session": session,
            "underlying": f"U{u}",
            "contract": f"O:U{u}261218C{100_000 + 1000 * k:08d}",
            "expiration": date(2026, 12, 18),
            "strike": 100.0 + k,
            "day_volume": float(rng.integers(1, 2000)),
            "day_close": float(rng.integers(1, 2000)) / 100,
            "open_interest": float(rng.integers(100, 5000)),
            "implied_volatility": round(float(rng.uniform(0.2, 0.6)), 4),
            "underlying_price": 100.0 + float(rng.integers(-5, 5)),
            **dict.fromkeys(("day_updated_at", "quote_at", "underlying_at", "observed_at", "available_at"), at),
        }
        for u in range(underlyings)
        for k in range(contracts)
    ]
    return raw_options(*rows)


def raw_stocks(**prices: float) -> pl.DataFrame:
    """Table raw_stock_snapshots with the given closes."""
    rows = [{**_STAMPS, "ticker": ticker, "close": price} for ticker, price in prices.items()]
    return pl.DataFrame(rows, schema=RAW_STOCK_SNAPSHOTS.schema)


def split(ticker: str, effective_on: date, old: float, new: float) -> pl.DataFrame:
    """Table corporate_actions with one split."""
    row = {
        "session": SESSION,
        "ticker": ticker,
        "kind": "split",
        "effective_on": effective_on,
        "split_from": old,
        "split_to": new,
        "available_at": LATER,
        "origin": "simulated",
    }
    return pl.DataFrame([row], schema=CORPORATE_ACTIONS.schema)
