"""How stocks move: market, sector and own moves, jumps, earnings, news, splits, dividends, the path inside a day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from flowlake.sandbox.simulator.config import RISK_FREE_RATE, SimulatorConfig
from flowlake.sandbox.simulator.universe import SECTORS

Floats = np.ndarray

GRID = np.linspace(0.0, 1.0, 40)
"""Fractions of the trading day at which spot is drawn; between them it is interpolated."""

_SESSIONS_PER_YEAR = 252.0
QUARTER = 63
"""Sessions between a company's releases, and between its dividends."""
_BRIDGE_TERMS = 6


@dataclass(frozen=True)
class Splits:
    """Share splits: `underlying` gets `to` new shares for `from_` old ones at the open of day `day`."""

    underlying: np.ndarray
    day: np.ndarray
    from_: np.ndarray
    to: np.ndarray
    announced: np.ndarray


@dataclass(frozen=True)
class Dividends:
    """Cash dividends per share; days are indices into the simulator's days (ex-days may lie beyond the last one)."""

    underlying: np.ndarray
    ex_day: np.ndarray
    declared: np.ndarray
    amount: Floats


@dataclass(frozen=True)
class NewsGap:
    """A log return at the open of day `day`, planned by an episode."""

    underlying: int
    day: int
    log_return: float


@dataclass(frozen=True)
class StockPaths:
    """Prices as traded (unadjusted), arrays of days x underlyings.

    `volatility` is the at-the-money volatility of the shortest maturity at each close; `busy` is the day's factor on
    option and stock volume; `earnings_day[d, u]` is the first day >= d + 1 whose open reflects a release (a large
    number for none).
    """

    open: Floats
    close: Floats
    previous_close: Floats
    day_volatility: Floats
    volatility: Floats
    busy: Floats
    earnings_day: np.ndarray
    splits: Splits
    dividends: Dividends


def simulate_stocks(config: SimulatorConfig, universe: pl.DataFrame, news: list[NewsGap]) -> StockPaths:
    """Daily paths of every underlying over history and window."""
    days, n = len(config.days()), universe.height
    rng = config.stream("stocks")
    sector, beta, own = (universe[name].to_numpy() for name in ("sector", "beta", "own_volatility"))
    is_company = (universe["type"] == "CS").to_numpy()

    market_vol = 0.15 * np.exp(_autoregression(rng, (days,), 0.96, 0.30))
    own_state = np.exp(_autoregression(rng, (days, n), 0.97, 0.22))
    market = market_vol * _student(rng, (days,))
    sectors = 0.10 * _student(rng, (days, len(SECTORS)))
    own_move = own * own_state * _student(rng, (days, n))
    loading = np.where(sector >= 0, sectors[:, np.maximum(sector, 0)], 0.0)
    diffuse = (beta * market[:, None] + loading + own_move) / np.sqrt(_SESSIONS_PER_YEAR)

    gap = np.where(
        rng.random((days, n)) < 0.004, rng.normal(0, 3.5, (days, n)) * own / np.sqrt(_SESSIONS_PER_YEAR), 0.0
    )
    earnings = _earnings_calendar(universe, days)
    gap = gap + earnings * universe["earnings_move"].to_numpy() * rng.standard_normal((days, n))
    for event in news:
        gap[event.day, event.underlying] += event.log_return

    level = np.sqrt((beta * market_vol[:, None]) ** 2 + 0.10**2 * is_company + (own * own_state) ** 2)
    # Implied volatility rises when the stock falls (leverage) and stands above realised (risk premium).
    shock = _leverage(diffuse + gap, level)
    splits = _plan_splits(config, universe, days)
    open_, close, previous, dividends = _paths(universe, diffuse, gap, level, splits, rng)
    busy = _busyness(rng, universe, diffuse, gap, earnings, level)
    return StockPaths(
        open=open_,
        close=close,
        previous_close=previous,
        day_volatility=level / np.sqrt(_SESSIONS_PER_YEAR),
        volatility=np.clip(1.08 * level * shock, 0.07, 2.5),
        busy=busy,
        earnings_day=_next_earnings(earnings),
        splits=splits,
        dividends=dividends,
    )


def intraday_path(config: SimulatorConfig, paths: StockPaths, day: int) -> Floats:
    """Spot on `GRID` for every underlying (underlyings x grid): from open to close along a random bridge."""
    rng = config.stream("intraday", day)
    n = paths.close.shape[1]
    order = np.arange(1, _BRIDGE_TERMS + 1)
    # Karhunen-Loeve expansion of the Brownian bridge: sqrt(2) sum_k Z_k sin(k pi t) / (k pi).
    basis = np.sqrt(2.0) * np.sin(np.pi * order[:, None] * GRID) / (np.pi * order[:, None])
    scale = 0.8 * paths.day_volatility[day]
    # einsum, not BLAS: the sum's order, and with it the last bit, must not depend on the number of threads.
    bridge = np.einsum("uk,kg->ug", rng.standard_normal((n, _BRIDGE_TERMS)), basis) * scale[:, None]
    first, last = np.log(paths.open[day])[:, None], np.log(paths.close[day])[:, None]
    path = np.exp(first + (last - first) * GRID + bridge)
    path[:, 0], path[:, -1] = paths.open[day], paths.close[day]
    return path


def spot_at(path: Floats, underlying: np.ndarray, fraction: Floats | float) -> Floats:
    """Spot of each `underlying` at each `fraction` of the day, linear between grid points."""
    place = np.clip(np.asarray(fraction), 0.0, 1.0) * (len(GRID) - 1)
    left = np.minimum(place.astype(np.int64), len(GRID) - 2)
    weight = place - left
    return path[underlying, left] * (1 - weight) + path[underlying, left + 1] * weight


def _student(rng: np.random.Generator, shape: tuple[int, ...], freedom: float = 5.0) -> Floats:
    return rng.standard_t(freedom, shape) * np.sqrt((freedom - 2) / freedom)


def _autoregression(rng: np.random.Generator, shape: tuple[int, ...], rho: float, spread: float) -> Floats:
    """A stationary AR(1) along the first axis with standard deviation `spread`."""
    noise = rng.standard_normal(shape) * spread * np.sqrt(1 - rho**2)
    state = np.empty(shape)
    state[0] = noise[0] / np.sqrt(1 - rho**2)
    for day in range(1, shape[0]):
        state[day] = rho * state[day - 1] + noise[day]
    return state


def _earnings_calendar(universe: pl.DataFrame, days: int) -> np.ndarray:
    """Whether the open of each day reflects a release after the close before (days x underlyings)."""
    offset = universe["earnings_offset"].to_numpy()
    return (np.arange(days)[:, None] % QUARTER == offset) & (offset >= 0)


def _next_earnings(earnings: np.ndarray) -> np.ndarray:
    days, n = earnings.shape
    upcoming = np.empty((days, n), np.int64)
    has_any = earnings.any(axis=0)
    # Beyond the simulated days the quarterly rhythm continues.
    first = earnings.argmax(axis=0)
    following = np.where(has_any, first + QUARTER * (1 + (days - 1 - first) // QUARTER), 10**6)
    for day in range(days - 1, -1, -1):
        upcoming[day] = following
        following = np.where(earnings[day], day, following)
    return upcoming


def _leverage(returns: Floats, level: Floats) -> Floats:
    scaled = np.clip(returns / level * np.sqrt(_SESSIONS_PER_YEAR), -6, 6)
    state = np.zeros_like(scaled)
    for day in range(1, len(scaled)):
        state[day] = 0.9 * state[day - 1] - 0.03 * scaled[day]
    return np.exp(np.clip(state, -0.5, 0.6))


def _busyness(
    rng: np.random.Generator,
    universe: pl.DataFrame,
    diffuse: Floats,
    gap: Floats,
    earnings: np.ndarray,
    level: Floats,
) -> Floats:
    """The day's factor on volume: persistent, market-wide and own, higher on big moves, round earnings and on news."""
    days, n = diffuse.shape
    tier = universe["tier"].to_numpy()
    market = _autoregression(rng, (days,), 0.6, 0.10)[:, None]
    own = _autoregression(rng, (days, n), 0.65, 1.0) * np.where(tier >= 4, 0.25, np.where(tier >= 2, 0.45, 0.65))
    move = np.abs(diffuse + gap) / level * np.sqrt(_SESSIONS_PER_YEAR)
    around = earnings.astype(float)
    before = np.vstack([around[1:], around[:1] * 0.0])
    surprise = np.where(rng.random((days, n)) < 0.015, np.minimum(rng.gamma(2.0, 0.6, (days, n)), 3.0), 0.0)
    log_factor = market + own + 0.15 * np.clip(move - 0.8, 0, 5) + 0.6 * around + 0.7 * before + surprise - 0.15
    return np.exp(np.minimum(log_factor, 4.0))


def _plan_splits(config: SimulatorConfig, universe: pl.DataFrame, days: int) -> Splits:
    """Splits at a realistic rate, and at least one forward and one reverse split in the window."""
    rng = config.stream("splits")
    start = config.history_sessions
    stock = ((universe["type"] == "CS") & (universe["dividend_yield"] == 0)).to_numpy()
    price = universe["price"].to_numpy()
    candidates = np.flatnonzero(stock & (rng.random(universe.height) < 0.02 * days / _SESSIONS_PER_YEAR))
    window = days - start
    rows = {int(u): int(rng.integers(15, days)) for u in candidates}
    if window >= 4:
        ranked = np.flatnonzero(stock)[np.argsort(price[stock], kind="stable")]
        rows[int(ranked[-1])] = start + max(2, window // 3)
        rows[int(ranked[0])] = start + max(3, window // 2)
    underlying = np.array(sorted(rows), np.int64)
    day = np.array([rows[u] for u in underlying.tolist()], np.int64)
    forward = price[underlying] >= 20.0
    to = np.where(forward, np.select([price[underlying] > 400, price[underlying] > 120], [10, 4], 2), 1)
    from_ = np.where(forward, 1, np.where(price[underlying] < 5, 10, 5))
    return Splits(underlying, day, from_, to, np.maximum(day - rng.integers(8, 25, len(day)), 0))


def _paths(
    universe: pl.DataFrame,
    diffuse: Floats,
    gap: Floats,
    level: Floats,
    splits: Splits,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, Floats, Dividends]:
    days, n = diffuse.shape
    yields = universe["dividend_yield"].to_numpy()
    offset = universe["dividend_offset"].to_numpy()
    overnight = 0.25 + 0.1 * rng.standard_normal((days, n))
    drift = RISK_FREE_RATE / _SESSIONS_PER_YEAR - 0.5 * (level**2) / _SESSIONS_PER_YEAR
    open_, close, previous = (np.empty((days, n)) for _ in range(3))
    price = universe["price"].to_numpy().astype(float)
    pending = np.zeros(n)
    declared: list[tuple[np.ndarray, int, Floats]] = []
    for day in range(days):
        ratio = np.ones(n)
        today = splits.day == day
        ratio[splits.underlying[today]] = splits.from_[today] / splits.to[today]
        previous[day] = price
        goes_ex = day % QUARTER == offset
        basis = price * ratio - np.where(goes_ex, np.minimum(pending, 0.3 * price), 0.0)
        pending = np.where(goes_ex, 0.0, pending)
        open_[day] = np.maximum(basis * np.exp(gap[day] + overnight[day] * diffuse[day]), 0.05)
        close[day] = np.maximum(open_[day] * np.exp((1 - overnight[day]) * diffuse[day] + drift[day]), 0.05)
        open_[day], close[day] = np.round(open_[day], 2), np.round(close[day], 2)
        price = close[day]
        declares = ((day + 20) % QUARTER == offset) & (yields > 0)
        amount = np.where(declares, np.round(yields / 4 * price, 2), 0.0)
        pending = np.where(declares, amount, pending)
        who = np.flatnonzero(amount > 0)
        declared.append((who, day, amount[who]))
    underlying = np.concatenate([who for who, _, _ in declared])
    when = np.concatenate([np.full(len(who), day) for who, day, _ in declared])
    amounts = np.concatenate([amount for _, _, amount in declared])
    return open_, close, previous, Dividends(underlying, when + 20, when, amounts)
