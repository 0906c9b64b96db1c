"""What a pass has received survives its crash, whole chunks only, and one pass works at a time."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import polars as pl
import pytest

from flowlake.lake.paths import LakePaths
from flowlake.lake.spool import PassInFlight, Spool
from flowlake.schemas.base import Column, Table

TOY = Table(
    "toy", "A toy.", (Column("x", pl.Int64, "A number."),), key=("x",), sort=("x",), known_at="at once",
    partitioning="snapshot",
)  # fmt: skip
KEY = "2026-11-25-10:30"
SCHEMAS = {"frame": TOY.schema, "coverage": pl.Schema({"name": pl.String})}


def spool(root: Path, key: str = KEY) -> Spool:
    return Spool(LakePaths(root), TOY, key)


def put(into: Spool, *values: int) -> None:
    into.add({"frame": pl.DataFrame({"x": values}), "coverage": pl.DataFrame({"name": [f"n{v}" for v in values]})})


def test_chunks_come_back_in_order_whoever_asks(tmp_path: Path):
    put(spool(tmp_path), 1, 2)
    put(spool(tmp_path), 3)
    found = spool(tmp_path).read(SCHEMAS)
    assert found["frame"]["x"].to_list() == [1, 2, 3]
    assert found["coverage"]["name"].to_list() == ["n1", "n2", "n3"]


def test_an_empty_spool_gives_empty_frames(tmp_path: Path):
    assert spool(tmp_path).read(SCHEMAS)["frame"].schema == TOY.schema


def test_partitions_do_not_mix(tmp_path: Path):
    put(spool(tmp_path), 1)
    assert spool(tmp_path, "2026-11-25-10:45").read(SCHEMAS)["frame"].is_empty()


def test_a_chunk_that_cannot_be_read_is_dropped_whole(tmp_path: Path):
    into = spool(tmp_path)
    put(into, 1)
    put(into, 2)
    (into.chunks()[0] / "coverage.arrow").write_bytes(b"ARROW1 torn")
    found = spool(tmp_path).read(SCHEMAS)
    assert found["frame"]["x"].to_list() == [2]
    assert found["coverage"]["name"].to_list() == ["n2"]
    assert len(into.chunks()) == 1


def test_a_cleared_spool_is_empty(tmp_path: Path):
    into = spool(tmp_path)
    put(into, 1)
    into.clear()
    assert into.chunks() == []


def _hold_and_die(root: Path) -> None:
    with spool(root).held():
        put(spool(root), 7)
        os._exit(9)


def test_one_pass_at_a_time(tmp_path: Path):
    with spool(tmp_path).held(), pytest.raises(PassInFlight, match="wait for it to end"), spool(tmp_path).held():
        pass


def test_a_pass_that_died_is_in_nobodys_way_and_leaves_its_chunks(tmp_path: Path):
    process = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    with spool(tmp_path).held():
        assert spool(tmp_path).read(SCHEMAS)["frame"]["x"].to_list() == [7]
