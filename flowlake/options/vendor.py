"""How far the vendor's volatility and Greeks are from ours."""

from __future__ import annotations

import polars as pl

FARTHEST = 4
"""Deviations from the forward at which buckets end."""


def vendor_differences(chain: pl.DataFrame) -> pl.DataFrame:
    """Differences by right and moneyness, of the rows where both sides have a volatility, sorted.

    `chain` is an `option_chains` frame: `right`, `strike`, `forward`, `years`, ours (`implied_volatility`, `delta`) and
    the vendor's (`vendor_iv`, `vendor_delta`).

    Columns: `right`; `deviations` of ln(strike / forward) in units of our volatility, rounded, -4 to 4; `rows`;
    `median_points` (ours less theirs, volatility points); `typical_points` (median size); `worst_points` (99 % size);
    `typical_delta` (median size of the difference in delta).
    """
    ours, theirs = pl.col("implied_volatility").cast(pl.Float64), pl.col("vendor_iv").cast(pl.Float64)
    deviation = (pl.col("strike") / pl.col("forward")).log() / (ours * pl.col("years").sqrt())
    delta = (pl.col("delta").cast(pl.Float64) - pl.col("vendor_delta").cast(pl.Float64)).abs()
    both = chain.filter(ours.is_not_null() & theirs.is_not_null() & (pl.col("years") > 0)).select(
        "right",
        deviations=deviation.clip(-FARTHEST, FARTHEST).round().cast(pl.Int8),
        points=(ours - theirs) * 100,
        delta=delta,
    )
    size = pl.col("points").abs()
    return (
        both.group_by("right", "deviations")
        .agg(
            rows=pl.len(),
            median_points=pl.col("points").median(),
            typical_points=size.median(),
            worst_points=size.quantile(0.99),
            typical_delta=pl.col("delta").median(),
        )
        .sort("right", "deviations")
    )
