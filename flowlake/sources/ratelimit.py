"""How fast a source may be asked: a token bucket with a global pause, a circuit breaker, back-off between tries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from flowlake.sources.errors import CircuitOpen


@dataclass(frozen=True)
class Timing:
    """The clocks, the sleep and the randomness a client uses, so that tests can replace them."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = random.uniform


class TokenBucket:
    """At most `burst` requests at once and `per_second` on average, for all coroutines together (GCRA form)."""

    def __init__(self, per_second: float, burst: int, timing: Timing) -> None:
        self._interval = 1.0 / per_second
        self._slack = self._interval * (burst - 1)
        self._timing = timing
        self._arrival = float("-inf")
        self._paused_until = float("-inf")

    def _reserve(self) -> float:
        now = self._timing.monotonic()
        arrival = max(self._arrival, now)
        self._arrival = arrival + self._interval
        return max(arrival - self._slack, now)

    async def take(self) -> None:
        """Wait for this caller's turn; a pause that begins meanwhile moves the turn behind it."""
        turn = self._reserve()
        while (wait := turn - self._timing.monotonic()) > 0:
            await self._timing.sleep(wait)
            if self._paused_until > self._timing.monotonic():
                turn = self._reserve()

    def pause(self, seconds: float) -> None:
        """Let nobody through for `seconds`; afterwards requests start one by one, without a burst."""
        until = self._timing.monotonic() + seconds
        self._paused_until = max(self._paused_until, until)
        self._arrival = max(self._arrival, until + self._slack)


class CircuitBreaker:
    """Counts failures in a row over all requests.

    Every `threshold` of them pause everybody, twice as long each time; `trips` pauses in a row open the circuit.
    """

    def __init__(self, threshold: int, trips: int, cooldown_seconds: float) -> None:
        self._threshold = threshold
        self._limit = threshold * trips
        self._cooldown = cooldown_seconds
        self._failures = 0
        self._last: Exception | None = None

    def check(self) -> None:
        """Raise `CircuitOpen` once the server has failed too often in a row."""
        if self._failures >= self._limit:
            raise CircuitOpen(
                f"the server failed {self._failures} times in a row, no more requests are sent: {self._last}"
            ) from self._last

    def succeeded(self) -> None:
        """Forget the failures so far."""
        self._failures = 0

    def failed(self, error: Exception) -> float:
        """Count a failure; the seconds that everyone should pause for (0 below the threshold)."""
        self._failures += 1
        self._last = error
        trips, remainder = divmod(self._failures, self._threshold)
        return 0.0 if remainder else self._cooldown * 2 ** (trips - 1)


def full_jitter(
    attempt: int, base_seconds: float, cap_seconds: float, uniform: Callable[[float, float], float]
) -> float:
    """Back-off before try `attempt + 1`: uniform in 0 .. min(cap, base * 2**(attempt - 1)).

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return uniform(0.0, min(cap_seconds, base_seconds * 2.0 ** (attempt - 1)))
