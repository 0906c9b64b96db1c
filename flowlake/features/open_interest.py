"""What is open, and what the trading of the session before opened and closed."""

from __future__ import annotations

import polars as pl

from flowlake.features.sums import KEY, known, ratio


def open_interest_features(lines: pl.DataFrame) -> pl.DataFrame:
    """The 'open_interest' family, one row per underlying of `lines`."""
    interest, is_call = pl.col("open_interest").cast(pl.Int64), pl.col("is_call")
    change, opened = pl.col("oi_change"), pl.col("opened")
    comparable = change.is_not_null()
    previous_volume = pl.col("previous_volume").cast(pl.Int64).filter(opened.is_not_null()).sum()
    previous_interest = pl.col("previous_open_interest").cast(pl.Int64).filter(comparable).sum()
    return (
        lines.group_by(KEY)
        .agg(
            open_interest=known(interest, interest.sum()),
            call_open_interest=known(interest, interest.filter(is_call).sum()),
            put_open_interest=known(interest, interest.filter(~is_call).sum()),
            oi_change=known(change, change.sum()),
            call_oi_change=known(change, change.filter(is_call).sum()),
            put_oi_change=known(change, change.filter(~is_call).sum()),
            oi_build=known(change, change.clip(lower_bound=0).sum()),
            oi_unwinding=known(change, -change.clip(upper_bound=0).sum()),
            previous_interest=previous_interest,
            previous_volume=previous_volume,
            opened=opened.sum(),
        )
        .with_columns(
            put_call_open_interest_ratio=ratio(pl.col("put_open_interest"), pl.col("call_open_interest")),
            oi_build_share=ratio(pl.col("oi_build"), pl.col("previous_interest")),
            opening_share=ratio(pl.col("opened"), pl.col("previous_volume")),
        )
    )
