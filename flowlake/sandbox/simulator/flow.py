"""What trades and what stays open: volume per contract, its course through the day, next morning's open interest.

Volume of a contract is negative binomial round its share of the name's busy day, plus benign prints (blocks, spreads,
rolls) and injected ones. Nothing here looks at prices but moneyness and the vendor-like terms it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from flowlake.sandbox.simulator.config import SimulatorConfig
from flowlake.sandbox.simulator.episodes import Prints
from flowlake.sandbox.simulator.listings import TIERS, Listings
from flowlake.sandbox.simulator.stocks import StockPaths

Floats = np.ndarray

BLOCK_RATE = 5e-4
"""Benign prints per listed contract and session."""


@dataclass(frozen=True)
class Flow:
    """One session's trading, arrays over its live contracts (`ids`) plus prints by position in them.

    `base` is the background volume, which builds up through the day along `share ** tempo`; a print at `position` adds
    `size` between `start` and `end` of the volume clock.
    """

    ids: np.ndarray
    expected: Floats
    base: np.ndarray
    tempo: Floats
    offset: Floats
    stickiness: Floats
    turnover: Floats
    position: np.ndarray
    size: np.ndarray
    start: Floats
    end: Floats
    opening: Floats

    def volume(self, share: float) -> np.ndarray:
        """Contracts traded by the moment at which `share` (0..1) of the day's expected volume has passed; monotone."""
        done = np.minimum(self.base, np.floor(self.base * share**self.tempo + self.offset).astype(np.int64))
        done = np.where(share <= 0, 0, done)
        span = np.maximum(self.end - self.start, 1e-9)
        printed = np.floor(self.size * np.clip((share - self.start) / span, 0, 1)).astype(np.int64)
        printed = np.where(share >= self.end, self.size, printed)
        np.add.at(done, self.position, printed)
        return done

    def position_change(self, open_interest: np.ndarray) -> np.ndarray:
        """Change of open interest by the next morning: never more than volume, never below zero."""
        total = self.volume(1.0)
        # Volume that is large against what is open mostly opens; a busy old line turns over instead.
        crowding = np.log10((self.base + 0.1) / (open_interest + 1.0))
        lean = np.clip(self.stickiness * (0.32 + 0.2 * crowding) + self.turnover, -1.0, 1.0)
        change = np.rint(self.base * lean)
        np.add.at(change, self.position, np.rint(self.size * self.opening))
        return np.clip(change, -np.minimum(total, open_interest), total).astype(np.int64)


def volume_clock(fraction: float) -> float:
    """Share of a session's volume expected by `fraction` of its hours: U-shaped, heaviest at open and close."""
    x = min(max(fraction, 0.0), 1.0)
    weight = 2.4
    return (x + weight * ((2 * x - 1) ** 3 + 1) / 6) / (1 + weight / 3)


def expected_volume(
    listings: Listings,
    ids: np.ndarray,
    name_volume: Floats,
    call_tilt: Floats,
    tier: np.ndarray,
    moneyness: Floats,
    days_left: Floats,
) -> Floats:
    """Mean contracts per live contract: the name's mean day shared by moneyness, term, round strikes and taste.

    `moneyness` is log(strike / forward) in standard deviations to expiration, `name_volume` the mean contracts of each
    underlying this day, `call_tilt` its log tilt to calls, `tier` its size class.
    """
    underlying, right = listings.underlying[ids], listings.right[ids]
    out = np.where(right == 0, moneyness, -moneyness)
    # Out-of-the-money lines trade nearly evenly for two deviations; in the money trading fades fast.
    fade = np.where(out >= 0, 0.35 * out + 0.05 * out**2, -1.3 * out)
    # On their last day the index and its funds trade more than on all others; single names do not.
    eager = np.where(tier[underlying] == len(TIERS) - 1, 0.25, 1.0)
    term = (days_left + eager) ** -1.2 + 0.02 * np.exp(-days_left / 200.0)
    round_strike = np.where(np.isclose(listings.strike[ids] % 5.0, 0.0), 1.6, 1.0)
    tilt = np.exp(np.where(right == 0, call_tilt[underlying], -call_tilt[underlying]))
    weight = np.exp(-fade) * term * round_strike * tilt * listings.popularity[ids]
    total = np.bincount(underlying, weights=weight, minlength=len(name_volume))
    return weight * (name_volume / np.maximum(total, 1e-12))[underlying]


def dispersion(expected: Floats) -> Floats:
    """Shape k of the negative binomial (variance = mean + mean^2 / k): busy lines are steadier than quiet ones."""
    return 0.24 + 0.085 * np.log1p(expected)


def draw_flow(
    config: SimulatorConfig,
    universe: pl.DataFrame,
    paths: StockPaths,
    listings: Listings,
    prints: Prints,
    day: int,
    ids: np.ndarray,
    moneyness: Floats,
    days_left: Floats,
    tradable: np.ndarray,
) -> Flow:
    """One session's trading; depends on the seed and the day alone, so sessions can be drawn in any order."""
    rng = config.stream("flow", day)
    n = universe.height
    name_volume = universe["option_volume"].to_numpy() * paths.busy[day]
    tier = universe["tier"].to_numpy()
    tilt = 0.15 + 0.25 * rng.standard_normal(n)
    expected = expected_volume(listings, ids, name_volume, tilt, tier, moneyness, days_left) * tradable
    shape = dispersion(expected)
    mixed = expected * rng.gamma(shape) / shape
    base = rng.poisson(np.minimum(mixed, 5e6))
    benign = _benign_prints(rng, universe, listings, ids, expected)
    mine = prints.day == day
    injected = np.searchsorted(ids, prints.contract[mine])
    # What trades in its last days is opened and closed within them.
    stickiness = np.clip((days_left + 0.5) / 8.0, 0.1, 1.0)
    return Flow(
        ids=ids,
        expected=expected,
        base=base,
        tempo=np.exp(0.45 * rng.standard_normal(len(ids))),
        offset=rng.random(len(ids)) * 0.999,
        stickiness=stickiness,
        turnover=0.38 * rng.standard_normal(len(ids)) * np.sqrt(stickiness),
        position=np.concatenate([benign["position"], injected]),
        size=np.concatenate([benign["size"], prints.size[mine]]),
        start=np.concatenate([benign["start"], prints.start[mine]]),
        end=np.concatenate([benign["start"], prints.end[mine]]),
        opening=np.concatenate([benign["opening"], prints.opening[mine]]),
    )


def _benign_prints(
    rng: np.random.Generator, universe: pl.DataFrame, listings: Listings, ids: np.ndarray, expected: Floats
) -> dict[str, np.ndarray]:
    """Single blocks, spreads (equal sizes in neighbouring strikes) and rolls (from one expiration into a later)."""
    count = int(rng.poisson(BLOCK_RATE * len(ids)))
    taste = np.cumsum(np.sqrt(expected))
    if count == 0 or taste[-1] <= 0:
        nothing = np.zeros(0, np.int64)
        return {"position": nothing, "size": nothing, "start": np.zeros(0), "opening": np.zeros(0)}
    at = np.minimum(np.searchsorted(taste, rng.random(count) * taste[-1], side="right"), len(ids) - 1)
    activity = universe["option_volume"].to_numpy()[listings.underlying[ids[at]]]
    size = np.maximum(np.rint(3.0 * activity**0.48 * np.exp(0.9 * rng.standard_normal(count))), 10).astype(np.int64)
    start = np.array([volume_clock(x) for x in rng.random(count).tolist()])
    opening = np.clip(0.35 + 0.55 * rng.standard_normal(count), -1, 1)
    kind = rng.random(count)
    spread, roll = kind < 0.30, (kind >= 0.30) & (kind < 0.45)
    partner = np.minimum(at + 1, len(ids) - 1)
    same = (listings.series[ids[partner]] == listings.series[ids[at]]) & (
        listings.right[ids[partner]] == listings.right[ids[at]]
    )
    later = _next_expiration(listings, ids, at)
    second = np.where(spread & same, partner, np.where(roll, later, -1))
    paired = (second >= 0) & (expected[second] > 0)
    return {
        "position": np.concatenate([at, second[paired]]),
        "size": np.concatenate([size, size[paired]]),
        "start": np.concatenate([start, start[paired]]),
        "opening": np.concatenate([np.where(roll & paired, -0.8, opening), np.where(roll, 0.9, opening)[paired]]),
    }


def _next_expiration(listings: Listings, ids: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Position of the same strike and right in the name's next listed expiration, -1 where there is none."""
    expires = listings.expires[ids]
    strike = np.rint(listings.strike[ids] * 1000).astype(np.int64)
    order = np.lexsort((expires, strike, listings.right[ids], listings.underlying[ids]))
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.arange(len(ids))
    following = order[np.minimum(rank[at] + 1, len(ids) - 1)]
    same = (
        (listings.underlying[ids[following]] == listings.underlying[ids[at]])
        & (listings.right[ids[following]] == listings.right[ids[at]])
        & (strike[following] == strike[at])
        & (expires[following] > expires[at])
    )
    return np.where(same, following, -1)


def opening_interest(config: SimulatorConfig, expected: Floats, days_left: Floats, name_volume: Floats) -> np.ndarray:
    """Open interest on the window's first morning: what a life of such volume would have left behind.

    `name_volume` is the mean contracts a day of each contract's underlying: quiet names hold more days of it.
    """
    rng = config.stream("open interest")
    days_held = 9.5 * (np.maximum(name_volume, 1.0) / 1e4) ** -0.22
    age = days_held * np.sqrt((np.minimum(days_left, 250.0) + 1.0) / 15.0)
    left = expected * age * np.exp(0.9 * rng.standard_normal(len(expected)) - 0.4)
    return rng.poisson(np.minimum(left, 5e6)).astype(np.int64)
