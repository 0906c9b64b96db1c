"""A market as the server looks at it: frames per moment, kept while they are being paged, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, TypeVar

import polars as pl

from flowlake import calendar
from flowlake.sandbox.market import Market, UnknownSession

T = TypeVar("T")

CHAIN_BYTES, FRAME_BYTES = 100_000_000, 100_000_000
"""Memory for chains and for other frames by polars' estimate, which is about half of what the process takes: four
recorded sessions, or the one session of a whole market that is being paged."""

BAR_SCHEMA = {"session": pl.Date, "ticker": pl.String} | dict.fromkeys(
    ("open", "high", "low", "close", "volume", "vwap", "transactions"), pl.Float64
)
"""Columns of a market without bars in the range asked for."""


class Recent(Generic[T]):
    """The most recently used values, at most `limit` in total weight; the newest is always kept."""

    def __init__(self, limit: int, weigh: Callable[[T], int] = lambda value: 1) -> None:
        self._limit, self._weigh, self._weight = limit, weigh, 0
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, made by `make` where it is not kept."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key][0]
        value = make()
        weight = self._weigh(value)
        self._values[key] = (value, weight)
        self._weight += weight
        while self._weight > self._limit and len(self._values) > 1:
            self._weight -= self._values.popitem(last=False)[1][1]
        return value


def weight(frame: pl.DataFrame) -> int:
    """Bytes `frame` holds, about."""
    return int(frame.estimated_size())


@dataclass(frozen=True)
class Chains:
    """Every chain of one moment, and where each underlying's rows lie in it."""

    frame: pl.DataFrame
    spans: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Chains:
        """`frame` must be sorted by underlying, as `Market.chain` promises."""
        lengths = frame.group_by("underlying", maintain_order=True).len()
        starts = lengths.get_column("len").cum_sum().shift(1, fill_value=0)
        spans = zip(lengths["underlying"], zip(starts, lengths["len"], strict=True), strict=True)
        return cls(frame, dict(spans))

    def chain(self, underlying: str) -> pl.DataFrame:
        """The chain of one underlying, empty where it has none. `I:SPX` is `SPX`, `BRK.B` is `BRKB` if need be."""
        plain = underlying.removeprefix("I:")
        name = plain if plain in self.spans else plain.replace(".", "")
        return self.frame.slice(*self.spans.get(name, (0, 0)))


class MarketView:
    """A `Market` behind caches; every method's frame is what the endpoints filter, sort and render."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.sessions = market.sessions()
        self._chains: Recent[Chains] = Recent(CHAIN_BYTES, weigh=lambda chains: weight(chains.frame))
        self._frames: Recent[pl.DataFrame] = Recent(FRAME_BYTES, weigh=weight)

    def session(self, at: datetime) -> date:
        """The session that reference data of the moment `at` belong to: its New York date, or the session before it
        while the exchange is closed and, as in `Market.chain`, before the open of a session the market lacks."""
        day = at.astimezone(calendar.NEW_YORK).date()
        before_open = calendar.is_session(day) and at < calendar.session_open(day)
        if before_open and day not in self.sessions:
            day = calendar.previous_session(day)
        return self.session_on(day)

    def session_on(self, day: date) -> date:
        """`day`, or the session before it where the exchange is closed; `UnknownSession` if the market lacks that."""
        session = day if calendar.is_session(day) else calendar.previous_session(day)
        if session in self.sessions:
            return session
        first, last = self.sessions[0], self.sessions[-1]
        raise UnknownSession(
            f"This sandbox has no session {session}; it has {len(self.sessions)} sessions from {first} to {last}"
        )

    def chains(self, at: datetime) -> Chains:
        """Every chain as of `at`."""
        return self._chains.get(at, lambda: Chains.of(self.market.chain(at)))

    def stocks(self, at: datetime) -> pl.DataFrame:
        """All stocks as of `at`, without the indices that the vendor's stock snapshot does not list."""
        indices = self.indices(self.session(at))
        return self._frame(
            ("stocks", at),
            lambda: self.market.stocks(at).filter(~pl.col("ticker").is_in(sorted(indices))),
        )

    def tickers(self, session: date) -> pl.DataFrame:
        """Reference tickers as the vendor spells them ('I:SPX'), with their `market`."""
        is_index = pl.col("type") == "INDEX"
        return self._frame(
            ("tickers", session),
            lambda: (
                self.market.tickers(session)
                .with_columns(
                    ticker=pl.when(is_index).then(pl.concat_str(pl.lit("I:"), "ticker")).otherwise("ticker"),
                    market=pl.when(is_index).then(pl.lit("indices")).otherwise(pl.lit("stocks")),
                )
                .sort("ticker")
            ),
        )

    def indices(self, session: date) -> set[str]:
        """Plain names of the index underlyings."""
        tickers = self.tickers(session).filter(pl.col("market") == "indices").get_column("ticker")
        return set(tickers.str.strip_prefix("I:"))

    def contracts(self, session: date) -> pl.DataFrame:
        """Contracts listed on `session`."""
        return self._frame(("contracts", session), lambda: self.market.contracts(session))

    def stock_bars(self, start: date, end: date, at: datetime, *, adjusted: bool) -> pl.DataFrame:
        """Daily stock bars of the sessions complete at `at`; `adjusted` for the splits executed by then."""
        end = min(end, calendar.latest_closed_session(at))
        today = at.astimezone(calendar.NEW_YORK).date()
        if start > end:
            return pl.DataFrame(schema=BAR_SCHEMA)

        def make() -> pl.DataFrame:
            bars = self.market.stock_bars(start, end)
            return adjust_for_splits(bars, self.splits(today), today) if adjusted else bars

        return self._frame(("stock_bars", start, end, adjusted, today), make)

    def option_bars(self, contract: str, start: date, end: date, at: datetime) -> pl.DataFrame:
        """Daily bars of one contract in the sessions complete at `at`, with their `session`."""
        end = min(end, calendar.latest_closed_session(at))
        frames = [
            self._frame(("option_bars", day), lambda day=day: self.market.option_bars(day))
            .filter(pl.col("contract") == contract)
            .with_columns(session=pl.lit(day))
            for day in self.sessions
            if start <= day <= end
        ]
        return pl.concat(frames) if frames else pl.DataFrame(schema=BAR_SCHEMA)

    def splits(self, day: date) -> pl.DataFrame:
        """Splits announced by `day`, with the `id` the vendor gives each."""
        return self._frame(
            ("splits", day),
            lambda: self.market.splits(day).with_columns(id=pl.concat_str("ticker", "execution_date", separator="-")),
        )

    def dividends(self, day: date) -> pl.DataFrame:
        """Cash dividends declared by `day`, with the `id` the vendor gives each."""
        return self._frame(
            ("dividends", day),
            lambda: self.market.dividends(day).with_columns(
                id=pl.concat_str("ticker", "ex_dividend_date", separator="-")
            ),
        )

    def _frame(self, key: Hashable, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        return self._frames.get(key, make)


def adjust_for_splits(bars: pl.DataFrame, splits: pl.DataFrame, today: date) -> pl.DataFrame:
    """`bars` in today's shares: prices times from/to and volume times to/from of every split executed since each bar.

    Never adjusted for dividends, as the vendor's aggregates.
    """
    executed = splits.filter(pl.col("execution_date") <= today).select(
        "ticker", "execution_date", ratio=pl.col("split_from") / pl.col("split_to")
    )
    factors = (
        bars.select("session", "ticker")
        .join(executed, on="ticker")
        .filter(pl.col("session") < pl.col("execution_date"))
        .group_by("session", "ticker")
        .agg(factor=pl.col("ratio").product())
    )
    if factors.is_empty():
        return bars
    factor = pl.col("factor").fill_null(1.0)
    return (
        bars.join(factors, on=["session", "ticker"], how="left", maintain_order="left")
        .with_columns(
            *(pl.col(name) * factor for name in ("open", "high", "low", "close", "vwap")),
            volume=pl.col("volume") / factor,
        )
        .drop("factor")
    )
