"""The market's clock: the time, or a simulated day that passes faster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from flowlake.clock import MarketClock, market_clock
from flowlake.settings import ClockSettings

REAL = datetime(2026, 11, 25, 20, 0, tzinfo=UTC)
OPEN = datetime(2026, 6, 9, 13, 30, tzinfo=UTC)


def test_by_default_it_is_the_time():
    clock = MarketClock(real_now=lambda: REAL)
    assert clock.now() == REAL
    assert clock.real_seconds(timedelta(minutes=2)) == 120


def test_a_simulated_day_passes_faster():
    clock = MarketClock(REAL, OPEN, 60, real_now=lambda: REAL + timedelta(seconds=15))
    assert clock.now() == OPEN + timedelta(minutes=15)
    assert clock.real_seconds(timedelta(minutes=15)) == 15
    assert (clock.poll_seconds(300), clock.poll_seconds(15)) == (5, 1)


def test_the_settings_make_the_clock():
    clock = market_clock(ClockSettings(start_real=REAL, start_market=OPEN, speed=30))
    assert clock.market(REAL + timedelta(minutes=1)) == OPEN + timedelta(minutes=30)


@pytest.mark.parametrize("wrong", [{"start_real": REAL}, {"start_real": REAL, "start_market": datetime(2026, 6, 9)}])
def test_a_clock_needs_both_moments_with_their_offsets(wrong: dict[str, datetime]):
    with pytest.raises(ValidationError, match="with its offset"):
        ClockSettings.model_validate(wrong)
