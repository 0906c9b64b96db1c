"""Algorithm 5, low volume, high conviction: in an illiquid name, one series takes over the whole chain."""

from __future__ import annotations

import numpy as np
import polars as pl

from flowlake.detect import findings
from flowlake.detect.expectation import root_deviance

STATISTIC = "series_surprise"

LARGEST_TICKER_VOLUME = 1_000.0
"""Mean daily option contracts of the underlying beyond which it does not count as illiquid."""

SMALLEST_SHARE = 0.5
"""Share of the chain's volume the series must have."""

MIN_VOLUME = 50
CHAIN_DISPERSION = 0.5
"""Negative-binomial k of a whole illiquid chain's daily volume."""


def statistic(lines: pl.DataFrame) -> pl.DataFrame:
    """Per underlying and right: `series_surprise`, root deviance of a dominating series from the chain's usual day.

    Null in names that are not illiquid, 0 where no series dominates.
    """
    sides = lines.group_by("underlying", "right", maintain_order=True).agg(illiquid=_illiquid().first())
    found = series(lines).group_by("underlying", "right", maintain_order=True).agg(pl.col(STATISTIC).max())
    return sides.join(found, on=["underlying", "right"], how="left", maintain_order="left").select(
        "underlying", "right", pl.when("illiquid").then(pl.col(STATISTIC).fill_null(0.0)).alias(STATISTIC)
    )


def anomalies(lines: pl.DataFrame, sides: pl.DataFrame) -> pl.DataFrame:
    """ANOMALIES_LOW_VOLUME rows: the dominating series of flagged illiquid chains."""
    flagged = findings.flagged_sides(sides, STATISTIC).join(series(lines), on=["underlying", "right"], how="inner")
    rows = flagged.with_columns(
        observed=pl.col("volume").cast(pl.Float64),
        expected=pl.col("ticker_volume_mean"),
        statistic=pl.col(STATISTIC),
        p_value=pl.col("ticker_p_value"),
        null_n=pl.col("ticker_null_n"),
        lines=pl.lit(1, dtype=pl.Int32),
    )
    return findings.anomaly_rows(rows, "low_volume", _explain)


def series(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines of illiquid names with at least half of the chain's volume and more than on any of 60 sessions."""
    chain_volume = pl.col("volume").sum().over("underlying")
    dominating = lines.with_columns(share=pl.col("volume") / chain_volume).filter(
        _illiquid(),
        pl.col("share") >= SMALLEST_SHARE,
        pl.col("volume") >= MIN_VOLUME,
        pl.col("volume") > pl.col("volume_max_60").fill_null(0),
    )
    observed = dominating["volume"].cast(pl.Float64).to_numpy()
    usual = np.maximum(dominating["ticker_volume_mean"].to_numpy(), 1.0)
    deviance = root_deviance(observed, usual, np.full(len(usual), CHAIN_DISPERSION))
    return dominating.with_columns(pl.Series(STATISTIC, deviance, dtype=pl.Float64))


def _illiquid() -> pl.Expr:
    return pl.col("ticker_day_mean") <= LARGEST_TICKER_VOLUME


def _explain(row: findings.Row) -> str:
    return (
        f"{findings.line_name(row)} traded {row['observed']:,.0f} contracts, {row['share']:.0%} of the chain's volume; "
        f"the whole chain usually trades {row['expected']:,.0f} a session. Comparable illiquid names do this "
        f"{findings.frequency(row['p_value'])}."
    )
