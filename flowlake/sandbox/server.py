"""The loopback server that speaks the Polygon/Massive REST API over a sandbox market.

It shows one moment at a time: its clock, or the moment a request names in `X-Sandbox-Clock`. Every answer says in
`X-Data-Origin` where its data come from.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowlake import calendar
from flowlake.sandbox.api import Api, Call, NotEntitled, NotFound, Page, Terms
from flowlake.sandbox.market import Market, UnknownSession
from flowlake.sandbox.paging import BadParameter, LimitPolicy
from flowlake.sandbox.plans import Plan
from flowlake.sandbox.view import MarketView

if TYPE_CHECKING:
    import uvicorn

CLOCK_HEADER = "X-Sandbox-Clock"
ORIGIN_HEADER = "X-Data-Origin"

Clock = datetime | Callable[[], datetime]

_TOO_MANY = (
    "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue. "
    "https://massive.com/pricing"
)


class PortInUse(OSError):
    """The port to listen on is taken; the message names it and the remedy."""


@dataclass(frozen=True)
class Seen:
    """One request as it arrived, for assertions on what a client sends."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


class RateLimiter:
    """Sliding window of one minute per key, on an injectable monotonic clock."""

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


class SandboxServer:
    """Serves `market` on `http://host:port`; a context manager that runs it in a thread, or `serve_forever`.

    `keys` are the accepted API keys. `plan` and `stocks_plan` decide entitlements (no stocks plan: None).
    `requests_per_minute` overrides the plan's rate limit (None: unlimited). `clock` is the moment shown, settable
    while it runs; by default the close of the market's last session.
    """

    def __init__(
        self,
        market: Market,
        *,
        keys: Collection[str] = ("sandbox",),
        plan: Plan = Plan.ADVANCED,
        stocks_plan: Plan | None = Plan.ADVANCED,
        clock: Clock | None = None,
        page_limit_policy: LimitPolicy = "reject",
        requests_per_minute: int | Literal["plan"] | None = "plan",
        retry_after: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.market = market
        self.keys = frozenset(keys)
        self.host, self.port = host, port
        self.requests: list[Seen] = []
        self._view = MarketView(market)
        self._api = Api(self._view, Terms(plan, stocks_plan, page_limit_policy))
        self._clock: Clock = clock or calendar.session_close(self._view.sessions[-1])
        per_minute = plan.value.requests_per_minute if requests_per_minute == "plan" else requests_per_minute
        self._limiter, self._retry_after = RateLimiter(per_minute), retry_after
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.app = Starlette(routes=self._routes(), exception_handlers={404: _no_route, 405: _no_route})

    @property
    def clock(self) -> datetime:
        """The moment the server shows to requests that name none."""
        return self._clock() if callable(self._clock) else self._clock

    @clock.setter
    def clock(self, moment: Clock) -> None:
        self._clock = moment if callable(moment) else _aware(moment)

    @property
    def base_url(self) -> str:
        """`http://host:port`, once the server listens."""
        return f"http://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        listening = self._listen()
        self._server = self._uvicorn()
        self._thread = threading.Thread(target=self._server.run, args=([listening],), name="sandbox", daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the sandbox server stopped before it listened; see the log")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None and self._thread is not None, "__enter__ sets both"
        self._server.should_exit = True
        self._thread.join(timeout=10)

    def serve_forever(self, on_ready: Callable[[str], None] = lambda base_url: None) -> None:
        """Serve in this thread until interrupted; `on_ready` gets the base URL once the port is bound."""
        listening = self._listen()
        on_ready(self.base_url)
        self._uvicorn().run([listening])

    def _uvicorn(self) -> uvicorn.Server:
        import uvicorn

        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        return uvicorn.Server(config)

    def _listen(self) -> socket.socket:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.host, self.port))
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(
                error.errno,
                f"port {self.port} on {self.host} is in use; stop the program that holds it, "
                "or choose another port (0 takes any free one)",
            ) from error
        self.port = listening.getsockname()[1]
        return listening

    def _routes(self) -> list[Route]:
        api, pages = self._api, self._page_route
        stocks = "/v2/snapshot/locale/us/markets/stocks/tickers"
        return [
            pages("/v3/snapshot/options/{underlying}", api.chain),
            pages("/v3/snapshot/options/{underlying}/{contract}", api.contract_snapshot),
            pages(stocks, api.stock_snapshot),
            pages(stocks + "/{ticker}", api.stock_snapshot_of),
            pages("/v3/reference/options/contracts", api.contracts),
            pages("/v3/reference/options/contracts/{contract}", api.contract),
            pages("/v3/reference/tickers", api.tickers),
            pages("/v3/reference/tickers/{ticker}", api.ticker),
            pages("/v3/reference/splits", api.splits),
            pages("/v3/reference/dividends", api.dividends),
            pages("/v2/aggs/grouped/locale/us/market/stocks/{day}", api.grouped_daily),
            pages("/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{start}/{end}", api.aggregates),
            pages("/v1/marketstatus/now", api.market_status),
            pages("/v1/marketstatus/upcoming", api.holidays),
            Route("/sandbox/clock", self._guarded(self._set_clock), methods=["PUT"]),
            Route("/sandbox/clock", self._guarded(self._show_clock), methods=["GET"]),
        ]

    def _page_route(self, path: str, answer: Callable[..., Page]) -> Route:
        async def handle(request: Request) -> Response:
            moment = _moment(request) or self.clock
            call = Call.of(moment, request.url.path, _first_of_repeated(request), _origin(request))
            page = answer(call, **request.path_params)
            request_id = request.state.request_id
            return _reply(request, page.body(request_id), request_id, self.market.origin)

        return Route(path, self._guarded(handle), methods=["GET"])

    def _guarded(self, handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """`handle` behind what every request meets: the record, the key, the rate limit, error bodies."""

        async def guarded(request: Request) -> Response:
            self.requests.append(Seen(request.method, request.url.path, request.url.query, dict(request.headers)))
            request.state.request_id = hashlib.md5(str(len(self.requests)).encode(), usedforsecurity=False).hexdigest()
            key = _key(request)
            if key not in self.keys:
                text = "Unknown API Key" if key else "API Key was not provided"
                return self._error(request, 401, "ERROR", text)
            if wait := self._limiter.wait(key):
                headers = {"Retry-After": str(int(wait) + 1)} if self._retry_after else {}
                return self._error(request, 429, "ERROR", _TOO_MANY, headers)
            try:
                return await handle(request)
            except BadParameter as error:
                return self._error(request, 400, "ERROR", str(error))
            except NotEntitled as error:
                return self._error(request, 403, "NOT_AUTHORIZED", str(error))
            except (NotFound, UnknownSession) as error:
                return self._error(request, 404, "NOT_FOUND", str(error))

        return guarded

    def _error(
        self, request: Request, code: int, status: str, text: str, headers: dict[str, str] | None = None
    ) -> Response:
        # The vendor says `error` for ERROR and `message` for everything else.
        request_id = request.state.request_id
        body = {"status": status, "request_id": request_id, "error" if status == "ERROR" else "message": text}
        return _reply(request, orjson.dumps(body), request_id, self.market.origin, code, headers)

    async def _set_clock(self, request: Request) -> Response:
        try:
            self.clock = datetime.fromisoformat(orjson.loads(await request.body())["clock"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise BadParameter('Send {"clock": "<ISO 8601 time with offset>"}') from error
        return await self._show_clock(request)

    async def _show_clock(self, request: Request) -> Response:
        body = {"clock": self.clock.isoformat(), "sessions": self._view.sessions, "origin": self.market.origin}
        return _reply(request, orjson.dumps(body), request.state.request_id, self.market.origin)


def _reply(
    request: Request, body: bytes, request_id: str, origin: str, code: int = 200, headers: dict[str, str] | None = None
) -> Response:
    sent = {"X-Request-Id": request_id, ORIGIN_HEADER: origin, "Vary": "Accept-Encoding"} | (headers or {})
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, compresslevel=1, mtime=0)
        sent["Content-Encoding"] = "gzip"
    return Response(body, code, sent, media_type="application/json")


async def _no_route(request: Request, error: Exception) -> Response:
    return Response("404 page not found\n", 404, media_type="text/plain")


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
        return _aware(datetime.fromisoformat(text))
    except ValueError as error:
        raise BadParameter(f"{CLOCK_HEADER} must be an ISO 8601 time with offset, got '{text}'") from error


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no offset; a sandbox clock is an aware datetime")
    return moment.astimezone(UTC)
