from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.sandbox.view import Chains, Recent, adjust_for_splits
from flowlake_tests.sandbox.tiny_market import SESSIONS, TinyMarket

DAY = date(2026, 6, 30)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 50)), max_size=60))
def test_recent_values_stay_within_the_limit_and_are_always_the_right_ones(asked: list[tuple[int, int]]):
    weights: dict[int, int] = {}
    recent: Recent[tuple[int, int]] = Recent(100, weigh=lambda value: value[1])
    made: list[int] = []
    for key, weight in asked:
        weights.setdefault(key, weight)

        def make(key: int = key) -> tuple[int, int]:
            made.append(key)
            return key, weights[key]

        assert recent.get(key, make) == (key, weights[key])
        before = len(made)
        recent.get(key, make)
        assert len(made) == before, "the newest value is kept"
        kept = [weight for _, weight in recent._values.values()]
        assert sum(kept) <= 100


def test_the_value_longest_unused_is_the_first_to_go():
    recent: Recent[str] = Recent(2)
    for key in ("a", "b", "a", "c"):
        recent.get(key, lambda key=key: key)
    made: list[str] = []
    for key in ("a", "c", "b"):
        recent.get(key, lambda key=key: made.append(key) or key)
    assert made == ["b"]


def test_a_chain_holds_exactly_the_rows_of_its_underlying():
    frame = TinyMarket().chain(calendar.session_close(SESSIONS[0]))
    chains = Chains.of(frame)
    assert set(chains.spans) == set(frame["underlying"])
    for underlying in chains.spans:
        assert chains.chain(underlying).equals(frame.filter(underlying=underlying))
    assert chains.chain("NOPE").is_empty()


def _bars() -> pl.DataFrame:
    closes = {date(2026, 6, 15): 1_000.0, date(2026, 6, 17): 100.0, date(2026, 6, 18): 50.0}
    rows = [
        {"session": day, "ticker": ticker, "close": close} for day, close in closes.items() for ticker in ("A", "B")
    ]
    prices = {name: pl.col("close") for name in ("open", "high", "low", "vwap")}
    return pl.DataFrame(rows).with_columns(**prices, volume=1e6 / pl.col("close"), transactions=pl.lit(1))


def _splits(*executed: date) -> pl.DataFrame:
    ratios = [(1.0, 10.0), (1.0, 2.0)]
    rows = [
        {"ticker": "A", "execution_date": day, "split_from": old, "split_to": new}
        for day, (old, new) in zip(executed, ratios, strict=False)
    ]
    return pl.DataFrame(rows)


def test_every_split_since_a_bar_applies_to_it_and_dollars_traded_stay():
    adjusted = adjust_for_splits(_bars(), _splits(date(2026, 6, 17), date(2026, 6, 18)), DAY)
    assert adjusted.filter(ticker="A")["close"].to_list() == pytest.approx([50, 50, 50])
    assert adjusted.filter(ticker="B").equals(_bars().filter(ticker="B"))
    assert (adjusted["close"] * adjusted["volume"]).to_list() == pytest.approx([1e6] * 6)


def test_a_split_not_yet_executed_changes_nothing():
    assert adjust_for_splits(_bars(), _splits(date(2026, 7, 1)), DAY).equals(_bars())
