"""The assets beside the events: what the close makes of what the morning already said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from flowlake import calendar, schemas
from flowlake.defs.assets.lifecycle import event_status, known_events
from flowlake.defs.resources import resources
from flowlake.defs.session_asset import SKIP_EXISTING
from flowlake.detect import confirmation
from flowlake.lake import Lake
from flowlake.settings import get_settings
from flowlake_tests.detect.markets import chain
from flowlake_tests.factories import frame

SESSION = date(2026, 6, 30)
BEFORE = calendar.previous_session(SESSION)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake with two events of the session before and the chain that judges them."""
    monkeypatch.setenv("FLOWLAKE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FLOWLAKE_API__REPLAY", "true")
    get_settings.cache_clear()
    lake = Lake.open(tmp_path / "data")
    with lake.commit("test") as transaction:
        transaction.replace("scored_events", BEFORE.isoformat(), pl.concat([event("ABC", 1), event("XYZ", 2)]))
        transaction.replace("option_chains", SESSION.isoformat(), chains("ABC", "XYZ"))
        actions = {"session": SESSION, "ticker": "ABC", "kind": "dividend", "effective_on": SESSION, "cash_amount": 0.1}
        transaction.replace(
            "corporate_actions", SESSION.isoformat(), frame(schemas.table("corporate_actions"), [actions])
        )
    yield lake
    get_settings.cache_clear()


def event(underlying: str, contract_id: int) -> pl.DataFrame:
    line = {"contract_id": contract_id, "volume": 100, "open_interest": 0}
    row = {"session": BEFORE, "event_id": underlying, "underlying": underlying, "right": "C", "contracts": [line]}
    return frame(schemas.table("scored_events"), [row | {"origin": "simulated"}])


def chains(*underlyings: str) -> pl.DataFrame:
    ids = {"ABC": 1, "XYZ": 2}
    rows = [{"contract_id": ids[name], "underlying": name, "open_interest": 90} for name in underlyings]
    return chain(SESSION, rows)


def materialize(asset: dg.AssetsDefinition, *, keep_existing: bool = True) -> None:
    tags = {SKIP_EXISTING: "true"} if keep_existing else {}
    result = dg.materialize([asset], partition_key=SESSION.isoformat(), resources=dict(resources()), tags=tags)
    assert result.success


def test_the_close_completes_what_a_snapshot_of_the_morning_began(lake: Lake):
    opened = calendar.session_open(SESSION)
    seen = chains("ABC").with_columns(available_at=pl.lit(opened).cast(schemas.UTC_TIME))
    events = lake.read("scored_events", BEFORE.isoformat())
    with lake.commit("morning") as transaction:
        transaction.replace("event_status", SESSION.isoformat(), confirmation.event_status(SESSION, seen, events))
    materialize(event_status)
    status = lake.read("event_status", SESSION.isoformat())
    assert status["status"].to_list() == ["confirmed", "confirmed"]
    assert status["available_at"].to_list() == [opened, chains("XYZ")["available_at"].item()]


def test_statuses_made_again_are_the_same_bytes(lake: Lake):
    materialize(event_status)
    before = lake.digests()
    materialize(event_status, keep_existing=False)
    assert lake.digests() == before


def test_a_session_after_none_that_was_scored_confirms_nothing(lake: Lake):
    with lake.commit("test") as transaction:
        transaction.expire("scored_events", BEFORE.isoformat())
    materialize(event_status)
    assert lake.read("event_status", SESSION.isoformat()).is_empty()


def test_known_events_join_the_vendors_actions_and_the_operators_file(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "events.csv"
    path.write_text("underlying,event_on,kind,announced_at\nXYZ,2026-07-01,earnings,2026-06-01T08:00:00-04:00\n")
    monkeypatch.setenv("FLOWLAKE_KNOWN_EVENTS__OPERATOR_CSV", str(path))
    get_settings.cache_clear()
    materialize(known_events)
    rows = lake.read("known_events", SESSION.isoformat()).filter(pl.col("source") != "calendar")
    assert rows.select("underlying", "kind", "sessions_away", "source", "origin").rows() == [
        ("ABC", "ex_dividend", 0, "corporate_actions", "simulated"),
        ("XYZ", "earnings", 1, "operator", "simulated"),
    ]
