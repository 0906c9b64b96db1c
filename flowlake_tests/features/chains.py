"""Small chains for feature tests: contracts with plain facts, and their baselines."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from flowlake.features.lines import chain_lines
from flowlake.schemas.detection import CONTRACT_BASELINES
from flowlake.schemas.options import OPTION_CHAINS
from flowlake_tests.factories import frame

SESSION = date(2026, 6, 1)
KNOWN = datetime(2026, 6, 1, 20, 20, tzinfo=UTC)

PREVIOUS = {
    "previous_volume", "previous_open_interest", "listing_age", "listed_before_window", "volume_n_20",
    "volume_zero_days_20",
}  # fmt: skip


def contract(right: str = "C", strike: float = 100.0, **facts: Any) -> dict[str, Any]:
    """One contract of a chain on 'A' at spot 100, 30 days out, with what is not named left plain."""
    dte = facts.get("dte", 30)
    plain = {
        "session": SESSION,
        "underlying": "A",
        "root": "A",
        "right": right,
        "strike": strike,
        "expiration": SESSION + timedelta(days=dte),
        "dte": dte,
        "years": dte / 365.0,
        "multiplier": 100.0,
        "spot": 100.0,
        "forward": 100.0,
        "discount": 1.0,
        "forward_source": "carry",
        "moneyness": strike / facts.get("forward", 100.0),
        "basis": "snapshot",
        "available_at": KNOWN,
        "origin": "simulated",
    }
    return plain | facts


def lines(*contracts: dict[str, Any], with_baselines: bool = True) -> pl.DataFrame:
    """`chain_lines` of `contracts`; facts of the session before are given among the contract's own."""
    numbered = [{"contract_id": number} | row for number, row in enumerate(contracts)]
    chain = frame(OPTION_CHAINS, [{k: v for k, v in row.items() if k not in PREVIOUS} for row in numbered])
    if not with_baselines:
        return chain_lines(chain, None)
    kept = {"contract_id", "underlying", *PREVIOUS}
    normal = frame(CONTRACT_BASELINES, [{k: v for k, v in row.items() if k in kept} for row in numbered])
    return chain_lines(chain, normal)


def only(result: pl.DataFrame) -> dict[str, Any]:
    """The one row of `result`."""
    assert result.height == 1, result
    return result.row(0, named=True)
