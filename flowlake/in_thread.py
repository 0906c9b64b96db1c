"""A uvicorn server in a thread of this process, for as long as a context lasts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

_LOOK_SECONDS = 0.005


@contextmanager
def running(server: uvicorn.Server, listening: socket.socket, name: str, stop_seconds: float = 10.0) -> Iterator[None]:
    """Run `server` on the bound socket `listening`; entered once it answers, left once it has stopped.

    Raises `RuntimeError`, naming the server, if it ends before it listens or does not stop within `stop_seconds`.
    """
    thread = threading.Thread(target=server.run, args=([listening],), name=name, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError(f"the {name} server stopped before it listened; the log says why")
        time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=stop_seconds)
        if thread.is_alive():
            raise RuntimeError(f"the {name} server did not stop within {stop_seconds:g} seconds")
