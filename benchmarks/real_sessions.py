"""`make real`: the recorded sessions of ../shared/data through HTTP into an empty lake, and what came of it.

Prints rows per table, seconds per stage, requests per second and peak memory, and checks what must hold on real data:
holiday copies refused, no open-interest alarm across a split, the build-up in PYPL among the top of its session.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

import duckdb
import httpx
import psutil

from flowlake import calendar, runs, services
from flowlake.lake import Lake, connect
from flowlake.settings import LakeSettings

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data"
FIRST, LAST = date(2026, 5, 26), date(2026, 7, 31)
HOLIDAY_COPIES = (date(2026, 5, 25), date(2026, 6, 19), date(2026, 7, 3))
SPLITS = {"KLAC": date(2026, 6, 12), "CRWD": date(2026, 7, 2), "SOXS": date(2026, 7, 15)}
BUILD_UP = ("PYPL", date(2026, 7, 13), 20)


class PeakMemory(threading.Thread):
    """Samples the resident memory of a process and its children until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.peak_bytes = 0

    def run(self) -> None:
        """Sample ten times a second."""
        while True:
            try:
                family = [self.process, *self.process.children(recursive=True)]
                self.peak_bytes = max(self.peak_bytes, sum(member.memory_info().rss for member in family))
            except psutil.NoSuchProcess:
                return
            time.sleep(0.1)


def main() -> int:
    """Run the whole thing; 0 where everything that must hold holds."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data-dir", type=Path, help="lake to fill (default: a temporary folder, deleted afterwards)")
    options.add_argument("--from", dest="first", type=date.fromisoformat, default=FIRST)
    options.add_argument("--to", dest="last", type=date.fromisoformat, default=LAST)
    asked = options.parse_args()
    if not (RECORDED / "option_chains" / "contracts.parquet").exists():
        print("skipped: real data not present (../shared/data/option_chains beside the repository)")
        return 0
    with tempfile.TemporaryDirectory(prefix="flowlake-real-") as scratch:
        data_dir = (asked.data_dir or Path(scratch) / "data").absolute()
        return _run(data_dir, asked.first, asked.last)


def _run(data_dir: Path, first: date, last: date) -> int:
    os.environ["FLOWLAKE_DATA_DIR"] = str(data_dir)
    os.environ["FLOWLAKE_REPORTS_DIR"] = str(data_dir.parent / "reports")
    started = time.monotonic()
    with services.sandbox(["--recorded", str(RECORDED)]) as base_url:
        services.use_sandbox(data_dir, base_url, first)
        code, peak = _backfill(first, last)
        elapsed = time.monotonic() - started
        holds = [("the run succeeds", code == 0, f"exit code {code}")]
        holds += [_refused(base_url, day) for day in HOLIDAY_COPIES]
    if code == 0:
        holds += _figures(data_dir, elapsed, peak, first, last)
    print("\nwhat must hold")
    for claim, ok, seen in holds:
        print(f"  {'ok  ' if ok else 'FAIL'} {claim}: {seen}")
    return 0 if all(ok for _, ok, _ in holds) else 1


def _backfill(first: date, last: date) -> tuple[int, int]:
    """Exit code and peak bytes of `flowlake backfill` in a process of its own."""
    command = [sys.executable, "-m", "flowlake.cli", "backfill", "--from", str(first), "--to", str(last)]
    process = subprocess.Popen(command)
    memory = PeakMemory(process.pid)
    memory.start()
    return process.wait(), memory.peak_bytes


def _refused(base_url: str, day: date) -> tuple[str, bool, str]:
    """A holiday is no partition, and the market does not offer its copy either."""
    command = [sys.executable, "-m", "flowlake.cli", "backfill", "--from", str(day), "--to", str(day)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    headers = {"Authorization": f"Bearer {services.SANDBOX_KEY}", "X-Sandbox-Clock": f"{day}T20:20:00+00:00"}
    answer = httpx.get(f"{base_url}/v3/snapshot/options/AAPL", headers=headers)
    reason = re.sub(r"\s+", " ", refused.stderr).strip().removeprefix("flowlake: ")
    # On a closed day the sandbox shows the session before, or nothing; never a row that claims to be of that day.
    shown = answer.json().get("results", [{}])[0].get("day", {}).get("last_updated", 0) if answer.is_success else 0
    copied = date.fromtimestamp(shown / 1e9) == day if shown else False
    return f"holiday copy {day} refused", refused.returncode != 0 and not copied, reason


def _figures(data_dir: Path, elapsed: float, peak: int, first: date, last: date) -> list[tuple[str, bool, str]]:
    lake = Lake.open(data_dir)
    print(f"\nrows per table ({len(calendar.sessions(first, last))} sessions)")
    for name, partitions in sorted(lake.manifest().head.items()):
        rows = sum(entry.rows for entry in partitions.values())
        size = sum(entry.bytes for entry in partitions.values()) / 1e6
        print(f"  {name:<26} {rows:>12,} rows {size:>9,.1f} MB")
    con = connect(data_dir, LakeSettings())
    _print_requests(con, _ingest_seconds(data_dir))
    _print_convictions(con)
    print(f"\n{elapsed / 60:.1f} minutes in all, peak memory of the pipeline {peak / 1e9:.2f} GB")
    return [
        ("under 20 minutes", elapsed < 20 * 60, f"{elapsed / 60:.1f} minutes"),
        ("peak memory under 6 GB", peak < 6e9, f"{peak / 1e9:.2f} GB"),
        *(_no_split_alarm(con, ticker, day) for ticker, day in SPLITS.items() if first <= day <= last),
        *([_build_up(con)] if first <= BUILD_UP[1] <= last else []),
    ]


def _ingest_seconds(data_dir: Path) -> float:
    """How long the step that read the chains took, from Dagster's own record of the run."""
    with runs.instance(data_dir) as instance:
        newest = instance.get_runs(limit=1)[0]
        stats = {step.step_key: step for step in instance.get_run_step_stats(newest.run_id)}
        ingest = stats["raw_option_snapshots"]
        return (ingest.end_time or 0.0) - (ingest.start_time or 0.0)


def _print_requests(con: duckdb.DuckDBPyConnection, seconds: float) -> None:
    counted = con.execute('SELECT sum(attempts), sum(pages), sum("rows") FROM snapshot_coverage').fetchone()
    assert counted is not None, "an aggregate has one row"
    requests, pages, rows = counted
    print(f"\n{requests:,} requests for {pages:,} pages with {rows:,} contract rows in {seconds:.0f} s:")
    print(f"  {requests / seconds:,.0f} requests/s, {rows / seconds:,.0f} rows/s, fetched, parsed and committed")


def _print_convictions(con: duckdb.DuckDBPyConnection) -> None:
    judged = con.execute("SELECT count(DISTINCT session) FROM scored_events").fetchone()
    assert judged is not None, "an aggregate has one row"
    print(f"\nevents by conviction over {judged[0]} judged sessions")
    for conviction, events in con.execute(
        "SELECT conviction, count(*) FROM scored_events GROUP BY conviction ORDER BY conviction"
    ).fetchall():
        print(f"  {conviction:<8} {events:>6} ({events / max(judged[0], 1):.2f} a session)")


def _no_split_alarm(con: duckdb.DuckDBPyConnection, ticker: str, day: date) -> tuple[str, bool, str]:
    after = calendar.next_session(day)
    counted = con.execute(
        "SELECT count(*) FROM anomalies_open_interest WHERE underlying = ? AND session BETWEEN ? AND ?",
        [ticker, day, after],
    ).fetchone()
    assert counted is not None, "an aggregate has one row"
    return f"no open-interest alarm in {ticker} across its split of {day}", counted[0] == 0, f"{counted[0]} alarms"


def _build_up(con: duckdb.DuckDBPyConnection) -> tuple[str, bool, str]:
    ticker, day, worst = BUILD_UP
    found = con.execute(
        "SELECT rank, score, conviction, direction, universe, explanation FROM scored_events "
        "WHERE underlying = ? AND session = ?",
        [ticker, day],
    ).fetchone()
    claim = f"{ticker} among the top {worst} of {day}"
    if found is None:
        return claim, False, "not among the scored events"
    rank, score, conviction, direction, universe, explanation = found
    seen = f"rank {rank} of {universe}, score {score:.1f}, {conviction}, {direction}: {explanation}"
    return claim, rank <= worst, seen


if __name__ == "__main__":
    raise SystemExit(main())
