"""The end-of-day job over a small simulated market, through HTTP, into a lake: what people count on."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from flowlake import snapshots
from flowlake.lake import Lake, connect
from flowlake.runs import RunResult, run_sessions
from flowlake.sandbox.server import SandboxServer
from flowlake_tests.defs.conftest import SESSIONS, UNDERLYINGS


def run(instance: dg.DagsterInstance, first: date, last: date, *, keep_existing: bool = False) -> RunResult:
    return run_sessions(instance, "end_of_day", first, last, keep_existing=keep_existing, log_level="WARNING")


@pytest.fixture(scope="module")
def finished(
    market_server: SandboxServer, small_underlyings: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunResult]:
    """All sessions, run once."""
    from flowlake.settings import get_settings
    from flowlake_tests.defs.conftest import environment

    folder = tmp_path_factory.mktemp("pipeline")
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        for name in ("MASSIVE_API_KEY", "POLYGON_API_KEY"):
            patch.delenv(name, raising=False)
        for name, value in environment(market_server, small_underlyings, folder).items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        result = run(instance, SESSIONS[0], SESSIONS[-1])
    get_settings.cache_clear()
    return folder, result


def test_a_range_of_sessions_is_one_run_that_passes_its_blocking_checks(finished: tuple[Path, RunResult]):
    _, result = finished
    assert result.succeeded, result.failures
    assert not [check for check in result.checks if not check.passed and check.severity == "ERROR"]


def test_every_table_has_every_session(finished: tuple[Path, RunResult]):
    lake = Lake.open(finished[0] / "data")
    keys = [day.isoformat() for day in SESSIONS]
    for name in ("raw_option_snapshots", "option_chains", "contract_baselines", "scored_events", "event_outcomes"):
        assert lake.partitions(name) == keys, name


def test_the_chains_hold_exactly_what_the_market_listed(
    finished: tuple[Path, RunResult], market_server: SandboxServer, small_underlyings: str
):
    lake, day = Lake.open(finished[0] / "data"), SESSIONS[-1]
    chains = lake.read("option_chains", day.isoformat())
    wanted = pl.Series(small_underlyings.split(","))
    listed = market_server.market.contracts(day).filter(pl.col("underlying").is_in(wanted.implode()))
    assert chains["underlying"].n_unique() == UNDERLYINGS
    assert set(chains["contract"]) == set(listed["contract"])
    assert set(chains["origin"]) == {"simulated"}


def test_open_interest_of_a_session_never_reflects_its_own_volume(finished: tuple[Path, RunResult]):
    lake = Lake.open(finished[0] / "data")
    before, after = (
        lake.read("option_chains", day.isoformat()).select("contract_id", "volume", "open_interest")
        for day in SESSIONS[-2:]
    )
    moved = before.join(after, on="contract_id", suffix="_next").drop_nulls()
    beyond = moved.filter((pl.col("open_interest_next") - pl.col("open_interest")).abs() > pl.col("volume"))
    assert beyond.is_empty()


def test_events_are_ranked_and_their_factors_add_up(finished: tuple[Path, RunResult]):
    lake = Lake.open(finished[0] / "data")
    events = lake.scan("scored_events").collect()
    assert events.height > 0
    summed = events["factors"].list.eval(pl.element().struct.field("contribution")).list.sum()
    assert (summed - events["llr_total"]).abs().max() == pytest.approx(0.0, abs=1e-9)


def test_features_are_made_checked_and_frozen_for_every_session(finished: tuple[Path, RunResult]):
    folder, result = finished
    lake = Lake.open(folder / "data")
    assert lake.partitions("options_flow_features") == [day.isoformat() for day in SESSIONS]
    last = lake.read("options_flow_features", SESSIONS[-1].isoformat())
    assert last.height == UNDERLYINGS
    chains = lake.read("option_chains", SESSIONS[-1].isoformat()).group_by("underlying").agg(pl.col("volume").sum())
    assert last.join(chains, on="underlying").filter(pl.col("option_volume") != pl.col("volume")).is_empty()
    assert {check.passed for check in result.checks if check.name == "no_lookahead"} == {True}
    kept = snapshots.listed(lake)
    assert kept["newest_session"].to_list() == SESSIONS
    assert (kept["newest_available_at"] < kept["as_of"]).all()
    for row in kept.iter_rows(named=True):
        assert snapshots.take(lake, row["as_of"]).snapshot_id == row["snapshot_id"]
    connection = connect(folder / "data")
    assert connection.sql("SELECT count(*) FROM feature_definitions").fetchall()[0][0] > 100
    assert connection.sql("SELECT count(*) FROM feature_snapshots").fetchall()[0][0] == len(SESSIONS)


def test_each_session_has_its_page_and_is_in_the_duckdb_file(finished: tuple[Path, RunResult]):
    folder, _ = finished
    pages = {page.name for page in (folder / "reports").glob("*.html") if not page.name.startswith("ticker-")}
    daily = {f"daily-{day}.html" for day in SESSIONS}
    assert pages == daily | {f"data-docs-{day}.html" for day in SESSIONS} | {
        "index.html",
        "market.html",
        "monitor-SPX.html",
        "history.html",
    }
    connection = connect(folder / "data")
    counted = connection.sql("SELECT session, count(*) FROM option_chains GROUP BY session ORDER BY session").fetchall()
    assert [row[0] for row in counted] == SESSIONS


def test_the_morning_says_of_every_event_whether_it_was_held(finished: tuple[Path, RunResult]):
    lake = Lake.open(finished[0] / "data")
    events, status = (lake.scan(name).collect() for name in ("scored_events", "event_status"))
    due = events.filter(pl.col("session") < SESSIONS[-1])
    assert due.height > 0
    assert set(status["event_id"]) == set(due["event_id"])
    both = status.join(due.select("event_id", lines=pl.col("contracts").list.len()), on="event_id")
    without_lines = both.filter(pl.col("lines") == 0)["reason"].unique().to_list()
    assert without_lines in ([], ["the leading lines did not trade"])
    assert both.filter(pl.col("lines") > 0, pl.col("known_share") == 1.0).height > 0
    assert both.filter(pl.col("status") != "unclear").height > 0
    shown = (
        connect(finished[0] / "data").sql(f"SELECT event_id, status, oi_change FROM events_on('{SESSIONS[-2]}')").pl()
    )
    mine = status.filter(pl.col("event_session") == SESSIONS[-2]).select("event_id", "status", "oi_change")
    assert mine.height > 0
    assert shown.sort("event_id").equals(mine.sort("event_id"))


def test_promised_and_observed_alarms_are_counted_where_sessions_were_ranked(finished: tuple[Path, RunResult]):
    lake = Lake.open(finished[0] / "data")
    rows = lake.read("calibration", SESSIONS[-1].isoformat()).filter(pl.col("activity") == "all")
    events = lake.scan("scored_events").collect()
    ranked = events.group_by("session").agg(pl.col("universe").first())
    assert rows["sessions"].unique().to_list() == [ranked.height]
    assert rows["judged"].unique().to_list() == [ranked["universe"].sum()]
    low = rows.filter(pl.col("level") == "LOW").row(0, named=True)
    assert low["observed"] == events.filter(pl.col("conviction") != "NONE").height
    assert lake.read("calibration", SESSIONS[0].isoformat()).is_empty()
    assert lake.read("rule_alarms", SESSIONS[-1].isoformat())["kind"].unique().sort().to_list() == [
        "conviction",
        "threshold",
    ]


def test_events_computed_again_fetch_nothing_and_change_no_byte(
    finished: tuple[Path, RunResult],
    market_server: SandboxServer,
    small_underlyings: str,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
):
    from flowlake.settings import get_settings
    from flowlake_tests.defs.conftest import environment

    for name, value in environment(market_server, small_underlyings, finished[0]).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    lake, seen = Lake.open(finished[0] / "data"), market_server.request_count
    before = lake.digests()
    again = run_sessions(instance, "events", SESSIONS[0], SESSIONS[-1], keep_existing=False, log_level="WARNING")
    get_settings.cache_clear()
    assert again.succeeded, again.failures
    assert market_server.request_count == seen
    assert lake.digests() == before
    assert "detection" in again.seconds
    assert "option_chains" not in again.seconds


def test_running_a_session_again_changes_no_byte(pipeline: Path, instance: dg.DagsterInstance):
    assert run(instance, *SESSIONS[:2]).succeeded
    lake = Lake.open(pipeline / "data")
    first = lake.digests()
    assert run(instance, *SESSIONS[:2]).succeeded
    assert lake.digests() == first


def test_a_range_gives_the_same_bytes_as_its_sessions_one_by_one(pipeline: Path, instance: dg.DagsterInstance):
    assert run(instance, SESSIONS[0], SESSIONS[1]).succeeded
    together = Lake.open(pipeline / "data").digests()
    with pytest.MonkeyPatch.context() as patch:
        from flowlake.settings import get_settings

        patch.setenv("FLOWLAKE_DATA_DIR", str(pipeline / "again"))
        get_settings.cache_clear()
        for day in SESSIONS[:2]:
            assert run(instance, day, day).succeeded
    assert Lake.open(pipeline / "again").digests() == together


def test_sessions_in_the_lake_are_kept_when_a_backfill_goes_on(
    pipeline: Path, instance: dg.DagsterInstance, market_server: SandboxServer
):
    assert run(instance, SESSIONS[0], SESSIONS[0]).succeeded
    seen = market_server.request_count
    assert run(instance, SESSIONS[0], SESSIONS[0], keep_existing=True).succeeded
    assert market_server.request_count == seen


def test_a_session_without_enough_underlyings_fails_its_check_and_is_not_published(
    pipeline: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, small_underlyings: str
):
    from flowlake.settings import get_settings

    monkeypatch.setenv("FLOWLAKE_MARKET__MIN_COVERAGE", "1.0")
    get_settings.cache_clear()
    with pytest.MonkeyPatch.context() as broken:
        from flowlake.sources import polygon

        fetch = polygon.BlockingPolygonClient.fetch_chains

        def lossy(self, session, underlyings, **more):
            taken = fetch(self, session, underlyings, **more)
            failed = pl.when(pl.col("underlying") == underlyings[0]).then(pl.lit("failed")).otherwise(pl.col("status"))
            return type(taken)(taken.frame, taken.rejected, taken.coverage.with_columns(status=failed), taken.stats)

        broken.setattr(polygon.BlockingPolygonClient, "fetch_chains", lossy)
        result = run(instance, SESSIONS[0], SESSIONS[0])
    assert not result.succeeded
    assert [check.name for check in result.checks if not check.passed] == ["coverage"]
    lake = Lake.open(pipeline / "data")
    assert lake.has("raw_option_snapshots", SESSIONS[0].isoformat())
    assert not lake.has("option_chains", SESSIONS[0].isoformat())
    assert lake.published().partitions("raw_option_snapshots") == []


def test_real_data_never_enter_a_simulated_lake(pipeline: Path, instance: dg.DagsterInstance):
    assert run(instance, SESSIONS[0], SESSIONS[0]).succeeded
    with pytest.MonkeyPatch.context() as patch:
        from flowlake.sources import polygon

        fetch = polygon.BlockingPolygonClient.fetch_stocks
        patch.setattr(
            polygon.BlockingPolygonClient,
            "fetch_stocks",
            lambda self, session, **more: fetch(self, session, **more).with_columns(origin=pl.lit("vendor")),
        )
        result = run(instance, SESSIONS[1], SESSIONS[1])
    assert not result.succeeded
    assert "FLOWLAKE_DATA_DIR" in result.failures["raw_stock_snapshots"]


def test_a_session_that_has_not_closed_is_refused(pipeline: Path, instance: dg.DagsterInstance):
    with pytest.MonkeyPatch.context() as patch:
        from datetime import UTC, datetime

        from flowlake.defs.resources import MarketResource

        patch.setattr(MarketResource, "now", lambda self: datetime(2026, 5, 26, 15, tzinfo=UTC))
        result = run(instance, SESSIONS[0], SESSIONS[0])
    assert not result.succeeded
    assert "materialise it after the close" in next(iter(result.failures.values()))


def test_a_missed_session_is_filled_from_daily_bars_without_open_interest(
    pipeline: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, market_server: SandboxServer
):
    from flowlake.settings import get_settings

    # As the vendor: only the present has snapshots, and it is long after these sessions.
    monkeypatch.setenv("FLOWLAKE_API__REPLAY", "false")
    get_settings.cache_clear()
    result = run(instance, SESSIONS[0], SESSIONS[1])
    assert result.succeeded, result.failures
    lake, day = Lake.open(pipeline / "data"), SESSIONS[1].isoformat()
    chains = lake.read("option_chains", day)
    assert set(chains["basis"]) == {"aggregates"}
    assert chains["open_interest"].null_count() == chains.height
    traded = market_server.market.option_bars(SESSIONS[1]).select("contract", wanted="volume")
    seen = chains.filter(pl.col("volume") > 0).join(traded, on="contract", how="left")
    assert seen.height > 0
    assert (seen["volume"] == seen["wanted"]).all()
    assert lake.read("anomalies_open_interest", day).is_empty()


def test_more_contracts_than_allowed_are_not_asked_for_one_by_one(
    pipeline: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    from flowlake.settings import get_settings

    monkeypatch.setenv("FLOWLAKE_API__REPLAY", "false")
    monkeypatch.setenv("FLOWLAKE_MARKET__MAX_BAR_REQUESTS", "10")
    get_settings.cache_clear()
    result = run(instance, SESSIONS[0], SESSIONS[0])
    assert not result.succeeded
    assert "FLOWLAKE_MARKET__UNDERLYINGS" in result.failures["raw_option_snapshots"]
