"""Implied forward and discount factor of every expiration, from the chain's own quotes.

Put-call parity, F = K + (C - P) / D, holds at every strike of a European chain up to the spread; the forward is the
weighted median of it over the strikes nearest the money, so that a stale line cannot move it. American quotes carry
early exercise premiums, which differ between call and put: they are estimated on trees at each strike's own
volatility and taken off, in a few rounds, because premium and forward depend on each other. Known dividends enter
with their dates; what the forward then says beyond rate and dividends is the borrow. Where no strike has two usable
quotes the forward is carried: spot less the present value of known dividends, grown at the rate.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from flowlake.options.american import SHORT_STEPS, Contracts, exercise_matters
from flowlake.options.black import FloatArray
from flowlake.options.engine import Engine, implied_volatility, premiums
from flowlake.options.rates import DEFAULT_RATE, RateCurve, box_curve
from flowlake.options.schedule import dividend_schedule

KEYS = ("underlying", "expiration", "settles_at")
"""An expiration of an underlying; `settles_at` tells morning from afternoon settlement on the same date."""

STRIKES = 8
"""Strikes with the smallest |C - P| that enter the median."""
ROUNDS = 4
"""Most rounds of premium and forward; each reduces the error by the premium's small sensitivity to the forward."""
STILL = 2e-5
"""Relative change of a forward below which it is settled."""
NARROWEST = 0.01
"""Dollars: a locked market is not infinitely precise."""
_USABLE_VOLATILITY = (0.01, 5.0)

_RESULT = ("years", "spot", "forward", "discount", "borrow", "forward_source", "forward_error", "strikes_used")


def implied_forwards(
    quotes: pl.DataFrame,
    session: date,
    *,
    rate: float | RateCurve | None = None,
    dividends: pl.DataFrame | None = None,
    strikes: int = STRIKES,
    rounds: int = ROUNDS,
    engine: Engine = "auto",
) -> pl.DataFrame:
    """Forward of every (underlying, expiration, settles_at) in the `quotes` of `session`, sorted by these.

    `quotes` has `underlying`, `expiration`, `settles_at`, `years`, `strike`, `right` ('C' or 'P'), `bid`, `ask`, `spot`
    and, if present, `exercise_style`; rows whose quote is missing, crossed or has no bid are ignored, adjusted
    contracts should have been left out. `dividends` has `ticker`, `effective_on` (ex-date; those after `session`
    count), `cash_amount` (dollars). `rate` is continuously compounded; by default the boxes of European chains in
    `quotes` say it, or `DEFAULT_RATE` where there are none. `rounds=0` leaves European parity.

    Columns: the keys, `years`, `spot`, `forward` (dollars per share), `discount`, `borrow` (annual yield the forward
    implies beyond rate and known dividends), `forward_source` ('parity' or 'carry'; null where there is not even a
    spot), `forward_error` (dollars; half the weighted mean width of the pairs used, null for carry), `strikes_used`.
    """
    pairs = pair_quotes(quotes)
    if rate is None:
        rate = box_curve(pairs.filter(~pl.col("american")))
    curve = RateCurve.flat(rate) if isinstance(rate, int | float) else rate
    expirations = _expirations(quotes, session, dividends, curve)
    nearest = (
        pairs.filter((pl.col("call") - pl.col("put")).abs().rank("ordinal").over(KEYS) <= strikes)
        .join(expirations.select(*KEYS, "spot", "discount", "dividend_value"), on=KEYS)
        .with_columns(weight=1.0 / pl.max_horizontal(pl.col("width"), pl.lit(NARROWEST)) ** 2)
        .sort(*KEYS, "strike")
    )
    parity = _parity(nearest, session, dividends, rounds, engine)
    carried = (pl.col("spot") - pl.col("dividend_value")) / pl.col("discount")
    lognormal = pl.col("spot") - pl.col("dividend_value")
    return (
        expirations.join(parity, on=KEYS, how="left", nulls_equal=True)
        .with_columns(
            forward_source=pl.when(pl.col("forward").is_not_null())
            .then(pl.lit("parity"))
            .when(carried > 0)
            .then(pl.lit("carry")),
            forward=pl.coalesce("forward", pl.when(carried > 0).then(carried)),
            strikes_used=pl.col("strikes_used").fill_null(0),
        )
        .with_columns(
            borrow=pl.when((pl.col("forward_source") == "parity") & (lognormal > 0) & (pl.col("years") > 0)).then(
                -(pl.col("forward") * pl.col("discount") / lognormal).log() / pl.col("years")
            )
        )
        .select(*KEYS, *_RESULT)
        .sort(KEYS)
    )


def pair_quotes(quotes: pl.DataFrame) -> pl.DataFrame:
    """Strikes with a usable call and put quote, sorted.

    Columns: the keys, `years`, `strike`, `call`, `put` (mids), `width` (sum of both spreads), `american`.
    """
    american = pl.col("exercise_style") == "american" if "exercise_style" in quotes.columns else pl.lit(False)
    usable = quotes.filter(
        (pl.col("bid") > 0) & (pl.col("ask") >= pl.col("bid")) & (pl.col("years") > 0) & (pl.col("strike") > 0)
    ).select(
        *KEYS,
        "years",
        "strike",
        "right",
        mid=(pl.col("bid") + pl.col("ask")) / 2,
        width=pl.col("ask") - pl.col("bid"),
        american=american.fill_null(False),
    )
    call = usable.filter(pl.col("right") == "C").unique([*KEYS, "strike"], keep="first", maintain_order=True)
    put = usable.filter(pl.col("right") == "P").unique([*KEYS, "strike"], keep="first", maintain_order=True)
    joined = call.join(put, on=[*KEYS, "strike"], suffix="_put")
    width = pl.col("width") + pl.col("width_put")
    return joined.select(*KEYS, "years", "strike", "american", call="mid", put="mid_put", width=width).sort(
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


def _expirations(quotes: pl.DataFrame, session: date, dividends: pl.DataFrame | None, curve: RateCurve) -> pl.DataFrame:
    """One row per expiration: the keys, `spot`, `years`, `discount` and `dividend_value` (dollars, present)."""
    expirations = quotes.group_by(KEYS).agg(pl.col("spot", "years").drop_nulls().median()).sort(KEYS)
    years = np.maximum(expirations["years"].fill_null(0.0).to_numpy(), 0.0)
    rates = curve(years)
    value, _ = dividend_schedule(expirations, session, dividends).present_values(rates)
    return expirations.with_columns(pl.Series("discount", np.exp(-rates * years)), pl.Series("dividend_value", value))


def _parity(
    pairs: pl.DataFrame, session: date, dividends: pl.DataFrame | None, rounds: int, engine: Engine
) -> pl.DataFrame:
    """Forward, its error and the strikes used, per expiration."""
    candidates = pairs.with_columns(forward=pl.col("strike") + (pl.col("call") - pl.col("put")) / pl.col("discount"))
    medians = weighted_median(candidates, value="forward", weight="weight", by=KEYS)
    american = pairs.filter(pl.col("american") & (pl.col("spot") > pl.col("dividend_value")))
    if rounds and american.height:
        rest = medians.join(american.select(KEYS).unique(), on=KEYS, how="anti")
        medians = pl.concat([rest, _without_premiums(american, medians, session, dividends, rounds, engine)])
    errors = pairs.group_by(KEYS).agg(
        forward_error=(pl.col("width") * pl.col("weight")).sum()
        / pl.col("weight").sum()
        / 2
        / pl.col("discount").first(),
        strikes_used=pl.len().cast(pl.UInt32),
    )
    return medians.join(errors, on=KEYS).filter(pl.col("forward") > 0)


def _without_premiums(
    pairs: pl.DataFrame,
    medians: pl.DataFrame,
    session: date,
    dividends: pl.DataFrame | None,
    rounds: int,
    engine: Engine,
) -> pl.DataFrame:
    """Forwards from quotes less their early exercise premiums, in rounds until they stand still."""
    settled: list[pl.DataFrame] = []
    pairs = pairs.with_columns(call_premium=pl.lit(0.0), put_premium=pl.lit(0.0))
    latest = medians.join(pairs.select(KEYS).unique(), on=KEYS, how="semi")
    for _ in range(rounds):
        pairs = _estimate_premiums(pairs, latest, session, dividends, engine)
        before = latest
        parity = (pl.col("call") - pl.col("call_premium")) - (pl.col("put") - pl.col("put_premium"))
        candidates = pairs.with_columns(forward=pl.col("strike") + parity / pl.col("discount"))
        latest = weighted_median(candidates, value="forward", weight="weight", by=KEYS)
        change = (pl.col("forward") / pl.col("forward_before") - 1).abs()
        moved = latest.join(before, on=KEYS, suffix="_before").filter(change > STILL)
        settled.append(latest.join(moved, on=KEYS, how="anti"))
        latest, pairs = (frame.join(moved.select(KEYS), on=KEYS, how="semi") for frame in (latest, pairs))
        if latest.is_empty():
            break
    return pl.concat([*settled, latest])


def _estimate_premiums(
    pairs: pl.DataFrame, medians: pl.DataFrame, session: date, dividends: pl.DataFrame | None, engine: Engine
) -> pl.DataFrame:
    """`pairs` with both premiums at the volatility of each strike's cheaper side, given the forwards `medians`."""
    pairs = pairs.sort(*KEYS, "strike")
    names = ("spot", "strike", "years", "discount", "call", "put", "call_premium", "put_premium")
    spot, strike, years, discount, call, put, call_premium, put_premium = (pairs[name].to_numpy() for name in names)
    forward = pairs.join(medians, on=KEYS, how="left", maintain_order="left")["forward"].to_numpy()
    is_call = strike >= forward
    price = np.where(is_call, call - call_premium, put - put_premium)
    volatility, _ = implied_volatility(price, forward, strike, years, discount, is_call, engine=engine)
    volatility = _filled(pairs, volatility)
    schedule = dividend_schedule(pairs, session, dividends)

    def premium(side: bool) -> FloatArray:
        sides = np.full(pairs.height, side)
        contracts = Contracts.of(spot, forward, strike, years, discount, sides, schedule)
        return _premiums(contracts, volatility, engine)

    return pairs.with_columns(pl.Series("call_premium", premium(True)), pl.Series("put_premium", premium(False)))


def _filled(pairs: pl.DataFrame, volatility: FloatArray) -> FloatArray:
    """Unsolved and absurd volatilities replaced by the median of their expiration."""
    low, high = _USABLE_VOLATILITY
    usable = pl.when(pl.col("volatility").is_between(low, high)).then("volatility")
    column = pairs.select(*KEYS, pl.Series("volatility", volatility)).with_columns(usable)
    filled = pl.col("volatility").fill_null(pl.col("volatility").median().over(KEYS)).fill_null(float("nan"))
    return column.select(filled).to_series().to_numpy()


@np.errstate(invalid="ignore")
def _premiums(contracts: Contracts, volatility: FloatArray, engine: Engine) -> FloatArray:
    """Early exercise premium where it can be worth anything and a volatility is known, else zero."""
    premium = np.zeros(volatility.size)
    rows = np.flatnonzero(np.isfinite(volatility) & exercise_matters(contracts, volatility))
    if rows.size:
        steps = np.full(rows.size, SHORT_STEPS, dtype=np.int64)
        grown = premiums(engine)(contracts.rows(rows), volatility[rows], steps).value
        premium[rows] = np.where(np.isfinite(grown), grown, 0.0)
    return premium


__all__ = ["DEFAULT_RATE", "KEYS", "implied_forwards", "pair_quotes", "weighted_median"]
