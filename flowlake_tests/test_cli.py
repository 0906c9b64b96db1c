"""The command line: what it says when something is wrong, and that it says what to do about it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from flowlake import calendar, services
from flowlake.cli import where_to_look
from flowlake.commands import backfill
from flowlake.doctor import examine
from flowlake.lake import Lake
from flowlake.schemas import table
from flowlake.settings import Settings


def flowlake(
    *arguments: str, folder: Path, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`flowlake ...` in a process of its own, in an empty folder, without a vendor key."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith("_API_KEY") and not name.startswith("FLOWLAKE_")
    }
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "flowlake.cli", *arguments],
        env=inherited | {"COLUMNS": "200"} | dict(settings or {}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def said(result: subprocess.CompletedProcess[str]) -> str:
    """What it printed on standard error, as one line."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["run"],
        ["backfill"],
        ["backfill", "events"],
        ["backfill", "superseded"],
        ["status"],
        ["doctor"],
        ["retention"],
        ["evaluate"],
        ["serve"],
        ["sandbox", "serve"],
    ],
)
def test_every_command_explains_itself(command: list[str], tmp_path: Path):
    result = flowlake(*command, "--help", folder=tmp_path)
    assert result.returncode == 0
    assert "Usage" in result.stdout


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2026-07-03", "2026-07-06", "July 4th"),
        ("2026-06-31", "2026-07-06", "write YYYY-MM-DD"),
        ("2026-07-07", "2026-07-06", "is after"),
        ("2026-05-01", "2026-05-04", "FLOWLAKE_MARKET__FIRST_SESSION"),
        ("2026-06-01", "2040-06-01", "has not closed yet"),
    ],
)
def test_a_backfill_over_an_impossible_range_names_the_day_and_the_remedy(
    start: str, end: str, words: str, tmp_path: Path
):
    assert words in said(flowlake("backfill", "--from", start, "--to", end, folder=tmp_path))


def test_events_are_computed_again_only_where_the_lake_has_their_chains(tmp_path: Path):
    message = said(flowlake("backfill", "events", "--from", "2026-06-01", "--to", "2026-06-03", folder=tmp_path))
    assert "option_chains" in message
    assert "flowlake backfill --from 2026-06-01 --to 2026-06-03" in message


def test_a_backfill_without_a_range_asks_for_one(tmp_path: Path):
    assert "--from YYYY-MM-DD --to YYYY-MM-DD" in said(flowlake("backfill", folder=tmp_path))
    assert "--from YYYY-MM-DD --to YYYY-MM-DD" in said(flowlake("backfill", "events", folder=tmp_path))
    misplaced = said(flowlake("backfill", "--from", "2026-06-01", "events", "--to", "2026-06-03", folder=tmp_path))
    assert "flowlake backfill events --from" in misplaced


def test_missing_sessions_split_the_range_that_is_computed_again(tmp_path: Path):
    lake, days = Lake.open(tmp_path), calendar.sessions(date(2026, 6, 1), date(2026, 6, 10))
    with lake.commit("test") as transaction:
        for day in days[:3] + days[5:]:
            for name in backfill.NEEDED:
                if (day, name) != (days[-1], "contract_baselines"):
                    transaction.replace(name, day.isoformat(), table(name).empty())
    assert backfill.recomputable(lake, days[0], days[-1]) == [(days[0], days[2]), (days[5], days[-2])]
    assert backfill.recomputable(lake, days[1], days[1]) == [(days[1], days[1])]


def test_without_a_key_the_way_to_set_one_is_named(tmp_path: Path):
    assert "MASSIVE_API_KEY" in said(flowlake("run", folder=tmp_path))


def test_a_malformed_key_is_refused_without_being_repeated(tmp_path: Path):
    message = said(flowlake("run", folder=tmp_path, settings={"MASSIVE_API_KEY": "not a key\n"}))
    assert "not a key" not in message
    assert "key" in message


def test_a_malformed_setting_is_named(tmp_path: Path):
    message = said(flowlake("status", folder=tmp_path, settings={"FLOWLAKE_API__CONCURRENCY": "many"}))
    assert "concurrency" in message


def test_a_lake_of_a_newer_version_is_refused_with_the_remedy(tmp_path: Path):
    Lake.open(tmp_path / "data")
    newest = max((tmp_path / "data" / ".manifests").glob("*.json"))
    manifest = json.loads(newest.read_text())
    manifest["schema_version"] = 999
    newest.chmod(0o644)
    newest.write_text(json.dumps(manifest))
    assert "999" in said(flowlake("status", folder=tmp_path))


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port}" in said(flowlake("demo", "--port", port, folder=tmp_path))
        assert f"port {port}" in said(flowlake("sandbox", "serve", "--port", port, folder=tmp_path))
    assert not (tmp_path / "data").exists()


def test_an_unreachable_api_is_said_to_be_unreachable(tmp_path: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    settings = Settings(
        data_dir=tmp_path,
        api_key=SecretStr("k" * 32),
        api={"base_url": f"http://127.0.0.1:{port}", "attempts": 1},  # pyright: ignore[reportArgumentType]
    )
    findings = examine(settings, now=datetime(2026, 7, 6, 21, tzinfo=UTC))
    api = next(finding for finding in findings if finding.what == "API")
    assert not api.ok
    assert str(port) in api.says


def test_the_doctor_sees_an_empty_lake_and_the_calendar(tmp_path: Path):
    findings = {f.what: f for f in examine(Settings(data_dir=tmp_path), now=datetime(2026, 7, 3, 15, tzinfo=UTC))}
    assert "no session" in findings["calendar"].says
    assert "empty" in findings["lake"].says
    assert not findings["API"].ok


def test_evaluating_on_recordings_asks_where_they_are(tmp_path: Path):
    assert "--recording" in said(flowlake("evaluate", "--hosts", "recorded", folder=tmp_path))


def test_status_of_an_empty_lake_says_how_to_start(tmp_path: Path):
    result = flowlake("status", folder=tmp_path)
    assert result.returncode == 0
    assert "flowlake demo" in result.stdout


def test_retention_shows_and_deletes_nothing_by_default(tmp_path: Path):
    result = flowlake("retention", folder=tmp_path)
    assert result.returncode == 0
    assert "would be deleted" in result.stdout


def test_a_demo_goes_on_with_the_market_it_began(tmp_path: Path):
    asked = services.DemoPlan(underlyings=20, sessions=24, seed=7, last=date(2026, 7, 1))
    assert services.demo_plan(tmp_path, asked) == asked
    later = services.DemoPlan(underlyings=20, sessions=24, seed=7, last=calendar.next_session(asked.last))
    assert services.demo_plan(tmp_path, later) == asked
    with pytest.raises(ValueError, match="make clean"):
        services.demo_plan(tmp_path, services.DemoPlan(underlyings=40, sessions=24, seed=7, last=asked.last))


def test_a_demo_says_where_to_look_first_and_names_no_page_that_is_not_there(tmp_path: Path):
    assert where_to_look(tmp_path) == []
    for name in ("daily-2026-06-01.html", "daily-2026-06-02.html"):
        (tmp_path / name).touch()
    assert where_to_look(tmp_path) == [("report", tmp_path / "daily-2026-06-02.html")]
    (tmp_path / "index.html").touch()
    assert where_to_look(tmp_path)[0] == ("start at", tmp_path / "index.html")


def test_real_runs_do_not_start_on_a_demos_lake(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sandbox.env").write_text("FLOWLAKE_API_KEY=sandbox\n")
    assert "make clean" in said(flowlake("run", folder=tmp_path, settings={"MASSIVE_API_KEY": "k" * 32}))


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path):
    with pytest.raises(services.ServiceFailed, match="option_chains"), services.sandbox(["--recorded", str(tmp_path)]):
        pass


def listening(process: psutil.Process) -> list[Any]:
    """The sockets of a process that may be gone by now."""
    try:
        return list(process.net_connections())
    except psutil.Error:
        return []


def test_a_demo_that_is_stopped_takes_its_market_with_it(tmp_path: Path):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOWLAKE_")}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "flowlake.cli", "demo", "--no-serve", "--underlyings", "20"],
        env=inherited,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    demo = psutil.Process(process.pid)
    children: list[psutil.Process] = []
    while not any(connection.status == psutil.CONN_LISTEN for child in children for connection in listening(child)):
        assert process.poll() is None
        children = demo.children()
    process.terminate()
    assert process.wait(timeout=60) != 0
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert gone
    assert not alive
