"""What the vendor's subscription plans may see: the sandbox gates its answers by them as the real API does."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import NamedTuple


class Entitlements(NamedTuple):
    """What one plan of one asset class includes."""

    requests_per_minute: int | None
    snapshots: bool
    trades: bool
    quotes: bool
    delay: timedelta
    history_years: int


_NOW, _DELAYED = timedelta(0), timedelta(minutes=15)


class Plan(Enum):
    """Subscription plans of the options and stocks products (vendor's plan table, July 2026)."""

    BASIC = Entitlements(5, snapshots=False, trades=False, quotes=False, delay=_DELAYED, history_years=2)
    STARTER = Entitlements(None, snapshots=True, trades=False, quotes=False, delay=_DELAYED, history_years=2)
    DEVELOPER = Entitlements(None, snapshots=True, trades=True, quotes=False, delay=_DELAYED, history_years=4)
    ADVANCED = Entitlements(None, snapshots=True, trades=True, quotes=True, delay=_NOW, history_years=20)

    @property
    def timeframe(self) -> str:
        """`timeframe` of the rows: 'REAL-TIME' or 'DELAYED'."""
        return "DELAYED" if self.value.delay else "REAL-TIME"

    @property
    def status(self) -> str:
        """Envelope `status` of aggregates: 'OK' or 'DELAYED'."""
        return "DELAYED" if self.value.delay else "OK"
