"""What assets are given from outside knows which moment the vendor still shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from flowlake.defs.resources import MarketResource
from flowlake.settings import get_settings

SESSION = date(2026, 7, 2)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[MarketResource]:
    monkeypatch.setenv("FLOWLAKE_API__REPLAY", "false")
    get_settings.cache_clear()
    yield MarketResource()
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("now", "reset"),
    [
        (datetime(2026, 7, 2, 20, 50, tzinfo=UTC), False),
        (datetime(2026, 7, 3, 7, 29, tzinfo=UTC), False),
        (datetime(2026, 7, 3, 7, 30, tzinfo=UTC), True),
        (datetime(2026, 7, 6, 12, 0, tzinfo=UTC), True),
    ],
)
def test_the_stock_snapshot_is_gone_at_half_past_three_new_york(
    now: datetime, reset: bool, live: MarketResource, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(MarketResource, "now", lambda self: now)
    assert live.stocks_are_reset(SESSION) == reset


def test_a_sandbox_forgets_nothing_and_is_asked_after_the_close(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOWLAKE_API__REPLAY", "true")
    get_settings.cache_clear()
    market = MarketResource()
    assert not market.stocks_are_reset(SESSION)
    asked = market.as_of(SESSION)
    assert asked is not None
    assert asked - datetime(2026, 7, 2, 20, tzinfo=UTC) == timedelta(minutes=20)
    get_settings.cache_clear()


def test_the_vendor_is_asked_for_now(live: MarketResource):
    assert live.as_of(SESSION) is None
