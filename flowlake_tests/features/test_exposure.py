"""Notionals, gamma exposure, the zero-gamma level and max pain."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.features.exposure import exposure_features, gamma_by_strike, max_pain, nearest_sign_change, zero_gamma
from flowlake_tests.features.chains import contract, lines, only


def features(*contracts) -> dict:
    chain = lines(*contracts)
    return only(exposure_features(chain, gamma_by_strike(chain)))


def test_delta_and_vega_notional_of_what_traded():
    """Calls 10 x 0.5 x 100 x 100 = 50,000; puts 20 x -0.25 x 100 x 100 = -50,000 ... and vega 0.1 x M x V."""
    found = features(
        contract("C", 100, volume=10, delta=0.5, vega=0.125),
        contract("P", 100, volume=30, delta=-0.25, vega=0.125),
        contract("P", 90, volume=70),  # no Greeks: left out
    )
    assert found["call_delta_notional_usd"] == 50_000.0
    assert found["put_delta_notional_usd"] == -75_000.0
    assert found["net_delta_notional_usd"] == -25_000.0
    assert found["call_vega_notional_usd"] == 125.0
    assert found["put_vega_notional_usd"] == 375.0


GAMMAS = (
    contract("C", 100, open_interest=50, gamma=0.0625),
    contract("C", 110, open_interest=80, gamma=0.03125),
    contract("P", 100, open_interest=20, gamma=0.0625),
    contract("P", 90, open_interest=100, gamma=0.03125),
    contract("P", 80, open_interest=40),  # no gamma: left out
)


def test_gamma_exposure_by_strike_counts_calls_long_and_puts_short():
    """Per contract OI x gamma x 100 x 100^2 / 100 = OI x gamma x 10,000."""
    found = gamma_by_strike(lines(*GAMMAS))
    assert found["strike"].to_list() == [90.0, 100.0, 110.0]
    assert found["gamma_exposure_usd"].to_list() == [-31_250.0, 31_250.0 - 12_500.0, 25_000.0]
    assert found["call_open_interest"].to_list() == [0, 50, 80]


def test_its_totals_and_its_peak():
    found = features(*GAMMAS)
    assert found["call_gamma_exposure_usd"] == 56_250.0
    assert found["put_gamma_exposure_usd"] == -43_750.0
    assert found["gamma_exposure_usd"] == 12_500.0
    assert found["gamma_peak_strike"] == 90.0


def black_gamma_exposure(spot: float, chain: pl.DataFrame) -> float:
    """Straight from the textbook, contract by contract: sign x OI x M x gamma(S) x S^2."""
    total = 0.0
    for row in chain.iter_rows(named=True):
        deviation = row["implied_volatility"] * row["years"] ** 0.5
        forward = row["forward"] * spot / row["spot"]
        d1 = np.log(forward / row["strike"]) / deviation + deviation / 2
        density = np.exp(-d1 * d1 / 2) / np.sqrt(2 * np.pi)
        gamma = row["discount"] * (row["forward"] / row["spot"]) ** 2 * density / (forward * deviation)
        total += (1 if row["right"] == "C" else -1) * row["open_interest"] * row["multiplier"] * gamma * spot**2
    return total


def held(right: str, strike: float, interest: int, iv: float = 0.3, **facts):
    return contract(right, strike, open_interest=interest, implied_volatility=iv, gamma=0.01, **facts)


def test_at_the_zero_gamma_level_the_textbook_total_changes_sign():
    chain = lines(held("C", 110, 100), held("P", 90, 120, 0.35), held("C", 100, 30, dte=60), held("P", 95, 40))
    found = only(zero_gamma(chain))
    level = found["zero_gamma_level"]
    assert found["zero_gamma_distance"] == pytest.approx(level / 100 - 1)
    assert black_gamma_exposure(level * 0.99, chain) < 0 < black_gamma_exposure(level * 1.01, chain)
    scale = abs(black_gamma_exposure(level * 1.05, chain))
    assert abs(black_gamma_exposure(level, chain)) < 0.02 * scale


def test_equal_call_and_put_cancel_half_way_between_their_strikes():
    """Same open interest and IV at K1 and K2: phi(d1) is equal where ln(F/K1) + ln(F/K2) = -s^2."""
    found = only(zero_gamma(lines(held("C", 110, 50), held("P", 90, 50))))
    s = 0.3 * (30 / 365) ** 0.5
    assert found["zero_gamma_level"] == pytest.approx((110 * 90) ** 0.5 * np.exp(-s * s / 2), rel=5e-4)


def test_calls_alone_have_no_zero_gamma_level():
    found = features(held("C", 100, 50))
    assert found["zero_gamma_level"] is None
    assert found["zero_gamma_distance"] is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=5, max_size=5))
def test_a_sign_change_lies_between_two_moves_of_opposite_sign(values: list[float]):
    moves = np.array([-0.2, -0.1, 0.0, 0.1, 0.2])
    (at,) = nearest_sign_change(moves, np.array(values)[:, None])
    signs = [a * b < 0 for a, b in itertools.pairwise(values)]
    assert np.isnan(at) != any(signs)
    if any(signs):
        interval = min(np.searchsorted(moves, at, side="right") - 1, 3)
        assert signs[interval] or np.isclose(at, moves).any()


def test_max_pain_by_hand():
    """At 90 puts cost 10 x 10 + 20 x 10; at 100: calls 10 x 10, puts 5 x 10 ...: the least is 100.

    Open: calls 90: 10, 100: 10; puts 100: 10, 110: 20.
    At 90: puts 10 x 10 + 20 x 20 = 500. At 100: calls 100, puts 200 = 300. At 110: calls 200 + 100 = 300.
    Two strikes tie at 300: the lower one.
    """
    chain = lines(
        contract("C", 90, open_interest=10),
        contract("C", 100, open_interest=10),
        contract("P", 100, open_interest=10),
        contract("P", 110, open_interest=20),
    )
    found = only(max_pain(chain))
    assert found["max_pain_strike"] == 100.0
    assert found["max_pain_distance"] == 0.0
    assert found["max_pain_days"] == 30


def test_max_pain_is_that_of_the_most_open_expiration_within_45_days():
    chain = lines(
        contract("C", 95, dte=10, open_interest=10),
        contract("C", 105, dte=40, open_interest=11),
        contract("C", 120, dte=50, open_interest=999),
        contract("C", 130, dte=0, open_interest=999),
    )
    found = only(max_pain(chain))
    assert found["max_pain_days"] == 40
    assert found["max_pain_strike"] == 105.0
    assert found["max_pain_distance"] == pytest.approx(0.05)


interest = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=8)


@settings(max_examples=30, deadline=None)
@given(interest)
def test_no_strike_hurts_less_than_max_pain(open_at: list[tuple[int, int]]):
    strikes = [80.0 + 5 * n for n in range(len(open_at))]
    chain = [contract("C", k, open_interest=c) for k, (c, _) in zip(strikes, open_at, strict=True)]
    chain += [contract("P", k, open_interest=p) for k, (_, p) in zip(strikes, open_at, strict=True)]

    def pain(at: float) -> float:
        return sum(c * max(at - k, 0) + p * max(k - at, 0) for k, (c, p) in zip(strikes, open_at, strict=True))

    listed = [k for k, (c, p) in zip(strikes, open_at, strict=True) if c + p]
    found = max_pain(lines(*chain))
    assert found.height == bool(listed)
    if listed:
        assert pain(found["max_pain_strike"][0]) == min(pain(k) for k in listed)
