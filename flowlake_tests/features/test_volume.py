"""Volumes and their ratios, each against figures worked out by hand."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from flowlake.features.volume import volume_features
from flowlake.schemas.detection import TICKER_BASELINES
from flowlake_tests.factories import frame
from flowlake_tests.features.chains import contract, lines, only

SHARES = pl.DataFrame({"underlying": ["A"], "stock_volume": [1_000_000.0]})
NO_HISTORY = pl.DataFrame(schema={"session": pl.Date, "underlying": pl.String, "option_stock_ratio": pl.Float64})


def features(*contracts, normal=None, shares=SHARES, history=NO_HISTORY, with_baselines=True) -> dict:
    baselines = frame(TICKER_BASELINES, [{"underlying": "A"} | normal]) if normal else None
    return only(volume_features(lines(*contracts, with_baselines=with_baselines), baselines, shares, history))


CHAIN = (
    contract("C", 90, volume=200, price=11.0),  # in the money
    contract("C", 110, volume=600, price=0.5),
    contract("P", 90, volume=300, price=0.4),
    contract("P", 110, volume=100, price=10.8),  # in the money
    contract("C", 120, volume=0, price=0.1),
)


def test_volumes_and_premium_by_side():
    found = features(*CHAIN)
    assert found["option_volume"] == 1200
    assert found["call_volume"] == 800
    assert found["put_volume"] == 400
    assert found["lines_traded"] == 4
    assert found["call_premium_usd"] == 200 * 11.0 * 100 + 600 * 0.5 * 100
    assert found["put_premium_usd"] == 300 * 0.4 * 100 + 100 * 10.8 * 100


def test_put_call_ratios():
    found = features(*CHAIN)
    assert found["put_call_ratio"] == 0.5
    assert found["put_share"] == pytest.approx(400 / 1200)
    assert found["otm_put_call_ratio"] == 300 / 600


def test_without_a_call_there_is_no_ratio_but_a_share():
    found = features(contract("P", 90, volume=5))
    assert found["put_call_ratio"] is None
    assert found["otm_put_call_ratio"] is None
    assert found["put_share"] == 1.0


def test_a_chain_that_did_not_trade_has_volumes_and_no_shares():
    found = features(contract("C", 100, volume=0))
    assert found["option_volume"] == 0
    assert found["put_share"] is None
    assert found["short_otm_call_share"] is None


def test_opening_counts_what_the_change_of_open_interest_confirms():
    """Calls: min(100, 60) + min(50, 80) + 0 = 110. Puts: min(40, 30) = 30."""
    found = features(
        contract("C", 100, open_interest=160, previous_open_interest=100, previous_volume=100),
        contract("C", 105, open_interest=180, previous_open_interest=100, previous_volume=50),
        contract("C", 110, open_interest=20, previous_open_interest=100, previous_volume=90),
        contract("P", 100, open_interest=130, previous_open_interest=100, previous_volume=40),
        contract("P", 95, open_interest=500, previous_open_interest=None, previous_volume=900),
    )
    assert found["opening_put_call_ratio"] == pytest.approx(30 / 110)
    assert found["opening_put_share"] == pytest.approx(30 / 140)


def test_opening_is_unknown_without_a_session_before():
    found = features(contract("C", 100, volume=10, open_interest=160), with_baselines=False)
    assert found["opening_put_call_ratio"] is None
    assert found["opening_put_share"] is None


def test_option_stock_ratio_of_johnson_and_so():
    """Contracts of 4 and 49 days do not count: (300 + 200) x 100 / 1,000,000 = 0.05."""
    found = features(
        contract("C", 100, dte=4, volume=700),
        contract("C", 100, dte=5, volume=300),
        contract("P", 100, dte=48, volume=200),
        contract("P", 100, dte=49, volume=900),
    )
    assert found["option_stock_ratio"] == pytest.approx(0.05)


def test_its_change_is_against_the_mean_of_the_sessions_before():
    """Twenty sessions of 0.02 and 0.03 in turn: mean 0.025, so 0.05 is twice the usual."""
    days = [date(2026, 4, 1) + timedelta(days=n) for n in range(20)]
    history = pl.DataFrame({"session": days, "underlying": "A", "option_stock_ratio": [0.02, 0.03] * 10})
    chain = contract("C", 100, volume=500)
    assert features(chain, history=history)["option_stock_ratio_change"] == pytest.approx(2.0)
    assert features(chain, history=history.head(19))["option_stock_ratio_change"] is None


def test_without_the_stock_there_is_no_ratio_to_it():
    assert features(contract("C", 100, volume=500), shares=SHARES.head(0))["option_stock_ratio"] is None


def test_short_dated_out_of_the_money_shares():
    found = features(
        contract("C", 110, dte=30, volume=100),
        contract("C", 110, dte=31, volume=500),
        contract("C", 90, dte=10, volume=200),
        contract("P", 95, dte=7, volume=200),
    )
    assert found["short_otm_call_share"] == 0.1
    assert found["short_otm_put_share"] == 0.2


def test_new_listings_and_woken_lines():
    old = {"listing_age": 40, "listed_before_window": False, "volume_n_20": 20}
    found = features(
        contract("C", 100, volume=60, **old, volume_zero_days_20=3),
        contract("C", 105, volume=30, **old, volume_zero_days_20=20),
        contract("C", 110, volume=10, listing_age=5, volume_n_20=5, volume_zero_days_20=5),
    )
    assert found["new_listing_share"] == 0.1
    assert found["woken_line_share"] == 0.3


def test_a_lake_that_does_not_reach_back_cannot_tell_what_is_new():
    young = {"listing_age": 3, "listed_before_window": True, "volume_n_20": 3, "volume_zero_days_20": 3}
    found = features(contract("C", 100, volume=60, **young))
    assert found["new_listing_share"] is None
    assert found["woken_line_share"] is None


NORMAL = {
    "n_20": 20, "n_60": 40, "volume_mean_20": 600.0, "call_volume_mean_20": 200.0, "put_volume_mean_20": 400.0,
    "volume_mean_60": 1000.0, "volume_std_60": 50.0,
}  # fmt: skip


def test_volumes_beside_the_usual():
    found = features(*CHAIN, normal=NORMAL)
    assert found["option_volume_ratio_20"] == 2.0
    assert found["call_volume_ratio_20"] == 4.0
    assert found["put_volume_ratio_20"] == 1.0
    assert found["option_volume_z_60"] == 4.0


def test_too_few_sessions_make_no_usual():
    found = features(*CHAIN, normal=NORMAL | {"n_20": 9, "n_60": 19})
    assert found["option_volume_ratio_20"] is None
    assert found["option_volume_z_60"] is None
