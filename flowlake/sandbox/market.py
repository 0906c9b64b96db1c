"""What a sandbox market can be asked: the one interface behind the simulator and the recorded sessions.

Frames carry the raw tables' column names (`flowlake.schemas.market`); what a market does not have stays null, and the
server leaves null fields out of its answers as the vendor does for lower plans.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal, Protocol

import polars as pl

Origin = Literal["simulated", "recorded"]

MARKET_COLUMNS_NOT_SERVED = ("session", "fetched_at", "observed_at", "available_at", "origin", "timeframe")
"""Columns of the raw tables that the client or the plan adds, not the market."""


class UnknownSession(LookupError):
    """The market has no data for the session asked for; the message names the sessions it has."""


class Market(Protocol):
    """A market that can be looked at as of any moment `at` (aware datetime) of its sessions.

    Every method is deterministic and raises `UnknownSession` for a day the market does not cover. `at` before the open
    shows the session before, with open interest already updated where the market knows it.
    """

    @property
    def origin(self) -> Origin:
        """Label that travels with every row."""
        ...

    def sessions(self) -> list[date]:
        """Sessions the market covers, ascending."""
        ...

    def stocks(self, at: datetime) -> pl.DataFrame:
        """All stocks: columns of RAW_STOCK_SNAPSHOTS without MARKET_COLUMNS_NOT_SERVED, sorted by ticker."""
        ...

    def chain(self, at: datetime) -> pl.DataFrame:
        """Every active contract of every underlying: columns of RAW_OPTION_SNAPSHOTS without
        MARKET_COLUMNS_NOT_SERVED, sorted by underlying, contract."""
        ...

    def tickers(self, session: date) -> pl.DataFrame:
        """Reference data: ticker, name, type ('CS', 'ETF', 'INDEX'), primary_exchange, cik, market_cap (USD, null where
        unknown), sorted by ticker."""
        ...

    def contracts(self, session: date) -> pl.DataFrame:
        """Contracts listed on `session`: contract, underlying, contract_type, exercise_style, expiration, strike,
        shares_per_contract, sorted by underlying, contract."""
        ...

    def stock_bars(self, start: date, end: date) -> pl.DataFrame:
        """Daily bars, unadjusted: session, ticker, open, high, low, close, volume, vwap, transactions, sorted."""
        ...

    def option_bars(self, session: date) -> pl.DataFrame:
        """Daily bars of contracts that traded: contract, open, high, low, close, volume, vwap, transactions, sorted."""
        ...

    def splits(self, as_of: date) -> pl.DataFrame:
        """Splits announced by `as_of`: ticker, execution_date, split_from, split_to, sorted."""
        ...

    def dividends(self, as_of: date) -> pl.DataFrame:
        """Cash dividends declared by `as_of`: ticker, ex_dividend_date, cash_amount, declaration_date, pay_date,
        frequency, sorted."""
        ...
