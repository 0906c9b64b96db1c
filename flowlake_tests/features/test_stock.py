"""Stock features and indicators against textbook figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.features.indicators import indicator_features
from flowlake.features.regime import regime_features
from flowlake.features.stock import STOCKS, stock_features, stock_panel
from flowlake.schemas.market import CORPORATE_ACTIONS
from flowlake_tests.factories import frame
from flowlake_tests.features.chains import SESSION

KNOWN = datetime(2026, 6, 1, 20, 20, tzinfo=UTC)


def history(closes: Sequence[float | None], ticker: str = "A", **columns: list) -> pl.DataFrame:
    """Stock rows ending on SESSION, one per session; None is a session without a row."""
    days = [*calendar.trailing_sessions(SESSION, len(closes) - 1), SESSION]
    plain = dict.fromkeys(("open", "high", "low", "close", "vwap"), closes) | {"volume": [1000.0] * len(closes)}
    rows = pl.DataFrame({"session": days, "ticker": ticker, "available_at": KNOWN} | plain | columns, strict=False)
    return rows.select(pl.col(name).cast(dtype) for name, dtype in STOCKS.items()).drop_nulls("close")


def panel(stocks: pl.DataFrame, actions: pl.DataFrame | None = None):
    return stock_panel(stocks, stocks["ticker"], SESSION, actions)


def stock(stocks: pl.DataFrame, actions: pl.DataFrame | None = None) -> dict:
    return stock_features(panel(stocks, actions)).row(0, named=True)


def indicators(closes: Sequence[float | None]) -> dict:
    return indicator_features(panel(history(closes))).row(0, named=True)


def test_returns_gap_and_figures_of_the_day():
    closes = [80.0, *[90.0] * 14, 96.0, 97.0, 98.0, 99.0, 100.0, 110.0]
    stocks = history(closes, open=[*closes[:-1], 105.0], vwap=[*closes[:-1], 108.0])
    found = stock(stocks)
    assert found["stock_close"] == 110.0
    assert found["stock_volume"] == 1000.0
    assert found["stock_dollar_volume"] == 108_000.0
    assert found["stock_gap"] == pytest.approx(0.05)
    assert found["stock_return_1"] == pytest.approx(0.10)
    assert found["stock_return_5"] == pytest.approx(110 / 96 - 1)
    assert found["stock_return_20"] == pytest.approx(110 / 80 - 1)
    assert found["stock_sessions"] == 21


def test_a_return_needs_exactly_its_other_end():
    found = stock(history([100.0, None, 110.0]))
    assert found["stock_return_1"] is None
    assert found["stock_gap"] is None


def split(day, ratio: float) -> pl.DataFrame:
    action = {"ticker": "A", "kind": "split", "effective_on": day, "split_from": 1.0, "split_to": ratio}
    return frame(CORPORATE_ACTIONS, [action])


def test_what_came_before_a_split_is_restated():
    """Four for one on the day: 400 before is 100 now, 1,000 shares before are 4,000."""
    stocks = history([400.0] * 19 + [400.0, 110.0])
    found = stock(stocks, split(SESSION, 4.0))
    assert found["stock_return_1"] == pytest.approx(0.10)
    assert found["stock_volume_ratio_20"] == pytest.approx(1000 / 4000)


def test_realised_volatility_is_the_sample_deviation_of_log_returns():
    closes = [100.0 * float(np.exp(0.01 * (n % 2))) for n in range(61)]
    found = stock(history(closes))
    twenty = np.array([0.01, -0.01] * 10)
    assert found["realised_volatility_20"] == pytest.approx(twenty.std(ddof=1) * np.sqrt(252))
    sixty = np.array([0.01, -0.01] * 30)
    assert found["realised_volatility_60"] == pytest.approx(sixty.std(ddof=1) * np.sqrt(252))


def test_parkinson_of_a_constant_range():
    """ln(high / low) = 0.02 every day: sqrt(252 x 0.0004 / (4 ln 2))."""
    closes = [100.0] * 20
    found = stock(history(closes, high=[100.0 * float(np.exp(0.02))] * 20, low=closes))
    assert found["range_volatility_20"] == pytest.approx(np.sqrt(252 * 0.0004 / (4 * np.log(2))))


def test_amihud_illiquidity_by_hand():
    """|return| 1 % on 100,000 dollars is 0.1 per million."""
    closes = [100.0 * 1.01**n for n in range(21)]
    found = stock(history(closes, vwap=[100.0] * 21))
    assert found["illiquidity_20"] == pytest.approx(0.01 / 100_000 * 1e6)


def test_distance_to_the_years_high_needs_most_of_a_year():
    closes = [100.0] * 250 + [125.0, 100.0]
    assert stock(history(closes))["high_252_distance"] == pytest.approx(-0.2)
    assert stock(history(closes[-199:]))["high_252_distance"] is None


def test_too_little_history_is_null_and_never_zero():
    found = stock(history([100.0, 101.0, 102.0]))
    silent = ("stock_return_5", "stock_return_20", "stock_volume_ratio_20", "realised_volatility_20")
    assert all(found[name] is None for name in silent)
    assert all(value is None for name, value in indicators([100.0, 101.0]).items() if name != "underlying")


def test_a_ticker_without_a_row_today_has_no_figures():
    stocks = history([100.0] * 30).filter(pl.col("session") < SESSION)
    found = stock_features(panel(stocks)).row(0, named=True)
    assert found["stock_close"] is None
    assert all(
        value is None
        for name, value in indicator_features(panel(stocks)).row(0, named=True).items()
        if name != "underlying"
    )


WILDER = [
    44.34, 44.09, 44.15, 43.61, 44.33, 44.83, 45.10, 45.42, 45.84, 46.08, 45.89, 46.03, 45.61, 46.28, 46.28, 46.00,
]  # fmt: skip
"""The worked example that circulates with Wilder's formula."""


def test_rsi_by_hand():
    """First 14 changes: gains 3.34 / 14 = 0.23857, losses 1.40 / 14 = 0.1; then a fall of 0.28.

    gain 0.23857 x 13 / 14 = 0.221531, loss (0.1 x 13 + 0.28) / 14 = 0.112857: RSI = 100 x 0.221531 / 0.334388.
    """
    assert indicators(WILDER[:-1])["rsi_14"] == pytest.approx(100 * 3.34 / (3.34 + 1.40), abs=1e-6)
    gain, loss = 3.34 / 14 * 13 / 14, (1.40 / 14 * 13 + 0.28) / 14
    assert indicators(WILDER)["rsi_14"] == pytest.approx(100 * gain / (gain + loss), abs=1e-6)
    assert indicators(WILDER[:-2])["rsi_14"] is None


def test_rsi_at_its_ends():
    assert indicators([100.0 + n for n in range(20)])["rsi_14"] == 100.0
    assert indicators([100.0 - n for n in range(20)])["rsi_14"] == 0.0
    assert indicators([100.0] * 20)["rsi_14"] == 50.0


def test_macd_of_a_straight_line():
    """On a line rising by 1 an average of n begun with its simple mean lags (n - 1) / 2 for ever: 12.5 - 5.5 = 7."""
    found = indicators([100.0 + n for n in range(60)])
    assert found["macd"] == pytest.approx(7.0)
    assert found["macd_signal"] == pytest.approx(7.0)
    assert found["macd_histogram"] == pytest.approx(0.0)
    assert indicators([100.0 + n for n in range(26)])["macd"] == pytest.approx(7.0)
    assert indicators([100.0 + n for n in range(33)])["macd_signal"] is None


def test_bollinger_bands_by_hand():
    """Ten closes of 99 and ten of 101: mean 100, population deviation 1, bands 98 and 102; 101 is three quarters up."""
    found = indicators([99.0, 101.0] * 10)
    assert found["bollinger_percent_b"] == pytest.approx(0.75)
    assert found["bollinger_bandwidth"] == pytest.approx(0.04)


def test_distances_to_simple_means():
    closes = [100.0] * 199 + [110.0]
    found = indicators(closes)
    assert found["sma_20_distance"] == pytest.approx(110 / 100.5 - 1)
    assert found["sma_50_distance"] == pytest.approx(110 / 100.2 - 1)
    assert found["sma_200_distance"] == pytest.approx(110 / 100.05 - 1)
    assert indicators(closes[1:])["sma_200_distance"] is None


def test_sessions_without_a_close_are_skipped_by_indicators():
    with_gap: Sequence[float | None] = [*WILDER[:5], None, *WILDER[5:]]
    assert indicators(with_gap)["rsi_14"] == indicators(WILDER)["rsi_14"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1.0, 1000.0), min_size=34, max_size=80))
def test_indicators_do_not_depend_on_the_unit_of_price(closes: list[float]):
    once, doubled = indicators(closes), indicators([2 * close for close in closes])
    for name in ("rsi_14", "bollinger_bandwidth", "sma_20_distance"):
        assert doubled[name] == pytest.approx(once[name], rel=1e-9, abs=1e-9)
    assert doubled["macd"] == pytest.approx(2 * once["macd"], rel=1e-9, abs=1e-9)
    assert 0.0 <= once["rsi_14"] <= 100.0


def regime(closes: Sequence[float], ticker: str = "SPY") -> dict:
    spy = panel(history(closes, ticker))
    return regime_features(stock_features(spy), indicator_features(spy)).row(0, named=True)


def test_the_market_is_above_its_mean_of_200_sessions():
    found = regime([100.0] * 199 + [110.0])
    assert found["market_above_sma_200"] is True
    assert found["market_sma_200_distance"] == pytest.approx(110 / 100.05 - 1)
    assert found["market_return_20"] == pytest.approx(0.10)
    assert found["market_volatility_20"] > 0
    assert regime([100.0] * 199 + [90.0])["market_above_sma_200"] is False


def test_a_regime_nobody_can_know_is_null():
    assert regime([100.0] * 199)["market_above_sma_200"] is None
    assert set(regime([100.0] * 220, ticker="A").values()) == {None}
