"""Real chains through HTTP: nothing lost, nothing rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import pytest

from flowlake import calendar
from flowlake.sandbox.recorded import RecordedMarket
from flowlake.sandbox.server import SandboxServer

UNDERLYINGS = ("AAPL", "PYPL", "SPY")


@pytest.mark.real_data
def test_recorded_chains_arrive_complete_and_exact(shared_data: Path):
    market = RecordedMarket(shared_data)
    session = market.sessions()[-1]
    expected = (
        market.chain(calendar.session_close(session))
        .filter(pl.col("underlying").is_in(UNDERLYINGS))
        .select("contract", "strike", "open_interest", "implied_volatility", "delta", "day_volume", "underlying_price")
        .sort("contract")
    )
    with SandboxServer(market) as server:
        rows = [row for underlying in UNDERLYINGS for row in _chain(server.base_url, underlying)]
    received = pl.DataFrame(
        [
            {
                "contract": row["details"]["ticker"],
                "strike": row["details"]["strike_price"],
                "open_interest": row.get("open_interest"),
                "implied_volatility": row.get("implied_volatility"),
                "delta": row.get("greeks", {}).get("delta"),
                "day_volume": row.get("day", {}).get("volume"),
                "underlying_price": row["underlying_asset"].get("price"),
            }
            for row in rows
        ],
        schema=expected.schema,
        strict=False,
    ).sort("contract")
    assert received.height > 1_000
    assert received.equals(expected)


def _chain(base_url: str, underlying: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    url = f"{base_url}/v3/snapshot/options/{underlying}?limit=250"
    with httpx.Client(headers={"Authorization": "Bearer sandbox"}) as client:
        while url:
            page = orjson.loads(client.get(url).raise_for_status().content)
            rows += page["results"]
            url = page.get("next_url", "")
    return rows
