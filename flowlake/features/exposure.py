"""What the chain's trades and open positions would do when the underlying moves: notionals, gamma, max pain.

Public data do not say who holds what. Gamma exposure follows the usual assumption that dealers are long every call and
short every put (customers write calls and buy puts); where that is wrong, so is its sign.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from flowlake.features.sums import KEY, exact_sum

PAIN_DAYS = (1, 45)
"""Calendar days to expiration within which max pain looks for the most open expiration."""
REVALUED = np.round(np.linspace(-0.25, 0.25, 51), 2)
"""Relative moves of the underlying at which the chain's gamma is computed anew."""

_ROUNDING = 1e-12

FloatArray = npt.NDArray[np.float64]


def notional_features(lines: pl.DataFrame) -> pl.DataFrame:
    """Delta and vega of what traded, calls and puts apart; contracts without Greeks are left out."""
    is_call, contracts = pl.col("is_call"), pl.col("volume") * pl.col("multiplier")
    delta, vega = contracts * pl.col("delta") * pl.col("spot"), contracts * pl.col("vega")
    return (
        lines.group_by(KEY)
        .agg(
            call_delta_notional_usd=exact_sum(delta.filter(is_call)),
            put_delta_notional_usd=exact_sum(delta.filter(~is_call)),
            call_vega_notional_usd=exact_sum(vega.filter(is_call)),
            put_vega_notional_usd=exact_sum(vega.filter(~is_call)),
        )
        .with_columns(net_delta_notional_usd=pl.col("call_delta_notional_usd") + pl.col("put_delta_notional_usd"))
    )


def gamma_by_strike(lines: pl.DataFrame) -> pl.DataFrame:
    """Gamma exposure in USD of delta per 1 % move, one row per underlying and strike that has open interest.

    Columns of GAMMA_EXPOSURE_BY_STRIKE without session, availability and origin.
    """
    is_call, interest = pl.col("is_call"), pl.col("open_interest").cast(pl.Int64)
    exposure = interest * pl.col("gamma") * pl.col("multiplier") * pl.col("spot") ** 2 / 100.0
    held = lines.filter((pl.col("open_interest") > 0) & exposure.is_finite().fill_null(False))
    return (
        held.group_by(KEY, "strike")
        .agg(
            call_open_interest=interest.filter(is_call).sum(),
            put_open_interest=interest.filter(~is_call).sum(),
            call_gamma_exposure_usd=exact_sum(exposure.filter(is_call)),
            put_gamma_exposure_usd=0.0 - exact_sum(exposure.filter(~is_call)),
        )
        .with_columns(gamma_exposure_usd=pl.col("call_gamma_exposure_usd") + pl.col("put_gamma_exposure_usd"))
        .sort(KEY, "strike")
    )


def gamma_features(by_strike: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Totals of `by_strike`, its peak, and the level of the underlying at which the total would be zero."""
    net = pl.col("gamma_exposure_usd")
    names = ("call_gamma_exposure_usd", "put_gamma_exposure_usd", "gamma_exposure_usd")
    totals = by_strike.group_by(KEY).agg(
        *(exact_sum(pl.col(name)).alias(name) for name in names),
        gamma_peak_strike=pl.col("strike").sort_by(net.abs(), -pl.col("strike")).last(),
    )
    return totals.join(zero_gamma(lines), on=KEY, how="left")


def zero_gamma(lines: pl.DataFrame) -> pl.DataFrame:
    """Underlying, zero_gamma_level and zero_gamma_distance of the underlyings whose gamma changes sign nearby.

    With s = IV sqrt(T) and u = ln(S'/S), the exposure of a contract at S' is proportional to
    OI x M x discount x F' x phi(ln(F/K)/s + s/2 + u/s) / s, the forward moving with spot.
    """
    held = lines.filter(
        (pl.col("open_interest") > 0)
        & (pl.col("implied_volatility") > 0)
        & (pl.col("years") > 0)
        & (pl.col("spot") > 0)
        & (pl.col("forward") > 0)
        & pl.col("gamma").is_not_null()
        & pl.col("discount").is_not_null()
    ).sort(KEY, "contract_id")
    names = held[KEY].unique(maintain_order=True)
    spots = held.group_by(KEY, maintain_order=True).agg(pl.col("spot").first())["spot"].to_numpy()
    group = held[KEY].rle_id().to_numpy()
    deviation = (held["implied_volatility"] * held["years"].sqrt()).to_numpy()
    forward = held["forward"].to_numpy()
    distance = np.log(forward / held["strike"].to_numpy()) / deviation + 0.5 * deviation
    side = np.where(held["is_call"].to_numpy(), 1.0, -1.0)
    contracts = (held["open_interest"] * held["multiplier"] * held["discount"]).to_numpy()
    weight = side * contracts * forward / deviation

    def exposure(move: float) -> FloatArray:
        density = np.exp(-0.5 * (distance + np.log1p(move) / deviation) ** 2)
        return np.bincount(group, weight * density * (1.0 + move), len(names)).astype(np.float64)

    values = np.stack([exposure(move) for move in REVALUED])
    gross = np.bincount(group, np.abs(weight), len(names))
    # Calls and puts that cancel leave rounding, whose sign means nothing.
    level = nearest_sign_change(REVALUED, np.where(np.abs(values) > _ROUNDING * gross, values, 0.0))
    found = pl.DataFrame({KEY: names, "zero_gamma_distance": level, "spot": spots})
    return found.select(
        KEY,
        zero_gamma_level=(pl.col("spot") * (1.0 + pl.col("zero_gamma_distance"))).fill_nan(None),
        zero_gamma_distance=pl.col("zero_gamma_distance").fill_nan(None),
    )


def nearest_sign_change(moves: FloatArray, values: FloatArray) -> FloatArray:
    """Per column of `values` (moves x groups): the interpolated move nearest zero where the sign changes, else NaN."""
    below, above = values[:-1], values[1:]
    crosses = below * above < 0
    step = np.diff(moves)[:, None]
    share = np.divide(below, below - above, out=np.zeros_like(below), where=crosses)
    at = np.where(crosses, moves[:-1, None] + step * share, np.inf)
    nearest = np.abs(at).argmin(axis=0)
    found = np.take_along_axis(at, nearest[None, :], axis=0)[0]
    return np.where(np.isfinite(found), found, np.nan)


def max_pain(lines: pl.DataFrame) -> pl.DataFrame:
    """The strike at which the open positions of the most open near expiration would be worth least."""
    interest = pl.col("open_interest").cast(pl.Int64)
    near = lines.filter(~pl.col("is_adjusted") & pl.col("dte").is_between(*PAIN_DAYS) & (interest > 0))
    expirations = near.group_by(KEY, "expiration").agg(interest.sum(), pl.col("dte").first(), pl.col("spot").first())
    chosen = (
        expirations.sort(KEY, "open_interest", "expiration", descending=[False, True, False])
        .unique(KEY, keep="first", maintain_order=True)
        .select(KEY, "expiration", "dte", "spot")
    )
    # Strikes in thousandths are whole numbers, so that running sums are exact.
    strikes = (
        near.join(chosen.select(KEY, "expiration"), on=[KEY, "expiration"], how="semi")
        .with_columns(mills=(pl.col("strike") * 1000.0).round().cast(pl.Int64))
        .group_by(KEY, "mills")
        .agg(
            pl.col("strike").first(),
            calls=interest.filter(pl.col("is_call")).sum(),
            puts=interest.filter(~pl.col("is_call")).sum(),
        )
        .sort(KEY, "mills")
    )
    at, calls, puts = pl.col("mills"), pl.col("calls"), pl.col("puts")
    paid_to_calls = at * calls.cum_sum().over(KEY) - (calls * at).cum_sum().over(KEY)
    beyond = (puts * at).cum_sum(reverse=True).over(KEY) - at * puts.cum_sum(reverse=True).over(KEY)
    least = (
        strikes.with_columns(pain=paid_to_calls + beyond)
        .group_by(KEY)
        .agg(pl.col("strike").sort_by("pain", at).first())
    )
    return least.join(chosen, on=KEY).select(
        KEY,
        max_pain_strike="strike",
        max_pain_distance=pl.when(pl.col("spot") > 0).then(pl.col("strike") / pl.col("spot") - 1.0),
        max_pain_days="dte",
    )


def exposure_features(lines: pl.DataFrame, by_strike: pl.DataFrame) -> pl.DataFrame:
    """The 'exposure' family, one row per underlying of `lines`; `by_strike` is `gamma_by_strike(lines)`."""
    return (
        notional_features(lines)
        .join(gamma_features(by_strike, lines), on=KEY, how="left")
        .join(max_pain(lines), on=KEY, how="left")
    )
