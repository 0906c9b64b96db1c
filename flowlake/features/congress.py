"""What members of Congress had disclosed."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from flowlake.features.sums import KEY, exact_sum

DAYS = 90
"""Calendar days of disclosures that count."""

_PURCHASES, _SALES = ("purchase",), ("sale", "partial_sale")
_SCHEMA = {"purchases": pl.Int32, "sales": pl.Int32, "members": pl.Int32, "net_usd": pl.Float64}


def congress_features(underlyings: pl.DataFrame, trades: pl.DataFrame | None, as_of: datetime) -> pl.DataFrame:
    """The 'congress' family, one row per row of `underlyings`: CONGRESS_TRADES disclosed in the `DAYS` before `as_of`.

    Null throughout where `trades` is None.
    """
    if trades is None:
        counted = pl.DataFrame(schema={KEY: pl.String, **_SCHEMA})
        joined = underlyings.select(KEY).join(counted, on=KEY, how="left")
    else:
        joined = underlyings.select(KEY).join(_counted(trades, as_of), on=KEY, how="left")
        joined = joined.with_columns(pl.col(list(_SCHEMA)).fill_null(0))
    return joined.rename(lambda name: name if name == KEY else f"congress_{name}_{DAYS}")


def _counted(trades: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    bought, sold = (pl.col("transaction_class").is_in(kinds) for kinds in (_PURCHASES, _SALES))
    amount = (pl.col("amount_low") + pl.coalesce("amount_high", "amount_low")) / 2.0
    known = (pl.col("available_at") < as_of) & (pl.col("available_at") >= as_of - timedelta(days=DAYS))
    return (
        trades.filter(known & (bought | sold))
        .drop_nulls("ticker")
        .group_by(pl.col("ticker").alias(KEY))
        .agg(
            purchases=bought.sum().cast(pl.Int32),
            sales=sold.sum().cast(pl.Int32),
            members=pl.col("member").n_unique().cast(pl.Int32),
            net_usd=exact_sum(amount.filter(bought)) - exact_sum(amount.filter(sold)),
        )
    )
