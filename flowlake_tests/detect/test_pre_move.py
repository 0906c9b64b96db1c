from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from flowlake import calendar, schemas
from flowlake.detect.pre_move import HORIZONS, event_outcomes, event_sessions
from flowlake_tests.detect.markets import chain

SESSION = date(2026, 6, 30)


def event(session: date, direction: str = "bullish", spot: float = 100.0, volume: int = 500) -> pl.DataFrame:
    table = schemas.table("scored_events")
    line = {"contract_id": 5, "volume": volume, "open_interest": 100}
    row = {
        "session": session,
        "event_id": f"{session}",
        "underlying": "ABC",
        "direction": direction,
        "conviction": "HIGH",
        "spot": spot,
        "return_std": 0.02,
        "contracts": [line],
    }
    return pl.DataFrame([{**dict.fromkeys(table.schema), **row}], schema=table.schema, strict=False)


def outcome(horizon: int, *, spot_now: float = 110.0, interest_now: int = 450, actions=None, **about) -> dict:
    then = calendar.previous_session(SESSION, horizon)
    now = chain(SESSION, [{"contract_id": 5, "open_interest": interest_now, "spot": spot_now}])
    found = event_outcomes(SESSION, now, {then: event(then, **about)}, actions)
    assert found.height == 1
    return found.row(0, named=True)


def test_outcomes_become_known_one_three_five_and_ten_sessions_later():
    assert list(event_sessions(SESSION)) == list(HORIZONS) == [1, 3, 5, 10]
    events = {day: event(day) for day in event_sessions(SESSION).values()}
    events[calendar.previous_session(SESSION, 2)] = event(calendar.previous_session(SESSION, 2))
    found = event_outcomes(SESSION, chain(SESSION, [{"contract_id": 5}]), events)
    assert found["horizon_sessions"].sort().to_list() == [1, 3, 5, 10]
    assert found["session"].unique().to_list() == [SESSION]
    assert (found["event_session"] < SESSION).all()


def test_returns_are_signed_by_the_direction_and_scaled_by_the_horizon():
    row = outcome(5)
    assert row["signed_return"] == pytest.approx(0.10)
    assert row["z"] == pytest.approx(0.10 / (0.02 * 5**0.5))
    assert outcome(5, direction="bearish")["signed_return"] == pytest.approx(-0.10)
    assert outcome(5, direction="neutral")["signed_return"] is None


def test_the_next_mornings_open_interest_says_how_much_was_opened():
    row = outcome(1)
    assert (row["oi_change"], row["oi_confirmation"]) == (350, pytest.approx(0.7))
    assert outcome(3)["oi_confirmation"] is None


def test_a_split_between_event_and_outcome_is_no_move():
    action = {"ticker": ["ABC"], "kind": ["split"], "split_from": [1.0], "split_to": [10.0]}
    actions = pl.DataFrame({**action, "effective_on": [SESSION]})
    row = outcome(1, spot_now=10.0, actions=actions)
    assert row["signed_return"] == pytest.approx(0.0)
    assert row["oi_confirmation"] is None


def test_without_events_there_are_no_outcomes():
    assert event_outcomes(SESSION, chain(SESSION, [{"contract_id": 5}]), {}).is_empty()
