"""What can be chosen about a simulated market, and its independent random streams."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

import numpy as np

from flowlake import calendar

DEFAULT_FIRST_SESSION = date(2026, 5, 26)
RISK_FREE_RATE = 0.04
"""Continuously compounded, flat: the simulated market has no rate risk."""


GENERATOR_VERSION = 1
"""Raised whenever the same configuration gives another market, so that no cache of an older one is read."""


class BadSimulatorConfig(ValueError):
    """A simulated market was asked for that cannot be built; the message says what to change."""


@dataclass(frozen=True)
class SimulatorConfig:
    """Size, window and seed of a simulated market.

    The window is `first_session`..`last_session` when both are given, else `sessions` sessions from (or up to) the
    one that is given; from `DEFAULT_FIRST_SESSION` when none is. `informed_episodes` and `decoys` count what is
    injected over the whole window, none of it in its first `warmup_sessions`; a name hosts at most one, so a small
    market may hold fewer; 0 of each is a pure null. `history_sessions` of stock prices precede the window.
    `cache_dir` keeps finished sessions as Parquet between processes.
    """

    underlyings: int = 60
    sessions: int = 30
    seed: int = 7
    first_session: date | None = None
    last_session: date | None = None
    informed_episodes: int = 8
    decoys: int = 8
    warmup_sessions: int | None = None
    history_sessions: int = 260
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        if not 20 <= self.underlyings <= 6_000:
            raise BadSimulatorConfig(f"underlyings must be 20 to 6000, got {self.underlyings}")
        if self.sessions < 1 or self.history_sessions < 5:
            raise BadSimulatorConfig(
                f"sessions must be at least 1 and history_sessions at least 5, "
                f"got {self.sessions} and {self.history_sessions}"
            )
        if min(self.informed_episodes, self.decoys) < 0:
            raise BadSimulatorConfig("informed_episodes and decoys must not be negative")
        if self.first_session and self.last_session and self.first_session > self.last_session:
            raise BadSimulatorConfig(f"first_session {self.first_session} is after last_session {self.last_session}")

    def window(self) -> list[date]:
        """The sessions with option chains, ascending."""
        if self.first_session and self.last_session:
            days = calendar.sessions(self.first_session, self.last_session)
        elif self.last_session:
            end = calendar.require_session(self.last_session)
            days = [*calendar.trailing_sessions(end, self.sessions - 1), end]
        else:
            first = calendar.require_session(self.first_session or DEFAULT_FIRST_SESSION)
            days = calendar.sessions(first, calendar.next_session(first, self.sessions))[: self.sessions]
        if not days:
            raise BadSimulatorConfig(f"no session between {self.first_session} and {self.last_session}")
        return days

    def days(self) -> list[date]:
        """Sessions with stock prices: `history_sessions` before the window, then the window."""
        window = self.window()
        return [*calendar.trailing_sessions(window[0], self.history_sessions), *window]

    def warmup(self) -> int:
        """Sessions at the start of the window without episodes: 20, or half the window where it is shorter than 40."""
        return self.warmup_sessions if self.warmup_sessions is not None else min(20, len(self.window()) // 2)

    def fingerprint(self) -> str:
        """A short hash of everything that decides the market's bytes."""
        facts = (GENERATOR_VERSION, *(getattr(self, f.name) for f in fields(self) if f.name != "cache_dir"))
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def stream(self, purpose: str, *key: int) -> np.random.Generator:
        """An independent generator per purpose (and session): what one part draws never shifts another's numbers."""
        return np.random.default_rng([self.seed, *purpose.encode(), *key])


def ordinal(day: date) -> int:
    """Days since 1970-01-01: dates as numbers, as polars and numpy count them."""
    return (day - date(1970, 1, 1)).days
