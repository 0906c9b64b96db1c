"""What insiders had disclosed by the close."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from flowlake.features.sums import KEY

COUNTS = ("buyers", "opportunistic_buyers", "senior_buyers", "purchase_value_usd", "sellers", "sale_value_usd")
_TYPES = {name: pl.Float64 if name.endswith("usd") else pl.Int32 for name in COUNTS}


def insider_features(underlyings: pl.DataFrame, signals: pl.DataFrame | None, as_of: datetime) -> pl.DataFrame:
    """The 'insiders' family, one row per row of `underlyings`, from INSIDER_SIGNALS known strictly before `as_of`.

    Where `signals` is None or was known later, everything is null; an underlying without a row in it had no trades.
    """
    if signals is not None and signals.filter(pl.col("available_at") >= as_of).height:
        signals = None
    if signals is None:
        schema = {KEY: pl.String, **_TYPES, "is_cluster_buy": pl.Boolean, "net_purchase_ratio": pl.Float64}
        joined = underlyings.select(KEY).join(pl.DataFrame(schema=schema), on=KEY, how="left")
    else:
        columns = (*COUNTS, "is_cluster_buy", "net_purchase_ratio")
        joined = (
            underlyings.select(KEY)
            .join(signals.select(pl.col("ticker").alias(KEY), *columns), on=KEY, how="left")
            .with_columns(pl.col(COUNTS).fill_null(0), pl.col("is_cluster_buy").fill_null(False))
        )
    return joined.rename(lambda name: name if name == KEY else f"insider_{name}")
