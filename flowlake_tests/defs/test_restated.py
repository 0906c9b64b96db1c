"""A correction of a past session: what it leaves behind is named, and built again without touching anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from flowlake.cli import app
from flowlake.definitions import defs
from flowlake.defs.restated import made_from, superseded_sessions
from flowlake.doctor import examine
from flowlake.lake import Lake
from flowlake.lake.superseded import Reads
from flowlake.runs import run_sessions
from flowlake.sandbox.server import SandboxServer
from flowlake.settings import get_settings
from flowlake_tests.defs import conftest
from flowlake_tests.defs.conftest import environment

SESSIONS = conftest.SESSIONS[:7]
CORRECTED = SESSIONS[3]
KEYS = [day.isoformat() for day in SESSIONS]


@pytest.fixture(scope="module")
def lake(
    market_server: SandboxServer, small_underlyings: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lake]:
    """Seven sessions, the last one on its own as a schedule would."""
    folder: Path = tmp_path_factory.mktemp("restated")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MASSIVE_API_KEY", "POLYGON_API_KEY"):
            patch.delenv(name, raising=False)
        for name, value in environment(market_server, small_underlyings, folder).items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        with dg.DagsterInstance.ephemeral() as opened:
            for first, last in ((SESSIONS[0], SESSIONS[-2]), (SESSIONS[-1], SESSIONS[-1])):
                assert run_sessions(opened, "end_of_day", first, last, log_level="WARNING").succeeded
        yield Lake.open(folder / "data")
    get_settings.cache_clear()


def correct(lake: Lake, factor: int) -> None:
    """The vendor's volumes of a past session, `factor` times as large."""
    raw = lake.read("raw_option_snapshots", CORRECTED.isoformat())
    with lake.commit("correction") as transaction:
        changed = raw.with_columns(pl.col("day_volume") * factor)
        transaction.replace("raw_option_snapshots", CORRECTED.isoformat(), changed)


def flowlake(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_what_is_made_from_what_is_read_off_the_graph():
    read = made_from()
    assert Reads("option_chains", -60, 0) in read["contract_baselines"]
    assert Reads("ticker_statistics", -60, -1) in read["scored_events"]
    assert "anomalies_volume" not in {each.table for each in read["scored_events"]}, "one step writes both"
    inputs = {each.table for reads in read.values() for each in reads}
    assert inputs.isdisjoint({"insider_signals", "congress_trades"}), "filings come late by nature"


def test_sessions_that_came_in_order_leave_nothing_behind(lake: Lake):
    assert superseded_sessions(lake) == []
    (finding,) = (each for each in examine(get_settings(), lake.clock()) if each.what == "restated sessions")
    assert finding.ok


def test_a_correction_is_told_and_repaired_once_from_the_corrected_session_on(lake: Lake, market_server: SandboxServer):
    before, manifest = lake.digests(), lake.manifest().number
    correct(lake, 3)
    assert lake.manifest().number == manifest + 1
    assert {each.session for each in superseded_sessions(lake)} == {CORRECTED.isoformat()}, "its own chain first"
    (finding,) = (each for each in examine(get_settings(), lake.clock()) if each.what == "restated sessions")
    assert not finding.ok
    assert f"raw_option_snapshots of {CORRECTED}" in finding.says and "flowlake backfill superseded" in finding.says
    assert "option_chains" in flowlake("backfill", "superseded", "--list")
    checked = defs.resolve_job_def("timeliness").execute_in_process()
    (evaluation,) = (each for each in checked.get_asset_check_evaluations() if each.check_name == "none_left_behind")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)

    asked = market_server.request_count
    said = flowlake("backfill", "superseded")
    assert "none is left behind" in said
    assert market_server.request_count == asked, "nothing is fetched"
    assert superseded_sessions(lake) == []
    after = lake.digests()
    for table, digests in before.items():
        assert {key: after[table].get(key) for key in KEYS[:3]} == {key: digests.get(key) for key in KEYS[:3]}, table
    changed = {key for key in KEYS if after["contract_baselines"][key] != before["contract_baselines"][key]}
    assert changed == set(KEYS[4:]), "baselines look back at the corrected session, not at themselves"
    assert "0 sessions were built again" in flowlake("backfill", "superseded")
    assert lake.digests() == after


def test_what_is_built_again_is_what_a_whole_backfill_would_build(lake: Lake):
    correct(lake, 2)
    flowlake("backfill", "superseded")
    repaired = lake.digests()
    with dg.DagsterInstance.ephemeral() as opened:
        assert run_sessions(opened, "restated", SESSIONS[0], SESSIONS[-1], log_level="WARNING").succeeded
    assert lake.digests() == repaired
