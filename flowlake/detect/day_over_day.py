"""Day-over-day flags: today's volume of a contract against the session before, at the same point of the day.

The rules and their defaults are those of the SPX monitor flowlake succeeds (`MonitorSettings`). They are plain
thresholds, not calibrated tests: they show what changed, and never enter a score.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from flowlake import calendar, schemas
from flowlake.settings import MonitorSettings

_NAMES = ("delta", "multiplier", "dormancy")


def day_over_day(
    session: date, chains: pl.DataFrame, contract_baselines: pl.DataFrame, settings: MonitorSettings
) -> pl.DataFrame:
    """ANOMALIES_DAY_OVER_DAY of `session`: flagged contracts of `settings.underlyings`.

    `chains` is OPTION_CHAINS of the session, `contract_baselines` its CONTRACT_BASELINES. Only contracts
    `settings.min_dte` to `settings.max_dte` days from expiration that reach both floors are looked at. 'delta': volume
    rose by more than `settings.delta`; 'multiplier': to more than `settings.multiplier` times; 'dormancy': from nothing
    to more than `settings.dormancy`. A contract that was not listed the session before has nothing to be compared with
    and is left out, and so is every contract on the first session.
    """
    table = schemas.table("anomalies_day_over_day")
    if not settings.enabled:
        return table.empty()
    known = contract_baselines.select("contract_id", "previous_volume").drop_nulls()
    watched = chains.filter(
        pl.col("underlying").is_in(settings.watched(chains["underlying"].unique().to_list())),
        pl.col("dte").is_between(settings.min_dte, settings.max_dte),
    ).join(known, on="contract_id", how="inner")
    rows = watched.with_columns(
        premium_usd=pl.col("volume") * pl.col("price") * pl.col("multiplier"),
        volume_change=pl.col("volume") - pl.col("previous_volume"),
        multiple=pl.when(pl.col("previous_volume") > 0).then(pl.col("volume") / pl.col("previous_volume")),
    ).filter(pl.col("volume") > settings.volume_floor, pl.col("premium_usd") > settings.premium_floor)
    broken = (
        pl.col("volume_change") > settings.delta,
        (pl.col("multiple") > settings.multiplier).fill_null(False),
        (pl.col("previous_volume") == 0) & (pl.col("volume") > settings.dormancy),
    )
    named = [pl.when(rule).then(pl.lit(name)) for name, rule in zip(_NAMES, broken, strict=True)]
    flagged = rows.with_columns(flags=pl.concat_list(named).list.drop_nulls()).filter(pl.col("flags").list.len() > 0)
    return table.conform(
        flagged.with_columns(
            explanation=_explanation(), event_time=pl.lit(calendar.session_close(session)), session=pl.lit(session)
        ).select(table.schema.names())
    )


def _explanation() -> pl.Expr:
    side = pl.when(pl.col("right") == "C").then(pl.lit(" call traded ")).otherwise(pl.lit(" put traded "))
    # Not pl.format: polars 2.1.0 panics in it where flagged rows follow many unflagged ones.
    return pl.concat_str(
        "underlying",
        pl.lit(" "),
        "expiration",
        pl.lit(" "),
        "strike",
        side,
        "volume",
        pl.lit(" contracts after "),
        "previous_volume",
        pl.lit(" the session before ("),
        pl.col("flags").list.join(", "),
        pl.lit("), "),
        pl.col("premium_usd").round(0).cast(pl.Int64),
        pl.lit(" USD of premium."),
    )
