"""Events of every session in a lake computed again, and one run for a range against one run per session.

    python -m benchmarks.backfill_events --data-dir LAKE [--from D] [--to D] [--sample 10]

LAKE is one that `python -m benchmarks.real_sessions --data-dir LAKE` filled. Without it the recorded sessions of
../shared/data are taken in first, which takes longer than the benchmark. Nothing is fetched while it is measured. The
newest sessions are computed twice more, as one run and as one run each: the bytes of every table must stay the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from benchmarks.real_sessions import FIRST, LAST, RECORDED, PeakMemory
from flowlake import calendar
from flowlake.lake import Lake


def main() -> int:
    """Print sessions, contract-days, seconds, rows a second, memory and the ratio; 1 if bytes changed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data-dir", type=Path, help="a lake of recorded sessions (default: filled first)")
    options.add_argument("--from", dest="first", type=date.fromisoformat, default=FIRST)
    options.add_argument("--to", dest="last", type=date.fromisoformat, default=LAST)
    options.add_argument("--sample", type=int, default=10, help="sessions, the newest, on which both ways are timed")
    asked = options.parse_args()
    if asked.data_dir is None and not (RECORDED / "option_chains" / "contracts.parquet").exists():
        print("skipped: no --data-dir, and no recorded sessions in ../shared/data beside the repository")
        return 0
    with tempfile.TemporaryDirectory(prefix="flowlake-events-") as scratch:
        data_dir = (asked.data_dir or _filled(Path(scratch) / "data", asked.first, asked.last)).absolute()
        os.environ["FLOWLAKE_DATA_DIR"] = str(data_dir)
        os.environ["FLOWLAKE_REPORTS_DIR"] = str(Path(scratch) / "reports")
        os.environ["FLOWLAKE_MARKET__FIRST_SESSION"] = asked.first.isoformat()
        return _measure(data_dir, calendar.sessions(asked.first, asked.last), asked.sample)


def _filled(data_dir: Path, first: date, last: date) -> Path:
    command = ["-m", "benchmarks.real_sessions", "--data-dir", str(data_dir), "--from", str(first), "--to", str(last)]
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return data_dir


def _measure(data_dir: Path, days: list[date], sample: int) -> int:
    lake = Lake.open(data_dir)
    held = [day for day in days if lake.has("option_chains", day.isoformat())]
    rows = sum(lake.rows("option_chains", day.isoformat()) for day in held)
    seconds, peak = _backfill(days[0], days[-1])
    events = sum(lake.rows("scored_events", day.isoformat()) for day in held)
    print(f"{len(held)} sessions, {rows:,} contract-days, {events:,} events in {seconds:.0f} s:")
    print(f"  {rows / seconds:,.0f} contract-days/s, {seconds / len(held):.1f} s a session, peak {peak / 1e9:.2f} GB")
    before, newest = lake.digests(), held[-sample:]
    together, _ = _backfill(newest[0], newest[-1])
    apart = sum(_backfill(day, day)[0] for day in newest)
    print(f"the newest {len(newest)} sessions: {together:.0f} s as one run, {apart:.0f} s as one run each")
    print(
        f"  ratio {apart / together:.1f} (one run per session / one run for the range, processes and imports included)"
    )
    unchanged = lake.digests() == before
    print(f"bytes of all tables {'unchanged' if unchanged else 'CHANGED'}")
    return 0 if unchanged else 1


def _backfill(first: date, last: date) -> tuple[float, int]:
    """Seconds and peak bytes of `flowlake backfill events` in a process of its own."""
    command = ["-m", "flowlake.cli", "backfill", "events", "--from", str(first), "--to", str(last)]
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    memory = PeakMemory(process.pid)
    memory.start()
    code = process.wait()
    if code:
        raise RuntimeError(f"flowlake backfill events --from {first} --to {last} failed with {code}; run it to see why")
    return time.monotonic() - started, memory.peak_bytes


if __name__ == "__main__":
    raise SystemExit(main())
