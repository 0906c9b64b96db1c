"""The simulated market as the server and the tests see it: `Simulator`, a `flowlake.sandbox.market.Market`."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import polars as pl

from flowlake import calendar
from flowlake.sandbox.market import MARKET_COLUMNS_NOT_SERVED, UnknownSession
from flowlake.sandbox.simulator import episodes as planning
from flowlake.sandbox.simulator.config import RISK_FREE_RATE, SimulatorConfig, ordinal
from flowlake.sandbox.simulator.flow import Flow, draw_flow, opening_interest, volume_clock
from flowlake.sandbox.simulator.listings import Listings, build_listings
from flowlake.sandbox.simulator.stocks import GRID, QUARTER, intraday_path, simulate_stocks, spot_at
from flowlake.sandbox.simulator.surface import Smile, Valuation, at_the_money, quotes, smile_volatility, value
from flowlake.sandbox.simulator.universe import build_universe
from flowlake.schemas.base import Table
from flowlake.schemas.market import RAW_OPTION_SNAPSHOTS, RAW_STOCK_SNAPSHOTS

OPEN_INTEREST_PUBLISHED = time(6, 30)
"""New York time at which the clearing house's figures for the morning are out."""

_STATE_BYTES = 1_500_000_000
_DEEP = 0.985
"""Beyond this |delta| the vendor sends neither volatility nor Greeks."""

T = TypeVar("T")


@dataclass(frozen=True)
class Book:
    """A finished session: open interest and the most recent day bar of every live contract (`ids`).

    `bar_day` is the day index of the bar (-1: never traded), `bar_seconds` the time of its last trade after the open.
    """

    ids: np.ndarray
    open_interest: np.ndarray
    next_open_interest: np.ndarray
    bar_day: np.ndarray
    bar_seconds: np.ndarray
    bar_volume: np.ndarray
    bar_open: np.ndarray
    bar_high: np.ndarray
    bar_low: np.ndarray
    bar_close: np.ndarray
    bar_vwap: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory the arrays take."""
        return sum(getattr(self, f.name).nbytes for f in fields(self))


@dataclass(frozen=True)
class Moment:
    """What an instant shows: day index, fraction of its hours gone, and whether next morning's positions are out."""

    day: int
    fraction: float
    next_positions: bool
    expired_before: int


def simulate(config: SimulatorConfig | None = None) -> Simulator:
    """Build the simulated market that `config` describes (60 underlyings, 30 sessions by default)."""
    return Simulator(config or SimulatorConfig())


class Simulator:
    """A seeded whole market. Any moment can be asked for in any order and always gives the same bytes."""

    origin: Literal["simulated", "recorded"] = "simulated"

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self._days = config.days()
        self._ordinals = np.array([ordinal(day) for day in self._days])
        self._start = config.history_sessions
        self._universe = build_universe(config)
        self._episodes = planning.plan_episodes(config, self._universe)
        self._paths = simulate_stocks(config, self._universe, planning.news_gaps(self._episodes))
        self._listings = build_listings(config, self._universe, self._paths)
        self._prints = planning.choose_prints(config, self._universe, self._paths, self._listings, self._episodes)
        self._order, self._prefixes = _contract_order(self._listings)
        # A server asks from several threads; the memories below are filled by one at a time.
        self._lock = threading.RLock()
        self._books: OrderedDict[int, Book] = OrderedDict()
        self._flows: OrderedDict[int, Flow] = OrderedDict()
        self._spots: OrderedDict[int, np.ndarray] = OrderedDict()

    # -- the Market interface ------------------------------------------------------------------------------------

    def sessions(self) -> list[date]:
        """Sessions with option chains, ascending."""
        return self._days[self._start :]

    def stocks(self, at: datetime) -> pl.DataFrame:
        """All stocks and funds as of `at` (indices have no stock row)."""
        moment = self._moment(at)
        day, share = moment.day, volume_clock(moment.fraction)
        path = self._path(day)
        seen = np.flatnonzero(moment.fraction >= GRID)
        everyone = np.arange(self._universe.height)
        last = np.round(spot_at(path, everyone, moment.fraction), 2)
        prices = np.column_stack([np.round(path[:, seen], 2), last])
        illiquidity = self._illiquidity
        half = np.maximum(0.005, last * 0.0004 * (0.1 + illiquidity))
        bid = np.maximum(np.floor((last - half) * 100) / 100, 0.01)
        stamp = min(at.astimezone(UTC), calendar.session_close(self._days[day]))
        volume = np.floor(self._stock_volume(day) * share)
        frame = pl.DataFrame(
            {
                "ticker": self._universe["ticker"],
                "open": self._paths.open[day],
                "high": prices.max(axis=1),
                "low": prices.min(axis=1),
                "close": last,
                "volume": volume,
                "vwap": np.round((prices.mean(axis=1) + last) / 2, 4).clip(prices.min(axis=1), prices.max(axis=1)),
                "previous_close": self._paths.previous_close[day],
                "last_price": last,
                "bid": bid,
                "ask": np.maximum(np.ceil((last + half) * 100) / 100, bid + 0.01).round(2),
                "updated_at": [stamp] * self._universe.height,
            }
        )
        return _shape(frame.filter(self._universe["type"] != "INDEX"), RAW_STOCK_SNAPSHOTS)

    def chain(self, at: datetime) -> pl.DataFrame:
        """Every active contract as of `at`."""
        moment = self._moment(at)
        book = self._book(moment.day) if moment.fraction >= 1 else self._bars(moment.day, moment.fraction)
        kept = np.flatnonzero(self._listings.expires[book.ids] >= moment.expired_before)
        kept = kept[np.argsort(self._order[book.ids[kept]], kind="stable")]
        return self._render(moment, at, book, kept)

    def tickers(self, session: date) -> pl.DataFrame:
        """Reference data of every underlying."""
        self._day(session)
        return self._universe.select("ticker", "name", "type", "primary_exchange", "cik", "market_cap")

    def contracts(self, session: date) -> pl.DataFrame:
        """Contracts listed on `session`."""
        ids = self._listings.live(self._day(session))
        ids = ids[np.argsort(self._order[ids], kind="stable")]
        return self._identity(ids).select(
            "contract", "underlying", "contract_type", "exercise_style", "expiration", "strike", "shares_per_contract"
        )

    def stock_bars(self, start: date, end: date) -> pl.DataFrame:
        """Daily bars, unadjusted, also of the stock history before the first session with chains."""
        days = [day for day in range(len(self._days)) if start <= self._days[day] <= end]
        if not days:
            raise UnknownSession(
                f"no stock bars from {start} to {end}; the simulated market has {self._days[0]} to {self._days[-1]}"
            )
        listed = (self._universe["type"] != "INDEX").to_numpy()
        frames = []
        for day in days:
            path = np.round(self._path(day)[listed], 2)
            low, high = path.min(axis=1), path.max(axis=1)
            volume = np.floor(self._stock_volume(day)[listed])
            frames.append(
                pl.DataFrame(
                    {
                        "session": [self._days[day]] * len(path),
                        "ticker": self._universe["ticker"].filter(listed),
                        "open": self._paths.open[day][listed],
                        "high": high,
                        "low": low,
                        "close": self._paths.close[day][listed],
                        "volume": volume,
                        "vwap": np.round((path.mean(axis=1) + path[:, -1]) / 2, 4).clip(low, high),
                        "transactions": np.ceil(volume / 120).astype(np.int64),
                    }
                )
            )
        return pl.concat(frames)

    def option_bars(self, session: date) -> pl.DataFrame:
        """Daily bars of the contracts that traded on `session`."""
        book = self._book(self._day(session))
        traded = np.flatnonzero(book.bar_day == self._day(session))
        traded = traded[np.argsort(self._order[book.ids[traded]], kind="stable")]
        frame = pl.DataFrame(
            {
                "contract": self._symbols(book.ids[traded]),
                **{
                    name: getattr(book, f"bar_{name}")[traded].astype(np.float64)
                    for name in ("open", "high", "low", "close", "volume", "vwap")
                },
                "transactions": np.ceil(book.bar_volume[traded] / 6).astype(np.int64),
            }
        )
        return frame.with_columns(pl.col("open", "high", "low", "close").round(2), pl.col("vwap").round(4)).sort(
            "contract"
        )

    def splits(self, as_of: date) -> pl.DataFrame:
        """Splits announced by `as_of`, of history and window."""
        splits = self._paths.splits
        known = np.flatnonzero(np.array(self._days)[splits.announced] <= as_of)
        return pl.DataFrame(
            {
                "ticker": [self._universe["ticker"][u] for u in splits.underlying[known].tolist()],
                "execution_date": [self._days[day] for day in splits.day[known].tolist()],
                "split_from": splits.from_[known].astype(float),
                "split_to": splits.to[known].astype(float),
            },
            schema={"ticker": pl.String, "execution_date": pl.Date, "split_from": pl.Float64, "split_to": pl.Float64},
        ).sort("ticker", "execution_date")

    def dividends(self, as_of: date) -> pl.DataFrame:
        """Cash dividends declared by `as_of`."""
        dividends = self._paths.dividends
        known = np.flatnonzero(np.array(self._days)[dividends.declared] <= as_of)
        ex_dates = [self._date(day) for day in dividends.ex_day[known].tolist()]
        return pl.DataFrame(
            {
                "ticker": [self._universe["ticker"][u] for u in dividends.underlying[known].tolist()],
                "ex_dividend_date": ex_dates,
                "cash_amount": dividends.amount[known],
                "declaration_date": [self._days[day] for day in dividends.declared[known].tolist()],
                "pay_date": [calendar.next_session(day, 10) for day in ex_dates],
                "frequency": [4] * len(known),
            },
            schema={
                "ticker": pl.String,
                "ex_dividend_date": pl.Date,
                "cash_amount": pl.Float64,
                "declaration_date": pl.Date,
                "pay_date": pl.Date,
                "frequency": pl.Int64,
            },
        ).sort("ticker", "ex_dividend_date")

    # -- the truth, for evaluation only: no part of Market, and the server has no route to it ------------------------

    def truth(self) -> pl.DataFrame:
        """Injected prints and what they were; columns of `episodes.TRUTH_SCHEMA`. For evaluation only."""
        symbols = self._symbols(self._prints.contract).to_numpy()
        return planning.truth_table(
            self.config, self._universe, self._paths, self._listings, symbols, self._episodes, self._prints
        )

    def write_truth(self, path: Path) -> None:
        """Write `truth()` as Parquet to `path`, which belongs outside the lake."""
        self.truth().write_parquet(path)

    # -- time ------------------------------------------------------------------------------------------------------

    def _day(self, session: date) -> int:
        place = bisect_right(self._days, session) - 1
        if place < self._start or self._days[place] != session:
            raise UnknownSession(
                f"the simulated market has no session {session}; it has {self._days[self._start]} to {self._days[-1]}"
            )
        return place

    def _date(self, day: int) -> date:
        if day < len(self._days):
            return self._days[day]
        return calendar.next_session(self._days[-1], day - len(self._days) + 1)

    def _moment(self, at: datetime) -> Moment:
        local = at.astimezone(calendar.NEW_YORK)
        today = local.date()
        if calendar.is_session(today) and at >= calendar.session_open(today):
            day = self._day(today)
            opened, closed = calendar.session_open(today), calendar.session_close(today)
            return Moment(day, min((at - opened) / (closed - opened), 1.0), False, ordinal(today))
        # Before the open: yesterday's picture, without what has expired, positions updated once they are published.
        day = self._day(calendar.previous_session(today))
        published = calendar.is_session(today) and local.time() >= OPEN_INTEREST_PUBLISHED
        return Moment(day, 1.0, published, ordinal(today))

    # -- state -----------------------------------------------------------------------------------------------------

    def _path(self, day: int) -> np.ndarray:
        with self._lock:
            return _remember(self._spots, day, 4, lambda: intraday_path(self.config, self._paths, day))

    def _flow(self, day: int) -> Flow:
        with self._lock:
            return _remember(self._flows, day, 2, lambda: self._draw(day))

    def _draw(self, day: int) -> Flow:
        ids = self._listings.live(day)
        term = self._term(day, ids, 0.0)
        years = np.maximum(term.years, 1 / 730)
        moneyness = np.log(self._listings.strike[ids] / term.forward) / (term.atm * np.sqrt(years))
        left = self._listings.expires[ids] - self._ordinals[day]
        # An index contract that settles at the open has stopped trading the day before.
        tradable = ~((left == 0) & self._listings.series_am[self._listings.series[ids]])
        return draw_flow(
            self.config, self._universe, self._paths, self._listings, self._prints, day, ids, moneyness, left, tradable
        )

    def _book(self, day: int) -> Book:
        with self._lock:
            return self._finish(day)

    def _finish(self, day: int) -> Book:
        """The book of `day`, made from the nearest earlier one that is still known."""
        if day in self._books:
            self._books.move_to_end(day)
            return self._books[day]
        known = [d for d in range(self._start, day) if d in self._books or self._is_cached(d)]
        for d in range(known[-1] if known else self._start, day + 1):
            if d in self._books:
                continue
            book = self._load(d) or self._bars(d, 1.0)
            self._books[d] = book
            self._save(d, book)
            while len(self._books) > 2 and sum(b.nbytes for b in self._books.values()) > _STATE_BYTES:
                self._books.popitem(last=False)
        return self._books[day]

    def _bars(self, day: int, fraction: float) -> Book:
        """The session up to `fraction` on top of the session before: bars of what traded, old bars of what did not."""
        flow = self._flow(day)
        ids = flow.ids
        old = self._carry(day, flow)
        share = volume_clock(fraction)
        volume = flow.volume(share)
        traded = np.flatnonzero(volume > 0)
        rng = self.config.stream("bars", day)
        first_draw, last_draw, side, spread_draw = (rng.random(len(ids))[traded] for _ in range(4))
        # Who is in a hurry pays the ask: lines that informed money buys today close near it.
        hurried = self._prints.contract[(self._prints.day == day) & (self._prints.bump > 0)]
        side = np.where(np.isin(ids[traded], hurried), np.maximum(side, 0.9), side)
        count = np.minimum(volume[traded], 40)
        last = fraction * last_draw ** (1 / count)
        first = np.minimum(fraction * (1 - first_draw ** (1 / count)), last)
        close_value, close_half = self._trade_price(day, ids[traded], last)
        open_value, open_half = self._trade_price(day, ids[traded], first)
        close = _tick(close_value + (side - 0.5) * close_half)
        open_ = np.where(volume[traded] > 1, _tick(open_value + (spread_draw - 0.5) * open_half), close)
        stretch = np.where(count > 2, (1 - 1 / count) * 0.25 * np.abs(close - open_) + 0.4 * close_half, 0.0)
        high = _tick(np.maximum(open_, close) + stretch)
        low = np.maximum(_tick(np.minimum(open_, close) - stretch), 0.01)
        low = np.minimum(low, np.minimum(open_, close))
        seconds = (calendar.session_close(self._days[day]) - calendar.session_open(self._days[day])).total_seconds()
        for name, fresh in {
            "bar_day": np.full(len(traded), day),
            "bar_seconds": np.floor(last * seconds),
            "bar_volume": volume[traded],
            "bar_open": open_,
            "bar_high": high,
            "bar_low": low,
            "bar_close": close,
            "bar_vwap": low + (high - low) * (0.3 * spread_draw + 0.35),
        }.items():
            old[name][traded] = fresh
        positions = old["open_interest"]
        following = positions + flow.position_change(positions) if fraction >= 1 else positions
        return Book(ids=ids.astype(np.int32), next_open_interest=following.astype(np.int32), **old)

    def _carry(self, day: int, flow: Flow) -> dict[str, np.ndarray]:
        """What the morning of `day` knows: open interest and the bars of earlier sessions, through splits."""
        ids = flow.ids
        blank = {
            "open_interest": np.zeros(len(ids), np.int32),
            "bar_day": np.full(len(ids), -1, np.int32),
            **{f"bar_{name}": np.zeros(len(ids), np.int32) for name in ("seconds", "volume")},
            **{f"bar_{name}": np.zeros(len(ids), np.float32) for name in ("open", "high", "low", "close", "vwap")},
        }
        left = self._listings.expires[ids] - self._ordinals[day]
        if day == self._start:
            name_volume = self._universe["option_volume"].to_numpy()[self._listings.underlying[ids]]
            blank["open_interest"] = opening_interest(self.config, flow.expected, left, name_volume).astype(np.int32)
            return blank
        before = self._book(day - 1)
        source = np.where(
            (self._listings.predecessor[ids] >= 0) & (self._listings.listed[ids] == day),
            self._listings.predecessor[ids],
            ids,
        )
        place = np.minimum(np.searchsorted(before.ids, source), len(before.ids) - 1)
        held = np.flatnonzero(before.ids[place] == source)
        place = place[held]
        factor = np.where(source[held] != ids[held], self._listings.oi_factor[ids[held]], 1)
        blank["open_interest"][held] = before.next_open_interest[place] * factor
        same = source[held] == ids[held]
        # A renamed contract starts without a bar, as a new symbol does at the vendor.
        for name, values in blank.items():
            if name.startswith("bar_"):
                values[held[same]] = getattr(before, name)[place[same]]
        return blank

    def _trade_price(self, day: int, ids: np.ndarray, fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Model price at each contract's own moment, and the width of the quote round it."""
        price, spot = self._value(day, ids, fraction)[:2]
        bid, ask = quotes(price.price, spot, self._illiquidity[self._listings.underlying[ids]])
        return np.clip(price.price, 0.01, None), ask - np.maximum(bid, 0.01)

    # -- prices ----------------------------------------------------------------------------------------------------

    @property
    def _illiquidity(self) -> np.ndarray:
        volume = self._universe["option_volume"].to_numpy()
        return np.clip(1.0 - np.log10(volume) / 6.0, 0.0, 1.0)

    def _term(self, day: int, ids: np.ndarray, fraction: np.ndarray | float) -> _Term:
        listings, paths = self._listings, self._paths
        u, series = listings.underlying[ids], listings.series[ids]
        spot = spot_at(self._path(day), u, fraction) * listings.shares[ids] / 100.0
        opened, closed = (
            stamp.astimezone(calendar.NEW_YORK)
            for stamp in (calendar.session_open(self._days[day]), calendar.session_close(self._days[day]))
        )
        minute = opened.hour * 60 + opened.minute + np.asarray(fraction) * ((closed - opened).total_seconds() / 60)
        settles = np.where(listings.series_am[series], 570, 960)
        left = listings.series_expires[series] - self._ordinals[day]
        years = np.maximum(left * 1440 + settles - minute, 1.0) / 525_600.0
        short = paths.volatility[day - 1, u] * (1 - np.asarray(fraction)) + paths.volatility[day, u] * fraction
        upcoming = paths.earnings_day[day, u]
        last_day = self._day_index(listings.series_expires)[series]
        releases = np.where(last_day >= upcoming, 1 + (last_day - upcoming) // QUARTER, 0)
        long = self._universe["long_volatility"].to_numpy()[u]
        atm = at_the_money(short, long, years, releases, self._universe["earnings_move"].to_numpy()[u])
        amount, ex_ordinal = self._pending_dividends(day)
        paid = np.where(ex_ordinal[u] <= listings.series_expires[series], amount[u], 0.0) * listings.shares[ids] / 100.0
        later_yield = self._universe["dividend_yield"].to_numpy()[u] * np.maximum(years - 0.25, 0.0)
        forward = (spot - paid) * np.exp(RISK_FREE_RATE * years - later_yield)
        return _Term(spot, forward, years, atm)

    def _value(
        self, day: int, ids: np.ndarray, fraction: np.ndarray | float
    ) -> tuple[Valuation, np.ndarray, np.ndarray]:
        """Model value, effective spot and implied volatility of contracts at moments of `day`."""
        listings = self._listings
        term = self._term(day, ids, fraction)
        u = listings.underlying[ids]
        volatility = smile_volatility(term.atm, term.forward, listings.strike[ids], term.years, self._smile(u))
        volatility = volatility * self._bump(day, ids)
        american = ~(self._universe["type"] == "INDEX").to_numpy()[u]
        model = value(
            listings.right[ids] == 1, term.spot, term.forward, listings.strike[ids], term.years, volatility, american
        )
        return model, term.spot, volatility

    def _smile(self, u: np.ndarray) -> Smile:
        fund = (self._universe["type"] != "CS").to_numpy()
        own = self.config.stream("smile").random(len(fund))
        slope = np.where(fund, -0.16, -0.05 - 0.06 * own)
        return Smile(slope[u], np.where(fund, 0.05, 0.06 + 0.05 * own)[u])

    def _bump(self, day: int, ids: np.ndarray) -> np.ndarray:
        """Relative rise of volatility near lines that informed money has bought in the last sessions, fading."""
        bump = np.ones(len(ids))
        prints, listings = self._prints, self._listings
        for row in np.flatnonzero((prints.bump > 0) & (prints.day <= day) & (day <= prints.day + 3)):
            contract = prints.contract[row]
            if self._episodes[prints.episode[row]].news <= day:
                continue
            near = np.flatnonzero(
                (listings.underlying[ids] == listings.underlying[contract])
                & (listings.expires[ids] == listings.expires[contract])
            )
            distance = np.log(listings.strike[ids[near]] / listings.strike[contract]) / 0.08
            bump[near] += prints.bump[row] * 0.6 ** (day - prints.day[row]) * np.exp(-0.5 * distance**2)
        return np.minimum(bump, 1.25)

    def _pending_dividends(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        dividends = self._paths.dividends
        amount = np.zeros(self._universe.height)
        ex_ordinal = np.full(self._universe.height, 10**9)
        known = (dividends.declared <= day) & (dividends.ex_day > day)
        amount[dividends.underlying[known]] = dividends.amount[known]
        ex_ordinal[dividends.underlying[known]] = [ordinal(self._date(d)) for d in dividends.ex_day[known].tolist()]
        return amount, ex_ordinal

    def _day_index(self, expires: np.ndarray) -> np.ndarray:
        """Day index of an expiration (estimated at 252 sessions a year beyond the simulated days)."""
        inside = np.searchsorted(self._ordinals, expires, side="right") - 1
        beyond = len(self._ordinals) - 1 + ((expires - self._ordinals[-1]) * 252) // 365
        return np.where(expires <= self._ordinals[-1], inside, beyond)

    def _stock_volume(self, day: int) -> np.ndarray:
        rng = self.config.stream("shares", day)
        noise = np.exp(0.25 * rng.standard_normal(self._universe.height))
        return self._universe["share_volume"].to_numpy() * self._paths.busy[day] ** 0.7 * noise

    # -- frames ----------------------------------------------------------------------------------------------------

    def _symbols(self, ids: np.ndarray) -> pl.Series:
        right = np.where(self._listings.right[ids] == 0, "C", "P")
        return pl.DataFrame(
            {
                "prefix": self._prefixes.gather(self._listings.series[ids]),
                "right": right,
                "strike": np.rint(self._listings.strike[ids] * 1000).astype(np.int64),
            }
        ).select(pl.concat_str("prefix", "right", pl.col("strike").cast(pl.String).str.zfill(8)).alias("contract"))[
            "contract"
        ]

    def _identity(self, ids: np.ndarray) -> pl.DataFrame:
        listings = self._listings
        u = listings.underlying[ids]
        index = (self._universe["type"] == "INDEX").to_numpy()[u]
        return pl.DataFrame(
            {
                "underlying": self._universe["ticker"].gather(u),
                "contract": self._symbols(ids),
                "contract_type": np.where(listings.right[ids] == 0, "call", "put"),
                "exercise_style": np.where(index, "european", "american"),
                "expiration": pl.Series(listings.expires[ids].astype(np.int32)).cast(pl.Date),
                "strike": listings.strike[ids],
                "shares_per_contract": listings.shares[ids],
            }
        )

    def _render(self, moment: Moment, at: datetime, book: Book, kept: np.ndarray) -> pl.DataFrame:
        day, ids = moment.day, book.ids[kept]
        model, spot, volatility = self._value(day, ids, moment.fraction)
        u = self._listings.underlying[ids]
        bid, ask = quotes(model.price, spot, self._illiquidity[u])
        rng = self.config.stream("vendor", day)
        wobble = rng.standard_normal(len(book.ids))[kept]
        sizes = np.ceil(np.exp(2.5 + rng.standard_normal((2, len(book.ids)))[:, kept]))
        priced = (bid > 0) & (np.abs(model.delta) < _DEEP) & (model.price > 0.015)
        positions = (book.next_open_interest if moment.next_positions else book.open_interest)[kept]
        closed = calendar.session_close(self._days[day])
        stamp = min(at.astimezone(UTC), closed)
        bar_day = book.bar_day[kept]
        opens = pl.Series([calendar.session_open(d) for d in self._days], dtype=pl.Datetime("us", "UTC"))
        midnights = pl.Series(
            [datetime.combine(d, time(0), calendar.NEW_YORK).astimezone(UTC) for d in self._days],
            dtype=pl.Datetime("us", "UTC"),
        )
        bars = pl.DataFrame({name: getattr(book, f"bar_{name}")[kept] for name in _BAR_FIELDS}).select(
            pl.when(pl.Series(bar_day >= 0)).then(pl.col(name).cast(pl.Float64).round(4)).alias(f"day_{name}")
            for name in _BAR_FIELDS
        )
        greeks = pl.DataFrame(
            {
                "implied_volatility": np.round(volatility * (1 + 0.004 * wobble), 6),
                **{name: getattr(model, name) for name in ("delta", "gamma", "theta", "vega")},
            }
        ).select(pl.when(pl.Series(priced)).then(pl.all()))
        ever = pl.Series(bar_day >= 0)
        seconds = pl.Series(book.bar_seconds[kept].astype(np.int64) * 1_000_000).cast(pl.Duration("us"))
        frame = self._identity(ids).with_columns(
            *bars.iter_columns(),
            *greeks.iter_columns(),
            pl.when(ever).then(midnights.gather(np.maximum(bar_day, 0))).alias("day_updated_at"),
            pl.when(ever).then(opens.gather(np.maximum(bar_day, 0)) + seconds).alias("last_trade_at"),
            bars["day_close"].alias("last_price"),
            pl.when(ever).then(pl.Series(np.maximum(1.0, np.floor(book.bar_volume[kept] ** 0.5)))).alias("last_size"),
            open_interest=pl.Series(positions.astype(np.float64)),
            bid=pl.Series(bid),
            ask=pl.Series(ask),
            bid_size=pl.Series(np.where(bid > 0, sizes[0], 0.0)),
            ask_size=pl.Series(sizes[1]),
            quote_at=pl.lit(stamp, pl.Datetime("us", "UTC")),
            underlying_price=pl.Series(np.round(spot_at(self._path(day), u, moment.fraction), 2)),
            underlying_at=pl.lit(stamp, pl.Datetime("us", "UTC")),
        )
        return _shape(frame, RAW_OPTION_SNAPSHOTS)

    # -- cache -----------------------------------------------------------------------------------------------------

    def _cache_file(self, day: int) -> Path | None:
        if self.config.cache_dir is None:
            return None
        return self.config.cache_dir / self.config.fingerprint() / f"book-{self._days[day]}.parquet"

    def _is_cached(self, day: int) -> bool:
        path = self._cache_file(day)
        return path is not None and path.is_file()

    def _load(self, day: int) -> Book | None:
        path = self._cache_file(day)
        if path is None or not path.is_file():
            return None
        frame = pl.read_parquet(path)
        return Book(**{name: frame[name].to_numpy() for name in frame.columns})

    def _save(self, day: int, book: Book) -> None:
        path = self._cache_file(day)
        if path is None or path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may be writing the same bytes: each under its own name, the last rename wins.
        partial = path.with_suffix(f".{os.getpid()}.partial")
        pl.DataFrame({f.name: getattr(book, f.name) for f in fields(book)}).write_parquet(partial)
        partial.rename(path)


@dataclass(frozen=True)
class _Term:
    spot: np.ndarray
    forward: np.ndarray
    years: np.ndarray
    atm: np.ndarray


_BAR_FIELDS = ("open", "high", "low", "close", "volume", "vwap")


def _shape(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """`frame` with the served columns of `table`, in its types and order."""
    return frame.select(
        pl.col(column.name).cast(column.dtype)
        for column in table.columns
        if column.name not in MARKET_COLUMNS_NOT_SERVED
    )


def _contract_order(listings: Listings) -> tuple[np.ndarray, pl.Series]:
    """A number per contract that sorts as (underlying, symbol) does, and each series' symbol up to the expiration."""
    expiration = pl.Series(listings.series_expires.astype(np.int32)).cast(pl.Date).dt.strftime("%y%m%d")
    prefixes = pl.DataFrame({"root": listings.series_root, "expiration": expiration}).select(
        pl.concat_str(pl.lit("O:"), "root", "expiration").alias("prefix")
    )["prefix"]
    rank = (
        pl.DataFrame({"underlying": listings.series_underlying, "prefix": prefixes})
        .select(pl.struct("underlying", "prefix").rank("dense").alias("rank"))["rank"]
        .to_numpy()
        .astype(np.int64)
    )
    strike = np.rint(listings.strike * 1000).astype(np.int64)
    return ((rank[listings.series] * 2 + listings.right) << 30) + strike, prefixes


def _tick(price: np.ndarray) -> np.ndarray:
    return np.maximum(np.round(price, 2), 0.01)


def _remember(memory: OrderedDict[int, T], key: int, size: int, make: Callable[[], T]) -> T:
    if key not in memory:
        memory[key] = make()
        while len(memory) > size:
            memory.popitem(last=False)
    return memory[key]
