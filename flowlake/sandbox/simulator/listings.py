"""Which contracts exist when: expirations by size of the name, strike grids that grow with the stock, splits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from flowlake import calendar
from flowlake.sandbox.simulator.config import SimulatorConfig, ordinal
from flowlake.sandbox.simulator.stocks import StockPaths


@dataclass(frozen=True)
class Tier:
    """What a name of one size class lists: how many expirations of each kind, how wide and how fine its strikes."""

    dailies: int
    weeklies: int
    monthlies: int
    quarterlies: int
    leaps: int
    step: float
    """Strike interval near the money, as a fraction of spot."""
    reach: float
    """Half width of the strike range in standard deviations to expiration."""


TIERS = (
    Tier(0, 0, 2, 2, 0, step=0.036, reach=2.9),
    Tier(0, 0, 2, 2, 1, step=0.030, reach=3.1),
    Tier(0, 0, 3, 2, 1, step=0.020, reach=3.5),
    Tier(0, 5, 4, 2, 2, step=0.012, reach=4.0),
    Tier(0, 6, 6, 2, 2, step=0.007, reach=4.6),
    Tier(10, 6, 8, 3, 3, step=0.0025, reach=4.6),
)

_NICE_STEPS = np.array([0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0])
_FULL_SIZE = 6_000
_COARSE = 4
"""Far from the money only every fourth strike of the grid is listed."""
_NEAR_SHARE = 0.45
"""Share of the strike range that has the fine grid."""


@dataclass(frozen=True)
class Listings:
    """Every contract of the window; the row number is the contract's id. Days index the simulator's days.

    Per contract: underlying, series, right (0 call, 1 put), strike (USD per share), shares (deliverable), listed (first
    day), removed (first day no longer listed), popularity (factor on expected volume), predecessor (the contract this
    one replaced at a split, -1 for none) and oi_factor (its open interest times this is inherited). Ids run by series,
    right, strike, so neighbours in a series are neighbours in id. Per series: series_underlying, series_expires (days
    since 1970-01-01), series_am (settles at the open) and series_root (OCC root).
    """

    underlying: np.ndarray
    series: np.ndarray
    right: np.ndarray
    strike: np.ndarray
    shares: np.ndarray
    listed: np.ndarray
    removed: np.ndarray
    popularity: np.ndarray
    predecessor: np.ndarray
    oi_factor: np.ndarray
    series_underlying: np.ndarray
    series_expires: np.ndarray
    series_am: np.ndarray
    series_root: np.ndarray

    @property
    def expires(self) -> np.ndarray:
        """Expiration of each contract, days since 1970-01-01."""
        return self.series_expires[self.series]

    def live(self, day: int) -> np.ndarray:
        """Ids of the contracts listed on `day`, ascending."""
        return np.flatnonzero((self.listed <= day) & (day < self.removed))


def expirations(tier: Tier, day: date, cycle: int) -> list[date]:
    """Expirations a name of `tier` and quarterly `cycle` (0 Jan, 1 Feb, 2 Mar) lists on session `day`, ascending."""
    found: set[date] = set()
    ahead = [calendar.next_session(day, k) for k in range(1, tier.dailies + 1)]
    found.update(ahead)
    if tier.dailies:
        found.add(day)
    friday = day + timedelta(days=(4 - day.weekday()) % 7)
    found.update(_on_or_before(friday + timedelta(weeks=k)) for k in range(tier.weeklies))
    months = [_third_friday(day.year, day.month + k) for k in range(0, 14)]
    upcoming = [expiry for expiry in months if expiry >= day]
    found.update(upcoming[: tier.monthlies])
    in_cycle = [expiry for expiry in upcoming[tier.monthlies :] if expiry.month % 3 == (1 + cycle) % 3]
    found.update(in_cycle[: tier.quarterlies])
    leaps = [_third_friday(day.year + k, 1) for k in range(1, tier.leaps + 2)]
    found.update([expiry for expiry in leaps if (expiry - day).days > 60][: tier.leaps])
    return sorted(expiry for expiry in found if expiry >= day)


def build_listings(config: SimulatorConfig, universe: pl.DataFrame, paths: StockPaths) -> Listings:
    """List the whole window: expirations as they are opened, strikes that follow the stock, split adjustments."""
    series = _series(config, universe, paths)
    contracts = _strikes(config, universe, paths, series)
    return _adjust_for_splits(config, universe, paths, series, contracts)


def _series(config: SimulatorConfig, universe: pl.DataFrame, paths: StockPaths) -> dict[str, np.ndarray]:
    """One row per underlying, expiration, settlement and split epoch; a split closes a series and opens it anew."""
    start, days = config.history_sessions, config.days()
    tier = universe["tier"].to_numpy()
    is_index = (universe["type"] == "INDEX").to_numpy()
    cycle = config.stream("cycle").integers(0, 3, universe.height)
    rows: list[tuple[np.ndarray, int, int, bool]] = []
    for number in range(len(TIERS)):
        for turn in range(3):
            members = np.flatnonzero((tier == number) & (cycle == turn))
            if not len(members):
                continue
            opened: dict[date, int] = {}
            for day in range(start, len(days)):
                for expiry in expirations(TIERS[number], days[day], turn):
                    opened.setdefault(expiry, day)
            for expiry, day in sorted(opened.items()):
                rows.append((members, day, ordinal(expiry), False))
                if expiry == _third_friday(expiry.year, expiry.month) and is_index[members].any():
                    rows.append((members[is_index[members]], day, ordinal(expiry), True))
    underlying = np.concatenate([members for members, *_ in rows])
    sizes = [len(members) for members, *_ in rows]
    facts = np.array([(day, expires, settles) for _, day, expires, settles in rows], np.int64)
    opened_on, expires, am = np.repeat(facts, sizes, axis=0).T
    split_day = np.full(universe.height, len(days))
    in_window = paths.splits.day >= start
    split_day[paths.splits.underlying[in_window]] = paths.splits.day[in_window]
    gone = np.searchsorted([ordinal(day) for day in days], expires, side="right")
    until = split_day[underlying]
    before, after = opened_on < until, gone > until
    table = {
        "underlying": np.concatenate([underlying[before], underlying[after]]),
        "expires": np.concatenate([expires[before], expires[after]]),
        "am": np.concatenate([am[before], am[after]]).astype(bool),
        "opened": np.concatenate([opened_on[before], np.maximum(opened_on, until)[after]]),
        "gone": np.concatenate([np.minimum(gone, until)[before], gone[after]]),
        "first": np.concatenate([opened_on[before] == start, np.zeros(int(after.sum()), bool)]),
    }
    order = np.lexsort((table["opened"], table["am"], table["expires"], table["underlying"]))
    return {name: values[order] for name, values in table.items()}


def _strikes(
    config: SimulatorConfig, universe: pl.DataFrame, paths: StockPaths, series: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Expand every series to its contracts, each with the first day on which the stock was near enough to list it."""
    days = np.array([ordinal(day) for day in config.days()])
    tier = universe["tier"].to_numpy()[series["underlying"]]
    volatility = universe["long_volatility"].to_numpy()[series["underlying"]]
    spot = paths.open[series["opened"], series["underlying"]]
    # What is listed when the window begins was opened earlier and has grown wider since.
    term = series["expires"] - days[series["opened"]] + np.where(series["first"], 30, 7)
    deviation = volatility * np.sqrt(np.minimum(term, 400) / 365.0)
    far = np.minimum(0.05 + np.array([t.reach for t in TIERS])[tier] * deviation, 1.0)
    fine = np.array([t.step for t in TIERS])[tier] * np.where(term > 100, 2.0, 1.0)
    # The index and its funds list coarser grids in a small market, or they would be most of it.
    fine = np.where(tier == len(TIERS) - 1, fine * (_FULL_SIZE / universe.height) ** 0.25, fine)
    step = _NICE_STEPS[np.minimum(np.searchsorted(_NICE_STEPS, spot * fine), len(_NICE_STEPS) - 1)]
    near = np.minimum(np.maximum(_NEAR_SHARE * far, 2.5 * step / spot), 1.5)

    low, high = _spot_range(paths, series)
    first = np.maximum(np.floor(low * np.exp(-np.maximum(far, near)) / step), 1).astype(np.int64)
    last = np.ceil(high * np.exp(np.maximum(far, near)) / step).astype(np.int64)
    count = last - first + 1
    row = np.repeat(np.arange(len(step)), count)
    rung = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    strike = rung * step[row]
    coarse = rung % _COARSE == 0

    listed = np.full(len(row), len(days), np.int64)
    pending = np.arange(len(row))
    for day in range(config.history_sessions, len(days)):
        at = row[pending]
        distance = np.abs(np.log(strike[pending] / paths.open[day, series["underlying"][at]]))
        covered = (distance <= near[at]) | (coarse[pending] & (distance <= far[at]))
        new = covered & (series["opened"][at] <= day) & (day < series["gone"][at])
        listed[pending[new]] = day
        # A rung can still be listed later only while its series is open.
        pending = pending[~new & (series["gone"][at] > day)]
    kept = np.flatnonzero(listed < len(days))
    row, strike, listed = row[kept], strike[kept], listed[kept]
    both = np.lexsort((np.tile(strike, 2), np.repeat([0, 1], len(row)), np.tile(row, 2)))
    right = np.repeat(np.array([0, 1], np.int8), len(row))[both]
    row, strike, listed = np.tile(row, 2)[both], np.tile(strike, 2)[both], np.tile(listed, 2)[both]
    return {"series": row, "right": right, "strike": strike, "listed": listed}


def _spot_range(paths: StockPaths, series: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    low = paths.open[series["opened"], series["underlying"]]
    high = low.copy()
    for day in range(int(series["opened"].min()), len(paths.open)):
        spot = paths.open[day, series["underlying"]]
        alive = (series["opened"] <= day) & (day < series["gone"])
        low = np.where(alive, np.minimum(low, spot), low)
        high = np.where(alive, np.maximum(high, spot), high)
    return low, high


def _adjust_for_splits(
    config: SimulatorConfig,
    universe: pl.DataFrame,
    paths: StockPaths,
    series: dict[str, np.ndarray],
    contracts: dict[str, np.ndarray],
) -> Listings:
    """Carry contracts through splits as OCC does.

    A whole forward split n:1 divides strikes by n and multiplies positions by n under the same root; a reverse split
    keeps strike and position, delivers fewer shares, and moves to a numbered root. Fresh standard series open beside.
    """
    count, tickers = len(contracts["series"]), np.array(universe["ticker"].to_list())
    is_index = (universe["type"] == "INDEX").to_numpy()
    root = tickers[series["underlying"]].astype("U8")
    weekly = is_index[series["underlying"]] & ~series["am"]
    root[weekly] = np.char.add(root[weekly], "W")
    removed = series["gone"][contracts["series"]]
    underlying = series["underlying"][contracts["series"]]

    start = config.history_sessions
    extra: list[dict[str, np.ndarray]] = []
    roots, owners, expiries = [root], [series["underlying"]], [series["expires"]]
    base = len(root)
    for u, day, old, new in zip(
        paths.splits.underlying, paths.splits.day, paths.splits.from_, paths.splits.to, strict=True
    ):
        if day < start + 1:
            continue
        # Contracts whose series the split closed, not those that expired before it.
        held = np.flatnonzero(
            (underlying == u)
            & (contracts["listed"] < day)
            & (removed == day)
            & (series["expires"][contracts["series"]] >= ordinal(config.days()[day]))
        )
        forward = new > old
        ratio = int(new // old) if forward else 1
        old_series, position = np.unique(contracts["series"][held], return_inverse=True)
        roots.append(np.array([f"{tickers[u]}{'' if forward else '1'}"] * len(old_series), "U8"))
        owners.append(np.full(len(old_series), u))
        expiries.append(series["expires"][old_series])
        extra.append(
            {
                "series": base + position,
                "right": contracts["right"][held],
                "strike": np.round(contracts["strike"][held] / ratio, 2),
                "listed": np.full(len(held), day),
                "shares": np.full(len(held), 100.0 if forward else 100.0 * new / old),
                "predecessor": held,
                "oi_factor": np.full(len(held), ratio),
            }
        )
        base += len(old_series)

    plain = {
        **contracts,
        "shares": np.full(count, 100.0),
        "predecessor": np.full(count, -1),
        "oi_factor": np.ones(count, np.int64),
    }
    merged = {name: np.concatenate([plain[name], *(part[name] for part in extra)]) for name in plain}
    all_roots, owner, expires = np.concatenate(roots), np.concatenate(owners), np.concatenate(expiries)
    days = np.array([ordinal(day) for day in config.days()])
    gone = np.concatenate([removed, np.searchsorted(days, expires[merged["series"][count:]], side="right")])
    # A fresh strike that equals an adjusted one is the same contract: keep the adjusted, with its open interest.
    names = pl.DataFrame(
        {
            "root": all_roots[merged["series"]],
            "expires": expires[merged["series"]],
            "right": merged["right"],
            "strike": np.round(merged["strike"] * 1000).astype(np.int64),
            "gone": gone,
        }
    )
    keep = names.is_duplicated().to_numpy() & (np.arange(len(gone)) < count) if extra else np.zeros(len(gone), bool)
    gone = np.where(keep, merged["listed"], gone)
    return Listings(
        underlying=owner[merged["series"]].astype(np.int32),
        series=merged["series"].astype(np.int32),
        right=merged["right"].astype(np.int8),
        strike=merged["strike"],
        shares=merged["shares"],
        listed=merged["listed"].astype(np.int32),
        removed=gone.astype(np.int32),
        popularity=_popularity(config, len(gone)),
        predecessor=merged["predecessor"].astype(np.int64),
        oi_factor=merged["oi_factor"],
        series_underlying=owner,
        series_expires=expires,
        series_am=np.concatenate([series["am"], np.zeros(len(expires) - len(series["am"]), bool)]),
        series_root=all_roots,
    )


def _popularity(config: SimulatorConfig, count: int) -> np.ndarray:
    """Lasting taste for single lines: log-normal, mean 1."""
    spread = 1.7
    return np.exp(spread * config.stream("popularity").standard_normal(count) - spread**2 / 2).astype(np.float32)


def _third_friday(year: int, month: int) -> date:
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    first = date(year, month, 1)
    return _on_or_before(first + timedelta(days=(4 - first.weekday()) % 7 + 14))


def _on_or_before(day: date) -> date:
    return day if calendar.is_session(day) else calendar.previous_session(day)
