from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.sandbox.gateway import CLOCK_HEADER, ORIGIN_HEADER, RateLimiter
from flowlake.sandbox.paging import BadParameter, decode_cursor, encode_cursor
from flowlake.sandbox.plans import Plan
from flowlake.sandbox.server import PortInUse, SandboxServer
from flowlake_tests.sandbox.tiny_market import SESSIONS, TinyMarket

CHAIN = "/v3/snapshot/options/AAPL"
STOCKS = "/v2/snapshot/locale/us/markets/stocks/tickers"
CLOSE = calendar.session_close(SESSIONS[-1])


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(TinyMarket()) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: SandboxServer) -> Iterator[httpx.Client]:
    with _client(server) as connected:
        yield connected


def _client(server: SandboxServer, key: str | None = "sandbox") -> httpx.Client:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=server.base_url, headers=headers)


def _pages(client: httpx.Client, url: str, **params: Any) -> list[dict[str, Any]]:
    pages = [client.get(url, params=params).raise_for_status().json()]
    while following := pages[-1].get("next_url"):
        pages.append(client.get(following).raise_for_status().json())
    return pages


def _rows(client: httpx.Client, url: str, **params: Any) -> list[dict[str, Any]]:
    return [row for page in _pages(client, url, **params) for row in page["results"]]


def _contracts(client: httpx.Client, **params: Any) -> list[str]:
    return [row["details"]["ticker"] for row in _rows(client, CHAIN, **{"limit": 250} | params)]


def _listed(underlying: str = "AAPL") -> pl.DataFrame:
    return TinyMarket().contracts(SESSIONS[-1]).filter(pl.col("underlying") == underlying)


# --- keys, errors, headers -------------------------------------------------------------------------------------


def test_no_key_is_refused_with_the_vendors_words(server: SandboxServer):
    answer = _client(server, key=None).get(CHAIN)
    assert answer.status_code == 401
    body = answer.json()
    assert body == {
        "status": "ERROR",
        "request_id": answer.headers["X-Request-Id"],
        "error": "API Key was not provided",
    }
    assert len(body["request_id"]) == 32


def test_an_unknown_key_is_refused_with_the_vendors_words(server: SandboxServer):
    answer = _client(server, key="guess").get(CHAIN)
    assert (answer.status_code, answer.json()["error"]) == (401, "Unknown API Key")


def test_the_key_may_come_as_a_query_parameter_and_never_comes_back(server: SandboxServer):
    answer = _client(server, key=None).get(CHAIN, params={"apiKey": "sandbox"})
    assert answer.status_code == 200
    assert "sandbox" not in answer.text
    cursor = answer.json()["next_url"].partition("cursor=")[2]
    assert not any("key" in name.lower() for name in decode_cursor(cursor))


def test_every_answer_says_where_its_data_come_from():
    for origin in ("simulated", "recorded"):
        with SandboxServer(TinyMarket(origin=origin)) as server, _client(server) as client:
            assert client.get(CHAIN).headers[ORIGIN_HEADER] == origin
            assert client.get(CHAIN, params={"limit": "x"}).headers[ORIGIN_HEADER] == origin


def test_an_unknown_route_is_plain_text_404(client: httpx.Client):
    answer = client.get("/v9/nothing")
    assert (answer.status_code, answer.text.strip()) == (404, "404 page not found")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "251"}, "250"),
        ({"sort": "colour"}, "colour"),
        ({"order": "sideways"}, "sideways"),
        ({"strike_price.gte": "high"}, "strike_price.gte"),
        ({"expiration_date": "July"}, "expiration_date"),
        ({"cursor": "bm9uc2Vuc2U"}, "cursor"),
        ({"cursor": "###"}, "cursor"),
        ({"cursor": encode_cursor({"ap": "O:NONE260717C00000001", "limit": "10"})}, "O:NONE260717C00000001"),
    ],
)
def test_a_parameter_that_cannot_be_understood_is_a_400_that_names_it(
    client: httpx.Client, params: dict[str, str], names: str
):
    answer = client.get(CHAIN, params=params)
    assert answer.status_code == 400
    assert answer.json()["status"] == "ERROR"
    assert names in answer.json()["error"]


def test_a_limit_above_the_maximum_can_be_clamped_instead():
    with SandboxServer(TinyMarket(), page_limit_policy="clamp") as server, _client(server) as client:
        assert len(client.get(CHAIN, params={"limit": 9_999}).json()["results"]) == 250


def test_answers_are_compressed_only_when_asked_for(client: httpx.Client):
    packed = client.get(CHAIN, headers={"Accept-Encoding": "gzip"})
    plain = client.get(CHAIN, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.json()["results"] == plain.json()["results"]


# --- pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 100, 150, 250])
def test_pages_of_any_size_hold_the_whole_chain_once_in_order(limit: int):
    with SandboxServer(TinyMarket(strikes=25)) as server, _client(server) as client:
        pages = _pages(client, CHAIN, limit=limit)
    contracts = [row["details"]["ticker"] for page in pages for row in page["results"]]
    assert contracts == TinyMarket(strikes=25).contracts(SESSIONS[-1]).filter(underlying="AAPL")["contract"].to_list()
    # 150 contracts: no trailing empty page where the last is exactly full, and no next_url on it.
    assert [len(page["results"]) for page in pages] == [limit] * (150 // limit) + [150 % limit] * (150 % limit > 0)
    assert "next_url" not in pages[-1]


def test_the_default_page_has_ten_rows(client: httpx.Client):
    assert len(client.get(CHAIN).json()["results"]) == 10


def test_next_url_is_absolute_on_the_host_the_caller_used(client: httpx.Client):
    answer = client.get(CHAIN, headers={"Host": "market.example:8443"})
    assert answer.json()["next_url"].startswith(f"http://market.example:8443{CHAIN}?cursor=")


def test_a_cursor_carries_the_filters_sort_and_limit(client: httpx.Client):
    params = {"strike_price.gte": 110, "contract_type": "put", "sort": "strike_price", "order": "desc", "limit": 9}
    rows = _rows(client, CHAIN, **params)
    expected = _listed().filter(pl.col("strike") >= 110, contract_type="put")
    assert len(rows) == expected.height
    strikes = [row["details"]["strike_price"] for row in rows]
    assert strikes == sorted(strikes, reverse=True)
    assert len({row["details"]["ticker"] for row in rows}) == len(rows)


def test_cursors_have_no_padding_and_survive_the_round_trip(client: httpx.Client):
    cursor = client.get(CHAIN, params={"limit": 11}).json()["next_url"].partition("cursor=")[2]
    assert "=" not in cursor
    decoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    assert decoded.startswith("ap=O%3AAAPL") and "limit=11" in decoded


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), min_size=1, max_size=4))
def test_any_parameters_survive_a_cursor(params: dict[str, str]):
    assert decode_cursor(encode_cursor(params)) == params


@given(st.text(max_size=30))
def test_foreign_text_is_no_cursor_or_round_trips_exactly(text: str):
    try:
        assert encode_cursor(decode_cursor(text)) == text
    except BadParameter:
        return


def test_unknown_parameters_are_ignored_even_those_a_cursor_uses_inside(client: httpx.Client):
    rows = _contracts(client, as_of="2020-01-01", ap="O:AAPL260717C00110000", colour="blue")
    assert rows == _listed()["contract"].to_list()


def test_of_repeated_parameters_the_first_counts(client: httpx.Client):
    answer = client.get(f"{CHAIN}?limit=3&limit=5")
    assert len(answer.json()["results"]) == 3


# --- filters ---------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    operator=st.sampled_from(["", ".gt", ".gte", ".lt", ".lte"]),
    strike=st.integers(195, 255).map(lambda n: n / 2),
    expiration=st.sampled_from(["2026-07-17", "2026-08-21", "2026-08-20"]),
    by_date=st.sampled_from(["", ".gt", ".gte", ".lt", ".lte"]),
)
def test_range_filters_agree_with_filtering_the_whole_chain(
    client: httpx.Client, operator: str, strike: float, expiration: str, by_date: str
):
    compare = {"": "eq", ".gt": "gt", ".gte": "ge", ".lt": "lt", ".lte": "le"}
    expected = _listed().filter(
        getattr(pl.col("strike"), compare[operator])(strike),
        getattr(pl.col("expiration"), compare[by_date])(date.fromisoformat(expiration)),
    )
    got = _contracts(client, **{f"strike_price{operator}": strike, f"expiration_date{by_date}": expiration})
    assert got == expected["contract"].to_list()


def test_any_of_takes_a_comma_list(client: httpx.Client):
    rows = _rows(client, "/v3/reference/tickers", **{"ticker.any_of": "F,I:SPX,NOPE"})
    assert [row["ticker"] for row in rows] == ["F", "I:SPX"]


# --- the chain -------------------------------------------------------------------------------------------------


def test_an_underlying_nobody_knows_has_an_empty_chain(client: httpx.Client):
    assert client.get("/v3/snapshot/options/NOPE").json()["results"] == []


@pytest.mark.parametrize("spelling", ["SPX", "I:SPX"])
def test_an_index_chain_answers_to_both_spellings(client: httpx.Client, spelling: str):
    row = client.get(f"/v3/snapshot/options/{spelling}").json()["results"][0]
    assert row["details"]["ticker"].startswith("O:SPXW")
    assert row["underlying_asset"]["value"] == 6_004.0


def test_a_share_class_answers_with_and_without_its_point(client: httpx.Client):
    dotted, plain = (client.get(f"/v3/snapshot/options/{name}").json()["results"] for name in ("BRK.B", "BRKB"))
    assert dotted == plain != []


def test_one_contract_is_an_object_and_an_unknown_one_a_404(client: httpx.Client):
    contract = _listed()["contract"][0]
    assert client.get(f"{CHAIN}/{contract}").json()["results"]["details"]["ticker"] == contract
    missing = client.get(f"{CHAIN}/O:AAPL260717C99999999")
    assert (missing.status_code, missing.json()["message"]) == (404, "Option Ticker not found.")


# --- the clock -------------------------------------------------------------------------------------------------


def _first_oi(client: httpx.Client, **headers: str) -> int:
    row = client.get(CHAIN, params={"limit": 2}, headers=headers).json()["results"][1]
    return row["open_interest"]


def test_the_clock_starts_at_the_close_of_the_last_session(server: SandboxServer):
    assert server.clock == CLOSE


def test_a_request_can_name_its_own_moment_without_moving_the_clock(server: SandboxServer, client: httpx.Client):
    earlier = calendar.session_close(SESSIONS[1]).astimezone(calendar.NEW_YORK).isoformat()
    assert _first_oi(client) == 14
    assert _first_oi(client, **{CLOCK_HEADER: earlier}) == 11
    assert _first_oi(client) == 14


def test_the_clock_can_be_set_as_a_time_a_callable_or_over_http():
    with SandboxServer(TinyMarket(), clock=calendar.session_close(SESSIONS[0])) as server, _client(server) as client:
        assert _first_oi(client) == 10
        server.clock = lambda: calendar.session_close(SESSIONS[2])
        assert _first_oi(client) == 12
        told = client.put("/sandbox/clock", json={"clock": "2026-06-18T16:00:00-04:00"})
        assert told.json()["clock"] == "2026-06-18T20:00:00+00:00"
        assert server.clock == datetime(2026, 6, 18, 20, tzinfo=UTC)
        assert _first_oi(client) == 13


def test_a_running_clock_shows_whole_minutes_so_that_pages_share_a_moment():
    ticks = iter(datetime(2026, 6, 18, 15, 30, second, 999, tzinfo=UTC) for second in range(60))
    with SandboxServer(TinyMarket(), clock=lambda: next(ticks)) as server, _client(server) as client:
        stamps = {row["underlying_asset"]["last_updated"] for row in _rows(client, CHAIN, limit=70)}
    assert stamps == {int(datetime(2026, 6, 18, 15, 30, tzinfo=UTC).timestamp()) * 10**9}


@pytest.mark.parametrize("text", ["2026-06-18T16:00:00", "yesterday", ""])
def test_a_moment_without_offset_is_refused(client: httpx.Client, text: str):
    answer = client.get(CHAIN, headers={CLOCK_HEADER: text})
    assert answer.status_code == 400
    assert "offset" in answer.json()["error"]
    assert client.put("/sandbox/clock", json={"clock": text}).status_code == 400


@pytest.mark.parametrize("path", [CHAIN, STOCKS, "/v3/reference/options/contracts", "/v3/reference/tickers"])
def test_a_session_the_market_does_not_have_is_a_404_that_says_which_it_has(client: httpx.Client, path: str):
    answer = client.get(path, headers={CLOCK_HEADER: "2026-06-23T20:00:00+00:00"})
    assert (answer.status_code, answer.json()["status"]) == (404, "NOT_FOUND")
    assert "2026-06-15" in answer.json()["message"] and "2026-06-22" in answer.json()["message"]


@pytest.mark.parametrize("year", ["0001", "1990", "2045", "9999"])
@pytest.mark.parametrize(
    "path",
    [
        CHAIN,
        STOCKS,
        "/v3/reference/tickers",
        "/v1/marketstatus/now",
        "/v1/marketstatus/upcoming",
        "/v3/reference/options/contracts?as_of={year}-06-18",
        "/v2/aggs/grouped/locale/us/market/stocks/{year}-06-18",
        "/v2/aggs/ticker/F/range/1/day/{year}-06-18/9999-12-31",
    ],
)
def test_a_date_outside_every_calendar_is_refused_or_empty_and_never_a_crash(
    client: httpx.Client, path: str, year: str
):
    headers = {CLOCK_HEADER: f"{year}-06-18T16:00:00-04:00"}
    assert client.get(path.format(year=year)).status_code in (200, 400, 403, 404)
    assert client.get(path.format(year="2026"), headers=headers).status_code in (200, 400, 403, 404)


def test_the_morning_after_the_last_session_still_shows_it(client: httpx.Client):
    morning = {CLOCK_HEADER: "2026-06-23T08:00:00-04:00"}
    assert _first_oi(client, **morning) == 14
    for path in (STOCKS, "/v3/reference/tickers", "/v3/reference/options/contracts"):
        assert client.get(path, headers=morning).status_code == 200


def test_delayed_plans_see_the_market_of_fifteen_minutes_ago():
    with SandboxServer(TinyMarket(), plan=Plan.STARTER, stocks_plan=Plan.STARTER) as server, _client(server) as client:
        asset = client.get(CHAIN).json()["results"][0]["underlying_asset"]
        assert asset["last_updated"] == (int(CLOSE.timestamp()) - 15 * 60) * 10**9


# --- plans and rates -------------------------------------------------------------------------------------------


def test_the_basic_plan_has_reference_and_bars_but_no_snapshots():
    with (
        SandboxServer(TinyMarket(), plan=Plan.BASIC, stocks_plan=Plan.BASIC, requests_per_minute=None) as server,
        _client(server) as client,
    ):
        for path in (CHAIN, STOCKS):
            refused = client.get(path)
            assert (refused.status_code, refused.json()["status"]) == (403, "NOT_AUTHORIZED")
            assert refused.json()["message"].startswith("You are not entitled to this data.")
        assert client.get("/v3/reference/tickers").status_code == 200
        bars = "/v2/aggs/ticker/AAPL/range/1/day/2026-06-15"
        assert client.get(f"{bars}/2026-06-18").json()["status"] == "DELAYED"
        today = client.get(f"{bars}/2026-06-22")
        assert today.status_code == 403
        assert today.json()["message"].startswith("Your plan doesn't include this data timeframe.")


def test_bars_older_than_the_plans_history_are_refused(client: httpx.Client):
    path = "/v2/aggs/ticker/AAPL/range/1/day/2015-01-01/2026-06-18"
    assert client.get(path).status_code == 200
    for plan in (Plan.BASIC, Plan.STARTER):
        with SandboxServer(TinyMarket(), stocks_plan=plan) as server, _client(server) as limited:
            assert limited.get(path).status_code == 403


def test_without_a_stocks_plan_stock_data_are_refused():
    with SandboxServer(TinyMarket(), stocks_plan=None) as server, _client(server) as client:
        assert client.get(STOCKS).status_code == 403
        assert client.get(CHAIN).status_code == 200


def test_the_basic_plan_answers_five_requests_a_minute():
    with SandboxServer(TinyMarket(), plan=Plan.BASIC) as server, _client(server) as client:
        codes = [client.get("/v1/marketstatus/now").status_code for _ in range(6)]
        refused = client.get("/v1/marketstatus/now")
    assert codes == [200] * 5 + [429]
    assert refused.json()["error"].startswith("You've exceeded the maximum requests per minute")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_the_rate_window_slides_and_each_key_has_its_own():
    now = 0.0
    limiter = RateLimiter(2, now=lambda: now)
    assert [limiter.wait("a"), limiter.wait("a"), limiter.wait("b")] == [0, 0, 0]
    now = 20.0
    assert limiter.wait("a") == 40
    now = 60.0
    assert [limiter.wait("a"), limiter.wait("a")] == [0, 0]
    assert limiter.wait("a") == 60


# --- stocks, reference, bars -----------------------------------------------------------------------------------


def test_the_stock_snapshot_is_the_whole_market_in_one_answer_without_indices(client: httpx.Client):
    body = client.get(STOCKS).json()
    assert body["count"] == len(body["tickers"]) == 5
    row = next(row for row in body["tickers"] if row["ticker"] == "AAPL")
    assert row["day"] == {"o": 203.5, "h": 205.0, "l": 203.0, "c": 204.0, "v": 204_000.0, "vw": 204.0}
    assert row["prevDay"] == {"c": 203.0}
    assert row["lastQuote"]["P"] > row["lastQuote"]["p"]
    assert row["updated"] == int(CLOSE.timestamp()) * 10**9
    assert "request_id" not in body


def test_the_stock_snapshot_can_be_asked_for_some_tickers_or_one(client: httpx.Client):
    some = client.get(STOCKS, params={"tickers": "F,ZZZ,NOPE"}).json()["tickers"]
    assert [row["ticker"] for row in some] == ["F", "ZZZ"]
    assert client.get(f"{STOCKS}/F").json()["ticker"] == some[0]
    assert client.get(f"{STOCKS}/NOPE").status_code == 404


def test_the_contract_reference_lists_what_was_listed_on_the_day_asked_for(client: httpx.Client):
    rows = _rows(client, "/v3/reference/options/contracts", underlying_ticker="F", limit=1000, as_of="2026-06-16")
    expected = TinyMarket().contracts(SESSIONS[1]).filter(underlying="F")
    assert [row["ticker"] for row in rows] == expected["contract"].to_list()
    assert rows[0]["underlying_ticker"] == "F" and rows[0]["cfi"] == "OCASPS"
    only = client.get(f"/v3/reference/options/contracts/{rows[0]['ticker']}").json()["results"]
    assert only == rows[0]


def test_tickers_say_market_and_type_and_only_their_own_page_says_market_cap(client: httpx.Client):
    rows = {row["ticker"]: row for row in _rows(client, "/v3/reference/tickers", limit=2)}
    assert set(rows) == {"AAPL", "BRKB", "F", "I:SPX", "KLAC", "ZZZ"}
    assert rows["I:SPX"]["market"] == "indices"
    assert rows["AAPL"]["name"] == 'AAPL "Holdings", Inc. {}'
    assert "market_cap" not in rows["AAPL"]
    assert client.get("/v3/reference/tickers/AAPL").json()["results"]["market_cap"] == 1e9
    assert client.get("/v3/reference/tickers/NOPE").status_code == 404


def test_tickers_can_be_searched_and_inactive_ones_are_none(client: httpx.Client):
    found = _rows(client, "/v3/reference/tickers", search="zzz hold")
    assert found == []
    assert [row["ticker"] for row in _rows(client, "/v3/reference/tickers", search="zzz")] == ["ZZZ"]
    assert _rows(client, "/v3/reference/tickers", active="false") == []


def test_splits_and_dividends_come_newest_first_and_only_once_announced(client: httpx.Client):
    splits = _rows(client, "/v3/reference/splits", limit=1)
    assert [(row["ticker"], row["split_from"], row["split_to"]) for row in splits] == [("F", 4, 1), ("KLAC", 1, 10)]
    before = client.get("/v3/reference/splits", headers={CLOCK_HEADER: "2026-06-15T20:00:00+00:00"}).json()["results"]
    assert [row["ticker"] for row in before] == ["KLAC"]
    dates = [row["ex_dividend_date"] for row in _rows(client, "/v3/reference/dividends", limit=2, ticker="AAPL")]
    assert dates == ["2026-12-14", "2026-09-14", "2026-06-15"]
    late = _rows(client, "/v3/reference/dividends", **{"ex_dividend_date.gte": "2026-09-14"})
    assert len(late) == 2


def test_grouped_bars_are_all_stocks_of_the_day_stamped_at_its_end(client: httpx.Client):
    body = client.get("/v2/aggs/grouped/locale/us/market/stocks/2026-06-18").json()
    assert [row["T"] for row in body["results"]] == ["AAPL", "BRKB", "F", "KLAC", "ZZZ"]
    assert body["resultsCount"] == 5
    assert body["results"][0]["t"] == int(calendar.session_close(date(2026, 6, 18)).timestamp() * 1000)


def test_grouped_bars_of_a_session_the_market_lacks_are_a_404(client: httpx.Client):
    answer = client.get("/v2/aggs/grouped/locale/us/market/stocks/2026-06-12")
    assert answer.status_code == 404
    assert "no session 2026-06-12" in answer.json()["message"]


def test_a_day_without_bars_has_no_results_key(client: httpx.Client):
    for path in ("grouped/locale/us/market/stocks/2026-06-20", "ticker/NOPE/range/1/day/2026-06-15/2026-06-18"):
        body = client.get(f"/v2/aggs/{path}").json()
        assert body["resultsCount"] == 0
        assert "results" not in body


def test_bars_are_adjusted_for_splits_unless_asked_otherwise(client: httpx.Client):
    path = "/v2/aggs/ticker/KLAC/range/1/day/2026-06-15/2026-06-22"
    adjusted = client.get(path).json()["results"]
    as_traded = client.get(path, params={"adjusted": "false"}).json()["results"]
    assert [bar["c"] for bar in as_traded] == [900.0, 901.0, 92.0, 93.0, 94.0]
    assert [bar["c"] for bar in adjusted] == pytest.approx([90.0, 90.1, 92.0, 93.0, 94.0])
    assert [bar["v"] for bar in adjusted][:2] == pytest.approx([9_000_000, 9_010_000])
    # Announced but not yet executed: nothing to adjust.
    ford = "/v2/aggs/ticker/F/range/1/day/2026-06-15/2026-06-22"
    assert client.get(ford).json()["results"] == client.get(ford, params={"adjusted": "false"}).json()["results"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_range_bars_page_by_moving_the_range(client: httpx.Client, order: str):
    pages = _pages(client, "/v2/aggs/ticker/AAPL/range/1/day/2026-06-01/2026-06-30", limit=2, sort=order)
    starts = [bar["t"] for page in pages for bar in page["results"]]
    midnights = [
        int(datetime.combine(day, datetime.min.time(), calendar.NEW_YORK).timestamp() * 1000) for day in SESSIONS
    ]
    assert starts == sorted(midnights, reverse=order == "desc")
    assert [page["resultsCount"] for page in pages] == [2, 2, 1]


def test_bars_of_a_contract_are_the_sessions_it_traded_in(client: httpx.Client):
    contract = _listed()["contract"][0]
    path = f"/v2/aggs/ticker/{contract}/range/1/day/2026-06-15/2026-06-17"
    closes = [bar["c"] for bar in client.get(path).json()["results"]]
    assert closes == [TinyMarket().option_bars(day).filter(contract=contract)["close"].item() for day in SESSIONS[:3]]


def test_bars_of_the_future_and_of_an_unfinished_session_are_not_shown(client: httpx.Client):
    noon = datetime(2026, 6, 17, 12, tzinfo=calendar.NEW_YORK).isoformat()
    for ticker in ("AAPL", _listed()["contract"][0]):
        path = f"/v2/aggs/ticker/{ticker}/range/1/day/2026-06-15/2026-06-22"
        assert client.get(path, headers={CLOCK_HEADER: noon}).json()["resultsCount"] == 2
    grouped = "/v2/aggs/grouped/locale/us/market/stocks/2026-06-17"
    assert client.get(grouped, headers={CLOCK_HEADER: noon}).json()["resultsCount"] == 0


def test_a_range_that_ends_before_it_begins_is_refused_with_the_vendors_words(client: httpx.Client):
    answer = client.get("/v2/aggs/ticker/AAPL/range/1/day/2026-06-18/2026-06-15")
    assert answer.status_code == 400
    assert answer.json()["error"] == "The parameter 'to' cannot be a time that occurs before 'from'"


@pytest.mark.parametrize(
    ("moment", "market", "early", "after"),
    [
        ("2026-06-18T03:00:00-04:00", "closed", False, False),
        ("2026-06-18T08:00:00-04:00", "extended-hours", True, False),
        ("2026-06-18T09:30:00-04:00", "open", False, False),
        ("2026-06-18T16:00:00-04:00", "extended-hours", False, True),
        ("2026-06-18T20:00:00-04:00", "closed", False, False),
        ("2026-06-19T12:00:00-04:00", "closed", False, False),
        ("2026-11-27T13:30:00-05:00", "extended-hours", False, True),
    ],
)
def test_market_status_follows_the_calendar(client: httpx.Client, moment: str, market: str, early: bool, after: bool):
    body = client.get("/v1/marketstatus/now", headers={CLOCK_HEADER: moment}).json()
    assert (body["market"], body["earlyHours"], body["afterHours"]) == (market, early, after)
    assert body["serverTime"] == moment


def test_upcoming_holidays_are_a_bare_list_with_utc_hours_of_early_closes(client: httpx.Client):
    rows = client.get("/v1/marketstatus/upcoming").json()
    nyse = {row["date"]: row for row in rows if row["exchange"] == "NYSE"}
    assert nyse["2026-07-03"]["status"] == "closed"
    assert nyse["2026-11-27"]["status"] == "early-close"
    assert nyse["2026-11-27"]["close"] == "2026-11-27T18:00:00.000Z"
    assert min(nyse) > CLOSE.date().isoformat()
    assert max(nyse) <= (CLOSE.date() + timedelta(days=365)).isoformat()


# --- the process -----------------------------------------------------------------------------------------------


def test_a_port_in_use_is_named_with_the_remedy():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} .* choose another port"):
            SandboxServer(TinyMarket(), port=port).__enter__()


def test_a_stopped_server_frees_its_port():
    with SandboxServer(TinyMarket()) as first:
        port = first.port
    with SandboxServer(TinyMarket(), port=port) as second, _client(second) as client:
        assert client.get(CHAIN).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(second.base_url)


def test_the_server_remembers_what_it_was_asked():
    with SandboxServer(TinyMarket()) as server, _client(server) as client:
        client.get(CHAIN, params={"limit": 3})
        client.get("/v9/nothing")
        assert server.request_count == 2
        seen, unknown = server.requests
    assert unknown.path == "/v9/nothing"
    assert (seen.method, seen.path, seen.query) == ("GET", CHAIN, "limit=3")
    assert seen.headers["authorization"] == "Bearer sandbox"
