"""The Polygon/Massive REST API as frames: `PolygonClient` (async) and `BlockingPolygonClient` (the same, for assets).

Every frame has the columns of its table in `flowlake.schemas`, sorted, so that neither page order nor the order in
which requests happened to finish shows. The client holds no state between calls but connections and limits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import chain as flatten
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import polars as pl
from pydantic import SecretStr

from flowlake.calendar import (
    NEW_YORK,
    next_session,
    previous_session,
    require_session,
    session_close,
    session_open,
)
from flowlake.schemas import UTC_TIME
from flowlake.schemas.market import CORPORATE_ACTIONS, RAW_OPTION_BARS, RAW_STOCK_SNAPSHOTS
from flowlake.settings import ApiSettings
from flowlake.sources.chains import (
    TIMEFRAME_COLUMNS,
    ChainPass,
    ChainReader,
    Moment,
    OnChunk,
    OnProgress,
    Progress,
    chain_path,
    origin_of,
)
from flowlake.sources.endpoints import BARS, CHAIN, CONTRACTS, DIVIDENDS, GROUPED, SPLITS, STOCKS
from flowlake.sources.errors import (
    AuthError,
    CircuitOpen,
    NotEntitled,
    NotFound,
    NotReplayable,
    PaginationLoop,
    SnapshotGone,
    SourceError,
    TooManyPages,
)
from flowlake.sources.parse import MalformedBody, Page, RowSpec, UnexpectedShape, decode_page, to_frame
from flowlake.sources.ratelimit import Timing
from flowlake.sources.transport import Transport, TransportStats

__all__ = ["BarPass", "BlockingPolygonClient", "Capability", "ChainPass", "MarketStatus", "PolygonClient"]

T = TypeVar("T")

log = logging.getLogger(__name__)

_STOCKS_PATH = "/v2/snapshot/locale/us/markets/stocks/tickers"
_CONTRACTS_PATH = "/v3/reference/options/contracts"
_GROUPED_PATH = "/v2/aggs/grouped/locale/us/market/stocks"


@dataclass(frozen=True)
class MarketStatus:
    """What the exchange is doing now: 'open', 'closed' or 'extended-hours', at the server's time (UTC)."""

    market: str
    server_time: datetime


@dataclass(frozen=True)
class Capability:
    """One thing a plan may or may not include, as the server answered for it."""

    name: str
    status: Literal["ok", "absent", "not_entitled", "failed"]
    detail: str


@dataclass(frozen=True)
class BarPass:
    """Daily bars of contracts (RAW_OPTION_BARS) and the contracts whose bars could not be had, with the error."""

    frame: pl.DataFrame
    failed: Mapping[str, str]


class _Holiday(msgspec.Struct):
    date: date
    exchange: str
    name: str
    status: str


@dataclass(frozen=True)
class _Received:
    page: Page
    at: datetime
    origin: str


@dataclass(frozen=True)
class _Listing:
    frame: pl.DataFrame
    received_at: datetime
    origin: str


class PolygonClient:
    """Async client of the REST API; use as an async context manager.

    Raises `MissingKey`, `MalformedKey` or `InvalidBaseUrl` on construction; its methods raise `SourceError`s.
    With `settings.replay` a sandbox is asked for any past moment through `as_of`; the vendor knows only the present.
    """

    def __init__(
        self,
        settings: ApiSettings,
        key: SecretStr | None,
        *,
        timing: Timing | None = None,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._transport = Transport(settings, key, timing, http)

    async def __aenter__(self) -> PolygonClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def stats(self) -> TransportStats:
        """What all requests of this client cost so far."""
        return self._transport.stats

    async def fetch_chains(
        self,
        session: date,
        underlyings: Sequence[str],
        *,
        as_of: datetime | None = None,
        on_progress: OnProgress | None = None,
        on_chunk: OnChunk | None = None,
        cuts: Mapping[str, Sequence[date]] | None = None,
    ) -> ChainPass:
        """Option chains of `underlyings` in `session`, begun in the order given; `on_chunk` gets what is final so far.

        Chains named in `cuts` are asked for in parts, side by side, each part beginning with an expiration given there.
        An underlying that cannot be had is retried, then reported in the coverage. Raises `AuthError` for a refused
        key, `NotEntitled` where the plan serves none of the chains, `Unreachable` where nothing could be reached,
        `SnapshotGone` for a session that is no longer (or not yet) to be seen.
        """
        moment = self._begin(session, as_of, snapshot=True)
        reader = ChainReader(self._transport, self._settings, session, moment)
        return await reader.read(underlyings, on_progress, on_chunk, cuts)

    async def fetch_stocks(self, session: date, *, as_of: datetime | None = None) -> pl.DataFrame:
        """Snapshot of every stock in `session`: RAW_STOCK_SNAPSHOTS. Raises as `fetch_chains`."""
        moment = self._begin(session, as_of, snapshot=True)
        listing = await self._list(STOCKS, _STOCKS_PATH, {}, moment)
        known = moment.known(listing.received_at)
        # The vendor's list has carried a ticker twice; the row updated last is the one that trades.
        newest = listing.frame.sort("ticker", "updated_at", nulls_last=False, maintain_order=True).unique(
            "ticker", keep="last", maintain_order=True
        )
        return RAW_STOCK_SNAPSHOTS.conform(
            newest.with_columns(
                session=pl.lit(session),
                observed_at=pl.lit(known - moment.delay),
                available_at=pl.lit(known),
                origin=pl.lit(listing.origin),
            )
        )

    async def fetch_corporate_actions(
        self, session: date, *, as_of: datetime | None = None, past_days: int = 365, future_days: int = 90
    ) -> pl.DataFrame:
        """Splits and cash dividends effective around `session` that were announced by then: CORPORATE_ACTIONS.

        A future action without a date of announcement is left out where the list is read after the session: nobody
        can tell that it was known. Several dividends of one ticker on one day are added up.
        """
        moment = self._begin(session, as_of)
        span = (session - timedelta(days=past_days), session + timedelta(days=future_days))
        asked = [
            (SPLITS, "/v3/reference/splits", _between("execution_date", *span) | {"limit": "1000"}),
            (DIVIDENDS, "/v3/reference/dividends", _between("ex_dividend_date", *span) | {"limit": "1000"}),
        ]
        splits, dividends = await self._gather([partial(self._list, *each, moment) for each in asked])
        parts = [
            _actions(splits, moment, kind="split").with_columns(
                cash_amount=pl.lit(None, pl.Float64), declared_on=pl.lit(None, pl.Date)
            ),
            _actions(dividends, moment, kind="dividend").with_columns(
                split_from=pl.lit(None, pl.Float64), split_to=pl.lit(None, pl.Float64)
            ),
        ]
        read_on = moment.known(max(splits.received_at, dividends.received_at)).astimezone(NEW_YORK).date()
        read_later = read_on >= next_session(session)
        unannounced = pl.col("declared_on").is_null() & (pl.col("effective_on") > session) & pl.lit(read_later)
        announced_later = (pl.col("declared_on") > session).fill_null(False)
        known = pl.concat(parts, how="diagonal").filter(~unannounced & ~announced_later)
        merged = known.group_by("ticker", "kind", "effective_on", maintain_order=True).agg(
            pl.col("split_from", "split_to", "available_at", "origin").last(),
            pl.when(pl.col("cash_amount").is_not_null().any()).then(pl.col("cash_amount").sum()).alias("cash_amount"),
            pl.col("declared_on").max(),
        )
        return CORPORATE_ACTIONS.conform(merged.with_columns(session=pl.lit(session)))

    async def list_underlyings(self, session: date, *, as_of: datetime | None = None) -> list[str]:
        """Tickers that have listed options in `session`, ascending.

        Every optionable underlying lists calls in the next standard expiration, so the contracts expiring in that week
        (its Wednesday holds VIX) are read instead of all: about a tenth of the pages. A week without any contract, as
        in a small sandbox, falls back to all contracts.
        """
        moment = self._begin(session, as_of)
        monday = _monthly_expiration_week(session)
        week = _between("expiration_date", monday, monday + timedelta(days=4))
        calls = {"contract_type": "call", "as_of": session.isoformat(), "limit": "1000"}
        listing = await self._list(CONTRACTS, _CONTRACTS_PATH, week | calls, moment)
        if listing.frame.is_empty():
            listing = await self._list(CONTRACTS, _CONTRACTS_PATH, calls, moment)
        return listing.frame["underlying"].unique().sort().to_list()

    async def list_contracts(
        self, session: date, *, underlyings: Sequence[str] | None = None, as_of: datetime | None = None
    ) -> pl.DataFrame:
        """Contracts listed in `session`, of all underlyings or the given ones.

        Columns contract, underlying, contract_type, exercise_style, expiration, strike (USD per share) and
        shares_per_contract; sorted by underlying, contract.
        """
        moment = self._begin(session, as_of)
        everything = {"as_of": session.isoformat(), "limit": "1000"}
        filters = [{}] if underlyings is None else [{"underlying_ticker": name} for name in sorted(set(underlyings))]
        listings = await self._gather(
            [partial(self._list, CONTRACTS, _CONTRACTS_PATH, everything | each, moment) for each in filters]
        )
        empty = pl.DataFrame(schema=CONTRACTS.schema)
        frame = pl.concat([empty, *(listing.frame for listing in listings)])
        return frame.unique("contract", keep="last", maintain_order=True).sort("underlying", "contract")

    async def fetch_grouped_daily(self, session: date, *, as_of: datetime | None = None) -> pl.DataFrame:
        """Unadjusted daily bars of all stocks in `session`.

        Columns session, ticker, open, high, low, close, volume (shares), vwap, transactions, available_at, origin;
        sorted by ticker.
        """
        moment = self._begin(session, as_of)
        listing = await self._list(GROUPED, f"{_GROUPED_PATH}/{session.isoformat()}", {"adjusted": "false"}, moment)
        frame = listing.frame.with_columns(
            session=pl.lit(session),
            available_at=pl.lit(moment.known(listing.received_at)),
            origin=pl.lit(listing.origin),
        )
        columns = ["session", "ticker", "open", "high", "low", "close", "volume", "vwap", "transactions"]
        return frame.select(*columns, "available_at", "origin").unique("ticker", maintain_order=True).sort("ticker")

    async def fetch_option_bars(
        self,
        session: date,
        contracts: Sequence[tuple[str, str]],
        *,
        as_of: datetime | None = None,
        on_progress: OnProgress | None = None,
    ) -> BarPass:
        """Unadjusted daily bars in `session` of `contracts`, given as (underlying, contract) pairs.

        A contract without a bar did not trade. One whose request fails, or whose bar lacks a price, is reported in
        `failed`; `AuthError`, `NotEntitled` and `CircuitOpen` are raised. One request per contract.
        """
        moment = self._begin(session, as_of)
        day = session.isoformat()
        pairs = sorted(set(contracts))
        failed: dict[str, str] = {}
        done = Counter[str]()

        async def bars(underlying: str, contract: str) -> tuple[str, str, list[_Received]]:
            path = f"/v2/aggs/ticker/{quote(contract, safe=':')}/range/1/day/{day}/{day}"
            try:
                received = await self._pages(BARS, path, {"adjusted": "false", "limit": "50000"}, moment)
            except (AuthError, NotEntitled, CircuitOpen):
                raise
            except SourceError as error:
                failed[contract] = str(error)
                received = []
            done.update(contracts=1, pages=len(received), rows=sum(each.page.rows for each in received))
            if on_progress is not None:
                on_progress(Progress(done["contracts"], len(pairs), done["pages"], done["rows"], len(failed)))
            return underlying, contract, received

        answers = await self._gather([partial(bars, *pair) for pair in pairs])
        rows = [(u, c, each) for u, c, received in answers for each in received if each.page.rows]
        frame = _joined(BARS, [each for _, _, each in rows]).with_columns(
            session=pl.lit(session),
            underlying=_repeated([(u, each.page.rows) for u, _, each in rows]),
            contract=_repeated([(c, each.page.rows) for _, c, each in rows]),
            available_at=pl.Series(
                [moment.known(each.at) for _, _, each in rows for _ in range(each.page.rows)], dtype=UTC_TIME
            ),
            origin=_repeated([(each.origin, each.page.rows) for _, _, each in rows]),
        )
        priced = pl.all_horizontal(pl.col("open", "high", "low", "close", "volume").is_not_null())
        failed |= dict.fromkeys(frame.filter(~priced)["contract"].to_list(), "the bar lacks a price or its volume")
        kept = frame.filter(priced).with_columns(observed_at=pl.col("available_at") - moment.delay)
        return BarPass(
            RAW_OPTION_BARS.conform(kept.select(RAW_OPTION_BARS.schema.names())), dict(sorted(failed.items()))
        )

    async def market_status(self) -> MarketStatus:
        """What the exchange is doing now, by the server's clock."""
        reply = await self._get_json("/v1/marketstatus/now", dict[str, Any])
        return MarketStatus(str(reply.get("market", "")), datetime.fromisoformat(reply["serverTime"]).astimezone(UTC))

    async def market_holidays(self) -> pl.DataFrame:
        """Coming closures: day, exchange, name, status ('closed' or 'early-close'); sorted by day, exchange."""
        rows = await self._get_json("/v1/marketstatus/upcoming", list[_Holiday])
        data = [(each.date, each.exchange, each.name, each.status) for each in rows]
        schema = {"day": pl.Date, "exchange": pl.String, "name": pl.String, "status": pl.String}
        return pl.DataFrame(data, schema=schema, orient="row").sort("day", "exchange")

    async def probe(self, underlying: str = "SPY", *, as_of: datetime | None = None) -> list[Capability]:
        """What this key's plan includes, one cheap request per capability; only a refused key raises."""
        self._transport.begin_run()
        moment = Moment(self._replayed(as_of), timedelta(0))
        now = as_of or self._transport.timing.now()
        day = previous_session(now.astimezone(NEW_YORK).date())
        chain_params = {"limit": "250", "order": "asc", "sort": "ticker"}
        asked: list[tuple[str, RowSpec, str, dict[str, str]]] = [
            ("option contracts reference", CONTRACTS, _CONTRACTS_PATH, {"limit": "1", "underlying_ticker": underlying}),
            ("option chain snapshot", CHAIN, chain_path(underlying), chain_params),
            ("stock snapshot", STOCKS, _STOCKS_PATH, {"tickers": underlying}),
            ("grouped daily bars", GROUPED, f"{_GROUPED_PATH}/{day.isoformat()}", {"adjusted": "false"}),
            ("splits", SPLITS, "/v3/reference/splits", {"limit": "1"}),
            ("dividends", DIVIDENDS, "/v3/reference/dividends", {"limit": "1"}),
        ]
        found: list[Capability] = []
        for name, spec, path, params in asked:
            try:
                reply = await self._transport.get(
                    self._transport.url(path, params), partial(decode_page, spec), moment.headers
                )
            except AuthError:
                raise
            except NotEntitled as error:
                found.append(Capability(name, "not_entitled", str(error)))
            except NotFound as error:
                found.append(Capability(name, "absent", str(error)))
            except SourceError as error:
                found.append(Capability(name, "failed", str(error)))
            else:
                rows = reply.value.rows
                found.append(Capability(name, "ok" if rows else "absent", f"{rows} rows in the first page"))
                if spec is CHAIN and rows:
                    found.extend(_chain_capabilities(reply.value.columns))
        return found

    def _replayed(self, as_of: datetime | None) -> datetime | None:
        if as_of is None:
            return None
        if as_of.tzinfo is None:
            raise ValueError(f"as_of must say its time zone, got {as_of}")
        if not self._settings.replay:
            raise NotReplayable(
                f"{self._transport.base_url} only shows the present, not {as_of.isoformat()}; "
                "set FLOWLAKE_API__REPLAY=true if it is a sandbox"
            )
        return as_of

    def _begin(self, session: date, as_of: datetime | None, *, snapshot: bool = False) -> Moment:
        """Start a run (its time budget, its circuit breaker) and say which moment it looks at."""
        self._transport.begin_run()
        require_session(session)
        delay = timedelta(minutes=self._settings.delay_minutes)
        if self._settings.replay:
            return Moment(self._replayed(as_of or session_close(session)), delay)
        self._replayed(as_of)
        if snapshot:
            seen = self._transport.timing.now() - delay
            first, last = session_open(session), session_open(next_session(session))
            if not first <= seen < last:
                raise SnapshotGone(
                    f"session {session} can be seen from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC only (and "
                    f"{delay} later on this plan); for a past session backfill daily bars instead"
                )
        return Moment(None, delay)

    async def _pages(self, spec: RowSpec, path: str, params: Mapping[str, str], moment: Moment) -> list[_Received]:
        url: httpx.URL | None = self._transport.url(path, params)
        received: list[_Received] = []
        seen: set[httpx.URL] = set()
        decode = partial(decode_page, spec)
        while url is not None:
            if url in seen:
                raise PaginationLoop("next_url leads back to a page already read", str(url))
            if len(received) >= self._settings.max_pages:
                raise TooManyPages(f"more than {self._settings.max_pages} pages (FLOWLAKE_API__MAX_PAGES)", str(url))
            seen.add(url)
            reply = await self._transport.get(url, decode, moment.headers)
            page = reply.value
            if page.rejected:
                log.warning("%d rows of %s rejected, the first: %s", len(page.rejected), path, page.rejected[0].reason)
            received.append(_Received(page, reply.received_at, origin_of(reply.origin)))
            url = self._transport.next_page(page.next_url, url) if page.next_url else None
        return received

    async def _list(self, spec: RowSpec, path: str, params: Mapping[str, str], moment: Moment) -> _Listing:
        received = await self._pages(spec, path, params, moment)
        return _Listing(_joined(spec, received), received[-1].at, received[-1].origin)

    async def _gather(self, tasks: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """Results of `tasks` in order, as many at a time as there are slots; the first error ends them all."""
        results: dict[int, T] = {}
        waiting = iter(enumerate(tasks))
        errors: list[Exception] = []

        async def work() -> None:
            for number, task in waiting:
                if errors:
                    return
                try:
                    results[number] = await task()
                except SourceError as error:
                    errors.append(error)

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self._settings.concurrency, len(tasks))):
                workers.create_task(work())
        if errors:
            raise errors[0]
        return [results[number] for number in sorted(results)]

    async def _get_json(self, path: str, kind: type[T]) -> T:
        self._transport.begin_run()
        decoder = msgspec.json.Decoder(kind)

        def decode(body: bytes) -> T:
            try:
                return decoder.decode(body)
            except msgspec.ValidationError as error:
                raise UnexpectedShape(str(error)) from error
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise MalformedBody(str(error)) from error

        return (await self._transport.get(self._transport.url(path), decode)).value


class BlockingPolygonClient:
    """`PolygonClient` for callers without an event loop, such as Dagster assets; use as a context manager."""

    def __init__(
        self,
        settings: ApiSettings,
        key: SecretStr | None,
        *,
        timing: Timing | None = None,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = PolygonClient(settings, key, timing=timing, http=http)
        self._runner = asyncio.Runner()

    def __enter__(self) -> BlockingPolygonClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._client.__aexit__(kind, error, trace))
        finally:
            self._runner.close()

    @property
    def stats(self) -> TransportStats:
        """What all requests of this client cost so far."""
        return self._client.stats

    def fetch_chains(
        self,
        session: date,
        underlyings: Sequence[str],
        *,
        as_of: datetime | None = None,
        on_progress: OnProgress | None = None,
        on_chunk: OnChunk | None = None,
        cuts: Mapping[str, Sequence[date]] | None = None,
    ) -> ChainPass:
        """See `PolygonClient.fetch_chains`."""
        return self._runner.run(
            self._client.fetch_chains(
                session, underlyings, as_of=as_of, on_progress=on_progress, on_chunk=on_chunk, cuts=cuts
            )
        )

    def fetch_stocks(self, session: date, *, as_of: datetime | None = None) -> pl.DataFrame:
        """See `PolygonClient.fetch_stocks`."""
        return self._runner.run(self._client.fetch_stocks(session, as_of=as_of))

    def fetch_corporate_actions(
        self, session: date, *, as_of: datetime | None = None, past_days: int = 365, future_days: int = 90
    ) -> pl.DataFrame:
        """See `PolygonClient.fetch_corporate_actions`."""
        return self._runner.run(
            self._client.fetch_corporate_actions(session, as_of=as_of, past_days=past_days, future_days=future_days)
        )

    def list_underlyings(self, session: date, *, as_of: datetime | None = None) -> list[str]:
        """See `PolygonClient.list_underlyings`."""
        return self._runner.run(self._client.list_underlyings(session, as_of=as_of))

    def list_contracts(
        self, session: date, *, underlyings: Sequence[str] | None = None, as_of: datetime | None = None
    ) -> pl.DataFrame:
        """See `PolygonClient.list_contracts`."""
        return self._runner.run(self._client.list_contracts(session, underlyings=underlyings, as_of=as_of))

    def fetch_grouped_daily(self, session: date, *, as_of: datetime | None = None) -> pl.DataFrame:
        """See `PolygonClient.fetch_grouped_daily`."""
        return self._runner.run(self._client.fetch_grouped_daily(session, as_of=as_of))

    def fetch_option_bars(
        self,
        session: date,
        contracts: Sequence[tuple[str, str]],
        *,
        as_of: datetime | None = None,
        on_progress: OnProgress | None = None,
    ) -> BarPass:
        """See `PolygonClient.fetch_option_bars`."""
        return self._runner.run(
            self._client.fetch_option_bars(session, contracts, as_of=as_of, on_progress=on_progress)
        )

    def market_status(self) -> MarketStatus:
        """See `PolygonClient.market_status`."""
        return self._runner.run(self._client.market_status())

    def market_holidays(self) -> pl.DataFrame:
        """See `PolygonClient.market_holidays`."""
        return self._runner.run(self._client.market_holidays())

    def probe(self, underlying: str = "SPY", *, as_of: datetime | None = None) -> list[Capability]:
        """See `PolygonClient.probe`."""
        return self._runner.run(self._client.probe(underlying, as_of=as_of))


def _joined(spec: RowSpec, received: Sequence[_Received]) -> pl.DataFrame:
    columns = {name: list(flatten.from_iterable(each.page.columns[name] for each in received)) for name in spec.schema}
    return to_frame(spec, columns)


def _repeated(values: Sequence[tuple[str, int]]) -> pl.Series:
    return pl.Series([value for value, times in values for _ in range(times)], dtype=pl.String)


def _between(name: str, first: date, last: date) -> dict[str, str]:
    return {f"{name}.gte": first.isoformat(), f"{name}.lte": last.isoformat()}


def _monthly_expiration_week(session: date) -> date:
    """Monday of the first week after `session` that holds a third Friday, the standard monthly expiration."""
    day = session + timedelta(days=7 - session.weekday())
    while not 15 <= (day + timedelta(days=4)).day <= 21:
        day += timedelta(days=7)
    return day


def _actions(listing: _Listing, moment: Moment, *, kind: Literal["split", "dividend"]) -> pl.DataFrame:
    return listing.frame.with_columns(
        kind=pl.lit(kind), available_at=pl.lit(moment.known(listing.received_at)), origin=pl.lit(listing.origin)
    )


def _chain_capabilities(columns: Mapping[str, Sequence[Any]]) -> list[Capability]:
    timeframes = {value for name in TIMEFRAME_COLUMNS for value in columns[name] if value}
    asked = {
        "Greeks": "delta",
        "implied volatility": "implied_volatility",
        "open interest": "open_interest",
        "quotes": "bid",
        "trades": "last_price",
        "underlying price": "underlying_price",
    }
    found: list[Capability] = []
    for name, column in asked.items():
        present = sum(value is not None for value in columns[column])
        if column == "underlying_price":
            present += sum(value is not None for value in columns["underlying_value"])
        detail = f"in {present} of {len(columns[column])} rows, {' and '.join(sorted(timeframes)) or 'no'} timeframe"
        found.append(Capability(name, "ok" if present else "absent", detail))
    return found
