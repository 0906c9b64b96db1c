"""Prices typed into filings, checked against the market.

People type totals for prices, the price of a depositary receipt beside ordinary shares, and zeros. In one collection
of 437 purchases a single total typed as a price made 98 % of all dollars. A price that does not survive the check
gives no value.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from flowlake import calendar
from flowlake.schemas import UTC_TIME

PRICE_QUALITIES = ("ok", "total_as_price", "implausible", "exceeds_volume", "unchecked", "unchecked_large", "absent")
"""'ok': near that day's market price. 'total_as_price': price / shares is. 'implausible': neither. 'exceeds_volume':
the price is right, but more shares than the market traded (a private purchase, or another class of shares).
'unchecked': no market price; 'unchecked_large': none, and the value is above `UNCHECKED_LIMIT_USD`. 'absent': no price
was typed."""

MARKET = pl.Schema(
    {"session": pl.Date, "ticker": pl.String, "close": pl.Float64, "volume": pl.Float64},
)
"""Daily closes and volumes, not adjusted for splits."""

TOLERANCE = 2.0
"""A typed price within a factor of two of the close is believed: averages over days, and one-day moves, stay inside."""
UNCHECKED_LIMIT_USD = 100e6
STALE_DAYS = 7


def check_prices(trades: pl.DataFrame, market: pl.DataFrame) -> pl.DataFrame:
    """`trades` (ticker, transaction_date, shares, price_per_share, available_at) with price, value_usd, price_quality,
    market_price and volume_share, row order kept.

    `market` has the schema `MARKET`. Compared is the last close on or before the trade date that the exchange had
    published before the filing was accepted; a close older than `STALE_DAYS` is none.
    """
    closes = _published(market)
    keyed = trades.with_row_index("_row").with_columns(
        _knowable=pl.min_horizontal(_end_of_day(pl.col("transaction_date")), pl.col("available_at"))
    )
    matched = (
        keyed.sort("_knowable", "_row", nulls_last=True)
        .filter(pl.col("_knowable").is_not_null() & pl.col("ticker").is_not_null())
        .join_asof(
            closes,
            left_on="_knowable",
            right_on="closed_at",
            by="ticker",
            strategy="backward",
            tolerance=f"{STALE_DAYS}d",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .select("_row", market_price="close", _volume="volume", _session="session")
    )
    joined = keyed.join(matched, on="_row", how="left").sort("_row")
    return (
        joined.with_columns(price_quality=_quality(), volume_share=_volume_share())
        .with_columns(price=_price())
        .with_columns(value_usd=pl.col("shares") * pl.col("price"))
        .drop("_row", "_knowable", "_volume", "_session")
    )


def _published(market: pl.DataFrame) -> pl.DataFrame:
    """`market` with the moment each close was public."""
    days: list[date] = sorted(market["session"].unique())
    closes = pl.DataFrame(
        {"session": days, "closed_at": [calendar.session_close(day) for day in days]},
        schema={"session": pl.Date, "closed_at": UTC_TIME},
    )
    usable = market.filter(pl.col("close") > 0).select("session", "ticker", "close", "volume")
    return usable.join(closes, on="session", how="inner").sort("closed_at", "ticker")


def _end_of_day(day: pl.Expr) -> pl.Expr:
    local = (day + pl.duration(days=1)).cast(pl.Datetime("us")).dt.replace_time_zone(calendar.NEW_YORK.key)
    return local.dt.convert_time_zone("UTC").cast(UTC_TIME)


def _near(price: pl.Expr) -> pl.Expr:
    ratio = price / pl.col("market_price")
    return ratio.is_between(1 / TOLERANCE, TOLERANCE)


def _volume_share() -> pl.Expr:
    """Shares against the volume of the trade's own session; another session's volume says nothing."""
    same_session = pl.col("_session") == pl.col("transaction_date")
    return pl.when(same_session & (pl.col("_volume") > 0)).then(pl.col("shares") / pl.col("_volume"))


def _quality() -> pl.Expr:
    typed, shares = pl.col("price_per_share"), pl.col("shares")
    exceeds = (_volume_share() > 1).fill_null(False)
    return (
        pl.when(typed.is_null() | (typed <= 0))
        .then(pl.lit("absent"))
        .when(pl.col("market_price").is_null() & (typed * shares > UNCHECKED_LIMIT_USD))
        .then(pl.lit("unchecked_large"))
        .when(pl.col("market_price").is_null())
        .then(pl.lit("unchecked"))
        .when(_near(typed) & exceeds)
        .then(pl.lit("exceeds_volume"))
        .when(_near(typed))
        .then(pl.lit("ok"))
        .when(_near(typed / shares).fill_null(False))
        .then(pl.lit("total_as_price"))
        .otherwise(pl.lit("implausible"))
    )


def _price() -> pl.Expr:
    quality = pl.col("price_quality")
    return (
        pl.when(quality.is_in(["ok", "unchecked"]))
        .then("price_per_share")
        .when(quality == "total_as_price")
        .then(pl.col("price_per_share") / pl.col("shares"))
    )
