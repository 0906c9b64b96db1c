"""Past sessions whose snapshot was missed: what the vendor still has of them, in the shape of the raw tables."""

from __future__ import annotations

from datetime import date

import polars as pl

from flowlake.calendar import session_close
from flowlake.schemas.market import RAW_STOCK_SNAPSHOTS, SNAPSHOT_COVERAGE
from flowlake.settings import MarketSettings
from flowlake.sources.polygon import BlockingPolygonClient


class TooManyContracts(ValueError):
    """Filling a missed session would take more requests, one a contract, than the settings allow."""


def stocks_of_past_session(client: BlockingPolygonClient, session: date) -> pl.DataFrame:
    """Table raw_stock_snapshots of a past session from the grouped daily bars: no quotes, no last trade."""
    bars = client.fetch_grouped_daily(session).with_columns(observed_at=pl.lit(session_close(session)))
    return RAW_STOCK_SNAPSHOTS.conform(
        bars.select(
            (pl.col(name) if name in bars.columns else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in RAW_STOCK_SNAPSHOTS.schema.items()
        )
    )


def session_bars(
    client: BlockingPolygonClient, session: date, underlyings: list[str], settings: MarketSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Tables raw_option_bars and snapshot_coverage of a past session: one request per contract then listed.

    An underlying counts as complete only if every one of its contracts was answered. Raises `TooManyContracts` above
    `settings.max_bar_requests`.
    """
    listed = client.list_contracts(session, underlyings=underlyings)
    if listed.height > settings.max_bar_requests:
        raise TooManyContracts(
            f"{listed.height:,} contracts were listed on {session} and the vendor answers for one at a time; narrow "
            "FLOWLAKE_MARKET__UNDERLYINGS, or raise FLOWLAKE_MARKET__MAX_BAR_REQUESTS "
            f"(now {settings.max_bar_requests:,})"
        )
    got = client.fetch_option_bars(session, listed.select("underlying", "contract").rows())
    failed = pl.DataFrame(
        {"contract": list(got.failed), "error": list(got.failed.values())},
        schema={"contract": pl.String, "error": pl.String},
    )
    known = got.frame["available_at"].max()
    origin = got.frame["origin"][0] if got.frame.height else "vendor"
    coverage = (
        listed.select("underlying", "contract")
        .join(failed, on="contract", how="left")
        .join(got.frame.select("contract", bar=pl.lit(True)), on="contract", how="left")
        .group_by("underlying")
        .agg(
            pl.len().alias("attempts"),
            pl.col("bar").sum().alias("rows"),
            pl.col("error").drop_nulls().first(),
        )
        .with_columns(
            session=pl.lit(session),
            status=pl.when(pl.col("error").is_null()).then(pl.lit("complete")).otherwise(pl.lit("failed")),
            pages=pl.col("attempts"),
            observed_at=pl.lit(session_close(session)),
            available_at=pl.lit(known if known is not None else session_close(session)),
            origin=pl.lit(origin),
        )
    )
    return got.frame, SNAPSHOT_COVERAGE.conform(coverage.select(SNAPSHOT_COVERAGE.schema.names()))
