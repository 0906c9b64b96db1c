"""What an episode leaves in a chain."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.evaluate import inject, plan
from flowlake.schemas.options import OPTION_CHAINS
from flowlake_tests.factories import frame

SESSION = date(2026, 6, 1)
EXPIRATIONS = {date(2026, 6, 12): 11, date(2026, 7, 17): 46, date(2026, 9, 18): 109}


def chain() -> pl.DataFrame:
    """One underlying at 100: calls and puts from 70 to 130 in three expirations."""
    rows = [
        {
            "contract_id": number,
            "underlying": "AAA",
            "expiration": expiration,
            "dte": dte,
            "strike": float(strike),
            "right": right,
            "multiplier": 100.0,
            "spot": 100.0,
            "volume": 7,
            "open_interest": 500,
            "price": 2.0 if strike % 10 == 0 else None,
            "implied_volatility": 0.3 if strike % 10 == 0 else None,
            "vendor_iv": 0.3,
            "vega": 0.1,
            "forward": 100.5,
            "discount": 0.99,
            "years": dte / 365.0,
        }
        for number, (expiration, dte, strike, right) in enumerate(
            (expiration, dte, strike, right)
            for expiration, dte in EXPIRATIONS.items()
            for strike in range(70, 131, 5)
            for right in "CP"
        )
    ]
    return frame(OPTION_CHAINS, rows)


def plans(**changes: object) -> pl.DataFrame:
    row = {
        "episode_id": "E0", "arm": "informed", "kind": "informed", "underlying": "AAA", "first": 3, "last": 3,
        "right": "C", "size": 1_000, "out_of_the_money": 0.10, "dte": 40, "strikes": 1, "pacing": "uniform",
        "structure": "single_leg", "opening_share": 0.8, "drift": 0.0, **changes,
    }  # fmt: skip
    return pl.DataFrame([row], schema=plan.PLAN_SCHEMA)


def chosen(planned: pl.DataFrame) -> pl.DataFrame:
    spans = planned.select("episode_id", span=(pl.col("last") - pl.col("first")).cast(pl.Int32))
    return inject.choose_contracts(planned, chain(), spans)


def prints(planned: pl.DataFrame) -> pl.DataFrame:
    return inject.prints(planned, chosen(planned))


def injected(planned: pl.DataFrame, number: int = 3) -> pl.DataFrame:
    trades = prints(planned)
    today = trades.filter(pl.col("number") == number).with_columns(mean_volume=pl.lit(2_000.0))
    drift = planned.select("underlying", moved="drift")
    return inject.inject(chain(), today, trades.filter(pl.col("number") < number), drift)


def test_the_line_is_the_listed_one_nearest_the_plan():
    line = chosen(plans()).row(0, named=True)
    assert (line["expiration"], line["strike"], line["leg_right"]) == (date(2026, 7, 17), 110.0, "C")


def test_a_put_is_bought_below_the_spot():
    line = chosen(plans(right="P", out_of_the_money=0.2, dte=100)).row(0, named=True)
    assert (line["expiration"], line["strike"], line["leg_right"]) == (date(2026, 9, 18), 80.0, "P")


def test_a_position_outlives_its_episode():
    assert chosen(plans(dte=2, last=15)).row(0, named=True)["expiration"] > date(2026, 6, 12)


def test_a_ladder_takes_neighbouring_strikes():
    assert sorted(chosen(plans(structure="ladder", strikes=3))["strike"]) == [105.0, 110.0, 115.0]


def test_a_roll_closes_in_front_what_it_opens_behind_and_no_more_than_is_open():
    lines = prints(plans(structure="roll", kind="roll", size=5_000))
    assert lines["contracts"].to_list() == [400, 400]
    assert lines.sort("expiration")["opened"].to_list() == [-360, 380]


@settings(max_examples=40, deadline=None)
@given(st.integers(90, 10_000), st.integers(1, 13), st.sampled_from(["uniform", "escalating"]), st.integers(1, 4))
def test_what_is_traded_over_an_episode_adds_up_to_its_size(size: int, sessions: int, pacing: str, strikes: int):
    trades = prints(
        plans(size=size, last=3 + sessions - 1, dte=100, pacing=pacing, structure="ladder", strikes=strikes)
    )
    assert trades["contracts"].sum() == pytest.approx(size, abs=strikes)
    assert trades["number"].is_between(3, 3 + sessions - 1).all()


def test_escalating_trading_grows():
    trades = prints(plans(last=6, pacing="escalating"))
    assert trades.sort("number")["contracts"].to_list() == [100, 200, 300, 400]


def test_volume_rises_today_and_open_interest_only_tomorrow():
    two_days = plans(last=4)
    today, tomorrow = injected(two_days, 3), injected(two_days, 4)
    line = (pl.col("strike") == 110.0) & (pl.col("right") == "C") & (pl.col("dte") == 46)
    assert today.filter(line)["volume"].to_list() == [507]
    assert today.filter(line)["open_interest"].to_list() == [500]
    assert tomorrow.filter(line)["open_interest"].to_list() == [500 + 400]


def test_nothing_but_the_episode_changes():
    before, after = chain(), injected(plans())
    other = pl.col("expiration") != date(2026, 7, 17)
    assert after.columns == before.columns
    assert after.filter(other).sort("contract_id").equals(before.filter(other).sort("contract_id"))
    assert after["volume"].sum() == before["volume"].sum() + 1_000


def test_volatility_rises_most_at_the_hit_strike():
    after = injected(plans()).filter(pl.col("right") == "C", pl.col("dte") == 46, pl.col("strike") % 10 == 0)
    lift = {row["strike"]: row["implied_volatility"] / 0.3 - 1.0 for row in after.to_dicts()}
    assert max(lift, key=lambda strike: lift[strike]) == 110.0
    assert lift[110.0] == pytest.approx(inject.VOLATILITY_IMPACT * 0.5**0.5, rel=1e-4)
    assert lift[70.0] < 0.1 * lift[110.0]


def test_a_line_that_had_not_traded_gets_a_price_and_a_volatility():
    line = injected(plans(out_of_the_money=0.15)).filter(
        pl.col("strike") == 115.0, pl.col("right") == "C", pl.col("dte") == 46
    )
    row = line.row(0, named=True)
    assert row["implied_volatility"] > 0.3
    assert 0.01 < row["price"] < 2.0


def test_open_interest_never_falls_below_zero():
    closing = pl.DataFrame({"contract_id": [0], "opened": [-9_000]}, schema_overrides={"contract_id": pl.Int32})
    untouched = prints(plans()).head(0).with_columns(mean_volume=pl.lit(1.0))
    after = inject.inject(chain(), untouched, closing, plans().select("underlying", moved="drift"))
    assert after["open_interest"].min() == 0
