"""Recorded sessions: end-of-day chains and stock lists kept as Parquet, offered through the sandbox's market interface.

The folder holds `option_chains/contracts.parquet` (date, ticker, expiration, right, strike, price, delta, volume, iv in
percent, oi), `option_chains/underlyings.parquet` (date, ticker, spot), `stocks/daily.parquet` (session_date, symbol,
exch, lastsale, pctchange, volume, market_cap_musd), optionally `stocks/reference_2026.parquet` (symbol, name) and
`corporate_actions.csv` (ticker, execution_date, split_from, split_to, announced).

What was not recorded stays null: quotes, gamma, theta, vega, last trades, highs and lows. A session is known only at
its close, so any earlier moment of its day shows the session before.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import polars as pl

from flowlake import calendar
from flowlake.sandbox.market import MARKET_COLUMNS_NOT_SERVED, UnknownSession
from flowlake.schemas.base import UTC_TIME, Table
from flowlake.schemas.market import RAW_OPTION_SNAPSHOTS, RAW_STOCK_SNAPSHOTS

OPEN_INTEREST_PUBLISHED = time(6, 30)
"""New York time from which a morning's open interest is shown."""

_EXCHANGES = {"nasdaq": "XNAS", "nyse": "XNYS", "amex": "XASE"}
_SPLIT_SCHEMA = pl.Schema(
    {
        "ticker": pl.String,
        "execution_date": pl.Date,
        "split_from": pl.Float64,
        "split_to": pl.Float64,
        "announced": pl.Date,
    }
)
_BAR_COLUMNS = ("open", "high", "low", "close", "volume", "vwap")

# Public facts (company announcements, visible in the strikes), used where the folder brings no list of its own. Their
# announcement days were not recorded, so each is known from its execution date on.
_KNOWN_SPLITS = (
    ("KLAC", date(2026, 6, 12), 1.0, 10.0, date(2026, 6, 12)),
    ("CRWD", date(2026, 7, 2), 1.0, 4.0, date(2026, 7, 2)),
    ("SOXS", date(2026, 7, 15), 10.0, 1.0, date(2026, 7, 15)),
)


class RecordingMissing(FileNotFoundError):
    """The folder lacks a file of a recording; the message names it."""


@dataclass(frozen=True)
class _Moment:
    session: date
    today: date
    positions: date | None


class RecordedMarket:
    """A `Market` over a folder of recorded sessions, one session in memory at a time."""

    origin: Literal["simulated", "recorded"] = "recorded"

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        for name in ("option_chains/contracts.parquet", "option_chains/underlyings.parquet", "stocks/daily.parquet"):
            if not (self.folder / name).is_file():
                raise RecordingMissing(f"{self.folder} is not a recording: {name} is missing")
        self._lines = lru_cache(maxsize=2)(self._scan_lines)

    def sessions(self) -> list[date]:
        """Exchange sessions in the recording; copies stored under holidays are not among them."""
        return list(self._sessions)

    def stocks(self, at: datetime) -> pl.DataFrame:
        """Every listed stock, and those underlyings (funds) that only the chain recording has a price for."""
        session = self._moment(at).session
        return _shape(
            self._stock_rows(session, session).with_columns(
                updated_at=pl.lit(calendar.session_close(session).astimezone(UTC), UTC_TIME)
            ),
            RAW_STOCK_SNAPSHOTS,
        )

    def chain(self, at: datetime) -> pl.DataFrame:
        """Every contract that has not expired, as of the last close before `at`."""
        moment = self._moment(at)
        lines = self._lines(moment.session).filter(pl.col("expiration") >= moment.today)
        if moment.positions:
            newer = self._lines(moment.positions).select("contract", pl.col("open_interest").alias("_newer"))
            lines = lines.join(newer, on="contract", how="left", maintain_order="left").with_columns(
                open_interest=pl.coalesce("_newer", "open_interest")
            )
        return _shape(lines, RAW_OPTION_SNAPSHOTS)

    def tickers(self, session: date) -> pl.DataFrame:
        """Reference data of the stocks and underlyings of `session`."""
        self._require(session)
        caps = self._stocks.filter(pl.col("session") == session).select(
            "ticker", pl.col("exch"), market_cap=pl.col("market_cap_musd").cast(pl.Float64) * 1e6
        )
        everyone = self._stock_rows(session, session).select("ticker")
        return (
            everyone.lazy()
            .join(caps.collect().lazy(), on="ticker", how="left")
            .join(self._names.lazy(), on="ticker", how="left")
            .select(
                "ticker",
                pl.coalesce("name", "ticker").alias("name"),
                pl.when(pl.col("exch").is_null()).then(pl.lit("ETF")).otherwise(pl.lit("CS")).alias("type"),
                pl.col("exch")
                .replace_strict(_EXCHANGES, default=None, return_dtype=pl.String)
                .alias("primary_exchange"),
                pl.lit(None, pl.String).alias("cik"),
                "market_cap",
            )
            .sort("ticker")
            .collect()
        )

    def contracts(self, session: date) -> pl.DataFrame:
        """Contracts of `session` that have not expired."""
        return self._lines(self._require(session)).select(
            "contract", "underlying", "contract_type", "exercise_style", "expiration", "strike", "shares_per_contract"
        )

    def stock_bars(self, start: date, end: date) -> pl.DataFrame:
        """Daily closes and volumes, unadjusted; the stock recording reaches further back than the chains."""
        frame = self._stock_rows(start, end)
        return frame.select("session", "ticker", *_BAR_COLUMNS, pl.lit(None, pl.Int64).alias("transactions")).sort(
            "session", "ticker"
        )

    def option_bars(self, session: date) -> pl.DataFrame:
        """Closes and volumes of the contracts that traded on `session`."""
        traded = self._lines(self._require(session)).filter(pl.col("day_updated_at").is_not_null())
        return traded.select(
            "contract",
            *(pl.col(f"day_{name}").alias(name) for name in _BAR_COLUMNS),
            pl.lit(None, pl.Int64).alias("transactions"),
        ).sort("contract")

    def splits(self, as_of: date) -> pl.DataFrame:
        """Splits announced by `as_of`."""
        return (
            self._splits.filter(pl.coalesce("announced", "execution_date") <= as_of)
            .drop("announced")
            .sort("ticker", "execution_date")
        )

    def dividends(self, as_of: date) -> pl.DataFrame:
        """Nothing: dividends were not recorded."""
        return pl.DataFrame(
            schema={
                "ticker": pl.String,
                "ex_dividend_date": pl.Date,
                "cash_amount": pl.Float64,
                "declaration_date": pl.Date,
                "pay_date": pl.Date,
                "frequency": pl.Int64,
            }
        )

    # -- time ------------------------------------------------------------------------------------------------------

    @cached_property
    def _recorded_dates(self) -> list[date]:
        return self._chains.select(pl.col("date").unique().sort()).collect()["date"].to_list()

    @cached_property
    def _sessions(self) -> list[date]:
        return [day for day in self._recorded_dates if calendar.is_session(day)]

    def _require(self, session: date) -> date:
        if session in self._sessions:
            return session
        have = f"the recording has {len(self._sessions)} sessions from {self._sessions[0]} to {self._sessions[-1]}"
        try:
            calendar.require_session(session)
        except calendar.NotASession as error:
            raise UnknownSession(f"{error}; {have}") from error
        raise UnknownSession(f"{session} was not recorded; {have}")

    def _moment(self, at: datetime) -> _Moment:
        local = at.astimezone(calendar.NEW_YORK)
        today = local.date()
        if today.weekday() < 5 and not calendar.is_session(today):
            self._require(today)
        if calendar.is_session(today) and at >= calendar.session_close(today):
            return _Moment(self._require(today), today, None)
        place = bisect_right(self._sessions, calendar.previous_session(today)) - 1
        if place < 0 or self._sessions[place] != calendar.previous_session(today):
            self._require(calendar.previous_session(today))
        published = today in self._sessions and local.time() >= OPEN_INTEREST_PUBLISHED
        return _Moment(self._sessions[place], today, today if published else None)

    # -- files -----------------------------------------------------------------------------------------------------

    @property
    def _chains(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.folder / "option_chains/contracts.parquet")

    @property
    def _spots(self) -> pl.LazyFrame:
        return (
            pl.scan_parquet(self.folder / "option_chains/underlyings.parquet")
            .select(pl.col("date").str.to_date().alias("session"), _ticker("ticker").alias("ticker"), "spot")
            .filter(pl.col("spot") > 0)
            # Two spellings of one ticker carry the same price but for rounding; any fixed choice will do.
            .group_by("session", "ticker")
            .agg(pl.col("spot").max())
        )

    @property
    def _stocks(self) -> pl.LazyFrame:
        return (
            pl.scan_parquet(self.folder / "stocks/daily.parquet")
            .rename({"session_date": "session"})
            .with_columns(_ticker("symbol").alias("ticker"))
        )

    @cached_property
    def _names(self) -> pl.DataFrame:
        path = self.folder / "stocks/reference_2026.parquet"
        if not path.is_file():
            return pl.DataFrame(schema={"ticker": pl.String, "name": pl.String})
        names = pl.read_parquet(path, columns=["symbol", "name"])
        return names.select(_ticker("symbol").alias("ticker"), "name").unique(
            "ticker", keep="first", maintain_order=True
        )

    @cached_property
    def _splits(self) -> pl.DataFrame:
        path = self.folder / "corporate_actions.csv"
        if not path.is_file():
            return pl.DataFrame(_KNOWN_SPLITS, schema=_SPLIT_SCHEMA, orient="row")
        return pl.read_csv(path, schema_overrides=_SPLIT_SCHEMA).select(_SPLIT_SCHEMA.names())

    def _scan_lines(self, session: date) -> pl.DataFrame:
        """All contracts of one session in the raw table's columns, with the split days' double listings kept apart."""
        closed = calendar.session_close(session).astimezone(UTC)
        midnight = datetime.combine(session, time(0), calendar.NEW_YORK).astimezone(UTC)
        traded = pl.col("volume") > 0
        rows = (
            self._chains.filter(pl.col("date") == session, pl.col("expiration") >= session)
            .with_columns(
                _ticker("ticker").alias("underlying"),
                pl.col("strike", "price", "delta", "iv").cast(pl.Float64),
            )
            .with_columns(thousandths=(pl.col("strike") * 1000).round().cast(pl.Int64))
            .collect()
        )
        # One ticker spelled two ways is one contract: the line that saw more of the day wins.
        rows = rows.sort(
            "underlying",
            "expiration",
            "right",
            "thousandths",
            "volume",
            "oi",
            "price",
            "iv",
            descending=[False] * 4 + [True] * 4,
        ).unique(["underlying", "expiration", "right", "thousandths"], keep="first", maintain_order=True)
        # Where the chain recording has no spot, the stock list's close stands in.
        spots = self._stock_rows(session, session).select(pl.col("ticker").alias("underlying"), pl.col("spot"))
        return (
            rows.join(spots, on="underlying", how="left")
            .select(
                "underlying",
                pl.concat_str(
                    pl.lit("O:"),
                    pl.col("underlying").str.replace_all(r"[^A-Z0-9]", ""),
                    pl.col("expiration").dt.strftime("%y%m%d"),
                    "right",
                    pl.col("thousandths").cast(pl.String).str.zfill(8),
                ).alias("contract"),
                pl.col("right").replace_strict({"C": "call", "P": "put"}).alias("contract_type"),
                # Stocks and funds only: the recording has no index options, and says nothing of deliverables.
                pl.lit("american").alias("exercise_style"),
                "expiration",
                "strike",
                pl.lit(100.0).alias("shares_per_contract"),
                *(pl.lit(None, pl.Float64).alias(f"day_{name}") for name in ("open", "high", "low", "vwap")),
                pl.when(pl.col("price") > 0).then("price").alias("day_close"),
                pl.when(traded).then(pl.col("volume").cast(pl.Float64)).alias("day_volume"),
                # An untraded contract shows an older bar of unknown date.
                pl.when(traded).then(pl.lit(midnight, UTC_TIME)).alias("day_updated_at"),
                pl.col("oi").cast(pl.Float64).alias("open_interest"),
                pl.when(pl.col("iv") > 0).then(pl.col("iv") / 100).alias("implied_volatility"),
                "delta",
                pl.col("spot").alias("underlying_price"),
                pl.when(pl.col("spot").is_not_null()).then(pl.lit(closed, UTC_TIME)).alias("underlying_at"),
            )
            .sort("underlying", "contract")
        )

    def _stock_rows(self, start: date, end: date) -> pl.DataFrame:
        """Stock and fund rows of the sessions from `start` to `end`; funds are priced by the chain recording's spot."""
        days = calendar.sessions(start, end)
        inside = pl.col("session").is_in(days)
        listed = (
            self._stocks.filter(inside, pl.col("lastsale") > 0)
            .select(
                "session",
                "ticker",
                pl.col("lastsale").cast(pl.Float64).alias("close"),
                pl.col("volume").cast(pl.Float64),
                pl.col("pctchange").cast(pl.Float64).alias("change"),
            )
            .collect()
            .sort("session", "ticker", "volume", descending=[False, False, True])
            .unique(["session", "ticker"], keep="first", maintain_order=True)
        )
        spots = self._spots.filter(inside).collect()
        listed = listed.join(spots, on=["session", "ticker"], how="left").with_columns(
            pl.coalesce("spot", "close").alias("spot")
        )
        funds = spots.join(listed, on=["session", "ticker"], how="anti").select(
            "session",
            "ticker",
            pl.col("spot").alias("close"),
            pl.lit(None, pl.Float64).alias("volume"),
            pl.lit(None, pl.Float64).alias("change"),
            "spot",
        )
        if listed.is_empty() and funds.is_empty():
            raise UnknownSession(f"no stock was recorded from {start} to {end}")
        missing = [
            pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low", "vwap", "last_price", "bid", "ask")
        ]
        return (
            pl.concat([listed, funds])
            .with_columns(
                *missing,
                previous_close=pl.when(pl.col("change") > -100).then(
                    (pl.col("close") / (1 + pl.col("change") / 100)).round(4)
                ),
            )
            .sort("session", "ticker")
        )


def _ticker(name: str) -> pl.Expr:
    """The vendor's spelling of a ticker: upper case, share classes after a dot."""
    return pl.col(name).str.strip_chars().str.to_uppercase().str.replace_all(r"[/\-^ ]+", ".")


def _shape(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    served = [column for column in table.columns if column.name not in MARKET_COLUMNS_NOT_SERVED]
    return frame.select(
        (pl.col(column.name) if column.name in frame.columns else pl.lit(None)).cast(column.dtype).alias(column.name)
        for column in served
    )
