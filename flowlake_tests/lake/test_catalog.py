"""The DuckDB file that analysts open."""

from __future__ import annotations

import dataclasses
import shutil
import stat
from pathlib import Path

import duckdb
import polars as pl
import pytest

from flowlake.lake import Lake, LakeDiskFull, LakeError, connect
from flowlake.lake.catalog import sql_type
from flowlake.lake.manifest import Manifest, ManifestStore
from flowlake.schemas import TABLES
from flowlake.schemas.base import Column
from flowlake.settings import LakeSettings
from flowlake_tests.lake.toys import LEFT, SESSIONS, TOYS, intraday, left, right, whole

DAY, NEXT = SESSIONS[:2]


def _write(lake: Lake, session: str, version: int) -> None:
    with lake.commit(f"run-{version}") as tx:
        tx.replace("left_table", session, left(session, version))
        tx.replace("right_table", session, right(session, version))


def _versions(lake: Lake, table: str = "left_table") -> list[tuple]:
    with connect(lake.paths.root) as connection:
        return connection.execute(f"SELECT DISTINCT session::VARCHAR, version FROM {table} ORDER BY ALL").fetchall()


def test_a_new_lake_has_a_catalog_with_every_declared_table_typed_and_empty(tmp_path: Path):
    lake = Lake.open(tmp_path / "data")
    with connect(lake.paths.root) as connection:
        for name, table in TABLES.items():
            frame = connection.sql(f"SELECT * FROM {name}").pl()
            assert frame.height == 0
            assert frame.schema == table.schema, name


def test_every_macro_of_the_declared_tables_can_be_called(tmp_path: Path):
    lake = Lake.open(tmp_path / "data")
    with connect(lake.paths.root) as connection:
        names = connection.sql("SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT internal").fetchall()
        assert ("chain",) in names
        assert connection.sql("FROM chain('AAPL', '2026-06-01')").columns == TABLES["option_chains"].schema.names()
        assert connection.sql("FROM contract_history('O:AAPL260619C00200000')").fetchall() == []
        columns = connection.sql("FROM events_on('2026-06-01')").columns
        assert columns == [*TABLES["scored_events"].schema, "oi_change", "oi_confirmation", "status_explanation"]


def test_commits_stay_unseen_until_they_are_published_together(lake: Lake):
    _write(lake, DAY, 1)
    assert _versions(lake) == []
    lake.publish([DAY], "run")
    assert _versions(lake) == _versions(lake, "right_table") == [(DAY, 1)]
    _write(lake, DAY, 2)
    _write(lake, NEXT, 2)
    assert _versions(lake) == [(DAY, 1)]
    lake.publish([NEXT], "run")
    assert _versions(lake) == [(DAY, 1), (NEXT, 2)]
    lake.publish(None, "run")
    assert _versions(lake) == [(DAY, 2), (NEXT, 2)]


def test_publishing_a_session_brings_its_snapshots_and_the_tables_without_partitions(lake: Lake):
    with lake.commit("run") as tx:
        tx.replace("intraday_table", f"{DAY}-10:30", intraday(DAY))
        tx.replace("intraday_table", f"{NEXT}-10:30", intraday(NEXT))
        tx.replace("whole_table", "all", whole("a"))
    lake.publish([DAY], "run")
    assert lake.published().partitions("intraday_table") == [f"{DAY}-10:30"]
    assert lake.published().partitions("whole_table") == ["all"]
    lake.publish([f"{NEXT}-10:30"], "run")
    assert lake.published().partitions("intraday_table") == [f"{DAY}-10:30", f"{NEXT}-10:30"]


def test_publishing_a_session_that_was_removed_takes_it_from_the_analysts(lake: Lake):
    _write(lake, DAY, 1)
    lake.publish([DAY], "run")
    with lake.commit("run") as tx:
        tx.remove("left_table", DAY)
    assert _versions(lake) == [(DAY, 1)]
    lake.publish([DAY], "run")
    assert _versions(lake) == []
    assert _versions(lake, "right_table") == [(DAY, 1)]


def test_publishing_what_is_already_shown_changes_nothing(lake: Lake):
    _write(lake, DAY, 1)
    version = lake.publish([DAY], "run")
    number = lake.manifest().number
    assert lake.publish([DAY], "run") == version
    assert lake.manifest().number == number


def test_a_publication_whose_manifest_cannot_be_written_is_not_shown(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    _write(lake, DAY, 1)

    def refuse(self: ManifestStore, manifest: Manifest) -> None:
        raise LakeDiskFull("no room for the manifest")

    with monkeypatch.context() as patch:
        patch.setattr(ManifestStore, "append", refuse)
        with pytest.raises(LakeDiskFull):
            lake.publish([DAY], "run")
    assert _versions(lake) == []
    lake.publish([DAY], "run")
    assert _versions(lake) == [(DAY, 1)]


def test_a_connection_keeps_seeing_the_version_it_opened(lake: Lake):
    _write(lake, DAY, 1)
    lake.publish([DAY], "run")
    with connect(lake.paths.root) as old:
        _write(lake, DAY, 2)
        lake.publish([DAY], "run")
        assert old.execute("SELECT DISTINCT version FROM left_table").fetchall() == [(1,)]
    assert _versions(lake) == [(DAY, 2)]


def test_an_analyst_can_open_the_file_with_plain_duckdb_from_any_directory(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _write(lake, DAY, 1)
    lake.publish([DAY], "run")
    monkeypatch.chdir(tmp_path)
    with duckdb.connect("data/flowlake.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM left_table").fetchall() == [(40,)]
        (storage,) = connection.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'flowlake'"
        ).fetchone() or ("",)
    assert storage.startswith("v1.0")


def test_the_file_is_read_only_and_the_link_relative(lake: Lake):
    assert stat.S_IMODE(lake.paths.link.stat().st_mode) == 0o444
    assert not lake.paths.link.readlink().is_absolute()


def test_a_connection_is_bounded_private_and_writable_in_memory(lake: Lake):
    limits = LakeSettings(duckdb_memory_limit="1GiB", duckdb_temp_limit="2GiB")
    with connect(lake.paths.root, limits) as connection:
        setting = "SELECT current_setting('memory_limit'), current_setting('max_temp_directory_size')"
        assert connection.execute(setting).fetchall() == [("1.0 GiB", "2.0 GiB")]
        connection.execute("CREATE TABLE memory.main.mine AS SELECT 42 AS answer")
        assert connection.execute("SELECT answer FROM memory.main.mine").fetchall() == [(42,)]
        with pytest.raises(duckdb.Error, match="read-only"):
            connection.execute("CREATE TABLE flowlake.main.ours AS SELECT 1")


def test_connecting_where_there_is_no_lake_says_what_to_do(tmp_path: Path):
    with pytest.raises(LakeError, match="flowlake demo"):
        connect(tmp_path)


def test_views_and_columns_carry_what_their_declaration_says(lake: Lake):
    with connect(lake.paths.root) as connection:
        views = dict(connection.execute("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall())
        columns = dict(
            connection.execute(
                "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'left_table'"
            ).fetchall()
        )
    assert set(views) == set(TOYS)
    assert "always written together" in views["left_table"]
    assert columns["price"] == "It's a price. [USD per share]"


def test_the_catalog_lists_the_partitions_it_shows(lake: Lake):
    _write(lake, DAY, 1)
    lake.publish([DAY], "run")
    with connect(lake.paths.root) as connection:
        shown = connection.execute('SELECT table_name, "partition", "rows", sha256 FROM lake_partitions').fetchall()
    assert sorted(shown) == [(table, DAY, 40, lake.digests()[table][DAY]) for table in ("left_table", "right_table")]


def test_views_over_files_of_an_older_declaration_give_null_and_todays_types(lake: Lake):
    _write(lake, DAY, 1)
    lake.publish([DAY], "run")
    columns = (
        *(
            dataclasses.replace(c, dtype=pl.Int64) if c.name == "version" else c
            for c in LEFT.columns
            if c.name != "price"
        ),
        Column("note", pl.String, "New.", nullable=True),
    )
    wider = dataclasses.replace(LEFT, columns=columns)
    newer = Lake.open(lake.paths.root, tables={**TOYS, "left_table": wider})
    newer.publish([], "upgrade")
    with connect(lake.paths.root) as connection:
        assert connection.sql("SELECT * FROM left_table").pl().schema == wider.schema
        assert connection.sql("SELECT DISTINCT note FROM left_table").fetchall() == [(None,)]
    with newer.commit("run") as tx:
        tx.replace("left_table", NEXT, left(NEXT, 2).drop("price").with_columns(note=pl.lit("x")))
    newer.publish([NEXT], "run")
    with connect(lake.paths.root) as connection:
        found = connection.sql("SELECT DISTINCT session::VARCHAR, version, note FROM left_table ORDER BY 1").fetchall()
    assert found == [(DAY, 1, None), (NEXT, 2, "x")]


def test_a_lake_moved_to_another_place_is_shown_again_after_the_next_publish(lake: Lake, tmp_path: Path):
    _write(lake, DAY, 1)
    lake.publish([DAY], "run")
    moved = shutil.move(lake.paths.root, tmp_path / "elsewhere")
    again = Lake.open(moved, tables=TOYS)
    again.publish([], "moved")
    assert _versions(again) == [(DAY, 1)]


@pytest.mark.parametrize("damage", ["link", "catalog"])
def test_a_lost_link_or_catalog_comes_back_when_the_lake_is_opened(lake: Lake, damage: str):
    _write(lake, DAY, 1)
    lake.publish([DAY], "run")
    if damage == "link":
        lake.paths.link.unlink()
    else:
        shutil.rmtree(lake.paths.catalogs)
    again = Lake.open(lake.paths.root, tables=TOYS)
    assert _versions(again) == [(DAY, 1)]


def test_paths_with_quotes_and_spaces_are_read(tmp_path: Path):
    lake = Lake.open(tmp_path / "o'brien's [data] dir", tables=TOYS)
    _write(lake, DAY, 1)
    lake.publish([DAY], "run")
    assert _versions(lake) == [(DAY, 1)]
    assert lake.scan("left_table").collect().height == 40


def test_polars_types_without_a_duckdb_equivalent_are_named():
    assert sql_type(pl.List(pl.Struct({"a": pl.Int8}))) == 'STRUCT("a" TINYINT)[]'
    assert sql_type(pl.Datetime("us")) == "TIMESTAMP"
    with pytest.raises(TypeError, match="Object"):
        sql_type(pl.Object)


def test_building_a_catalog_leaves_no_log_and_nothing_unfinished(lake: Lake):
    names = {path.name for path in lake.paths.catalogs.rglob("*") if path.is_file()}
    assert names == {"flowlake.duckdb"}
    assert not list(lake.paths.catalogs.glob(".tmp-*"))
