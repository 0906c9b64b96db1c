from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.sandbox.api import Page
from flowlake.sandbox.faults import Fault, FaultKind, Faults, Injector
from flowlake.sandbox.server import SandboxServer
from flowlake_tests.sandbox.tiny_market import TinyMarket

CHAIN = "/v3/snapshot/options/F"
LIMIT = 110
"""Three pages of the 300 contracts of F."""


@contextmanager
def _failing(*faults: Fault) -> Iterator[tuple[SandboxServer, httpx.Client]]:
    with (
        SandboxServer(TinyMarket(), faults=Faults(*faults)) as server,
        httpx.Client(base_url=server.base_url, headers={"Authorization": "Bearer sandbox"}) as client,
    ):
        yield server, client


def _get(client: httpx.Client, url: str = f"{CHAIN}?limit={LIMIT}") -> dict[str, Any]:
    return client.get(url).raise_for_status().json()


def _names(page: dict[str, Any]) -> list[str]:
    return [row["details"]["ticker"] for row in page["results"]]


def _true_pages() -> list[list[str]]:
    contracts = TinyMarket().contracts(TinyMarket().sessions()[-1]).filter(underlying="F")["contract"].to_list()
    return [contracts[start : start + LIMIT] for start in range(0, len(contracts), LIMIT)]


def test_latency_delays_an_otherwise_right_answer():
    with _failing(Fault(FaultKind.LATENCY, seconds=0.2)) as (server, client):
        with pytest.raises(httpx.ReadTimeout):
            client.get(CHAIN, timeout=0.05)
        assert client.get(CHAIN).status_code == 200
        assert [fault.kind for fault in server.injected] == [FaultKind.LATENCY]


@pytest.mark.parametrize("retry_after", [None, 7])
def test_a_burst_of_429_ends_after_the_number_asked_for(retry_after: int | None):
    with _failing(Fault(FaultKind.RATE_LIMIT, first=3, retry_after=retry_after)) as (server, client):
        answers = [client.get(CHAIN) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [429, 429, 429, 200, 200]
    assert answers[0].headers.get("Retry-After") == (None if retry_after is None else "7")
    assert answers[0].json()["error"].startswith("You've exceeded")
    assert Counter(fault.kind for fault in server.injected) == {FaultKind.RATE_LIMIT: 3}


def test_a_429_can_come_without_a_body():
    with _failing(Fault(FaultKind.RATE_LIMIT, empty_body=True)) as (_, client):
        answer = client.get(CHAIN)
    assert (answer.status_code, answer.content) == (429, b"")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_speaks_html(status: int):
    with _failing(Fault(FaultKind.SERVER_ERROR, status=status)) as (_, client):
        answer = client.get(CHAIN)
        assert client.get(CHAIN).status_code == 200
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert str(status) in answer.text


def test_a_missing_underlying_is_the_vendors_404():
    with _failing(Fault(FaultKind.MISSING_UNDERLYING, path="/F$", first=None)) as (_, client):
        missing = client.get(CHAIN)
        assert client.get("/v3/snapshot/options/AAPL").status_code == 200
    assert (missing.status_code, missing.json()["message"]) == (404, "Data not found.")


@pytest.mark.parametrize(
    ("kind", "error"),
    [(FaultKind.TRUNCATED, httpx.RemoteProtocolError), (FaultKind.RESET, httpx.ReadError)],
)
def test_a_cut_connection_is_an_error_and_the_next_request_is_whole(kind: FaultKind, error: type[Exception]):
    with _failing(Fault(kind)) as (_, client):
        with pytest.raises(error):
            client.get(f"{CHAIN}?limit={LIMIT}")
        assert _names(_get(client)) == _true_pages()[0]


def test_a_silent_truncation_has_an_agreeing_length_and_broken_json():
    with _failing(Fault(FaultKind.TRUNCATED_SILENTLY)) as (_, client):
        answer = client.get(CHAIN, headers={"Accept-Encoding": "identity"})
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_looping_next_url_leads_back_to_its_own_page():
    with _failing(Fault(FaultKind.LOOPING_NEXT_URL, first=None)) as (_, client):
        second = _get(client, _get(client)["next_url"])
        third = _get(client, second["next_url"])
    assert _names(third) == _names(second) == _true_pages()[1]
    assert third["next_url"] == second["next_url"]


def test_a_repeated_page_has_the_rows_of_the_one_before_under_a_new_cursor():
    with _failing(Fault(FaultKind.REPEATED_PAGE)) as (_, client):
        first = _get(client)
        second = _get(client, first["next_url"])
        third = _get(client, second["next_url"])
    assert [_names(page) for page in (first, second, third)] == [_true_pages()[n] for n in (0, 0, 2)]


def test_overlapping_pages_repeat_rows_and_lose_none():
    with _failing(Fault(FaultKind.OVERLAPPING_ROWS, rows=4)) as (_, client):
        first = _get(client)
        second = _get(client, first["next_url"])
    assert _names(second) == _true_pages()[0][-4:] + _true_pages()[1]


@pytest.mark.parametrize(
    ("kind", "begins"),
    [
        (FaultKind.FOREIGN_NEXT_URL, "http://trap.example:81/v3/"),
        (FaultKind.USERINFO_NEXT_URL, "http://{here}@trap.example:81/v3/"),
        (FaultKind.PORT_443_NEXT_URL, "https://127.0.0.1:443/v3/"),
        (FaultKind.DOWNGRADED_NEXT_URL, "http://127.0.0.1/v3/"),
    ],
)
def test_next_urls_to_other_origins(kind: FaultKind, begins: str):
    with _failing(Fault(kind, url="http://trap.example:81")) as (server, client):
        following = _get(client)["next_url"]
        assert following.startswith(begins.format(here=server.base_url.removeprefix("http://")))
        assert _get(client)["next_url"].startswith(f"{server.base_url}/v3/")


def test_an_empty_next_url_ends_the_last_page_only():
    with _failing(Fault(FaultKind.EMPTY_NEXT_URL, first=None)) as (server, client):
        pages = [_get(client)]
        while following := pages[-1].get("next_url"):
            pages.append(_get(client, following))
    assert pages[-1]["next_url"] == ""
    assert [_names(page) for page in pages] == _true_pages()
    assert [fault.page for fault in server.injected] == [3]


def test_a_poisoned_row_comes_on_top_of_the_true_ones():
    with _failing(Fault(FaultKind.POISONED_ROW)) as (_, client):
        rows = _get(client)["results"]
    poisoned = rows.pop(1)
    assert [row["details"]["ticker"] for row in rows] == _true_pages()[0]
    assert poisoned["details"]["strike_price"] == "not a number"
    assert not isinstance(poisoned["open_interest"], int)


def test_a_fault_strikes_only_its_path_and_page():
    fault = Fault(FaultKind.SERVER_ERROR, path="options/F$", page=2, first=None)
    with _failing(fault) as (server, client):
        other = _get(client, f"/v3/snapshot/options/AAPL?limit={LIMIT}")
        assert client.get(other["next_url"]).status_code == 200
        assert client.get(_get(client)["next_url"]).status_code == 503
        assert [(fault.path, fault.page) for fault in server.injected] == [(CHAIN, 2)]


def test_faults_need_a_right_key_first():
    with _failing(Fault(FaultKind.SERVER_ERROR)) as (server, client):
        assert client.get(CHAIN, headers={"Authorization": "Bearer guess"}).status_code == 401
        assert server.injected == []


_REQUESTS = [(f"/v3/snapshot/options/{name}", "limit=250") for name in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"] * 4


@given(st.permutations(_REQUESTS), st.integers(0, 1_000))
def test_chance_hits_the_same_requests_in_whatever_order_they_come(order: list[tuple[str, str]], seed: int):
    def hit(requests: list[tuple[str, str]]) -> Counter[str]:
        injector = Injector(Faults(Fault(FaultKind.RESET, first=None, probability=0.3), seed=seed))
        for path, query in requests:
            injector.pick(path, query, Page([]))
        return Counter(fault.path for fault in injector.injected)

    assert hit(order) == hit(_REQUESTS)


def test_probability_is_the_share_of_requests_hit():
    injector = Injector(Faults(Fault(FaultKind.RESET, first=None, probability=0.3)))
    for n in range(2_000):
        injector.pick(f"/{n}", "", Page([]))
    assert 500 < len(injector.injected) < 700
