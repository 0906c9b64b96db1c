"""Bytes on disk."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.lake import CorruptFile
from flowlake.lake import files as lake_files
from flowlake.lake.files import ROW_GROUP_ROWS, write_table_file
from flowlake.lake.paths import UNPARTITIONED, file_stem, partition_of_file
from flowlake_tests.lake.toys import LEFT, SESSIONS, left

DAY = SESSIONS[0]


@given(order=st.permutations(range(12)), cuts=st.lists(st.integers(0, 12), max_size=4))
@settings(max_examples=30, deadline=None)
def test_equal_rows_give_equal_bytes_however_the_frame_was_assembled(tmp_path_factory, order, cuts):
    directory = tmp_path_factory.mktemp("files")
    frame = left(DAY, 1, 12)
    edges = sorted({0, *cuts, 12})
    shuffled = frame[list(order)]
    pieces = [shuffled[a:b] for a, b in pairwise(edges)]
    assembled = pl.concat(pieces, rechunk=False)
    one = write_table_file(directory, LEFT, DAY, LEFT.conform(frame))
    other = write_table_file(directory, LEFT, DAY, LEFT.conform(assembled))
    assert one.sha256 == other.sha256
    assert one.path != other.path


def test_files_over_several_row_groups_are_deterministic_and_grouped_for_single_chain_reads(tmp_path: Path):
    import pyarrow.parquet as pq

    frame = LEFT.conform(left(DAY, 1, 2 * ROW_GROUP_ROWS + 5))
    files = [write_table_file(tmp_path, LEFT, DAY, frame) for _ in range(3)]
    assert len({file.sha256 for file in files}) == 1
    metadata = pq.read_metadata(files[0].path)
    assert metadata.row_group(0).num_rows == ROW_GROUP_ROWS
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert metadata.metadata[b"flowlake.fingerprint"].decode() == LEFT.fingerprint


def test_a_file_that_reads_back_differently_is_refused_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def lossy(path, table, frame):
        frame.head(1).write_parquet(path)

    monkeypatch.setattr(lake_files, "_write_parquet", lossy)
    with pytest.raises(CorruptFile, match="read back 1"):
        write_table_file(tmp_path, LEFT, DAY, LEFT.conform(left(DAY, 1)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("partition", [DAY, f"{DAY}-10:30", UNPARTITIONED])
def test_a_file_name_tells_its_partition(partition: str):
    assert ":" not in file_stem(partition)
    assert partition_of_file(f"{file_stem(partition)}.abc.def.parquet") == partition
