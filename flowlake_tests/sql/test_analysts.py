"""A thousand analysts' queries while a backfill writes: no error, no session of which a part is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowlake.lake import Lake
from flowlake_tests.sql.analysts import STATES

ROOT = Path(__file__).resolve().parents[2]
READERS = 2


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flowlake_tests.sql.analysts", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "POLARS_MAX_THREADS": "1"}, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a_thousand_queries_during_a_backfill_see_whole_sessions_only(tmp_path: Path):
    data_dir, stop = tmp_path / "data", tmp_path / "stop"
    Lake.open(data_dir)
    writer = start("backfill", data_dir, stop)
    readers = [start("ask", data_dir, 1000 // READERS) for _ in range(READERS)]
    seen = [json.loads(reader.communicate(timeout=400)[0]) for reader in readers]
    stop.touch()
    assert writer.wait(timeout=60) == 0
    assert sum(one["queries"] for one in seen) >= 1000
    for one in seen:
        assert one["errors"] == []
        assert one["partial"] == 0
        assert one["states"] >= STATES
