"""American exercise with dated dividends: against fine trees, against NumPy, and against what must be true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.options import Status, black_price, implied_volatility
from flowlake.options.american import (
    LONG_STEPS,
    Contracts,
    Schedule,
    american_price,
    default_steps,
    exercise_matters,
    numpy_premiums,
    solve,
)
from flowlake.options.engine import american_volatility_and_greeks, premiums

RATE = 0.043
FINE = 2_001
grow = premiums("numba")


def contracts(count: int, *, seed: int, dividends: bool = True, borrow: float = 0.0, rate: float = RATE):
    """Plausible American options with quarterly cash dividends, and their volatilities."""
    rng = np.random.default_rng(seed)
    spot = np.exp(rng.uniform(np.log(5), np.log(600), count))
    years = np.exp(rng.uniform(np.log(7 / 365), np.log(2), count))
    volatility = np.exp(rng.uniform(np.log(0.12), np.log(0.9), count))
    strike = spot * np.exp(rng.normal(size=count).clip(-2, 2) * volatility * np.sqrt(years)).clip(0.6, 1.6)
    paid = np.ceil(years * 4).astype(np.int64) if dividends else np.zeros(count, np.int64)
    last = np.cumsum(paid)
    first = last - paid
    row = np.repeat(np.arange(count), paid)
    quarter = np.arange(paid.sum()) - first[row]
    ex_years = np.minimum((quarter + rng.random(count)[row]) * 0.25, 0.95 * years[row])
    cash = spot[row] * rng.uniform(0.0015, 0.012, count)[row]
    schedule = Schedule(first, last, ex_years, cash)
    escrow, _ = schedule.present_values(np.full(count, rate))
    forward = (spot - escrow) * np.exp((rate - borrow) * years)
    is_call = rng.random(count) < 0.5
    return Contracts.of(spot, forward, strike, years, np.exp(-rate * years), is_call, schedule), volatility


def european(batch: Contracts, volatility: np.ndarray) -> np.ndarray:
    return black_price(volatility, batch.forward, batch.strike, batch.years, batch.discount, batch.is_call)


def solved(batch: Contracts, price: np.ndarray):
    seed, _ = implied_volatility(price, batch.forward, batch.strike, batch.years, batch.discount, batch.is_call)
    return american_volatility_and_greeks(price, batch, seed)


def fine_price(batch: Contracts, volatility: np.ndarray, steps: int = FINE) -> np.ndarray:
    return american_price(batch, volatility, steps=np.full(volatility.size, steps, dtype=np.int64), premiums=grow)


def out_of_the_money(batch: Contracts) -> np.ndarray:
    return batch.is_call == (batch.strike >= batch.forward)


def test_compiled_and_numpy_trees_are_the_same():
    batch, volatility = contracts(300, seed=1)
    steps = default_steps(batch)
    one, other = grow(batch, volatility, steps), numpy_premiums(batch, volatility, steps)
    for name in ("value", "delta", "gamma", "charm"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-9, err_msg=name)


def test_volatility_of_a_fine_trees_price_is_recovered():
    batch, volatility = contracts(600, seed=2)
    found, status, _ = solved(batch, fine_price(batch, volatility))
    otm = out_of_the_money(batch)
    error = np.abs(found - volatility) * 100
    assert (status[otm] == Status.OK).all()
    assert np.quantile(error[otm], 0.5) < 0.02, "volatility points"
    assert np.quantile(error[otm], 0.99) < 0.12
    usable = ~otm & (status == Status.OK)
    assert np.quantile(error[usable], 0.5) < 0.06


def test_more_steps_come_closer():
    batch, volatility = contracts(200, seed=3)
    fine = fine_price(batch, volatility)
    errors = [np.mean(np.abs(fine_price(batch, volatility, n) - fine) / batch.spot) for n in (25, 51, 101, 201)]
    assert errors == sorted(errors, reverse=True)


def test_a_call_without_dividend_or_borrow_is_european():
    batch, volatility = contracts(100, seed=4, dividends=False)
    calls = batch.rows(np.flatnonzero(batch.is_call))
    sigma = volatility[batch.is_call]
    assert not exercise_matters(calls, sigma).any()
    np.testing.assert_allclose(fine_price(calls, sigma, 101), european(calls, sigma), rtol=1e-12, atol=1e-12)


def test_a_put_without_interest_is_european():
    batch, volatility = contracts(100, seed=4, dividends=False, rate=0.0)
    puts = batch.rows(np.flatnonzero(~batch.is_call))
    sigma = volatility[~batch.is_call]
    assert not exercise_matters(puts, sigma).any()
    np.testing.assert_allclose(fine_price(puts, sigma, 101), european(puts, sigma), rtol=1e-9, atol=1e-9)


def test_where_exercise_is_said_not_to_matter_the_tree_agrees():
    batch, volatility = contracts(400, seed=5, dividends=False, borrow=0.02)
    idle = ~exercise_matters(batch, volatility)
    assert idle.sum() > 20
    premium = grow(batch, volatility, np.full(volatility.size, LONG_STEPS)).value
    assert np.max(premium[idle] / batch.spot[idle]) < 1e-9


@given(
    moneyness=st.floats(0.7, 1.4),
    years=st.floats(0.02, 2.0),
    volatility=st.floats(0.1, 1.2),
    cash=st.floats(0.0, 2.0),
    ex_share=st.floats(0.05, 0.95),
    is_call=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_value_bounds_and_round_trip_hold_everywhere(moneyness, years, volatility, cash, ex_share, is_call):
    schedule = Schedule(np.array([0]), np.array([1]), np.array([ex_share * years]), np.array([cash]))
    discount = np.exp(-RATE * np.array([years]))
    escrow, _ = schedule.present_values(np.array([RATE]))
    batch = Contracts.of(
        np.array([100.0]),
        (100.0 - escrow) / discount,
        np.array([100.0 * moneyness]),
        np.array([years]),
        discount,
        np.array([is_call]),
        schedule,
    )
    sigma = np.array([volatility])
    price = american_price(batch, sigma, premiums=grow)
    exercise = max((100.0 - batch.strike[0]) * (1 if is_call else -1), 0.0)
    assert price[0] >= european(batch, sigma)[0] - 1e-12
    assert price[0] >= exercise
    found, status, _ = solved(batch, price)
    if status[0] == Status.OK:
        again = american_price(batch, found, premiums=grow)
        assert again[0] == pytest.approx(price[0], abs=2e-4 * 100.0 * volatility)
    else:
        # At the lower bound (exercise now, after the ex-date or at expiry) no volatility moves the price.
        calmer = american_price(batch, 0.9 * sigma, premiums=grow)
        assert status[0] in (Status.BELOW_INTRINSIC, Status.IMPRECISE)
        assert price[0] - calmer[0] < 1e-3
        assert np.isnan(found[0])


def test_greeks_are_the_derivatives_of_a_fine_trees_price():
    batch, volatility = contracts(250, seed=6)
    keep = np.flatnonzero(out_of_the_money(batch) & (european(batch, volatility) > 0.005 * batch.spot))
    batch, volatility = batch.rows(keep), volatility[keep]
    _, status, values = solved(batch, fine_price(batch, volatility))
    assert (status == Status.OK).all()
    expected = bumped(batch, volatility)
    spot, years = batch.spot, batch.years
    tolerance = {  # absolute, at the 99th percentile
        "delta": 0.004,
        "gamma": 0.03 / (spot * volatility * np.sqrt(years)),
        "theta": 0.03 * spot * volatility / np.sqrt(years) / 365,
        "vega": 0.02 * spot * np.sqrt(years) / 100,
        "rho": 0.03 * spot * years / 100,
    }
    for name, want in expected.items():
        miss = np.abs(getattr(values, name) - want) / tolerance[name]
        assert np.quantile(miss, 0.99) < 1, (name, np.quantile(miss, [0.5, 0.9, 0.99]))


def bumped(batch: Contracts, volatility: np.ndarray) -> dict[str, np.ndarray]:
    """Central differences of a fine tree in spot, volatility, rate and calendar time (dividend dates come nearer)."""

    def value(spot=1.0, sigma=0.0, rate=0.0, days=0.0):
        schedule = batch.dividends
        years = batch.years - days / 365
        moved = Schedule(schedule.first, schedule.last, schedule.ex_years - days / 365, schedule.cash)
        new_rate = batch.rate + rate
        escrow, _ = moved.present_values(new_rate)
        forward = (batch.spot * spot - escrow) * np.exp((batch.carry + rate) * years)
        changed = Contracts.of(
            batch.spot * spot, forward, batch.strike, years, np.exp(-new_rate * years), batch.is_call, moved
        )
        return fine_price(changed, volatility + sigma, 1_001)

    h, step = 0.01, batch.spot * 0.01
    up, middle, down = value(spot=1 + h), value(), value(spot=1 - h)
    return {
        "delta": (up - down) / (2 * step),
        "gamma": (up - 2 * middle + down) / step**2,
        "theta": (value(days=0.25) - value(days=-0.25)) / 0.5,
        "vega": (value(sigma=0.01) - value(sigma=-0.01)) / 2,
        "rho": (value(rate=0.01) - value(rate=-0.01)) / 2,
    }


def test_prices_outside_the_bounds_get_a_status():
    batch, _ = contracts(50, seed=9)
    sign = np.where(batch.is_call, 1.0, -1.0)
    exercise = np.maximum(sign * (batch.spot - batch.strike), 0.0)
    found, status, _ = solve(exercise, batch, np.full(50, np.nan), grow)
    assert (status == Status.BELOW_INTRINSIC).all()
    assert np.isnan(found).all()
    most = np.where(batch.is_call, batch.spot, batch.strike)
    _, status, _ = solve(most, batch, np.full(50, np.nan), grow)
    assert (status == Status.ABOVE_BOUND).all()


def test_a_put_worth_more_alive_than_european_intrinsic_allows_is_solved_without_a_seed():
    batch, _ = contracts(400, seed=10, dividends=False)
    puts = batch.rows(np.flatnonzero(~batch.is_call & (batch.strike > 1.03 * batch.spot) & (batch.years > 0.5)))
    sigma = np.full(puts.spot.size, 0.15)
    price = american_price(puts, sigma, premiums=grow)
    least = puts.discount * (puts.strike - puts.forward)
    below = np.flatnonzero((price < least) & (price > puts.strike - puts.spot + 1e-4 * puts.strike))
    seedless = np.full(puts.spot.size, np.nan)
    found, status, _ = solve(price, puts, seedless, grow)
    usable = status == Status.OK
    assert usable.any()
    assert below.size == 0
    np.testing.assert_allclose(found[usable], 0.15, atol=1e-3)
