"""The gate of the feature table, checked from its inputs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from flowlake.features.lookahead import lookahead_violations
from flowlake.schemas import UTC_TIME

KNOWN = datetime(2026, 6, 1, 20, 20, tzinfo=UTC)
LATE = KNOWN + timedelta(microseconds=1)
TYPES = {"underlying": pl.String, "available_at": UTC_TIME}


def rows(*pairs: tuple[str | None, datetime]) -> pl.DataFrame:
    return pl.DataFrame(list(pairs), schema=TYPES, orient="row")


FEATURES = rows(("A", KNOWN), ("B", KNOWN))


def test_inputs_known_by_then_are_in_order():
    inputs = {"option_chains": rows(("A", KNOWN), ("B", KNOWN - timedelta(hours=1))), "insider_signals": rows()}
    assert lookahead_violations(FEATURES, inputs).is_empty()


def test_an_input_known_later_is_found_with_its_table():
    found = lookahead_violations(FEATURES, {"option_chains": rows(("A", KNOWN), ("A", LATE), ("B", KNOWN))})
    assert found.select("underlying", "input").rows() == [("A", "option_chains")]


def test_filings_must_have_been_known_strictly_before():
    found = lookahead_violations(FEATURES, {"insider_signals": rows(("B", KNOWN))})
    assert found["underlying"].to_list() == ["B"]


def test_an_input_of_every_row_counts_for_every_row():
    found = lookahead_violations(FEATURES, {"raw_stock_snapshots": rows((None, LATE))})
    assert found["underlying"].to_list() == ["A", "B"]


def test_a_check_of_nothing_is_refused():
    with pytest.raises(ValueError, match="always pass"):
        lookahead_violations(FEATURES, {})
