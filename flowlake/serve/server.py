"""Runs the application with uvicorn: in this thread, or in one of its own for tests and benchmarks."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from flowlake.in_thread import running
from flowlake.serve.auth import TOKEN_VARIABLE, Door, is_loopback
from flowlake.settings import Settings

if TYPE_CHECKING:
    import uvicorn

_GRACE_SECONDS = 5


_REFUSALS = {
    errno.EADDRINUSE: "it is in use; stop the program that holds it, or choose another port (0 takes any free one)",
    errno.EADDRNOTAVAIL: "this machine does not have that address; serve on 127.0.0.1, or on one of its own",
    errno.EACCES: "not allowed; choose a port above 1023",
}


class CannotListen(OSError):
    """The address or port to listen on cannot be had; the message names it and the remedy."""


class LakeServer:
    """Serves the lake and the pages of `settings` on `http://host:port`.

    A context manager that runs in a thread, or `serve` for this thread. Raises `TokenRequired` where `host` can be
    reached from outside and there is no token, `CannotListen` on start.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: SecretStr | None = None,
        token_variable: str = TOKEN_VARIABLE,
    ) -> None:
        self.settings, self.host, self.port = settings, host, port
        self.door = Door.for_address(host, token, settings.serve.names(), token_variable)
        self._running = ExitStack()

    @property
    def base_url(self) -> str:
        """`http://host:port`, once the server listens."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def serve(self, on_ready: Callable[[str], None] = lambda base_url: None) -> None:
        """Serve in this thread until interrupted; `on_ready` gets the base URL once the port is bound."""
        listening = self._listen()
        on_ready(self.base_url)
        self._uvicorn().run([listening])

    def __enter__(self) -> Self:
        listening = self._listen()
        self._running.enter_context(running(self._uvicorn(), listening, "lake", 2 * _GRACE_SECONDS))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _uvicorn(self) -> uvicorn.Server:
        import uvicorn

        from flowlake.report.on_request import LivePages
        from flowlake.serve.app import create_app
        from flowlake.serve.lake_reader import LakeReader
        from flowlake.serve.pages import PageFolder

        reader = LakeReader(self.settings.data_dir)
        live = LivePages(lambda: (reader.state().version, reader.state().snapshot), self.settings.monitor)
        app = create_app(
            reader,
            PageFolder(self.settings.reports_dir, live),
            self.door,
            cache_bytes=self.settings.serve.cache_mb * 1_000_000,
            threads=self.settings.serve.threads,
        )
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        return uvicorn.Server(config)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.host, self.port))
            listening.listen(1024)
        except OSError as error:
            listening.close()
            told = _REFUSALS.get(error.errno or 0, f"{error.strerror}; serve on 127.0.0.1, or on another port")
            raise CannotListen(error.errno, f"cannot listen on port {self.port} of {self.host}: {told}") from error
        self.port = listening.getsockname()[1]
        return listening
