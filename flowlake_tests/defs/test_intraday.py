"""Snapshots within a session, through HTTP, into the lake: what people count on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from flowlake import calendar
from flowlake.definitions import defs
from flowlake.defs import passes
from flowlake.defs.intraday import snapshot_sensor
from flowlake.defs.passes import session_log
from flowlake.defs.resources import resources
from flowlake.defs.session_asset import SKIP_EXISTING, SnapshotNotDue
from flowlake.lake import Lake, connect
from flowlake.lake.spool import Spool
from flowlake.runs import RunResult, run_sessions
from flowlake.sandbox.server import SandboxServer
from flowlake.settings import get_settings
from flowlake.sources import chains
from flowlake_tests.defs.conftest import SESSIONS, environment

SESSION = SESSIONS[-1]
BEFORE = calendar.previous_session(SESSION)
OPEN = calendar.session_open(SESSION)
DELAY = timedelta(minutes=15)


def at(clock: str, session: date = SESSION) -> datetime:
    return calendar.snapshot_of_key(f"{session}-{clock}")


def set_clock(patch: pytest.MonkeyPatch, market: datetime) -> None:
    """Freeze the market's clock, nearly: it runs at a millionth of real time."""
    patch.setenv("FLOWLAKE_CLOCK__START_REAL", "2026-01-01T00:00:00+00:00")
    patch.setenv("FLOWLAKE_CLOCK__START_MARKET", market.isoformat())
    patch.setenv("FLOWLAKE_CLOCK__SPEED", "1e-9")
    get_settings.cache_clear()


def take(instance: dg.DagsterInstance, key: str, *, keep: bool = True) -> dg.ExecuteInProcessResult:
    tags = {SKIP_EXISTING: "true"} if keep else {}
    return defs.resolve_job_def("intraday_pass").execute_in_process(
        instance=instance, partition_key=key, tags=tags, raise_on_error=False
    )


def end_of_day(instance: dg.DagsterInstance, first: date, last: date) -> RunResult:
    return run_sessions(instance, "end_of_day", first, last, keep_existing=False, log_level="WARNING")


@pytest.fixture(scope="module")
def folder(
    market_server: SandboxServer, small_underlyings: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A lake with every session but the last at its end, and two snapshots of each of the last two sessions."""
    folder = tmp_path_factory.mktemp("intraday")
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        for name in ("MASSIVE_API_KEY", "POLYGON_API_KEY"):
            patch.delenv(name, raising=False)
        for name, value in environment(market_server, small_underlyings, folder).items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        done = run_sessions(
            instance, "end_of_day", SESSIONS[-4], SESSIONS[-3], keep_existing=False, log_level="WARNING"
        )
        assert done.succeeded, done.failures
        for session in (BEFORE, SESSION):
            for clock in ("10:30", "10:45"):
                set_clock(patch, at(clock, session) + DELAY)
                result = take(instance, f"{session}-{clock}")
                assert result.success
            if session == BEFORE:
                set_clock(patch, calendar.session_close(BEFORE) + timedelta(hours=1))
                done = end_of_day(instance, BEFORE, BEFORE)
                assert done.succeeded, done.failures
    get_settings.cache_clear()
    yield folder


@pytest.fixture
def lake(folder: Path) -> Lake:
    return Lake.open(folder / "data")


def test_a_snapshot_has_every_table_of_its_pass(lake: Lake):
    for name in (
        "intraday_stock_snapshots", "intraday_option_snapshots", "intraday_coverage", "intraday_chains",
        "intraday_scored_events", "intraday_ticker_statistics", "monitor_polls",
    ):  # fmt: skip
        keys = [key for key in lake.partitions(name) if key.startswith(str(SESSION))]
        assert keys == [f"{SESSION}-10:30", f"{SESSION}-10:45"], name


def test_volume_grows_from_snapshot_to_snapshot_and_open_interest_does_not(lake: Lake):
    first, second = (
        lake.read("intraday_chains", f"{SESSION}-{clock}").select("contract_id", "volume", "open_interest", "snapshot")
        for clock in ("10:30", "10:45")
    )
    both = first.join(second, on="contract_id", suffix="_later")
    assert both.height == first.height
    assert both.filter(pl.col("volume_later") < pl.col("volume")).is_empty()
    assert both["volume_later"].sum() > both["volume"].sum()
    assert both.filter(pl.col("open_interest_later") != pl.col("open_interest")).is_empty()
    assert first["snapshot"].unique().to_list() == [at("10:30")]


def test_nothing_was_known_before_the_plans_delay(lake: Lake):
    chains = lake.read("intraday_chains", f"{SESSION}-10:30")
    assert chains["available_at"].min() == at("10:30") + DELAY
    events = lake.read("intraday_scored_events", f"{SESSION}-10:30")
    assert events.height == 0 or events["event_time"].unique().to_list() == [at("10:30")]


def test_contracts_have_one_number_all_day_and_at_its_end(lake: Lake):
    of_day = lake.read("option_chains", str(BEFORE)).select("contract", "contract_id")
    within = lake.read("intraday_chains", f"{BEFORE}-10:30").select("contract", "contract_id")
    assert within.join(of_day, on=["contract", "contract_id"]).height == within.height


def test_the_first_snapshot_of_a_morning_judges_the_events_of_the_session_before(lake: Lake):
    events, status = lake.read("scored_events", str(BEFORE)), lake.read("event_status", str(SESSION))
    assert set(status["event_id"]) == set(events["event_id"])


def test_the_log_says_that_it_was_taken(lake: Lake):
    log = lake.read("snapshot_log", str(SESSION))
    assert log["partition"].to_list() == [f"{SESSION}-10:30", f"{SESSION}-10:45"]
    assert set(log["status"]) == {"taken"}
    assert (log["asked"] == log["answered"]).all()
    assert (log["requests"] > 0).all()
    assert set(log["origin"]) == {"simulated"}


def test_analysts_see_both_snapshots_with_all_their_tables(folder: Path):
    with connect(folder / "data") as con:
        seen = con.execute(
            'SELECT DISTINCT table_name FROM lake_partitions WHERE "partition" = ?', [f"{SESSION}-10:45"]
        ).fetchall()
        status = con.execute("SELECT status FROM snapshot_log ORDER BY snapshot").fetchall()
    assert {"intraday_chains", "intraday_scored_events", "intraday_day_over_day"} <= {name for (name,) in seen}
    assert status == [("taken",)] * 4


def test_the_closing_snapshot_becomes_the_end_of_day_record_without_asking_again(
    folder: Path, market_server: SandboxServer, small_underlyings: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    tables = ("raw_stock_snapshots", "raw_option_snapshots", "raw_quarantine", "snapshot_coverage", "option_chains")
    for name, value in environment(market_server, small_underlyings, folder).items():
        monkeypatch.setenv(name, value)
    closing = f"{SESSION}-16:00"
    with dg.DagsterInstance.ephemeral() as instance:
        set_clock(monkeypatch, calendar.session_close(SESSION) + calendar.CLOSING_WAIT + DELAY)
        assert take(instance, closing).success
        asked = [seen.path for seen in market_server.requests].count
        before = sum(map(asked, {f"/v3/snapshot/options/{name}" for name in small_underlyings.split(",")}))
        done = end_of_day(instance, SESSION, SESSION)
        assert done.succeeded, done.failures
        asked = [seen.path for seen in market_server.requests].count
        after = sum(map(asked, {f"/v3/snapshot/options/{name}" for name in small_underlyings.split(",")}))
    assert after == before
    lake = Lake.open(folder / "data")
    taken_over = {name: lake.digests()[name][str(SESSION)] for name in tables}
    with lake.commit("test") as transaction:
        transaction.remove("intraday_option_snapshots", closing)
    with dg.DagsterInstance.ephemeral() as instance:
        done = end_of_day(instance, SESSION, SESSION)
        assert done.succeeded, done.failures
    assert {name: lake.digests()[name][str(SESSION)] for name in tables} == taken_over


@pytest.fixture
def settings_of_day(
    folder: Path, market_server: SandboxServer, small_underlyings: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """The settings of the lake in `folder`, again."""
    for name, value in environment(market_server, small_underlyings, folder).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield monkeypatch
    get_settings.cache_clear()


def test_a_pass_that_follows_a_crash_fetches_only_what_is_missing(
    lake: Lake, market_server: SandboxServer, small_underlyings: str, settings_of_day: pytest.MonkeyPatch
):
    key = f"{SESSION}-11:00"
    names = small_underlyings.split(",")
    settings_of_day.setattr(chains, "BATCH_ROWS", 1)
    settings_of_day.setenv("FLOWLAKE_API__CONCURRENCY", "1")
    set_clock(settings_of_day, at("11:00") + DELAY)
    put_down, spooled = Spool.add, []

    def crash(self: Spool, frames: dict[str, pl.DataFrame]) -> None:
        if len(spooled) == 3:
            raise ConnectionAbortedError("killed")
        put_down(self, frames)
        spooled.extend(frames["coverage"]["underlying"])

    with settings_of_day.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setattr(Spool, "add", crash)
        assert not take(instance, key).success
    assert session_log(lake, SESSION).filter(pl.col("partition") == key)["status"].to_list() == ["failed"]
    before = market_server.request_count
    with dg.DagsterInstance.ephemeral() as instance:
        assert take(instance, key).success
    new = market_server.requests[before - market_server.request_count :]
    asked = {seen.path.rsplit("/", 1)[1] for seen in new}
    assert asked & set(names) == set(names) - set(spooled)
    row = session_log(lake, SESSION).filter(pl.col("partition") == key).row(0, named=True)
    assert (row["status"], row["attempts"], row["resumed"], row["answered"]) == ("taken", 2, 3, len(names))
    with dg.DagsterInstance.ephemeral() as instance:
        resumed = lake.digests()["intraday_chains"][key]
        assert take(instance, key, keep=False).success
    assert lake.digests()["intraday_chains"][key] == resumed


def test_chains_asked_for_in_parts_give_the_same_snapshot(
    lake: Lake, market_server: SandboxServer, small_underlyings: str, settings_of_day: pytest.MonkeyPatch
):
    key, tables = f"{SESSION}-10:45", ("intraday_option_snapshots", "intraday_chains", "intraday_scored_events")
    whole = {name: lake.digests()[name][key] for name in tables}
    settings_of_day.setattr(passes, "PAGE_LIMIT", 20)
    settings_of_day.setenv("FLOWLAKE_INTRADAY__SPLIT_PAGES", "1")
    set_clock(settings_of_day, at("10:45") + DELAY)
    before = market_server.request_count
    with dg.DagsterInstance.ephemeral() as instance:
        assert take(instance, key, keep=False).success
    new = [seen.path for seen in market_server.requests[before - market_server.request_count :]]
    assert any(new.count(f"/v3/snapshot/options/{name}") > 1 for name in small_underlyings.split(","))
    assert {name: lake.digests()[name][key] for name in tables} == whole


def test_why_a_pass_failed_is_in_the_log(lake: Lake, settings_of_day: pytest.MonkeyPatch):
    key = f"{SESSION}-11:15"
    settings_of_day.setenv("FLOWLAKE_API__BASE_URL", "http://127.0.0.1:9")
    settings_of_day.setenv("FLOWLAKE_API__ATTEMPTS", "1")
    set_clock(settings_of_day, at("11:15") + DELAY)
    with dg.DagsterInstance.ephemeral() as instance:
        assert not take(instance, key).success
    row = session_log(lake, SESSION).filter(pl.col("partition") == key).row(0, named=True)
    assert row["status"] == "failed"
    assert "cannot connect" in row["reason"]


def test_a_snapshot_of_another_moment_is_blocked_before_analysts_see_it_and_the_log_says_why(
    lake: Lake, settings_of_day: pytest.MonkeyPatch
):
    key, before = f"{SESSION}-11:45", f"{SESSION}-11:30"
    ahead = lake.read("intraday_chains", f"{SESSION}-10:45").with_columns(
        pl.col("volume") + 1_000_000, snapshot=pl.lit(at("11:30")), last_session=pl.lit(SESSION)
    )
    with lake.commit("ahead") as transaction:
        transaction.replace("intraday_chains", before, ahead)
    set_clock(settings_of_day, at("11:45") + DELAY)
    with dg.DagsterInstance.ephemeral() as instance:
        assert not take(instance, key).success
        with lake.commit("ahead") as transaction:
            transaction.remove("intraday_chains", before)
        row = session_log(lake, SESSION).filter(pl.col("partition") == key).row(0, named=True)
        assert row["status"] == "failed"
        assert "volume_not_fallen" in row["reason"]
        assert not lake.has("intraday_scored_events", key)
        assert not lake.published().has("intraday_chains", key)
        assert (
            not lake.has("data_incidents", str(SESSION))
            or lake.read("data_incidents", str(SESSION)).filter(pl.col("table") == "intraday_chains").is_empty()
        ), "the log of snapshots keeps it"
        assert take(instance, key).success, "the next attempt finds nothing wrong"


def test_what_is_late_within_the_session_is_told_by_its_check(lake: Lake, settings_of_day: pytest.MonkeyPatch):
    def late(clock: str) -> tuple[bool, int]:
        set_clock(settings_of_day, at(clock) + DELAY + timedelta(minutes=15))
        job = defs.resolve_job_def("snapshot_timeliness").execute_in_process()
        (evaluation,) = job.get_asset_check_evaluations()
        return evaluation.passed, evaluation.metadata["snapshots behind"].value  # pyright: ignore[reportReturnType]

    assert late("10:45") == (True, 0)
    assert late("12:15") == (False, 2)


def test_a_snapshot_cannot_be_taken_before_it_can_be_seen(settings_of_day: pytest.MonkeyPatch):
    set_clock(settings_of_day, at("11:30") + DELAY - timedelta(seconds=1))
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(SnapshotNotDue, match="can be taken from"):
        defs.resolve_job_def("intraday_pass").execute_in_process(instance=instance, partition_key=f"{SESSION}-11:30")


def look(instance: dg.DagsterInstance) -> object:
    with dg.build_sensor_context(instance=instance, resources=dict(resources())) as context:
        return snapshot_sensor(context)


def test_the_sensor_asks_for_the_newest_due_snapshot_and_explains_the_others(
    lake: Lake, settings_of_day: pytest.MonkeyPatch
):
    set_clock(settings_of_day, at("12:15") + DELAY + timedelta(minutes=1))
    with dg.DagsterInstance.ephemeral() as instance:
        answer = look(instance)
    assert isinstance(answer, dg.SensorResult) and answer.run_requests
    (request,) = answer.run_requests
    assert request.partition_key == f"{SESSION}-12:15"
    assert request.tags[SKIP_EXISTING] == "true"
    log = session_log(lake, SESSION)
    skipped = log.filter(pl.col("status") == "skipped")
    assert {f"{SESSION}-09:45", f"{SESSION}-12:00"} <= set(skipped["partition"])
    assert skipped["reason"].null_count() == 0


def test_the_sensor_rests_when_the_exchange_does(settings_of_day: pytest.MonkeyPatch):
    set_clock(settings_of_day, datetime(2026, 6, 19, 15, tzinfo=UTC))
    with dg.DagsterInstance.ephemeral() as instance:
        answer = look(instance)
    assert isinstance(answer, dg.SkipReason)
    assert "not a trading session" in str(answer.skip_message)


def test_features_of_a_snapshot_follow_its_publication(folder: Path):
    lake, key = Lake.open(folder / "data"), f"{SESSION}-10:45"
    features, chains = lake.read("intraday_flow_features", key), lake.read("intraday_chains", key)
    assert set(features["underlying"]) == set(chains["underlying"])
    assert features["option_volume"].sum() == chains["volume"].sum()
    assert set(features["snapshot"]) == set(chains["snapshot"])
    with connect(folder / "data") as connection:
        assert connection.sql(
            f"SELECT count(*) FROM intraday_flow_features WHERE snapshot = '{at('10:45')}'"
        ).fetchall()
