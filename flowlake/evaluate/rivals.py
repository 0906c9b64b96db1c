"""The seven simple rules that flowlake has to beat, each as a score per underlying: the larger, the more unusual.

Sources, as published: Barchart's unusual-activity screen (volume > 500, open interest > 100, last > 0.10, volume over
open interest >= 1.25), EVMCOD/Options-Flow (10 (0.4 min(ratio/10, 1) + 0.4 min(|z|/5, 1) + 0.2 min(V/OI/0.5, 1)),
within 60 days and 20 % of the money), Webull's Pulse Index (option volume over its mean; theirs 30 sessions, here 20),
and Johnson and So's change in the ratio of option to stock volume (Journal of Financial Economics 106, 2012).
"""

from __future__ import annotations

import polars as pl

MIN_VOLUME = 100
"""Contracts below which volume over open interest and z-scores rank nothing; without it they rank dust."""

MID_TERM_DAYS = (7, 50)
"""Calendar days spanning Johnson and So's 5 to 35 trading days."""

RULES = {
    "barchart": "Barchart's rule, by volume / open interest",
    "volume_oi": "volume / open interest",
    "z20": "20-day z-score of contract volume",
    "evmcod": "EVMCOD / Options-Flow score",
    "webull": "Webull's ratio: option volume / its mean",
    "johnson_so": "Johnson-So: change in option / stock volume",
    "random": "random within activity bucket",
}
"""Column of `scores` and what it is; `random` is drawn where scores are ranked, since it needs a seed."""


def scores(lines: pl.DataFrame, ticker_baselines: pl.DataFrame, stock: pl.DataFrame) -> pl.DataFrame:
    """One row per underlying of `lines` (from `expectation.lines`): every rule but `random`; null where it says
    nothing.

    `stock` has underlying, stock_volume and usual_ratio (trailing mean of option over stock volume).
    """
    volume, interest = pl.col("volume").cast(pl.Float64), pl.col("open_interest").fill_null(0).cast(pl.Float64)
    over_interest = volume / interest.clip(1.0)
    passes = (volume > 500) & (interest > 100) & (pl.col("last") > 0.10) & (over_interest >= 1.25)
    mean, deviation = pl.col("volume_mean_20").fill_null(0.0), pl.col("volume_std_20").fill_null(0.0)
    # A line that never traded has no deviation; one contract is the least that can be told apart.
    z = (volume - mean) / deviation.clip(1.0)
    ratio = volume / mean.clip(1.0)
    near = (pl.col("dte") <= 60) & ((pl.col("strike") / pl.col("spot") - 1.0).abs() <= 0.20)
    blended = 10.0 * (
        0.4 * (ratio / 10.0).clip(0.0, 1.0)
        + 0.4 * (z.abs() / 5.0).clip(0.0, 1.0)
        + 0.2 * (over_interest / 0.5).clip(0.0, 1.0)
    )
    enough = volume >= MIN_VOLUME
    by_line = lines.group_by("underlying").agg(
        over_interest.filter(passes).max().alias("barchart"),
        over_interest.filter(enough).max().alias("volume_oi"),
        z.filter(enough).max().alias("z20"),
        blended.filter(enough & near).max().alias("evmcod"),
        volume.sum().alias("chain_volume"),
    )
    mid_term = mid_term_volume(lines.lazy()).collect()
    usual = ticker_baselines.select("underlying", usual_volume="volume_mean_20")
    return (
        by_line.join(usual, on="underlying", how="left")
        .join(mid_term, on="underlying", how="left")
        .join(stock, on="underlying", how="left")
        .select(
            "underlying",
            "barchart",
            "volume_oi",
            "z20",
            "evmcod",
            webull=pl.col("chain_volume") / pl.col("usual_volume").clip(1.0),
            johnson_so=(pl.col("mid_term_volume") / pl.col("stock_volume")) / pl.col("usual_ratio"),
        )
        .sort("underlying")
    )


def mid_term_volume(chain: pl.LazyFrame) -> pl.LazyFrame:
    """Per underlying: `mid_term_volume`, contracts traded in expirations `MID_TERM_DAYS` away."""
    inside = pl.col("dte").is_between(*MID_TERM_DAYS)
    return chain.group_by("underlying").agg(mid_term_volume=pl.col("volume").filter(inside).sum().cast(pl.Float64))
