"""European volatility and Greeks, against prices in extended precision."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.options import Status, black, black_price, greeks, implied_volatility, volatility_and_greeks
from flowlake.options.engine import Engine
from flowlake_tests.options.extended import DIGITS, Case, arrays, price, random_cases, spot_price

ENGINES: tuple[Engine, ...] = ("numpy", "numba")
CASES = random_cases(1_500, seed=1)


def solve(cases: list[Case], engine: Engine):
    prices = np.array([price(case) for case in cases])
    return implied_volatility(prices, **arrays(cases), engine=engine)


def test_the_mills_ratio_is_exact_to_rounding():
    z = np.concatenate([np.linspace(0, 12, 300), np.geomspace(12, 1e4, 60)])
    with mp.workdps(DIGITS):
        exact = [mp.sqrt(mp.pi / 2) * mp.exp(mp.mpf(x) ** 2 / 2) * mp.erfc(mp.mpf(x) / mp.sqrt(2)) for x in z.tolist()]
    np.testing.assert_allclose(black.mills_ratio(z), np.array(exact, dtype=float), rtol=1.2e-15)


def test_the_first_guess_is_within_a_ten_thousandth_so_that_two_steps_are_enough():
    rng = np.random.default_rng(3)
    s = np.exp(rng.uniform(np.log(0.004), np.log(2.0), 20_000))
    k = np.minimum(rng.uniform(0, 6, s.size) * s, 1.99)
    ones = np.ones(s.size)
    value = black_price(s, ones, np.exp(k), ones, ones, np.ones(s.size, bool))
    usable = value > 1e-12
    guess = black._guess(value[usable], ones[usable], np.exp(k[usable]))
    assert np.max(np.abs(guess / s[usable] - 1)) < 1.5e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_out_of_the_money_volatility_comes_back_within_1e_12_and_no_row_fails(engine):
    cases = [case for case in CASES if case.out_of_the_money]
    volatility, status = solve(cases, engine)
    assert (status == Status.OK).all()
    assert np.max(np.abs(volatility - [case.volatility for case in cases])) <= 1e-12


@pytest.mark.parametrize("engine", ENGINES)
def test_in_the_money_volatility_is_right_to_1e_6_or_carries_a_status(engine):
    cases = [case for case in CASES if not case.out_of_the_money]
    volatility, status = solve(cases, engine)
    solved = status == Status.OK
    assert solved.mean() > 0.6
    assert np.max(np.abs(volatility - [case.volatility for case in cases])[solved]) <= 1e-6
    assert np.isnan(volatility[~solved]).all()
    assert set(status[~solved].tolist()) <= {Status.BELOW_INTRINSIC, Status.IMPRECISE}


@given(
    spot=st.floats(5, 600),
    moneyness=st.floats(0.5, 2.0),
    years=st.floats(0.5 / 365, 2.5),
    volatility=st.floats(0.05, 3.0),
    rate=st.floats(-0.02, 0.1),
    is_call=st.booleans(),
)
@settings(max_examples=250, deadline=None)
def test_any_price_of_the_market_range_gives_its_volatility_or_a_status(
    spot, moneyness, years, volatility, rate, is_call
):
    discount = float(np.exp(-rate * years))
    case = Case(spot, spot / discount, spot * moneyness, years, discount, is_call, volatility)
    value = price(case)
    solved, status = implied_volatility(value, **arrays([case]), engine="numpy")
    if case.out_of_the_money and value > 1e-250:
        assert status[0] == Status.OK
        assert abs(solved[0] - volatility) <= 1e-12
    elif status[0] == Status.OK:
        assert abs(solved[0] - volatility) <= 1e-6
    else:
        assert np.isnan(solved[0])


def test_contracts_with_one_minute_left_are_solved():
    minute = 1 / 525_600
    cases = [
        Case(100.0, 100.0, strike, minute, 1.0, strike >= 100, volatility)
        for strike in (99.9, 99.99, 100.0, 100.01, 100.2)
        for volatility in (0.1, 0.5, 3.0)
    ]
    cases = [case for case in cases if price(case) > 1e-250]
    volatility, status = solve(cases, "numpy")
    assert (status == Status.OK).all()
    np.testing.assert_allclose(volatility, [case.volatility for case in cases], rtol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"price": 0.0}, Status.NO_PRICE),
        ({"price": -1.0}, Status.NO_PRICE),
        ({"price": np.nan}, Status.NO_PRICE),
        ({"price": np.inf}, Status.NO_PRICE),
        ({"forward": np.nan}, Status.NO_FORWARD),
        ({"forward": 0.0}, Status.NO_FORWARD),
        ({"strike": -5.0}, Status.NO_FORWARD),
        ({"discount": 0.0}, Status.NO_FORWARD),
        ({"years": 0.0}, Status.EXPIRED),
        ({"years": -0.1}, Status.EXPIRED),
        ({"years": np.nan}, Status.EXPIRED),
        ({"price": 9.99}, Status.BELOW_INTRINSIC),
        ({"price": 110.0}, Status.ABOVE_BOUND),
        ({"price": 10.0 + 4e-15}, Status.IMPRECISE),
        ({"price": 12.0}, Status.OK),
    ],
)
def test_a_row_that_cannot_be_solved_says_why(change, expected, engine):
    row = {"price": 12.0, "forward": 110.0, "strike": 100.0, "years": 0.25, "discount": 1.0, "is_call": True} | change
    volatility, status, values = volatility_and_greeks(**row, spot=105.0, engine=engine)
    assert Status(status[0]) == expected
    assert np.isnan(volatility[0]) == (expected != Status.OK)
    assert all(np.isnan(value[0]) == (expected != Status.OK) for value in values)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_greek_equals_the_derivative_of_the_price(engine):
    cases = [case for case in random_cases(160, seed=8) if price(case) > 1e-6 * case.strike]
    prices = np.array([price(case) for case in cases])
    spots = np.array([case.spot for case in cases])
    _, status, values = volatility_and_greeks(prices, **arrays(cases), spot=spots, engine=engine)
    checked = 0
    for i, case in enumerate(cases):
        if status[i] != Status.OK or not case.out_of_the_money:
            continue
        expected = derivatives(case)
        for name, want in expected.items():
            # Some Greeks change sign: what is near zero is compared on the scale of the terms that cancel in it.
            scale = abs(want) + 1e-4 * TYPICAL[name](case)
            assert abs(getattr(values, name)[i] - want) <= 1e-8 * scale, (name, case)
        checked += 1
    assert checked > 40


TYPICAL = {
    "delta": lambda case: 1e-4,
    "gamma": lambda case: 1e-4 / case.spot,
    "theta": lambda case: case.spot * case.volatility / 365 / case.years**0.5,
    "vega": lambda case: case.spot * case.years**0.5 / 100,
    "rho": lambda case: case.strike * case.years / 100,
    "vanna": lambda case: 0.01,
    "charm": lambda case: 1 / case.years / 365,
}


def derivatives(case: Case) -> dict[str, float]:
    with mp.workdps(DIGITS):
        point = (mp.mpf(case.spot), mp.mpf(case.years), mp.mpf(case.volatility))
        rate, carry = case.rate(), case.carry()

        def value(spot, years, volatility):
            return spot_price(case, spot, years, volatility, rate, carry)

        def of_rate(shift):
            return spot_price(case, *point, rate + shift, carry + shift)

        return {
            "delta": float(mp.diff(value, point, (1, 0, 0))),
            "gamma": float(mp.diff(value, point, (2, 0, 0))),
            "theta": float(-mp.diff(value, point, (0, 1, 0)) / 365),
            "vega": float(mp.diff(value, point, (0, 0, 1)) / 100),
            "rho": float(mp.diff(of_rate, 0) / 100),
            "vanna": float(mp.diff(value, point, (1, 0, 1)) / 100),
            "charm": float(-mp.diff(value, point, (1, 1, 0)) / 365),
        }


def test_greeks_of_a_given_volatility_are_those_of_its_price():
    rng = np.random.default_rng(2)
    n = 2_000
    forward, strike = rng.uniform(90, 110, n), rng.uniform(80, 120, n)
    years, volatility = rng.uniform(0.05, 1, n), rng.uniform(0.2, 1, n)
    inputs = {"forward": forward, "strike": strike, "years": years, "discount": np.exp(-0.04 * years)}
    inputs["is_call"] = strike >= forward
    prices = black_price(volatility, **inputs)
    _, _, from_price = volatility_and_greeks(prices, **inputs, spot=forward * 0.99)
    for name, value in greeks(volatility, **inputs, spot=forward * 0.99)._asdict().items():
        np.testing.assert_allclose(getattr(from_price, name), value, rtol=1e-9, atol=1e-11, err_msg=name)


def test_a_call_less_its_put_is_the_discounted_forward():
    years = np.full(50, 0.3)
    strike = np.linspace(50, 200, 50)
    legs = [
        black_price(np.full(50, 0.4), np.full(50, 101.0), strike, years, np.full(50, 0.98), np.full(50, side))
        for side in (True, False)
    ]
    np.testing.assert_allclose(legs[0] - legs[1], 0.98 * (101.0 - strike), rtol=1e-12, atol=1e-12)
