"""One intraday pass over a whole simulated market, from the loopback server's pages to published events.

    python -m benchmarks.intraday_pass [--underlyings 6000] [--sessions 7]

The sandbox serves the market as of 10:30 and 10:45 from a process of its own; each pass is `flowlake intraday run` in a
fresh process, as the sensor starts it. The first pass of a day also makes the universe, the baselines and the volume
profile; the second is what every other pass of the day is like. `network` is the time between the first request for a
chain and the last answer (decoding included: server and client share the machine), `processing` everything else of the
run but starting Python. The sessions before are written straight into a scratch lake; only the last two of them with a
null, so events are judged by a short history: that changes what is found, not what it costs.

The named alternative is the vendor's official client (`massive`) on a sample of the same underlyings and the same
server, one request after the other as documented, and with 16 threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from flowlake import calendar
from flowlake.sandbox.simulator import Simulator

KEY = "sandbox"
FIRST = date(2026, 5, 26)
JUDGED = 2
"""Sessions of the history that get statistics beside their chains."""

SAMPLE = 150
PASSES = ("10:30", "10:45")
DELAY = timedelta(minutes=15)


def market(underlyings: int, sessions: int) -> Simulator:
    """The simulated market, the same in every process."""
    from flowlake.sandbox.simulator import SimulatorConfig, simulate

    return simulate(SimulatorConfig(underlyings=underlyings, sessions=sessions, first_session=FIRST, seed=7))


def serve(underlyings: int, sessions: int) -> None:
    """Serve the market until killed; prints the base URL first."""
    from flowlake.sandbox.server import SandboxServer

    server = SandboxServer(market(underlyings, sessions), keys=(KEY,))
    server.serve(lambda url: print(url, flush=True))


def write_history(data_dir: Path, underlyings: int, sessions: int) -> None:
    """Chains of every session but the last, and the statistics of the newest of them, into the lake."""
    from flowlake.detect.baselines import contract_baselines, ticker_baselines
    from flowlake.detect.pipeline import detect_session
    from flowlake.lake import Lake
    from flowlake.options.chains import build_chains
    from flowlake.schemas import table
    from flowlake.schemas.market import CORPORATE_ACTIONS, RAW_OPTION_SNAPSHOTS

    source, lake = market(underlyings, sessions), Lake.open(data_dir)
    days = source.sessions()[:-1]
    for number, day in enumerate(days):
        at = calendar.session_close(day) + calendar.CLOSING_WAIT
        added = {
            "session": day,
            "fetched_at": at + DELAY,
            "observed_at": at,
            "available_at": at + DELAY,
            "origin": "simulated",
        }
        raw = source.chain(at).with_columns(
            *(pl.lit(value).alias(name) for name, value in added.items()), timeframe=pl.lit("REAL-TIME")
        )
        build = build_chains(
            RAW_OPTION_SNAPSHOTS.conform(raw), session=day, known_contracts=lake.scan("contracts").collect()
        )
        with lake.commit("history") as transaction:
            transaction.replace("option_chains", day.isoformat(), build.chains)
            transaction.replace("contracts", day.isoformat(), build.new_contracts)
        print(f"  {day}: {build.chains.height:,} contracts", file=sys.stderr, flush=True)
        if number < len(days) - JUDGED:
            continue
        history = {d: lake.scan("option_chains", d.isoformat()) for d in days[:number]}
        actions = CORPORATE_ACTIONS.empty()
        found = detect_session(
            day,
            build.chains,
            contract_baselines(day, build.chains, history, actions),
            ticker_baselines(day, build.chains, history, actions),
            table("calibration_bins").empty(),
            table("ticker_statistics").empty(),
        )
        with lake.commit("history") as transaction:
            transaction.replace("calibration_bins", day.isoformat(), found.calibration_bins)
            transaction.replace("ticker_statistics", day.isoformat(), found.ticker_statistics)


def take(key: str) -> None:
    """Take snapshot `key` in this process; prints its figures as JSON."""
    started = time.perf_counter()
    from flowlake import runs
    from flowlake.defs.passes import session_log
    from flowlake.lake import Lake
    from flowlake.settings import get_settings

    data_dir = get_settings().data_dir
    with runs.instance(data_dir) as instance:
        imported = time.perf_counter()
        result = runs.run_snapshot(instance, key, keep_existing=True, log_level="WARNING")
        seconds = time.perf_counter() - imported
    if not result.succeeded:
        raise SystemExit(f"the pass of {key} failed: {result.failures}")
    lake = Lake.open(data_dir)
    row = session_log(lake, date.fromisoformat(key[:10])).filter(pl.col("partition") == key).row(0, named=True)
    print(
        json.dumps(
            {
                "rows": row["rows"],
                "asked": row["asked"],
                "answered": row["answered"],
                "requests": row["requests"],
                "network": row["network_seconds"],
                "seconds": seconds,
                "start": imported - started,
                "steps": result.seconds,
                "events": lake.rows("intraday_scored_events", key),
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
            }
        )
    )


@contextmanager
def served(underlyings: int, sessions: int) -> Iterator[str]:
    """The market's server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.intraday_pass", "serve", str(underlyings), str(sessions)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None, "asked for above"
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def official(url: str, underlyings: list[str], threads: int) -> tuple[int, float]:
    """Rows and seconds of the official client for `underlyings`, in a fresh process."""
    code = (
        "import json, sys, time\n"
        "from benchmarks.ingestion import official_client\n"
        "url, names, threads = json.loads(sys.argv[1])\n"
        "official_client(url, names[:1], threads)\n"
        "start = time.perf_counter()\n"
        "frame = official_client(url, names, threads)\n"
        "print(json.dumps([frame.height, time.perf_counter() - start]))"
    )
    argument = json.dumps([url, underlyings, threads])
    done = subprocess.run([sys.executable, "-c", code, argument], check=True, stdout=subprocess.PIPE, text=True)
    rows, seconds = json.loads(done.stdout.splitlines()[-1])
    return rows, seconds


def environment(url: str, data_dir: Path, key: str) -> dict[str, str]:
    """The settings of a pass at the moment snapshot `key` is due."""
    due = calendar.snapshot_of_key(key) + DELAY
    return os.environ | {
        "FLOWLAKE_DATA_DIR": str(data_dir),
        "FLOWLAKE_API_KEY": KEY,
        "FLOWLAKE_API__BASE_URL": url,
        "FLOWLAKE_API__REPLAY": "true",
        "FLOWLAKE_API__REQUESTS_PER_SECOND": "100000",
        "FLOWLAKE_MARKET__FIRST_SESSION": FIRST.isoformat(),
        "FLOWLAKE_CLOCK__START_REAL": "2026-01-01T00:00:00+00:00",
        "FLOWLAKE_CLOCK__START_MARKET": due.isoformat(),
        "FLOWLAKE_CLOCK__SPEED": "1e-9",
    }


def main() -> None:
    """Write the history, take the two passes, ask the official client for a sample, print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--underlyings", type=int, default=6000)
    options.add_argument("--sessions", type=int, default=7)
    asked = options.parse_args()
    this = [sys.executable, "-W", "ignore", "-m", "benchmarks.intraday_pass"]
    size = [str(asked.underlyings), str(asked.sessions)]
    session = calendar.sessions(FIRST, FIRST + timedelta(days=60))[asked.sessions - 1]
    with tempfile.TemporaryDirectory(prefix="flowlake-pass-") as folder:
        data_dir = Path(folder) / "data"
        subprocess.run([*this, "history", str(data_dir), *size], check=True)
        with served(asked.underlyings, asked.sessions) as url:
            ours: dict = {}
            for clock in PASSES:
                key = f"{session}-{clock}"
                # The market is simulated on the first request of a moment; that is not the network's time.
                warm(url, key)
                done = subprocess.run(
                    [*this, "take", key], check=True, stdout=subprocess.PIPE, text=True,
                    env=environment(url, data_dir, key),
                )  # fmt: skip
                ours = json.loads(done.stdout.splitlines()[-1])
                tell(key, ours)
            compare(url, data_dir, session, ours)


def warm(url: str, key: str) -> None:
    """Let the server look at the market of snapshot `key`."""
    import httpx

    headers = {
        "Authorization": f"Bearer {KEY}",
        "X-Sandbox-Clock": calendar.snapshot_of_key(key).isoformat(),
    }
    httpx.get(f"{url}/v3/snapshot/options/SPX", params={"limit": 1}, headers=headers, timeout=600)


def tell(key: str, found: dict) -> None:
    """Print one pass."""
    processing = found["seconds"] - found["network"]
    print(f"\npass of {key}: {found['rows']:,} contracts of {found['answered']:,} / {found['asked']:,} underlyings")
    print(f"  network     {found['network']:7.1f} s   {found['requests'] / found['network']:,.0f} requests/s")
    print(f"  processing  {processing:7.1f} s   (the rest of the run; {found['start']:.1f} s of imports before it)")
    print(f"  peak memory {found['peak_gb']:7.2f} GB  {found['events']} events")
    print("  steps:", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found["steps"].items()))


def compare(url: str, data_dir: Path, session: date, ours: dict) -> None:
    """Rows per second beside those of the official client on every n-th underlying."""
    from flowlake.lake import Lake

    names = Lake.open(data_dir).read("universe", session.isoformat())["underlying"].sort().to_list()
    sample = names[:: max(1, len(names) // SAMPLE)]
    speed = ours["rows"] / ours["network"]
    print(f"\nflowlake's pass: {speed:,.0f} rows/s; `massive` on {len(sample)} of the underlyings, same server:")
    for threads in (1, 16):
        rows, seconds = official(url, sample, threads)
        told = "one request after the other" if threads == 1 else f"{threads} threads"
        print(f"  {told:<28} {rows / seconds:>9,.0f} rows/s   flowlake is {speed * seconds / rows:.1f}x as fast")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", underlyings, sessions]:
            serve(int(underlyings), int(sessions))
        case ["history", folder, underlyings, sessions]:
            write_history(Path(folder), int(underlyings), int(sessions))
        case ["take", key]:
            take(key)
        case _:
            main()
