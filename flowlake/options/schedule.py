"""Which dividends each row of a frame still gets before it expires."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from flowlake.options.american import Schedule
from flowlake.options.black import DAYS_PER_YEAR

EX_LEAD_DAYS = 0.25
"""An ex-date begins at its opening, some hours less than whole days after the quote."""


def dividend_schedule(frame: pl.DataFrame, session: date, dividends: pl.DataFrame | None) -> Schedule:
    """The dividends of every row of `frame` (`underlying`, `expiration`) as slices of one sorted list."""
    if dividends is None or dividends.is_empty():
        return Schedule(np.zeros(frame.height, np.int64), np.zeros(frame.height, np.int64), np.empty(0), np.empty(0))
    due = (
        dividends.filter((pl.col("cash_amount") > 0) & (pl.col("effective_on") > session))
        .select("ticker", "effective_on", "cash_amount")
        .sort("ticker", "effective_on")
        .with_row_index("position")
    )
    counts = due.select(
        "ticker",
        "effective_on",
        first=pl.col("position").min().over("ticker").cast(pl.Int64),
        last=pl.col("position").cast(pl.Int64) + 1,
    )
    pairs = frame.select("underlying", "expiration").unique().sort("expiration")
    slices = pairs.join_asof(
        counts.sort("effective_on", "last"),
        left_on="expiration",
        right_on="effective_on",
        by_left="underlying",
        by_right="ticker",
        strategy="backward",
        check_sortedness=False,
    ).select("underlying", "expiration", pl.col("first", "last").fill_null(0))
    rows = frame.select("underlying", "expiration").join(
        slices, on=["underlying", "expiration"], how="left", maintain_order="left"
    )
    days = due.select((pl.col("effective_on") - session).dt.total_days()).to_series().to_numpy()
    return Schedule(
        rows["first"].to_numpy(),
        rows["last"].to_numpy(),
        (days - EX_LEAD_DAYS) / DAYS_PER_YEAR,
        due["cash_amount"].cast(pl.Float64).to_numpy(),
    )
