"""How fast a source may be asked: a token bucket with a global pause, a circuit breaker, back-off between tries."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from flowlake.sources.errors import CircuitOpen

SLOW_RATIO, SLOW_SECONDS = 4.0, 0.5
"""Answers are slow when they take so many times as long as they once did, and at least so long."""


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


class AdaptiveSlots:
    """Places for requests in flight, as many as the server answers well: an async context manager per request.

    Additive increase, multiplicative decrease: a window of as many answers as there are places adds one, a refusal
    halves them, answers that take `SLOW_RATIO` times as long as they once did take a fifth away; never more than one
    decrease per window, because the requests of a window suffer from the same cause. Entering yields the window's
    number, which `refused` needs to know whom it hears.
    Source: D. Chiu, R. Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989.
    """

    def __init__(self, most: int) -> None:
        self.limit = float(most)
        self.lowest = most
        self._most = most
        self._window = 0
        self._seconds: list[float] = []
        self._best = float("inf")
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> int:
        while self._in_flight >= int(self.limit):
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                # The place given to a caller that is gone belongs to the next one.
                if place.done() and not place.cancelled():
                    self._wake()
                raise
        self._in_flight += 1
        return self._window

    async def __aexit__(self, *_: object) -> None:
        self._in_flight -= 1
        self._wake()

    def answered(self, seconds: float) -> None:
        """Count an answer that took `seconds`."""
        self._seconds.append(seconds)
        if len(self._seconds) < int(self.limit):
            return
        typical = sorted(self._seconds)[len(self._seconds) // 2]
        self._best = min(self._best, typical)
        if typical > max(SLOW_RATIO * self._best, SLOW_SECONDS):
            self._shrink(0.8)
        else:
            self._resize(self.limit + 1)

    def refused(self, window: int) -> None:
        """Count a refusal (429, 5xx, no answer) of a request that entered in `window`."""
        if window == self._window:
            self._shrink(0.5)

    def _shrink(self, factor: float) -> None:
        self._resize(self.limit * factor)
        self.lowest = min(self.lowest, int(self.limit))

    def _resize(self, limit: float) -> None:
        self.limit = min(max(limit, 1.0), float(self._most))
        self._window += 1
        self._seconds.clear()
        for _ in range(int(self.limit) - self._in_flight):
            self._wake()

    def _wake(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return


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
