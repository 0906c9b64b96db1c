"""The loopback server that speaks the Polygon/Massive REST API over a sandbox market.

It shows one moment at a time: its clock, or the moment a request names in `X-Sandbox-Clock`. Every answer says in
`X-Data-Origin` where its data come from.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Collection
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Self

from flowlake import calendar
from flowlake.in_thread import running
from flowlake.sandbox.api import Api, Terms
from flowlake.sandbox.faults import Faults, Injected, Injector
from flowlake.sandbox.gateway import Clock, Gateway, RateLimiter, Seen, aware
from flowlake.sandbox.market import Market
from flowlake.sandbox.paging import LimitPolicy
from flowlake.sandbox.plans import Plan
from flowlake.sandbox.view import MarketView

if TYPE_CHECKING:
    import uvicorn

_NO_FAULTS = Faults()


class PortInUse(OSError):
    """The port to listen on is taken; the message names it and the remedy."""


class SandboxServer:
    """Serves `market` on `http://host:port`: a context manager that runs in a thread, or `serve` for this thread.

    `keys` are the accepted API keys; `plan` and `stocks_plan` decide entitlements (None: no stocks plan).
    `clock` is the moment shown, settable while it runs; by default the close of the market's last session.
    `page_limit_policy` says what a `limit` above the maximum gets: 'reject' (400) or 'clamp'.
    `requests_per_minute` replaces the plan's rate limit (None: unlimited), `retry_after` says whether a 429 names
    the seconds to wait. Raises `PortInUse` on start.
    """

    def __init__(
        self,
        market: Market,
        *,
        keys: Collection[str] = ("sandbox",),
        plan: Plan = Plan.ADVANCED,
        stocks_plan: Plan | None = Plan.ADVANCED,
        clock: Clock | None = None,
        faults: Faults = _NO_FAULTS,
        page_limit_policy: LimitPolicy = "reject",
        requests_per_minute: int | Literal["plan"] | None = "plan",
        retry_after: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.market = market
        self.host, self.port = host, port
        view = MarketView(market)
        per_minute = plan.value.requests_per_minute if requests_per_minute == "plan" else requests_per_minute
        self._injector = Injector(faults)
        self._gateway = Gateway(
            Api(view, Terms(plan, stocks_plan, page_limit_policy)),
            keys=keys,
            clock=clock if clock is not None else calendar.session_close(view.sessions[-1]),
            limiter=RateLimiter(per_minute),
            retry_after=retry_after,
            injector=self._injector,
        )
        self._running = ExitStack()

    @property
    def base_url(self) -> str:
        """`http://host:port`, once the server listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def clock(self) -> datetime:
        """The moment the server shows to requests that name none."""
        return self._gateway.now()

    @clock.setter
    def clock(self, moment: Clock) -> None:
        self._gateway.clock = moment if callable(moment) else aware(moment)

    @property
    def requests(self) -> list[Seen]:
        """The requests seen (the latest 20,000), in order of arrival."""
        return list(self._gateway.requests)

    @property
    def request_count(self) -> int:
        """How many requests were seen."""
        return self._gateway.request_count

    @property
    def injected(self) -> list[Injected]:
        """The faults that happened, in order."""
        return list(self._injector.injected)

    def inject(self, faults: Faults) -> None:
        """Let `faults` happen from now on, instead of those before; settable while it runs."""
        self._injector.replace(faults)

    def serve(self, on_ready: Callable[[str], None] = lambda base_url: None) -> None:
        """Serve in this thread until interrupted; `on_ready` gets the base URL once the port is bound."""
        listening = self._listen()
        on_ready(self.base_url)
        _uvicorn(self._gateway).run([listening])

    def __enter__(self) -> Self:
        listening = self._listen()
        self._running.enter_context(running(_uvicorn(self._gateway), listening, "sandbox"))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _listen(self) -> socket.socket:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.host, self.port))
            listening.listen()
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


def _uvicorn(gateway: Gateway) -> uvicorn.Server:
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class Protocol(AutoHTTPProtocol):
        """uvicorn's protocol, which also tells the application its transport: faults cut connections."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.app_state = {**self.app_state, "transport": transport}
            super().connection_made(transport)

    config = uvicorn.Config(
        gateway.app,
        http=Protocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
