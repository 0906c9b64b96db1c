"""The evidence about each side (calls, puts) of each underlying's chain: one row per side, quiet or not.

These rows are written for every session, so that later sessions know how such evidence is distributed when nothing is
known to have happened.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from flowlake.detect import buckets, findings, low_volume, multi_strike, null, open_interest, volume
from flowlake.detect.expectation import OTM_DELTA, SHORT_DATED_DAYS
from flowlake.schemas.detection import OWN

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
    "region_share",
    "region_excess_share",
    "region_surprise",
    "region_leader",
    "build",
    "leading_build",
    "opened_share",
    "excess_share",
    "leading_iv_change",
    *(f"{name}_own" for name in OWN),
)
"""Columns of TICKER_STATISTICS that are evidence: the larger, the more unusual."""

LOOKS = ("spread_share", "roll_share", "deep_share", "new_listing_share", "other_side")
"""Columns of TICKER_STATISTICS that speak against: the larger, the more it looks like something else."""

REGION_DAYS = (2, 130)
"""Out of the money within these days to expiration: where all but one of the public cases bought."""

DEEP_DELTA = 0.8
UNUSUAL_P = 0.05
OWN_WEIGHT = 8.0
"""A side's own sessions count against its activity class as their number against this many."""

SMALLEST_OWN_CLASS = 30
SMALLEST_DEVIATION = 1e-3
LARGEST_IV_CHANGE = 0.3
"""IV of a line that hardly trades jumps; beyond this much it says no more."""

SMALLEST_CLASS = 200
"""An activity class with fewer trailing rows of one side is judged among all."""


def side_evidence(lines: pl.DataFrame) -> pl.DataFrame:
    """One row per underlying and right of `lines`: activity class, totals, and the columns of `EVIDENCE`."""
    evidence = _context(lines)
    for module in (volume, open_interest, multi_strike, low_volume):
        evidence = evidence.join(module.statistic(lines), on=KEY, how="left", maintain_order="left")
    evidence = evidence.join(_iv_expansion(lines), on="underlying", how="left")
    return evidence.join(_region(lines), on=KEY, how="left").sort(KEY)


def against_own(evidence: pl.DataFrame, trailing: pl.DataFrame) -> pl.DataFrame:
    """`evidence` with `{name}_own` for each of `OWN`: deviations from the same side's own trailing sessions.

    Some names print blocks every day and some never. Mean and variance of the own rows of `trailing` (TICKER_STATISTICS
    of earlier sessions) are shrunk to those of the activity class; null where the class has no history either.
    """
    classes = _classes(evidence)
    own = (
        trailing.sort("session", *KEY)
        .group_by("underlying", "right")
        .agg(
            *(pl.col(name).count().alias(f"{name}_n") for name in OWN),
            *(pl.col(name).sum().alias(f"{name}_sum") for name in OWN),
            *(pl.col(name).pow(2).sum().alias(f"{name}_square") for name in OWN),
        )
    )
    history = evidence.select("underlying", "right").join(own, on=KEY, how="left", maintain_order="left")
    null_classes = _classes(trailing)
    columns = []
    for name in OWN:
        middle, variance = _class_moments(trailing[name].to_numpy(), null_classes, classes)
        n, total, square = (
            history[f"{name}_{what}"].fill_null(0.0).cast(pl.Float64).to_numpy() for what in ("n", "sum", "square")
        )
        mean = (total + OWN_WEIGHT * middle) / (n + OWN_WEIGHT)
        spread = np.maximum(square - 2.0 * mean * total + n * mean**2, 0.0)
        deviation = np.sqrt((spread + OWN_WEIGHT * variance) / (n + OWN_WEIGHT))
        values = evidence[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        # Rounded so that the order of summation never shows.
        own_way = (values - mean) / np.maximum(deviation, SMALLEST_DEVIATION)
        columns.append(pl.Series(f"{name}_own", own_way).round(6).fill_nan(None))
    return evidence.with_columns(columns)


def _class_moments(values: np.ndarray, null_classes: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of trailing `values` in each row's class, of all where the class is small; NaN without any."""
    known = ~np.isnan(values)
    mean, variance = np.full(len(classes), np.nan), np.full(len(classes), np.nan)
    for label in np.unique(classes):
        own = values[known & (null_classes == label)]
        own = own if len(own) >= SMALLEST_OWN_CLASS else values[known]
        if len(own):
            ordered = np.sort(own)
            mean[classes == label], variance[classes == label] = ordered.mean(), ordered.var()
    return mean, variance


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


def _region(lines: pl.DataFrame) -> pl.DataFrame:
    """Per side: what lies out of the money, what was built there, and what looks like something else."""
    excess, p_value = volume.excess().fill_null(0.0), volume.p_value().fill_null(1.0).clip(1e-12, 1.0)
    inside = (pl.col("delta").abs() < OTM_DELTA) & pl.col("dte").is_between(*REGION_DAYS)
    # Positions are built by trading: what open interest rose beyond the volume of those sessions is bookkeeping.
    rise = (pl.col("open_interest") - pl.col("open_interest_5")).fill_null(0).clip(0)
    marked = _with_iv_apart(lines).with_columns(
        excess=excess,
        p_value=p_value,
        surprise=-p_value.log(),
        inside=inside.fill_null(False),
        rise=pl.min_horizontal(rise, pl.col("volume_sum_5").fill_null(0)).cast(pl.Float64),
        deep=(pl.col("delta").abs() >= DEEP_DELTA).fill_null(False),
    )
    here, leading = pl.col("inside"), findings.leading_line(volume.p_value(), excess)
    region = marked.group_by(KEY, maintain_order=True).agg(
        usual=pl.col("ticker_volume_mean").first() + 10.0,
        judged=pl.col("volume_p").is_not_null().any(),
        volume=pl.col("volume").cast(pl.Float64).sum(),
        region_volume=pl.col("volume").cast(pl.Float64).filter(here).sum(),
        excess=pl.col("excess").sum(),
        region_excess=pl.col("excess").filter(here).sum(),
        surprise=pl.col("surprise").filter(here).sum(),
        strongest=pl.col("surprise").filter(here).max().fill_null(0.0),
        built=(pl.col("excess") + pl.col("rise")).filter(here).max().fill_null(0.0),
        leading_excess=pl.col("excess").get(leading),
        leading_rise=pl.col("rise").get(leading),
        leading_opened=pl.col("opened").get(leading),
        leading_before=pl.col("previous_volume").get(leading),
        leading_iv_change=pl.col("iv_apart").get(leading).clip(-LARGEST_IV_CHANGE, LARGEST_IV_CHANGE),
        unusual=(pl.col("p_value") <= UNUSUAL_P).sum(),
        **{
            name: pl.col("excess").filter(looks).sum()
            for name, looks in (
                ("spread_share", pl.col("spread_look_alike")),
                ("roll_share", pl.col("roll_look_alike")),
                ("deep_share", pl.col("deep")),
                ("new_listing_share", pl.col("new_listing").fill_null(True)),
            )
        },
    )
    chain_volume, all_excess = pl.col("volume").sum().over("underlying") + 1.0, pl.col("excess") + 1.0
    others = pl.col("unusual").sum().over("underlying") - pl.col("unusual")
    judged = {
        "region_surprise": (1.0 + pl.col("surprise")).log10(),
        "region_leader": pl.col("strongest") / np.log(10.0),
        "build": ((pl.col("built") + 5.0) / pl.col("usual")).log10(),
        "excess_share": pl.col("leading_excess") / all_excess,
        "region_excess_share": pl.col("region_excess") / all_excess,
    }
    return region.select(
        *KEY,
        "leading_iv_change",
        *(pl.when("judged").then(value).alias(name) for name, value in judged.items()),
        *(
            (pl.col(name) / all_excess).alias(name)
            for name in ("spread_share", "roll_share", "deep_share", "new_listing_share")
        ),
        region_share=pl.col("region_volume") / chain_volume,
        leading_build=((pl.col("leading_rise") + 5.0) / pl.col("usual")).log10(),
        opened_share=pl.col("leading_opened") / (pl.col("leading_before") + 20.0),
        other_side=(1.0 + others).log10(),
    ).with_columns(pl.col(pl.Float64).round(9))


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
