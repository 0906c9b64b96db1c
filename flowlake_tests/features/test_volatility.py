"""Volatility features against hand-computed examples of the papers' formulas."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from flowlake import calendar
from flowlake.features.volatility import (
    declared_dividends,
    parity_features,
    percentile,
    premium_features,
    smirk,
    surface_features,
)
from flowlake.schemas.market import CORPORATE_ACTIONS
from flowlake.schemas.options import IV_SURFACE
from flowlake_tests.factories import frame
from flowlake_tests.features.chains import SESSION, contract, lines, only

TRADED = pl.DataFrame({"underlying": ["A"], "stock_volume": [1000.0]})


def pair(strike: float, call_iv: float, put_iv: float, call_oi: int, put_oi: int, **facts):
    both = {"vega": 0.1, **facts}
    return (
        contract("C", strike, implied_volatility=call_iv, open_interest=call_oi, **both),
        contract("P", strike, implied_volatility=put_iv, open_interest=put_oi, **both),
    )


def parity(*contracts, actions=None) -> dict:
    return only(parity_features(lines(*contracts), actions, SESSION))


def test_cremers_weinbaum_weighs_pairs_by_mean_open_interest():
    """Weights 200 and 100: (200 x 0.02 - 100 x 0.01) / 300 = 0.01."""
    found = parity(*pair(100, 0.42, 0.40, 300, 100), *pair(105, 0.40, 0.41, 0, 200))
    assert found["iv_spread"] == pytest.approx(0.01, abs=1e-6)
    assert found["iv_spread_pairs"] == 2


def test_an_unmatched_strike_an_adjusted_contract_and_a_far_expiration_do_not_count():
    found = parity(
        *pair(100, 0.42, 0.40, 10, 10),
        contract("C", 95, implied_volatility=0.9, open_interest=999, vega=0.1),
        *pair(105, 0.90, 0.10, 999, 999, is_adjusted=True),
        *pair(105, 0.90, 0.10, 999, 999, dte=61),
        *pair(125, 0.90, 0.10, 999, 999),
    )
    assert found["iv_spread"] == pytest.approx(0.02, abs=1e-6)
    assert found["iv_spread_pairs"] == 1


def test_the_deviation_from_parity_that_the_implied_forward_absorbs_is_put_back():
    """F = 100.30 where spot carried is 100: discount x 0.30 / (100 x vega 0.1) = 0.03 of volatility."""
    found = parity(*pair(100, 0.40, 0.40, 10, 10, forward=100.30, forward_source="parity"))
    assert found["iv_spread"] == pytest.approx(0.03, abs=1e-6)


def test_a_declared_dividend_is_no_deviation_from_parity():
    """Spot 100 less a dividend of 0.70 carries to 99.30, which is the forward: no spread is left."""
    paid = frame(
        CORPORATE_ACTIONS,
        [{"ticker": "A", "kind": "dividend", "effective_on": SESSION + timedelta(days=10), "cash_amount": 0.70}],
    )
    found = parity(*pair(100, 0.40, 0.40, 10, 10, forward=99.30, forward_source="parity"), actions=paid)
    assert found["iv_spread"] == pytest.approx(0.0, abs=1e-6)


def test_a_dividend_counts_for_expirations_on_and_after_its_ex_date():
    ex = SESSION + timedelta(days=10)
    paid = frame(
        CORPORATE_ACTIONS,
        [
            {"ticker": "A", "kind": "dividend", "effective_on": ex, "cash_amount": 0.70},
            {"ticker": "A", "kind": "dividend", "effective_on": SESSION, "cash_amount": 9.0},
        ],
    )
    chain = lines(contract("C", 100, dte=9), contract("C", 100, dte=10), contract("C", 100, dte=40))
    due = declared_dividends(chain, paid, SESSION).sort("expiration")
    assert due["expiration"].to_list() == [ex, SESSION + timedelta(days=40)]
    assert due["dividends"].to_list() == [0.70, 0.70]


def test_the_vendors_spread_is_taken_as_it_is():
    contracts = (
        contract("C", 100, vendor_iv=0.43, open_interest=10, forward=100.30, forward_source="parity"),
        contract("P", 100, vendor_iv=0.40, open_interest=10, forward=100.30, forward_source="parity"),
    )
    found = parity(*contracts)
    assert found["iv_spread_vendor"] == pytest.approx(0.03, abs=1e-6)
    assert found["iv_spread"] is None


def test_pairs_without_open_interest_make_no_spread():
    found = parity(*pair(100, 0.42, 0.40, 0, 0))
    assert found["iv_spread"] is None
    assert found["iv_spread_pairs"] == 0


def option(right: str, strike: float, iv: float, **facts):
    return contract(right, strike, implied_volatility=iv, **{"price": 1.0, "open_interest": 5, **facts})


def skew(*contracts, shares=TRADED) -> float | None:
    found = smirk(lines(*contracts), shares)
    return found["iv_skew"][0] if found.height else None


def test_xing_zhang_zhao_takes_the_put_nearest_95_and_the_call_nearest_100_percent():
    chain = (
        option("P", 94, 0.50),  # nearest 0.95
        option("P", 85, 0.60),
        option("P", 95, 0.99),  # not below 0.95
        option("C", 101, 0.40),  # nearest 1
        option("C", 97, 0.45),
        option("C", 106, 0.10),  # not below 1.05
    )
    assert skew(*chain) == pytest.approx(0.10, abs=1e-6)


@pytest.mark.parametrize(
    "filtered",
    [
        {"dte": 9},
        {"dte": 61},
        {"iv": 0.03},
        {"iv": 2.0},
        {"price": 0.125},
        {"open_interest": 0},
        {"is_adjusted": True},
    ],
)
def test_its_filters_leave_a_line_out(filtered: dict):
    """The put at 94 falls to the filter, so that the one at 90 stands in."""
    facts = {"iv": 0.50} | filtered
    chain = (option("P", 94, **facts), option("P", 90, 0.55), option("C", 100, 0.40))
    assert skew(*chain) == pytest.approx(0.15, abs=1e-6)


def test_a_stock_that_did_not_trade_has_no_skew():
    chain = (option("P", 94, 0.50), option("C", 100, 0.40))
    assert skew(*chain, shares=TRADED.with_columns(stock_volume=0.0)) is None
    assert skew(chain[0]) is None


def test_equally_near_lines_of_several_expirations_are_averaged():
    chain = (option("P", 94, 0.50), option("P", 94, 0.54, dte=50), option("C", 100, 0.40))
    assert skew(*chain) == pytest.approx(0.12, abs=1e-6)


def surface(day: date, levels: dict[int, float], reversal: float = -0.02) -> pl.DataFrame:
    return frame(
        IV_SURFACE,
        [
            {
                "session": day,
                "underlying": "A",
                "tenor_days": tenor,
                "atm_volatility": level,
                "risk_reversal_25": reversal,
                "butterfly_25": 0.005,
            }
            for tenor, level in levels.items()
        ],
    )


def test_levels_slope_and_changes_of_the_surface():
    now = surface(SESSION, {7: 0.50, 30: 0.40, 90: 0.35})
    earlier = pl.concat(
        [
            surface(calendar.previous_session(SESSION), {30: 0.38, 90: 0.36}, reversal=-0.03),
            surface(calendar.previous_session(SESSION, 5), {30: 0.30, 90: 0.28}),
        ]
    )
    found = only(surface_features(now, earlier, SESSION))
    expected = {
        "iv_7": 0.50,
        "iv_30": 0.40,
        "iv_90": 0.35,
        "iv_term_slope": -0.05,
        "risk_reversal_25": -0.02,
        "butterfly_25": 0.005,
        "iv_30_change_1": 0.02,
        "iv_30_change_5": 0.10,
        "iv_term_slope_change_1": -0.03,
        "iv_term_slope_change_5": -0.03,
        "risk_reversal_25_change_1": 0.01,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_change_needs_exactly_the_session_it_is_against():
    earlier = surface(calendar.previous_session(SESSION, 2), {30: 0.38})
    assert only(surface_features(surface(SESSION, {30: 0.4}), earlier, SESSION))["iv_30_change_1"] is None


def test_percentile_is_the_share_of_sessions_below():
    history = pl.DataFrame({"underlying": "A", "iv_30": [0.20] * 15 + [0.30] * 5})
    now = pl.DataFrame({"underlying": ["A"], "iv_30": [0.30]})
    assert only(percentile(now, history))["iv_30_percentile_60"] == 0.75
    assert only(percentile(now, history.head(19)))["iv_30_percentile_60"] is None


def test_variance_risk_premium_and_its_volatility_form():
    """0.30^2 - 0.20^2 = 0.05; Bali and Hovakimian's realised less implied is -0.10."""
    levels = pl.DataFrame({"underlying": ["A"], "iv_30": [0.30]})
    realised = pl.DataFrame({"underlying": ["A"], "realised_volatility_20": [0.20]})
    found = only(premium_features(levels, realised))
    assert found["variance_risk_premium"] == pytest.approx(0.05)
    assert found["realised_implied_spread"] == pytest.approx(-0.10)
