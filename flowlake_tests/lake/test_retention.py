"""What retention shows, deletes, and never deletes."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from flowlake.calendar import previous_session, sessions
from flowlake.lake import Lake, apply_retention, connect, plan_retention
from flowlake.lake.retention import PLAN_SCHEMA
from flowlake.settings import LakeSettings
from flowlake_tests.lake.toys import SESSIONS, TOYS, files_on_disk, intraday, left, right, whole

SETTINGS = LakeSettings(intraday_sessions=1, daily_sessions=3, grace_hours=24)
TODAY = date.fromisoformat(SESSIONS[5])


class Clock:
    """A clock the test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, hours: float) -> None:
        self.now += timedelta(hours=hours)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lake(tmp_path: Path, clock: Clock) -> Lake:
    lake = Lake.open(tmp_path / "data", tables=TOYS, clock=clock)
    with lake.commit("run") as tx:
        for session in SESSIONS[:6]:
            tx.replace("left_table", session, left(session, 1))
            tx.replace("right_table", session, right(session, 1))
            tx.replace("intraday_table", f"{session}-10:30", intraday(session))
        tx.replace("whole_table", "all", whole("a"))
    lake.publish(None, "run")
    clock.advance(48)
    apply_retention(lake, plan_retention(lake, date(2026, 6, 1), SETTINGS), "first-catalog")
    return lake


def _plan(lake: Lake) -> pl.DataFrame:
    return plan_retention(lake, TODAY, SETTINGS)


def _count(connection, table: str) -> int:
    return connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]


def test_the_plan_shows_what_would_go_and_touches_nothing(lake: Lake):
    before, on_disk = lake.digests(), list(files_on_disk(lake.paths.root))
    plan = _plan(lake)
    assert plan.schema == PLAN_SCHEMA
    expiring = plan.filter(pl.col("action") == "expire").select("table", "partition").rows()
    assert expiring == [
        *(("intraday_table", f"{session}-10:30") for session in SESSIONS[:4]),
        *(("left_table", session) for session in SESSIONS[:2]),
    ]
    assert plan["bytes"].min() > 0  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]
    assert lake.digests() == before
    assert list(files_on_disk(lake.paths.root)) == on_disk


def test_every_session_finds_the_history_its_baselines_need(lake: Lake):
    apply_retention(lake, _plan(lake), "retention")
    needed = [day.isoformat() for day in sessions(previous_session(TODAY, 3), TODAY)]
    assert lake.partitions("left_table") == needed
    assert lake.partitions("intraday_table") == [f"{session}-10:30" for session in SESSIONS[4:6]]


def test_permanent_and_unpartitioned_tables_stay(lake: Lake):
    apply_retention(lake, plan_retention(lake, date(2027, 6, 1), SETTINGS), "retention")
    assert lake.partitions("right_table") == SESSIONS[:6]
    assert lake.partitions("whole_table") == ["all"]
    assert lake.partitions("left_table") == []


def test_expired_partitions_leave_the_catalog_at_once_but_open_notebooks_keep_reading(lake: Lake, clock: Clock):
    with connect(lake.paths.root) as notebook:
        apply_retention(lake, _plan(lake), "retention")
        with connect(lake.paths.root) as newer:
            assert _count(newer, "left_table") == 4 * 40
        clock.advance(23)
        apply_retention(lake, _plan(lake), "retention")
        assert _count(notebook, "left_table") == 6 * 40
        clock.advance(2)
        deleted = apply_retention(lake, _plan(lake), "retention")
        assert deleted.filter(pl.col("table") == "left_table")["partition"].to_list() == SESSIONS[:2]
    assert not lake.published().has("left_table", SESSIONS[0])


def test_nothing_a_catalog_superseded_within_the_grace_refers_to_is_deleted(lake: Lake, clock: Clock):
    for version in (2, 3):
        with lake.commit("run") as tx:
            tx.replace("left_table", SESSIONS[5], left(SESSIONS[5], version))
        # Not shown yet: the file written first is still what analysts read, however old it is.
        clock.advance(100)
        assert "left_table" not in _deletable(lake, version=1)
    with connect(lake.paths.root) as notebook:
        lake.publish(None, "run")
        clock.advance(23)
        apply_retention(lake, _plan(lake), "retention")
        assert _count(notebook, "left_table") == 6 * 40


def _deletable(lake: Lake, version: int) -> list[str]:
    plan = _plan(lake).filter(pl.col("action") == "delete", pl.col("table") != "")
    return [row for path, row in plan.select("path", "table").iter_rows() if _version(lake, path) == version]


def _version(lake: Lake, path: str) -> int:
    return pl.read_parquet(lake.paths.root / path)["version"][0]


def test_after_the_grace_only_what_is_in_use_is_left_on_disk(lake: Lake, clock: Clock):
    for version in (2, 3, 4):
        with lake.commit("run") as tx:
            tx.replace("left_table", SESSIONS[5], left(SESSIONS[5], version))
        lake.publish(None, "run")
    for _ in range(2):
        apply_retention(lake, _plan(lake), "retention")
        clock.advance(25)
    apply_retention(lake, _plan(lake), "retention")
    manifest = lake.manifest()
    assert set(files_on_disk(lake.paths.root)) == manifest.referenced()
    assert manifest.catalog is not None
    assert [path.name for path in lake.paths.catalogs.iterdir()] == [lake.paths.catalog(manifest.catalog.version).name]
    assert manifest.retired == {}
    assert _plan(lake).is_empty()


def test_remains_of_killed_runs_are_swept_once_they_are_old_but_not_what_a_running_one_has_staged(
    lake: Lake, clock: Clock
):
    orphan = lake.paths.table("left_table") / f"{SESSIONS[0]}.abc.def.parquet"
    remains = [
        orphan,
        lake.paths.table("left_table") / ".tmp-x",
        lake.paths.root / ".tmp-y",
        lake.paths.manifests / ".tmp-z",
    ]
    for path in remains:
        path.write_bytes(b"half")
        os.utime(path, (clock.now.timestamp(), clock.now.timestamp()))
    unfinished = lake.paths.catalogs / ".tmp-c"
    unfinished.mkdir()
    (unfinished / "flowlake.duckdb").write_bytes(b"half")
    os.utime(unfinished, (clock.now.timestamp(), clock.now.timestamp()))
    clock.advance(5)
    apply_retention(lake, _plan(lake), "retention")
    assert all(path.exists() for path in [*remains, unfinished])
    clock.advance(2)
    apply_retention(lake, _plan(lake), "retention")
    assert not any(path.exists() for path in [*remains, unfinished])


def test_a_path_that_came_into_use_after_the_plan_is_left_alone(lake: Lake):
    in_use = lake.files("right_table")[0]
    plan = pl.DataFrame(
        [("delete", "right_table", SESSIONS[0], lake.paths.relative(in_use), 1, 1, "stale plan")],
        schema=PLAN_SCHEMA,
        orient="row",
    )
    assert apply_retention(lake, plan, "retention").is_empty()
    assert in_use.exists()


def test_a_plan_that_leads_out_of_the_lake_is_refused(lake: Lake, tmp_path: Path):
    outside = tmp_path / "precious"
    outside.write_text("x")
    for path in ("../precious", str(outside)):
        plan = pl.DataFrame([("delete", "", "", path, 1, 1, "")], schema=PLAN_SCHEMA, orient="row")
        with pytest.raises(ValueError, match="refusing"):
            apply_retention(lake, plan, "retention")
    assert outside.exists()
