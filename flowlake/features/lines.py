"""A chain as the feature modules read it: one row per contract, beside what its baseline says of the session before."""

from __future__ import annotations

import polars as pl

_CHAIN = (
    "contract_id", "underlying", "root", "expiration", "strike", "right", "multiplier", "is_adjusted", "volume",
    "open_interest", "price", "spot", "forward", "discount", "forward_source", "dte", "years", "moneyness",
    "implied_volatility", "vendor_iv", "delta", "gamma", "vega",
)  # fmt: skip
_BASELINE = (
    "contract_id", "previous_volume", "previous_open_interest", "listing_age", "listed_before_window",
    "volume_zero_days_20", "volume_n_20",
)  # fmt: skip


def chain_lines(chains: pl.DataFrame, contract_baselines: pl.DataFrame | None) -> pl.DataFrame:
    """The contracts of `chains` (OPTION_CHAINS or INTRADAY_CHAINS) with their CONTRACT_BASELINES, null where absent.

    Adds `is_call`, `is_otm` (against the forward; null for adjusted contracts), `premium_usd` (null without a price),
    and, where open interest and volume of the session before are known, `oi_change` and `opened`: the contracts of
    yesterday's volume that the change of open interest confirms as new positions.
    """
    lines = chains.select(_CHAIN)
    if contract_baselines is None:
        lines = lines.with_columns(
            pl.lit(None, pl.Boolean if name == "listed_before_window" else pl.Int32).alias(name)
            for name in _BASELINE[1:]
        )
    else:
        lines = lines.join(contract_baselines.select(_BASELINE), on="contract_id", how="left", maintain_order="left")
    is_call = pl.col("right") == "C"
    beyond = pl.when(is_call).then(pl.col("moneyness") > 1.0).otherwise(pl.col("moneyness") < 1.0)
    change = pl.col("open_interest").cast(pl.Int64) - pl.col("previous_open_interest")
    return lines.with_columns(
        pl.col("delta", "gamma", "vega", "implied_volatility", "vendor_iv").cast(pl.Float64),
        is_call=is_call,
        is_otm=beyond,
        premium_usd=pl.col("volume") * pl.col("price") * pl.col("multiplier"),
        oi_change=change,
        # A null would be passed over by min_horizontal, so that both are asked for.
        opened=pl.when(change.is_not_null() & pl.col("previous_volume").is_not_null()).then(
            pl.min_horizontal(pl.col("previous_volume").cast(pl.Int64), change.clip(lower_bound=0))
        ),
    )
