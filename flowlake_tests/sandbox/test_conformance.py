"""The sandbox against two judges that are not ours: the vendor's own client and the vendor's own schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from massive import RESTClient

from flowlake import calendar
from flowlake.sandbox.server import SandboxServer
from flowlake_tests.sandbox.tiny_market import SESSIONS, TinyMarket

MARKET = TinyMarket()


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(MARKET) as running:
        yield running


@pytest.fixture(scope="module")
def official(server: SandboxServer) -> Any:
    # Any: the client's methods are annotated `X | HTTPResponse`, which no caller means.
    return RESTClient("sandbox", base=server.base_url)


@pytest.mark.parametrize("underlying", ["AAPL", "F", "I:SPX"])
def test_the_official_client_pages_a_chain_completely(official: Any, underlying: str):
    rows = list(official.list_snapshot_options_chain(underlying, params={"limit": 70}))
    expected = MARKET.chain(calendar.session_close(SESSIONS[-1])).filter(underlying=underlying.removeprefix("I:"))
    assert [row.details.ticker for row in rows] == expected["contract"].to_list()
    assert [row.open_interest for row in rows] == expected["open_interest"].to_list()
    assert [row.greeks.delta if row.greeks else None for row in rows] == expected["delta"].to_list()
    assert [row.day.volume if row.day else None for row in rows] == expected["day_volume"].to_list()
    assert [row.last_quote.bid if row.last_quote else None for row in rows] == expected["bid"].to_list()
    assert [row.last_trade.price if row.last_trade else None for row in rows] == expected["last_price"].to_list()


def test_the_official_client_filters_a_chain(official: Any):
    params = {"strike_price.gte": 110, "contract_type": "put", "limit": 250}
    rows = list(official.list_snapshot_options_chain("AAPL", params=params))
    expected = MARKET.contracts(SESSIONS[-1]).filter(underlying="AAPL", contract_type="put")
    assert [row.details.ticker for row in rows] == expected.filter(expected["strike"] >= 110)["contract"].to_list()


def test_the_official_client_reads_one_contract(official: Any):
    row = official.get_snapshot_option("AAPL", "O:AAPL260717C00100000")
    assert row.details.strike_price == 100
    assert row.underlying_asset.price == 204


def test_the_official_client_lists_contracts(official: Any):
    rows = list(official.list_options_contracts(underlying_ticker="ZZZ", limit=77, as_of="2026-06-17"))
    assert [row.ticker for row in rows] == MARKET.contracts(SESSIONS[2]).filter(underlying="ZZZ")["contract"].to_list()


def test_the_official_client_lists_tickers_and_their_details(official: Any):
    rows = list(official.list_tickers(limit=2))
    assert [row.ticker for row in rows] == ["AAPL", "BRKB", "F", "I:SPX", "KLAC", "ZZZ"]
    assert official.get_ticker_details("AAPL").market_cap == 1e9


def test_the_official_client_lists_range_and_grouped_bars(official: Any):
    bars = list(official.list_aggs("AAPL", 1, "day", "2026-06-01", "2026-06-30", limit=2))
    assert [bar.close for bar in bars] == [200, 201, 202, 203, 204]
    grouped = official.get_grouped_daily_aggs("2026-06-18")
    assert [bar.ticker for bar in grouped] == ["AAPL", "BRKB", "F", "KLAC", "ZZZ"]
    contract = list(official.list_aggs("O:AAPL260717C00100000", 1, "day", "2026-06-15", "2026-06-17"))
    assert len(contract) == 3


def test_the_official_client_reads_the_stock_snapshot(official: Any):
    rows = official.get_snapshot_all("stocks")
    assert [row.ticker for row in rows] == ["AAPL", "BRKB", "F", "KLAC", "ZZZ"]
    assert official.get_snapshot_ticker("stocks", "AAPL").day.close == 204


def test_the_official_client_lists_splits_and_dividends(official: Any):
    assert [split.ticker for split in official.list_splits(limit=1)] == ["F", "KLAC"]
    assert [one.cash_amount for one in official.list_dividends("AAPL", limit=2)] == [0.27, 0.26, 0.25]


def test_the_official_client_reads_market_status_and_holidays(official: Any):
    assert official.get_market_status().after_hours is True
    assert "2026-07-03" in {holiday.date for holiday in official.get_market_holidays()}


# --- the vendor's OpenAPI document -----------------------------------------------------------------------------

_ENDPOINTS = {
    "/v3/snapshot/options/{underlyingAsset}": "/v3/snapshot/options/AAPL?limit=250",
    "/v3/snapshot/options/{underlyingAsset}/{optionContract}": "/v3/snapshot/options/AAPL/O:AAPL260717C00100000",
    "/v2/snapshot/locale/us/markets/stocks/tickers": "/v2/snapshot/locale/us/markets/stocks/tickers",
    "/v3/reference/options/contracts": "/v3/reference/options/contracts?limit=1000",
    "/v3/reference/tickers": "/v3/reference/tickers",
    "/v3/reference/tickers/{ticker}": "/v3/reference/tickers/AAPL",
    "/v3/reference/splits": "/v3/reference/splits",
    "/v3/reference/dividends": "/v3/reference/dividends",
    "/v2/aggs/grouped/locale/us/market/stocks/{date}": "/v2/aggs/grouped/locale/us/market/stocks/2026-06-18",
    "/v2/aggs/ticker/{stocksTicker}/range/{multiplier}/{timespan}/{from}/{to}": (
        "/v2/aggs/ticker/AAPL/range/1/day/2026-06-01/2026-06-30"
    ),
    "/v1/marketstatus/now": "/v1/marketstatus/now",
    "/v1/marketstatus/upcoming": "/v1/marketstatus/upcoming",
}


def _strict_in_names_lax_in_presence(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` that forbids fields it does not name and requires none: the vendor leaves out fields the document calls
    required (reference, sections 3.4 and 10)."""
    merged = dict(schema)
    for part in merged.pop("allOf", []):
        merged["properties"] = merged.get("properties", {}) | part.get("properties", {})
    relaxed = {name: value for name, value in merged.items() if name in ("type", "enum", "items", "properties")}
    if "items" in relaxed:
        relaxed["items"] = _strict_in_names_lax_in_presence(relaxed["items"])
    if "properties" in relaxed:
        fields = relaxed["properties"].items()
        relaxed["properties"] = {name: _strict_in_names_lax_in_presence(value) for name, value in fields}
        relaxed["additionalProperties"] = False
    return relaxed


@pytest.mark.real_data
@pytest.mark.parametrize("path", _ENDPOINTS)
def test_answers_use_the_names_and_types_of_the_vendors_schema(server: SandboxServer, shared_data: Path, path: str):
    from jsonschema import Draft202012Validator

    document = json.loads((shared_data / "polygon/openapi/massive-openapi-2026-07-08.json").read_text())
    answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    schema = _strict_in_names_lax_in_presence(answer)
    if "/aggs/" in path:
        # Absent from the document, present in every observed aggregate (reference, section 2.4).
        schema["properties"]["count"] = {"type": "integer"}
    validator = Draft202012Validator(schema)
    body = httpx.get(server.base_url + _ENDPOINTS[path], headers={"Authorization": "Bearer sandbox"}).json()
    assert [f"{list(error.path)}: {error.message[:200]}" for error in validator.iter_errors(body)] == []


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "path", "params", "key"),
    [
        ("400_bad_range", "/v2/aggs/ticker/F/range/1/day/2026-06-18/2026-06-15", {}, "sandbox"),
        ("401_no_key", "/v3/snapshot/options/F", {}, None),
        ("401_unknown_key", "/v3/snapshot/options/F", {}, "guess"),
        ("404_option_ticker_not_found", "/v3/snapshot/options/F/O:F260717C99999999", {}, "sandbox"),
        ("200_empty_chain", "/v3/snapshot/options/NOPE", {}, "sandbox"),
        ("200_empty_aggs", "/v2/aggs/ticker/AAPL/range/1/day/2026-06-20/2026-06-21", {}, "sandbox"),
    ],
)
def test_bodies_equal_the_observed_ones(
    server: SandboxServer, shared_data: Path, file: str, path: str, params: dict[str, str], key: str | None
):
    observed = json.loads((shared_data / f"polygon/errors/{file}.json").read_text())
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    answer = httpx.get(server.base_url + path, params=params, headers=headers)
    body = answer.json()
    if not file.startswith("200"):
        assert answer.status_code == int(file[:3])
    assert len(body.pop("request_id")) == 32
    observed.pop("request_id")
    assert body == observed
