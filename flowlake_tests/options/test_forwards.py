"""Forwards, discount and borrow implied by quotes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.options import black_price, implied_forwards
from flowlake.options.american import Contracts, american_price
from flowlake.options.engine import premiums
from flowlake.options.forwards import pair_quotes, weighted_median
from flowlake.options.rates import RateCurve, box_curve
from flowlake.options.schedule import dividend_schedule

SESSION = date(2026, 8, 14)
NOW = datetime(2026, 8, 14, 20, tzinfo=UTC)
RATE = 0.043


def chain(
    days: tuple[int, ...] = (30, 91, 365),
    *,
    style: str = "european",
    spot: float = 100.0,
    borrow: float = 0.0,
    dividends: pl.DataFrame | None = None,
    half_width: float = 0.01,
    strikes: np.ndarray | None = None,
) -> pl.DataFrame:
    """Quotes of one underlying; exact prices in the middle."""
    strikes = np.arange(70.0, 131.0, 2.5) if strikes is None else strikes
    frame = (
        pl.DataFrame({"strike": strikes})
        .join(pl.DataFrame({"days": days}), how="cross")
        .join(pl.DataFrame({"right": ["C", "P"]}), how="cross")
        .with_columns(
            underlying=pl.lit("ABC"),
            expiration=pl.lit(SESSION) + pl.duration(days="days"),
            settles_at=pl.lit(NOW) + pl.duration(days="days"),
            years=pl.col("days") / 365.0,
            spot=pl.lit(spot),
            exercise_style=pl.lit(style),
        )
    )
    strike, years = frame["strike"].to_numpy(), frame["years"].to_numpy()
    discount, is_call = np.exp(-RATE * years), (frame["right"] == "C").to_numpy()
    schedule = dividend_schedule(frame, SESSION, dividends)
    escrow, _ = schedule.present_values(np.full(frame.height, RATE))
    forward = (spot - escrow) * np.exp((RATE - borrow) * years)
    volatility = 0.3 - 0.1 * np.log(strike / spot)
    if style == "american":
        contracts = Contracts.of(frame["spot"].to_numpy(), forward, strike, years, discount, is_call, schedule)
        steps = np.full(frame.height, 301, dtype=np.int64)
        value = american_price(contracts, volatility, steps=steps, premiums=premiums())
    else:
        value = black_price(volatility, forward, strike, years, discount, is_call)
    return frame.with_columns(
        pl.Series("bid", value - half_width),
        pl.Series("ask", value + half_width),
        pl.Series("true_forward", forward),
    )


def worst_error(quotes: pl.DataFrame, **options) -> float:
    """Largest error of the forward in basis points of spot."""
    implied = implied_forwards(quotes, SESSION, **options)
    truth = quotes.group_by("expiration").agg(pl.col("true_forward", "spot").first())
    joined = implied.join(truth, on="expiration")
    return float(((joined["forward"] - joined["true_forward"]).abs() / joined["spot"] * 1e4).to_numpy().max())


QUARTERLY = pl.DataFrame(
    {
        "ticker": ["ABC"] * 4,
        "effective_on": [SESSION + timedelta(days=20 + 91 * k) for k in range(4)],
        "cash_amount": [0.8] * 4,
    }
)


def test_european_parity_gives_the_forward_exactly():
    assert worst_error(chain(), rate=RATE) < 0.01


def test_a_stale_line_does_not_move_the_forward():
    quotes = chain()
    stale = (pl.col("strike") == 100.0) & (pl.col("right") == "C")
    moved = quotes.with_columns(pl.when(stale).then(pl.col("bid", "ask") + 3.0).otherwise(pl.col("bid", "ask")))
    assert worst_error(moved, rate=RATE) < 0.05


def test_taking_early_exercise_out_of_american_quotes_brings_the_forward_within_three_basis_points():
    quotes = chain(style="american", dividends=QUARTERLY)
    assert worst_error(quotes, rate=RATE, dividends=QUARTERLY, rounds=0) > 15
    assert worst_error(quotes, rate=RATE, dividends=QUARTERLY) < 3


def test_what_the_forward_says_beyond_rate_and_dividends_is_borrow():
    quotes = chain(style="american", dividends=QUARTERLY, borrow=0.06)
    implied = implied_forwards(quotes, SESSION, rate=RATE, dividends=QUARTERLY)
    np.testing.assert_allclose(implied["borrow"].to_numpy(), 0.06, atol=0.003)


def test_without_two_sided_quotes_the_forward_is_carried_and_says_so():
    quotes = chain(style="american", dividends=QUARTERLY).with_columns(bid=pl.lit(None, pl.Float64))
    implied = implied_forwards(quotes, SESSION, rate=RATE, dividends=QUARTERLY)
    assert implied["forward_source"].to_list() == ["carry"] * 3
    assert implied["strikes_used"].to_list() == [0, 0, 0]
    assert implied["forward_error"].null_count() == 3
    assert worst_error(quotes, rate=RATE, dividends=QUARTERLY) < 0.01


def test_without_quotes_and_spot_there_is_no_forward():
    quotes = chain().with_columns(bid=pl.lit(None, pl.Float64), spot=pl.lit(None, pl.Float64))
    implied = implied_forwards(quotes, SESSION, rate=RATE)
    assert implied["forward"].null_count() == implied["forward_source"].null_count() == 3


def test_crossed_and_bidless_quotes_make_no_pair():
    quotes = chain(days=(30,), strikes=np.array([95.0, 100.0, 105.0]))
    crossed = (pl.col("strike") == 95.0) & (pl.col("right") == "P")
    bidless = (pl.col("strike") == 105.0) & (pl.col("right") == "C")
    broken = quotes.with_columns(
        ask=pl.when(crossed).then(pl.col("bid") - 0.1).otherwise("ask"), bid=pl.when(bidless).then(0.0).otherwise("bid")
    )
    assert pair_quotes(broken)["strike"].to_list() == [100.0]


def test_morning_and_afternoon_settlement_on_one_date_have_their_own_forwards():
    afternoon = chain(days=(30,))
    morning = afternoon.with_columns(settles_at=pl.col("settles_at") - pl.duration(minutes=390))
    morning = morning.with_columns(pl.col("bid", "ask") + pl.when(pl.col("right") == "C").then(0.5).otherwise(0.0))
    implied = implied_forwards(pl.concat([afternoon, morning]), SESSION, rate=RATE)
    assert implied.height == 2
    assert implied["forward"][0] - implied["forward"][1] == pytest.approx(0.5, rel=0.02)


def test_boxes_of_european_chains_give_the_rate():
    rng = np.random.default_rng(1)
    quotes = chain(days=(40, 91, 365), half_width=0.05, strikes=np.arange(60.0, 141.0, 1.0))
    noise = pl.Series(rng.normal(0, 0.02, quotes.height))
    noisy = quotes.with_columns(bid=pl.col("bid") + noise, ask=pl.col("ask") + noise)
    wild = noisy.with_columns(
        pl.when((pl.col("strike") == 60.0) & (pl.col("right") == "P"))
        .then(pl.col("bid", "ask") + 2.0)
        .otherwise(pl.col("bid", "ask"))
    )
    curve = box_curve(pair_quotes(wild))
    np.testing.assert_allclose(curve(np.array([91 / 365, 1.0])), RATE, atol=0.002)


def test_where_there_are_no_boxes_the_fallback_rate_is_used():
    american = pair_quotes(chain(style="american")).filter(~pl.col("american"))
    assert box_curve(american, RateCurve.flat(0.02))(np.array([0.5]))[0] == 0.02


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0.01, 10)), min_size=1, max_size=12),
)
@settings(max_examples=60)
def test_the_weighted_median_splits_the_weight_in_half(points):
    frame = pl.DataFrame(points, schema=["value", "weight"], orient="row").with_columns(group=pl.lit(1))
    median = weighted_median(frame, value="value", weight="weight", by=("group",))["value"][0]
    half = sum(weight for _, weight in points) / 2
    assert sum(weight for value, weight in points if value < median) <= half * (1 + 1e-9)
    assert sum(weight for value, weight in points if value > median) <= half * (1 + 1e-9)
    assert median in [value for value, _ in points]
