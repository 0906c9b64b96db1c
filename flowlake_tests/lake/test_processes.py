"""The lake under real processes: killed, concurrent, read while written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from flowlake.lake import Lake, apply_retention, connect, plan_retention
from flowlake.lake.files import file_sha256
from flowlake.settings import LakeSettings
from flowlake_tests.lake.toys import PAIR, SESSIONS, TOYS, files_on_disk, left
from flowlake_tests.lake.workers import workload

ROOT = Path(__file__).resolve().parents[2]


def _start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flowlake_tests.lake.workers", *map(str, arguments)]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return output


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, int]:
    """Digests of a lake the workload wrote undisturbed, and how many steps that takes."""
    data_dir = tmp_path_factory.mktemp("undisturbed") / "data"
    steps = int(_finish(_start("die", data_dir, -1)))
    return Lake.open(data_dir, tables=PAIR).digests(), steps


def _shown(data_dir: Path, table: str) -> list[tuple]:
    with connect(data_dir) as connection:
        query = f"SELECT session, min(version), max(version), count(*) FROM {table} GROUP BY session ORDER BY session"
        return connection.execute(query).fetchall()


def _check_untorn(data_dir: Path) -> None:
    if (data_dir / "flowlake.duckdb").exists():  # what analysts see before anybody repairs anything
        assert _shown(data_dir, "left_table") == _shown(data_dir, "right_table")
    lake = Lake.open(data_dir, tables=PAIR)
    for files in (lake.manifest().head, lake.manifest().published):
        for entry in (entry for partitions in files.values() for entry in partitions.values()):
            assert file_sha256(lake.paths.root / entry.path) == entry.sha256
    assert _shown(data_dir, "left_table") == _shown(data_dir, "right_table")


def _kill_and_recover(data_dir: Path, step: int, expected: dict) -> None:
    killed = _start("die", data_dir, step)
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL, f"step {step} was not reached"
    _check_recovery(data_dir, expected)


def _check_recovery(data_dir: Path, expected: dict) -> None:
    _check_untorn(data_dir)
    lake = Lake.open(data_dir, tables=PAIR)
    workload(lake)
    assert lake.digests() == lake.published().digests() == expected
    _check_untorn(data_dir)
    later = Lake.open(data_dir, tables=PAIR, clock=lambda: datetime.now(UTC) + timedelta(hours=100))
    for _ in range(2):
        apply_retention(later, plan_retention(later, date(2026, 6, 1), LakeSettings(grace_hours=24)), "sweep")
    assert set(files_on_disk(data_dir)) == later.manifest().referenced()
    assert len(list(later.paths.catalogs.iterdir())) == 1
    _check_untorn(data_dir)


@pytest.mark.parametrize("seed", range(8))
def test_a_run_killed_anywhere_and_run_again_gives_the_same_bytes_and_leaves_nothing(
    tmp_path: Path, undisturbed: tuple[dict, int], seed: int
):
    expected, steps = undisturbed
    # One step in each eighth of the workload, so that the few runs of the fast suite cover it evenly.
    low, high = seed * steps // 8 + 1, (seed + 1) * steps // 8
    step = int(np.random.default_rng(seed).integers(low, high, endpoint=True))
    _kill_and_recover(tmp_path / "data", step, expected)


@pytest.mark.slow
def test_a_run_killed_at_every_single_step_recovers(tmp_path: Path, undisturbed: tuple[dict, int]):
    expected, steps = undisturbed
    for step in range(1, steps + 1):
        _kill_and_recover(tmp_path / str(step) / "data", step, expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_run_killed_at_a_random_moment_recovers(tmp_path: Path, undisturbed: tuple[dict, int], seed: int):
    expected, _ = undisturbed
    killed = _start("die", tmp_path / "data", -1)
    time.sleep(float(np.random.default_rng(seed).uniform(0.2, 1.2)))
    killed.kill()
    killed.communicate(timeout=300)
    _check_recovery(tmp_path / "data", expected)


@pytest.mark.parametrize("what", ["commit", "publish"])
def test_a_disk_that_really_refuses_to_grow_is_reported_and_changes_nothing(tmp_path: Path, what: str):
    data_dir = tmp_path / "data"
    lake = Lake.open(data_dir, tables=PAIR)
    with lake.commit("run") as tx:
        tx.replace("left_table", SESSIONS[0], left(SESSIONS[0], 1))
    before, on_disk = lake.manifest(), list(files_on_disk(data_dir))
    assert _finish(_start("full", data_dir, what)).strip() == "LakeDiskFull"
    assert Lake.open(data_dir, tables=PAIR).manifest() == before
    assert list(files_on_disk(data_dir)) == on_disk
    assert _shown(data_dir, "left_table") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_owns_nothing_can_read_but_is_told_why_not_write():
    with tempfile.TemporaryDirectory(prefix="flowlake-nobody-") as directory:  # tmp_path is closed to other users
        Path(directory).chmod(0o755)
        data_dir = Path(directory) / "data"
        lake = Lake.open(data_dir, tables=PAIR)
        with lake.commit("run") as tx:
            tx.replace("left_table", SESSIONS[0], left(SESSIONS[0], 1))
        lake.publish(None, "run")
        assert _finish(_start("nobody", data_dir)).split() == ["40", "40", "LakePermissionDenied"]


@pytest.mark.parametrize("count", [12, pytest.param(20, marks=pytest.mark.slow)])
def test_two_writers_at_once_lose_nothing_and_assign_no_id_twice(tmp_path: Path, count: int):
    data_dir = tmp_path / "data"
    for writer in [_start("append", data_dir, name, count) for name in ("a", "b")]:
        _finish(writer)
    lake = Lake.open(data_dir, tables=TOYS)
    names = lake.read("whole_table", "all")
    assert sorted(names["name"]) == sorted(f"{name}-{number}" for name in ("a", "b") for number in range(count))
    assert names["id"].to_list() == list(range(2 * count))
    assert lake.partitions("left_table") == lake.partitions("right_table") == SESSIONS[:count]


@pytest.mark.parametrize("publications", [54, pytest.param(300, marks=pytest.mark.slow)])
def test_a_reader_polling_the_file_never_errs_and_never_sees_half_a_session(tmp_path: Path, publications: int):
    data_dir, stop = tmp_path / "data", tmp_path / "stop"
    Lake.open(data_dir, tables=PAIR)
    readers = [_start("poll", data_dir, stop) for _ in range(2)]
    _finish(_start("publish", data_dir, publications))
    stop.touch()
    for reader in readers:
        seen = json.loads(_finish(reader))
        assert seen["errors"] == []
        assert seen["torn"] == 0
        assert seen["disagree"] == 0
        assert seen["rounds"] > 5
        assert seen["versions"] > 5
