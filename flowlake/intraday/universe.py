"""The universe of a session: optionable underlyings by liquidity, in tiers that say how often each is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from flowlake.schemas import UTC_TIME
from flowlake.schemas.intraday import UNIVERSE
from flowlake.settings import IntradaySettings

ACTIVITY_SESSIONS = 20
"""Trailing sessions whose option volume orders the universe."""


class FutureActivity(ValueError):
    """Activity of the session itself, or later, was offered as its past."""


def watch_lists(text: str) -> dict[str, list[str]]:
    """Watch lists by name from 'mine=AAPL,MSFT; indices=SPX'; a list without a name is called 'watched'.

    Raises `ValueError` naming a part without tickers.
    """
    lists: dict[str, list[str]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, names = part.rpartition("=")
        tickers = [ticker.strip() for ticker in names.split(",") if ticker.strip()]
        if not tickers or (equals and not name.strip()):
            raise ValueError(f"FLOWLAKE_INTRADAY__WATCH_LISTS: {part!r} is no list such as 'mine=AAPL,MSFT'")
        lists.setdefault(name.strip() or "watched", []).extend(tickers)
    return lists


def build_universe(
    session: date,
    listed: Sequence[str],
    statistics: pl.DataFrame,
    coverage: pl.DataFrame,
    settings: IntradaySettings,
    *,
    available_at: datetime,
    origin: str,
) -> pl.DataFrame:
    """Table UNIVERSE of `session`.

    `listed` are the optionable underlyings; watched names are added. `statistics` holds session, underlying and
    chain_volume of TICKER_STATISTICS over the sessions before, `coverage` session, underlying, status, rows and pages
    of SNAPSHOT_COVERAGE. A name never seen before ranks behind those with a history. Raises `FutureActivity` where
    either is not strictly earlier than `session`.
    """
    for past in (statistics, coverage):
        newest = past["session"].max()
        if isinstance(newest, date) and newest >= session:
            raise FutureActivity(f"the universe of {session} may only know sessions before it, but was given {newest}")
    watched = _watched(settings)
    names = pl.DataFrame({"underlying": [*listed, *watched["underlying"]]}, schema={"underlying": pl.String}).unique()
    ranked = (
        names.join(watched, on="underlying", how="left")
        .join(_activity(statistics), on="underlying", how="left")
        .join(_newest_chain(coverage), on="underlying", how="left")
        .with_columns(pl.col("watch_lists").fill_null([]), pl.col("volume_sessions").fill_null(0))
        .with_columns(is_watched=pl.col("watch_lists").list.len() > 0)
        .sort("is_watched", "option_volume", "underlying", descending=[True, True, False], nulls_last=True)
        .with_columns(rank=pl.int_range(1, pl.len() + 1))
    )
    tiered = ranked.with_columns(tier=_tier(settings)).with_columns(interval_minutes=_interval(settings))
    return UNIVERSE.conform(
        tiered.with_columns(
            session=pl.lit(session), available_at=pl.lit(available_at, UTC_TIME), origin=pl.lit(origin)
        ).select(UNIVERSE.schema.names())
    )


def _watched(settings: IntradaySettings) -> pl.DataFrame:
    pairs = [(ticker, name) for name, tickers in watch_lists(settings.watch_lists).items() for ticker in tickers]
    flat = pl.DataFrame(pairs, schema={"underlying": pl.String, "list": pl.String}, orient="row")
    return flat.group_by("underlying").agg(watch_lists=pl.col("list").unique().sort())


def _activity(statistics: pl.DataFrame) -> pl.DataFrame:
    # Both sides of a chain carry the volume of the whole of it.
    of_chains = statistics.group_by("session", "underlying").agg(pl.col("chain_volume").max())
    return of_chains.group_by("underlying").agg(
        option_volume=pl.col("chain_volume").cast(pl.Float64).mean(), volume_sessions=pl.len()
    )


def _newest_chain(coverage: pl.DataFrame) -> pl.DataFrame:
    answered = coverage.filter(pl.col("status") == "complete").sort("session")
    return answered.group_by("underlying", maintain_order=True).agg(
        contracts=pl.col("rows").last(), pages=pl.col("pages").last()
    )


def _tier(settings: IntradaySettings) -> pl.Expr:
    rank, watched = pl.col("rank"), pl.col("is_watched")
    beyond = (rank > settings.max_underlyings) if settings.max_underlyings else pl.lit(False)
    return (
        pl.when(watched | ((rank <= settings.tier1_size) & ~beyond))
        .then(1)
        .when(beyond)
        .then(0)
        .when(rank <= settings.tier1_size + settings.tier2_size)
        .then(2)
        .otherwise(3)
    )


def _interval(settings: IntradaySettings) -> pl.Expr:
    minutes = {
        tier: asked or settings.every_minutes
        for tier, asked in enumerate((settings.tier1_minutes, settings.tier2_minutes, settings.tier3_minutes), start=1)
    }
    return pl.col("tier").replace_strict(minutes, default=None, return_dtype=pl.Int16)
