"""GET with every guard a metered, paginated API needs; knows nothing of options or stocks.

One `Transport` serves all coroutines of a run: they share its token bucket, its slots, its circuit breaker and its time
budget. The key is added by `OriginBoundKey` to requests for the configured origin and to nothing else.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Generic, NoReturn, TypeVar

import httpx
import msgspec
from pydantic import SecretStr

from flowlake import __version__
from flowlake.settings import ApiSettings
from flowlake.sources.errors import (
    EXCERPT_CHARACTERS,
    AuthError,
    BadRequest,
    BudgetSpent,
    ConnectionLost,
    InvalidBaseUrl,
    MalformedKey,
    MissingKey,
    NotEntitled,
    NotFound,
    RateLimited,
    RequestFailed,
    Retryable,
    RouteNotFound,
    ServerError,
    Truncated,
    UnexpectedAnswer,
    Unreachable,
    UnsafeNextUrl,
    redact,
)
from flowlake.sources.parse import MalformedBody, UnexpectedShape
from flowlake.sources.ratelimit import AdaptiveSlots, CircuitBreaker, Timing, TokenBucket, full_jitter

T = TypeVar("T")

_RETRYABLE_STATUSES = frozenset({408, 413, 425, 499, 500, 502, 503, 504})
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port, with the default port written out so that `:443` makes no difference."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, url: httpx.URL) -> Origin:
        """The origin of `url`."""
        return cls(url.scheme, url.host.lower(), url.port or _DEFAULT_PORTS.get(url.scheme))

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass
class TransportStats:
    """What a run cost: requests sent, answers by outcome, retries, bytes of bodies, and each answer's seconds."""

    requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    bytes: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def totals(self) -> tuple[int, int, int, int]:
        """Requests, retries, answers 429, and bytes so far."""
        return self.requests, self.retries, self.rate_limited, self.bytes

    def latency(self, quantile: float) -> float | None:
        """The given quantile of seconds per answered request, the wait for a turn excluded; None before the first."""
        if not self.seconds:
            return None
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(quantile * len(self.seconds)))]


@dataclass(frozen=True)
class Reply(Generic[T]):
    """A decoded answer with what came around it; `attempts` counts the requests it took."""

    value: T
    received_at: datetime
    origin: str | None
    attempts: int


class OriginBoundKey(httpx.Auth):
    """Adds `Authorization: Bearer <key>` to requests for one origin only."""

    def __init__(self, key: SecretStr, origin: Origin) -> None:
        self._key = key
        self._origin = origin

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """httpx's hook, called once per request."""
        if Origin.of(request.url) == self._origin:
            request.headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        yield request


def checked_key(key: SecretStr | None) -> SecretStr:
    """`key` stripped of surrounding white space; raises `MissingKey` or `MalformedKey` where it cannot be one."""
    text = key.get_secret_value().strip() if key else ""
    if not text:
        raise MissingKey
    if not text.isascii() or not text.isprintable() or " " in text:
        raise MalformedKey
    return SecretStr(text)


def checked_base_url(text: str) -> httpx.URL:
    """`text` as a URL without trailing slash; raises `InvalidBaseUrl` where the key would not be safe with it."""
    try:
        url = httpx.URL(text.rstrip("/"))
    except httpx.InvalidURL as error:
        raise InvalidBaseUrl(f"FLOWLAKE_API__BASE_URL is not a URL: {error}") from error
    shown = redact(str(url))
    if url.scheme not in _DEFAULT_PORTS or not url.host or url.userinfo or url.query or url.fragment:
        raise InvalidBaseUrl(f"FLOWLAKE_API__BASE_URL must look like https://api.massive.com, not {shown!r}")
    if url.scheme == "http" and not Origin.of(url).is_loopback:
        raise InvalidBaseUrl(f"FLOWLAKE_API__BASE_URL {shown!r} would send the key unencrypted; use https://")
    return url


class Transport:
    """An HTTP client bound to one origin and one key, with limits and retries; use as an async context manager."""

    def __init__(
        self,
        settings: ApiSettings,
        key: SecretStr | None,
        timing: Timing | None = None,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.timing = timing or Timing()
        self.base_url = checked_base_url(settings.base_url)
        self.origin = Origin.of(self.base_url)
        self.stats = TransportStats()
        self._settings = settings
        self._key = checked_key(key)
        self._bucket = TokenBucket(settings.requests_per_second, max(1, int(settings.requests_per_second)), self.timing)
        self._breaker = CircuitBreaker(
            settings.breaker_failures, settings.breaker_trips, settings.breaker_cooldown_seconds
        )
        self._slots = AdaptiveSlots(settings.concurrency)
        self._ends_at = float("inf")
        loopback = self.origin.is_loopback
        self._http = httpx.AsyncClient(
            transport=http,
            auth=OriginBoundKey(self._key, self.origin),
            headers={
                "Accept": "application/json",
                # Compressing costs more than it saves where there is no wire.
                "Accept-Encoding": "identity" if loopback else "gzip",
                "User-Agent": f"flowlake/{__version__}",
            },
            timeout=httpx.Timeout(settings.read_timeout_seconds, connect=settings.connect_timeout_seconds, pool=None),
            limits=httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency),
            follow_redirects=False,
            trust_env=not loopback,
        )

    async def __aenter__(self) -> Transport:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    @property
    def fewest_slots(self) -> int:
        """The fewest requests in flight that trouble has left so far."""
        return self._slots.lowest

    def begin_run(self) -> None:
        """Start the time budget anew and close the circuit: what failed an earlier run may work in this one."""
        self._ends_at = self.timing.monotonic() + self._settings.budget_seconds
        self._breaker.succeeded()

    def url(self, path: str, params: Mapping[str, str] | None = None) -> httpx.URL:
        """`path` (absolute, already quoted) below the base URL, with `params` as its query."""
        url = httpx.URL(f"{self.base_url}{path}")
        return url.copy_with(params=dict(params)) if params else url

    def next_page(self, text: str, current: httpx.URL) -> httpx.URL:
        """`next_url` as a URL on our own origin; raises `UnsafeNextUrl` for any other, or one that carries userinfo."""
        try:
            url = httpx.URL(text)
            if url.is_relative_url:
                url = current.join(url)
        except httpx.InvalidURL as error:
            raise UnsafeNextUrl(f"next_url is not a URL: {self._redacted(text)!r}", self._shown(current)) from error
        if url.userinfo or Origin.of(url) != self.origin:
            raise UnsafeNextUrl(f"next_url leaves {self.base_url}: {self._redacted(text)!r}", self._shown(current))
        return url

    async def get(
        self, url: httpx.URL, decode: Callable[[bytes], T], headers: Mapping[str, str] | None = None
    ) -> Reply[T]:
        """GET `url` and decode its body, retrying what another try may cure.

        Raises a `RequestFailed` (its `attempts` say how often it was tried), `CircuitOpen` or `BudgetSpent`.
        """
        attempt = 0
        while True:
            self._check_budget()
            self._breaker.check()
            attempt += 1
            try:
                return await self._once(url, decode, headers, attempt)
            except RequestFailed as error:
                error.attempts = attempt
                self.stats.failures[type(error).__name__] += 1
                delay = self._delay(error, attempt)
                if isinstance(error, RateLimited):
                    # The limit is on the key, not on this coroutine: everybody waits, even if this one gives up.
                    self.stats.rate_limited += 1
                    self._bucket.pause(delay)
                if not isinstance(error, Retryable) or attempt >= self._settings.attempts:
                    raise
                self.stats.retries += 1
                if not isinstance(error, RateLimited):
                    await self.timing.sleep(delay)

    def _check_budget(self) -> None:
        if self.timing.monotonic() >= self._ends_at:
            raise BudgetSpent(
                f"the run's time budget of {self._settings.budget_seconds:g} s is spent (FLOWLAKE_API__BUDGET_SECONDS)"
            )

    def _delay(self, error: RequestFailed, attempt: int) -> float:
        settings = self._settings
        delay = full_jitter(attempt, settings.backoff_seconds, settings.backoff_cap_seconds, self.timing.uniform)
        if error.retry_after is None:
            return delay
        return min(max(delay, error.retry_after), settings.retry_after_cap_seconds)

    async def _once(
        self, url: httpx.URL, decode: Callable[[bytes], T], headers: Mapping[str, str] | None, attempt: int
    ) -> Reply[T]:
        async with self._slots as window:
            await self._bucket.take()
            self.stats.requests += 1
            try:
                reply = await self._exchange(url, decode, headers, attempt)
            except (ServerError, Unreachable, ConnectionLost) as error:
                self._slots.refused(window)
                if pause := self._breaker.failed(error):
                    self._bucket.pause(pause)
                raise
            except RequestFailed as error:
                if isinstance(error, RateLimited):
                    self._slots.refused(window)
                # Any well-formed refusal shows that the server is alive; a broken body does not.
                if not isinstance(error, Truncated):
                    self._breaker.succeeded()
                raise
        self._breaker.succeeded()
        self._slots.answered(self.stats.seconds[-1])
        return reply

    async def _exchange(
        self, url: httpx.URL, decode: Callable[[bytes], T], headers: Mapping[str, str] | None, attempt: int
    ) -> Reply[T]:
        started = self.timing.monotonic()
        try:
            async with asyncio.timeout(self._settings.request_timeout_seconds):
                request = self._http.build_request("GET", url, headers=headers)
                response = await self._http.send(request, stream=True)
                try:
                    body = await self._body(response, url)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            limit = self._settings.request_timeout_seconds
            raise ConnectionLost(f"no complete answer within {limit:g} s", self._shown(url)) from error
        except httpx.HTTPError as error:
            raise _connection_error(error, self._shown(url), str(self.base_url)) from error
        self.stats.seconds.append(self.timing.monotonic() - started)
        self.stats.bytes += len(body)
        if response.status_code != 200:
            self._refuse(response, body, url)
        try:
            value = decode(body)
        except (MalformedBody, UnexpectedShape) as error:
            kind = Truncated if isinstance(error, MalformedBody) else UnexpectedAnswer
            message = "the body is not complete JSON" if kind is Truncated else "the answer is not as documented"
            request_id = response.headers.get("X-Request-Id")
            excerpt = self._excerpt(body)
            raise kind(f"{message}: {error}", self._shown(url), 200, request_id, excerpt) from error
        return Reply(value, self.timing.now(), response.headers.get("X-Data-Origin"), attempt)

    async def _body(self, response: httpx.Response, url: httpx.URL) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > self._settings.max_body_bytes:
                raise UnexpectedAnswer(
                    f"the body is larger than {self._settings.max_body_bytes:,} bytes", self._shown(url)
                )
            chunks.append(chunk)
        return b"".join(chunks)

    def _refuse(self, response: httpx.Response, body: bytes, url: httpx.URL) -> NoReturn:
        status = response.status_code
        answer = _error_body(body)
        request_id = str(answer.get("request_id") or response.headers.get("X-Request-Id") or "") or None
        told = self._redacted(str(answer.get("error") or answer.get("message") or ""))
        retry_after = _retry_after(response.headers.get("Retry-After"), self.timing.now())
        kind, remedy = _classify(status, bool(answer))
        message = f"{told or 'no reason given'} - {remedy}" if remedy else told or f"HTTP {status}"
        raise kind(message, self._shown(url), status, request_id, self._excerpt(body), retry_after)

    def _excerpt(self, body: bytes) -> str:
        # Redacted before it is cut, so that a cut can never leave half a key behind.
        text = self._redacted(body[: 8 * EXCERPT_CHARACTERS].decode(errors="replace"))
        return " ".join(text.split())[:EXCERPT_CHARACTERS]

    def _shown(self, url: httpx.URL) -> str:
        return self._redacted(str(url))

    def _redacted(self, text: str) -> str:
        return redact(text, self._key.get_secret_value())


def _classify(status: int, is_json: bool) -> tuple[type[RequestFailed], str]:
    if status == 401:
        return AuthError, "check MASSIVE_API_KEY (or POLYGON_API_KEY)"
    if status == 403:
        return NotEntitled, "the plan of this key does not include these data"
    if status == 404:
        return (NotFound, "") if is_json else (RouteNotFound, "no such route here; check FLOWLAKE_API__BASE_URL")
    if status == 429:
        return RateLimited, "lower FLOWLAKE_API__REQUESTS_PER_SECOND if this persists"
    if status >= 500 or status in _RETRYABLE_STATUSES:
        return ServerError, "the server failed"
    if 300 <= status < 400:
        return UnexpectedAnswer, "redirects are not followed; check FLOWLAKE_API__BASE_URL"
    return BadRequest, ""


def _error_body(body: bytes) -> dict[str, object]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds asked for by a Retry-After header (delta or HTTP date, RFC 9110 10.2.3); None where unreadable."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass  # Not a number of seconds: the other permitted form is a date.
    try:
        return max(0.0, (parsedate_to_datetime(header) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _connection_error(error: httpx.HTTPError, shown: str, base_url: str) -> RequestFailed:
    told = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        remedy = "check the network, or FLOWLAKE_API__BASE_URL"
        return Unreachable(f"cannot connect to {base_url}: {told} - {remedy}", shown)
    if isinstance(error, httpx.DecodingError):
        return Truncated(f"the compressed body is damaged: {told}", shown)
    return ConnectionLost(f"the connection broke: {told}", shown)
