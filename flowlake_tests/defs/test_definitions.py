"""The graph as people see it: what is there, what depends on what, and how light it is to load."""

from __future__ import annotations

import importlib
import subprocess
import sys
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from flowlake import calendar
from flowlake.definitions import defs
from flowlake.defs.partitions import SESSIONS, snapshot_partitions
from flowlake.defs.schedules import closing_snapshot_schedule, end_of_day_schedule
from flowlake.defs.session_asset import SKIP_EXISTING
from flowlake.schemas import TABLES

PIPELINE = {
    "raw_stock_snapshots": set(),
    "corporate_actions": set(),
    "raw_option_snapshots": set(),
    "option_chains": {"raw_option_snapshots", "raw_stock_snapshots", "corporate_actions"},
    "contract_baselines": {"option_chains", "corporate_actions"},
    "ticker_baselines": {"option_chains", "corporate_actions"},
    "scored_events": {
        "anomalies_volume",
        "anomalies_open_interest",
        "anomalies_multi_strike",
        "anomalies_low_volume",
        "calibration_bins",
        "ticker_statistics",
        "known_events",
    },
    "known_events": {"corporate_actions", "option_chains"},
    "event_status": {"option_chains", "corporate_actions", "scored_events"},
    "calibration": {"scored_events", "ticker_statistics"},
    "rule_alarms": {"option_chains", "contract_baselines", "scored_events"},
    "anomalies_day_over_day": {"option_chains", "contract_baselines"},
    "event_outcomes": {"option_chains", "corporate_actions", "scored_events"},
    "iv_surface": {"option_chains"},
    "daily_report": {
        "option_chains",
        "iv_surface",
        "scored_events",
        "event_status",
        "event_outcomes",
        "data_incidents",
    },
    "ticker_pages": {"duckdb_catalog"},
    "market_page": {"duckdb_catalog"},
    "history_page": {"duckdb_catalog"},
    "monitor_page": {"duckdb_catalog"},
    "archive_index": {
        "daily_report",
        "ticker_pages",
        "market_page",
        "history_page",
        "monitor_page",
        "data_docs",
    },
    "duckdb_catalog": {
        "option_chains",
        "iv_surface",
        "contract_baselines",
        "ticker_baselines",
        "scored_events",
        "anomalies_day_over_day",
        "event_outcomes",
        "event_status",
        "known_events",
        "calibration",
        "rule_alarms",
        "data_incidents",
        "options_flow_features",
        "gamma_exposure_by_strike",
        "feature_snapshots",
    },
    "gamma_exposure_by_strike": {"option_chains"},
    "options_flow_features": {
        "option_chains",
        "iv_surface",
        "contract_baselines",
        "ticker_baselines",
        "corporate_actions",
        "raw_stock_snapshots",
        "anomalies_volume",
        "anomalies_open_interest",
        "anomalies_multi_strike",
        "anomalies_low_volume",
        "anomalies_day_over_day",
        "scored_events",
        "ticker_statistics",
        "insider_signals",
        "congress_trades",
        "options_flow_features",
    },
    "feature_snapshots": {"options_flow_features", "raw_stock_snapshots", "insider_signals", "congress_trades"},
    "feature_definitions": set(),
    "data_docs": {"data_incidents"},
}
"""Each asset of the spine with what it is made from; a change of the graph shows here."""


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


@pytest.mark.parametrize("name", PIPELINE)
def test_an_asset_is_made_from_what_the_design_says(name: str, specs: dict[str, dg.AssetSpec]):
    assert {dep.asset_key.to_user_string() for dep in specs[name].deps} == PIPELINE[name]


def test_every_asset_has_an_owner_a_group_kinds_and_a_description(specs: dict[str, dg.AssetSpec]):
    for name, spec in specs.items():
        assert spec.owners, name
        assert spec.group_name not in (None, "default"), name
        assert spec.kinds, name
        assert spec.description, name


def test_a_table_shows_its_declared_columns_with_their_meaning(specs: dict[str, dg.AssetSpec]):
    shown = specs["option_chains"].metadata["dagster/column_schema"]
    declared = TABLES["option_chains"].columns
    assert [column.name for column in shown.columns] == [column.name for column in declared]
    assert all(column.description for column in shown.columns)


def test_partitions_are_sessions_and_nothing_else():
    keys = SESSIONS.get_partition_keys(current_time=datetime(2026, 7, 31, 22, tzinfo=UTC))
    assert keys == [day.isoformat() for day in calendar.sessions(date(2026, 5, 26), date(2026, 7, 31))]
    assert not {"2026-06-19", "2026-07-03", "2026-07-04"} & set(keys)


def test_todays_partition_exists_before_midnight():
    assert "2026-07-31" in SESSIONS.get_partition_keys(current_time=datetime(2026, 7, 31, 21, tzinfo=UTC))


@pytest.mark.parametrize("every_minutes", calendar.SNAPSHOT_MINUTES)
def test_snapshot_partitions_are_the_exchanges_hours_across_a_holiday_and_an_early_close(every_minutes: int):
    partitions = snapshot_partitions(date(2026, 11, 25), every_minutes, last_year=2026)
    keys = partitions.get_partition_keys(current_time=datetime(2026, 12, 1, 12, tzinfo=UTC))
    by_day = {day: [key[11:] for key in keys if key.startswith(day)] for day in sorted({key[:10] for key in keys})}
    thanksgiving, early, monday = "2026-11-26", "2026-11-27", "2026-11-30"
    assert thanksgiving not in by_day
    assert (by_day[early][-1], by_day[monday][-1]) == ("13:00", "16:00")
    for day in ("2026-11-25", early, monday):
        times = calendar.snapshot_times(date.fromisoformat(day), every_minutes)
        assert [f"{day}-{clock}" for clock in by_day[day]] == [calendar.snapshot_key(at) for at in times]


def test_snapshot_partitions_of_a_whole_year_are_the_calendars():
    keys = snapshot_partitions(date(2026, 1, 2), 30, last_year=2026).get_partition_keys(
        current_time=datetime(2027, 1, 1, 4, tzinfo=UTC)
    )
    days = calendar.sessions(date(2026, 1, 2), date(2026, 12, 31))
    expected = [calendar.snapshot_key(at) for day in days for at in calendar.snapshot_times(day, 30)]
    assert [key for key in keys if key < "2027"] == expected


def test_a_baseline_looks_back_over_sessions_across_a_holiday():
    from flowlake.defs.partitions import trailing

    mapped = trailing(3).get_upstream_mapped_partitions_result_for_partitions(
        SESSIONS.subset_with_partition_keys(["2026-07-07"]), SESSIONS, SESSIONS
    )
    assert mapped.partitions_subset.get_partition_keys() == ["2026-07-01", "2026-07-02", "2026-07-06"]


def scheduled(when: datetime) -> dg.ScheduleEvaluationContext:
    return dg.build_schedule_context(scheduled_execution_time=when)


def test_the_morning_run_settles_the_session_before():
    request = end_of_day_schedule(scheduled(datetime(2026, 7, 6, 12, tzinfo=UTC)))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-07-02"
    assert request.tags[SKIP_EXISTING] == "true"


@pytest.mark.parametrize("schedule", [end_of_day_schedule, closing_snapshot_schedule])
def test_holidays_are_skipped_with_the_reason(schedule: dg.ScheduleDefinition):
    answer = schedule(scheduled(datetime(2026, 7, 3, 12, tzinfo=UTC)))
    assert isinstance(answer, dg.SkipReason)
    assert "not a trading session" in str(answer.skip_message)


def test_the_closing_run_takes_todays_session():
    request = closing_snapshot_schedule(scheduled(datetime(2026, 7, 2, 20, 50, tzinfo=UTC)))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-07-02"


def test_loading_the_definitions_imports_nothing_heavy():
    heavy = ["numba", "pandas", "scipy", "great_expectations", "sklearn", "altair", "exchange_calendars", "jinja2"]
    code = f"import sys, flowlake.definitions; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_the_code_location_holds_one_set_of_definitions():
    module = importlib.import_module("flowlake.definitions")
    found = [name for name, value in vars(module).items() if isinstance(value, dg.Definitions)]
    assert found == ["defs"], "Dagster refuses a module with more than one"
