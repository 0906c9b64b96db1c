"""What each algorithm sees, on one seeded market with a known addition."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2

from flowlake import calendar
from flowlake.detect import multi_strike
from flowlake_tests.detect.markets import Market
from flowlake_tests.detect.runs import Run, run_market


@pytest.fixture(scope="module")
def history() -> tuple[Market, Run]:
    market = Market()
    return market, run_market(market)


def redo(history: tuple[Market, Run], trades: list[tuple[int, list[int], int, int]], actions=None):
    """Detection of the last session after adding (sessions back, contracts, volume, opened) to the market."""
    market, run = history
    changed = Market.__new__(Market)
    changed.sessions, changed.contracts, changed.chains = market.sessions, market.contracts, dict(market.chains)
    for back, contracts, volume, opened in trades:
        changed.trade(market.sessions[-1 - back], contracts, volume, opened)
    again = Run()
    again.detections = {day: found for day, found in run.detections.items() if day < market.sessions[-1]}
    return again.add(changed, market.sessions[-1], actions)


def test_a_line_far_above_its_history_in_a_quiet_chain_is_a_volume_anomaly(history):
    line = history[0].lines("T04", "C")[1]
    found = redo(history, [(0, [line], 3_000, 0)]).anomalies_volume
    row = found.filter(pl.col("contract_id") == line).row(0, named=True)
    assert row["observed"] >= 3_000 > 20 * row["expected"]
    assert row["p_value"] < 1e-3
    assert row["direction"] == "bullish"
    assert row["premium_usd"] == pytest.approx(row["observed"] * 100.0)
    assert row["delta_notional_usd"] > 0
    assert f"{row['observed']:,.0f} contracts" in row["explanation"]
    assert row["event_time"] == calendar.session_close(history[0].sessions[-1])


def test_puts_are_bearish(history):
    line = history[0].lines("T04", "P")[1]
    found = redo(history, [(0, [line], 3_000, 0)]).anomalies_volume
    assert found.filter(pl.col("contract_id") == line)["direction"].to_list() == ["bearish"]


def test_positions_opened_yesterday_are_an_anomaly_of_yesterdays_trading(history):
    market = history[0]
    line = market.lines("T05", "C")[1]
    found = redo(history, [(1, [line], 3_000, 2_800)]).anomalies_open_interest
    row = found.filter(pl.col("contract_id") == line).row(0, named=True)
    assert row["observed"] > 2_500 > 10 * row["expected"]
    assert row["volume"] >= 3_000
    assert row["event_time"] == calendar.session_close(market.sessions[-2])
    assert row["session"] == market.sessions[-1]


def test_open_interest_that_no_volume_explains_raises_no_alarm(history):
    line = history[0].lines("T05", "C")[1]
    found = redo(history, [(1, [line], 0, 50_000)]).anomalies_open_interest
    assert line not in found["contract_id"].to_list()


def test_a_split_session_raises_no_alarm_at_all(history):
    market = history[0]
    line = market.lines("T05", "C")[1]
    action = {"ticker": ["T05"], "kind": ["split"], "split_from": [1.0], "split_to": [4.0]}
    actions = pl.DataFrame({**action, "effective_on": [market.sessions[-1]]})
    found = redo(history, [(1, [line], 3_000, 2_800), (0, [line], 3_000, 0)], actions)
    for table in (found.anomalies_open_interest, found.anomalies_volume, found.scored_events):
        assert "T05" not in table["underlying"].to_list()


def test_neighbouring_strikes_together_are_a_ladder(history):
    ladder = history[0].lines("T06", "C")[:3]
    found = redo(history, [(0, ladder, 900, 0)]).anomalies_multi_strike
    row = found.filter(pl.col("underlying") == "T06", pl.col("right") == "C").row(0, named=True)
    assert row["lines"] >= 2
    assert row["contract_id"] in ladder
    assert "neighbouring strikes" in row["explanation"]


def test_one_line_alone_is_no_ladder(history):
    market = history[0]
    line = market.lines("T06", "C")[1]
    found = redo(history, [(0, [line], 5_000, 0)])
    alone = found.anomalies_multi_strike.filter(pl.col("contract_id") == line)
    assert all(lines >= 2 for lines in alone["lines"])


def test_a_dominating_series_in_an_illiquid_name_is_low_volume_high_conviction(history):
    market = history[0]
    line = market.lines("T08", "C")[2]  # the quietest chains: T00, T08, T16, T24
    found = redo(history, [(0, [line], 900, 0)]).anomalies_low_volume
    row = found.filter(pl.col("contract_id") == line).row(0, named=True)
    assert row["observed"] >= 900 > row["expected"]
    assert "of the chain's volume" in row["explanation"]


def test_equal_sizes_in_two_lines_are_noted_as_a_spread_look_alike(history):
    legs = history[0].lines("T08", "C")[1:4:2]
    found = redo(history, [(0, legs, 2_000, 0)]).anomalies_volume
    noted = found.filter(pl.col("contract_id").is_in(legs))["annotations"].to_list()
    assert noted
    assert all("spread look-alike" in notes for notes in noted)


@pytest.mark.parametrize("surprise, lines", [(3.0, 2), (9.5, 2), (40.0, 3), (80.0, 12)])
def test_fishers_combination_is_the_chi_square_tail(surprise, lines):
    found = multi_strike.fisher(np.array([surprise]), np.array([lines]))[0]
    assert found == pytest.approx(-chi2.logsf(2 * surprise, 2 * lines) / np.log(10), rel=1e-9)
