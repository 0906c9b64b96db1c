"""The simulated surface prices without arbitrage, and its quotes always bracket the price they stand round."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.sandbox.simulator.config import RISK_FREE_RATE
from flowlake.sandbox.simulator.flow import dispersion, volume_clock
from flowlake.sandbox.simulator.surface import Smile, at_the_money, quotes, smile_volatility, value

STRIKES = np.exp(np.linspace(np.log(0.4), np.log(2.5), 160)) * 100.0


def priced(volatility: float, years: float, slope: float, curvature: float, is_put: bool):
    smile = Smile(np.full_like(STRIKES, slope), np.full_like(STRIKES, curvature))
    forward, term = np.full_like(STRIKES, 100.0), np.full_like(STRIKES, years)
    sigma = smile_volatility(np.full_like(STRIKES, volatility), forward, STRIKES, term, smile)
    spot = forward * np.exp(-RISK_FREE_RATE * years)
    european = np.zeros(len(STRIKES), bool)
    return value(np.full(len(STRIKES), is_put), spot, forward, STRIKES, term, sigma, european)


surfaces = given(
    volatility=st.floats(0.08, 1.5),
    years=st.floats(1 / 365, 2.5),
    slope=st.floats(-0.16, -0.03),
    curvature=st.floats(0.04, 0.11),
)


@settings(max_examples=60, deadline=None)
@surfaces
def test_calls_fall_and_puts_rise_in_strike(volatility: float, years: float, slope: float, curvature: float) -> None:
    call = priced(volatility, years, slope, curvature, is_put=False).price
    put = priced(volatility, years, slope, curvature, is_put=True).price
    assert (np.diff(call) <= 1e-9).all()
    assert (np.diff(put) >= -1e-9).all()


@settings(max_examples=60, deadline=None)
@surfaces
def test_put_call_parity_and_greeks_signs_hold(volatility: float, years: float, slope: float, curvature: float) -> None:
    call = priced(volatility, years, slope, curvature, is_put=False)
    put = priced(volatility, years, slope, curvature, is_put=True)
    discount = np.exp(-RISK_FREE_RATE * years)
    np.testing.assert_allclose(call.price - put.price, discount * (100.0 - STRIKES), atol=1e-8)
    np.testing.assert_allclose(call.delta - put.delta, 1.0, atol=1e-9)
    assert (call.gamma >= 0).all() and (call.vega >= 0).all() and (put.delta <= 0).all()


@given(price=st.floats(0, 500), spot=st.floats(0.5, 8_000), illiquidity=st.floats(0, 1))
def test_quotes_bracket_the_price_on_whole_cents(price: float, spot: float, illiquidity: float) -> None:
    bid, ask = (float(side[0]) for side in quotes(np.array([price]), np.array([spot]), np.array([illiquidity])))
    assert 0 <= bid <= price + 1e-6 and price <= ask + 1e-6 and bid < ask
    assert round(bid * 100) == np.float64(bid * 100).round(6) and round(ask * 100) == np.float64(ask * 100).round(6)


@given(price=st.floats(0.5, 50), spot=st.floats(5, 500))
def test_quotes_widen_with_illiquidity(price: float, spot: float) -> None:
    bid, ask = quotes(np.full(2, price), np.full(2, spot), np.array([0.05, 0.95]))
    assert ask[1] - bid[1] >= ask[0] - bid[0]


def test_a_scheduled_release_lifts_short_volatility_most() -> None:
    years = np.array([7 / 365, 180 / 365])
    calm = at_the_money(np.full(2, 0.4), np.full(2, 0.4), years, np.zeros(2), np.full(2, 0.08))
    ahead = at_the_money(np.full(2, 0.4), np.full(2, 0.4), years, np.ones(2), np.full(2, 0.08))
    assert ahead[0] - calm[0] > 3 * (ahead[1] - calm[1]) > 0


def test_the_volume_clock_is_monotone_and_busiest_at_both_ends() -> None:
    shares = np.array([volume_clock(x) for x in np.linspace(0, 1, 27)])
    assert shares[0] == 0 and abs(shares[-1] - 1) < 1e-12
    steps = np.diff(shares)
    assert (steps > 0).all() and steps[0] > 2 * steps[13] and steps[-1] > 2 * steps[13]


def test_busy_lines_are_steadier_than_quiet_ones() -> None:
    assert (np.diff(dispersion(np.array([0.1, 1.0, 10.0, 1_000.0]))) > 0).all()
