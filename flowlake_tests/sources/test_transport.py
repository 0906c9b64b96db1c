import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.settings import ApiSettings
from flowlake.sources.errors import (
    AuthError,
    BadRequest,
    BudgetSpent,
    CircuitOpen,
    ConnectionLost,
    InvalidBaseUrl,
    MalformedKey,
    MissingKey,
    NotEntitled,
    NotFound,
    RateLimited,
    RequestFailed,
    RouteNotFound,
    ServerError,
    Truncated,
    UnexpectedAnswer,
    Unreachable,
    UnsafeNextUrl,
)
from flowlake.sources.parse import MalformedBody
from flowlake.sources.transport import Reply, Transport
from flowlake_tests.sources.helpers import KEY, NOW, JumpingClock, Script, answers, api_settings, error, ok, secret

HTML = httpx.Response(502, html="<html><h1>502 Bad Gateway</h1></html>")


def as_json(body: bytes) -> Any:
    if not body.endswith(b"}"):
        raise MalformedBody("cut")
    return body


async def get(script: Script, clock: JumpingClock | None = None, **changes: Any) -> Reply[Any]:
    clock = clock or JumpingClock()
    settings: ApiSettings = api_settings(**changes)
    async with Transport(settings, secret(), clock.timing, script.transport) as transport:
        transport.begin_run()
        return await transport.get(transport.url("/v3/thing", {"limit": "250"}), as_json)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (error(401, status="ERROR", error="Unknown API Key"), AuthError),
        (error(403, status="NOT_AUTHORIZED", message="You are not entitled to this data."), NotEntitled),
        (error(404, status="NOT_FOUND", message="Data not found."), NotFound),
        (httpx.Response(404, text="404 page not found"), RouteNotFound),
        (error(400, status="ERROR", error="bad limit"), BadRequest),
        (httpx.Response(414, text="URI too long"), BadRequest),
        (httpx.Response(302, headers={"Location": "https://evil.example/"}), UnexpectedAnswer),
    ],
)
async def test_a_refusal_is_typed_and_never_retried(response: httpx.Response, kind: type[RequestFailed]):
    script = answers(response)
    with pytest.raises(kind) as caught:
        await get(script)
    assert len(script.requests) == 1
    assert caught.value.status == response.status_code


async def test_an_error_carries_request_id_url_and_excerpt():
    with pytest.raises(NotEntitled, match="not entitled to this data") as caught:
        await get(answers(error(403, status="NOT_AUTHORIZED", message="You are not entitled to this data.")))
    assert caught.value.request_id == "req-42"
    assert caught.value.url == "http://127.0.0.1:9/v3/thing?limit=250"
    assert "NOT_AUTHORIZED" in caught.value.excerpt


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (error(429, status="ERROR", error="too many"), RateLimited),
        (httpx.Response(429), RateLimited),
        (HTML, ServerError),
        (httpx.Response(503), ServerError),
        (httpx.Response(499), ServerError),
        (httpx.Response(200, text='{"results": [1,'), Truncated),
        (httpx.ReadTimeout("silent"), ConnectionLost),
        (httpx.RemoteProtocolError("peer closed connection"), ConnectionLost),
        (httpx.ReadError("reset"), ConnectionLost),
        (httpx.ConnectError("refused"), Unreachable),
        (httpx.DecodingError("bad gzip"), Truncated),
    ],
)
async def test_what_may_pass_is_retried_until_it_passes_or_the_tries_are_used_up(
    response: httpx.Response | Exception, kind: type[RequestFailed]
):
    reply = await get(answers(response, response, ok([])))
    assert reply.attempts == 3
    script = answers(response)
    with pytest.raises(kind) as caught:
        await get(script, attempts=3)
    assert len(script.requests) == caught.value.attempts == 3


async def test_back_off_doubles_up_to_its_cap():
    clock = JumpingClock()
    with pytest.raises(ServerError):
        await get(answers(HTML), clock, attempts=6, backoff_seconds=1, backoff_cap_seconds=5, breaker_failures=100)
    assert clock.slept == pytest.approx([1, 2, 4, 5, 5])


@pytest.mark.parametrize(
    ("header", "waited"), [("7", 7), ("3600", 60), ("Wed, 17 Jun 2026 21:00:09 GMT", 9), ("soon", 0.25)]
)
async def test_retry_after_is_honoured_up_to_a_cap(header: str, waited: float):
    clock = JumpingClock()
    await get(answers(httpx.Response(429, headers={"Retry-After": header}), ok([])), clock)
    assert clock.seconds == pytest.approx(waited, abs=0.01)


async def test_a_429_pauses_every_request_and_not_only_its_own():
    clock = JumpingClock()
    script = answers(httpx.Response(429, headers={"Retry-After": "30"}), ok([]))
    async with Transport(api_settings(attempts=1), secret(), clock.timing, script.transport) as transport:
        # With one try the request itself gives up, but the key is over its limit all the same.
        with pytest.raises(RateLimited):
            await transport.get(transport.url("/a"), as_json)
        await transport.get(transport.url("/b"), as_json)
    assert clock.seconds == pytest.approx(30)


async def test_the_circuit_opens_after_failures_in_a_row_and_closes_with_the_next_run():
    clock = JumpingClock()
    script = answers(*[httpx.Response(500)] * 4, ok([]))
    settings = api_settings(attempts=10, breaker_failures=2, breaker_trips=2, breaker_cooldown_seconds=3)
    async with Transport(settings, secret(), clock.timing, script.transport) as transport:
        with pytest.raises(CircuitOpen, match="4 times in a row"):
            await transport.get(transport.url("/a"), as_json)
        transport.begin_run()
        await transport.get(transport.url("/a"), as_json)
    assert len(script.requests) == 5


async def test_the_time_budget_ends_a_run():
    clock = JumpingClock()
    with pytest.raises(BudgetSpent, match="time budget of 10 s"):
        await get(answers(httpx.Response(429, headers={"Retry-After": "6"})), clock, budget_seconds=10, attempts=50)
    assert clock.seconds < 20


async def test_a_body_larger_than_any_real_one_is_not_read():
    with pytest.raises(UnexpectedAnswer, match="larger than 1,000 bytes"):
        await get(answers(httpx.Response(200, content=b"x" * 1001)), max_body_bytes=1000)


async def test_an_answer_that_never_ends_is_given_up():
    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.001)

    def answer(request: httpx.Request, number: int) -> httpx.Response:
        return httpx.Response(200, content=forever())

    with pytest.raises(ConnectionLost, match=r"no complete answer within 0\.05 s"):
        await get(Script(answer), request_timeout_seconds=0.05, attempts=1)


async def test_the_key_goes_into_the_authorization_header_and_nowhere_else():
    script = answers(ok([]))
    await get(script)
    (request,) = script.requests
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(request.url)


async def test_the_key_is_not_sent_to_another_origin_even_if_asked():
    script = answers(ok([]))
    async with Transport(api_settings(), secret(), JumpingClock().timing, script.transport) as transport:
        for url in ("http://127.0.0.1:10/x", "https://127.0.0.1:9/x", "http://evil.example/x"):
            await transport.get(httpx.URL(url), as_json)
    assert all("Authorization" not in request.headers for request in script.requests)


async def test_a_server_that_echoes_the_key_does_not_get_it_into_errors_or_logs(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    echoed = error(403, message=f"key {KEY} may not; see https://h/p?apiKey={KEY}", padding="x" * 5 + KEY)
    with pytest.raises(NotEntitled) as caught:
        await get(answers(echoed))
    assert KEY not in str(caught.value) + repr(caught.value) + caught.value.excerpt
    assert KEY not in caplog.text


async def test_neither_client_nor_settings_show_the_key():
    transport = Transport(api_settings(), secret(), JumpingClock().timing, answers(ok([])).transport)
    assert KEY not in repr(transport) + repr(vars(transport)) + repr(transport._http.headers)
    await transport.__aexit__(None, None, None)


@pytest.mark.parametrize("key", [None, "", "   "])
def test_no_key_says_what_to_do(key: str | None):
    with pytest.raises(MissingKey, match="MASSIVE_API_KEY"):
        Transport(api_settings(), None if key is None else secret(key))


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "tab\there"])
def test_a_key_no_header_can_carry_is_refused_without_being_shown(key: str):
    with pytest.raises(MalformedKey) as caught:
        Transport(api_settings(), secret(key))
    assert key not in str(caught.value)


async def test_white_space_around_a_key_is_forgiven():
    script = answers(ok([]))
    async with Transport(api_settings(), secret(f" {KEY}\n"), JumpingClock().timing, script.transport) as transport:
        await transport.get(transport.url("/x"), as_json)
    assert script.requests[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "url",
    ["api.massive.com", "ftp://api.massive.com", "https://", "https://user:pw@api.massive.com", "https://h/?apiKey=x"],
)
def test_a_base_url_that_is_none_is_refused(url: str):
    with pytest.raises(InvalidBaseUrl, match="FLOWLAKE_API__BASE_URL") as caught:
        Transport(api_settings(base_url=url), secret())
    assert "pw" not in str(caught.value)


def test_the_key_is_not_sent_unencrypted_except_to_this_machine():
    with pytest.raises(InvalidBaseUrl, match="unencrypted"):
        Transport(api_settings(base_url="http://api.massive.com"), secret())
    for url in ("http://127.0.0.1:80", "http://localhost:8000", "http://[::1]:8000", "https://api.massive.com/"):
        Transport(api_settings(base_url=url), secret())


@pytest.fixture(scope="module")
def vendor() -> Transport:
    return Transport(api_settings(base_url="https://api.massive.com"), secret())


@pytest.mark.parametrize(
    "text",
    [
        "https://api.massive.com/v3/x?cursor=a",
        "https://api.massive.com:443/v3/x?cursor=a",
        "https://API.massive.com/v3/x?cursor=a",
        "/v3/x?cursor=a",
    ],
)
def test_next_url_is_followed_on_its_origin_however_it_is_spelt(vendor: Transport, text: str):
    url = vendor.next_page(text, vendor.url("/v3/x"))
    assert (url.path, url.query) == ("/v3/x", b"cursor=a")


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/v3/x?cursor=a",
        "//evil.example/v3/x",
        "https://api.massive.com@evil.example/v3/x",
        "https://user:pw@api.massive.com/v3/x",
        "http://api.massive.com/v3/x",
        "https://api.massive.com:8443/v3/x",
        "https://api.massive.com.evil.example/v3/x",
        "https://evil.example\\@api.massive.com/x",
        "file:///etc/passwd",
        "https://[broken/x",
    ],
)
def test_next_url_that_leaves_the_origin_is_refused(vendor: Transport, text: str):
    with pytest.raises(UnsafeNextUrl, match="next_url"):
        vendor.next_page(text, vendor.url("/v3/x"))


@given(st.text(max_size=40))
def test_any_next_url_is_either_on_our_origin_or_refused(vendor: Transport, text: str):
    try:
        url = vendor.next_page(text, vendor.url("/v3/x"))
    except UnsafeNextUrl:
        return
    assert (url.scheme, url.host, url.port or 443, url.userinfo) == ("https", "api.massive.com", 443, b"")


async def test_no_network_is_one_clear_error():
    with pytest.raises(Unreachable, match="check the network, or FLOWLAKE_API__BASE_URL"):
        await get(answers(httpx.ConnectError("[Errno 111] Connection refused")), attempts=2)


async def test_what_a_run_cost_is_counted():
    clock = JumpingClock()
    script = answers(httpx.Response(429), HTML, ok([]))
    async with Transport(api_settings(), secret(), clock.timing, script.transport) as transport:
        assert transport.stats.latency(0.5) is None
        reply = await transport.get(transport.url("/x"), as_json)
    stats = transport.stats
    assert (stats.requests, stats.retries, stats.rate_limited) == (3, 2, 1)
    assert stats.failures == {"RateLimited": 1, "ServerError": 1}
    assert stats.bytes > len(ok([]).content)
    assert reply.received_at == NOW + timedelta(seconds=clock.seconds)
