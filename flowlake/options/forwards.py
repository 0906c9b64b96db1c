"""Implied forward and discount factor of every expiration, from the chain's own quotes.

Put-call parity, F = K + (C - P) / D, holds at every strike of a European chain up to the spread; the forward is the
weighted median of it over the strikes nearest the money, so that a stale or crossed line cannot move it. The discount
factor comes from a rate curve. Where no strike has two usable quotes the forward is carried: spot grown at the rate,
less the present value of known dividends.
"""

from __future__ import annotations

from datetime import date

import polars as pl

KEYS = ("underlying", "expiration", "settles_at")
"""An expiration of an underlying; `settles_at` tells morning from afternoon settlement on the same date."""

STRIKES = 8
"""Strikes with the smallest |C - P| that enter the median."""
DEFAULT_RATE = 0.04
"""Flat continuously compounded rate where no curve is given."""


def implied_forwards(
    quotes: pl.DataFrame,
    session: date,
    *,
    rate: float = DEFAULT_RATE,
    dividends: pl.DataFrame | None = None,
    strikes: int = STRIKES,
) -> pl.DataFrame:
    """Forward of every (underlying, expiration, settles_at) in the `quotes` of `session`, sorted by these.

    `quotes` has `underlying`, `expiration`, `settles_at`, `years`, `strike`, `right` ('C' or 'P'), `bid`, `ask` and
    `spot`; rows whose quote is missing, crossed or has no bid are ignored, adjusted contracts should have been left
    out. `dividends` has `ticker`, `effective_on` (ex-date; those after `session` count), `cash_amount` (dollars).

    Columns: the keys, `years`, `spot`, `forward` (dollars per share), `discount`, `forward_source` ('parity' or
    'carry'; null where there is not even a spot), `forward_error` (dollars; half the weighted mean spread of the
    strikes used for parity, null for carry) and `strikes_used`.
    """
    expirations = (
        quotes.group_by(KEYS)
        .agg(pl.col("spot", "years").drop_nulls().median())
        .sort(KEYS)
        .with_columns(discount=(-rate * pl.col("years").clip(lower_bound=0.0)).exp())
    )
    parity = _parity(quotes, expirations, strikes)
    paid = _dividend_value(expirations, session, dividends, rate)
    carried = (pl.col("spot") - pl.col("dividend_value")) / pl.col("discount")
    return (
        expirations.join(parity, on=KEYS, how="left", nulls_equal=True)
        .join(paid, on=KEYS, how="left", nulls_equal=True)
        .with_columns(
            forward_source=pl.when(pl.col("forward").is_not_null())
            .then(pl.lit("parity"))
            .when(carried > 0)
            .then(pl.lit("carry")),
            forward=pl.coalesce("forward", pl.when(carried > 0).then(carried)),
            strikes_used=pl.col("strikes_used").fill_null(0),
        )
        .select(*KEYS, "years", "spot", "forward", "discount", "forward_source", "forward_error", "strikes_used")
        .sort(KEYS)
    )


def pair_quotes(quotes: pl.DataFrame) -> pl.DataFrame:
    """Strikes with a usable call and put quote: the keys, `strike`, `call`, `put` (mids) and `width` (both spreads)."""
    usable = quotes.filter(
        (pl.col("bid") > 0) & (pl.col("ask") >= pl.col("bid")) & (pl.col("years") > 0) & (pl.col("strike") > 0)
    ).select(
        *KEYS,
        "strike",
        "right",
        mid=(pl.col("bid") + pl.col("ask")) / 2,
        width=pl.col("ask") - pl.col("bid"),
    )
    call = usable.filter(pl.col("right") == "C").unique([*KEYS, "strike"], keep="first", maintain_order=True)
    put = usable.filter(pl.col("right") == "P").unique([*KEYS, "strike"], keep="first", maintain_order=True)
    joined = call.join(put, on=[*KEYS, "strike"], suffix="_put")
    return joined.select(*KEYS, "strike", call="mid", put="mid_put", width=pl.col("width") + pl.col("width_put")).sort(
        *KEYS, "strike"
    )


def weighted_median(values: pl.DataFrame, *, value: str, weight: str, by: tuple[str, ...]) -> pl.DataFrame:
    """Weighted median of `value` in every group: the smallest value that half of the weight does not exceed."""
    ordered = values.sort(*by, value).with_columns(
        _below=pl.col(weight).cum_sum().over(by), _half=pl.col(weight).sum().over(by) / 2
    )
    return (
        ordered.filter(pl.col("_below") >= pl.col("_half")).group_by(by, maintain_order=True).agg(pl.col(value).first())
    )


def _parity(quotes: pl.DataFrame, expirations: pl.DataFrame, strikes: int) -> pl.DataFrame:
    pairs = pair_quotes(quotes).join(expirations.select(*KEYS, "discount"), on=KEYS)
    nearest = pairs.filter((pl.col("call") - pl.col("put")).abs().rank("ordinal").over(KEYS) <= strikes)
    # A cent of width floors the weight: a locked market is not infinitely precise.
    weighted = nearest.with_columns(
        forward=pl.col("strike") + (pl.col("call") - pl.col("put")) / pl.col("discount"),
        weight=1.0 / pl.max_horizontal(pl.col("width"), pl.lit(0.01)) ** 2,
    )
    errors = weighted.group_by(KEYS).agg(
        forward_error=(pl.col("width") * pl.col("weight")).sum()
        / pl.col("weight").sum()
        / 2
        / pl.col("discount").first(),
        strikes_used=pl.len().cast(pl.UInt32),
    )
    medians = weighted_median(weighted, value="forward", weight="weight", by=KEYS)
    return medians.join(errors, on=KEYS).filter(pl.col("forward") > 0)


def _dividend_value(
    expirations: pl.DataFrame, session: date, dividends: pl.DataFrame | None, rate: float
) -> pl.DataFrame:
    """Present value of the cash dividends that go ex between now and each expiration, dollars per share."""
    if dividends is None or dividends.is_empty():
        return expirations.select(*KEYS, dividend_value=pl.lit(0.0))
    cash = dividends.filter(pl.col("cash_amount") > 0).select(
        underlying="ticker", effective_on="effective_on", cash_amount="cash_amount"
    )
    due = expirations.join(cash, on="underlying").filter(
        (pl.col("effective_on") > session) & (pl.col("effective_on") <= pl.col("expiration"))
    )
    wait = (pl.col("effective_on") - session).dt.total_days() / 365.0
    totals = due.group_by(KEYS).agg(dividend_value=(pl.col("cash_amount") * (-rate * wait).exp()).sum())
    return (
        expirations.select(KEYS)
        .join(totals, on=KEYS, how="left", nulls_equal=True)
        .with_columns(pl.col("dividend_value").fill_null(0.0))
    )
