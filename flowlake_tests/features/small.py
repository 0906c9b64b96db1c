"""A small made-up history for snapshot tests: three underlyings over 35 sessions, every value told apart."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl

from flowlake import calendar
from flowlake.features.snapshots import Facts
from flowlake.schemas.base import Table
from flowlake.schemas.features import OPTIONS_FLOW_FEATURES
from flowlake.schemas.insiders import CONGRESS_TRADES, INSIDER_SIGNALS
from flowlake_tests.factories import frame

LAST = date(2026, 7, 10)
SESSIONS = [*calendar.trailing_sessions(LAST, 34), LAST]
NAMES = ("A", "B", "C")
AS_OF = calendar.session_open(calendar.next_session(SESSIONS[-4]))
"""The morning on which the fourth session from the end is the newest known."""


def known_at(session: date) -> datetime:
    return calendar.session_close(session) + timedelta(minutes=20)


def random_rows(table: Table, keys: pl.DataFrame, seed: int) -> pl.DataFrame:
    """`keys` as rows of `table`, every other column random where it is a number, about a tenth of them null."""
    rng = np.random.default_rng(seed)
    columns = []
    for column in table.columns:
        if column.name in keys.columns:
            columns.append(keys[column.name])
        elif column.dtype == pl.String:
            columns.append(
                pl.Series(column.name, ["simulated" if column.name == "origin" else "snapshot"] * keys.height)
            )
        elif column.dtype == pl.Boolean:
            columns.append(pl.Series(column.name, rng.random(keys.height) < 0.5))
        else:
            drawn = pl.Series(column.name, rng.integers(1, 100, keys.height)).cast(column.dtype)
            missing = pl.Series(rng.random(keys.height) < (0.1 if column.nullable else 0.0))
            columns.append(pl.select(pl.when(~missing).then(drawn).alias(column.name)).to_series())
    return table.conform(pl.DataFrame(columns))


def facts() -> Facts:
    """Features, closes, insider signals and disclosures up to LAST."""
    days = pl.DataFrame({"session": SESSIONS, "available_at": [known_at(day) for day in SESSIONS]})
    days = days.with_columns(pl.col("available_at").cast(pl.Datetime("us", "UTC")))
    rows = days.join(pl.DataFrame({"underlying": NAMES}), how="cross").with_columns(event_time=pl.col("available_at"))
    features = random_rows(OPTIONS_FLOW_FEATURES, rows, seed=1)
    stocks = rows.select("session", pl.col("underlying").alias("ticker"), "available_at").with_columns(
        close=pl.int_range(pl.len()).cast(pl.Float64) + 1.0
    )
    signals = random_rows(
        INSIDER_SIGNALS, rows.rename({"underlying": "ticker"}).filter(pl.col("ticker") != "C"), seed=2
    )
    trades = [
        {
            "ticker": "A",
            "row_number": number,
            "member": f"m{number}",
            "transaction_class": "purchase" if number % 2 else "sale",
            "amount_low": 1000.0 * number,
            "amount_high": 2000.0 * number,
            "disclosed_on": day,
            "available_at": datetime.combine(day, time(), UTC) + timedelta(days=1, hours=4),
        }
        for number, day in enumerate(SESSIONS)
    ]
    return Facts(features, stocks, signals, frame(CONGRESS_TRADES, trades))
