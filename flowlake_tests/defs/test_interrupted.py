"""Runs killed at any moment and started again: nothing torn, nothing lost, and analysts never notice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flowlake.lake import Lake, connect
from flowlake.sandbox.server import SandboxServer
from flowlake_tests.defs.conftest import SESSIONS, environment

FIRST, LAST = SESSIONS[0], SESSIONS[2]
PUBLISHED_TOGETHER = ("option_chains", "contract_baselines", "ticker_baselines", "raw_option_snapshots")


def backfill(server: SandboxServer, underlyings: str, folder: Path) -> subprocess.Popen[str]:
    """`flowlake backfill` in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "flowlake.cli", "backfill", "--from", str(FIRST), "--to", str(LAST)],
        env=inherited | environment(server, underlyings, folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )


@dataclass
class Polling:
    """A reader that opens the DuckDB file again and again."""

    rounds: int = 0
    errors: list[str] = field(default_factory=list)
    seen: set[tuple[str, ...]] = field(default_factory=set)

    def look(self, data_dir: Path) -> None:
        """One round: every table that is published together must show the same sessions."""
        connection = connect(data_dir)
        shown = [
            tuple(str(row[0]) for row in connection.sql(f"SELECT DISTINCT session FROM {name} ORDER BY 1").fetchall())
            for name in PUBLISHED_TOGETHER
        ]
        connection.close()
        self.rounds += 1
        self.seen.add(shown[0])
        if len(set(shown)) != 1:
            self.errors.append(f"tables disagree: {dict(zip(PUBLISHED_TOGETHER, shown, strict=True))}")


@contextmanager
def polling(data_dir: Path) -> Iterator[Polling]:
    reader, stop = Polling(), threading.Event()

    def poll() -> None:
        while not stop.is_set():
            try:
                reader.look(data_dir)
            except Exception as error:
                reader.errors.append(repr(error))
            stop.wait(0.02)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield reader
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def undisturbed(
    market_server: SandboxServer, small_underlyings: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, dict[str, str]], int]:
    """The digests of a run that nobody disturbed, and how many lines it printed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = backfill(market_server, small_underlyings, folder)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return Lake.open(folder / "data").digests(), len(printed.splitlines())


def killed_after(process: subprocess.Popen[str], lines: int) -> bool:
    """Kill `process` as soon as it has printed so many lines; False where it ended before.

    Progress, not time, says where it is killed: how long a run takes depends on what else the machine does.
    """
    assert process.stdout is not None
    for number, _ in enumerate(process.stdout, start=1):
        if number >= lines:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate(timeout=300)
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_backfill_killed_and_run_again_ends_in_the_same_bytes_and_no_reader_notices(
    kills: int,
    market_server: SandboxServer,
    small_underlyings: str,
    undisturbed: tuple[dict[str, dict[str, str]], int],
    tmp_path: Path,
):
    digests, lines = undisturbed
    moments = random.Random(kills)
    Lake.open(tmp_path / "data")
    with polling(tmp_path / "data") as reader:
        killed = 0
        for _ in range(kills):
            process = backfill(market_server, small_underlyings, tmp_path)
            killed += killed_after(process, moments.randint(1, int(0.8 * lines)))
        process = backfill(market_server, small_underlyings, tmp_path)
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert killed > 0
    assert Lake.open(tmp_path / "data").digests() == digests
    assert reader.errors == []
    assert reader.rounds > 10
    assert reader.seen <= {(), tuple(str(day) for day in SESSIONS[:3])}


def test_a_run_killed_while_it_holds_a_pool_does_not_block_the_next(
    market_server: SandboxServer,
    small_underlyings: str,
    undisturbed: tuple[dict[str, dict[str, str]], int],
    tmp_path: Path,
):
    process = backfill(market_server, small_underlyings, tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if f"option_chains {FIRST}" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    again = backfill(market_server, small_underlyings, tmp_path)
    printed, _ = again.communicate(timeout=120)
    assert again.returncode == 0, printed
    assert Lake.open(tmp_path / "data").digests() == undisturbed[0]
