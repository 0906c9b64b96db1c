"""How much traded, on which side, against the usual and against the stock."""

from __future__ import annotations

import polars as pl

from flowlake.features.sums import KEY, exact_sum, known, ratio

JOHNSON_SO_DAYS = (5, 48)
"""Calendar days to expiration of the option to stock ratio: 5 to 5 + 30 x 365 / 252, about 35 trading days."""
SHORT_DATED_DAYS = 30
NEW_LISTING_SESSIONS = 5
LEAST_SESSIONS = {20: 10, 60: 20, 126: 20}
"""Known sessions a trailing window needs at least."""


def volume_features(
    lines: pl.DataFrame, ticker_baselines: pl.DataFrame | None, shares: pl.DataFrame, history: pl.DataFrame
) -> pl.DataFrame:
    """The 'volume' family, one row per underlying of `lines`.

    `shares` has underlying and stock_volume (shares traded in the session); `history` has underlying and
    option_stock_ratio of sessions before. Without baselines, what is usual is null.
    """
    volume, is_call = pl.col("volume").cast(pl.Int64), pl.col("is_call")
    otm, short = pl.col("is_otm").fill_null(False), pl.col("dte") <= SHORT_DATED_DAYS
    opened = pl.col("opened")
    age, censored = pl.col("listing_age"), pl.col("listed_before_window")
    # A lake that does not reach back far enough cannot tell a new contract from an old one.
    untold = age.is_null() | (censored & (age <= NEW_LISTING_SESSIONS))
    watched = pl.col("volume_n_20") >= LEAST_SESSIONS[20]
    slept = watched & (pl.col("volume_zero_days_20") == pl.col("volume_n_20"))
    total = lines.group_by(KEY).agg(
        option_volume=volume.sum(),
        call_volume=volume.filter(is_call).sum(),
        put_volume=volume.filter(~is_call).sum(),
        lines_traded=(volume > 0).sum().cast(pl.Int32),
        call_premium_usd=exact_sum(pl.col("premium_usd").filter(is_call)),
        put_premium_usd=exact_sum(pl.col("premium_usd").filter(~is_call)),
        otm_call_volume=volume.filter(is_call & otm).sum(),
        otm_put_volume=volume.filter(~is_call & otm).sum(),
        opened_calls=known(opened, opened.filter(is_call).sum()),
        opened_puts=known(opened, opened.filter(~is_call).sum()),
        short_otm_calls=volume.filter(is_call & otm & short).sum(),
        short_otm_puts=volume.filter(~is_call & otm & short).sum(),
        new_listings=pl.when(~untold.any()).then(volume.filter(age <= NEW_LISTING_SESSIONS).sum()),
        woken=pl.when(watched.any()).then(volume.filter(slept).sum()),
        medium_dated_shares=exact_sum(
            (volume * pl.col("multiplier")).filter(pl.col("dte").is_between(*JOHNSON_SO_DAYS)), digits=0
        ),
    )
    option_volume, calls, puts = pl.col("option_volume"), pl.col("call_volume"), pl.col("put_volume")
    total = (
        _beside_the_usual(total, ticker_baselines)
        .join(shares, on=KEY, how="left")
        .with_columns(
            put_call_ratio=ratio(puts, calls),
            put_share=ratio(puts, puts + calls),
            otm_put_call_ratio=ratio(pl.col("otm_put_volume"), pl.col("otm_call_volume")),
            opening_put_call_ratio=ratio(pl.col("opened_puts"), pl.col("opened_calls")),
            opening_put_share=ratio(pl.col("opened_puts"), pl.col("opened_puts") + pl.col("opened_calls")),
            option_stock_ratio=ratio(pl.col("medium_dated_shares"), pl.col("stock_volume")),
            short_otm_call_share=ratio(pl.col("short_otm_calls"), option_volume),
            short_otm_put_share=ratio(pl.col("short_otm_puts"), option_volume),
            new_listing_share=ratio(pl.col("new_listings"), option_volume),
            woken_line_share=ratio(pl.col("woken"), option_volume),
        )
    )
    return total.join(_usual_ratio(history), on=KEY, how="left").with_columns(
        option_stock_ratio_change=ratio(pl.col("option_stock_ratio"), pl.col("usual_option_stock_ratio"))
    )


def _beside_the_usual(total: pl.DataFrame, baselines: pl.DataFrame | None) -> pl.DataFrame:
    """Volumes over their trailing means, and the deviation of the whole from its mean."""
    if baselines is None:
        names = ("option_volume_ratio_20", "call_volume_ratio_20", "put_volume_ratio_20", "option_volume_z_60")
        return total.with_columns(pl.lit(None, pl.Float64).alias(name) for name in names)
    usual = ("n_20", "n_60", "volume_mean_20", "call_volume_mean_20", "put_volume_mean_20", "volume_mean_60")
    joined = total.join(baselines.select(KEY, *usual, "volume_std_60"), on=KEY, how="left")

    def over_mean(volume: str, mean: str) -> pl.Expr:
        return pl.when(pl.col("n_20") >= LEAST_SESSIONS[20]).then(ratio(pl.col(volume), pl.col(mean)))

    above = pl.col("option_volume") - pl.col("volume_mean_60")
    return joined.with_columns(
        option_volume_ratio_20=over_mean("option_volume", "volume_mean_20"),
        call_volume_ratio_20=over_mean("call_volume", "call_volume_mean_20"),
        put_volume_ratio_20=over_mean("put_volume", "put_volume_mean_20"),
        option_volume_z_60=pl.when(pl.col("n_60") >= LEAST_SESSIONS[60]).then(ratio(above, pl.col("volume_std_60"))),
    )


def _usual_ratio(history: pl.DataFrame) -> pl.DataFrame:
    """Mean option to stock ratio of each underlying over the sessions of `history` in which it is known."""
    past = history.drop_nulls("option_stock_ratio").group_by(KEY)
    mean = exact_sum(pl.col("option_stock_ratio"), digits=12) / pl.len()
    return past.agg(usual_option_stock_ratio=pl.when(pl.len() >= LEAST_SESSIONS[126]).then(mean))
