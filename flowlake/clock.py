"""What time it is in the market: the real time, or that of a simulated day which passes faster.

Everything that decides by the time of day (which snapshot is due, whether a session is over, quiet hours) asks here, so
that a whole day can be tried in minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flowlake.settings import ClockSettings, get_settings


def _real_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class MarketClock:
    """A clock that showed `start_market` at `start_real` and runs `speed` times as fast as real time."""

    start_real: datetime | None = None
    start_market: datetime | None = None
    speed: float = 1.0
    real_now: Callable[[], datetime] = _real_now

    def now(self) -> datetime:
        """The market's time, UTC."""
        return self.market(self.real_now())

    def market(self, real: datetime) -> datetime:
        """The market's time at the real moment `real`."""
        if self.start_real is None or self.start_market is None:
            return real.astimezone(UTC)
        return (self.start_market + (real - self.start_real) * self.speed).astimezone(UTC)

    def real_seconds(self, span: timedelta) -> float:
        """Real seconds in which `span` of market time passes."""
        return span.total_seconds() / (self.speed if self.is_scaled else 1.0)

    def poll_seconds(self, seconds: float) -> int:
        """Real seconds, at least one, between looks that are `seconds` of market time apart."""
        return max(1, round(self.real_seconds(timedelta(seconds=seconds))))

    @property
    def is_scaled(self) -> bool:
        """Whether this is a simulation's clock, not the time."""
        return self.start_real is not None


def market_clock(settings: ClockSettings | None = None) -> MarketClock:
    """The clock of `settings`, by default the process's."""
    chosen = settings or get_settings().clock
    return MarketClock(chosen.start_real, chosen.start_market, chosen.speed)
