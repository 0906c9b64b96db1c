"""The state of the market as a whole, the same for every underlying of a session."""

from __future__ import annotations

import polars as pl

from flowlake.features.sums import KEY

BENCHMARK = "SPY"


def regime_features(stock: pl.DataFrame, indicators: pl.DataFrame) -> pl.DataFrame:
    """The 'regime' family, one row, from the 'stock' and 'indicators' rows of SPY; null where it is not there."""
    names = {
        "sma_200_distance": "market_sma_200_distance",
        "stock_return_20": "market_return_20",
        "realised_volatility_20": "market_volatility_20",
    }
    both = stock.join(indicators, on=KEY).filter(pl.col(KEY) == BENCHMARK)
    row = both.select(pl.col(old).alias(new) for old, new in names.items())
    if row.is_empty():
        row = pl.DataFrame({new: [None] for new in names.values()}, schema=dict.fromkeys(names.values(), pl.Float64))
    return row.with_columns(market_above_sma_200=pl.col("market_sma_200_distance") > 0)
