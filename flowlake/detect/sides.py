"""The evidence about each side (calls, puts) of each underlying's chain: one row per side, quiet or not.

These rows are written for every session, so that later sessions know how such evidence is distributed when nothing is
known to have happened.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from flowlake.detect import buckets, findings, low_volume, multi_strike, null, open_interest, volume
from flowlake.detect.expectation import OTM_DELTA, SHORT_DATED_DAYS

KEY = ["underlying", "right"]

NEAR_MONEY_DELTAS = (0.25, 0.75)
MIN_EXCESS = 10.0
"""Excess contracts below which a side has no excess worth describing."""

STATISTICS = (volume.STATISTIC, open_interest.STATISTIC, multi_strike.STATISTIC, low_volume.STATISTIC)

EVIDENCE = (
    *STATISTICS,
    "short_otm_share",
    "premium_ratio",
    "volume_oi_ratio",
    "dominance",
    "concentration",
    "iv_change",
    "iv_expansion",
    "call_put_tilt",
    "liquidity_surge",
    "quietness",
)
"""Columns of TICKER_STATISTICS that are evidence: the larger, the more unusual."""

SMALLEST_CLASS = 200
"""An activity class with fewer trailing rows of one side is judged among all."""


def side_evidence(lines: pl.DataFrame) -> pl.DataFrame:
    """One row per underlying and right of `lines`: activity class, totals, and the columns of `EVIDENCE`."""
    evidence = _context(lines)
    for module in (volume, open_interest, multi_strike, low_volume):
        evidence = evidence.join(module.statistic(lines), on=KEY, how="left", maintain_order="left")
    return evidence.join(_iv_expansion(lines), on="underlying", how="left").sort(KEY)


def compare(evidence: pl.DataFrame, trailing: pl.DataFrame) -> pl.DataFrame:
    """`evidence` with `{column}_u` and `{column}_n` for each of `EVIDENCE`: its upper-tail share among trailing sides.

    `trailing` is TICKER_STATISTICS of earlier sessions; comparable rows are those of the same right and activity class.
    """
    classes, null_classes = _classes(evidence), _classes(trailing)
    columns: list[pl.Series] = []
    for name in EVIDENCE:
        share, n = null.empirical_p_values(
            evidence[name].cast(pl.Float64).fill_null(np.nan).to_numpy(),
            classes,
            trailing[name].cast(pl.Float64).fill_null(np.nan).to_numpy(),
            null_classes,
            SMALLEST_CLASS,
        )
        # Without any trailing row there is nothing to be unusual against.
        columns += [pl.Series(f"{name}_u", np.where(n > 0, share, np.nan)).fill_nan(None), pl.Series(f"{name}_n", n)]
    return evidence.with_columns(columns)


def _classes(frame: pl.DataFrame) -> np.ndarray:
    is_put = (pl.col("right") == "P").cast(pl.Int8)
    return frame.select((pl.col("activity") * 2 + is_put).alias("class"))["class"].to_numpy()


def _context(lines: pl.DataFrame) -> pl.DataFrame:
    described = pl.col("excess").sum() >= MIN_EXCESS
    short_otm = (pl.col("dte") <= SHORT_DATED_DAYS) & (pl.col("delta").abs() < OTM_DELTA)
    premium = pl.col("excess") * pl.col("price").fill_null(0.0) * pl.col("multiplier")
    leading = findings.leading_line(volume.p_value(), pl.col("excess"))
    usual_side = pl.when(pl.col("right") == "C").then("ticker_call_mean").otherwise("ticker_put_mean")
    weighted_iv = (pl.col("excess") * pl.col("iv_apart")).sum()
    iv_weight = pl.col("excess").filter(pl.col("iv_apart").is_not_null()).sum()
    sides = (
        _with_iv_apart(lines.with_columns(excess=volume.excess()))
        .group_by(KEY, maintain_order=True)
        .agg(
            pl.col("volume").cast(pl.Int64).sum().alias("volume"),
            pl.col("open_interest").cast(pl.Int64).sum().alias("open_interest"),
            pl.when(described)
            .then(pl.col("excess").filter(short_otm).sum() / pl.col("excess").sum())
            .alias("short_otm_share"),
            premium.sum().alias("excess_premium"),
            pl.col("volume").get(leading).alias("leading_volume"),
            pl.col("excess").get(leading).alias("leading_excess"),
            pl.col("open_interest").get(leading).alias("leading_interest"),
            pl.when(described & (iv_weight > 0)).then(weighted_iv / iv_weight).alias("iv_change"),
            usual_side.first().alias("usual_volume"),
            pl.col(
                "ticker_volume_mean", "ticker_day_mean", "ticker_premium_mean", "spot", "previous_spot", "return_std"
            ).first(),
            pl.col("index_or_etf").first(),
        )
    )
    chain_volume = pl.col("volume").sum().over("underlying")
    log_return = (pl.col("spot") / pl.col("previous_spot")).log()
    return (
        sides.with_columns(chain_volume=chain_volume)
        .with_columns(
            activity=buckets.ticker_class(pl.col("ticker_day_mean")),
            premium_ratio=((pl.col("excess_premium") + 1.0) / (pl.col("ticker_premium_mean") + 1.0)).log10(),
            volume_oi_ratio=((pl.col("leading_volume") + 1) / (pl.col("leading_interest") + 1)).log10(),
            dominance=((pl.col("leading_excess") + 1.0) / (pl.col("ticker_volume_mean") + 1.0)).log10(),
            concentration=pl.when(pl.col("chain_volume") > 0).then(pl.col("leading_volume") / pl.col("chain_volume")),
            call_put_tilt=pl.when(pl.col("chain_volume") > 0, pl.col("ticker_volume_mean") > 0).then(
                pl.col("volume") / pl.col("chain_volume") - pl.col("usual_volume") / pl.col("ticker_volume_mean")
            ),
            liquidity_surge=((pl.col("chain_volume") + 10) / (pl.col("ticker_volume_mean") + 10.0)).log10(),
            quietness=pl.when(pl.col("return_std") > 0).then(-log_return.abs() / pl.col("return_std")),
        )
        .with_columns(pl.col(pl.Float64).fill_nan(None))
    )


def _with_iv_apart(lines: pl.DataFrame) -> pl.DataFrame:
    """Adds `iv_apart`: each line's IV change since the session before, less the median change of its chain."""
    change = pl.col("implied_volatility").cast(pl.Float64) - pl.col("previous_implied_volatility")
    changed = lines.with_columns(iv_apart=change)
    medians = changed.group_by("underlying").agg(median_change=pl.col("iv_apart").median())
    return changed.join(medians, on="underlying", how="left", maintain_order="left").with_columns(
        iv_apart=pl.col("iv_apart") - pl.col("median_change")
    )


def _iv_expansion(lines: pl.DataFrame) -> pl.DataFrame:
    """Per underlying: `iv_expansion`, the median log change of IV over near-the-money lines of 2 to 60 days."""
    near = lines.filter(
        pl.col("dte").is_between(2, SHORT_DATED_DAYS),
        pl.col("delta").abs().is_between(*NEAR_MONEY_DELTAS),
        pl.col("implied_volatility") > 0,
        pl.col("previous_implied_volatility") > 0,
    )
    ratio = pl.col("implied_volatility").cast(pl.Float64) / pl.col("previous_implied_volatility")
    return near.group_by("underlying").agg(iv_expansion=ratio.log().median())
