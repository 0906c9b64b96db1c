"""Transactions and reads of the lake."""

from __future__ import annotations

import dataclasses
import errno
import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flowlake.lake import (
    Between,
    DuplicateKeys,
    InvalidPartition,
    Lake,
    LakeBusy,
    LakeDiskFull,
    LakePermissionDenied,
    LakeTooNew,
    LinkOccupied,
    ManifestCorrupt,
    PartitionNotFound,
    StagedFileLost,
)
from flowlake.schemas import SCHEMA_VERSION, SchemaMismatch
from flowlake.schemas.base import Column
from flowlake_tests.lake.toys import LEFT, RIGHT, SESSIONS, TOYS, files_on_disk, intraday, left, right, whole

DAY, NEXT, LATER = SESSIONS[:3]


def _write(lake: Lake, session: str, version: int) -> None:
    with lake.commit(f"run-{version}") as tx:
        tx.replace("left_table", session, left(session, version))
        tx.replace("right_table", session, right(session, version))


def test_a_committed_partition_reads_back_as_it_was_written(lake: Lake):
    _write(lake, DAY, 1)
    assert_frame_equal(lake.read("left_table", DAY), LEFT.conform(left(DAY, 1)))
    assert lake.partitions("left_table") == [DAY]
    assert lake.has("left_table", DAY)
    assert not lake.has("left_table", NEXT)
    assert lake.rows("left_table", DAY) == left(DAY, 1).height


def test_another_process_opening_the_lake_sees_the_commit(lake: Lake):
    _write(lake, DAY, 1)
    assert Lake.open(lake.paths.root, tables=TOYS).digests() == lake.digests()


def test_nothing_of_a_transaction_that_raises_is_visible_or_left_on_disk(lake: Lake):
    _write(lake, DAY, 1)
    before, on_disk = lake.digests(), list(files_on_disk(lake.paths.root))
    with pytest.raises(ZeroDivisionError), lake.commit("run") as tx:
        tx.replace("left_table", DAY, left(DAY, 2))
        tx.replace("left_table", NEXT, left(NEXT, 2))
        raise ZeroDivisionError
    assert lake.digests() == before
    assert list(files_on_disk(lake.paths.root)) == on_disk


def test_replacing_a_partition_replaces_it_whole_and_keeps_the_old_file_for_the_grace(lake: Lake):
    _write(lake, DAY, 1)
    old = lake.files("left_table")[0]
    with lake.commit("run") as tx:
        tx.replace("left_table", DAY, left(DAY, 2, rows=3))
    assert lake.read("left_table", DAY)["version"].to_list() == [2, 2, 2]
    assert old.exists()


def test_committing_the_same_content_again_changes_nothing(lake: Lake):
    _write(lake, DAY, 1)
    number, on_disk = lake.manifest().number, list(files_on_disk(lake.paths.root))
    _write(lake, DAY, 1)
    assert lake.manifest().number == number
    assert list(files_on_disk(lake.paths.root)) == on_disk


def test_removing_is_idempotent_and_the_last_change_of_a_partition_wins(lake: Lake):
    with lake.commit("run") as tx:
        tx.replace("left_table", DAY, left(DAY, 1))
        tx.replace("left_table", DAY, left(DAY, 2))
        tx.replace("left_table", NEXT, left(NEXT, 1))
        tx.remove("left_table", NEXT)
    assert lake.partitions("left_table") == [DAY]
    assert lake.read("left_table", DAY)["version"].unique().to_list() == [2]
    assert list(files_on_disk(lake.paths.root)) == [lake.paths.relative(lake.files("left_table")[0])]
    for _ in range(2):
        with lake.commit("run") as tx:
            tx.remove("left_table", DAY)
    assert lake.partitions("left_table") == []


def test_a_scan_takes_all_some_one_or_a_range_of_partitions_in_order(lake: Lake):
    for session in (LATER, DAY, NEXT):
        _write(lake, session, 1)

    def sessions_of(partitions):
        return lake.scan("left_table", partitions).collect()["session"].unique(maintain_order=True).to_list()

    days = [date.fromisoformat(name) for name in (DAY, NEXT, LATER)]
    assert sessions_of(None) == days
    assert sessions_of(NEXT) == [days[1]]
    assert sessions_of([LATER, DAY, "2020-01-02"]) == [days[0], days[2]]
    assert sessions_of(Between(NEXT, "2026-12-31")) == days[1:]
    assert lake.scan("left_table", columns=["id"]).collect_schema().names() == ["id"]


def test_a_scan_without_files_is_empty_but_typed(lake: Lake):
    assert lake.scan("left_table").collect_schema() == LEFT.schema
    assert lake.scan("left_table", [DAY]).collect().height == 0


def test_an_empty_partition_is_there_and_has_no_rows(lake: Lake):
    with lake.commit("run") as tx:
        tx.replace("left_table", DAY, LEFT.empty())
    assert lake.has("left_table", DAY)
    assert lake.read("left_table", DAY).schema == LEFT.schema


def test_reading_a_partition_that_is_not_there_names_its_neighbours(lake: Lake):
    _write(lake, DAY, 1)
    _write(lake, LATER, 1)
    with pytest.raises(PartitionNotFound, match=f"{NEXT}.*{DAY} and {LATER}"):
        lake.read("left_table", NEXT)
    with pytest.raises(PartitionNotFound, match="the table is empty"):
        lake.rows("intraday_table", f"{DAY}-10:00")


def test_unknown_tables_are_named_with_the_known_ones(lake: Lake):
    with pytest.raises(KeyError, match="left_table"):
        lake.scan("nonsense")
    with pytest.raises(KeyError, match="left_table"), lake.commit("run") as tx:
        tx.replace("nonsense", DAY, left(DAY, 1))


def test_a_snapshot_does_not_move_while_others_commit(lake: Lake):
    _write(lake, DAY, 1)
    frozen = lake.snapshot()
    _write(lake, DAY, 2)
    assert frozen.read("left_table", DAY)["version"].unique().to_list() == [1]
    assert lake.read("left_table", DAY)["version"].unique().to_list() == [2]


def test_a_transaction_reads_its_own_changes_over_the_newest_head(lake: Lake):
    _write(lake, DAY, 1)
    with lake.commit("run", exclusive=True) as tx:
        assert tx.read("left_table", DAY)["version"].unique().to_list() == [1]
        tx.replace("left_table", DAY, left(DAY, 2))
        assert tx.scan("left_table").collect()["version"].unique().to_list() == [2]
        assert lake.read("left_table", DAY)["version"].unique().to_list() == [1]
        tx.remove("left_table", DAY)
        assert not tx.has("left_table", DAY)


def test_an_exclusive_transaction_keeps_others_out_and_says_what_to_do(lake: Lake):
    other = Lake.open(lake.paths.root, tables=TOYS)
    other.lock_timeout_seconds = 0.05
    with (
        lake.commit("run", exclusive=True),
        pytest.raises(LakeBusy, match="wait for the other run"),
        other.commit("other") as tx,
    ):
        tx.replace("left_table", DAY, left(DAY, 1))
    assert not lake.has("left_table", DAY)
    assert list(files_on_disk(lake.paths.root)) == []


@pytest.mark.parametrize(
    ("table", "partition"),
    [
        ("left_table", "2026-6-1"),
        ("left_table", "2026-13-01"),
        ("left_table", "../../etc/passwd"),
        ("left_table", "all"),
        ("left_table", "2026-06-01-10:00"),
        ("intraday_table", "2026-06-01"),
        ("intraday_table", "2026-06-01-24:00"),
        ("whole_table", "2026-06-01"),
    ],
)
def test_partition_names_that_do_not_fit_the_table_are_refused(lake: Lake, table: str, partition: str):
    with pytest.raises(InvalidPartition, match="expected"), lake.commit("run") as tx:
        tx.replace(table, partition, TOYS[table].empty())


def test_rows_of_another_session_are_refused(lake: Lake):
    with pytest.raises(InvalidPartition, match="rows are of other sessions"), lake.commit("run") as tx:
        tx.replace("left_table", DAY, pl.concat([left(DAY, 1, 2), left(NEXT, 1, 5).tail(3)]))


def test_repeated_keys_are_refused_with_examples(lake: Lake):
    with pytest.raises(DuplicateKeys, match=r"id repeats, e.g. \[\(0,\)"), lake.commit("run") as tx:
        tx.replace("left_table", DAY, pl.concat([left(DAY, 1), left(DAY, 2)]))


def test_frames_that_do_not_fit_the_declaration_are_refused(lake: Lake):
    with pytest.raises(SchemaMismatch, match="missing columns"), lake.commit("run") as tx:
        tx.replace("left_table", DAY, left(DAY, 1).drop("version"))


def test_snapshots_and_tables_without_partitions_are_kept_under_their_own_names(lake: Lake):
    with lake.commit("run") as tx:
        tx.replace("intraday_table", f"{DAY}-10:30", intraday(DAY))
        tx.replace("whole_table", "all", whole("a", "b"))
    assert lake.partitions("intraday_table") == [f"{DAY}-10:30"]
    assert lake.read("whole_table", "all")["name"].to_list() == ["a", "b"]


def test_files_of_an_older_declaration_give_null_for_columns_they_lack(lake: Lake):
    _write(lake, DAY, 1)
    wider = dataclasses.replace(
        LEFT,
        columns=(
            *(dataclasses.replace(c, dtype=pl.Int64) if c.name == "version" else c for c in LEFT.columns),
            Column("note", pl.String, "New.", nullable=True),
        ),
    )
    newer = Lake.open(lake.paths.root, tables={**TOYS, "left_table": wider})
    with newer.commit("run") as tx:
        tx.replace("left_table", NEXT, left(NEXT, 2).with_columns(note=pl.lit("x")))
    both = newer.scan("left_table").collect()
    assert both.schema == wider.schema
    assert both["note"].unique(maintain_order=True).to_list() == [None, "x"]


def test_a_full_disk_leaves_the_head_as_it_was(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    _write(lake, DAY, 1)
    before, on_disk = lake.digests(), list(files_on_disk(lake.paths.root))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LakeDiskFull, match="Free space"), lake.commit("run") as tx:
            tx.replace("left_table", DAY, left(DAY, 2))
    assert lake.digests() == before
    assert list(files_on_disk(lake.paths.root)) == on_disk


def test_a_disk_that_fills_up_at_the_manifest_leaves_the_head_as_it_was(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    _write(lake, DAY, 1)
    before, on_disk = lake.digests(), list(files_on_disk(lake.paths.root))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(LakeDiskFull), lake.commit("run") as tx:
        tx.replace("left_table", DAY, left(DAY, 2))
        monkeypatch.setattr(os, "fsync", full)
    monkeypatch.undo()
    assert lake.digests() == before
    assert list(files_on_disk(lake.paths.root)) == on_disk


def test_the_operating_system_error_polars_hands_on_as_text_is_recognised():
    from flowlake.lake.files import typed_os_errors

    with pytest.raises(LakeDiskFull), typed_os_errors(Path("/dev/full")):
        pl.DataFrame({"a": range(100_000)}).write_parquet("/dev/full")


def test_a_refused_permission_is_named(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    def refused(path, flags, *args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(LakePermissionDenied, match="write access"), lake.commit("run") as tx:
        tx.replace("left_table", DAY, left(DAY, 1))


def test_a_staged_file_deleted_by_somebody_stops_the_commit(lake: Lake):
    with pytest.raises(StagedFileLost), lake.commit("run") as tx:
        (lake.paths.root / tx.replace("left_table", DAY, left(DAY, 1)).path).unlink()
    assert not lake.has("left_table", DAY)


def test_a_lake_written_by_a_newer_schema_is_refused(lake: Lake):
    newest = lake.paths.manifest(lake.manifest().number)
    newest.write_text(newest.read_text().replace(f'"schema_version":{SCHEMA_VERSION}', '"schema_version":999'))
    with pytest.raises(LakeTooNew, match="upgrade flowlake"):
        Lake.open(lake.paths.root, tables=TOYS)


@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2]", b'{"schema_version": 1}', b"\x00" * 50])
def test_a_corrupted_manifest_is_reported_and_the_one_before_takes_over_when_it_is_moved_away(
    lake: Lake, damage: bytes
):
    _write(lake, DAY, 1)
    before = lake.digests()
    _write(lake, DAY, 2)
    newest = lake.paths.manifest(lake.manifest().number)
    newest.write_bytes(damage)
    with pytest.raises(ManifestCorrupt, match="Move it out of the way"):
        Lake.open(lake.paths.root, tables=TOYS)
    newest.rename(newest.with_suffix(".damaged"))
    fallen_back = Lake.open(lake.paths.root, tables=TOYS)
    assert fallen_back.digests() == before
    assert fallen_back.read("left_table", DAY)["version"].unique().to_list() == [1]


def test_a_file_somebody_put_in_the_place_of_the_link_is_not_overwritten(lake: Lake):
    lake.paths.link.unlink()
    lake.paths.link.write_text("somebody's work")
    with pytest.raises(LinkOccupied, match="move it away"):
        Lake.open(lake.paths.root, tables=TOYS)
    assert lake.paths.link.read_text() == "somebody's work"


def test_somebody_who_may_only_read_opens_the_lake_even_while_the_link_is_being_swapped(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
):
    _write(lake, DAY, 1)
    lake.paths.link.unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert Lake.open(lake.paths.root, tables=TOYS).digests() == lake.digests()
    assert not lake.paths.link.exists()


def test_only_the_newest_manifests_are_kept(lake: Lake):
    for version in range(30):
        with lake.commit("run") as tx:
            tx.replace("whole_table", "all", whole(str(version)))
    assert len(list(lake.paths.manifests.iterdir())) == 16
    assert lake.read("whole_table", "all")["name"].to_list() == ["29"]


def test_publishing_some_tables_leaves_the_others_as_analysts_saw_them(lake: Lake):
    _write(lake, DAY, 1)
    lake.publish([DAY], run_id="run-1")
    _write(lake, DAY, 2)
    _write(lake, NEXT, 2)
    with lake.commit("run-3") as tx:
        tx.publish([DAY, NEXT], ["left_table"])
    shown = lake.published()
    assert_frame_equal(shown.read("left_table", DAY), LEFT.conform(left(DAY, 2)))
    assert_frame_equal(shown.read("right_table", DAY), RIGHT.conform(right(DAY, 1)))
    assert shown.partitions("right_table") == [DAY]
