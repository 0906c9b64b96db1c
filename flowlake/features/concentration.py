"""Whether few lines carry the trading."""

from __future__ import annotations

import polars as pl

from flowlake.features.sums import KEY, exact_sum, ratio


def concentration_features(lines: pl.DataFrame) -> pl.DataFrame:
    """The 'concentration' family, one row per underlying of `lines`; contracts without a price have no premium."""
    volume, premium = pl.col("volume").cast(pl.Float64), pl.col("premium_usd").fill_null(0.0)
    traded = lines.filter(pl.col("volume") > 0).with_columns(volume=volume, premium_usd=premium)
    expirations = traded.group_by(KEY, "expiration").agg(premium=exact_sum(pl.col("premium_usd")))
    top = expirations.group_by(KEY).agg(top_expiration=pl.col("premium").max())
    totals = traded.group_by(KEY).agg(
        chain_volume=volume.sum(),
        chain_premium=exact_sum(pl.col("premium_usd")),
        top_volume=volume.max(),
        top_premium=pl.col("premium_usd").max(),
    )
    shares = (
        traded.join(totals, on=KEY)
        .group_by(KEY)
        .agg(
            premium_squares=exact_sum(ratio(pl.col("premium_usd"), pl.col("chain_premium")) ** 2, digits=12),
            volume_squares=exact_sum((pl.col("volume") / pl.col("chain_volume")) ** 2, digits=12),
        )
    )
    whole = totals.join(shares, on=KEY).join(top, on=KEY)
    priced = pl.col("chain_premium") > 0
    return (
        lines.select(pl.col(KEY).unique())
        .join(whole, on=KEY, how="left")
        .select(
            KEY,
            premium_herfindahl=pl.when(priced).then(pl.col("premium_squares")),
            volume_herfindahl="volume_squares",
            top_line_premium_share=ratio(pl.col("top_premium"), pl.col("chain_premium")).clip(upper_bound=1.0),
            top_line_volume_share=ratio(pl.col("top_volume"), pl.col("chain_volume")),
            top_expiration_premium_share=ratio(pl.col("top_expiration"), pl.col("chain_premium")),
        )
    )
