"""A market written by hand: five sessions, six stocks, one index, chains small enough to check by eye."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal

import polars as pl

from flowlake import calendar
from flowlake.sandbox.market import MARKET_COLUMNS_NOT_SERVED, UnknownSession
from flowlake.schemas.market import RAW_OPTION_SNAPSHOTS, RAW_STOCK_SNAPSHOTS

SESSIONS = calendar.sessions(date(2026, 6, 15), date(2026, 6, 22))
EXPIRATIONS = (date(2026, 7, 17), date(2026, 8, 21), date(2027, 1, 15))
SPOTS = {"AAPL": 200.0, "BRKB": 480.0, "F": 11.0, "KLAC": 90.0, "SPX": 6_000.0, "ZZZ": 5.0}
"""Underlyings with chains, and their price on the first session; SPX is an index."""

CHAIN_SCHEMA = {
    name: dtype for name, dtype in RAW_OPTION_SNAPSHOTS.schema.items() if name not in MARKET_COLUMNS_NOT_SERVED
}
STOCK_SCHEMA = {
    name: dtype for name, dtype in RAW_STOCK_SNAPSHOTS.schema.items() if name not in MARKET_COLUMNS_NOT_SERVED
}


class TinyMarket:
    """The `Market` of the server's tests. `strikes` per expiration sets the size of every chain."""

    def __init__(self, strikes: int = 50, origin: Literal["simulated", "recorded"] = "simulated") -> None:
        self.strikes = strikes
        self._origin: Literal["simulated", "recorded"] = origin

    @property
    def origin(self) -> Literal["simulated", "recorded"]:
        return self._origin

    def sessions(self) -> list[date]:
        return list(SESSIONS)

    def stocks(self, at: datetime) -> pl.DataFrame:
        session = self._session(at)
        bars = self.stock_bars(session, session)
        return bars.select(
            "ticker",
            *("open", "high", "low", "close", "volume", "vwap"),
            previous_close=pl.col("close") - 1,
            last_price=pl.when(pl.col("ticker") != "ZZZ").then("close"),
            bid=pl.col("close") - 0.01,
            ask=pl.col("close") + 0.01,
            updated_at=pl.lit(at, pl.Datetime("us", "UTC")),
        ).select(pl.col(name).cast(dtype) for name, dtype in STOCK_SCHEMA.items())

    def chain(self, at: datetime) -> pl.DataFrame:
        session = self._session(at)
        day = SESSIONS.index(session)
        listed = self.contracts(session)
        number = pl.int_range(pl.len(), dtype=pl.Int64)
        traded, solvable, quoted = number % 3 == 0, number % 5 != 0, number % 11 != 0
        close = (pl.col("strike") * 0.02 + day).round(2)
        midnight = datetime.combine(session, datetime.min.time(), calendar.NEW_YORK).astimezone(UTC)
        columns = {
            **{f"day_{name}": pl.when(traded).then(close) for name in ("open", "high", "low", "close", "vwap")},
            "day_volume": pl.when(traded).then(number + day),
            "day_updated_at": pl.when(traded).then(pl.lit(midnight, pl.Datetime("us", "UTC"))),
            "open_interest": number * 10 + day,
            "implied_volatility": pl.when(solvable).then(0.25),
            **{name: pl.when(solvable).then(value) for name, value in (("delta", 0.5), ("gamma", -3.15e-10))},
            **{name: pl.when(solvable).then(value) for name, value in (("theta", -0.02), ("vega", 0.1))},
            "bid": pl.when(quoted).then(close - 0.01),
            "ask": pl.when(quoted).then(close + 0.01),
            "bid_size": pl.when(quoted).then(11),
            "ask_size": pl.when(quoted).then(12),
            "quote_at": pl.when(quoted).then(pl.lit(at, pl.Datetime("us", "UTC"))),
            "last_price": pl.when(traded).then(close),
            "last_size": pl.when(traded).then(2),
            "last_trade_at": pl.when(traded).then(pl.lit(at, pl.Datetime("us", "UTC"))),
            "underlying_price": pl.col("underlying").replace_strict(SPOTS) + day,
            "underlying_at": pl.lit(at, pl.Datetime("us", "UTC")),
        }
        return listed.with_columns(**columns).select(pl.col(name).cast(dtype) for name, dtype in CHAIN_SCHEMA.items())

    def tickers(self, session: date) -> pl.DataFrame:
        self._require(session)
        names = [f'{ticker} "Holdings", Inc. {{}}' for ticker in SPOTS]
        kinds = ["INDEX" if ticker == "SPX" else "CS" for ticker in SPOTS]
        return pl.DataFrame(
            {"ticker": list(SPOTS), "name": names, "type": kinds},
        ).with_columns(
            primary_exchange=pl.when(pl.col("type") == "CS").then(pl.lit("XNYS")),
            cik=pl.when(pl.col("ticker") == "AAPL").then(pl.lit("0000320193")),
            market_cap=pl.when(pl.col("type") == "CS").then(1e9),
        )

    def contracts(self, session: date) -> pl.DataFrame:
        self._require(session)
        underlyings = pl.DataFrame({"underlying": list(SPOTS), "spot": list(SPOTS.values())})
        strikes = pl.DataFrame({"step": range(self.strikes)})
        expirations = pl.DataFrame({"expiration": [day for day in EXPIRATIONS if day >= session]})
        kinds = pl.DataFrame({"contract_type": ["call", "put"]})
        frame = underlyings.join(expirations, how="cross").join(kinds, how="cross").join(strikes, how="cross")
        strike = (pl.col("spot") * 0.5 + pl.col("step") * 0.5).round(3)
        contract = pl.concat_str(
            pl.lit("O:"),
            pl.col("underlying").replace("SPX", "SPXW"),
            pl.col("expiration").dt.strftime("%y%m%d"),
            pl.col("contract_type").str.slice(0, 1).str.to_uppercase(),
            (strike * 1000).round().cast(pl.Int64).cast(pl.String).str.zfill(8),
        )
        style = pl.when(pl.col("underlying") == "SPX").then(pl.lit("european")).otherwise(pl.lit("american"))
        return frame.select(
            "underlying",
            "contract_type",
            "expiration",
            contract=contract,
            strike=strike,
            exercise_style=style,
            shares_per_contract=pl.lit(100.0),
        ).sort("underlying", "contract")

    def stock_bars(self, start: date, end: date) -> pl.DataFrame:
        days = [day for day in SESSIONS if start <= day <= end]
        rows = [
            {"session": day, "ticker": ticker, "close": spot * self._split_factor(ticker, day) + SESSIONS.index(day)}
            for day in days
            for ticker, spot in SPOTS.items()
        ]
        frame = pl.DataFrame(rows, schema={"session": pl.Date, "ticker": pl.String, "close": pl.Float64})
        close = pl.col("close")
        return frame.with_columns(
            open=close - 0.5, high=close + 1, low=close - 1, volume=close * 1000, vwap=close, transactions=pl.lit(77)
        ).sort("session", "ticker")

    def option_bars(self, session: date) -> pl.DataFrame:
        self._require(session)
        chain = self.chain(calendar.session_close(session)).filter(pl.col("day_close").is_not_null())
        renamed = {name: pl.col(f"day_{name}") for name in ("open", "high", "low", "close", "volume", "vwap")}
        return chain.select("contract", **renamed, transactions=pl.lit(3)).sort("contract")

    def splits(self, as_of: date) -> pl.DataFrame:
        split = {"ticker": "KLAC", "execution_date": date(2026, 6, 17), "split_from": 1.0, "split_to": 10.0}
        future = {"ticker": "F", "execution_date": date(2026, 7, 20), "split_from": 4.0, "split_to": 1.0}
        return pl.DataFrame([future, split]) if as_of >= date(2026, 6, 16) else pl.DataFrame([split])

    def dividends(self, as_of: date) -> pl.DataFrame:
        rows = [
            {
                "ticker": "AAPL",
                "ex_dividend_date": date(2026, 6, 15) + timedelta(days=91 * n),
                "cash_amount": 0.25 + n / 100,
                "declaration_date": date(2026, 6, 1),
                "pay_date": None,
                "frequency": 4,
            }
            for n in range(3)
        ]
        return pl.DataFrame(rows, schema_overrides={"pay_date": pl.Date})

    def _split_factor(self, ticker: str, day: date) -> float:
        return 10.0 if ticker == "KLAC" and day < date(2026, 6, 17) else 1.0

    def _session(self, at: datetime) -> date:
        day = at.astimezone(calendar.NEW_YORK).date()
        if calendar.is_session(day) and at < calendar.session_open(day):
            day = calendar.previous_session(day)
        return self._require(day)

    def _require(self, session: date) -> date:
        if session not in SESSIONS:
            raise UnknownSession(f"no session {session}; this market has {SESSIONS[0]} to {SESSIONS[-1]}")
        return session
