"""How an episode enters a chain: contracts chosen from what was listed, then volume, open interest, volatility, price.

What the recording lacks cannot be disturbed: no bid or ask is invented, so who was the aggressor is not part of it.
The stock's drift moves `spot` alone, not the chain's prices, which is within the noise of last-trade prices.
"""

from __future__ import annotations

import numpy as np
import polars as pl

VOLATILITY_IMPACT = 0.02
LARGEST_IMPACT = 0.15
"""A session's part of an episode lifts the hit line's volatility by this times sqrt(part / mean option volume)."""

IMPACT_WIDTH = 0.05
"""The lift falls to 1/e this share of the spot away from the hit strike."""

OPEN_INTEREST_LEFT = 0.8
"""The most of a line's open interest that a roll closes."""

LEG_SCHEMA = pl.Schema(
    {
        "episode_id": pl.String,
        "leg": pl.Int32,
        "leg_right": pl.String,
        "moneyness": pl.Float64,
        "later": pl.Int32,
        "rank": pl.Int32,
        "share": pl.Float64,
        "opening": pl.Float64,
    }
)
"""A leg: right, strike over spot to aim at, expirations beyond the planned one, place among the strikes nearest to the
aim (0 the nearest), share of the episode's size, and the signed share of it that enters open interest."""


def legs(plans: pl.DataFrame) -> pl.DataFrame:
    """LEG_SCHEMA rows of `plans`."""
    rows = [
        {"episode_id": plan["episode_id"], "leg": number, **leg}
        for plan in plans.iter_rows(named=True)
        for number, leg in enumerate(_template(plan))
    ]
    return pl.DataFrame(rows, schema=LEG_SCHEMA)


def _template(plan: dict) -> list[dict]:
    own, other = plan["right"], "P" if plan["right"] == "C" else "C"
    sign = 1.0 if own == "C" else -1.0
    aim, opening, strikes = 1.0 + sign * plan["out_of_the_money"], plan["opening_share"], plan["strikes"]

    def leg(right: str, moneyness: float, share: float, opens: float, later: int = 0, rank: int = 0) -> dict:
        return {
            "leg_right": right, "moneyness": moneyness, "later": later, "rank": rank, "share": share, "opening": opens,
        }  # fmt: skip

    match plan["structure"]:
        case "ladder":
            weights = np.array([0.5, 0.25, 0.15, 0.10])[:strikes]
            return [leg(own, aim, weight, opening, rank=rank) for rank, weight in enumerate(weights / weights.sum())]
        case "risk_reversal":
            return [leg(own, aim, 0.7, opening), leg(other, 2.0 - aim, 0.3, opening)]
        case "vertical":
            return [leg(own, aim, 0.5, opening), leg(own, aim + sign * 0.06, 0.5, opening)]
        case "roll":
            return [leg(own, aim, 1.0, -0.9), leg(own, aim, 1.0, 0.95, later=1)]
        case "spread":
            return [leg(own, aim, 1.0, 0.9, rank=rank) for rank in range(strikes)]
        case "event_burst":
            calls = [leg("C", 1.03, 0.1, 0.35, rank=rank) for rank in range(8)]
            return calls + [leg("P", 0.97, 0.08, 0.35, rank=rank) for rank in range(6)]
        case "dividend_capture":
            return [leg("C", 0.75, 2.0, -0.3, rank=rank) for rank in range(3)]
        case "newsletter":
            return [leg("C", 1.05, 0.15, 0.35, rank=rank) for rank in range(8)]
        case "new_weekly":
            return [leg("C", 1.03, 0.15, 1.0, rank=rank) for rank in range(6)]
        case _:
            return [leg(own, aim, 1.0, opening)]


def choose_contracts(plans: pl.DataFrame, chain: pl.DataFrame, days_needed: pl.DataFrame) -> pl.DataFrame:
    """The contract of each leg of `plans`: episode_id, leg, share, opening, contract_id, expiration, strike, delta, ...

    `chain` is that of the plans' first session (all plans share it); `days_needed` says per episode_id how many
    calendar days (`span`) its window lasts, since a position must outlive it. Legs for which nothing is listed are
    left out.
    """
    listed = chain.filter(~pl.col("is_adjusted"), pl.col("spot") > 0).select(
        "underlying", "right", "expiration", "strike", "contract_id", "spot", "dte", "open_interest", "delta", "volume",
        "vendor_delta",
    )  # fmt: skip
    wanted = plans.select("episode_id", "underlying", "size", "kind", wanted_dte="dte").join(
        days_needed, on="episode_id"
    )
    terms = (
        wanted.join(listed.select("underlying", "expiration", "dte").unique(), on="underlying")
        .filter(pl.col("dte") > pl.col("span"))
        .with_columns(apart=(pl.col("dte") - pl.col("wanted_dte")).abs())
        .sort("episode_id", "apart", "expiration")
    )
    nearest = terms.group_by("episode_id", maintain_order=True).agg(pl.col("expiration").first().alias("nearest"))
    terms = (
        terms.join(nearest, on="episode_id")
        .filter(pl.col("expiration") >= pl.col("nearest"))
        .sort("episode_id", "expiration")
        .with_columns(later=pl.int_range(pl.len(), dtype=pl.Int32).over("episode_id"))
    )
    aimed = legs(plans).join(
        terms.select("episode_id", "underlying", "size", "kind", "expiration", "later"), on=["episode_id", "later"]
    )
    candidates = (
        aimed.join(
            listed, left_on=["underlying", "leg_right", "expiration"], right_on=["underlying", "right", "expiration"]
        )
        .with_columns(miss=(pl.col("strike") / pl.col("spot") - pl.col("moneyness")).abs())
        .sort("episode_id", "leg", "miss", "strike")
        .with_columns(place=pl.int_range(pl.len()).over("episode_id", "leg"))
        .filter(pl.col("place") == pl.col("rank"))
    )
    return _rolled_within_interest(candidates).sort("episode_id", "leg")


def _rolled_within_interest(chosen: pl.DataFrame) -> pl.DataFrame:
    """Nobody closes more than is open: a roll is cut to its front line's open interest."""
    open_there = pl.col("open_interest").fill_null(0).filter(pl.col("opening") < 0).max().over("episode_id")
    limit = (open_there * OPEN_INTEREST_LEFT).clip(1.0)
    is_roll = pl.col("kind") == "roll"
    return chosen.with_columns(
        size=pl.when(is_roll).then(pl.min_horizontal(pl.col("size"), limit)).otherwise(pl.col("size")).cast(pl.Int64)
    )


def prints(plans: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """Trades by session: episode_id, underlying, number (session), contract_id, contracts, opened, and the leg's terms.

    Sizes of a leg's sessions add up to the leg's size; 'escalating' episodes grow linearly, others are even.
    """
    timed = (
        chosen.join(plans.select("episode_id", "first", "last", "pacing"), on="episode_id")
        .with_columns(number=pl.int_ranges("first", pl.col("last") + 1, dtype=pl.Int32))
        .explode("number")
        .sort("episode_id", "leg", "number")
    )
    leg = ["episode_id", "leg"]
    step = pl.when(pl.col("pacing") == "escalating").then(pl.col("number") - pl.col("first") + 1).otherwise(1)
    weight = step.cum_sum().over(leg) / step.sum().over(leg)
    total = (pl.col("size") * pl.col("share")).round().clip(1.0)
    return (
        timed.with_columns(done=(total * weight).round().cast(pl.Int64))
        .with_columns(contracts=pl.col("done") - pl.col("done").shift(1, fill_value=0).over(leg))
        .filter(pl.col("contracts") > 0)
        .with_columns(opened=(pl.col("contracts") * pl.col("opening")).round().cast(pl.Int64))
        .select(
            "episode_id", "underlying", "number", "contract_id", "expiration", "leg_right", "strike", "contracts",
            "opened",
        )
    )  # fmt: skip


def inject(chain: pl.DataFrame, today: pl.DataFrame, opened: pl.DataFrame, drift: pl.DataFrame) -> pl.DataFrame:
    """`chain` (OPTION_CHAINS columns of one session) with an episode's marks on it.

    `today` are this session's prints with `mean_volume` of their underlying, `opened` (contract_id, opened) what
    earlier prints of the same episodes had opened by this morning, `drift` (underlying, moved) the relative change of
    the spot.
    """
    traded = today.group_by("contract_id").agg(pl.col("contracts").sum())
    interest = opened.group_by("contract_id").agg(pl.col("opened").sum())
    order = chain.columns
    marked = (
        chain.join(traded, on="contract_id", how="left")
        .join(interest, on="contract_id", how="left")
        .join(_volatility_lift(chain, today), on="contract_id", how="left")
        .join(drift, on="underlying", how="left")
    )
    lift = pl.col("lift").fill_null(0.0)
    hit = pl.col("contracts").is_not_null()
    usual = pl.coalesce("implied_volatility", pl.when(hit).then(pl.col("vendor_iv")))
    rise = pl.col("vega").cast(pl.Float64) * 100.0 * usual.cast(pl.Float64) * lift
    marked = marked.with_columns(
        volume=(pl.col("volume") + pl.col("contracts").fill_null(0)).cast(pl.Int32),
        open_interest=(pl.col("open_interest") + pl.col("opened").fill_null(0)).clip(0).cast(pl.Int32),
        implied_volatility=(usual * (1.0 + lift)).cast(pl.Float32),
        price=pl.col("price") + rise.fill_null(0.0),
        spot=pl.col("spot") * (1.0 + pl.col("moved").fill_null(0.0)),
    )
    return _priced_where_it_traded(marked, hit).select(order)


def _volatility_lift(chain: pl.DataFrame, today: pl.DataFrame) -> pl.DataFrame:
    """Per contract: `lift`, the relative rise of its volatility, largest at the hit strikes of its expiration."""
    impact = (VOLATILITY_IMPACT * (pl.col("contracts") / pl.col("mean_volume").clip(1.0)).sqrt()).clip(
        0.0, LARGEST_IMPACT
    )
    hits = today.filter(pl.col("opened") > 0).select(
        "underlying", "expiration", right="leg_right", hit_strike="strike", impact=impact
    )
    distance = (pl.col("strike") - pl.col("hit_strike")).abs() / (IMPACT_WIDTH * pl.col("spot"))
    return (
        chain.select("underlying", "expiration", "right", "strike", "spot", "contract_id")
        .join(hits, on=["underlying", "expiration", "right"])
        .group_by("contract_id")
        .agg(lift=(pl.col("impact") * (-distance).exp()).max())
    )


def _priced_where_it_traded(marked: pl.DataFrame, hit: pl.Expr) -> pl.DataFrame:
    """A line that had not traded has no price of the session; the episode's trade gives it one (Black 1976)."""
    from flowlake.options.black import black_price

    needed = hit & pl.col("price").is_null() & (pl.col("years") > 0) & pl.col("implied_volatility").is_not_null()
    rows = marked.filter(needed)
    if rows.is_empty():
        return marked
    forward = pl.coalesce("forward", "spot")
    terms = rows.select(
        pl.col("implied_volatility").cast(pl.Float64), forward, "strike", "years", pl.col("discount").fill_null(1.0)
    )
    value = black_price(*(terms[name].to_numpy() for name in terms.columns), (rows["right"] == "C").to_numpy())  # pyright: ignore[reportCallIssue]
    priced = rows.select("contract_id", paid=pl.Series(np.maximum(value, 0.01)).fill_nan(None))
    return marked.join(priced, on="contract_id", how="left").with_columns(price=pl.coalesce("price", "paid"))
