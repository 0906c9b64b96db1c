"""A server runs in a thread while its context lasts; one that cannot start says so instead of hanging."""

from __future__ import annotations

import socket
import threading
from typing import Any

import httpx
import pytest
import uvicorn

from flowlake.in_thread import running


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def server(app: Any = hello, **config: Any) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", **config))


def test_it_answers_while_the_context_lasts_and_not_after():
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with running(server(), listening, "test"):
        assert httpx.get(url).text == "hello"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    assert not any(thread.name == "test" for thread in threading.enumerate())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_ends_before_it_listens_is_named():
    listening = socket.create_server(("127.0.0.1", 0))
    never = running(server("no.such.module:app"), listening, "test")
    with listening, pytest.raises(RuntimeError, match="the test server stopped before it listened"), never:
        pytest.fail("a server that cannot load its application was entered")
