from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.sandbox import wire
from flowlake.sandbox.plans import Plan
from flowlake_tests.sandbox.tiny_market import CHAIN_SCHEMA, SESSIONS, TinyMarket

AT = calendar.session_close(SESSIONS[1])


def _without_absent(value: object) -> object:
    """The reference for `encode`: nulls and what JSON cannot say left out, then the objects that leaves empty."""
    if not isinstance(value, dict):
        return value
    present = {name: _without_absent(inner) for name, inner in value.items()}
    return {name: inner for name, inner in present.items() if inner is not None and inner != {}}


@st.composite
def _frames(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(1, 6))
    columns = {
        name: pl.Series(draw(st.lists(st.none() | values, min_size=height, max_size=height)), dtype=dtype)
        for name, values, dtype in (
            ("a", st.integers(-(2**63), 2**63 - 1), pl.Int64),
            ("b", st.floats(), pl.Float64),
            ("c", st.text(max_size=12), pl.String),
            ("d", st.sampled_from(['x","y":null', '{"z":null,', ',"q":{}', "null", "{}", "\\", '"']), pl.String),
        )
    }
    return pl.DataFrame(columns)


@given(_frames())
def test_a_row_says_exactly_its_non_null_fields_whatever_its_strings_contain(frame: pl.DataFrame):
    inner = pl.struct("b", "d").alias("inner")
    row = pl.struct("a", inner, "c", pl.struct("d", "a").alias("last"))
    rows = [json.loads(text) for text in wire.encode(frame, row)]

    def finite(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    assert rows == [
        _without_absent(
            {
                "a": one["a"],
                "inner": {"b": finite(one["b"]), "d": one["d"]},
                "c": one["c"],
                "last": {"d": one["d"], "a": one["a"]},
            }
        )
        for one in frame.iter_rows(named=True)
    ]


def test_an_empty_frame_has_no_rows():
    assert wire.contract_rows(TinyMarket().contracts(SESSIONS[0]).clear()) == []


def _chain(underlying: str = "AAPL", **terms: Any) -> list[dict[str, Any]]:
    frame = TinyMarket().chain(AT).filter(pl.col("underlying") == underlying)
    options: dict[str, Any] = {"plan": Plan.ADVANCED, "stocks_plan": Plan.ADVANCED, "is_index": False} | terms
    return [json.loads(row) for row in wire.chain_rows(frame, **options)]


def test_every_contract_of_the_chain_is_one_row_with_its_own_numbers():
    frame = TinyMarket().chain(AT).filter(pl.col("underlying") == "AAPL")
    rows = _chain()
    read = pl.DataFrame(
        {
            "contract": [row["details"]["ticker"] for row in rows],
            "strike": [row["details"]["strike_price"] for row in rows],
            "open_interest": [float(row["open_interest"]) for row in rows],
            "gamma": [row.get("greeks", {}).get("gamma") for row in rows],
            "ask": [row.get("last_quote", {}).get("ask") for row in rows],
            "day_volume": [row.get("day", {}).get("volume") for row in rows],
        },
        schema={
            name: CHAIN_SCHEMA[name] for name in ("contract", "strike", "open_interest", "gamma", "ask", "day_volume")
        },
        strict=False,
    )
    assert read.equals(frame.select(read.columns))


def test_nanosecond_times_stay_integers_to_the_last_digit():
    at = datetime(2026, 6, 16, 19, 59, 59, 123457, tzinfo=UTC)
    frame = TinyMarket().chain(AT).head(1).with_columns(underlying_at=pl.lit(at, pl.Datetime("us", "UTC")))
    row = json.loads(wire.chain_rows(frame, plan=Plan.ADVANCED, stocks_plan=Plan.ADVANCED, is_index=False)[0])
    assert row["underlying_asset"]["last_updated"] == 1_781_639_999_123_457_000
    assert isinstance(row["underlying_asset"]["last_updated"], int)


@pytest.mark.parametrize(
    ("plan", "has_trade", "has_quote", "timeframe"),
    [
        (Plan.STARTER, False, False, "DELAYED"),
        (Plan.DEVELOPER, True, False, "DELAYED"),
        (Plan.ADVANCED, True, True, "REAL-TIME"),
    ],
)
def test_plans_decide_which_objects_a_row_has(plan: Plan, has_trade: bool, has_quote: bool, timeframe: str):
    rows = _chain(plan=plan, stocks_plan=plan)
    assert any("last_trade" in row for row in rows) == has_trade
    assert any("last_quote" in row for row in rows) == has_quote
    assert {row["underlying_asset"]["timeframe"] for row in rows} == {timeframe}


def test_without_a_stocks_plan_the_underlying_asset_keeps_its_name_only():
    assert all(set(row["underlying_asset"]) == {"ticker", "timeframe"} for row in _chain(stocks_plan=None))


def test_an_index_has_a_value_and_no_price():
    asset = _chain("SPX", is_index=True)[0]["underlying_asset"]
    assert asset["ticker"] == "I:SPX"
    assert asset["value"] == 6_001.0
    assert "price" not in asset


def test_break_even_adds_a_calls_premium_to_the_strike_and_takes_a_puts_from_it():
    traded = [row for row in _chain(plan=Plan.STARTER) if "day" in row]
    assert {row["details"]["contract_type"] for row in traded} == {"call", "put"}
    for row in traded:
        side = 1 if row["details"]["contract_type"] == "call" else -1
        assert row["break_even_price"] == row["details"]["strike_price"] + side * row["day"]["close"]
        assert row["underlying_asset"]["change_to_break_even"] == row["break_even_price"] - 201
