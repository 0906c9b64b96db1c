"""Our volatility on real quotes; `pytest -m real_data -s` prints the tables that docs/pricing.md explains."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from flowlake.options import black_price
from flowlake_tests.options import real_quotes

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


def show(title: str, frame: pl.DataFrame) -> None:
    with pl.Config(tbl_rows=40, tbl_cols=12, tbl_width_chars=140, tbl_hide_dataframe_shape=True):
        print(f"\n{title}\n{frame}")


def out_of_the_money(priced: pl.DataFrame) -> pl.DataFrame:
    side = pl.when(pl.col("strike") >= pl.col("forward")).then(pl.lit("C")).otherwise(pl.lit("P"))
    return priced.filter((pl.col("right") == side) & pl.col("price").is_not_null() & (pl.col("years") > 0))


def share_solved(priced: pl.DataFrame) -> float:
    return float(np.mean(priced["implied_volatility"].is_not_null().to_numpy()))


def call_put_gap(priced: pl.DataFrame) -> tuple[float, float]:
    """Median and typical size of the call's less the put's volatility at the same strike, points."""
    gap = real_quotes.call_put_gap(priced)["gap"].to_numpy()
    middle, typical = float(np.median(gap)), float(np.median(np.abs(gap)))
    print(f"call less put at the same strike: median {middle:+.3f}, typical {typical:.3f} points, {gap.size} strikes")
    return middle, typical


def test_quoted_index_funds_are_solved_and_calls_agree_with_puts(shared_data):
    priced = real_quotes.exchange_traded_funds(shared_data)
    show("SPY, QQQ, IWM: ours less Yahoo's, volatility points", real_quotes.by_moneyness(priced))
    middle, typical = call_put_gap(priced)
    assert share_solved(out_of_the_money(priced)) > 0.999
    assert abs(middle) < 0.05
    assert typical < 0.2


def test_quoted_mega_caps_are_solved_and_calls_agree_with_puts(shared_data):
    priced = real_quotes.mega_caps(shared_data)
    # These two files keep strikes of before their splits beside prices of after them.
    current = priced.filter(~pl.col("underlying").is_in(["NFLX", "NVDA"]))
    show("eight mega caps: ours less Yahoo's, volatility points", real_quotes.by_moneyness(current))
    middle, typical = call_put_gap(current)
    assert share_solved(out_of_the_money(current)) > 0.999
    assert abs(middle) < 0.1
    assert typical < 0.3


def test_what_is_not_solved_of_real_quotes_says_why(shared_data):
    priced = real_quotes.exchange_traded_funds(shared_data)
    unsolved = priced.filter(pl.col("implied_volatility").is_null())
    assert set(unsolved["iv_status"]) <= {"no_price", "below_intrinsic", "above_bound", "expired", "imprecise"}
    below = unsolved.filter(pl.col("iv_status") == "below_intrinsic")
    sign = pl.when(pl.col("right") == "C").then(1).otherwise(-1)
    exercise = pl.max_horizontal(
        sign * (pl.col("spot") - pl.col("strike")), sign * (pl.col("forward") - pl.col("strike")) * pl.col("discount")
    )
    assert below.select((pl.col("price") <= exercise + 1e-5 * pl.col("strike")).mean()).item() > 0.999


def test_the_other_engines_volatility_does_not_reprice_its_own_quotes_and_ours_does(shared_data):
    priced = real_quotes.lean_apple(shared_data).filter(
        (pl.col("iv_status") == "ok") & pl.col("vendor_iv").is_not_null() & (pl.col("price") > 0.5)
    )
    otm = out_of_the_money(priced)
    assert otm.height > 500

    def miss(volatility: str) -> float:
        columns = {name: otm[name].to_numpy() for name in ("forward", "strike", "years", "discount")}
        value = black_price(otm[volatility].to_numpy(), **columns, is_call=(otm["right"] == "C").to_numpy())
        return float(np.median(np.abs(value / otm["price"].to_numpy() - 1)))

    print(
        f"\nLEAN's AAPL: its volatility misses its own quotes by {miss('vendor_iv'):.1%} (median), "
        f"ours by {miss('implied_volatility'):.2%}"
    )
    assert miss("implied_volatility") < 0.01
    assert miss("vendor_iv") > 0.2
