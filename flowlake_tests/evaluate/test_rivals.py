"""The simple rules, against figures worked out by hand."""

from __future__ import annotations

import polars as pl
import pytest

from flowlake.evaluate import rivals

LINE = {
    "underlying": "AAA", "volume": 600, "open_interest": 200, "last": 1.0, "dte": 30, "strike": 105.0, "spot": 100.0,
    "volume_mean_20": 100.0, "volume_std_20": 50.0,
}  # fmt: skip


def scores(*lines: dict) -> dict:
    frame = pl.DataFrame([LINE | line for line in lines])
    ticker = pl.DataFrame({"underlying": ["AAA"], "volume_mean_20": [1_000.0]})
    stock = pl.DataFrame({"underlying": ["AAA"], "stock_volume": [60_000.0], "usual_ratio": [0.002]})
    return rivals.scores(frame, ticker, stock).row(0, named=True)


def test_each_rule_says_what_its_authors_say():
    row = scores({})
    assert row["barchart"] == row["volume_oi"] == 3.0
    assert row["z20"] == 10.0
    # Ratio 6, z 10, volume over open interest 3: 10 x (0.4 x 0.6 + 0.4 x 1 + 0.2 x 1).
    assert row["evmcod"] == pytest.approx(8.4)
    assert row["webull"] == pytest.approx(0.6)
    # 600 contracts on 60,000 shares are five times the usual 0.002.
    assert row["johnson_so"] == pytest.approx(5.0)


@pytest.mark.parametrize("short", [{"volume": 500}, {"open_interest": 100}, {"last": 0.10}, {"open_interest": 481}])
def test_barcharts_rule_passes_only_above_all_its_floors(short: dict):
    assert scores(short)["barchart"] is None


def test_dust_is_not_ranked():
    row = scores({"volume": 99, "open_interest": 0})
    assert row["volume_oi"] is None
    assert row["z20"] is None


def test_evmcod_looks_no_further_than_60_days_and_20_percent():
    assert scores({"dte": 61})["evmcod"] is None
    assert scores({"strike": 121.0})["evmcod"] is None


def test_the_strongest_line_speaks_for_its_underlying():
    assert scores({}, {"volume": 900})["volume_oi"] == 4.5


def test_johnson_and_sos_expirations_are_5_to_35_trading_days():
    assert scores({"dte": 3}, {"dte": 60}, {})["johnson_so"] == pytest.approx(5.0)
