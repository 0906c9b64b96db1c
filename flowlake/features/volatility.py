"""What the chain says about volatility: level, slope, skew, calls against puts, premium over what was realised."""

from __future__ import annotations

from datetime import date

import polars as pl

from flowlake import calendar
from flowlake.features.sums import KEY, exact_sum, ratio

PAIR_DAYS = (5, 60)
"""Days to expiration of matched pairs: beyond them lie dividends that nobody has declared yet."""
PAIR_MONEYNESS = (0.8, 1.2)
"""K / F of matched pairs: outside, a cent of price is points of volatility."""
SMIRK_DAYS = (10, 60)
SMIRK_VOLATILITY = (0.03, 2.0)
SMIRK_LEAST_PRICE = 0.125
SMIRK_PUT = (0.80, 0.95)
SMIRK_CALL = (0.95, 1.05)
LEAST_PERCENTILE_SESSIONS = 20
CHANGES = (1, 5)
"""Sessions over which changes of the surface are taken."""

_SURFACE = ("iv_7", "iv_30", "iv_90", "iv_term_slope", "risk_reversal_25", "butterfly_25")


def surface_features(surface: pl.DataFrame, earlier: pl.DataFrame, session: date) -> pl.DataFrame:
    """Levels, slope and skew of IV_SURFACE `surface`, and their changes against `earlier` sessions of that table."""
    now = _surface_levels(surface.with_columns(session=pl.lit(session))).drop("session")
    past = _surface_levels(earlier)
    for sessions in CHANGES:
        before = past.filter(pl.col("session") == calendar.previous_session(session, sessions)).drop("session")
        now = now.join(before, on=KEY, how="left", suffix=f"_before_{sessions}")

    def change(name: str, sessions: int) -> pl.Expr:
        return (pl.col(name) - pl.col(f"{name}_before_{sessions}")).alias(f"{name}_change_{sessions}")

    return now.select(
        KEY,
        *_SURFACE,
        *(change("iv_30", sessions) for sessions in CHANGES),
        *(change("iv_term_slope", sessions) for sessions in CHANGES),
        change("risk_reversal_25", 1),
    )


def _surface_levels(surface: pl.DataFrame) -> pl.DataFrame:
    def at(days: int, column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("tenor_days") == days).first()

    return (
        surface.group_by("session", KEY)
        .agg(
            iv_7=at(7, "atm_volatility"),
            iv_30=at(30, "atm_volatility"),
            iv_90=at(90, "atm_volatility"),
            risk_reversal_25=at(30, "risk_reversal_25"),
            butterfly_25=at(30, "butterfly_25"),
        )
        .with_columns(iv_term_slope=pl.col("iv_90") - pl.col("iv_30"))
    )


def percentile(levels: pl.DataFrame, history: pl.DataFrame) -> pl.DataFrame:
    """Share of the trailing sessions (`history`: underlying, iv_30) in which iv_30 was below that of `levels`."""
    past = history.select(KEY, before="iv_30").drop_nulls().join(levels.select(KEY, "iv_30").drop_nulls(), on=KEY)
    share = (pl.col("before") < pl.col("iv_30")).mean()
    return past.group_by(KEY).agg(iv_30_percentile_60=pl.when(pl.len() >= LEAST_PERCENTILE_SESSIONS).then(share))


def parity_features(lines: pl.DataFrame, actions: pl.DataFrame | None, session: date) -> pl.DataFrame:
    """Cremers and Weinbaum's volatility spread from our own and from the vendor's volatilities.

    Our volatilities are solved on the forward that put-call parity implies, which takes the deviation from parity out
    of them. To first order it is put back: with vega V per unit of volatility, moving the forward from F to F0 moves
    call minus put volatility by discount x (F - F0) / V, where F0 carries spot at the rate, less declared dividends.
    """
    eligible = lines.filter(
        ~pl.col("is_adjusted")
        & pl.col("dte").is_between(*PAIR_DAYS)
        & pl.col("moneyness").is_between(*PAIR_MONEYNESS)
        & pl.col("open_interest").is_not_null()
        & (pl.col("implied_volatility").is_not_null() | pl.col("vendor_iv").is_not_null())
    )
    keys = (KEY, "expiration", "strike", "root")
    volatilities = ("open_interest", "implied_volatility", "vendor_iv", "vega")
    calls = eligible.filter(pl.col("is_call")).select(
        *keys, *volatilities, "spot", "forward", "discount", "forward_source"
    )
    puts = eligible.filter(~pl.col("is_call")).select(*keys, *volatilities)
    pairs = calls.join(puts, on=keys, suffix="_put").join(
        declared_dividends(eligible, actions, session), on=[KEY, "expiration"], how="left"
    )
    carried = (pl.col("spot") - pl.col("dividends").fill_null(0.0)) / pl.col("discount")
    vega = 100.0 * (pl.col("vega") + pl.col("vega_put")) / 2.0
    moved = ratio(pl.col("discount") * (pl.col("forward") - carried), vega)
    restored = pl.when(pl.col("forward_source") == "parity").then(moved).otherwise(0.0)
    weighed = pairs.select(
        KEY,
        weight=(pl.col("open_interest") + pl.col("open_interest_put")) / 2.0,
        ours=pl.col("implied_volatility") - pl.col("implied_volatility_put") + restored,
        vendor=pl.col("vendor_iv") - pl.col("vendor_iv_put"),
    ).filter(pl.col("weight") > 0)

    def mean(spread: str) -> pl.Expr:
        counted = pl.col("weight").filter(pl.col(spread).is_not_null())
        return ratio(exact_sum(pl.col("weight") * pl.col(spread), digits=9), counted.sum())

    spreads = weighed.group_by(KEY).agg(
        iv_spread=mean("ours"),
        iv_spread_vendor=mean("vendor"),
        iv_spread_pairs=pl.col("ours").count().cast(pl.Int32),
    )
    everything = lines.select(pl.col(KEY).unique()).join(spreads, on=KEY, how="left")
    return everything.with_columns(pl.col("iv_spread_pairs").fill_null(0))


def declared_dividends(lines: pl.DataFrame, actions: pl.DataFrame | None, session: date) -> pl.DataFrame:
    """Declared dividends (USD) that go ex between `session` and each expiration: underlying, expiration, dividends."""
    schema = {KEY: pl.String, "expiration": pl.Date, "dividends": pl.Float64}
    if actions is None:
        return pl.DataFrame(schema=schema)
    paid = actions.filter((pl.col("kind") == "dividend") & (pl.col("effective_on") > session)).select(
        pl.col("ticker").alias(KEY), "effective_on", "cash_amount"
    )
    spans = lines.select(KEY, "expiration").unique().join(paid, on=KEY)
    within = spans.filter(pl.col("effective_on") <= pl.col("expiration"))
    return within.group_by(KEY, "expiration").agg(dividends=exact_sum(pl.col("cash_amount"), digits=6))


def smirk(lines: pl.DataFrame, shares: pl.DataFrame) -> pl.DataFrame:
    """Xing, Zhang and Zhao's skew; `shares` has underlying and stock_volume."""
    traded = shares.filter(pl.col("stock_volume") > 0).select(KEY)
    moneyness = pl.col("strike") / pl.col("spot")
    eligible = (
        lines.filter(
            ~pl.col("is_adjusted")
            & pl.col("dte").is_between(*SMIRK_DAYS)
            & pl.col("implied_volatility").is_between(*SMIRK_VOLATILITY, closed="none")
            & (pl.col("price") > SMIRK_LEAST_PRICE)
            & (pl.col("open_interest") > 0)
        )
        .join(traded, on=KEY, how="semi")
        .with_columns(moneyness=moneyness)
    )
    is_call, within = pl.col("is_call"), pl.col("moneyness")
    calls = eligible.filter(is_call & within.is_between(*SMIRK_CALL, closed="none"))
    puts = eligible.filter(~is_call & within.is_between(*SMIRK_PUT, closed="none"))
    at_the_money = _nearest(calls, (within - 1.0).abs(), "call")
    out_of_the_money = _nearest(puts, (SMIRK_PUT[1] - within).abs(), "put")
    return at_the_money.join(out_of_the_money, on=KEY).select(KEY, iv_skew=pl.col("put") - pl.col("call"))


def _nearest(lines: pl.DataFrame, distance: pl.Expr, name: str) -> pl.DataFrame:
    """Mean volatility of the lines at the least `distance` (one strike, perhaps in several expirations)."""
    least = distance <= distance.min().over(KEY) + 1e-9
    nearest = lines.filter(least).group_by(KEY)
    return nearest.agg((exact_sum(pl.col("implied_volatility"), digits=9) / pl.len()).alias(name))


def premium_features(levels: pl.DataFrame, realised: pl.DataFrame) -> pl.DataFrame:
    """Implied against realised: `levels` has iv_30, `realised` realised_volatility_20."""
    implied, past = pl.col("iv_30"), pl.col("realised_volatility_20")
    both = levels.select(KEY, "iv_30").join(realised.select(KEY, "realised_volatility_20"), on=KEY, how="left")
    return both.select(KEY, variance_risk_premium=implied**2 - past**2, realised_implied_spread=past - implied)
