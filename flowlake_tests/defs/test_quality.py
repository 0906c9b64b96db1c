"""Quality in real runs: what is recorded, when it blocks, and what a repair builds again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from flowlake.definitions import defs
from flowlake.defs.partitions import SESSIONS as PARTITIONS
from flowlake.defs.product import RESTATED_GROUPS
from flowlake.defs.quality import SUITE, record_incidents, session_outcomes, suite_findings
from flowlake.lake import Lake, connect
from flowlake.quality.outcome import Outcome, Severity
from flowlake.runs import RunResult, run_sessions
from flowlake.sandbox.server import SandboxServer
from flowlake.settings import get_settings
from flowlake_tests.defs.conftest import SESSIONS, environment

pytestmark = pytest.mark.slow

COPIED = SESSIONS[7]
"""The session that a careless source sends twice."""
LAST = SESSIONS[8]


def run(instance: dg.DagsterInstance, first: date, last: date) -> RunResult:
    return run_sessions(instance, "end_of_day", first, last, keep_existing=False, log_level="ERROR")


@pytest.fixture(scope="module")
def lake_and_instance(
    market_server: SandboxServer, small_underlyings: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Lake, dg.DagsterInstance, Path]]:
    """Eight good sessions with suites on."""
    folder = tmp_path_factory.mktemp("quality")
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        for name in ("MASSIVE_API_KEY", "POLYGON_API_KEY"):
            patch.delenv(name, raising=False)
        for name, value in environment(market_server, small_underlyings, folder).items():
            patch.setenv(name, value)
        patch.setenv("FLOWLAKE_QUALITY__SUITES", "true")
        get_settings.cache_clear()
        result = run(instance, SESSIONS[0], LAST)
        assert result.succeeded, result.failures
        yield Lake.open(folder / "data"), instance, folder
    get_settings.cache_clear()


def evaluations(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetCheckEvaluation]:
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    return [record.event_log_entry.dagster_event.asset_check_evaluation_data for record in records]  # pyright: ignore


def materialised(instance: dg.DagsterInstance, run_id: str) -> set[tuple[str, str]]:
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    return {(event.asset_key.to_user_string(), event.partition or "") for event in events}  # pyright: ignore


def test_a_suite_is_one_check_that_lists_every_expectation_and_stops_nothing(lake_and_instance):
    _, instance, _ = lake_and_instance
    (latest,) = instance.get_runs(limit=1)
    suites = [each for each in evaluations(instance, latest.run_id) if each.check_name == SUITE]
    assert {each.asset_key.to_user_string() for each in suites} >= {"option_chains", "scored_events", "iv_surface"}
    of_chains = [each for each in suites if each.asset_key.to_user_string() == "option_chains"]
    assert sorted(each.partition or "" for each in of_chains) == [str(day) for day in SESSIONS[:9]]
    text = str(of_chains[-1].metadata["results"].value)
    assert "| rows, ratio in range | yes | warning | rows, ratio 0.85 to 1.18 | seen: " in text
    assert not any(each.blocking for each in suites)


def test_good_sessions_have_no_blocking_incident_and_analysts_see_the_table(lake_and_instance):
    lake, _, folder = lake_and_instance
    rows = lake.scan("data_incidents").collect()
    assert rows.filter(pl.col("severity") == "ERROR").is_empty(), rows.select("table", "rule", "observed").rows()
    assert lake.partitions("data_incidents") == [str(day) for day in SESSIONS[:9]]
    counted = connect(folder / "data").sql("SELECT count(*) FROM data_incidents").fetchall()
    assert counted == [(rows.height,)]


def test_the_data_docs_of_a_session_are_one_page_without_scripts_from_elsewhere(lake_and_instance):
    _, _, folder = lake_and_instance
    page = (folder / "reports" / f"data-docs-{LAST}.html").read_text()
    assert "rows, ratio in range" in page
    assert "expiration_not_past" in page
    assert "src=" not in page and "@import" not in page


def test_rules_and_suites_of_files_that_did_not_change_are_not_evaluated_again(lake_and_instance, monkeypatch):
    lake, _, _ = lake_and_instance
    first = session_outcomes(lake, "option_chains", LAST)
    monkeypatch.setattr("flowlake.defs.quality.invariants.evaluate", lambda *a, **k: pytest.fail("evaluated again"))
    monkeypatch.setattr("flowlake.defs.quality.judge", lambda *a, **k: pytest.fail("judged again"))
    assert session_outcomes(lake, "option_chains", LAST) is first
    assert suite_findings(lake, "option_chains", [LAST])[LAST]


def test_a_name_from_outside_is_escaped_in_the_data_docs():
    from flowlake.report.data_docs import DataDocs, render_data_docs
    from flowlake.schemas.quality import DATA_INCIDENTS
    from flowlake_tests.factories import frame

    hostile = "<script>alert(1)</script>"
    rows = frame(DATA_INCIDENTS, [{"underlying": hostile, "severity": "WARN", "observed": hostile}])
    outcome = Outcome(hostile, False, Severity.ERROR, 1, 1, hostile)
    page = render_data_docs(DataDocs(LAST, rows, {hostile: [outcome]}, {}))
    assert hostile not in page
    assert "&lt;script&gt;alert(1)" in page


def job(selection: dg.AssetSelection) -> dg.JobDefinition:
    """What the UI runs for a selection of assets."""
    chosen = dg.define_asset_job("chosen", selection=selection)
    return dg.Definitions.merge(defs, dg.Definitions(jobs=[chosen])).resolve_job_def("chosen")


def test_a_rebuilt_chain_asks_for_everything_downstream_of_it_and_nothing_else(lake_and_instance):
    _, instance, _ = lake_and_instance
    before = dg.evaluate_automation_conditions(defs, instance)
    assert before.total_requested == 0, "nothing is rebuilt because it was built once"
    rebuilt = SESSIONS[6]
    outcome = job(dg.AssetSelection.assets("option_chains")).execute_in_process(
        instance=instance, partition_key=str(rebuilt)
    )
    assert outcome.success
    assert materialised(instance, outcome.run_id) == {("option_chains", str(rebuilt))}
    after = dg.evaluate_automation_conditions(defs, instance, cursor=before.cursor)
    specs = defs.resolve_all_asset_specs()
    asked = {
        spec.key.to_user_string(): {str(key) for key in after.get_requested_partitions(spec.key)}
        for spec in specs
        if spec.partitions_def == PARTITIONS
    }
    same_session = {str(rebuilt)}
    assert asked["option_chains"] == set()
    assert asked["iv_surface"] == same_session
    from_then_on = {str(day) for day in SESSIONS[:9] if day >= rebuilt}
    for name in ("contract_baselines", "ticker_baselines", "scored_events", "data_incidents"):
        assert asked[name] == from_then_on, name
    assert not any(key < str(rebuilt) for keys in asked.values() for key in keys)
    downstream = {spec.key.to_user_string() for spec in specs if spec.group_name in RESTATED_GROUPS}
    assert {name for name, keys in asked.items() if keys} <= downstream - {"option_chains"}
    again = dg.evaluate_automation_conditions(defs, instance, cursor=after.cursor)
    assert again.total_requested == 0, "what was asked for once is not asked for again"


def test_a_copy_of_yesterday_blocks_is_recorded_at_once_and_a_repair_builds_only_what_is_downstream(
    lake_and_instance, monkeypatch
):
    lake, instance, folder = lake_and_instance
    day, before = COPIED.isoformat(), SESSIONS[6].isoformat()
    good = lake.read("raw_option_snapshots", day)
    careless = lake.read("raw_option_snapshots", before).with_columns(
        session=pl.lit(COPIED),
        day_updated_at=pl.when(pl.col("day_volume") > 0).then(pl.lit(good["observed_at"].max())),
        **{name: pl.lit(good[name].max()) for name in ("observed_at", "available_at", "fetched_at")},
    )
    with lake.commit("copy") as transaction:
        transaction.replace("raw_option_snapshots", day, careless)
    downstream = dg.AssetSelection.assets("option_chains").downstream() & dg.AssetSelection.groups(*RESTATED_GROUPS)
    repair = job(downstream)

    spoiled = repair.execute_in_process(instance=instance, partition_key=day, raise_on_error=False)
    assert not spoiled.success
    assert materialised(instance, spoiled.run_id) == {("option_chains", day)}
    held = connect(folder / "data").sql(
        f"SELECT rule, resolved FROM data_incidents WHERE session = DATE '{day}' AND severity = 'ERROR'"
    )
    assert ("stale_copy", False) in held.fetchall(), "recorded and shown although the run stopped"

    with lake.commit("repair") as transaction:
        transaction.replace("raw_option_snapshots", day, good)
    repaired = repair.execute_in_process(instance=instance, partition_key=day)
    assert repaired.success
    built = materialised(instance, repaired.run_id)
    assert {key for _, key in built if key} == {day}, "one session, not its neighbours"
    assert {name for name, _ in built} & {"raw_option_snapshots", "raw_stock_snapshots", "corporate_actions"} == set()
    assert {"option_chains", "scored_events", "daily_report", "duckdb_catalog"} <= {name for name, _ in built}
    rows = lake.read("data_incidents", day).filter(pl.col("rule") == "stale_copy")
    assert rows.select("table", "resolved").rows() == [("option_chains", True)]


def test_recording_the_same_outcomes_twice_changes_no_byte(lake_and_instance):
    lake, _, _ = lake_and_instance
    outcomes = {"option_chains": [Outcome("stale_copy", False, Severity.ERROR, 1, 2, "a; b", underlyings=("X", "Y"))]}
    record_incidents(lake, "one", LAST, outcomes)
    digests = lake.digests()["data_incidents"]
    record_incidents(lake, "two", LAST, outcomes)
    assert lake.digests()["data_incidents"] == digests
