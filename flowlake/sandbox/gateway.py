"""HTTP around the endpoints: the key, the rate limit, the moment, error bodies, gzip, and the faults on the way out."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from flowlake import calendar
from flowlake.sandbox.api import Api, Call, NotEntitled, NotFound, Page
from flowlake.sandbox.faults import Fault, FaultKind, Injector, alter
from flowlake.sandbox.market import UnknownSession
from flowlake.sandbox.paging import BadParameter

CLOCK_HEADER = "X-Sandbox-Clock"
"""Request header: the moment this one request asks about, an ISO 8601 time with offset."""

ORIGIN_HEADER = "X-Data-Origin"
"""Response header: 'simulated' or 'recorded'."""

Clock = datetime | Callable[[], datetime]
Handler = Callable[[Request], Awaitable[Response]]

REMEMBERED_REQUESTS = 20_000

_TOO_MANY = (
    "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue. "
    "https://massive.com/pricing"
)
_HTML = b"<html><head><title>%(code)d</title></head><body><center><h1>%(code)d</h1></center></body></html>\r\n"
# 1 prefers speed: on a chain page it takes a quarter of the time of the default 6 for a sixth more bytes (measured).
_GZIP_LEVEL = 1


@dataclass(frozen=True)
class Seen:
    """One request as it arrived, for assertions on what a client sends."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


class RateLimiter:
    """Sliding window of one minute per key, on an injectable monotonic clock; None admits everything."""

    def __init__(self, per_minute: int | None, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._now = per_minute, now
        self._stamps: dict[str, deque[float]] = {}

    def wait(self, key: str) -> float:
        """Seconds until `key` may ask again; 0 admits the request and counts it."""
        if self._per_minute is None:
            return 0.0
        now, stamps = self._now(), self._stamps.setdefault(key, deque())
        while stamps and now - stamps[0] >= 60:
            stamps.popleft()
        if len(stamps) >= self._per_minute:
            return 60 - (now - stamps[0])
        stamps.append(now)
        return 0.0


class Gateway:
    """The ASGI application of a sandbox: `app` answers requests by `api`, shown at the moment `clock`."""

    def __init__(
        self,
        api: Api,
        *,
        keys: Collection[str],
        clock: Clock,
        limiter: RateLimiter,
        retry_after: bool,
        injector: Injector,
    ) -> None:
        self.requests: deque[Seen] = deque(maxlen=REMEMBERED_REQUESTS)
        self.request_count = 0
        self.clock: Clock = clock
        self._api, self._market = api, api.view.market
        self._keys = frozenset(keys)
        self._limiter, self._retry_after, self._injector = limiter, retry_after, injector
        self.app = Starlette(routes=self._routes(), exception_handlers={404: self._no_route, 405: self._no_route})

    def now(self) -> datetime:
        """The moment shown to requests that name none; a callable clock is read to the minute, so that the pages of
        one pass share a moment and its frames."""
        if callable(self.clock):
            return aware(self.clock()).replace(second=0, microsecond=0)
        return aware(self.clock)

    def _routes(self) -> list[Route]:
        api, page = self._api, self._page_route
        stocks = "/v2/snapshot/locale/us/markets/stocks/tickers"
        return [
            page("/v3/snapshot/options/{underlying}", api.chain),
            page("/v3/snapshot/options/{underlying}/{contract}", api.contract_snapshot),
            page(stocks, api.stock_snapshot),
            page(stocks + "/{ticker}", api.stock_snapshot_of),
            page("/v3/reference/options/contracts", api.contracts),
            page("/v3/reference/options/contracts/{contract}", api.contract),
            page("/v3/reference/tickers", api.tickers),
            page("/v3/reference/tickers/{ticker}", api.ticker),
            page("/v3/reference/splits", api.splits),
            page("/v3/reference/dividends", api.dividends),
            page("/v2/aggs/grouped/locale/us/market/stocks/{day}", api.grouped_daily),
            page("/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{start}/{end}", api.aggregates),
            page("/v1/marketstatus/now", api.market_status),
            page("/v1/marketstatus/upcoming", api.holidays),
            Route("/sandbox/clock", self._guarded(self._set_clock), methods=["PUT"]),
            Route("/sandbox/clock", self._guarded(self._show_clock), methods=["GET"]),
        ]

    def _page_route(self, path: str, answer: Callable[..., Page]) -> Route:
        async def handle(request: Request) -> Response:
            moment = _moment(request) or self.now()
            call = Call.of(moment, request.url.path, _first_of_repeated(request), _origin(request))
            page = answer(call, **request.path_params)
            faults = self._injector.pick(request.url.path, request.url.query, page)
            return await self._deliver(request, page, faults) if faults else self._page(request, page)

        return Route(path, self._guarded(handle), methods=["GET"])

    def _guarded(self, handle: Handler) -> Handler:
        """`handle` behind what every request meets: the record, the key, the rate limit, error bodies."""

        async def guarded(request: Request) -> Response:
            self._remember(request)
            request.state.request_id = hashlib.md5(str(self.request_count).encode(), usedforsecurity=False).hexdigest()
            key = _key(request)
            if key not in self._keys:
                return self._error(request, 401, "ERROR", "Unknown API Key" if key else "API Key was not provided")
            if wait := self._limiter.wait(key):
                return self._too_many(request, int(wait) + 1 if self._retry_after else None)
            try:
                return await handle(request)
            except BadParameter as error:
                return self._error(request, 400, "ERROR", str(error))
            except OverflowError:
                return self._error(request, 400, "ERROR", "A date in the request is out of range")
            except NotEntitled as error:
                return self._error(request, 403, "NOT_AUTHORIZED", str(error))
            except (NotFound, UnknownSession, calendar.NotASession) as error:
                return self._error(request, 404, "NOT_FOUND", str(error))

        return guarded

    async def _deliver(self, request: Request, page: Page, faults: list[Fault]) -> Response:
        url = f"{_origin(request)}{request.url.path}?{request.url.query}"
        for fault in faults:
            if fault.kind is FaultKind.LATENCY:
                await asyncio.sleep(fault.seconds)
            elif fault.fails_outright:
                return self._failure(request, fault)
        response = self._page(request, alter(page, faults, url))
        cut = next((fault for fault in faults if fault.cuts), None)
        return CutResponse(response, cut.kind) if cut else response

    def _failure(self, request: Request, fault: Fault) -> Response:
        if fault.kind is FaultKind.RATE_LIMIT:
            return self._too_many(request, fault.retry_after, empty=fault.empty_body)
        if fault.kind is FaultKind.MISSING_UNDERLYING:
            return self._error(request, 404, "NOT_FOUND", "Data not found.")
        body = b"" if fault.empty_body else _HTML % {b"code": fault.status}
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return Response(body, fault.status, headers, media_type="text/html")

    def _too_many(self, request: Request, retry_after: int | None, *, empty: bool = False) -> Response:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if empty:
            return Response(b"", 429, headers)
        return self._error(request, 429, "ERROR", _TOO_MANY, headers)

    def _error(
        self, request: Request, code: int, status: str, text: str, headers: dict[str, str] | None = None
    ) -> Response:
        # The vendor says `error` for ERROR and `message` for everything else.
        body = {
            "status": status,
            "request_id": request.state.request_id,
            "error" if status == "ERROR" else "message": text,
        }
        return self._json(request, orjson.dumps(body), code, headers)

    def _page(self, request: Request, page: Page) -> Response:
        return self._json(request, page.body(request.state.request_id))

    def _json(self, request: Request, body: bytes, code: int = 200, headers: dict[str, str] | None = None) -> Response:
        sent = {
            "X-Request-Id": request.state.request_id,
            ORIGIN_HEADER: self._market.origin,
            "Vary": "Accept-Encoding",
            **(headers or {}),
        }
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, compresslevel=_GZIP_LEVEL, mtime=0)
            sent["Content-Encoding"] = "gzip"
        return Response(body, code, sent, media_type="application/json")

    async def _no_route(self, request: Request, error: Exception) -> Response:
        self._remember(request)
        return Response("404 page not found\n", 404, media_type="text/plain")

    def _remember(self, request: Request) -> None:
        self.requests.append(Seen(request.method, request.url.path, request.url.query, dict(request.headers)))
        self.request_count += 1

    async def _set_clock(self, request: Request) -> Response:
        try:
            self.clock = aware(datetime.fromisoformat(orjson.loads(await request.body())["clock"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadParameter('Send {"clock": "<ISO 8601 time with offset>"}') from error
        return await self._show_clock(request)

    async def _show_clock(self, request: Request) -> Response:
        body = {"clock": self.now().isoformat(), "sessions": self._api.view.sessions, "origin": self._market.origin}
        return self._json(request, orjson.dumps(body))


class CutResponse(Response):
    """The first half of `whole`: the connection is closed or reset behind it, or the length says that was all."""

    def __init__(self, whole: Response, kind: FaultKind) -> None:
        half = bytes(whole.body)[: len(whole.body) // 2]
        headers = dict(whole.headers)
        if kind is FaultKind.TRUNCATED_SILENTLY:
            headers["content-length"] = str(len(half))
        super().__init__(half, whole.status_code, headers)
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the half, then end the connection as the kind of cut says."""
        if self._kind is FaultKind.TRUNCATED_SILENTLY:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        transport: asyncio.Transport = scope["state"]["transport"]
        if self._kind is FaultKind.RESET:
            # Closing with a linger time of zero sends RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        else:
            transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass


def _key(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else request.query_params.get("apiKey", "")


def _first_of_repeated(request: Request) -> dict[str, str]:
    params: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        params.setdefault(name, value)
    return params


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


def _moment(request: Request) -> datetime | None:
    text = request.headers.get(CLOCK_HEADER)
    if text is None:
        return None
    try:
        return aware(datetime.fromisoformat(text))
    except ValueError as error:
        raise BadParameter(f"{CLOCK_HEADER} must be an ISO 8601 time with offset, got '{text}'") from error


def aware(moment: datetime) -> datetime:
    """`moment` in UTC; raises `ValueError` where it has no offset and so names no moment."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no offset; a sandbox clock is an aware datetime")
    return moment.astimezone(UTC)
