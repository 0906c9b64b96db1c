"""The vendor's REST endpoints over a market: from a call to a page of rows, without any HTTP.

Shapes, limits and error texts follow the vendor's OpenAPI document and the observed bodies collected in the project's
reference; each endpoint here is one function.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from flowlake import calendar
from flowlake.sandbox import wire
from flowlake.sandbox.paging import (
    BadParameter,
    LimitPolicy,
    Listing,
    Params,
    decode_cursor,
    encode_cursor,
    page_limit,
    position_after,
    select,
)
from flowlake.sandbox.plans import Plan
from flowlake.sandbox.view import MarketView, Recent, weight

CHUNK_ROWS = 2_500
"""Rows rendered at once: ten chain pages, where polars' fixed cost per expression no longer counts (measured)."""

UPGRADE = "Please upgrade your plan at https://massive.com/pricing"

_CHAIN = Listing(
    row_id="contract",
    filters={"strike_price": "strike", "expiration_date": "expiration", "contract_type": "contract_type"},
    sorts={"ticker": "contract", "expiration_date": "expiration", "strike_price": "strike"},
    default_sort="ticker",
    default_limit=10,
    max_limit=250,
)
_CONTRACTS = Listing(
    row_id="contract",
    filters={**_CHAIN.filters, "underlying_ticker": "underlying", "ticker": "contract"},
    sorts={**_CHAIN.sorts, "underlying_ticker": "underlying"},
    default_sort="ticker",
    default_limit=10,
    max_limit=1_000,
)
_TICKERS = Listing(
    row_id="ticker",
    filters={"ticker": "ticker", "type": "type", "market": "market", "exchange": "primary_exchange", "cik": "cik"},
    sorts={"ticker": "ticker", "name": "name", "type": "type", "market": "market"},
    default_sort="ticker",
    default_limit=100,
    max_limit=1_000,
)
_SPLITS = Listing(
    row_id="id",
    filters={"ticker": "ticker", "execution_date": "execution_date"},
    sorts={"execution_date": "execution_date", "ticker": "ticker"},
    default_sort="execution_date",
    default_limit=10,
    max_limit=1_000,
    default_order="desc",
)
_DIVIDENDS = Listing(
    row_id="id",
    filters={name: name for name in ("ticker", "ex_dividend_date", "declaration_date", "pay_date", "cash_amount")},
    sorts={name: name for name in ("ex_dividend_date", "declaration_date", "pay_date", "cash_amount", "ticker")},
    default_sort="ex_dividend_date",
    default_limit=10,
    max_limit=1_000,
    default_order="desc",
)


_AFTER = "ap"
"""Cursor field with the last row already served, named as in the vendor's cursors."""


class NotEntitled(Exception):
    """The plan does not include what was asked for (403)."""


class NotFound(LookupError):
    """The route exists, the thing asked for does not (404 with a JSON body)."""


@dataclass(frozen=True)
class Terms:
    """On what terms the server answers: plans and the policy for limits above the maximum."""

    plan: Plan = Plan.ADVANCED
    stocks_plan: Plan | None = Plan.ADVANCED
    limit_policy: LimitPolicy = "reject"


@dataclass(frozen=True)
class Call:
    """One request, read: the moment it asks about, its path and parameters, the origin the caller used."""

    at: datetime
    path: str
    params: Params
    origin: str = "http://127.0.0.1"
    after: str | None = None

    @classmethod
    def of(cls, at: datetime, path: str, query: Params, origin: str) -> Call:
        """Read `query`: a cursor replaces all other parameters, as at the vendor, and the key is none of them."""
        if "cursor" not in query:
            return cls(at, path, {name: value for name, value in query.items() if name.lower() != "apikey"}, origin)
        params = decode_cursor(query["cursor"])
        return cls(at, path, params, origin, params.pop(_AFTER, None))


@dataclass(frozen=True)
class Page:
    """What an endpoint answers before it becomes bytes: rows as JSON text and the fields around them."""

    rows: list[str] | None
    envelope: dict[str, object] = field(default_factory=dict)
    key: str = "results"
    single: bool = False
    next_url: str | None = None
    number: int = 1
    paged: bool = False
    previous: Callable[[], list[str]] = list
    with_request_id: bool = True

    def body(self, request_id: str) -> bytes:
        """The JSON of this page: an object, or a bare array where `key` is empty."""
        if not self.key:
            return f"[{','.join(self.rows or [])}]".encode()
        fields = self.envelope | ({"request_id": request_id} if self.with_request_id else {})
        if self.next_url is not None:
            fields = fields | {"next_url": self.next_url}
        parts = [json.dumps(fields, separators=(",", ":"))[1:-1]] if fields else []
        if self.rows is not None:
            rows = self.rows[0] if self.single else f"[{','.join(self.rows)}]"
            parts.insert(0, f'"{self.key}":{rows}')
        return f"{{{','.join(parts)}}}".encode()


class Api:
    """The endpoints. Raises `BadParameter` (400), `NotEntitled` (403), `NotFound` and `UnknownSession` (404)."""

    def __init__(self, view: MarketView, terms: Terms, *, cache_bytes: int = 128_000_000) -> None:
        self.view = view
        self.terms = terms
        self._selections: Recent[pl.DataFrame] = Recent(cache_bytes, weigh=weight)
        self._chunks: Recent[list[str]] = Recent(cache_bytes, weigh=lambda rows: sum(map(len, rows)))

    def chain(self, call: Call, underlying: str) -> Page:
        """`/v3/snapshot/options/{underlying}`."""
        at = self._options_moment(call)
        frame = self.view.chains(at).chain(underlying)
        return self._list(call, _CHAIN, frame, self._chain_renderer(frame, at), ("chain", at, underlying))

    def contract_snapshot(self, call: Call, underlying: str, contract: str) -> Page:
        """`/v3/snapshot/options/{underlying}/{contract}`."""
        at = self._options_moment(call)
        frame = self.view.chains(at).chain(underlying).filter(pl.col("contract") == contract)
        if frame.is_empty():
            raise NotFound("Option Ticker not found.")
        return _ok(self._chain_renderer(frame, at)(frame), single=True)

    def stock_snapshot(self, call: Call) -> Page:
        """`/v2/snapshot/locale/us/markets/stocks/tickers`: everything in one answer."""
        at, plan = self._stocks_moment(call)
        frame = self.view.stocks(at)
        if wanted := call.params.get("tickers"):
            frame = frame.filter(pl.col("ticker").is_in(wanted.split(",")))
        rows = wire.stock_rows(frame, plan=plan)
        return Page(rows, {"status": "OK", "count": len(rows)}, key="tickers", with_request_id=False)

    def stock_snapshot_of(self, call: Call, ticker: str) -> Page:
        """`/v2/snapshot/locale/us/markets/stocks/tickers/{ticker}`."""
        at, plan = self._stocks_moment(call)
        frame = self.view.stocks(at).filter(pl.col("ticker") == ticker)
        if frame.is_empty():
            raise NotFound("Ticker not found.")
        return Page(wire.stock_rows(frame, plan=plan), {"status": "OK"}, key="ticker", single=True)

    def contracts(self, call: Call) -> Page:
        """`/v3/reference/options/contracts`, as listed on `as_of` (default: the moment's date)."""
        session = self._as_of(call, "as_of")
        frame = self.view.contracts(session)
        return self._list(call, _CONTRACTS, frame, wire.contract_rows, ("contracts", session))

    def contract(self, call: Call, contract: str) -> Page:
        """`/v3/reference/options/contracts/{contract}`."""
        frame = self.view.contracts(self._as_of(call, "as_of")).filter(pl.col("contract") == contract)
        if frame.is_empty():
            raise NotFound("Option Ticker not found.")
        return _ok(wire.contract_rows(frame), single=True)

    def tickers(self, call: Call) -> Page:
        """`/v3/reference/tickers`."""
        session = self._as_of(call, "date")
        frame = self.view.tickers(session)
        search = call.params.get("search", "")
        if search:
            matches = [
                pl.col(name).str.to_lowercase().str.contains(search.lower(), literal=True)
                for name in ("ticker", "name")
            ]
            frame = frame.filter(pl.any_horizontal(matches))
        if call.params.get("active") == "false":
            frame = frame.clear()
        key = ("tickers", session, search, call.params.get("active"))
        return self._list(call, _TICKERS, frame, wire.ticker_rows, key)

    def ticker(self, call: Call, ticker: str) -> Page:
        """`/v3/reference/tickers/{ticker}`."""
        frame = self.view.tickers(self._as_of(call, "date")).filter(pl.col("ticker") == ticker)
        if frame.is_empty():
            raise NotFound("Ticker not found.")
        return _ok(wire.ticker_rows(frame, details=True), single=True)

    def splits(self, call: Call) -> Page:
        """`/v3/reference/splits`, as announced by the moment's date."""
        day = call.at.astimezone(calendar.NEW_YORK).date()
        return self._list(call, _SPLITS, self.view.splits(day), wire.split_rows, ("splits", day))

    def dividends(self, call: Call) -> Page:
        """`/v3/reference/dividends`, as declared by the moment's date."""
        day = call.at.astimezone(calendar.NEW_YORK).date()
        return self._list(call, _DIVIDENDS, self.view.dividends(day), wire.dividend_rows, ("dividends", day))

    def grouped_daily(self, call: Call, day: str) -> Page:
        """`/v2/aggs/grouped/locale/us/market/stocks/{date}`."""
        plan = self._stocks_plan()
        session, adjusted = _date(day, "date"), _adjusted(call.params)
        self._require_timeframe(plan, call.at, session, session)
        bars = self.view.stock_bars(session, session, call.at, adjusted=adjusted)
        bars = bars.filter(pl.col("session") == session, ~pl.col("ticker").is_in(self._index_names()))
        if bars.is_empty() and calendar.is_session(session) and session <= calendar.latest_closed_session(call.at):
            # No bars is right for a holiday and for the future; on a past session the market must have some.
            self.view.session_on(session)
        rows = wire.bar_rows(bars.with_columns(pl.col("ticker").alias("T"), t=_end_of_session()))
        return Page(rows or None, _aggregates_envelope(plan, rows, adjusted))

    def aggregates(self, call: Call, ticker: str, multiplier: str, timespan: str, start: str, end: str) -> Page:
        """`/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}`: day bars of stocks and contracts."""
        if (multiplier, timespan) != ("1", "day"):
            raise BadParameter(f"The sandbox serves bars of 1 day, not of {multiplier} {timespan}")
        is_option = ticker.startswith("O:")
        plan = self.terms.plan if is_option else self._stocks_plan()
        adjusted, limit = _adjusted(call.params), page_limit(call.params, 5_000, 50_000, self.terms.limit_policy)
        descending = call.params.get("sort") == "desc"
        first, last = _date(start, "from"), _date(end, "to")
        if last < first:
            raise BadParameter("The parameter 'to' cannot be a time that occurs before 'from'")
        self._require_timeframe(plan, call.at, first, last)
        bars = (
            self.view.option_bars(ticker, first, last, call.at)
            if is_option
            else self.view.stock_bars(first, last, call.at, adjusted=adjusted).filter(
                pl.col("ticker") == ticker.removeprefix("I:"), pl.col("session").is_between(first, last)
            )
        )
        bars = bars.sort("session", descending=descending)
        page = bars.head(limit)
        rows = wire.bar_rows(page.with_columns(t=_start_of_day())) if page.height else []
        following = None
        if bars.height > limit:
            begin, stop = _range_behind(page.get_column("session")[-1], start, end, descending=descending)
            order = "desc" if descending else "asc"
            cursor = encode_cursor({"limit": str(limit), "sort": order, "adjusted": str(adjusted).lower()})
            following = f"{call.origin}/v2/aggs/ticker/{ticker}/range/1/day/{begin}/{stop}?cursor={cursor}"
        envelope = {"ticker": ticker} | _aggregates_envelope(plan, rows, adjusted)
        return Page(rows or None, envelope, next_url=following)

    def market_status(self, call: Call) -> Page:
        """`/v1/marketstatus/now`, by the calendar at the moment."""
        now = call.at.astimezone(calendar.NEW_YORK)
        phase = _phase(now)
        state = phase if phase in ("open", "closed") else "extended-hours"
        envelope = {
            "market": state,
            "earlyHours": phase == "early",
            "afterHours": phase == "after",
            "serverTime": now.isoformat(timespec="seconds"),
            "exchanges": dict.fromkeys(("nyse", "nasdaq", "otc"), state),
            "currencies": {"fx": "open" if now.weekday() < 5 else "closed", "crypto": "open"},
            "indicesGroups": {"s_and_p": "open" if phase == "open" else "closed"},
        }
        return Page(None, envelope, with_request_id=False)

    def holidays(self, call: Call) -> Page:
        """`/v1/marketstatus/upcoming`: closures and early closes of the year ahead, one row per exchange."""
        today = call.at.astimezone(calendar.NEW_YORK).date()
        horizon = today + timedelta(days=365)
        ahead = {day: {"name": name, "status": "closed"} for day, name in calendar.holidays().items()}
        ahead |= {day: {"name": "Early close", "status": "early-close"} for day in calendar.early_closes()}
        days = [(day, facts | _hours(day)) for day, facts in sorted(ahead.items()) if today <= day <= horizon]
        rows = [
            json.dumps({"date": day.isoformat(), "exchange": exchange} | facts)
            for day, facts in days
            for exchange in ("NYSE", "NASDAQ", "OTC")
        ]
        return Page(rows, key="")

    def _list(
        self,
        call: Call,
        listing: Listing,
        frame: pl.DataFrame,
        render: Callable[[pl.DataFrame], list[str]],
        key: tuple[object, ...],
    ) -> Page:
        params = {name: value for name, value in call.params.items() if name != "limit"}
        limit = page_limit(call.params, listing.default_limit, listing.max_limit, self.terms.limit_policy)
        key = (*key, tuple(sorted(params.items())))
        selected = self._selections.get(key, lambda: select(frame, listing, params))
        start = 0 if call.after is None else position_after(selected, listing.row_id, call.after)
        stop = min(start + limit, selected.height)

        def rows(begin: int, end: int) -> list[str]:
            return self._rows(key, selected, render, begin, end)

        following = None
        if stop < selected.height:
            last = selected.get_column(listing.row_id)[stop - 1]
            cursor = encode_cursor(params | {_AFTER: last, "limit": str(limit)})
            following = f"{call.origin}{call.path}?cursor={cursor}"
        return Page(
            rows(start, stop),
            {"status": "OK"},
            next_url=following,
            number=start // limit + 1,
            paged=True,
            previous=lambda: rows(max(0, start - limit), start),
        )

    def _rows(
        self,
        key: tuple[object, ...],
        frame: pl.DataFrame,
        render: Callable[[pl.DataFrame], list[str]],
        start: int,
        stop: int,
    ) -> list[str]:
        rows: list[str] = []
        for number in range(start // CHUNK_ROWS, -(-stop // CHUNK_ROWS)):
            offset = number * CHUNK_ROWS
            chunk = self._chunks.get((key, number), lambda offset=offset: render(frame.slice(offset, CHUNK_ROWS)))
            rows += chunk[max(0, start - offset) : stop - offset]
        return rows

    def _chain_renderer(self, frame: pl.DataFrame, at: datetime) -> Callable[[pl.DataFrame], list[str]]:
        terms = self.terms

        def render(rows: pl.DataFrame) -> list[str]:
            underlying = frame.item(0, "underlying") if frame.height else ""
            is_index = underlying in self.view.indices(self.view.session(at))
            return wire.chain_rows(rows, plan=terms.plan, stocks_plan=terms.stocks_plan, is_index=is_index)

        return render

    def _options_moment(self, call: Call) -> datetime:
        if not self.terms.plan.value.snapshots:
            raise NotEntitled(f"You are not entitled to this data. {UPGRADE}")
        return call.at - self.terms.plan.value.delay

    def _stocks_moment(self, call: Call) -> tuple[datetime, Plan]:
        plan = self._stocks_plan()
        if not plan.value.snapshots:
            raise NotEntitled(f"You are not entitled to this data. {UPGRADE}")
        return call.at - plan.value.delay, plan

    def _stocks_plan(self) -> Plan:
        if self.terms.stocks_plan is None:
            raise NotEntitled(f"You are not entitled to this data. {UPGRADE}")
        return self.terms.stocks_plan

    def _require_timeframe(self, plan: Plan, at: datetime, first: date, last: date) -> None:
        today = at.astimezone(calendar.NEW_YORK).date()
        too_new = plan is Plan.BASIC and last >= today
        if too_new or first < today - timedelta(days=366 * plan.value.history_years):
            raise NotEntitled(f"Your plan doesn't include this data timeframe. {UPGRADE}")

    def _as_of(self, call: Call, name: str) -> date:
        text = call.params.get(name)
        return self.view.session_on(_date(text, name)) if text else self.view.session(call.at)

    def _index_names(self) -> list[str]:
        return sorted(self.view.indices(self.view.sessions[-1]))


def _ok(rows: list[str], *, single: bool) -> Page:
    return Page(rows, {"status": "OK"}, single=single)


def _aggregates_envelope(plan: Plan, rows: list[str], adjusted: bool) -> dict[str, object]:
    count = len(rows)
    return {"queryCount": count, "resultsCount": count, "count": count, "adjusted": adjusted, "status": plan.status}


def _adjusted(params: Params) -> bool:
    return params.get("adjusted", "true") != "false"


def _date(text: str, name: str) -> date:
    """A day from YYYY-MM-DD or milliseconds since the epoch."""
    try:
        if text.isdecimal():
            return datetime.fromtimestamp(int(text) / 1000, UTC).astimezone(calendar.NEW_YORK).date()
        return date.fromisoformat(text)
    except (ValueError, OverflowError, OSError) as error:
        raise BadParameter(f"Could not parse the time parameter '{name}': '{text}'. Use YYYY-MM-DD") from error


def _range_behind(edge: date, start: str, end: str, *, descending: bool) -> tuple[str, str]:
    """The range of the next page, as the vendor writes it: moved behind the bar of `edge`, in milliseconds."""
    if descending:
        return start, str(_milliseconds(edge) - 1)
    return str(_milliseconds(edge + timedelta(days=1))), end


def _milliseconds(day: date) -> int:
    return int(datetime.combine(day, time(0), calendar.NEW_YORK).timestamp() * 1000)


def _start_of_day() -> pl.Expr:
    return _new_york_milliseconds(pl.col("session").cast(pl.Datetime("ms")))


def _end_of_session() -> pl.Expr:
    return _new_york_milliseconds(pl.col("session").cast(pl.Datetime("ms")) + pl.duration(hours=16))


def _new_york_milliseconds(local: pl.Expr) -> pl.Expr:
    return local.dt.replace_time_zone("America/New_York").dt.epoch("ms")


def _phase(now: datetime) -> str:
    day = now.date()
    if not calendar.is_session(day):
        return "closed"
    opens, closes = calendar.session_open(day), calendar.session_close(day)
    if opens <= now < closes:
        return "open"
    if now < opens:
        return "early" if now.time() >= time(4) else "closed"
    return "after" if now.time() < time(20) else "closed"


def _hours(day: date) -> dict[str, str]:
    if not calendar.is_session(day):
        return {}
    form = "%Y-%m-%dT%H:%M:%S.000Z"
    return {"open": calendar.session_open(day).strftime(form), "close": calendar.session_close(day).strftime(form)}
