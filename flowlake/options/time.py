"""Time to expiration: settlement instants, calendar years and trading minutes.

Morning-settled index options die at the opening print of their expiration (or of the session before it, where that is
a holiday), everything else at the close, 13:00 on early closes. Times are measured in minutes from the market time of
the quote, as the VIX methodology does, so that a contract in its last hour has an hour, not a day.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from flowlake.calendar import session_close, session_open, sessions
from flowlake.schemas import UTC_TIME

MINUTES_PER_YEAR = 525_600.0
MINUTES_PER_SESSION = 390

MORNING_SETTLED_ROOTS = frozenset({"SPX", "NDX", "RUT", "DJX", "VIX", "VIXW", "RUI", "RLG", "RLV"})
"""OCC roots whose settlement value is made of opening prices (Cboe and Nasdaq product specifications)."""

SHORTEST_YEARS = 1.0 / MINUTES_PER_YEAR
"""A living contract is given at least one minute; below it prices are rounding."""


def time_to_expiration(
    expiration: pl.Series, root: pl.Series, now: datetime | pl.Series, *, morning_roots: frozenset[str] | None = None
) -> pl.DataFrame:
    """Settlement and remaining time of every contract, in the order given.

    `expiration` dates, `root` OCC roots, `now` the market time of the quotes (aware datetime, or a UTC series).
    Columns: `settles_at` (UTC); `years` calendar minutes / 525,600, at least one minute while the contract lives and
    not above zero after; `trading_minutes` regular-session minutes left; `dte` calendar days between New York dates.
    """
    roots = MORNING_SETTLED_ROOTS if morning_roots is None else morning_roots
    frame = pl.DataFrame({"expiration": expiration, "morning": root.is_in(list(roots))})
    frame = frame.with_columns(now=now if isinstance(now, pl.Series) else pl.lit(now))
    frame = frame.with_columns(pl.col("now").cast(UTC_TIME))
    distinct = frame.select("expiration", "morning").unique().drop_nulls().sort("expiration", "morning")
    settlements = distinct.with_columns(
        pl.Series("settles_at", [_settles_at(day, early) for day, early in distinct.iter_rows()], dtype=UTC_TIME)
    )
    joined = frame.join(settlements, on=["expiration", "morning"], how="left", maintain_order="left")
    minutes = (pl.col("settles_at") - pl.col("now")).dt.total_microseconds() / 60e6
    years = minutes / MINUTES_PER_YEAR
    return joined.select(
        "settles_at",
        years=pl.when(years > 0).then(pl.max_horizontal(years, pl.lit(SHORTEST_YEARS))).otherwise(years),
        trading_minutes=_trading_minutes(joined["now"], joined["settles_at"]),
        dte=(pl.col("expiration") - pl.col("now").dt.convert_time_zone("America/New_York").dt.date())
        .dt.total_days()
        .cast(pl.Int16),
    )


def _settles_at(expiration: date, morning: bool) -> datetime:
    """Opening (`morning`) or close of the last session on or before `expiration`, UTC."""
    session = sessions(expiration - timedelta(days=10), expiration)[-1]
    return session_open(session) if morning else session_close(session)


def _trading_minutes(start: pl.Series, end: pl.Series) -> pl.Series:
    """Regular-session minutes between two UTC instants, rounded, never negative; null where either is."""
    known = pl.DataFrame({"start": start, "end": end}).drop_nulls()
    if known.is_empty():
        return pl.Series("trading_minutes", [None] * start.len(), dtype=pl.Int32)
    first, last = known["start"].min(), known["end"].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    days = sessions((min(first, last) - timedelta(days=1)).date(), max(first, last).date())
    opens = np.array([session_open(day).timestamp() for day in days])
    closes = np.array([session_close(day).timestamp() for day in days])
    elapsed = np.concatenate([[0.0], np.cumsum(closes - opens)])

    def clock(instants: pl.Series) -> np.ndarray:
        seconds = instants.dt.epoch("us").to_numpy() / 1e6
        session = np.searchsorted(opens, seconds, side="right") - 1
        inside = np.clip(seconds - opens[np.maximum(session, 0)], 0.0, (closes - opens)[np.maximum(session, 0)])
        return np.where(session < 0, 0.0, elapsed[np.maximum(session, 0)] + inside)

    minutes = np.maximum(clock(end) - clock(start), 0.0) / 60.0
    return pl.Series("trading_minutes", minutes).round().fill_nan(None).cast(pl.Int32)
