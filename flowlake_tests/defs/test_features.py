"""The gate of the feature table as an asset check: an input that was known too late is found in the lake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowlake.defs.assets.features import late_inputs
from flowlake.lake import Lake
from flowlake.schemas.features import OPTIONS_FLOW_FEATURES
from flowlake.schemas.insiders import INSIDER_SIGNALS
from flowlake.schemas.market import RAW_STOCK_SNAPSHOTS
from flowlake.schemas.options import OPTION_CHAINS
from flowlake_tests.factories import SESSION, frame

KNOWN = datetime(2026, 6, 1, 20, 20, tzinfo=UTC)
KEY = SESSION.isoformat()


def lake(folder: Path, **known: datetime) -> Lake:
    """A lake of one feature row of 'A' and its inputs, each known at KNOWN unless `known` says otherwise."""
    store = Lake.open(folder)
    rows = {
        OPTIONS_FLOW_FEATURES: [{"underlying": "A"}],
        OPTION_CHAINS: [{"underlying": "A"}],
        RAW_STOCK_SNAPSHOTS: [{"ticker": "A"}, {"ticker": "SPY"}, {"ticker": "ELSE"}],
        INSIDER_SIGNALS: [{"ticker": "A", "available_at": KNOWN - timedelta(minutes=20)}],
    }
    with store.commit("test") as transaction:
        for table, facts in rows.items():
            stamped = [{"session": SESSION, "available_at": KNOWN} | row for row in facts]
            late = [row | {"available_at": known[name]} for row in stamped if (name := _name(row)) in known]
            rest = [row for row in stamped if _name(row) not in known]
            transaction.replace(
                table.name, KEY, frame(table, [*rest, *late] if table is RAW_STOCK_SNAPSHOTS else stamped)
            )
    return store


def _name(row: dict) -> str:
    return row.get("ticker", "")


def test_inputs_known_in_time_pass(tmp_path: Path):
    late, rows = late_inputs(lake(tmp_path), KEY)
    assert late.is_empty()
    assert rows == 1


@pytest.mark.parametrize("ticker", ["A", "SPY"])
def test_a_stock_filled_in_afterwards_is_found(ticker: str, tmp_path: Path):
    """SPY is in every row, through the regime of the market."""
    late, _ = late_inputs(lake(tmp_path, **{ticker: KNOWN + timedelta(hours=10)}), KEY)
    assert late.select("underlying", "input").rows() == [("A", "raw_stock_snapshots")]


def test_another_tickers_stock_does_not_matter(tmp_path: Path):
    assert late_inputs(lake(tmp_path, ELSE=KNOWN + timedelta(hours=10)), KEY)[0].is_empty()
